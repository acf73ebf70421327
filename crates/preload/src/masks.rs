//! The signal-mask family: SIGSYS, SIGSEGV and SIGBUS stay deliverable, and look blocked.

use crate::{export, fail, real};
use ringer_intercept::mask;
use ringer_sys::raw::general as g;
use ringer_sys::signals::{self, Action};
use ringer_sys::usermem;
use ringer_uapi::Errno;
use ringer_uapi::bytes::{put_u64, u64_at};

/// A `sigset_t` of libc: 1024 bits, of which the kernel knows the first 64.
#[repr(C, align(8))]
pub(crate) struct SigSet([u64; 16]);

impl SigSet {
    /// The set at `at` without the three.
    pub(crate) fn copy(at: usize) -> Option<Self> {
        word(at).map(|w| Self::of(mask::real(w)))
    }

    const fn of(word: u64) -> Self {
        let mut set = [0; 16];
        set[0] = word;
        Self(set)
    }

    /// Its address, for the real function.
    pub(crate) fn addr(&self) -> usize {
        self as *const Self as usize
    }
}

/// The mask at `at`, or `None` for a null or bad pointer: that is the real call's to refuse.
pub(crate) fn word(at: usize) -> Option<u64> {
    let mut bytes = [0; 8];
    if at == 0 || usermem::copy_in(at as u64, &mut bytes).is_err() {
        return None;
    }
    Some(u64::from_ne_bytes(bytes))
}

/// Adds to a mask that the real call wrote what the program believes.
pub(crate) fn show(at: usize, believed: u64) {
    if believed != 0
        && let Some(real) = word(at)
    {
        let _ = usermem::copy_out(at as u64, &(real | believed).to_ne_bytes());
    }
}

/// One sigprocmask by whatever name; `real` gets the set to use and the place for the old one.
pub(crate) fn change(how: i32, set: usize, old: usize, real: impl FnOnce(usize) -> i32) -> i32 {
    let before = mask::shown(0);
    let wanted = word(set);
    let copy = wanted.map(|wanted| SigSet::of(mask::real(wanted)));
    let r = real(copy.as_ref().map_or(set, SigSet::addr));
    if r == 0 {
        show(old, before);
        if let Some(wanted) = wanted {
            mask::changed(how as u32, wanted);
        }
    }
    r
}

export! {
    /// sigprocmask(2).
    fn sigprocmask(how: i32, set: usize, old: usize) -> i32 {
        // SAFETY: the caller's own call, with a copy of its set.
        change(how, set, old, |set| unsafe { real::sigprocmask(how, set, old) })
    }
}

export! {
    /// pthread_sigmask(3): answers the error number itself.
    fn pthread_sigmask(how: i32, set: usize, old: usize) -> i32 {
        // SAFETY: the caller's own call, with a copy of its set.
        change(how, set, old, |set| unsafe { real::pthread_sigmask(how, set, old) })
    }
}

export! {
    /// sigsuspend(2).
    fn sigsuspend(set: usize) -> i32 {
        let copy = SigSet::copy(set);
        // SAFETY: the caller's own call, with a copy of its set.
        unsafe { real::sigsuspend(copy.as_ref().map_or(set, SigSet::addr)) }
    }
}

export! {
    /// pthread_attr_setsigmask_np(3).
    fn pthread_attr_setsigmask_np(attr: usize, set: usize) -> i32 {
        let copy = SigSet::copy(set);
        // SAFETY: the caller's own call, with a copy of its set.
        unsafe { real::pthread_attr_setsigmask_np(attr, copy.as_ref().map_or(set, SigSet::addr)) }
    }
}

// --- actions ---------------------------------------------------------------------------------

/// libc's `struct sigaction` (glibc and musl): handler, 128 bytes of mask, flags, restorer.
const LIBC_ACTION: usize = 152;
const MASK_AT: usize = 8;
const FLAGS_AT: usize = 136;
const RESTORER_AT: usize = 144;

fn action_in(at: usize) -> Option<[u8; LIBC_ACTION]> {
    let mut bytes = [0; LIBC_ACTION];
    if at == 0 || usermem::copy_in(at as u64, &mut bytes).is_err() {
        return None;
    }
    Some(bytes)
}

fn to_kernel(bytes: &[u8; LIBC_ACTION]) -> Action {
    Action {
        handler: u64_at(bytes, 0),
        flags: u64_at(bytes, FLAGS_AT) & 0xffff_ffff,
        restorer: u64_at(bytes, RESTORER_AT),
        mask: u64_at(bytes, MASK_AT),
    }
}

