//! Sites that trap again and again are patched: a jump to the engine instead of a trap, some
//! nanoseconds a call instead of 0.9 us.
//!
//! ```text
//!  trap, trap, ... --16th--> where does the function begin? (unwind.rs)
//!                            is there a safe plan?          (site.rs)
//!                            who asks for the flags?        (flags.rs)
//!                            a stub within reach:   rw- page, filled, then r-x
//!                            the page(s) of code:   rw- copy, changed, then r-x,
//!                                                   moved over the original (mremap)
//! ```
//! No page is writable and executable at any time, and no thread finds half of a jump: the page table
//! changes from the old page to the new one, and a thread that runs there while it does waits in a
//! fault for the kernel's lock. What the site looked like before still works, as every instruction
//! but one keeps its bytes (`site.rs`), so it does not matter where other threads are.
//!
//! Whatever cannot be proved or is refused (no unwinding table, execmem of SELinux, MDWE) leaves the
//! trap as it is. An object that is unloaded takes its pages along; stubs stay.
//!
//! What it does not do: patch setup, register and mmap, which are rare, or anything in libc.

use crate::scan::{Code, Seen};
use crate::site::{self, Places};
use crate::{entry, flags, start, stats, trampoline, unwind};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use ringer_engine::stats as layout;
use ringer_sys::raw::{self, PAGE, general as g};
use ringer_sys::usermem;

/// Traps of a site from one try to the next: a program with few calls does not pay for a change.
const PATIENCE: u32 = 16;
/// Tries with a site: the lock was taken, or memory short.
const TRIES: u32 = 4;
/// Sites that are counted.
const SITES: usize = 64;
/// Longest way from a function's start to a site \[bytes\].
const FUNCTION_MAX: u64 = 1 << 16;
/// How far a jump reaches, and some less \[bytes\].
const REACH: u64 = 0x7000_0000;
/// First distance between places that are tried for a stub \[bytes\], which doubles every so many.
const STEP: u64 = 1 << 16;
const TRIED_WITH_A_STEP: u32 = 64;
/// Nothing is put lower than this.
const LOWEST: u64 = 1 << 16;

struct Count {
    /// The address after the `syscall`; 0: free.
    after: AtomicU64,
    traps: AtomicU32,
}

impl Count {
    /// Makes a free one that of a site, or finds that it was just made so.
    fn claims(&self, after: u64) -> bool {
        match self.after.compare_exchange(0, after, Relaxed, Relaxed) {
            Ok(_) => true,
            Err(now) => now == after,
        }
    }
}

static COUNTS: [Count; SITES] =
    [const { Count { after: AtomicU64::new(0), traps: AtomicU32::new(0) } }; SITES];
static FORBIDDEN: AtomicBool = AtomicBool::new(false);

/// Inline calls stay traps.
pub(crate) fn forbid() {
    FORBIDDEN.store(true, Relaxed);
}

/// A call came by a trap from the `syscall` before `after`, and was answered.
pub(crate) fn trapped(nr: usize, after: u64) {
    stats::count(layout::TRAPS);
    if nr as u32 == g::__NR_io_uring_enter && !FORBIDDEN.load(Relaxed) && is_due(after) {
        entry::aside(|| {
            // Taken: an object is being covered, or another site changed.
            if let Some(seen) = start::SEEN.try_lock()
                && patch(&seen, after).is_some()
            {
                stats::count(layout::PATCHED);
            }
        });
    }
}

fn is_due(after: u64) -> bool {
    let is_its = |c: &&Count| match c.after.load(Relaxed) {
        0 => c.claims(after),
        now => now == after,
    };
    let Some(count) = COUNTS.iter().find(is_its) else { return false };
    let traps = count.traps.fetch_add(1, Relaxed).saturating_add(1);
    traps.is_multiple_of(PATIENCE) && traps <= TRIES * PATIENCE
}

