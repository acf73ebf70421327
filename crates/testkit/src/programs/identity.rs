//! Whose rights a request has: its submitter's, at the time of submission.
//!
//! Those that change users need root to begin with and say so (`skip:`) without.

use super::{Outcome, expect, must};
use crate::block;
use crate::os::{self, Buf, Errno, Sys};
use crate::ring::Ring;
use crate::sqe::{self, ASYNC, op};
use ringer_uapi::Sqe;

const NOBODY: u32 = 65_534;

struct Scene {
    ring: Ring,
    secret: Buf,
    dir: std::path::PathBuf,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = os::seteuid(0);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Scene {
    /// A file that only its owner may read, and a ring that has had workers as root already.
    fn new(owner: u32) -> Result<Self, String> {
        if os::raw(libc::SYS_geteuid, [0; 3]) != Ok(0) {
            return Err("skip: needs root".to_owned());
        }
        let s = Self::mine()?;
        let file = s.dir.join("secret");
        std::os::unix::fs::chown(file, Some(owner), Some(owner)).map_err(|e| e.to_string())?;
        Ok(s)
    }

    /// The same with a file of the caller's.
    fn mine() -> Result<Self, String> {
        use std::os::unix::fs::PermissionsExt as _;
        let io = |r: std::io::Result<()>| r.map_err(|e| e.to_string());
        let dir = std::env::temp_dir().join(format!("identity.{}", os::pid()));
        io(std::fs::create_dir(&dir))?;
        io(std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)))?;
        let file = dir.join("secret");
        io(std::fs::write(&file, "secret"))?;
        io(std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)))?;
        let ring = must("setup", Ring::new(8, 0))?;
        let secret = Buf::of(format!("{}\0", file.display()).as_bytes());
        Ok(Self { ring, secret, dir })
    }

    /// A ring of its own, the file of another scene.
    fn of(name: &[u8]) -> Result<Self, String> {
        let ring = must("setup", Ring::new(8, 0))?;
        Ok(Self { ring, secret: Buf::of(name), dir: "".into() })
    }

    /// Opens the file through the ring and closes it again.
    fn open(&mut self, flags: u8) -> Sys<()> {
        let s = sqe::rw(op::OPENAT, libc::AT_FDCWD, self.secret.addr(), 0, 0, 1);
        let fd = self.ring.result(Sqe { flags, op_flags: libc::O_CLOEXEC as u32, ..s })?;
        os::close(fd).map(|_| ())
    }

    fn both(&mut self, when: &str, want: Sys<()>) -> Outcome {
        for flags in [0, ASYNC] {
            let claim = format!("{when}, flags {flags:#x}");
            let got = self.open(flags);
            expect(&claim, got, want)?;
        }
        Ok(())
    }
}

const REFUSED: Sys<()> = Err(Errno(libc::EACCES));

/// After setuid the ring's requests, and its workers from before, have the new user's rights.
pub fn setuid(_: &str) -> Outcome {
    let mut s = Scene::new(0)?;
    s.both("as root", Ok(()))?;
    let dir = s.dir.clone();
    let code = os::in_child(|| {
        // The ring of a parent belongs to it; a child that changes user makes its own.
        let outcome = (|| {
            s.ring = must("setup", Ring::new(8, 0))?;
            s.both("as root", Ok(()))?;
            must("setuid", os::setuid(NOBODY))?;
            s.both("as nobody", REFUSED)
        })();
        if let Err(why) = &outcome {
            eprintln!("{why}");
        }
        i32::from(outcome.is_err())
    });
    expect("the folder is there", dir.exists(), true)?;
    expect("the child", code, Ok(0))
}

/// Samba's way: the effective user changes from request to request.
pub fn seteuid(_: &str) -> Outcome {
    let mut s = Scene::new(0)?;
    for _ in 0..20 {
        s.both("as root", Ok(()))?;
        must("seteuid", os::seteuid(NOBODY))?;
        s.both("as nobody", REFUSED)?;
        must("seteuid", os::seteuid(0))?;
    }
    Ok(())
}

