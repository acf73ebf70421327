//! Futexes of the application, on behalf of its requests.
//!
//! ```text
//!  word of ours (0) <- sleeper      futex_move: FUTEX_CMP_REQUEUE of at most one, counted
//!        '--------------------------------------> the application's futex
//! ```
//!
//! futex(2) does nearly all of it, which every kernel and every container has. More than one at once
//! need futex_waitv(2) of 5.16; without it that is `ENOSYS`, or what a filter answers. What has a node
//! of its own goes by the calls of 6.7; where these are refused nobody in the program can use them
//! either, and the node, which is chosen as the kernel would, is all there is to it. What it does not
//! do: look at values.

use core::sync::atomic::AtomicU8;
use core::sync::atomic::Ordering::Relaxed;

use ringer_engine::host::{Futex, FutexWord, HostResult};
use ringer_uapi::Errno;
use rust_alloc::vec::Vec;

use crate::io::app_call;
use crate::raw::{self, general as g};
use crate::usermem;

/// `FUTEX_NO_NODE`.
const NO_NODE: u32 = u32::MAX;
/// `MAX_NUMNODES` of the largest configuration.
const NODES_MAX: u32 = 1 << 10;
/// Flags that only the newer calls take.
const NODE: u32 = g::FUTEX2_NUMA | g::FUTEX2_MPOL;

/// `struct futex_waitv`.
#[repr(C)]
struct Waitv {
    val: u64,
    addr: u64,
    flags: u32,
    reserved: u32,
}

impl Waitv {
    fn new(addr: u64, val: u32, flags: u32) -> Self {
        Self { val: val.into(), addr, flags, reserved: 0 }
    }
}

/// An operation of futex(2), on a private or a shared futex.
fn op(op: u32, flags: u32) -> usize {
    let private = if flags & g::FUTEX2_PRIVATE != 0 { g::FUTEX_PRIVATE_FLAG } else { 0 };
    (op | private) as usize
}

