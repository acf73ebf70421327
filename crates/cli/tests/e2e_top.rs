//! `ringer top`: running programs are watched, and neither they nor those who look can harm each other.

#![allow(clippy::unwrap_used, reason = "what cannot go on fails")]

mod support;

use ringer_engine::trace::buffer::{AT_FIRST, AT_PID, AT_SLOTS, AT_TAIL, HEADER, MAGIC, SLOT};
use ringer_engine::trace::channel::{Answer, GREETING};
use ringer_testkit::harness::{self, Scratch, Under};
use ringer_testkit::os::{self, Buf};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use std::fs::{self, File, Permissions};
use std::io::{BufRead as _, BufReader, IoSlice, IoSliceMut, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::RINGER;

/// A runtime folder of a test's own.
struct Runtime(Scratch);

impl Runtime {
    fn new() -> Self {
        Self(Scratch::new())
    }

    fn path(&self) -> PathBuf {
        self.0.path("run")
    }

    fn folder(&self) -> PathBuf {
        self.path().join("ringer")
    }

    /// Makes the folder as a process would.
    fn make(&self) -> PathBuf {
        let folder = self.folder();
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
        folder
    }

    fn sockets(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder()).into_iter().flatten().flatten();
        // An ordinary user's library is there, too.
        let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.parse::<u32>().is_ok()).collect()
    }

    /// A command in its last place, with this runtime folder.
    fn command(&self, line: &[&str]) -> Command {
        fs::create_dir_all(self.path()).unwrap();
        let mut c = Command::new(line[0]);
        c.args(&line[1..]).env("XDG_RUNTIME_DIR", self.path()).env_remove("RINGER_NO_ATTACH");
        c
    }

    fn top(&self, args: &[&str]) -> Output {
        let mut c = self.command(&["timeout", "60", RINGER, "top", "--plain"]);
        c.args(args).output().unwrap()
    }
}

/// The kit's program that is looked at, running.
struct Watched {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Watched {
    fn start(run: &Runtime, under: Under, program: &str, options: &[&str]) -> Self {
        Self::start_so(run, under, program, options, "")
    }

    fn start_so(run: &Runtime, under: Under, program: &str, options: &[&str], how: &str) -> Self {
        let Under::Blocked(profile) = under else { panic!("under a blocker") };
        let [blocked, prog] =
            ["blocked", program].map(|b| harness::binaries(RINGER).join(b).display().to_string());
        let mut line = vec![&*blocked, "--profile", profile.name(), "--", RINGER];
        line.extend(options);
        line.extend(["--", &prog, "watched", how]);
        let mut c = run.command(&line);
        let mut child = c.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        out.read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n");
        Self { child, out }
    }

    /// One whose socket is there.
    fn found(run: &Runtime, under: Under) -> Self {
        let watched = Self::start(run, under, "prog", &["run", "--native", "never"]);
        until("its socket", || run.sockets().contains(&watched.pid()));
        watched
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// Ends its input: it saw nothing of being looked at.
    #[track_caller]
    fn untouched(mut self) {
        drop(self.child.stdin.take());
        let mut said = String::new();
        self.out.read_to_string(&mut said).unwrap();
        assert_eq!((said.as_str(), self.child.wait().unwrap().code()), ("untouched\n", Some(0)));
    }
}

#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[track_caller]
fn text(out: &Output) -> String {
    let (said, told) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert_eq!((out.status.code(), &*told), (Some(0), ""), "{said}");
    said.into_owned()
}

/// The rest of the last line that begins so.
#[track_caller]
fn after<'a>(text: &'a str, begin: &str) -> &'a str {
    let found = text.lines().rev().find_map(|l| l.trim_start().strip_prefix(begin));
    found.unwrap_or_else(|| panic!("no {begin:?} in\n{text}"))
}

/// The number at the beginning.
#[track_caller]
fn number(text: &str) -> f64 {
    let digits = text.trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap_or("");
    digits.parse().unwrap_or_else(|_| panic!("no number: {text:?}"))
}