/// The same by raw calls, which change one thread only.
pub fn seteuid_raw(_: &str) -> Outcome {
    let mut s = Scene::new(0)?;
    let set = |uid: u32| os::raw(libc::SYS_setresuid, [u64::MAX, u64::from(uid), u64::MAX]);
    for _ in 0..20 {
        s.both("as root", Ok(()))?;
        must("setresuid", set(NOBODY))?;
        s.both("as nobody", REFUSED)?;
        must("setresuid", set(0))?;
    }
    Ok(())
}

/// Capabilities dropped from the effective set are gone for requests too.
pub fn capset(_: &str) -> Outcome {
    let mut s = Scene::new(NOBODY)?;
    s.both("with every capability", Ok(()))?;
    let header = Buf::of(&0x2008_0522u64.to_ne_bytes());
    let data = Buf::new(24);
    let call = |nr| os::raw(nr, [header.addr(), data.addr(), 0]);
    must("capget", call(libc::SYS_capget))?;
    let effective = data.get64(0) as u32;
    // CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
    data.store(0, effective & !0b110);
    must("capset", call(libc::SYS_capset))?;
    s.both("without CAP_DAC_OVERRIDE", REFUSED)?;
    data.store(0, effective);
    must("capset", call(libc::SYS_capset))?;
    s.both("with it again", Ok(()))
}

/// A seccomp filter added after setup binds the requests of its thread (`tsync`: of all).
///
/// The kernel's own io_uring passes filters by: this one is for ringer only.
pub fn seccomp(how: &str) -> Outcome {
    let mut s = Scene::mine()?;
    s.both("without a filter", Ok(()))?;
    let nrs = [libc::SYS_openat, libc::SYS_openat2, libc::SYS_open];
    let filter = block::refuse(&nrs, libc::EACCES);
    must("no_new_privs", os::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
    if how == "tsync" {
        must("seccomp", os::seccomp(&filter, true))?;
        return s.both("with a filter on every thread", REFUSED);
    }
    let name = s.secret.get(0, s.secret.len());
    std::thread::scope(|scope| {
        let filtered = scope.spawn(|| {
            must("seccomp", os::seccomp(&filter, false))?;
            Scene::of(&name)?.both("on the thread with the filter", REFUSED)
        });
        filtered.join().map_err(|_| "the thread panicked".to_owned())?
    })?;
    s.both("on the thread without it", Ok(()))
}

/// A Landlock domain entered after setup holds for requests.
pub fn landlock(_: &str) -> Outcome {
    let mut s = Scene::mine()?;
    s.both("outside", Ok(()))?;
    // handled_access_fs: LANDLOCK_ACCESS_FS_READ_FILE; no rule allows it anywhere.
    let attr = Buf::of(&4u64.to_ne_bytes());
    let ruleset = os::raw(libc::SYS_landlock_create_ruleset, [attr.addr(), 8, 0]);
    let Ok(ruleset) = ruleset else { return Err("skip: no Landlock here".to_owned()) };
    must("no_new_privs", os::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
    must("restrict", os::raw(libc::SYS_landlock_restrict_self, [ruleset as u64, 0, 0]))?;
    s.both("inside", REFUSED)
}

/// The working directory and umask of the time of submission count.
pub fn directory(_: &str) -> Outcome {
    let mut ring = must("setup", Ring::new(8, 0))?;
    let base = std::env::temp_dir().join(format!("directory.{}", os::pid()));
    for (i, flags) in [(0, 0), (1, ASYNC), (2, 0), (3, ASYNC)] {
        let dir = base.join(format!("{i}"));
        std::fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
        std::env::set_current_dir(&dir).map_err(|e| e.to_string())?;
        let name = Buf::of(b"here\0");
        let s = sqe::rw(op::OPENAT, libc::AT_FDCWD, name.addr(), 0o600, 0, 1);
        let create = libc::O_CREAT | libc::O_CLOEXEC | libc::O_RDWR;
        let fd = ring.result(Sqe { flags, op_flags: create as u32, ..s });
        let fd = must("create", fd)?;
        expect("the file is in the new directory", dir.join("here").exists(), true)?;
        must("close", os::close(fd))?;
    }
    std::fs::remove_dir_all(&base).map_err(|e| e.to_string())
}
