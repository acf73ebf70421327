//! syscall(2): every call by number goes where the function of its name goes.
//!
//! Most programs that know io_uring without liburing come this way (libuv, Rust's io-uring crate).
//! The three calls are tested first; anything that nobody here cares about is made as it is.

use crate::identity::{PR_SET_SECCOMP, prctl_changes_identity};
use crate::masks::{self, SigSet, show, word};
use crate::{answer, descriptors, export};
use core::ffi::c_long;
use ringer_intercept::{entry, mask, process, waits as seen};
use ringer_sys::raw::{self, general as g};
use ringer_sys::signals::{self, Action};
use ringer_sys::{attach, fdtable, identity, usermem};
use ringer_uapi::Errno;

export! {
    /// syscall(2). It is variadic in C; the arguments come in the same places, and those that were
    /// not passed are whatever was there, as in libc's.
    fn syscall(
        nr: c_long,
        a: usize,
        b: usize,
        c: usize,
        d: usize,
        e: usize,
        f: usize,
    ) -> c_long {
        let args = [a, b, c, d, e, f];
        let ret = match nr {
            425..=427 => entry::entry(nr as usize, args),
            _ => other(nr as u32, args),
        };
        // One test on the way out of the hot path.
        if ret >= 0 { ret as c_long } else { answer(ret) as c_long }
    }
}

/// Makes a call as it is.
fn pass(nr: u32, args: [usize; 6]) -> isize {
    // SAFETY: the program's own call.
    unsafe { raw::syscall6(nr, args) }
}

fn refused(e: Errno) -> isize {
    Errno::mux(Err(e))
}

fn other(nr: u32, args: [usize; 6]) -> isize {
    let [a, b, c, ..] = args;
    match nr {
        g::__NR_mmap => entry::mmap(args),
        g::__NR_munmap => {
            let r = seen::unmap_around(a, b).unwrap_or_else(|| pass(nr, args));
            seen::unmapped();
            r
        }
        g::__NR_close if fdtable::is_ours(a as i32) => refused(Errno::EBADF),
        g::__NR_close => {
            descriptors::before_close(a as i32);
            pass(nr, args)
        }
        g::__NR_dup | g::__NR_dup2 | g::__NR_dup3 => dup(nr, args),
        g::__NR_close_range => {
            let [first, last, flags] = [a as u32, b as u32, c as u32];
            descriptors::close_range_parts(first, last, flags, |lo, hi| {
                pass(nr, [lo as usize, hi as usize, c, 0, 0, 0])
            })
        }
        g::__NR_fcntl => match descriptors::before_fcntl(a as i32, b as i32) {
            Err(e) => refused(e),
            Ok(()) => {
                let r = pass(nr, args);
                descriptors::after_fcntl(a as i32, b as i32, r as i32);
                r
            }
        },
        g::__NR_sendmsg => match descriptors::check_message(b) {
            Err(e) => refused(e),
            Ok(()) => pass(nr, args),
        },
        g::__NR_sendmmsg => match descriptors::check_messages(b, c as u32) {
            Err(e) => refused(e),
            Ok(n) => pass(nr, [a, b, n as usize, args[3], 0, 0]),
        },
        g::__NR_exit_group => {
            process::end();
            pass(nr, args)
        }
        g::__NR_fork | g::__NR_clone | g::__NR_clone3 => fork(nr, args),
        _ => signals_waits_identity(nr, args),
    }
}

fn dup(nr: u32, args: [usize; 6]) -> isize {
    let (old, new) = (args[0] as i32, args[1] as i32);
    let allowed = if nr == g::__NR_dup && !fdtable::is_ours(old) {
        Ok(())
    } else {
        descriptors::before_dup2(old, new)
    };
    if let Err(e) = allowed {
        return refused(e);
    }
    let r = pass(nr, args);
    if r >= 0 {
        fdtable::duplicated(old, r as i32);
    }
    r
}

fn fork(nr: u32, args: [usize; 6]) -> isize {
    let flags = match nr {
        g::__NR_clone => args[0] as u64,
        // A bad pointer is the real call's to refuse: no child comes of it.
        g::__NR_clone3 => word(args[0]).unwrap_or(u64::from(g::CLONE_VM)),
        _ => 0,
    };
    let shares = |what: u32| flags & u64::from(what) != 0;
    if shares(g::CLONE_VM) {
        return pass(nr, args);
    }
    process::about_to_fork();
    let r = pass(nr, args);
    if r == 0 {
        if shares(g::CLONE_FILES) { process::forked_with_files() } else { process::forked() }
    }
    r
}

