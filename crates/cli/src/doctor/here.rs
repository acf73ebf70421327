//! This host: the kernel's io_uring, and what ringer needs.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use ringer_engine::trace::channel;
use rustix::process::{Resource, getrlimit};

use crate::doctor::report::{Check, Report};
use crate::doctor::trial::{self, Outcome, Trial};
use crate::host;
use crate::kernel::Native;
use crate::library;
use crate::probe;
use crate::top::find;

/// Below this, programs and ringer compete for descriptors.
const NOFILE_LOW: u64 = 256;
/// Below this, a program that registers buffers natively soon fails \[bytes\].
const MEMLOCK_LOW: u64 = 8 << 20;

/// Adds this host's lines; gives the library's path if it can be loaded.
pub(crate) fn look(report: &mut Report) -> Option<PathBuf> {
    report.add(kernel());
    report.add(memlock());
    filters(report);
    report.add(security_modules());
    report.add(proc());
    report.add(descriptors());
    report.add(private_table());
    report.add(watching());
    let (check, library) = library();
    report.add(check);
    library
}

fn kernel() -> Check {
    const NAME: &str = "kernel io_uring";
    match Native::ask() {
        Native::Works(opcodes) => {
            let n = opcodes.count();
            Check::pass(NAME, format!("works: {}, {n} opcodes", host::kernel()))
        }
        Native::Refused(cause) => {
            let what = format!("refused with {}: {}", cause.errno(), host::kernel());
            Check::warn(NAME, what).cause(cause.to_string()).fix(cause.fix())
        }
    }
}

fn memlock() -> Check {
    const NAME: &str = "memlock";
    let limit = getrlimit(Resource::Memlock).current;
    match limit {
        Some(bytes) if bytes < MEMLOCK_LOW => {
            Check::warn(NAME, format!("{} KiB may be locked", bytes / 1024))
                .cause(
                    "the kernel's io_uring counts registered buffers (before 5.12, rings too) \
                        against this limit; ringer locks nothing",
                )
                .fix("ulimit -l unlimited, for the kernel's io_uring")
        }
        Some(bytes) => Check::pass(NAME, format!("{} KiB may be locked", bytes / 1024)),
        None => Check::pass(NAME, "no limit"),
    }
}

/// Whether the trap can be set, and what it costs.
fn filters(report: &mut Report) {
    const NAME: &str = "trap";
    let outcome = |trial| trial::run(trial).unwrap_or(Outcome::Refused(libc::EAGAIN));
    if outcome(Trial::FilterByCapability) == Outcome::Works {
        report.add(Check::pass(NAME, "seccomp filters are allowed, without no_new_privs"));
        return;
    }
    report.add(match outcome(Trial::FilterByNoNewPrivs) {
        Outcome::Works if host::status_field("NoNewPrivs").as_deref() == Some("1") => {
            Check::pass(NAME, "seccomp filters are allowed; no_new_privs is already set")
        }
        Outcome::Works => Check::warn(NAME, "seccomp filters are allowed, with no_new_privs only")
            .cause(
                "without CAP_SYS_ADMIN a filter needs no_new_privs: setuid programs that the \
                 program starts (sudo, ping, mount) do not become root. Only programs with inline \
                 system calls get a filter",
            )
            .fix("`ringer run --no-trap` for a program that calls through libc"),
        Outcome::NotTrapped => Check::fail(NAME, "a filter was accepted and does not trap")
            .cause("this kernel or sandbox does not implement SECCOMP_RET_TRAP fully")
            .fix("`ringer run --no-trap` works for programs that call through libc"),
        Outcome::Refused(errno) => {
            let error = std::io::Error::from_raw_os_error(errno);
            Check::fail(NAME, format!("seccomp filters are refused: {error}"))
                .cause("a sandbox refuses seccomp(2), or the kernel has no CONFIG_SECCOMP_FILTER")
                .fix("`ringer run --no-trap` works for programs that call through libc")
        }
    });
}