fn to_libc(action: Action) -> [u8; LIBC_ACTION] {
    let mut bytes = [0; LIBC_ACTION];
    put_u64(&mut bytes, 0, action.handler);
    put_u64(&mut bytes, MASK_AT, action.mask);
    put_u64(&mut bytes, FLAGS_AT, action.flags & !u64::from(g::SA_RESTORER));
    bytes
}

/// The three signals whose actions live in our table.
const fn is_one_of_three(sig: i32) -> bool {
    matches!(sig as u32, g::SIGSYS | g::SIGSEGV | g::SIGBUS)
}

export! {
    /// sigaction(2).
    fn sigaction(sig: i32, new: usize, old: usize) -> i32 {
        let wanted = action_in(new);
        if is_one_of_three(sig) {
            return exchange(sig as u32, new, wanted.as_ref().map(to_kernel), |before| {
                old == 0 || usermem::copy_out(old as u64, &to_libc(before)).is_ok()
            });
        }
        let before = mask::of_handler(sig as u32);
        let copy = wanted.map(|mut bytes| {
            let real = mask::real(u64_at(&bytes, MASK_AT));
            put_u64(&mut bytes, MASK_AT, real);
            bytes
        });
        // SAFETY: the caller's own call, with a copy of its action.
        let r = unsafe { real::sigaction(sig, copy.as_ref().map_or(new, |c| c.as_ptr() as usize), old) };
        if r == 0 {
            if old != 0 {
                show(old + MASK_AT, before);
            }
            if let Some(bytes) = wanted {
                mask::set_of_handler(sig as u32, u64_at(&bytes, MASK_AT));
            }
        }
        r
    }
}

/// sigaction for one of the three: the table's business.
pub(crate) fn exchange(
    sig: u32,
    new: usize,
    wanted: Option<Action>,
    put: impl FnOnce(Action) -> bool,
) -> i32 {
    if new != 0 && wanted.is_none() {
        return fail(Errno::EFAULT);
    }
    // SAFETY: the handler is the program's own, as with sigaction(2).
    match unsafe { signals::exchange(sig, wanted) } {
        Some(Ok(before)) if put(before) => 0,
        Some(Ok(_)) => fail(Errno::EFAULT),
        Some(Err(e)) => fail(e),
        None => fail(Errno::EINVAL),
    }
}

const SIG_ERR: isize = -1;

/// signal(3) for one of the three; `flags` as the variant means it.
fn set_handler(sig: i32, handler: usize, flags: u32) -> isize {
    let mask = if flags & g::SA_NODEFER == 0 { signals::bit(sig as u32) } else { 0 };
    let action = Action { handler: handler as u64, flags: u64::from(flags), restorer: 0, mask };
    let mut before = SIG_ERR;
    exchange(sig as u32, 1, Some(action), |old| {
        before = old.handler as isize;
        true
    });
    before
}

export! {
    /// signal(2), with BSD semantics as libc has them.
    fn signal(sig: i32, handler: usize) -> isize {
        if is_one_of_three(sig) {
            return set_handler(sig, handler, g::SA_RESTART);
        }
        mask::set_of_handler(sig as u32, 0);
        // SAFETY: the caller's own call.
        unsafe { real::signal(sig, handler) }
    }
}

export! {
    /// bsd_signal(3).
    fn bsd_signal(sig: i32, handler: usize) -> isize {
        if is_one_of_three(sig) {
            return set_handler(sig, handler, g::SA_RESTART);
        }
        mask::set_of_handler(sig as u32, 0);
        // SAFETY: the caller's own call.
        unsafe { real::bsd_signal(sig, handler) }
    }
}

export! {
    /// sysv_signal(3).
    fn sysv_signal(sig: i32, handler: usize) -> isize {
        if is_one_of_three(sig) {
            return set_handler(sig, handler, g::SA_RESETHAND | g::SA_NODEFER);
        }
        mask::set_of_handler(sig as u32, 0);
        // SAFETY: the caller's own call.
        unsafe { real::sysv_signal(sig, handler) }
    }
}

export! {
    /// What `signal` is in a program built with strict POSIX macros.
    fn __sysv_signal(sig: i32, handler: usize) -> isize {
        if is_one_of_three(sig) {
            return set_handler(sig, handler, g::SA_RESETHAND | g::SA_NODEFER);
        }
        mask::set_of_handler(sig as u32, 0);
        // SAFETY: the caller's own call.
        unsafe { real::__sysv_signal(sig, handler) }
    }
}
