//! The waits: who polls a ring's descriptor, and masks in force during a wait.
//!
//! A ring's descriptor is made readable only while somebody polls it (it costs a write for each
//! batch of completions), so whoever names one here is told to sys.

use crate::masks::SigSet;
use crate::{export, real};
use ringer_intercept::waits as seen;

export! {
    /// epoll_ctl(2).
    fn epoll_ctl(epfd: i32, op: i32, fd: i32, event: usize) -> i32 {
        seen::epoll_ctl(op, fd);
        // SAFETY: the caller's own call.
        unsafe { real::epoll_ctl(epfd, op, fd, event) }
    }
}

export! {
    /// epoll_wait(2).
    fn epoll_wait(epfd: i32, events: usize, n: i32, timeout: i32) -> i32 {
        seen::about_to_wait();
        // SAFETY: the caller's own call.
        unsafe { real::epoll_wait(epfd, events, n, timeout) }
    }
}

export! {
    /// epoll_pwait(2).
    fn epoll_pwait(epfd: i32, events: usize, n: i32, timeout: i32, set: usize) -> i32 {
        seen::about_to_wait();
        let copy = SigSet::copy(set);
        let set = copy.as_ref().map_or(set, SigSet::addr);
        // SAFETY: the caller's own call, with a copy of its set.
        unsafe { real::epoll_pwait(epfd, events, n, timeout, set) }
    }
}

export! {
    /// epoll_pwait2(2).
    fn epoll_pwait2(epfd: i32, events: usize, n: i32, timeout: usize, set: usize) -> i32 {
        seen::about_to_wait();
        let copy = SigSet::copy(set);
        let set = copy.as_ref().map_or(set, SigSet::addr);
        // SAFETY: the caller's own call, with a copy of its set.
        unsafe { real::epoll_pwait2(epfd, events, n, timeout, set) }
    }
}

export! {
    /// poll(2).
    fn poll(fds: usize, n: usize, timeout: i32) -> i32 {
        // SAFETY: the caller's own call, perhaps with a copy of its list.
        seen::poll_list(fds, n, |fds| unsafe { real::poll(fds, n, timeout) })
    }
}

export! {
    /// poll(2) in a program built with `_FORTIFY_SOURCE`.
    fn __poll_chk(fds: usize, n: usize, timeout: i32, len: usize) -> i32 {
        // SAFETY: the caller's own call, perhaps with a copy of its list.
        seen::poll_list(fds, n, |fds| unsafe { real::__poll_chk(fds, n, timeout, len) })
    }
}

export! {
    /// ppoll(2).
    fn ppoll(fds: usize, n: usize, timeout: usize, set: usize) -> i32 {
        let copy = SigSet::copy(set);
        let set = copy.as_ref().map_or(set, SigSet::addr);
        // SAFETY: the caller's own call, with a copy of its set, perhaps of its list.
        seen::poll_list(fds, n, |fds| unsafe { real::ppoll(fds, n, timeout, set) })
    }
}

export! {
    /// ppoll(2) in a program built with `_FORTIFY_SOURCE`.
    fn __ppoll_chk(fds: usize, n: usize, timeout: usize, set: usize, len: usize) -> i32 {
        let copy = SigSet::copy(set);
        let set = copy.as_ref().map_or(set, SigSet::addr);
        // SAFETY: the caller's own call, with a copy of its set, perhaps of its list.
        seen::poll_list(fds, n, |fds| unsafe { real::__ppoll_chk(fds, n, timeout, set, len) })
    }
}

export! {
    /// select(2).
    fn select(n: i32, r: usize, w: usize, e: usize, timeout: usize) -> i32 {
        seen::select_sets(n, [r, w]);
        // SAFETY: the caller's own call.
        unsafe { real::select(n, r, w, e, timeout) }
    }
}

export! {
    /// pselect(2).
    fn pselect(n: i32, r: usize, w: usize, e: usize, timeout: usize, set: usize) -> i32 {
        seen::select_sets(n, [r, w]);
        let copy = SigSet::copy(set);
        let set = copy.as_ref().map_or(set, SigSet::addr);
        // SAFETY: the caller's own call, with a copy of its set.
        unsafe { real::pselect(n, r, w, e, timeout, set) }
    }
}
