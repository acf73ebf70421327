//! Who a thread is: one number, equal where a worker made under one may act for the other.
//!
//! ```text
//!  nobody called `changed`, ids as at the start   -> 0, for every thread
//!  otherwise                                      -> a number of this thread's own, new after
//!                                                    each change that could concern it
//! ```
//!
//! Credentials, capabilities, filters, Landlock domains, roots and masks belong to threads, and
//! libc changes them for all. Interception calls [`changed`] after every setter it sees; user and
//! group ids are compared each time besides (two cheap system calls), because programs such as
//! Samba change them by raw calls. What it does not do: see a raw capset, seccomp, landlock or
//! setfsuid.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU64, AtomicUsize};

use ringer_engine::host::Identity;

use crate::raw::{self, general as g};
use crate::thread;

/// How often somebody changed something.
static EPOCH: AtomicU64 = AtomicU64::new(0);
/// Ids at the start, folded; 0 before [`start`].
static START_IDS: AtomicU64 = AtomicU64::new(0);
static NEXT: AtomicUsize = AtomicUsize::new(1);

/// Remembers the ids of the process. To be called before the first ring.
pub fn start() {
    if START_IDS.load(Relaxed) == 0 {
        START_IDS.store(ids(), Release);
    }
}

/// Something that identity consists of has changed, for one thread or for all: setuid(2) and its
/// family, capset(2), seccomp(2), landlock_restrict_self(2), prctl(2) with such effects, unshare(2),
/// setns(2), chroot(2), umask(2)...
pub fn changed() {
    // Release: a thread that sees the new epoch sees what was changed before.
    EPOCH.fetch_add(1, Release);
}

/// The calling thread's identity.
pub fn current() -> Identity {
    let epoch = EPOCH.load(Acquire);
    let ids = ids();
    if epoch == 0 && ids == START_IDS.load(Acquire) {
        return Identity(0);
    }
    let r = thread::record();
    if r.identity_epoch.load(Relaxed) != epoch
        || r.identity_ids.load(Relaxed) != ids
        || r.identity.load(Relaxed) == 0
    {
        r.identity_epoch.store(epoch, Relaxed);
        r.identity_ids.store(ids, Relaxed);
        r.identity.store(NEXT.fetch_add(1, Relaxed) as u64, Relaxed);
    }
    Identity(r.identity.load(Relaxed))
}

/// Real, effective and saved user and group ids, mixed into one number that is not 0.
fn ids() -> u64 {
    let mut ids = [0u32; 6];
    let [ruid, euid, suid, rgid, egid, sgid] = &mut ids;
    for (nr, [a, b, c]) in
        [(g::__NR_getresuid, [ruid, euid, suid]), (g::__NR_getresgid, [rgid, egid, sgid])]
    {
        let (a, b, c) = (&raw mut *a as usize, &raw mut *b as usize, &raw mut *c as usize);
        // SAFETY: the kernel writes three ints to places in `ids`. It cannot fail.
        let _ = unsafe { raw::syscall3(nr, a, b, c) };
    }
    ids.iter().fold(1, |mix: u64, &id| {
        (mix ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
    }) | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_changes_with_ids_and_with_notices() {
        let code = raw::testing::in_child(|| {
            start();
            let first = current();
            if first != Identity(0) {
                return 1;
            }
            // A raw change of the effective group, which nobody announced.
            // SAFETY: touches no memory.
            let set = |egid: usize| unsafe { raw::syscall3(g::__NR_setresgid, !0, egid, !0) };
            let was = {
                let mut gids = [0u32; 3];
                let [a, b, c] = gids.each_mut().map(|p| &raw mut *p as usize);
                // SAFETY: the kernel writes three ints.
                let _ = unsafe { raw::syscall3(g::__NR_getresgid, a, b, c) };
                gids[1] as usize
            };
            if set(was + 1) == 0 {
                let second = current();
                if second == first || current() != second {
                    return 2;
                }
                set(was);
                if current() != first {
                    return 3;
                }
            }
            changed();
            let third = current();
            let elsewhere = std::thread::spawn(current).join();
            if third == first || current() != third || elsewhere.is_ok_and(|e| e == third) {
                return 4;
            }
            changed();
            i32::from(current() == third)
        });
        assert_eq!(code, 0);
    }
}
