//! The objects that a program names, made afresh for each run, and what became of them.
//!
//! Only what the program mentions is made. What it does not do: submit anything.

use super::program::{Action, Entry, FILE_LEN, Fd, Obj, Pair, Port, Program, Register, Step, Val};
use crate::os::{self, Sys, state};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The file's bytes at the start: each region of 64 bytes has its number.
fn pattern(len: u32) -> Vec<u8> {
    (0..len).map(|i| (i / 64) as u8).collect()
}

/// The objects by name, and the descriptors that requests made.
#[derive(Debug, Default)]
pub(super) struct Scene {
    fds: BTreeMap<Obj, i32>,
    closed: BTreeSet<Obj>,
    ports: (u16, u16),
    /// The rings, which are not the scene's.
    pub(super) rings: [i32; 2],
    folder: Option<tempfile::TempDir>,
    /// A description of the file that the program cannot reach, for looking at locks.
    witness: Option<i32>,
    /// Descriptors besides: made by requests, clients of the listener.
    others: Vec<i32>,
    written: u8,
    /// The eventfd hears of workers only. Whether an open or a read needs one is the caches' business.
    hears_workers: bool,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let closed = &self.closed;
        let open = self.fds.iter().filter(|(o, _)| !closed.contains(o)).map(|(_, &fd)| fd);
        let all: BTreeSet<i32> =
            open.chain(self.others.iter().copied()).chain(self.witness).collect();
        for fd in all {
            let _ = os::close(fd);
        }
    }
}

/// Every object a program mentions, with those that come along.
fn mentioned(p: &Program) -> BTreeSet<Obj> {
    let mut all = BTreeSet::new();
    let mut see = |fd: &Fd| {
        if let Fd::Obj(o) = fd {
            all.insert(*o);
        }
    };
    let entry = |e: &Entry, see: &mut dyn FnMut(&Fd)| {
        see(&e.fd);
        e.from.iter().for_each(|o| see(&Fd::Obj(*o)));
        e.to.iter().for_each(|o| see(&Fd::Obj(*o)));
        for v in [Some(&e.off), Some(&e.addr), e.path.as_ref()].into_iter().flatten() {
            match v {
                Val::Fds(fds) => fds.iter().for_each(&mut *see),
                Val::Port(_) => see(&Fd::Obj(Obj::Listener)),
                Val::Of(o) => see(&Fd::Obj(*o)),
                Val::Whole(_) => see(&Fd::Obj(Obj::Folder)),
                _ => {}
            }
        }
    };
    for step in &p.steps {
        match step {
            Step::Submit { sqes, .. } => sqes.iter().for_each(|e| entry(e, &mut see)),
            Step::Register(
                Register::Files(fds)
                | Register::Files2(fds, _)
                | Register::Update(_, fds)
                | Register::Update2(_, fds, _),
            ) => fds.iter().for_each(&mut see),
            Step::Register(Register::Eventfd(_)) => see(&Fd::Obj(Obj::Event)),
            Step::Register(Register::SyncCancel(_, fd, ..)) => see(fd),
            Step::Do(Action::Write(o, _) | Action::Close(o)) => see(&Fd::Obj(*o)),
            Step::Do(Action::Dup2(a, b)) => [a, b].into_iter().for_each(|o| see(&Fd::Obj(*o))),
            Step::Do(Action::Lock(..) | Action::Unlock(..)) => see(&Fd::Obj(Obj::File)),
            Step::Do(Action::Connect) => see(&Fd::Obj(Obj::Listener)),
            Step::Do(Action::Arm) => see(&Fd::Obj(Obj::Timer)),
            _ => {}
        }
    }
    all
}

impl Scene {
    /// Makes what `p` mentions.
    pub(super) fn new(p: &Program) -> Sys<Self> {
        let hears = |s: &Step| matches!(s, Step::Register(Register::Eventfd(true)));
        let mut s = Self::default();
        s.hears_workers = p.steps.iter().any(hears);
        for o in mentioned(p) {
            s.make(o)?;
        }
        Ok(s)
    }