#[test]
fn a_running_program_shows_rates_and_latencies_and_goes_on_untouched() {
    for under in Under::BLOCKED {
        for program in ["prog", "prog-inline"] {
            let run = Runtime::new();
            let watched = Watched::start(&run, under, program, &["run", "--native", "never"]);
            // Twice: the first one lets go of it.
            for _ in 0..2 {
                let pid = watched.pid();
                let said = text(&run.top(&[&pid, "--count", "3", "--interval", "0.4"]));
                assert_eq!(said.lines().filter(|l| l.starts_with("top - ")).count(), 3, "{said}");
                let ring = after(&said, "ring 1: ");
                assert!(number(ring) > 0.0 && ring.contains(": 1 armed, "), "{said}");
                let read = after(&said, "READ: ");
                let errors = number(read.split_once(", ").unwrap().1);
                assert!(number(read) > 0.0 && errors > 0.0, "{said}");
                assert!(read.contains(", p50 ") && read.contains(", p99 "), "{said}");
                assert!(number(after(&said, "NOP: ")) > 0.0, "{said}");
            }
            watched.untouched();
            assert_eq!(run.sockets(), [""; 0], "its socket goes with it");
        }
    }
}

#[test]
fn rates_of_a_ring_count_what_was_armed_before_anybody_looked() {
    let run = Runtime::new();
    let watched = Watched::found(&run, Under::BLOCKED[0]);
    let said = text(&run.top(&[&watched.pid(), "--count", "1", "--interval", "1"]));
    let ring = after(&said, "ring 1: ");
    let completions = number(ring.split_once(", ").unwrap().1);
    let opcodes = number(after(&said, "READ: ")) + number(after(&said, "NOP: "));
    // Three a round; the two are read off at different times.
    assert!((completions - opcodes).abs() < 0.5 * completions, "{said}");
    watched.untouched();
}

#[test]
fn a_second_reader_is_told_who_the_first_one_is() {
    let run = Runtime::new();
    let watched = Watched::found(&run, Under::BLOCKED[0]);
    let pid = watched.pid();
    let mut first = run.command(&[RINGER, "top", "--plain", &pid, "--interval", "0.1"]);
    let mut first = first.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(first.stdout.take().unwrap()).lines();
    assert!(lines.any(|l| l.unwrap().contains("READ: ")));
    let said = text(&run.top(&[&pid, "--count", "1", "--interval", "0.1"]));
    let busy = format!("not watched: process {} watches it", first.id());
    assert!(said.contains(&busy), "{said}");
    os::kill(first.id().cast_signed(), libc::SIGINT).unwrap();
    assert_eq!(first.wait().unwrap().code(), Some(0));
    // It may not have seen yet that the first one is gone; it asks again.
    let said = text(&run.top(&[&pid, "--count", "30", "--interval", "0.1"]));
    assert!(said.contains("READ: "), "{said}");
    watched.untouched();
}

#[test]
fn a_program_that_is_traced_says_so() {
    let run = Runtime::new();
    let scratch = Scratch::new();
    let file = scratch.path("trace").display().to_string();
    let under = Under::BLOCKED[0];
    let watched = Watched::start(&run, under, "prog", &["trace", "-o", &file]);
    until("a socket", || !run.sockets().is_empty());
    let said = text(&run.top(&["--count", "1", "--interval", "0.2"]));
    assert!(said.contains(": not watched: ringer trace or chaos has its records"), "{said}");
    watched.untouched();
    assert!(fs::read_to_string(file).unwrap().contains(" READ "));
}

#[test]
fn who_may_not_be_watched_has_no_socket_and_top_says_why() {
    let run = Runtime::new();
    let options = ["run", "--native", "never", "--no-attach"];
    let watched = Watched::start(&run, Under::BLOCKED[0], "prog", &options);
    let out = run.top(&[&watched.pid(), "--count", "1"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(125), "{said}");
    assert!(said.contains("--no-attach"), "{said}");
    watched.untouched();
    assert!(run.sockets().is_empty());
}

#[test]
fn trace_follows_a_process_that_runs_already_until_it_is_stopped() {
    let run = Runtime::new();
    let watched = Watched::found(&run, Under::BLOCKED[0]);
    let file = run.0.path("trace.jsonl");
    let pid = watched.pid();
    let mut trace = run.command(&[RINGER, "trace", "--json", "--pid", &pid, "-o"]);
    let mut trace = trace.arg(&file).spawn().unwrap();
    until("requests", || fs::read_to_string(&file).unwrap_or_default().contains("\"READ\""));
    os::kill(trace.id().cast_signed(), libc::SIGINT).unwrap();
    assert_eq!(trace.wait().unwrap().code(), Some(0));
    let lines = fs::read_to_string(&file).unwrap();
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["processes"]), (&"end".into(), &1.into()), "{last}");
    assert_eq!(last["requests"].as_u64(), Some(lines.lines().count() as u64 - 1), "{last}");
    // It is let go of.
    assert!(text(&run.top(&[&pid, "--count", "1", "--interval", "0.3"])).contains("READ: "));
    watched.untouched();
}