fn signals_waits_identity(nr: u32, args: [usize; 6]) -> isize {
    let [a, b, c, d, e, _] = args;
    match nr {
        g::__NR_rt_sigprocmask => {
            let changed =
                masks::change(a as i32, b, c, |set| pass(nr, [a, set, c, d, 0, 0]) as i32);
            changed as isize
        }
        g::__NR_rt_sigaction => action(args),
        g::__NR_rt_sigsuspend => with_mask(nr, args, 0),
        g::__NR_ppoll => seen::poll_list(a, b, |a| with_mask(nr, [a, b, c, d, e, 0], 3)),
        g::__NR_epoll_pwait | g::__NR_epoll_pwait2 => {
            seen::about_to_wait();
            with_mask(nr, args, 4)
        }
        g::__NR_pselect6 => pselect6(args),
        g::__NR_poll => seen::poll_list(a, b, |a| pass(nr, [a, b, c, 0, 0, 0])),
        g::__NR_select => {
            seen::select_sets(a as i32, [b, c]);
            pass(nr, args)
        }
        g::__NR_epoll_ctl => {
            seen::epoll_ctl(b as i32, c as i32);
            pass(nr, args)
        }
        g::__NR_epoll_wait => {
            seen::about_to_wait();
            pass(nr, args)
        }
        g::__NR_setuid
        | g::__NR_setgid
        | g::__NR_setreuid
        | g::__NR_setregid
        | g::__NR_setgroups
        | g::__NR_setresuid
        | g::__NR_setresgid
        | g::__NR_setfsuid
        | g::__NR_setfsgid
        | g::__NR_capset
        | g::__NR_unshare
        | g::__NR_setns
        | g::__NR_seccomp
        | g::__NR_landlock_restrict_self => {
            if nr == g::__NR_seccomp {
                attach::forbid();
            }
            let r = pass(nr, args);
            identity::changed();
            r
        }
        g::__NR_prctl => {
            if a as i32 == PR_SET_SECCOMP {
                attach::forbid();
            }
            let r = pass(nr, [a, b, c, d, e, 0]);
            if prctl_changes_identity(a as i32) {
                identity::changed();
            }
            r
        }
        _ => pass(nr, args),
    }
}

/// A wait whose argument `at` is a signal mask.
fn with_mask(nr: u32, mut args: [usize; 6], at: usize) -> isize {
    let copy = args.get(at).and_then(|&set| SigSet::copy(set));
    if let (Some(copy), Some(arg)) = (&copy, args.get_mut(at)) {
        *arg = copy.addr();
    }
    pass(nr, args)
}

/// The sixth argument of pselect6 points to the mask's address and size.
fn pselect6(mut args: [usize; 6]) -> isize {
    let [n, r, w, _, _, last] = args;
    seen::select_sets(n as i32, [r, w]);
    let copy = word(last).and_then(|set| SigSet::copy(set as usize));
    let pair = copy.as_ref().map(|copy| [copy.addr(), 8]);
    if let (Some(pair), [.., arg]) = (&pair, &mut args) {
        *arg = pair.as_ptr() as usize;
    }
    pass(g::__NR_pselect6, args)
}

/// rt_sigaction(2) with the kernel's own structure.
fn action([sig, new, old, size, ..]: [usize; 6]) -> isize {
    let mut wanted = [0u8; size_of::<Action>()];
    let has_new = new != 0 && usermem::copy_in(new as u64, &mut wanted).is_ok();
    let at = |i: usize| ringer_uapi::bytes::u64_at(&wanted, 8 * i);
    let action = Action { handler: at(0), flags: at(1), restorer: at(2), mask: at(3) };
    let asked = has_new.then_some(action);
    if size == 8 && (new == 0 || has_new) {
        // SAFETY: the handler is the program's own, as with sigaction(2).
        if let Some(r) = unsafe { signals::exchange(sig as u32, asked) } {
            return match r.and_then(|before| put_action(old, before)) {
                Ok(()) => 0,
                Err(e) => refused(e),
            };
        }
    }
    let before = mask::of_handler(sig as u32);
    let stripped = asked.map(|a| Action { mask: mask::real(a.mask), ..a });
    let new = stripped.as_ref().map_or(new, |a| core::ptr::from_ref(a) as usize);
    let r = pass(g::__NR_rt_sigaction, [sig, new, old, size, 0, 0]);
    if r == 0 {
        if old != 0 {
            show(old + 24, before);
        }
        if let Some(a) = asked {
            mask::set_of_handler(sig as u32, a.mask);
        }
    }
    r
}

fn put_action(at: usize, a: Action) -> Result<(), Errno> {
    if at == 0 {
        return Ok(());
    }
    let words = [a.handler, a.flags, a.restorer, a.mask];
    let mut bytes = [0u8; size_of::<Action>()];
    for (i, w) in words.into_iter().enumerate() {
        ringer_uapi::bytes::put_u64(&mut bytes, 8 * i, w);
    }
    usermem::copy_out(at as u64, &bytes)
}
