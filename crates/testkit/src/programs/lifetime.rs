//! How long things live: files in sets, locks, sets in rings, cycles, descriptors.

use super::{Outcome, expect, must};
use crate::os::{self, Buf, Errno};
use crate::ring::{Ring, i32s, reg, u64s};
use crate::sqe::{self, ASYNC, DRAIN, FIXED, HARDLINK, LINK, op};
use ringer_uapi::Sqe;

/// `struct io_uring_rsrc_register`: 32 bytes, which is what `nr` says.
fn register_tagged(ring: &Ring, opcode: u32, nr: u32, data: &Buf, tags: &[u64]) -> crate::Sys<u64> {
    let tags = u64s(tags);
    let arg = u64s(&[u64::from(nr), 0, data.addr(), tags.addr()]);
    ring.register(opcode, arg.addr(), 32)
}

/// Waits until `n` completions were posted in memory of ours, and reads them.
fn posted(ring: &Ring, n: u32) -> Vec<(u64, i32)> {
    while ring.cq_tail() < n {
        let _ = os::yield_now();
    }
    std::iter::from_fn(|| ring.reap()).map(|c| (c.user_data, c.res)).collect()
}

/// A ring in caller-owned memory is closed with sets and requests there; prints what its CQ says.
pub fn teardown(with: &str) -> Outcome {
    let mut ring = must("setup", Ring::in_memory(8, 0))?;
    let (r, w) = must("pipe", os::pipe())?;
    let file = must("file", os::temp_file(b"x"))?;
    let page = Buf::new(8192);
    let iovs = u64s(&[page.addr(), 4096, page.addr() + 4096, 4096]);
    let files = i32s(&[file, r]);
    let tagged = |op, data: &Buf, tags: &[u64]| register_tagged(&ring, op, 2, data, tags);
    if with == "files-first" {
        must("files", tagged(reg::FILES2, &files, &[101, 102]))?;
        must("buffers", tagged(reg::BUFFERS2, &iovs, &[201, 202]))?;
    } else {
        must("buffers", tagged(reg::BUFFERS2, &iovs, &[201, 202]))?;
        must("files", tagged(reg::FILES2, &files, &[101, 102]))?;
    }
    let mut expected = 4;
    if with == "in-flight" {
        ring.push(sqe::flagged(sqe::read(1, page.addr(), 10, 0, 7), FIXED));
        let fixed = sqe::rw(op::READ_FIXED, 1, page.addr(), 10, 0, 8);
        ring.push(sqe::flagged(fixed, FIXED));
        ring.push(sqe::flagged(Sqe { op_flags: 1, fd: 1, ..sqe::of(op::POLL_ADD, 9) }, FIXED));
        must("submit", ring.submit(0))?;
        expect("they are pending", ring.reap().is_none(), true)?;
        expected += 3;
    }
    must("close", os::close(ring.fd))?;
    ring.fd = -1;
    let seen = posted(&ring, expected);
    let (tags, mut requests): (Vec<(u64, i32)>, Vec<_>) =
        seen.iter().copied().partition(|c| c.0 > 100);
    let tags: Vec<u64> = tags.iter().map(|c| c.0).collect();
    println!("tags {tags:?}");
    requests.sort_unstable();
    println!("requests {requests:?}");
    let last_request = seen.iter().rposition(|c| c.0 < 100);
    let first_tag = seen.iter().position(|c| c.0 > 100);
    println!("requests end first {}", last_request < first_tag || last_request.is_none());
    must("close", os::close(r))?;
    must("ignore", os::on_signal(libc::SIGPIPE, ignore, 0))?;
    // The write end sees a broken pipe once the set let go of the read end.
    while os::write(w, b"x") != Err(Errno(libc::EPIPE)) {
        let _ = os::yield_now();
    }
    Ok(())
}

extern "C" fn ignore(_: i32) {}

