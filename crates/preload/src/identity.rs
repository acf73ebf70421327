//! Who changes what the process may do: workers made before must not act afterwards.

use crate::{export, real};
use ringer_sys::{attach, identity};

/// Exports functions that call the real one and then say that the identity may have changed.
macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident($($a:ident: $t:ty),*);)*) => {
        $(export! {
            $(#[$doc])*
            fn $name($($a: $t),*) -> i32 {
                // SAFETY: the caller's own call.
                let r = unsafe { real::$name($($a),*) };
                identity::changed();
                r
            }
        })*
    };
}

setters! {
    /// setuid(2).
    setuid(id: u32);
    /// seteuid(2).
    seteuid(id: u32);
    /// setreuid(2).
    setreuid(r: u32, e: u32);
    /// setresuid(2).
    setresuid(r: u32, e: u32, s: u32);
    /// setgid(2).
    setgid(id: u32);
    /// setegid(2).
    setegid(id: u32);
    /// setregid(2).
    setregid(r: u32, e: u32);
    /// setresgid(2).
    setresgid(r: u32, e: u32, s: u32);
    /// setfsuid(2).
    setfsuid(id: u32);
    /// setfsgid(2).
    setfsgid(id: u32);
    /// setgroups(2).
    setgroups(n: usize, list: usize);
    /// initgroups(3).
    initgroups(user: usize, group: u32);
    /// capset(2).
    capset(header: usize, data: usize);
    /// unshare(2).
    unshare(flags: i32);
    /// setns(2).
    setns(fd: i32, kind: i32);
}

/// The option of prctl(2) that sets a filter.
pub(crate) const PR_SET_SECCOMP: i32 = 22;

/// The options of prctl(2) that change what a thread may do: PR_SET_KEEPCAPS and PR_SET_SECUREBITS
/// only what a later call does, but they are rare.
pub(crate) const fn prctl_changes_identity(option: i32) -> bool {
    const PR_SET_KEEPCAPS: i32 = 8;
    const PR_CAPBSET_DROP: i32 = 24;
    const PR_SET_SECUREBITS: i32 = 28;
    const PR_SET_NO_NEW_PRIVS: i32 = 38;
    const PR_CAP_AMBIENT: i32 = 47;
    matches!(
        option,
        PR_SET_KEEPCAPS
            | PR_SET_SECCOMP
            | PR_CAPBSET_DROP
            | PR_SET_SECUREBITS
            | PR_SET_NO_NEW_PRIVS
            | PR_CAP_AMBIENT
    )
}

export! {
    /// prctl(2). Its arguments all come in registers.
    fn prctl(option: i32, a: usize, b: usize, c: usize, d: usize) -> i32 {
        if option == PR_SET_SECCOMP {
            attach::forbid();
        }
        // SAFETY: the caller's own call.
        let r = unsafe { real::prctl(option, a, b, c, d) };
        if prctl_changes_identity(option) {
            identity::changed();
        }
        r
    }
}