#[test]
fn a_program_with_a_filter_of_its_own_is_not_ended_by_who_looks() {
    let run = Runtime::new();
    let options = ["run", "--native", "never"];
    let under = Under::BLOCKED[0];
    let watched = Watched::start_so(&run, under, "prog", &options, "sandboxed");
    let said = text(&run.top(&["--count", "2", "--interval", "0.2"]));
    assert!(said.contains("it hung up: it has a filter of its own (seccomp)"), "{said}");
    watched.untouched();
}

#[test]
fn a_killed_programs_socket_goes_at_the_next_look() {
    let run = Runtime::new();
    let mut watched = Watched::found(&run, Under::BLOCKED[0]);
    watched.child.kill().unwrap();
    watched.child.wait().unwrap();
    assert_eq!(run.sockets(), [watched.pid()]);
    let said = text(&run.top(&["--count", "1", "--interval", "0.1"]));
    assert!(!said.contains(&format!("{} prog", watched.pid())), "{said}");
    assert!(run.sockets().is_empty());
}

#[test]
fn a_killed_programs_socket_goes_with_the_next_program() {
    let run = Runtime::new();
    let mut watched = Watched::found(&run, Under::BLOCKED[0]);
    watched.child.kill().unwrap();
    watched.child.wait().unwrap();
    let next = Watched::found(&run, Under::BLOCKED[0]);
    until("the dead one's end", || run.sockets() == [next.pid()]);
    next.untouched();
}

#[test]
fn a_forked_child_and_what_it_executes_have_sockets_of_their_own_or_none() {
    for program in ["children", "exec-again"] {
        let run = Runtime::new();
        let prog = harness::binaries(RINGER).join("prog").display().to_string();
        let out = run.command(&[RINGER, "run", "--native", "never", "--", &prog, program]).output();
        assert_eq!(out.unwrap().status.code(), Some(0));
        let parents_own = run.sockets();
        // Everybody ended in an orderly way; who executed another program left none that stays.
        text(&run.top(&["--count", "1", "--interval", "0.1"]));
        assert_eq!(run.sockets(), [""; 0], "{parents_own:?}");
    }
}

#[test]
fn a_folder_that_is_open_to_others_is_used_by_nobody() {
    let run = Runtime::new();
    fs::set_permissions(run.make(), Permissions::from_mode(0o755)).unwrap();
    let watched = Watched::start(&run, Under::BLOCKED[0], "prog", &["run", "--native", "never"]);
    let out = run.top(&[&watched.pid(), "--count", "2", "--interval", "0.5"]);
    assert!(run.sockets().is_empty());
    let told = String::from_utf8_lossy(&out.stderr);
    let warning = "is not looked into: others may enter it (mode 0755): chmod 700";
    assert_eq!(told.matches(warning).count(), 1, "{told}");
    // The other folder has it, and tests beside this one, which look there, too, may be first.
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(said.contains("ring 1: ") || said.contains("watches it"), "{said}");
    watched.untouched();
}

/// `sockaddr_un` of a path, for raw calls.
fn address(path: &Path) -> Buf {
    let mut bytes = vec![1, 0];
    bytes.extend(path.to_string_lossy().bytes());
    bytes.resize(110, 0);
    Buf::of(&bytes)
}

