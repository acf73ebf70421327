//! The real functions behind the exported ones, typed.

use ringer_intercept::process::{
    PTHREAD_ATFORK, PTHREAD_KEY_CREATE, PTHREAD_SETSPECIFIC, REGISTER_ATFORK,
};
use ringer_intercept::resolve::{Real, resolve_all};
use ringer_intercept::start::GETAUXVAL;

/// Declares each function: where it is found, and how it is called.
macro_rules! reals {
    ($($name:ident($($a:ident: $t:ty),*) -> $r:ty;)*) => {
        /// Where they are.
        pub(crate) mod at {
            use ringer_intercept::resolve::Real;
            use core::ffi::CStr;
            $(
                #[allow(non_upper_case_globals, reason = "the name is the C function's")]
                pub(crate) static $name: Real = Real::new(
                    match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                        Ok(name) => name,
                        Err(_) => panic!("an identifier holds no NUL"),
                    },
                );
            )*
        }
        $(
            /// Calls the C function of this name; `ENOSYS` where there is none.
            ///
            /// # Safety
            /// As the C function.
            #[inline]
            pub(crate) unsafe fn $name($($a: $t),*) -> $r {
                let addr = at::$name.get();
                if addr == 0 {
                    return <$r>::from(crate::fail(ringer_uapi::Errno::ENOSYS) as i8);
                }
                // SAFETY: libc's function of this name has this signature (its header).
                let f = unsafe {
                    core::mem::transmute::<usize, unsafe extern "C" fn($($t),*) -> $r>(addr)
                };
                // SAFETY: the caller's promise.
                unsafe { f($($a),*) }
            }
        )*
        const LIST: &[&Real] = &[$(&at::$name),*];
    };
}

type Ptr = usize;

reals! {
    munmap(addr: Ptr, len: usize) -> i32;
    close(fd: i32) -> i32;
    dup(fd: i32) -> i32;
    dup2(old: i32, new: i32) -> i32;
    dup3(old: i32, new: i32, flags: i32) -> i32;
    close_range(first: u32, last: u32, flags: i32) -> i32;
    fcntl(fd: i32, cmd: i32, arg: usize) -> i32;
    fcntl64(fd: i32, cmd: i32, arg: usize) -> i32;
    lockf(fd: i32, cmd: i32, len: i64) -> i32;
    lockf64(fd: i32, cmd: i32, len: i64) -> i32;
    sendmsg(fd: i32, msg: Ptr, flags: i32) -> isize;
    sendmmsg(fd: i32, msgs: Ptr, n: u32, flags: i32) -> i32;
    sigprocmask(how: i32, set: Ptr, old: Ptr) -> i32;
    pthread_sigmask(how: i32, set: Ptr, old: Ptr) -> i32;
    sigaction(sig: i32, new: Ptr, old: Ptr) -> i32;
    signal(sig: i32, handler: Ptr) -> isize;
    bsd_signal(sig: i32, handler: Ptr) -> isize;
    sysv_signal(sig: i32, handler: Ptr) -> isize;
    __sysv_signal(sig: i32, handler: Ptr) -> isize;
    sigsuspend(set: Ptr) -> i32;
    pthread_attr_setsigmask_np(attr: Ptr, set: Ptr) -> i32;
    poll(fds: Ptr, n: usize, timeout: i32) -> i32;
    __poll_chk(fds: Ptr, n: usize, timeout: i32, len: usize) -> i32;
    ppoll(fds: Ptr, n: usize, timeout: Ptr, set: Ptr) -> i32;
    __ppoll_chk(fds: Ptr, n: usize, timeout: Ptr, set: Ptr, len: usize) -> i32;
    select(n: i32, r: Ptr, w: Ptr, e: Ptr, timeout: Ptr) -> i32;
    pselect(n: i32, r: Ptr, w: Ptr, e: Ptr, timeout: Ptr, set: Ptr) -> i32;
    epoll_ctl(epfd: i32, op: i32, fd: i32, event: Ptr) -> i32;
    epoll_wait(epfd: i32, events: Ptr, n: i32, timeout: i32) -> i32;
    epoll_pwait(epfd: i32, events: Ptr, n: i32, timeout: i32, set: Ptr) -> i32;
    epoll_pwait2(epfd: i32, events: Ptr, n: i32, timeout: Ptr, set: Ptr) -> i32;
    setuid(id: u32) -> i32;
    seteuid(id: u32) -> i32;
    setreuid(r: u32, e: u32) -> i32;
    setresuid(r: u32, e: u32, s: u32) -> i32;
    setgid(id: u32) -> i32;
    setegid(id: u32) -> i32;
    setregid(r: u32, e: u32) -> i32;
    setresgid(r: u32, e: u32, s: u32) -> i32;
    setfsuid(id: u32) -> i32;
    setfsgid(id: u32) -> i32;
    setgroups(n: usize, list: Ptr) -> i32;
    initgroups(user: Ptr, group: u32) -> i32;
    capset(header: Ptr, data: Ptr) -> i32;
    prctl(option: i32, a: usize, b: usize, c: usize, d: usize) -> i32;
    unshare(flags: i32) -> i32;
    setns(fd: i32, kind: i32) -> i32;
    _Fork() -> i32;
    dlopen(name: Ptr, flags: i32) -> isize;
}

/// dlsym(3) is jumped to, never called.
pub(crate) static DLSYM: Real = Real::new(c"dlsym");

/// Finds all of them, in the constructor.
pub(crate) fn find() {
    resolve_all(LIST);
    resolve_all(&[
        &DLSYM,
        &GETAUXVAL,
        &REGISTER_ATFORK,
        &PTHREAD_ATFORK,
        &PTHREAD_KEY_CREATE,
        &PTHREAD_SETSPECIFIC,
    ]);
}