    fn make(&mut self, o: Obj) -> Sys<()> {
        if self.fds.contains_key(&o) {
            return Ok(());
        }
        let fd = match o {
            Obj::File | Obj::Append => {
                let fd = os::temp_file(&pattern(FILE_LEN))?;
                let path = format!("/proc/self/fd/{fd}");
                if o == Obj::File {
                    self.witness = Some(os::open(&path, libc::O_RDWR)?);
                    let positioned = os::open(&path, libc::O_RDWR)?;
                    os::close(fd)?;
                    positioned
                } else {
                    let appending = os::open(&path, libc::O_RDWR | libc::O_APPEND)?;
                    os::close(fd)?;
                    appending
                }
            }
            Obj::Scratch => os::temp_file(&pattern(FILE_LEN))?,
            Obj::ReadOnly => {
                self.make(Obj::File)?;
                os::open(&format!("/proc/self/fd/{}", self.fds[&Obj::File]), libc::O_RDONLY)?
            }
            Obj::Spare(_) => {
                self.make(Obj::File)?;
                os::fcntl(self.fds[&Obj::File], libc::F_DUPFD_CLOEXEC, 0)?
            }
            Obj::Folder => {
                let dir = tempfile::tempdir().map_err(|_| os::errno())?;
                let path = dir.path().to_string_lossy().into_owned();
                let _ = std::fs::write(dir.path().join("a"), b"first");
                self.folder = Some(dir);
                os::open(&path, libc::O_RDONLY | libc::O_DIRECTORY)?
            }
            Obj::PipeR(n) | Obj::PipeW(n) => {
                let (r, w) = os::pipe()?;
                self.fds.insert(Obj::PipeR(n), r);
                self.fds.insert(Obj::PipeW(n), w);
                return Ok(());
            }
            Obj::Sock(pair, _) => {
                let (a, b) = match pair {
                    Pair::Stream => os::socketpair(libc::SOCK_STREAM)?,
                    Pair::Dgram => os::socketpair(libc::SOCK_DGRAM)?,
                    Pair::Tcp => state::tcp_pair()?,
                    Pair::Udp => state::udp_pair()?,
                };
                self.fds.insert(Obj::Sock(pair, 0), a);
                self.fds.insert(Obj::Sock(pair, 1), b);
                return Ok(());
            }
            Obj::Event => os::eventfd(0, libc::EFD_CLOEXEC)?,
            Obj::Timer => state::timerfd()?,
            Obj::Listener => {
                let (fd, port) = os::tcp_listener()?;
                let (nobody, closed) = state::closed_port()?;
                self.others.push(nobody);
                self.ports = (port, closed);
                fd
            }
            Obj::Fresh(_) => os::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC)?,
            Obj::Epoll => os::epoll_create()?,
            Obj::Ring(_) => return Ok(()),
        };
        self.fds.insert(o, fd);
        Ok(())
    }

    /// The number that stands in a field.
    pub(super) fn number(&self, fd: Fd) -> i32 {
        match fd {
            Fd::Number(n) => n,
            Fd::Obj(Obj::Ring(n)) => self.rings[usize::from(n)],
            Fd::Obj(o) => self.fds.get(&o).copied().unwrap_or(-1),
        }
    }

    /// A path in the folder.
    pub(super) fn in_folder(&self, name: &str) -> String {
        let folder = self.folder.as_ref().map(|d| d.path().join(name));
        folder.unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The port by its name.
    pub(super) fn port(&self, p: Port) -> u16 {
        match p {
            Port::Listener => self.ports.0,
            Port::Closed => self.ports.1,
            Port::Any => 0,
        }
    }

    /// A request made this descriptor: it goes with the scene.
    pub(super) fn made(&mut self, fd: i32) {
        self.others.push(fd);
    }

    /// A request may have closed what it named.
    pub(super) fn was_closed(&mut self, fd: Fd) {
        if let Fd::Obj(o) = fd {
            self.closed.insert(o);
        }
    }

    /// Carries out an action; the answer is compared.
    pub(super) fn act(&mut self, a: Action) -> Sys<i64> {
        let at = |o: Obj| self.fds.get(&o).copied().unwrap_or(-1);
        match a {
            Action::Write(o, len) => {
                self.written = self.written.wrapping_add(1);
                let byte = 0xa0 | self.written;
                let mut bytes = vec![byte; len as usize];
                if o == Obj::Event {
                    bytes = 3u64.to_ne_bytes().to_vec();
                }
                os::write(at(o), &bytes).map(|n| n as i64)
            }
            Action::Close(o) => {
                let r = os::close(at(o));
                self.closed.insert(o);
                r.map(i64::from)
            }
            Action::Dup2(from, to) => os::dup2(at(from), at(to)).map(|_| 0),
            Action::Lock(exclusive, start, len) => {
                let kind = if exclusive { libc::F_WRLCK } else { libc::F_RDLCK };
                os::posix_lock(at(Obj::File), kind, start, len).map(|()| 0)
            }
            Action::Unlock(start, len) => {
                os::posix_lock(at(Obj::File), libc::F_UNLCK, start, len).map(|()| 0)
            }
            Action::Connect => {
                let fd = os::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC)?;
                self.others.push(fd);
                state::connect(fd, self.ports.0).map(|()| 0)
            }
            Action::Arm => state::expire(at(Obj::Timer)).map(|()| 0),
        }
    }

    /// What is left in every object: contents, positions, locks, bytes that wait.
    pub(super) fn left(&mut self, lines: &mut Vec<String>) {
        if let Some(witness) = self.witness {
            lines.push(format!("locks: {}", locks(witness)));
        }
        for (&o, &fd) in &self.fds {
            if self.closed.contains(&o) {
                continue;
            }
            if let Some(what) = self.one_left(o, fd) {
                lines.push(format!("{o:?}: {what}"));
            }
        }
        if let Some(dir) = &self.folder {
            lines.push(format!("folder: {}", listing(dir.path())));
        }
    }

    fn one_left(&self, o: Obj, fd: i32) -> Option<String> {
        Some(match o {
            Obj::File | Obj::Append | Obj::ReadOnly | Obj::Scratch => {
                let bytes = std::fs::read(format!("/proc/self/fd/{fd}")).unwrap_or_default();
                let changed = changes(&pattern(FILE_LEN), &bytes);
                format!("at {:?}, {} bytes, changed {changed}", state::position(fd), bytes.len())
            }
            Obj::Spare(_) => format!("at {:?}", state::position(fd)),
            Obj::PipeR(_) | Obj::Sock(..) => format!("holds {}", waiting(fd)),
            Obj::PipeW(_) | Obj::Listener | Obj::Timer => {
                format!("ready {:#x}", os::poll(fd, libc::POLLIN | libc::POLLOUT, 0).unwrap_or(-1))
            }
            // A signal follows its completion: a moment later, where a worker gives it.
            Obj::Event if self.hears_workers => return None,
            Obj::Event => match os::poll(fd, libc::POLLIN, 3) {
                // A hint only: how often it was signalled is nobody's business.
                Ok(ready) => format!("signalled {}", ready & libc::POLLIN != 0),
                Err(e) => format!("{e:?}"),
            },
            Obj::Epoll => format!("ready {:?}", state::ready(fd)),
            // What is left of a socket after a refused connection differs by who asked for it
            // (LIMITATIONS.md); the request's result says whether it is connected.
            Obj::Folder | Obj::Fresh(_) | Obj::Ring(_) => return None,
        })
    }
}

