//! What the interposed waits tell: that somebody polls a ring, and that a thread is about to wait.
//!
//! Everything costs one load while the process has no rings.

use crate::root;
use ringer_sys::{fdtable, keeper, ringobj, usermem};
use ringer_uapi::Errno;

/// Descriptors looked at in one poll or select: more would cost more than a wake-up too many.
const LOOK_MAX: usize = 1024;

/// epoll_ctl(2) with `op` on `fd`: an addition is rare enough to ask the kernel what `fd` is.
#[inline]
pub fn epoll_ctl(op: i32, fd: i32) {
    const EPOLL_CTL_ADD: i32 = 1;
    if root::get().is_none() {
        return;
    }
    if op == EPOLL_CTL_ADD {
        ringobj::polled(fd);
    } else {
        polls_once(fd);
    }
}

/// `fd` is polled once: only numbers that are known to be rings count.
fn polls_once(fd: i32) {
    if fdtable::ring_of_known(fd).is_some() {
        ringobj::polled(fd);
    }
}

/// The `pollfd`s at `at`.
#[inline]
pub fn poll_list(at: usize, n: usize) {
    if root::get().is_none() {
        return;
    }
    for i in 0..n.min(LOOK_MAX) {
        let mut fd = [0; 4];
        if usermem::copy_in((at + 8 * i) as u64, &mut fd).is_err() {
            break;
        }
        polls_once(i32::from_ne_bytes(fd));
    }
    ringobj::before_wait();
}

/// The `fd_set`s at `sets`, up to descriptor `n`.
#[inline]
pub fn select_sets(n: i32, sets: [usize; 2]) {
    if root::get().is_none() {
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
