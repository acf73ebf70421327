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
//! Samba change them by raw calls. [`credentials`] asks for all that can be asked, for requests that
//! name a personality. What it does not do: see a raw seccomp or landlock, nor elsewhere a raw capset
//! or setfsuid.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU64, AtomicUsize};

use ringer_engine::host::{Credentials, Identity};

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

/// Says who the calling thread is, for good: nobody changes its credentials.
pub fn give(identity: Identity) {
    thread::record().identity_given.store(identity.0, Relaxed);
}

/// The calling thread's identity.
pub fn current() -> Identity {
    let given = thread::record().identity_given.load(Relaxed);
    if given != 0 {
        return Identity(given);
    }
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

/// The calling thread's credentials: what can be asked for (ids, those for files, groups, capabilities,
/// securebits), and of what cannot (filters, Landlock) how often any of it was changed.
pub fn credentials() -> Credentials {
    let mut mix = blend(ids(), EPOCH.load(Acquire));
    for nr in [g::__NR_setfsuid, g::__NR_setfsgid] {
        // SAFETY: touches no memory; an id that there is not changes nothing and answers the old one.
        let old = unsafe { raw::syscall1(nr, usize::MAX) };
        mix = blend(mix, old as u64);
    }
    for word in capabilities() {
        mix = blend(mix, word.into());
    }
    // SAFETY: takes no memory.
    let bits = unsafe { raw::syscall2(g::__NR_prctl, PR_GET_SECUREBITS, 0) };
    Credentials(blend(groups(mix), bits as u64))
}

const PR_GET_SECUREBITS: usize = linux_raw_sys::prctl::PR_GET_SECUREBITS as usize;
/// `_LINUX_CAPABILITY_VERSION_3`.
const CAPABILITY_VERSION: u32 = 0x2008_0522;
/// `NGROUPS_MAX`.
const GROUPS_MAX: usize = 65_536;

/// Effective, permitted and inheritable capabilities.
fn capabilities() -> [u32; 6] {
    let header = [CAPABILITY_VERSION, 0];
    let mut words = [0u32; 6];
    // SAFETY: version 3 reads 8 bytes and writes two structures of three words.
    let _ = unsafe {
        raw::syscall2(g::__NR_capget, header.as_ptr() as usize, words.as_mut_ptr() as usize)
    };
    words
}

/// Mixes the supplementary groups in.
fn groups(mix: u64) -> u64 {
    let mut few = [0u32; 64];
    let ask = |room: &mut [u32]| {
        // SAFETY: the kernel writes at most `room`'s length of ids.
        let n = unsafe { raw::syscall2(g::__NR_getgroups, room.len(), room.as_mut_ptr() as usize) };
        usize::try_from(n).ok()
    };
    let add =
        |all: &[u32]| all.iter().fold(blend(mix, all.len() as u64), |m, id| blend(m, (*id).into()));
    if let Some(n) = ask(&mut few) {
        return add(few.get(..n).unwrap_or(&few));
    }
    let mut many = rust_alloc::vec![0u32; GROUPS_MAX];
    let n = ask(&mut many).unwrap_or(0);
    add(many.get(..n).unwrap_or(&many))
}

fn blend(mix: u64, value: u64) -> u64 {
    (mix ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
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
    ids.iter().fold(1, |mix, &id| blend(mix, id.into())) | 1
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

    #[test]
    fn credentials_differ_where_only_the_thread_could_know() {
        let code = raw::testing::in_child(|| {
            start();
            let first = credentials();
            if credentials() != first || current() != Identity(0) {
                return 1;
            }
            // SAFETY: touches no memory.
            let set = |nr, id: usize| unsafe { raw::syscall1(nr, id) } as usize;
            for nr in [g::__NR_setfsuid, g::__NR_setfsgid] {
                let old = set(nr, usize::MAX);
                set(nr, old + 1);
                if set(nr, usize::MAX) != old && credentials() == first {
                    return 2;
                }
                set(nr, old);
            }
            let mut caps = capabilities();
            let [effective, ..] = &mut caps;
            let changes = *effective & 1 != 0;
            *effective &= !1;
            let header = [CAPABILITY_VERSION, 0];
            // SAFETY: version 3 reads 8 bytes and two structures of three words.
            let _ = unsafe {
                raw::syscall2(g::__NR_capset, header.as_ptr() as usize, caps.as_ptr() as usize)
            };
            if changes && credentials() == first {
                return 3;
            }
            i32::from(current() != Identity(0))
        });
        assert_eq!(code, 0);
    }

    #[test]
    fn an_identity_that_was_given_stays() {
        let code = raw::testing::in_child(|| {
            give(Identity(77));
            changed();
            i32::from(current() != Identity(77))
        });
        assert_eq!(code, 0);
    }
}