#[test]
fn another_users_connection_is_refused_even_where_the_folder_lets_it_in() {
    if !rustix::process::geteuid().is_root() {
        return support::skip("only root can become another user");
    }
    let run = Runtime::new();
    let watched = Watched::found(&run, Under::BLOCKED[0]);
    let socket = run.folder().join(watched.pid());
    for path in [run.path(), run.folder(), socket.clone()] {
        fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
    }
    let answered = |uid: u64| {
        let (at, hello) = (address(&socket), Buf::of(&GREETING));
        os::in_child(|| {
            let ok = |step: i32, r: os::Sys<i64>| r.map_err(|_| step);
            let talk = || {
                ok(20, os::raw(libc::SYS_setresuid, [uid; 3]))?;
                let new = [1, 5, 0].map(|n: i32| n.cast_unsigned().into());
                let fd = ok(21, os::raw(libc::SYS_socket, new))?.cast_unsigned();
                ok(22, os::raw(libc::SYS_connect, [fd, at.addr(), 110]))?;
                let len = hello.len() as u64;
                let sent = os::raw6(libc::SYS_sendto, [fd, hello.addr(), len, 0x4000, 0, 0]);
                // It may be gone before that.
                let _ = sent;
                let mut answer = [0; 64];
                Ok(os::read(fd as i32, &mut answer).map_or(11, |n| i32::from(n != 0)))
            };
            talk().unwrap_or_else(|step: i32| step)
        })
        .unwrap()
    };
    // 0: the end of what it says; 11: reset, as something was left unread.
    let other = answered(65534) >> 8 & 0xff;
    assert!([0, 11].contains(&other), "another user: {other}");
    // Root says the same without memory, which makes no sense, and is let go as well: so ask rightly.
    for path in [run.folder(), run.path()] {
        fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
    }
    let said = text(&run.top(&[&watched.pid(), "--count", "1", "--interval", "0.3"]));
    assert!(said.contains("READ: "), "{said}");
    watched.untouched();
}

/// A socket at which this process listens, as if it were to be watched.
fn listener(folder: &Path) -> OwnedFd {
    let kind = SocketType::SEQPACKET;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
    let path = folder.join(std::process::id().to_string());
    rustix::net::bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    rustix::net::listen(&socket, 8).unwrap();
    socket
}

