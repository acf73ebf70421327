//! A valid entry of every opcode, and what must be put back before each try.
//!
//! Valid means: without a spoil it gets as far as it can on an idle bench, and never waits. What it
//! does not do: anything that outlives the bench.

use super::bench::{Bench, LEN, SPARE, Scene, at};
use crate::os;
use crate::sqe::{self, LINK};
use ringer_uapi::Sqe;
use std::fs;
use std::os::fd::AsRawFd as _;

/// A valid entry of an opcode.
///
/// # Errors
/// What could not be put back.
pub fn scene(b: &mut Bench, opcode: u8) -> Result<Scene, String> {
    b.furnish();
    let scene = match opcode {
        1 | 2 | 4 | 5 | 22 | 23 | 49 | 60 | 61 => transfer(b, opcode),
        9 | 10 | 26 | 27 | 47 | 48 | 58 => message(b, opcode),
        13 | 16 | 34 | 45 | 56 | 57 | 46 => socket(b, opcode)?,
        18 | 21 | 28 | 35..=39 | 42 | 44 => path(b, opcode),
        11 | 12 | 15 | 50..=53 => waiting(b, opcode),
        24 | 25 | 3 | 8 | 17 | 55 | 41 | 43 => file(b, opcode),
        _ => rest(b, opcode)?,
    };
    Ok(Scene { sqe: Sqe { opcode, ..scene.sqe }, ..scene })
}

fn of(sqe: Sqe, file: i32) -> Scene {
    Scene { sqe, file, ..Scene::default() }
}

fn transfer(b: &Bench, opcode: u8) -> Scene {
    let _ = os::cut(b.file, 0);
    let _ = os::write_at(b.file, &[5; 64], 0);
    let rw = |fd, addr, len| of(sqe::rw(opcode, fd, addr, len, 0, 0), fd);
    match opcode {
        1 | 2 | 60 | 61 => rw(b.file, b.addr(at::IOVEC), 1),
        49 => {
            // No buffer is provided, so it gets as far as ENOBUFS.
            let s = Sqe { flags: 0x20, ..sqe::rw(opcode, b.full.0, 0, 0, 0, 0) };
            of(s, b.full.0)
        }
        _ => rw(b.file, b.addr(at::DATA), LEN),
    }
}

fn message(b: &Bench, opcode: u8) -> Scene {
    b.refill(matches!(opcode, 10 | 27));
    let (addr, len) = if matches!(opcode, 9 | 10 | 48) { (at::MSGHDR, 1) } else { (at::DATA, LEN) };
    let fd = b.udp.as_raw_fd();
    let notifies = matches!(opcode, 47 | 48);
    Scene { notifies, ..of(sqe::rw(opcode, fd, b.addr(addr), len, 0, 0), fd) }
}

fn socket(b: &mut Bench, opcode: u8) -> Result<Scene, String> {
    let addr = b.addr(at::SOCKADDR);
    Ok(match opcode {
        13 => {
            b.knock()?;
            let fd = b.unix.as_raw_fd();
            Scene { makes_fd: true, ..of(sqe::of_fd(opcode, fd, 0), fd) }
        }
        16 => {
            let fd = b.udp.as_raw_fd();
            of(sqe::rw(opcode, fd, addr, 0, 16, 0), fd)
        }
        34 => of(sqe::rw(opcode, b.pair.0, 0, 2, 0, 0), b.pair.0),
        45 => Scene {
            makes_fd: true,
            ..of(sqe::rw(opcode, libc::AF_UNIX, 0, 0, libc::SOCK_STREAM as u64, 0), b.file)
        },
        56 => {
            let fd = os::socket(libc::AF_INET, libc::SOCK_DGRAM).map_err(|e| format!("{e:?}"))?;
            let _ = os::dup2(fd, SPARE);
            let _ = os::close(fd);
            // Any port.
            b.mem.put(at::SOCKADDR, &os::loopback(0));
            of(sqe::rw(opcode, SPARE, addr, 0, 16, 0), SPARE)
        }
        57 => {
            let fd = b.tcp.as_raw_fd();
            of(sqe::rw(opcode, fd, 0, 8, 0, 0), fd)
        }
        // SIOCINQ of a socket without data.
        _ => {
            b.refill(false);
            let fd = b.udp.as_raw_fd();
            of(sqe::of_fd(opcode, fd, 0), fd)
        }
    })
}

fn path(b: &Bench, opcode: u8) -> Scene {
    let (old, new) = (b.dir.path("file"), b.dir.path("new"));
    let _ = fs::remove_file(&new);
    let _ = fs::remove_dir(&new);
    if !old.exists() {
        let _ = fs::write(&old, b"content");
    }
    let [path, new_path, out] = [at::PATH, at::NEW_PATH, at::OUT].map(|o| b.addr(o));
    let at_dir = |addr, len, off| of(sqe::rw(opcode, b.dirfd, addr, len, off, 0), b.dirfd);
    let dirfd = b.dirfd.cast_unsigned();
    match opcode {
        18 => Scene { makes_fd: true, ..at_dir(path, 0, 0) },
        28 => {
            b.mem.put(at::OPEN_HOW, &[0; 24]);
            Scene { makes_fd: true, ..at_dir(path, 24, b.addr(at::OPEN_HOW)) }
        }
        21 => at_dir(path, libc::STATX_BASIC_STATS, out),
        36 => at_dir(path, 0, 0),
        37 => at_dir(new_path, 0o700, 0),
        38 => at_dir(path, 0, new_path),
        // The xattr pair with a path: the bench's memory is on a file without a name.
        42 | 44 => {
            let full = b.dir.path("file").to_string_lossy().into_owned();
            b.mem.put(at::PATH, full.as_bytes());
            b.mem.put(at::PATH + full.len(), &[0]);
            Scene { sqe: Sqe { addr3: path, ..xattr(b, opcode).sqe }, ..xattr(b, opcode) }
        }
        _ => at_dir(path, dirfd, new_path),
    }
}

