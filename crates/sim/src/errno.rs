//! Errors as a CQE carries them: negative, for comparing with `res`.
//!
//! What it does not do: name errors to the engine, which has [`ringer_uapi::Errno`].
#![allow(missing_docs, reason = "the names are errno(3)'s")]

use ringer_uapi::Errno;

macro_rules! results {
    ($($name:ident),+ $(,)?) => {
        $(pub const $name: i32 = -Errno::$name.raw();)+
    };
}

results!(
    EACCES, EAGAIN, EALREADY, EBADF, ECANCELED, ECHILD, EEXIST, EFAULT, EINTR, EINVAL, EIO, EMFILE,
    ENFILE, ENOBUFS, ENODATA, ENOENT, ENOMEM, ENOTSOCK, ENXIO, EOPNOTSUPP, EPERM, EPIPE, ERANGE,
    ESPIPE, ETIME
);
