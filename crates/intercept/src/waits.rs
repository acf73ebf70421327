//! What the interposed waits tell: that somebody polls a ring, and that a thread is about to wait.
//!
//! Everything costs one load while the process has no rings. A poll(2) that asks whether a ring is
//! writable asks that of a copy without the question where the ring's SQ is full: the descriptor
//! itself always is. What it does not do: the same for select, epoll and POLL_ADD (LIMITATIONS.md).

use crate::{entry, root};
use ringer_sys::{fdtable, keeper, ringobj, usermem};
use ringer_uapi::Errno;

/// Descriptors looked at in one poll or select: more would cost more than a wake-up too many.
const LOOK_MAX: usize = 1024;

/// Longest list of which a copy is made.
const COPY_MAX: usize = 64;
/// `POLLOUT | POLLWRNORM`: what a ring with room answers.
const WRITABLE: u16 = 0x104;

/// epoll_ctl(2) with `op` on `fd`: an addition is rare enough to ask the kernel what `fd` is.
#[inline]
pub fn epoll_ctl(op: i32, fd: i32) {
    const EPOLL_CTL_ADD: i32 = 1;
    if !fdtable::any_rings() {
        return;
    }
    if op == EPOLL_CTL_ADD {
        entry::adopt_inherited(fd);
        ringobj::polled(fd);
    } else {
        polls_once(fd);
    }
}

/// `fd` is polled once: only numbers that are known to be rings count.
fn polls_once(fd: i32) {
    entry::adopt_inherited(fd);
    if fdtable::ring_of_known(fd).is_some() {
        ringobj::polled(fd);
    }
}

/// poll(2) of the `n` `pollfd`s at `at`: `call` is given where they are to be looked for.
#[inline]
pub fn poll_list<R: PartialOrd + Default>(at: usize, n: usize, call: impl FnOnce(usize) -> R) -> R {
    if !fdtable::any_rings() {
        return call(at);
    }
    let mut full = false;
    for i in 0..n.min(LOOK_MAX) {
        let mut entry = [0; 8];
        if usermem::copy_in((at + 8 * i) as u64, &mut entry).is_err() {
            break;
        }
        let entry = PollFd::of(entry);
        polls_once(entry.fd);
        full |= entry.asks_for_room_in_vain();
    }
    ringobj::before_wait();
    if full && n <= COPY_MAX { without_room(at, n, call) } else { call(at) }
}

/// `struct pollfd`.
struct PollFd {
    fd: i32,
    events: u16,
    revents: [u8; 2],
}

impl PollFd {
    fn of([a, b, c, d, e, f, g, h]: [u8; 8]) -> Self {
        let (fd, events) = (i32::from_ne_bytes([a, b, c, d]), u16::from_ne_bytes([e, f]));
        Self { fd, events, revents: [g, h] }
    }

    /// io_uring.c `io_uring_poll`: without room it is not writable.
    fn asks_for_room_in_vain(&self) -> bool {
        self.events & WRITABLE != 0 && ringobj::sq_full(self.fd)
    }
}

/// The call with a copy of the list that does not ask full rings for room.
#[cold]
#[inline(never)]
fn without_room<R: PartialOrd + Default>(at: usize, n: usize, call: impl FnOnce(usize) -> R) -> R {
    let mut copy = [[0u8; 8]; COPY_MAX];
    let copy = copy.get_mut(..n).unwrap_or_default();
    if usermem::copy_in(at as u64, copy.as_flattened_mut()).is_err() {
        return call(at);
    }
    for entry in copy.iter_mut() {
        let asked = PollFd::of(*entry);
        if asked.asks_for_room_in_vain() {
            let [low, high] = (asked.events & !WRITABLE).to_ne_bytes();
            (entry[4], entry[5]) = (low, high);
        }
    }
    let r = call(copy.as_mut_ptr().expose_provenance());
    if r >= R::default() {
        for (i, entry) in copy.iter().enumerate() {
            let _ = usermem::copy_out((at + 8 * i + 6) as u64, &PollFd::of(*entry).revents);
        }
    }
    r
}

/// The `fd_set`s at `sets`, up to descriptor `n`.
#[inline]
pub fn select_sets(n: i32, sets: [usize; 2]) {
    if !fdtable::any_rings() {
        return;
    }
    for at in sets.into_iter().filter(|&at| at != 0) {
        for i in 0..(n.clamp(0, LOOK_MAX as i32) as usize).div_ceil(64) {
            let mut word = [0; 8];
            if usermem::copy_in((at + 8 * i) as u64, &mut word).is_err() {
                break;
            }
            watched(u64::from_ne_bytes(word), 64 * i as i32);
        }
    }
    ringobj::before_wait();
}

fn watched(mut bits: u64, base: i32) {
    while bits != 0 {
        polls_once(base + bits.trailing_zeros() as i32);
        bits &= bits - 1;
    }
}

/// A thread is about to wait for descriptors: a ring whose completions were all reaped in memory
/// must not look readable any more.
#[inline]
pub fn about_to_wait() {
    if root::get().is_some() {
        ringobj::before_wait();
    }
}

/// munmap(2), if a ring lives in some of the range; the engine unmaps the rest of it then.
#[inline]
pub fn unmap_around(at: usize, len: usize) -> Option<isize> {
    root::get()?;
    ringobj::unmap_around(at, len).map(|r| Errno::mux(r.map(|()| 0)))
}

/// Memory was unmapped: perhaps the last mapping of a ring whose descriptors are gone.
#[inline]
pub fn unmapped() {
    if root::get().is_some() {
        keeper::poke();
    }
}