fn xattr(b: &Bench, opcode: u8) -> Scene {
    let (name, value) = (b.addr(at::XATTR_NAME), b.addr(at::DATA));
    of(sqe::rw(opcode, b.file, name, LEN, value, 0), b.file)
}

fn file(b: &Bench, opcode: u8) -> Scene {
    let _ = os::cut(b.file, 64);
    let rw = |addr, len, off| of(sqe::rw(opcode, b.file, addr, len, off, 0), b.file);
    match opcode {
        41 | 43 => xattr(b, opcode),
        // Length in `addr`, mode in `len`.
        17 => rw(u64::from(LEN), 0, 0),
        24 => rw(0, LEN, 0),
        25 => rw(b.addr(at::DATA), 4096, 0),
        _ => rw(0, 0, 0),
    }
}

fn waiting(b: &Bench, opcode: u8) -> Scene {
    let ts = b.addr(at::TIMESPEC);
    let word = b.addr(at::FUTEX);
    let rw = |fd, addr, len, off| of(sqe::rw(opcode, fd, addr, len, off, 0), b.file);
    match opcode {
        11 => rw(-1, ts, 1, 0),
        12 => rw(-1, 77, 0, 0),
        15 => {
            // Beyond any clock, so that an absolute time is no past one.
            b.mem.put64(at::TIMESPEC, 4_000_000_000);
            Scene { head: Some(sqe::flagged(sqe::nop(0), LINK)), ..rw(-1, ts, 1, 0) }
        }
        50 => {
            let leave = (libc::WEXITED | libc::WNOWAIT).cast_unsigned();
            let s = rw(b.zombie, 0, libc::P_PID, b.addr(at::OUT));
            Scene { sqe: Sqe { file_index: leave, ..s.sqe }, ..s }
        }
        // FUTEX2_SIZE_U32 | FUTEX2_PRIVATE; the word is 5, so waiting for 4 ends at once.
        51 | 52 => {
            let s = rw(0x82, word, 0, if opcode == 51 { 4 } else { 1 });
            Scene { sqe: Sqe { addr3: 0xffff_ffff, ..s.sqe }, ..s }
        }
        _ => rw(0, b.addr(at::WAITV), 1, 0),
    }
}

fn rest(b: &mut Bench, opcode: u8) -> Result<Scene, String> {
    let rw = |fd, addr, len, off| of(sqe::rw(opcode, fd, addr, len, off, 0), fd);
    let fds = b.addr(at::FDS);
    Ok(match opcode {
        6 => {
            let s = rw(b.full.0, 0, 0, 0);
            Scene { sqe: Sqe { op_flags: libc::POLLIN as u32, ..s.sqe }, ..s }
        }
        7 | 14 => Scene { file: b.file, ..rw(-1, 77, 0, 0) },
        19 => {
            let _ = os::dup2(b.other, SPARE);
            Scene { file: b.file, ..rw(SPARE, 0, 0, 0) }
        }
        20 => {
            b.mem.put(at::FDS, &b.other.to_ne_bytes());
            Scene { file: b.file, ..rw(-1, fds, 1, 1) }
        }
        29 => {
            let ep = os::epoll_create().map_err(|e| format!("{e:?}"))?;
            let _ = os::dup2(ep, SPARE);
            let _ = os::close(ep);
            let (event, target) = (b.addr(at::EPOLL_EVENT), b.full.0 as u64);
            rw(SPARE, event, libc::EPOLL_CTL_ADD as u32, target)
        }
        59 => rw(b.epoll, b.addr(at::OUT), 1, 0),
        30 => {
            b.drain();
            let s = rw(b.empty.1, 0, LEN, u64::MAX);
            Scene { sqe: Sqe { file_index: b.file.cast_unsigned(), ..s.sqe }, ..s }
        }
        33 => {
            b.drain();
            let s = rw(b.empty.1, 0, LEN, 0);
            Scene { sqe: Sqe { file_index: b.full.0.cast_unsigned(), ..s.sqe }, ..s }
        }
        31 => Scene { own_ring: true, file: b.file, ..rw(1, b.addr(at::DATA), LEN, 0) },
        32 => Scene { own_ring: true, file: b.file, ..rw(1, 0, 0, 0) },
        40 => {
            while b.target.reap().is_some() {}
            // A ring is no registered file.
            Scene { file: b.file, ..rw(b.target.fd, 0, 9, 8) }
        }
        54 => {
            let s = rw(0, 0, 0, 0);
            Scene { sqe: Sqe { flags: sqe::FIXED, ..s.sqe }, file: b.file, makes_fd: true, ..s }
        }
        62 => Scene { file: b.file, makes_fd: true, ..rw(0, b.addr(at::OUT), 0, 0) },
        _ => Scene { file: b.file, ..rw(-1, 0, 0, 0) },
    })
}