/// A registered pipe end is let go when the last of descriptor and mappings goes, not before.
pub fn last_mapping(_: &str) -> Outcome {
    let ring = must("setup", Ring::new(8, 0))?;
    let (r, w) = must("pipe", os::pipe())?;
    must("register", ring.register_files(&[w]))?;
    must("close", os::close(w))?;
    must("close", os::close(ring.fd))?;
    for _ in 0..1000 {
        let _ = os::yield_now();
    }
    expect("a mapping keeps the set", os::poll(r, libc::POLLIN, 20), Ok(0))?;
    let mut ring = ring;
    ring.fd = -1;
    drop(ring);
    // Blocks until the set is gone; the deadline ends a leak.
    expect("then the reader sees the end", os::read(r, &mut [0]), Ok(0))
}

/// One ring and one worker come and go, after which whoever carries out io_uring in this process may
/// keep what serves all rings to come.
fn warm_up() -> Outcome {
    let mut ring = must("setup", Ring::new(8, 0))?;
    let file = must("file", os::temp_file(b"x"))?;
    must("register", ring.register_files(&[file]))?;
    let buf = Buf::new(1);
    let read = sqe::flagged(sqe::read(0, buf.addr(), 1, 0, 0), FIXED | ASYNC);
    expect("a read", ring.result(read), Ok(1))?;
    must("close", os::close(file)).map(|_| ())
}

/// Waits until no more descriptors than so many are open: the end of a ring takes its time on every
/// io_uring. The deadline of the program ends a leak.
pub(super) fn no_more_than(before: usize) -> Outcome {
    for _ in 0..1000 {
        if os::count_in_proc("fd") <= before {
            return Ok(());
        }
        let _ = os::poll(-1, 0, 5);
    }
    Err(format!("{} descriptors, {before} before", os::count_in_proc("fd")))
}

/// The set is dropped by close and munmap; descriptors are as many as before.
pub fn counts(_: &str) -> Outcome {
    warm_up()?;
    let before = (os::count_in_proc("fd"), os::count_in_proc("task"));
    for round in 0..20 {
        let mut ring = must("setup", Ring::new(8, 0))?;
        let (r, w) = must("pipe", os::pipe())?;
        let file = must("file", os::temp_file(b"0123456789"))?;
        must("register", ring.register_files(&[w, file, -1]))?;
        let buf = Buf::new(16);
        for flags in [FIXED, FIXED | ASYNC] {
            let s = sqe::flagged(sqe::read(1, buf.addr(), 10, 0, round), flags);
            expect("a read", ring.result(s), Ok(10))?;
        }
        let plain = sqe::flagged(sqe::read(file, buf.addr(), 10, 0, round), ASYNC);
        expect("a read of the plain one", ring.result(plain), Ok(10))?;
        must("close", os::close(w))?;
        must("close", os::close(file))?;
        drop(ring);
        expect("the pipe's end went with the ring", os::read(r, &mut [0]), Ok(0))?;
        must("close", os::close(r))?;
    }
    println!("tasks {} -> {}", before.1, os::count_in_proc("task"));
    no_more_than(before.0)
}

/// A socketpair whose queue holds its own end, registered; the ring goes; the peer reads the end.
pub fn cycle(_: &str) -> Outcome {
    warm_up()?;
    let before = os::count_in_proc("fd");
    let ring = must("setup", Ring::new(8, 0))?;
    let (a, b) = must("socketpair", os::socketpair(libc::SOCK_STREAM))?;
    must("send b into b's own queue", os::send_fd(a, b))?;
    must("register", ring.register_files(&[b]))?;
    must("close", os::close(b))?;
    expect("the peer lives", os::poll(a, libc::POLLIN, 0), Ok(0))?;
    drop(ring);
    expect("the peer reads the end", end_of(a), Ok(0))?;
    must("close", os::close(a))?;
    no_more_than(before)
}

/// End of file, or a reset because bytes were left unread: both say that the other end is gone.
fn end_of(fd: i32) -> crate::Sys<usize> {
    match os::read(fd, &mut [0]) {
        Err(Errno(libc::ECONNRESET)) => Ok(0),
        r => r,
    }
}