/// Takes a connection and the memory that comes with it.
fn taken(listener: &OwnedFd) -> (OwnedFd, File) {
    let socket = rustix::net::accept(listener).unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut said = [0; 64];
    let into = &mut [IoSliceMut::new(&mut said)];
    let got = rustix::net::recvmsg(&socket, into, &mut ancillary, RecvFlags::empty()).unwrap();
    assert_eq!(&said[..got.bytes], &GREETING);
    let memory = ancillary.drain().find_map(|m| match m {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    (socket, memory.expect("memory").into())
}

fn say(socket: &OwnedFd, bytes: &[u8]) {
    // The reader may be gone.
    let _ = rustix::net::send(socket, bytes, SendFlags::NOSIGNAL);
}

/// A header as a process writes it, but for what is said.
fn header(memory: &File, words: &[(usize, u64)]) {
    let slots = (memory.metadata().unwrap().len() - HEADER as u64) / SLOT as u64;
    let good = [(0, MAGIC), (AT_PID, 7), (AT_SLOTS, slots)];
    for (at, word) in good.iter().chain(words) {
        memory.write_all_at(&word.to_le_bytes(), *at as u64).unwrap();
    }
}

type Server = fn(&OwnedFd, &File);

#[test]
fn no_answer_and_no_memory_harms_who_looks() {
    let servers: [(&str, &str, Server); 8] = [
        ("silence", "asked", |_, _| {}),
        ("noise", "its answer makes no sense", |s, _| say(s, &[0xff; 24])),
        ("too much", "its answer makes no sense", |s, _| say(s, &[0; 200])),
        ("an end", "it hung up", |s, _| say(s, &[])),
        ("no header", "it wrote no buffer", |s, _| say(s, &Answer::Watched.to_bytes())),
        ("a wrong size", "it wrote no buffer", |s, memory| {
            header(memory, &[(AT_SLOTS, 1 << 24)]);
            say(s, &Answer::Watched.to_bytes());
        }),
        ("an odd beginning", "it wrote no buffer", |s, memory| {
            header(memory, &[(AT_FIRST, 1)]);
            say(s, &Answer::Watched.to_bytes());
        }),
        ("garbage", "", |s, memory| {
            let len = memory.metadata().unwrap().len();
            let noise: Vec<u8> = (0..len).map(|i| (i * 31 + i / 251) as u8).collect();
            memory.write_all_at(&noise, 0).unwrap();
            header(memory, &[(AT_FIRST, 0), (AT_TAIL, 60_000)]);
            say(s, &Answer::Watched.to_bytes());
            // Cut it under the reader: its own seals forbid that.
            assert!(memory.set_len(0).is_err() && memory.set_len(len * 2).is_err());
            for tail in [u64::MAX, 0, 1 << 40, 65_536] {
                memory.write_all_at(&tail.to_le_bytes(), AT_TAIL as u64).unwrap();
                std::thread::sleep(Duration::from_millis(50));
            }
        }),
    ];
    for (name, told, serve) in servers {
        let run = Runtime::new();
        let listener = listener(&run.make());
        let server = std::thread::spawn(move || {
            let (socket, memory) = taken(&listener);
            serve(&socket, &memory);
            // Until the reader is gone.
            let closes = name == "an end";
            while !closes
                && matches!(rustix::net::recv(&socket, &mut [0; 8], RecvFlags::empty()), Ok((n, _)) if n > 0)
            {
            }
        });
        let said = text(&run.top(&["--count", "4", "--interval", "0.1"]));
        server.join().unwrap();
        assert!(said.contains(told), "{name}: {said}");
        assert!(said.contains(&std::process::id().to_string()), "{name}: {said}");
    }
}

#[test]
fn another_user_who_listens_in_the_folder_is_not_believed() {
    if !rustix::process::geteuid().is_root() {
        return support::skip("only root can become another user");
    }
    let run = Runtime::new();
    let folder = run.make();
    let path = folder.join(std::process::id().to_string());
    let kind = SocketType::SEQPACKET;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::empty(), None).unwrap();
    rustix::net::bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    let fd = socket.as_raw_fd().cast_unsigned().into();
    let listens = os::in_child(|| {
        let other = os::raw(libc::SYS_setresuid, [65534; 3]);
        i32::from(other.and_then(|_| os::raw(libc::SYS_listen, [fd, 8, 0])).is_err())
    });
    assert_eq!(listens, Ok(0));
    let said = text(&run.top(&["--count", "1", "--interval", "0.1"]));
    assert!(said.contains("not watched: another user listens at its socket"), "{said}");
}

/// Connects to a process as a reader does, and sends that.
fn greet(run: &Runtime, watched: &Watched, said: &[u8], memory: &impl AsFd) -> OwnedFd {
    let kind = SocketType::SEQPACKET;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
    let path = run.folder().join(watched.pid());
    rustix::net::connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    let fds = [memory.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(&socket, &[IoSlice::new(said)], &mut ancillary, SendFlags::NOSIGNAL)
        .unwrap();
    socket
}

/// What the process answers; `None`: it hangs up.
fn answer(socket: &OwnedFd) -> Option<Answer> {
    let mut bytes = [0; 64];
    let (n, _) = rustix::net::recv(socket, &mut bytes, RecvFlags::empty()).unwrap_or((0, 0));
    Answer::of_bytes(&bytes[..n])
}

fn memory(len: u64, seals: SealFlags) -> File {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = File::from(memfd_create("a reader's", flags).unwrap());
    file.set_len(len).unwrap();
    fcntl_add_seals(&file, seals).unwrap();
    file
}

#[test]
fn no_reader_harms_the_program_that_it_looks_at() {
    let run = Runtime::new();
    let watched = Watched::found(&run, Under::BLOCKED[0]);
    let (right, sealed) = ((HEADER + 128 * SLOT) as u64, SealFlags::SHRINK | SealFlags::GROW);
    // Memory that could be cut, that is too long or short, or none.
    for (len, seals) in
        [(right, SealFlags::GROW), (right, SealFlags::SHRINK), (right + 64, sealed), (64, sealed)]
    {
        let socket = greet(&run, &watched, &GREETING, &memory(len, seals));
        assert_eq!(answer(&socket), Some(Answer::NoBuffer), "{len} {seals:?}");
    }
    let other = File::open("/dev/zero").unwrap();
    assert_eq!(answer(&greet(&run, &watched, &GREETING, &other)), Some(Answer::NoBuffer));
    let good = || memory(right, sealed);
    assert_eq!(answer(&greet(&run, &watched, b"something else", &good())), None);
    // One that writes over everything while the program writes, and makes holes.
    let file = good();
    let socket = greet(&run, &watched, &GREETING, &file);
    assert_eq!(answer(&socket), Some(Answer::Watched));
    for round in 0..200_u64 {
        let noise: Vec<u8> = (0..right).map(|i| (i * round + i / 7) as u8).collect();
        file.write_all_at(&noise, 0).unwrap();
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&file, hole, 0, right).unwrap();
    }
    assert!(file.set_len(0).is_err());
    // Who speaks twice is let go of.
    say(&socket, &GREETING);
    assert_eq!(answer(&socket), None);
    assert!(
        text(&run.top(&[&watched.pid(), "--count", "1", "--interval", "0.3"])).contains("READ: ")
    );
    watched.untouched();
}

/// A terminal's two ends.
fn terminal() -> (File, OwnedFd) {
    let open = |name: &str| {
        let flags = libc::O_NOCTTY;
        File::options().read(true).write(true).custom_flags(flags).open(name).unwrap()
    };
    let main = open("/dev/ptmx");
    let (unlock, number) = (Buf::of(&[0; 4]), Buf::of(&[0; 4]));
    let ioctl = |request: u64, at: &Buf| {
        os::raw(libc::SYS_ioctl, [main.as_raw_fd().cast_unsigned().into(), request, at.addr()])
            .unwrap()
    };
    ioctl(libc::TIOCSPTLCK, &unlock);
    ioctl(libc::TIOCGPTN, &number);
    let size = [24_u16, 100, 0, 0].map(u16::to_le_bytes).concat();
    ioctl(libc::TIOCSWINSZ, &Buf::of(&size));
    let name = format!("/dev/pts/{}", number.load(0));
    (main, open(&name).into())
}

#[test]
fn a_terminal_shows_the_program_and_is_given_back_however_it_ends() {
    let run = Runtime::new();
    let watched = Watched::found(&run, Under::BLOCKED[0]);
    let ends: [fn(&mut File, &Child); 3] = [
        |keys, _| keys.write_all(b"q").unwrap(),
        |keys, _| keys.write_all(b"\x03").unwrap(),
        |_, top| assert_eq!(os::kill(top.id().cast_signed(), libc::SIGTERM), Ok(0)),
    ];
    for end in ends {
        let (mut keys, other) = terminal();
        let before = rustix::termios::tcgetattr(&other).unwrap();
        let stdio = || Stdio::from(other.try_clone().unwrap());
        let mut top = run.command(&[RINGER, "top", &watched.pid()]);
        let mut top = top.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().unwrap();
        let seen = see(&mut keys, "READ", |keys| keys.write_all(b"\r").unwrap());
        assert!(seen.contains("\x1b[?1049h"), "{seen:?}");
        end(&mut keys, &top);
        let seen = see(&mut keys, "\x1b[?1049l", |_| {});
        assert!(seen.contains("\x1b[?25h"), "the cursor is back: {seen:?}");
        assert_eq!(top.wait().unwrap().code(), Some(0));
        let after = rustix::termios::tcgetattr(other.as_fd()).unwrap();
        assert_eq!(format!("{:?}", after.local_modes), format!("{:?}", before.local_modes));
    }
    watched.untouched();
}

/// What a terminal shows until it shows `wanted`; `then` is done once it shows the program's name.
#[track_caller]
fn see(terminal: &mut File, wanted: &str, then: impl Fn(&mut File)) -> String {
    let (mut seen, mut bytes, mut done) = (String::new(), [0; 4096], false);
    let start = Instant::now();
    while !seen.contains(wanted) {
        assert!(start.elapsed() < Duration::from_secs(20), "no {wanted:?} in {seen:?}");
        if os::poll(terminal.as_raw_fd(), libc::POLLIN, 100).unwrap() == 0 {
            continue;
        }
        let n = terminal.read(&mut bytes).unwrap();
        seen.push_str(&String::from_utf8_lossy(&bytes[..n]));
        if !done && seen.contains("prog") {
            then(terminal);
            done = true;
        }
    }
    seen
}