fn patch(seen: &Seen, after: u64) -> Option<()> {
    let code = seen.code_at(after - 1)?;
    let (start, next) = unwind::function(code.functions?, after - 1)?;
    let len = after.checked_sub(start).filter(|&len| len <= FUNCTION_MAX)?;
    let function = copy(start, len as usize)?;
    let plan = site::plan(&function)?;
    let line = function.get(plan.at..(len as usize).checked_sub(2)?)?;
    let from = start + plan.at as u64;
    let trampoline = trampoline::for_stub(flags_are_asked_for(start, after, next));
    let jump_to = put_stub(code, from, line, trampoline)?;
    change(from, &site::replacement(from, plan.len, jump_to)?)
}

/// Whether the function from `start` to `next` may tell what the call before `after` leaves in the flags.
fn flags_are_asked_for(start: u64, after: u64, next: Option<u64>) -> bool {
    let len = next.and_then(|next| next.checked_sub(start)).filter(|&len| len <= FUNCTION_MAX);
    let function = len.and_then(|len| copy(start, len as usize));
    function.is_none_or(|code| flags::are_asked_for(&code, (after - start) as usize))
}

/// Application memory, as it is now.
fn copy(from: u64, len: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).ok()?;
    bytes.resize(len, 0);
    usermem::copy_in(from, &mut bytes).ok()?;
    Some(bytes)
}

/// Fresh pages of ours, not executable yet.
struct Pages {
    at: u64,
    len: usize,
}

impl Pages {
    /// Somewhere, or at `at` if nothing is there.
    fn new(at: u64, len: usize) -> Result<Self, ringer_uapi::Errno> {
        let there = if at == 0 { 0 } else { g::MAP_FIXED_NOREPLACE };
        let (prot, flags) = (g::PROT_READ | g::PROT_WRITE, g::MAP_PRIVATE | g::MAP_ANONYMOUS);
        // SAFETY: nothing that exists is replaced.
        let got = unsafe { raw::mmap(at as usize, len, prot, flags | there, -1, 0) }?;
        let pages = Self { at: got as u64, len };
        // Kernels before 4.17 take it for a hint.
        if at != 0 && pages.at != at { Err(ringer_uapi::Errno::EEXIST) } else { Ok(pages) }
    }

    fn write(&self, offset: usize, bytes: &[u8]) -> Option<()> {
        let fits = offset.checked_add(bytes.len()).is_some_and(|end| end <= self.len);
        // A copy that names addresses only: nothing in Rust refers to these pages.
        if fits { usermem::copy_out(self.at + offset as u64, bytes).ok() } else { None }
    }

    /// Makes them executable and no longer writable.
    fn seal(&self) -> Option<()> {
        // SAFETY: nothing in Rust refers to these pages.
        unsafe { raw::mprotect(self.at as usize, self.len, g::PROT_READ | g::PROT_EXEC) }
            // Refused once, refused always.
            .inspect_err(|_| forbid())
            .ok()
    }

    /// They stay.
    fn keep(self) -> u64 {
        let at = self.at;
        core::mem::forget(self);
        at
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: ours, and nobody was told where they are.
        let _ = unsafe { raw::munmap(self.at as usize, self.len) };
    }
}

/// Puts the stub for `line` at `from` within reach: its address.
fn put_stub(code: Code, from: u64, line: &[u8], trampoline: u64) -> Option<u64> {
    let page = below(code.lowest, from)?;
    let places = Places { from, stub: page.at, trampoline };
    page.write(0, &site::stub(line, places)?)?;
    page.seal()?;
    Some(page.keep())
}

/// A page below an object, where neither its heap nor a stack grows, and within reach of `from`.
fn below(object: u64, from: u64) -> Option<Pages> {
    let (mut at, mut step) = (object & !(STEP - 1), STEP);
    loop {
        for _ in 0..TRIED_WITH_A_STEP {
            at = at.checked_sub(step).filter(|&at| at >= LOWEST && from - at < REACH)?;
            match Pages::new(at, PAGE) {
                Err(ringer_uapi::Errno::EEXIST) => {}
                other => return other.ok(),
            }
        }
        step *= 2;
    }
}