/// A ring may not travel through a socket.
pub fn scm_ring(_: &str) -> Outcome {
    let ring = must("setup", Ring::new(8, 0))?;
    let (a, _b) = must("socketpair", os::socketpair(libc::SOCK_STREAM))?;
    expect("sendmsg of a ring", os::send_fd(a, ring.fd), Err(Errno(libc::EINVAL)))?;
    let copy = must("dup", os::dup(ring.fd))?;
    expect("and of its duplicate", os::send_fd(a, copy), Err(Errno(libc::EINVAL)))?;
    expect("of a file", os::send_fd(a, 0), Ok(()))
}

/// POSIX locks survive register, update, unregister, requests and the ring's end.
pub fn posix_locks(_: &str) -> Outcome {
    let dir = std::env::temp_dir();
    let path = format!("{}/locked.{}", dir.display(), os::pid());
    let fd = must("open", os::open(&path, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL))?;
    must("write", os::write(fd, b"0123456789"))?;
    must("lock", os::posix_lock(fd, libc::F_WRLCK, 0, 4))?;
    let r = locks_while_used(fd, &path);
    must("unlink", std::fs::remove_file(&path).map_err(|_| os::errno()))?;
    r
}

fn locks_while_used(fd: i32, path: &str) -> Outcome {
    let held = |after: &str| {
        let got = os::in_child(|| {
            let other = os::open(path, libc::O_RDWR).expect("open");
            os::posix_lock(other, libc::F_WRLCK, 0, 1).err().map_or(0, |e| e.0)
        });
        expect(&format!("held after {after}"), got, Ok(libc::EAGAIN))
    };
    held("lock")?;
    let mut ring = must("setup", Ring::new(8, 0))?;
    held("setup")?;
    must("register", ring.register_files(&[fd, fd]))?;
    held("register")?;
    let buf = Buf::new(16);
    for flags in [0, ASYNC, FIXED, FIXED | ASYNC] {
        let n = if flags & FIXED == 0 { fd } else { 0 };
        let s = sqe::flagged(sqe::read(n, buf.addr(), 4, 0, 1), flags);
        expect("a read", ring.result(s), Ok(4))?;
        held(&format!("a read with flags {flags:#x}"))?;
        let s = sqe::flagged(sqe::write(n, buf.addr(), 4, 0, 1), flags);
        expect("a write", ring.result(s), Ok(4))?;
        held(&format!("a write with flags {flags:#x}"))?;
        let fsync = sqe::flagged(Sqe { fd: n, ..sqe::of(op::FSYNC, 1) }, flags);
        expect("fsync", ring.result(fsync), Ok(0))?;
        held(&format!("fsync with flags {flags:#x}"))?;
    }
    opened_under_locks(&mut ring, path)?;
    held("a direct open")?;
    chained_under_locks(&mut ring, fd)?;
    held("chains")?;
    let list = i32s(&[-1]);
    let arg = u64s(&[0, list.addr()]);
    expect("update", ring.register(reg::FILES_UPDATE, arg.addr(), 1), Ok(1))?;
    held("update")?;
    must("unregister", ring.register(reg::UNREGISTER_FILES, 0, 0))?;
    held("unregister")?;
    must("register", ring.register_files(&[fd]))?;
    let (r, w) = must("pipe", os::pipe())?;
    let pending = must("second ring", Ring::new(8, 0))?;
    must("register a pipe there", pending.register_files(&[w, fd]))?;
    must("close", os::close(w))?;
    drop(ring);
    held("the ring's end")?;
    drop(pending);
    expect("the second ring is gone", os::read(r, &mut [0]), Ok(0))?;
    held("the second ring's end")
}

