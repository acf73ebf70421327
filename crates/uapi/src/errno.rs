use core::fmt;
use linux_raw_sys::errno as e;

/// A positive Linux error number.
///
/// It is negated in exactly one place, [`crate::Cqe::new`], and where a system call's result is
/// built.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(u16);

macro_rules! errnos {
    ($($name:ident),+ $(,)?) => {
        #[allow(missing_docs, reason = "the names are errno(3)'s")]
        impl Errno { $(pub const $name: Self = Self(e::$name as u16);)+ }
        impl Errno {
            /// The symbolic name of errno(3), if this is one of the errors the ABI uses.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 as u32 { $(e::$name => Some(stringify!($name)),)+ _ => None }
            }

            /// The error of that symbolic name, if it is one of those.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $(stringify!($name) => Some(Self::$name),)+ _ => None }
            }
        }
    };
}
errnos!(
    EPERM,
    ENOENT,
    ESRCH,
    EINTR,
    EIO,
    ENXIO,
    E2BIG,
    ENOEXEC,
    EBADF,
    ECHILD,
    EAGAIN,
    ENOMEM,
    EACCES,
    EFAULT,
    EBUSY,
    EEXIST,
    EXDEV,
    ENODEV,
    ENOTDIR,
    EISDIR,
    EINVAL,
    ENFILE,
    EMFILE,
    ENOTTY,
    ETXTBSY,
    EFBIG,
    ENOSPC,
    ESPIPE,
    EROFS,
    EMLINK,
    EPIPE,
    EDOM,
    ERANGE,
    EDEADLK,
    ENAMETOOLONG,
    ENOLCK,
    ENOSYS,
    ENOTEMPTY,
    ELOOP,
    ENODATA,
    ETIME,
    EOVERFLOW,
    EBADFD,
    EBADR,
    ENOTSOCK,
    EDESTADDRREQ,
    EMSGSIZE,
    EPROTONOSUPPORT,
    EOPNOTSUPP,
    EAFNOSUPPORT,
    EADDRINUSE,
    EADDRNOTAVAIL,
    ENETDOWN,
    ENETUNREACH,
    ECONNABORTED,
    ECONNRESET,
    ENOBUFS,
    EISCONN,
    ENOTCONN,
    ESHUTDOWN,
    ETIMEDOUT,
    ECONNREFUSED,
    EHOSTUNREACH,
    EALREADY,
    EINPROGRESS,
    ECANCELED,
    EOWNERDEAD,
    EDQUOT,
    ESTALE
);

impl Errno {
    /// An error number as the kernel returned it, positive.
    pub const fn from_raw(positive: u16) -> Self {
        Self(positive)
    }

    /// The positive number.
    pub const fn raw(self) -> i32 {
        self.0 as i32
    }

    /// Splits a raw system call return into value and error.
    ///
    /// # Errors
    /// The error the kernel encoded in `-4095..=-1`.
    pub const fn demux(ret: isize) -> Result<usize, Self> {
        if ret < 0 && ret >= -4095 { Err(Self(-ret as u16)) } else { Ok(ret as usize) }
    }

    /// The raw system call return for a result.
    pub const fn mux(r: Result<usize, Self>) -> isize {
        match r {
            Ok(v) => v as isize,
            Err(e) => -(e.0 as isize),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(n) => f.write_str(n),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