/// Puts what begins with a jump over the instruction at `from`, which is as long.
fn change(from: u64, jump: &[u8]) -> Option<()> {
    let page = PAGE as u64;
    let first = from & !(page - 1);
    let len = (from + jump.len() as u64).next_multiple_of(page) - first;
    let fresh = Pages::new(0, len as usize).ok()?;
    fresh.write(0, &copy(first, len as usize)?)?;
    fresh.write((from - first) as usize, jump)?;
    fresh.seal()?;
    let flags = g::MREMAP_MAYMOVE | g::MREMAP_FIXED;
    // SAFETY:
    // 1. What lies at `first` is code of an object that the loader mapped, which nothing in Rust refers
    //    to, and is replaced by the same bytes but for the jump.
    // 2. `site::plan` proves that executing the jump does what executing the old instruction did.
    let moved =
        unsafe { raw::mremap(fresh.at as usize, fresh.len, fresh.len, flags, first as usize) };
    moved.ok()?;
    fresh.keep();
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    type Code = extern "C" fn() -> u32;

    /// mov eax, n; ret
    const fn returns(n: u8) -> [u8; 6] {
        [0xb8, n, 0, 0, 0, 0xc3]
    }

    /// What calls came to, by answer, until it is over.
    fn calls(code: Code, over: &AtomicBool) -> [u64; 3] {
        let mut seen = [0; 3];
        while !over.load(Relaxed) {
            seen[code() as usize] += 1;
        }
        seen
    }

    /// Changes code at `offset` of two pages there and back, under threads that run it.
    fn there_and_back(offset: usize) {
        let old = Pages::new(0, 2 * PAGE).unwrap();
        old.write(offset, &returns(1)).unwrap();
        old.seal().unwrap();
        let new = Pages::new(0, PAGE).unwrap();
        new.write(0, &returns(2)).unwrap();
        new.seal().unwrap();
        let from = old.at + offset as u64;
        let (mov, jump) = (returns(1), site::jump(from, new.at).unwrap());
        // SAFETY: a function without arguments lies there, whole at any time: that is the claim.
        let code = unsafe { core::mem::transmute::<u64, Code>(from) };
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let threads: [_; 3] = core::array::from_fn(|_| scope.spawn(|| calls(code, &over)));
            for _ in 0..2000 {
                change(from, &jump).unwrap();
                assert_eq!(code(), 2);
                change(from, &mov[..5]).unwrap();
                assert_eq!(code(), 1);
            }
            over.store(true, Relaxed);
            let seen = threads.map(|t| t.join().unwrap());
            assert!(seen.iter().all(|s| s[0] == 0 && s[1] > 0 && s[2] > 0), "{seen:?}");
        });
    }

    #[test]
    fn threads_find_the_old_code_or_the_new_while_it_changes() {
        // On a page, and across the border of two.
        there_and_back(64);
        there_and_back(PAGE - 3);
    }

    #[test]
    fn a_stub_lies_below_its_object_and_within_reach() {
        let here = Pages::new(0, PAGE).unwrap();
        let stub = below(here.at, here.at + 100).unwrap();
        assert!(stub.at < here.at && here.at - stub.at < REACH);
        assert!(below(LOWEST, LOWEST).is_none());
    }

    #[test]
    fn a_site_is_tried_each_sixteenth_time_and_then_left() {
        let due = |after: u64| (0..1000).filter(|_| is_due(after)).count();
        assert_eq!(due(0x1234), TRIES as usize);
        assert_eq!(due(0x1234), 0);
        assert_eq!(due(0x1235), TRIES as usize);
        // There is room for so many.
        let tried = (0..2 * SITES as u64).filter(|site| due(0x10_0000 + site) > 0).count();
        assert!((1..SITES).contains(&tried), "{tried}");
    }
}