fn security_modules() -> Check {
    const NAME: &str = "security module";
    let profile = host::value_of("/proc/self/attr/current").unwrap_or_default();
    let profile = profile.trim_end_matches('\0');
    match host::value_of("/sys/fs/selinux/enforce").as_deref() {
        Some("1") => Check::warn(NAME, format!("SELinux enforces; this process is {profile}"))
            .cause(
                "a domain that may not execute files of the library's type can not load it, and a \
                 program that changes its domain at exec ignores LD_PRELOAD",
            )
            .fix("if the library line below fails: ausearch -m avc -ts recent"),
        Some(_) => Check::pass(NAME, "SELinux is permissive"),
        None if profile.is_empty() || profile.starts_with("unconfined") => {
            Check::pass(NAME, "this process is not confined")
        }
        None => Check::warn(NAME, format!("this process is confined: {profile}"))
            .cause("the profile must allow to map the library's file as executable")
            .fix("if the library line below fails, see the kernel log for the denial"),
    }
}

fn proc() -> Check {
    const NAME: &str = "/proc";
    if Path::new("/proc/self/fd/0").parent().is_some_and(Path::is_dir) {
        return Check::pass(NAME, "mounted");
    }
    Check::fail(NAME, "/proc/self/fd is not there")
        .cause("ringer makes a ring's descriptor by opening it anew through /proc")
        .fix("mount -t proc proc /proc")
}

fn descriptors() -> Check {
    const NAME: &str = "descriptors";
    match getrlimit(Resource::Nofile).current {
        Some(n) if n < NOFILE_LOW => Check::warn(NAME, format!("{n} may be open"))
            .cause("each ring takes one, and requests that wait on plain descriptors take one each")
            .fix("ulimit -n 1024"),
        Some(n) => Check::pass(NAME, format!("{n} may be open")),
        None => Check::pass(NAME, "no limit"),
    }
}

fn private_table() -> Check {
    const NAME: &str = "private table";
    match trial::run(Trial::PrivateTable) {
        Ok(Outcome::Works) => Check::pass(NAME, "a thread can have descriptors of its own"),
        Ok(Outcome::Refused(errno)) => {
            let error = std::io::Error::from_raw_os_error(errno);
            Check::warn(NAME, format!("close_range(CLOSE_RANGE_UNSHARE): {error}"))
                .cause("a kernel before 5.9, or a filter")
                .fix("none needed: ringer makes the thread with an empty table instead")
        }
        Ok(Outcome::NotTrapped) | Err(_) => Check::warn(NAME, "could not be tried"),
    }
}

/// Where programs have their sockets for `ringer top`.
fn watching() -> Check {
    const NAME: &str = "ringer top";
    if env::var_os(channel::FORBIDDEN).is_some_and(|v| v == "1") {
        return Check::warn(NAME, "programs that are started from here cannot be watched")
            .cause(format!("{} is set", channel::FORBIDDEN))
            .fix(format!("unset {}", channel::FORBIDDEN));
    }
    match find::place() {
        Ok(path) => Check::pass(NAME, format!("programs have their sockets in {}", path.display())),
        Err(refused) => Check::warn(NAME, "programs that are started from here cannot be watched")
            .cause(format!("no folder for their sockets: {}", refused.join("; ")))
            .fix("XDG_RUNTIME_DIR=a folder of yours; a program runs as well without a socket"),
    }
}

fn library() -> (Check, Option<PathBuf>) {
    const NAME: &str = "library";
    let path = match library::install() {
        Ok(path) => path,
        Err(refusal) => {
            return (Check::fail(NAME, refusal.what).cause(refusal.why).fix(refusal.fix), None);
        }
    };
    let check = match probe::handshake(path.as_os_str()) {
        Ok(true) => Check::pass(NAME, format!("{} loads and starts", path.display())),
        Ok(false) => Check::fail(NAME, format!("{} does not start in a program", path.display()))
            .cause(preload_cause())
            .fix("strace -f ringer run -- true shows which call was refused"),
        Err(e) => Check::fail(NAME, format!("no child could be started: {e}")),
    };
    (check, Some(path))
}

fn preload_cause() -> String {
    if env::var_os("LD_PRELOAD").is_some_and(|v| v != OsStr::new("")) {
        return "another preloaded library, or a security module".into();
    }
    "a security module, or a C library that does not know LD_PRELOAD".into()
}