/// Runs of bytes that are not as they were, as `from..to=value`.
pub(super) fn changes(before: &[u8], now: &[u8]) -> String {
    let mut s = String::new();
    let mut i = 0;
    while i < now.len() {
        if before.get(i) == Some(&now[i]) {
            i += 1;
            continue;
        }
        let from = i;
        while i < now.len() && now[i] == now[from] && before.get(i) != Some(&now[i]) {
            i += 1;
        }
        let _ = write!(s, "[{from}..{i}={:#x}]", now[from]);
    }
    if s.is_empty() { "nothing".to_owned() } else { s }
}

/// Takes what waits, message by message.
fn waiting(fd: i32) -> String {
    let mut s = String::new();
    let mut buf = vec![0u8; 70_000];
    for _ in 0..40 {
        match state::take_waiting(fd, &mut buf) {
            Ok(0) => return s + "end",
            Ok(n) => {
                let _ = write!(s, "{} ", changes(&[], &buf[..n]));
            }
            // It was taken from by splice(2).
            Err(os::Errno(libc::EOPNOTSUPP)) => match os::poll(fd, libc::POLLIN, 0) {
                Ok(ready) if ready & libc::POLLIN != 0 => {
                    let n = os::read(fd, &mut buf).unwrap_or(0);
                    let _ = write!(s, "{} ", changes(&[], &buf[..n]));
                }
                Ok(ready) if ready & libc::POLLHUP != 0 => return s + "end",
                _ => return format!("{s}{:?}", os::Errno(libc::EAGAIN)),
            },
            Err(e) => return format!("{s}{e:?}"),
        }
    }
    s
}

/// The locks on the file, by what a stranger may not lock.
fn locks(witness: i32) -> String {
    let mut s = String::new();
    let mut from = 0;
    while let Ok(Some(l)) = state::lock_in_the_way(witness, from, 0) {
        let kind = if l.exclusive { "w" } else { "r" };
        let _ = write!(s, "{kind}{}+{} ", l.start, l.len);
        if l.len == 0 || l.start + l.len <= from {
            break;
        }
        from = l.start + l.len;
    }
    s
}

fn listing(dir: &std::path::Path) -> String {
    let mut names = Vec::new();
    list_into(dir, "", &mut names);
    names.sort();
    names.join(" ")
}

fn list_into(dir: &std::path::Path, prefix: &str, names: &mut Vec<String>) {
    use std::os::unix::fs::MetadataExt as _;
    for e in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", e.file_name().to_string_lossy());
        let Ok(meta) = e.path().symlink_metadata() else { continue };
        let mut line = format!("{name}:{:o}x{}", meta.mode(), meta.nlink());
        if meta.is_file() {
            let _ = write!(line, ":{}", meta.len());
        }
        if let Ok(to) = std::fs::read_link(e.path()) {
            let _ = write!(line, "->{}", to.display());
        }
        names.push(line);
        if meta.is_dir() {
            list_into(&e.path(), &format!("{name}/"), names);
        }
    }
}