/// A direct descriptor opens from the folder it names.
fn opened_under_locks(ring: &mut Ring, path: &str) -> Outcome {
    let bytes = Buf::new(8);
    let (dir, name) = path.rsplit_once('/').ok_or("a path")?;
    let folder = must("folder", os::open(dir, libc::O_RDONLY | libc::O_DIRECTORY))?;
    let name = Buf::of(format!("{name}\0").as_bytes());
    let open = sqe::rw(op::OPENAT, folder, name.addr(), 0, 0, 1);
    expect("a direct open", ring.result(Sqe { file_index: 2, ..open }), Ok(0))?;
    let read = sqe::flagged(sqe::read(1, bytes.addr(), 4, 0, 1), FIXED);
    expect("a read of it", ring.result(read), Ok(4))
}

/// What a registered file's request lets start has the program's descriptors: the rest of its chain,
/// and what a drain held back.
fn chained_under_locks(ring: &mut Ring, fd: i32) -> Outcome {
    let (r, w) = must("pipe", os::pipe())?;
    let buf = Buf::of(b"abcdefgh");
    let behind = [(LINK, 0), (HARDLINK, 0), (0, DRAIN)];
    for (round, (link, drain)) in behind.into_iter().cycle().take(12).enumerate() {
        let first = sqe::write(0, buf.addr(), 4, 0, 1);
        let piped = sqe::rw(op::WRITE, w, buf.addr(), 1, u64::MAX, 2);
        let read = sqe::read(fd, buf.addr(), 4, 0, 3);
        ring.push_together([
            sqe::flagged(first, FIXED | link),
            sqe::flagged(piped, drain | link),
            sqe::flagged(read, drain),
        ]);
        must("submit", ring.submit(3))?;
        let mut got = Vec::new();
        for _ in 0..3 {
            let c = must("wait", ring.wait())?;
            got.push((c.user_data, c.res));
        }
        expect(&format!("round {round}"), got, vec![(1, 4), (2, 1), (3, 4)])?;
        expect("the byte", os::read(r, &mut [0]), Ok(1))?;
    }
    must("close", os::close(r).and(os::close(w)))?;
    Ok(())
}

/// As many files as RLIMIT_NOFILE allows register, although descriptors are open already.
pub fn limit_64(_: &str) -> Outcome {
    must("limit", os::limit(libc::RLIMIT_NOFILE, 64))?;
    let mut open = Vec::new();
    for _ in 0..40 {
        open.push(must("file", os::memfd(b"abcd"))?);
    }
    let mut ring = must("setup", Ring::new(8, 0))?;
    let set: Vec<i32> = (0..64).map(|i| open[i % open.len()]).collect();
    must("register 64", ring.register_files(&set))?;
    for fd in open {
        must("close", os::close(fd))?;
    }
    let buf = Buf::new(4);
    for slot in 0..64 {
        let s = sqe::flagged(sqe::read(slot, buf.addr(), 4, 0, 1), FIXED);
        expect("every slot reads", ring.result(s), Ok(4))?;
    }
    must("unregister", ring.register(reg::UNREGISTER_FILES, 0, 0))?;
    let five = vec![0; 65];
    expect("65 are too many", ring.register_files(&five), Err(Errno(libc::EMFILE)))
}

/// Different files in all 64 slots, as many as were ever open at once being fewer.
pub fn limit_64_distinct(_: &str) -> Outcome {
    must("limit", os::limit(libc::RLIMIT_NOFILE, 64))?;
    let mut ring = must("setup", Ring::new(8, 0))?;
    let room: Vec<i32> = std::iter::from_fn(|| os::memfd(b"wxyz").ok()).collect();
    must("register", ring.register_files(&room))?;
    println!("files {}", room.len());
    let buf = Buf::new(4);
    for slot in 0..room.len() as i32 {
        let s = sqe::flagged(sqe::read(slot, buf.addr(), 4, 0, 1), FIXED);
        expect("with no descriptor left, every slot reads", ring.result(s), Ok(4))?;
    }
    let plain = sqe::flagged(sqe::read(room[0], buf.addr(), 4, 0, 1), ASYNC);
    expect("and a plain descriptor on a worker", ring.result(plain), Ok(4))
}