/// An address as the kernel takes it. It reads the word, and chooses the node.
fn addr_of(word: &FutexWord) -> u64 {
    core::ptr::from_ref(word).expose_provenance() as u64
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Whether futexes of nodes are the kernel's here: it knows them, and no filter keeps them away.
fn has_nodes() -> bool {
    const UNKNOWN: u8 = 0;
    const YES: u8 = 1;
    const NO: u8 = 2;
    static KNOWN: AtomicU8 = AtomicU8::new(UNKNOWN);
    match KNOWN.load(Relaxed) {
        UNKNOWN => {
            // A word, and that no node was chosen.
            let word = [u64::from(NO_NODE) << 32];
            let flags = g::FUTEX2_SIZE_U32 | g::FUTEX2_PRIVATE | g::FUTEX2_NUMA;
            let at = word.as_ptr().expose_provenance();
            // SAFETY: wakes none of those that wait on a word of ours, which nobody knows.
            let ret = unsafe { raw::syscall4(g::__NR_futex_wake, at, 1, 0, flags as usize) };
            let yes = Errno::demux(ret).is_ok();
            KNOWN.store(if yes { YES } else { NO }, Relaxed);
            yes
        }
        known => known == YES,
    }
}

/// Flags as this kernel takes them.
fn plain(flags: u32) -> u32 {
    if flags & NODE == 0 || has_nodes() { flags } else { flags & !NODE }
}

/// A futex as this kernel takes it.
///
/// # Errors
/// `EFAULT`; `EINVAL`: there is no such node.
fn known(f: Futex) -> HostResult<Futex> {
    if plain(f.flags) == f.flags {
        return Ok(f);
    }
    if f.flags & g::FUTEX2_NUMA != 0 {
        let at = f.addr.checked_add(4).ok_or(Errno::EFAULT)?;
        if !f.addr.is_multiple_of(8) {
            return Err(Errno::EINVAL);
        }
        let mut node = [0; 4];
        usermem::copy_in(at, &mut node)?;
        match u32::from_ne_bytes(node) {
            NO_NODE => usermem::copy_out(at, &current_node().to_ne_bytes())?,
            node if node >= NODES_MAX => return Err(Errno::EINVAL),
            _ => {}
        }
    }
    Ok(Futex { flags: f.flags & !NODE, ..f })
}

/// The node that the calling thread is on.
fn current_node() -> u32 {
    let mut node = 0u32;
    // SAFETY: the kernel writes one int.
    let _ = unsafe { raw::syscall3(g::__NR_getcpu, 0, &raw mut node as usize, 0) };
    *core::hint::black_box(&node)
}

/// Sleeps on words of ours that are 0, each in the way of its futex.
///
/// # Errors
/// `EINTR`, `EAGAIN`; `ENOSYS`.
pub fn sleep(words: &[FutexWord], of: &[Futex], mask: u32) -> HostResult<u32> {
    // Only between two futexes with the same flags can a sleeper be moved.
    let alike =
        |(w, f): (&FutexWord, &Futex)| Futex { addr: addr_of(w), flags: plain(f.flags), val: 0 };
    match (words, of) {
        ([word], [futex]) => wait_one(alike((word, futex)), mask),
        _ => wait_any(words.iter().zip(of).map(alike)),
    }
}

/// Sleeps on futexes.
///
/// # Errors
/// `EINTR`; `EAGAIN` another value; `EFAULT`, `EINVAL`; `ENOSYS`.
pub fn wait(on: &[Futex], mask: u32) -> HostResult<u32> {
    let mut all = Vec::new();
    all.try_reserve_exact(on.len()).map_err(|_| Errno::ENOMEM)?;
    for f in on {
        all.push(known(*f)?);
    }
    match all.as_slice() {
        [one] => wait_one(*one, mask),
        _ => wait_any(all.iter().copied()),
    }
}

fn wait_one(f: Futex, mask: u32) -> HostResult<u32> {
    let (addr, val) = (f.addr as usize, f.val as usize);
    if f.flags & NODE != 0 {
        let (mask, flags) = (mask as usize, f.flags as usize);
        return app_call(g::__NR_futex_wait, [addr, val, mask, flags, 0, 0]).map(|_| 0);
    }
    let op = op(g::FUTEX_WAIT_BITSET, f.flags);
    app_call(g::__NR_futex, [addr, op, val, 0, 0, mask as usize]).map(|_| 0)
}

fn wait_any(on: impl ExactSizeIterator<Item = Futex>) -> HostResult<u32> {
    let mut all: Vec<Waitv> = Vec::new();
    all.try_reserve_exact(on.len()).map_err(|_| Errno::ENOMEM)?;
    all.extend(on.map(|f| Waitv::new(f.addr, f.val, f.flags)));
    let (at, n) = (all.as_ptr() as usize, all.len());
    app_call(g::__NR_futex_waitv, [at, n, 0, 0, 0, 0]).map(count)
}

/// Makes the sleeper on a word that is 0 one on a futex.
///
/// # Errors
/// `EAGAIN` the word is not 0; `EFAULT`, `EINVAL`; `ENOSYS`.
pub fn move_to(word: &FutexWord, to: Futex) -> HostResult<bool> {
    let to = known(to)?;
    let from = addr_of(word);
    let ret = if to.flags & NODE == 0 {
        let op = op(g::FUTEX_CMP_REQUEUE, to.flags);
        // SAFETY: the kernel reads the word; the other address is the application's, and only a key.
        unsafe { raw::syscall6(g::__NR_futex, [from as usize, op, 0, 1, to.addr as usize, 0]) }
    } else {
        let pair = [Waitv::new(from, 0, to.flags), Waitv::new(to.addr, 0, to.flags)];
        let at = pair.as_ptr() as usize;
        // SAFETY: the kernel reads the pair and the word; the other address is the application's, and
        // a key with the number of a node behind it.
        unsafe { raw::syscall4(g::__NR_futex_requeue, at, 0, 0, 1) }
    };
    Errno::demux(ret).map(|n| n > 0)
}

/// Wakes sleepers on a futex: how many.
///
/// # Errors
/// `EINVAL` no mask, not aligned; `EFAULT`; `ENOSYS`.
pub fn wake(f: Futex, mask: u32) -> HostResult<u32> {
    if mask == 0 {
        return Err(Errno::EINVAL);
    }
    let f = known(f)?;
    let (addr, n, mask) = (f.addr as usize, f.val as usize, mask as usize);
    if f.flags & NODE != 0 {
        return app_call(g::__NR_futex_wake, [addr, mask, n, f.flags as usize, 0, 0]).map(count);
    }
    if f.val == 0 {
        return wake_none(f);
    }
    let op = op(g::FUTEX_WAKE_BITSET, f.flags);
    app_call(g::__NR_futex, [addr, op, n, 0, 0, mask]).map(count)
}

/// To wake none is to check the address, and futex(2) wakes one. A requeue of none does that.
fn wake_none(f: Futex) -> HostResult<u32> {
    let op = op(g::FUTEX_REQUEUE, f.flags);
    app_call(g::__NR_futex, [f.addr as usize, op, 0, 0, f.addr as usize, 0]).map(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thread::{self, Name, Spec, Table};
    use core::sync::atomic::AtomicU32;
    use core::sync::atomic::Ordering::{Acquire, Release};
    use ringer_engine::host::HostThread;
    use rust_alloc::boxed::Box;
    use std::sync::mpsc;

    const PRIVATE: u32 = g::FUTEX2_SIZE_U32 | g::FUTEX2_PRIVATE;
    const SHARED: u32 = g::FUTEX2_SIZE_U32;

    fn leak(value: u32) -> &'static AtomicU32 {
        Box::leak(Box::new(AtomicU32::new(value)))
    }

    fn leak_word(value: u32) -> &'static FutexWord {
        let word = FutexWord::default();
        word.value.store(value, Release);
        Box::leak(Box::new(word))
    }

    fn futex(word: &AtomicU32, flags: u32, val: u32) -> Futex {
        Futex { addr: word.as_ptr().expose_provenance() as u64, flags, val }
    }

    /// A sleeper on words of ours, and what it says when it is up again.
    struct Sleeper {
        words: &'static [FutexWord],
        thread: thread::LinuxThread,
        answer: mpsc::Receiver<HostResult<u32>>,
    }

    impl Sleeper {
        fn new(of: Vec<Futex>, mask: u32) -> Self {
            let words = of.iter().map(|_| FutexWord::default()).collect::<Vec<_>>().leak();
            let words: &'static [FutexWord] = words;
            let (tx, answer) = mpsc::channel();
            let body = move || {
                let _ = tx.send(sleep(words, &of, mask));
            };
            let spec = Spec { name: Name::worker(), table: Table::Shared, cpu: None };
            let thread = thread::spawn(spec, Box::new(body)).unwrap();
            Self { words, thread, answer }
        }

        fn move_to(&self, i: usize, to: Futex) {
            while !move_to(&self.words[i], to).unwrap() {
                std::thread::yield_now();
            }
        }

        fn said(&self) -> HostResult<u32> {
            let said = self.answer.recv().unwrap();
            self.thread.join();
            said
        }
    }

    #[test]
    fn sleepers_are_woken_where_they_were_moved_in_the_order_they_were() {
        crate::signals::install();
        for flags in [PRIVATE, SHARED] {
            let word = leak(7);
            let f = futex(word, flags, 7);
            // One after the other: whose two words share a bucket of the kernel's is in the order in
            // which it fell asleep (6.18 kernel/futex/requeue.c `requeue_futex`).
            let sleeper = |_| {
                let s = Sleeper::new(rust_alloc::vec![f], 1);
                s.move_to(0, f);
                s
            };
            let sleepers: Vec<_> = (0..3).map(sleeper).collect();
            assert_eq!(wake(Futex { val: 2, ..f }, 2), Ok(0), "another mask");
            assert_eq!(wake(Futex { val: 0, ..f }, u32::MAX), Ok(0), "none");
            assert_eq!(wake(Futex { val: 2, ..f }, 3), Ok(2));
            assert_eq!(sleepers[0].said(), Ok(0));
            assert_eq!(sleepers[1].said(), Ok(0));
            assert!(sleepers[2].answer.try_recv().is_err());
            assert_eq!(wake(Futex { val: 9, ..f }, u32::MAX), Ok(1));
            assert_eq!(sleepers[2].said(), Ok(0));
        }
    }

    #[test]
    fn who_sleeps_on_many_says_which() {
        crate::signals::install();
        let (a, b) = (leak(1), leak(2));
        let of = rust_alloc::vec![futex(a, PRIVATE, 1), futex(b, SHARED, 2)];
        let s = Sleeper::new(of.clone(), u32::MAX);
        s.move_to(0, of[0]);
        s.move_to(1, of[1]);
        assert_eq!(wake(Futex { val: 1, ..of[1] }, u32::MAX), Ok(1));
        assert_eq!(s.said(), Ok(1));
        assert_eq!(wake(Futex { val: 1, ..of[0] }, u32::MAX), Ok(0));
    }

    #[test]
    fn a_futex_of_a_node_is_slept_on_as_any() {
        crate::signals::install();
        for more in [g::FUTEX2_NUMA, g::FUTEX2_MPOL, NODE] {
            let word = leak_word(0);
            let f = Futex { addr: addr_of(word), flags: PRIVATE | more, val: 0 };
            let s = Sleeper::new(rust_alloc::vec![f], 2);
            s.move_to(0, f);
            assert_eq!(wake(Futex { val: 9, ..f }, 1), Ok(0), "another mask");
            assert_eq!(wake(Futex { val: 0, ..f }, 2), Ok(0), "none");
            assert_eq!(wake(Futex { val: 9, ..f }, 2), Ok(1));
            assert_eq!(s.said(), Ok(0));
        }
    }

    #[test]
    fn who_is_interrupted_was_not_woken() {
        crate::signals::install();
        let word = leak(0);
        let f = futex(word, PRIVATE, 0);
        let s = Sleeper::new(rust_alloc::vec![f], u32::MAX);
        s.move_to(0, f);
        s.words[0].value.store(1, Release);
        s.thread.interrupt();
        assert_eq!(s.said(), Err(Errno::EINTR));
        assert_eq!(wake(Futex { val: 1, ..f }, u32::MAX), Ok(0));
        assert_eq!(s.words[0].value.load(Acquire), 1);
    }

    #[test]
    fn what_is_no_futex_is_said_in_the_kernels_words() {
        let word = leak(5);
        let f = futex(word, PRIVATE, 5);
        let off = Futex { addr: f.addr + 1, ..f };
        let nowhere = Futex { addr: 8, flags: SHARED, ..f };
        assert_eq!(wake(f, 0), Err(Errno::EINVAL));
        assert_eq!(wake(Futex { val: 0, ..f }, 0), Err(Errno::EINVAL));
        assert_eq!(wake(off, 1), Err(Errno::EINVAL));
        assert_eq!(wake(Futex { val: 0, ..off }, 1), Err(Errno::EINVAL));
        assert_eq!(wake(nowhere, 1), Err(Errno::EFAULT));
        assert_eq!(wake(Futex { val: 0, ..nowhere }, 1), Err(Errno::EFAULT));
        assert_eq!(move_to(leak_word(0), off), Err(Errno::EINVAL));
        assert_eq!(move_to(leak_word(0), nowhere), Err(Errno::EFAULT));
        assert_eq!(move_to(leak_word(1), f), Err(Errno::EAGAIN));
        assert_eq!(move_to(leak_word(0), f), Ok(false));
        assert_eq!(wait(&[Futex { val: 6, ..f }], 1), Err(Errno::EAGAIN));
    }
}
