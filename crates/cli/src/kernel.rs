//! The kernel's own io_uring: does it answer to this process, and if not, who refuses it?

use std::fmt;
use std::io;

use crate::host;
use crate::os::uring::{self, Opcodes};

/// The last opcode that libuv and many others take for granted: 5.15's `LINKAT`.
const LINKAT: usize = 39;

/// What the kernel answers to this process.
#[derive(Debug)]
pub(crate) enum Native {
    /// All three calls work.
    Works(Opcodes),
    /// One of them does not.
    Refused(Cause),
}

/// Who refuses, as far as that can be seen from inside.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// No such call: an old kernel, one built without it, or a filter or sandbox that says so.
    NoSuchCall { filtered: bool },
    /// `kernel.io_uring_disabled` is 2.
    DisabledForAll,
    /// `kernel.io_uring_disabled` is 1, and this process is neither privileged nor in the group.
    DisabledForOthers { group: String },
    /// A seccomp filter, as Docker's default.
    Filter,
    /// Something else, such as a security module or memory that may not be locked.
    Other { errno: i32, text: String },
}

impl Native {
    /// Asks the kernel.
    pub(crate) fn ask() -> Self {
        match uring::native_opcodes() {
            Ok(opcodes) => Self::Works(opcodes),
            Err(e) => Self::Refused(cause(&e)),
        }
    }

    /// Whether a program may be left to it: it works, and is not much behind ringer's.
    pub(crate) fn will_do(&self) -> bool {
        match self {
            Self::Works(opcodes) => opcodes.has(LINKAT),
            Self::Refused(_) => false,
        }
    }
}

fn cause(e: &io::Error) -> Cause {
    let filtered = host::status_field("Seccomp").is_some_and(|mode| mode != "0");
    let disabled = host::value_of("/proc/sys/kernel/io_uring_disabled");
    match (e.raw_os_error().unwrap_or(0), disabled.as_deref()) {
        (libc::ENOSYS, _) => Cause::NoSuchCall { filtered },
        (libc::EPERM, Some("2")) => Cause::DisabledForAll,
        (libc::EPERM, Some("1")) if !filtered => Cause::DisabledForOthers {
            group: host::value_of("/proc/sys/kernel/io_uring_group").unwrap_or_default(),
        },
        (libc::EPERM | libc::EACCES, _) if filtered => Cause::Filter,
        (errno, _) => Cause::Other { errno, text: e.to_string() },
    }
}

impl Cause {
    /// The errno that a program sees.
    pub(crate) fn errno(&self) -> &'static str {
        match self {
            Self::NoSuchCall { .. } => "ENOSYS",
            Self::DisabledForAll | Self::DisabledForOthers { .. } | Self::Filter => "EPERM",
            Self::Other { .. } => "an error",
        }
    }

    /// What would make the kernel's io_uring available.
    pub(crate) fn fix(&self) -> &'static str {
        match self {
            Self::NoSuchCall { filtered: true } | Self::Filter => {
                "allow io_uring_setup, _enter and _register in the container's seccomp profile, \
                 or use `ringer run`"
            }
            Self::NoSuchCall { filtered: false } => {
                "a kernel from 5.1 on built with CONFIG_IO_URING, or `ringer run`"
            }
            Self::DisabledForAll => "sysctl kernel.io_uring_disabled=0 as root, or `ringer run`",
            Self::DisabledForOthers { .. } => {
                "name a group in sysctl kernel.io_uring_group and join it, or `ringer run`"
            }
            Self::Other { .. } => "`ringer run` does not need it",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchCall { filtered: true } => {
                f.write_str("no such system call: an old kernel, or the seccomp filter says so")
            }
            Self::NoSuchCall { filtered: false } => f.write_str(
                "no such system call: a kernel before 5.1 or built without it, or a sandbox",
            ),
            Self::DisabledForAll => f.write_str("sysctl kernel.io_uring_disabled is 2"),
            Self::DisabledForOthers { group } => {
                f.write_str("sysctl kernel.io_uring_disabled is 1, this process has no ")?;
                match group.as_str() {
                    "-1" | "" => f.write_str("CAP_SYS_ADMIN, and no group is excepted"),
                    _ => write!(f, "CAP_SYS_ADMIN, and it is not in group {group}"),
                }
            }
            Self::Filter => {
                f.write_str("a seccomp filter refuses it, as container runtimes do by default")
            }
            Self::Other { errno: libc::ENOMEM, .. } => {
                f.write_str("no memory: before 5.12 rings count against `ulimit -l`")
            }
            Self::Other { text, .. } => {
                write!(f, "it answers {text}; a security module may refuse")
            }
        }
    }
}
