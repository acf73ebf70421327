//! The errors that the inventory names, one by one, and the checks that come before any opcode's.
//!
//! The tables of `ops` hold what was recorded; here stands what somebody read, in words, so that a
//! table recorded on the wrong kernel does not pass for right. What it does not do: pairs.

use super::OPCODES;
use super::bench::Bench;
use super::field::{ALL32, CLOSED, Field, KERNEL, NOWHERE, Spoil, flag, slot, to};
use crate::fidelity::{Claim, Outcome};
use crate::os::{self, Buf};
use crate::programs::{expect, must};
use crate::ring::{Ring, reg};
use crate::sqe::{self, DRAIN, LINK, op};
use Field::{Addr, Addr3, BufIndex, Fd, FileIndex, Ioprio, Len, Off, OpFlags, Pad2, Personality};
use ringer_uapi::Sqe;
use ringer_uapi::flags::Setup;

/// Fields that must be zero.
const fn stray(field: Field) -> (Spoil, &'static str) {
    (to(field, 1), "EINVAL")
}

const BAD_FD: (Spoil, &str) = (to(Fd, CLOSED), "EBADF");
const NO_FIXED: (Spoil, &str) = (slot(0), "EBADF");
const BAD_ADDR: (Spoil, &str) = (to(Addr, NOWHERE), "EFAULT");

/// A valid entry is not refused; then, on every op, an unknown flag and an unregistered personality.
fn everywhere(name: &str, errors: &[(Spoil, &str)]) -> Outcome {
    let opcode = OPCODES.iter().position(|n| *n == name).ok_or("no such opcode")?;
    let mut bench = Bench::new()?;
    let valid = super::scenes::scene(&mut bench, opcode as u8)?;
    let valid = bench.attempt(&valid, &[], None)?;
    if valid == "EINVAL" {
        return Err(format!("a valid {name} is EINVAL"));
    }
    let before = [(flag(0x80), "EINVAL"), (to(Personality, 9), "EINVAL")];
    for (spoil, errno) in before.iter().chain(errors) {
        let scene = super::scenes::scene(&mut bench, opcode as u8)?;
        let said = bench.attempt(&scene, &[*spoil], Some(errno))?;
        let first = said.split(['+', '/']).next().unwrap_or("");
        expect(&format!("{name} with {}", spoil.label()), first, *errno)?;
    }
    Ok(())
}

macro_rules! named {
    ($($snake:literal $name:literal [$($error:expr),*];)*) => {
        const NAMED: &[Claim] = &[$(Claim {
            name: concat!($snake, "_gives_the_errors_that_the_inventory_names"),
            section: "1.1",
            says: concat!($name, " refuses the fields it does not know with the errno in the table of opcodes."),
            needs: &[$name],
            run: || everywhere($name, &[$($error),*]),
        }),*];
    };
}

named! {
    "nop" "NOP" [(to(OpFlags, 0x4000_0000), "EINVAL")];
    "readv" "READV" [BAD_FD, BAD_ADDR, (to(Len, 1025), "EINVAL"), (to(OpFlags, 1), "EINVAL"),
        (to(OpFlags, 0x4000_0000), "EOPNOTSUPP"), (to(Ioprio, 0xe000), "EINVAL"), (to(Pad2, 2), "EINVAL")];
    "writev" "WRITEV" [BAD_FD, BAD_ADDR, (to(Len, 1025), "EINVAL"), (to(Pad2, 1), "EFAULT")];
    "fsync" "FSYNC" [BAD_FD, stray(Addr), stray(BufIndex), stray(FileIndex), (to(OpFlags, 2), "EINVAL"),
        (to(Off, u64::MAX), "EINVAL")];
    "read_fixed" "READ_FIXED" [BAD_FD, (to(BufIndex, 1), "EFAULT"), BAD_ADDR];
    "write_fixed" "WRITE_FIXED" [BAD_FD, (to(BufIndex, 1), "EFAULT"), BAD_ADDR];
    "poll_add" "POLL_ADD" [BAD_FD, stray(BufIndex), stray(Off), stray(Addr), (to(Len, 8), "EINVAL")];
    "poll_remove" "POLL_REMOVE" [stray(BufIndex), stray(FileIndex), (to(Len, 1), "EINVAL"),
        (to(Off, 9), "EINVAL"), (to(Addr, 5), "ENOENT")];
    "sync_file_range" "SYNC_FILE_RANGE" [BAD_FD, stray(Addr), stray(BufIndex), stray(FileIndex)];
    "sendmsg" "SENDMSG" [BAD_FD, stray(Off), stray(FileIndex), BAD_ADDR];
    "recvmsg" "RECVMSG" [BAD_FD, stray(Off), stray(FileIndex), BAD_ADDR, (to(Ioprio, 2), "EINVAL")];
    "timeout" "TIMEOUT" [(to(Len, 0), "EINVAL"), stray(BufIndex), stray(FileIndex), stray(Addr3), stray(Pad2),
        BAD_ADDR, (to(OpFlags, 12), "EINVAL"), (to(OpFlags, 65), "EINVAL"), (to(OpFlags, 128), "EINVAL")];
    "timeout_remove" "TIMEOUT_REMOVE" [stray(BufIndex), stray(Len), stray(FileIndex), stray(Addr3), stray(Pad2),
        (flag(1), "EINVAL"), (to(Addr, 5), "ENOENT")];
    "accept" "ACCEPT" [BAD_FD, stray(Len), stray(BufIndex), (to(OpFlags, 1), "EINVAL"), (to(Ioprio, 8), "EINVAL"),
        (to(FileIndex, 99), "EINVAL")];
    "async_cancel" "ASYNC_CANCEL" [stray(Off), stray(FileIndex), (to(OpFlags, 6), "EINVAL"),
        (to(OpFlags, 36), "EINVAL"), (to(OpFlags, 64), "EINVAL"), (to(OpFlags, 2), "EBADF")];
    "link_timeout" "LINK_TIMEOUT" [stray(Off), (to(Len, 0), "EINVAL"), BAD_ADDR];
    "connect" "CONNECT" [BAD_FD, stray(Len), stray(BufIndex), stray(OpFlags), stray(FileIndex), BAD_ADDR,
        (to(Off, 200), "EINVAL")];
    "fallocate" "FALLOCATE" [BAD_FD, stray(BufIndex), stray(OpFlags), stray(FileIndex), (to(Addr, 0), "EINVAL"),
        (to(Len, ALL32), "EOPNOTSUPP")];
    "openat" "OPENAT" [stray(BufIndex), NO_FIXED, BAD_ADDR, (to(FileIndex, 99), "EINVAL")];
    "close" "CLOSE" [BAD_FD, stray(Off), stray(Addr), stray(Len), stray(OpFlags), stray(BufIndex), NO_FIXED,
        stray(FileIndex)];
    "files_update" "FILES_UPDATE" [stray(OpFlags), stray(FileIndex), (to(Len, 0), "EINVAL"), (flag(1), "EINVAL"),
        BAD_ADDR, (to(Off, 4), "EINVAL")];
    "statx" "STATX" [stray(BufIndex), stray(FileIndex), NO_FIXED, BAD_ADDR, (to(Len, 1 << 31), "EINVAL")];
    "read" "READ" [BAD_FD, (slot(1), "EBADF"), BAD_ADDR, (to(OpFlags, 1), "EINVAL")];
    "write" "WRITE" [BAD_FD, (slot(1), "EBADF"), BAD_ADDR, (to(OpFlags, 1), "EINVAL")];
    "fadvise" "FADVISE" [BAD_FD, stray(BufIndex), stray(FileIndex), (to(OpFlags, 6), "EINVAL")];
    "madvise" "MADVISE" [stray(BufIndex), stray(FileIndex), (to(Addr, NOWHERE), "EINVAL")];
    "send" "SEND" [BAD_FD, (to(FileIndex, 0x1_0000), "EINVAL"), (to(Len, ALL32), "EINVAL"), (to(Ioprio, 4), "EINVAL")];
    "recv" "RECV" [BAD_FD, stray(Off), stray(FileIndex), (to(Ioprio, 2), "EINVAL"), (to(Ioprio, 64), "EINVAL")];
    "openat2" "OPENAT2" [(to(Len, 23), "EINVAL"), (to(Off, NOWHERE), "EFAULT"), stray(BufIndex), NO_FIXED];
    "epoll_ctl" "EPOLL_CTL" [stray(BufIndex), stray(FileIndex), BAD_ADDR, BAD_FD, (to(Len, 2), "ENOENT")];
    "splice" "SPLICE" [BAD_FD, (to(OpFlags, 0x4000_0000), "EINVAL"), (to(FileIndex, 99), "EBADF"), (to(Off, 2), "ESPIPE")];
    "provide_buffers" "PROVIDE_BUFFERS" [stray(OpFlags), stray(FileIndex), (to(Fd, 0), "E2BIG"),
        (to(Off, 0x1_0000), "E2BIG"), (to(Len, 0), "EINVAL"), (to(Addr, KERNEL), "EFAULT")];
    "remove_buffers" "REMOVE_BUFFERS" [stray(OpFlags), stray(Addr), stray(Len), stray(Off), stray(FileIndex),
        (to(Fd, 0), "EINVAL"), (to(BufIndex, 9), "ENOENT")];
    "tee" "TEE" [BAD_FD, stray(Off), stray(Addr), (to(FileIndex, 99), "EBADF")];
    "shutdown" "SHUTDOWN" [BAD_FD, stray(Off), stray(Addr), stray(OpFlags), stray(BufIndex), stray(FileIndex),
        (to(Len, 3), "EINVAL")];
    "renameat" "RENAMEAT" [stray(BufIndex), stray(FileIndex), NO_FIXED, BAD_ADDR];
    "unlinkat" "UNLINKAT" [stray(Off), stray(Len), stray(BufIndex), stray(FileIndex), stray(OpFlags), NO_FIXED];
    "mkdirat" "MKDIRAT" [stray(Off), stray(OpFlags), stray(BufIndex), stray(FileIndex), NO_FIXED];
    "symlinkat" "SYMLINKAT" [stray(Len), stray(OpFlags), stray(BufIndex), stray(FileIndex), NO_FIXED];
    "linkat" "LINKAT" [stray(BufIndex), stray(FileIndex), stray(OpFlags), NO_FIXED];
    "msg_ring" "MSG_RING" [BAD_FD, stray(BufIndex), (to(Addr, 2), "EINVAL"), (super::field::other(
        super::field::Kind::Memfd), "EBADFD")];
    "fsetxattr" "FSETXATTR" [BAD_FD, BAD_ADDR, (to(Len, 0x1_0001), "E2BIG")];
    "setxattr" "SETXATTR" [NO_FIXED, BAD_ADDR, (to(Len, 0x1_0001), "E2BIG")];
    "fgetxattr" "FGETXATTR" [BAD_FD, BAD_ADDR, stray(OpFlags)];
    "getxattr" "GETXATTR" [NO_FIXED, BAD_ADDR, stray(OpFlags)];
    "socket" "SOCKET" [stray(Addr), stray(OpFlags), stray(BufIndex), (to(FileIndex, 99), "EINVAL"),
        (to(Fd, CLOSED), "EAFNOSUPPORT")];
    "uring_cmd" "URING_CMD" [BAD_FD, (to(Off, 1 << 32), "EINVAL"), (to(OpFlags, 2), "EINVAL"), (to(Off, 5), "EOPNOTSUPP")];
    "send_zc" "SEND_ZC" [BAD_FD, stray(Addr3), stray(Pad2), (flag(0x40), "EINVAL"), (to(FileIndex, 0x1_0000), "EINVAL")];
    "sendmsg_zc" "SENDMSG_ZC" [BAD_FD, stray(Off), stray(FileIndex), stray(Addr3), stray(Pad2)];
    "read_multishot" "READ_MULTISHOT" [BAD_FD, stray(Addr), stray(Len), (super::field::flags(0), "EINVAL")];
    "waitid" "WAITID" [stray(Addr), stray(BufIndex), stray(Addr3), stray(OpFlags), (to(Len, 9), "EINVAL"),
        (to(Off, NOWHERE), "EFAULT")];
    "futex_wait" "FUTEX_WAIT" [stray(Len), stray(OpFlags), stray(BufIndex), stray(FileIndex), (to(Addr3, 0), "EINVAL"),
        (to(Addr, NOWHERE), "EFAULT"), (to(Fd, 0x80), "EINVAL")];
    "futex_wake" "FUTEX_WAKE" [stray(Len), stray(OpFlags), stray(BufIndex), stray(FileIndex), (to(Addr3, 0), "EINVAL")];
    "futex_waitv" "FUTEX_WAITV" [stray(Fd), stray(Off), stray(BufIndex), stray(FileIndex), stray(OpFlags), stray(Addr3),
        (to(Len, 0), "EINVAL"), (to(Len, 129), "EINVAL")];
    "fixed_fd_install" "FIXED_FD_INSTALL" [stray(Off), stray(Addr), stray(Len), stray(BufIndex), stray(FileIndex),
        stray(Addr3), (to(OpFlags, 2), "EINVAL"), (slot(1), "EBADF"), (super::field::flags(0), "EBADF")];
    "ftruncate" "FTRUNCATE" [BAD_FD, stray(OpFlags), stray(Addr), stray(Len), stray(BufIndex), stray(FileIndex),
        stray(Addr3), (to(Off, 1 << 63), "EINVAL")];
    "bind" "BIND" [BAD_FD, stray(Len), stray(BufIndex), stray(OpFlags), stray(FileIndex), BAD_ADDR];
    "listen" "LISTEN" [BAD_FD, stray(Addr), stray(Off), stray(BufIndex), stray(OpFlags), stray(FileIndex)];
    "epoll_wait" "EPOLL_WAIT" [BAD_FD, stray(Off), stray(OpFlags), stray(BufIndex), stray(FileIndex), (to(Len, 0), "EINVAL")];
    "readv_fixed" "READV_FIXED" [BAD_FD, (to(BufIndex, 1), "EFAULT"), BAD_ADDR];
    "writev_fixed" "WRITEV_FIXED" [BAD_FD, (to(BufIndex, 1), "EFAULT"), BAD_ADDR];
    "pipe" "PIPE" [stray(Fd), stray(Off), stray(Addr3), BAD_ADDR, (to(OpFlags, 1), "EINVAL")];
}

/// What comes before any opcode's own checks, and what flags promise.
const BEFORE: &[Claim] = &[
    Claim {
        name: "an_opcode_beyond_the_last_is_einval",
        section: "1.0",
        says: "Opcodes from 63 on complete with EINVAL, whatever else is wrong.",
        needs: &[],
        run: || {
            let mut ring = must("setup", Ring::new(8, 0))?;
            for opcode in [63, 64, 200, 255] {
                for flags in [0, 0x20, 0x80] {
                    let entry = sqe::flagged(sqe::of(opcode, 1), flags);
                    let seen = must("submit", ring.one(entry))?.res;
                    expect(&format!("opcode {opcode}, flags {flags:#x}"), seen, -libc::EINVAL)?;
                }
            }
            Ok(())
        },
    },
    Claim {
        name: "a_skipped_success_switches_draining_off_for_good",
        section: "1.0",
        says: "After CQE_SKIP_SUCCESS was used once, every IO_DRAIN of the ring is EOPNOTSUPP, as are both together.",
        needs: &[],
        run: || {
            let mut ring = must("setup", Ring::new(8, 0))?;
            let drained =
                |ring: &mut Ring| must("submit", ring.one(sqe::flagged(sqe::nop(1), DRAIN)));
            expect("a drain before", drained(&mut ring)?.res, 0)?;
            let both = must("submit", ring.one(sqe::flagged(sqe::nop(2), 0x42)))?;
            expect("both", both.res, -libc::EOPNOTSUPP)?;
            for _ in 0..2 {
                expect("a drain after", drained(&mut ring)?.res, -libc::EOPNOTSUPP)?;
            }
            Ok(())
        },
    },
    Claim {
        name: "an_iopoll_ring_refuses_what_can_not_be_polled",
        section: "1.0",
        says: "On an IOPOLL ring FSYNC, POLL_ADD, TIMEOUT, SEND, OPENAT, CLOSE and STATX are EINVAL; NOP is not.",
        needs: &[],
        run: || {
            let mut ring = must("setup", Ring::new(8, Setup::IOPOLL.bits()))?;
            let refused =
                [op::FSYNC, op::POLL_ADD, op::TIMEOUT, op::SEND, op::OPENAT, op::CLOSE, op::STATX];
            for opcode in refused {
                let seen = must("submit", ring.one(sqe::of(opcode, 1)))?.res;
                expect(&format!("opcode {opcode}"), seen, -libc::EINVAL)?;
            }
            expect("NOP", must("submit", ring.one(sqe::nop(1)))?.res, 0)
        },
    },
    Claim {
        name: "a_descriptor_is_looked_up_when_its_request_starts",
        section: "1.0",
        says: "CLOSE linked to a READ of the same number: the READ is EBADF, since its file is looked up only then.",
        needs: &[],
        run: || {
            let mut ring = must("setup", Ring::new(8, 0))?;
            let fd = must("file", os::memfd(b"0123456789"))?;
            let buf = Buf::new(16);
            ring.push(sqe::flagged(sqe::of_fd(op::CLOSE, fd, 1), LINK));
            ring.push(sqe::read(fd, buf.addr(), 10, 0, 2));
            must("submit", ring.submit(2))?;
            expect("CLOSE", must("wait", ring.wait())?.res, 0)?;
            expect("READ", must("wait", ring.wait())?.res, -libc::EBADF)
        },
    },
    Claim {
        name: "a_failed_call_of_these_ops_does_not_break_their_chain",
        section: "1.1",
        says: "FSYNC, STATX, RENAMEAT, UNLINKAT, MKDIRAT, SYMLINKAT, LINKAT and SHUTDOWN that fail in their call do not cancel what is linked to them.",
        needs: &[],
        run: failed_calls,
    },
    Claim {
        name: "an_off_of_minus_one_moves_the_position",
        section: "1.1",
        says: "READ and WRITE with off -1 start at the file's position and advance it; other negative offsets are EINVAL.",
        needs: &[],
        run: || {
            let mut ring = must("setup", Ring::new(8, 0))?;
            let fd = must("file", os::memfd(b""))?;
            let buf = Buf::of(b"0123456789");
            let at_position = |op| sqe::rw(op, fd, buf.addr(), 4, u64::MAX, 1);
            expect("WRITE", ring.result(at_position(op::WRITE)), Ok(4))?;
            expect("WRITE", ring.result(at_position(op::WRITE)), Ok(4))?;
            expect("READ at the end", ring.result(at_position(op::READ)), Ok(0))?;
            let negative = Sqe { off: u64::MAX - 1, ..at_position(op::READ) };
            expect("off -2", ring.result(negative), Err(os::Errno(libc::EINVAL)))
        },
    },
    Claim {
        name: "every_feature_of_6_18_is_reported",
        section: "2.3",
        says: "setup reports features 0x3ffff.",
        needs: &["FEAT_REG_REG_RING", "RECVSEND_BUNDLE", "FEAT_RW_ATTR"],
        run: || {
            let ring = must("setup", Ring::new(8, 0))?;
            expect("features", ring.params.features, 0x3_ffff)
        },
    },
    Claim {
        name: "the_probe_knows_63_opcodes",
        section: "2.5",
        says: "PROBE with room for 256 reports 62 as the last opcode and every one of 63 as supported.",
        needs: OPCODES_ALL,
        run: || {
            let ring = must("setup", Ring::new(8, 0))?;
            let probe = Buf::new(16 + 8 * 256);
            must("probe", ring.register(reg::PROBE, probe.addr(), 256))?;
            expect("last and count", probe.get(0, 2), vec![62, 63])?;
            let supported = (0..63).filter(|i| probe.load(16 + 8 * i) >> 16 & 1 == 1).count();
            expect("supported", supported, 63)
        },
    },
];

const OPCODES_ALL: &[&str] = &OPCODES;

fn failed_calls() -> Outcome {
    let mut bench = Bench::new()?;
    let missing = bench.addr(super::bench::at::NEW_PATH);
    let cases = [
        (3, to(Fd, bench.full.0 as u64), libc::EINVAL),
        (21, to(Addr, missing), libc::ENOENT),
        (34, to(Len, 3), libc::EINVAL),
        (35, to(Addr, missing), libc::ENOENT),
        (36, to(Addr, missing), libc::ENOENT),
        (37, to(Addr, bench.addr(super::bench::at::PATH)), libc::EEXIST),
        (38, to(Off, bench.addr(super::bench::at::PATH)), libc::EEXIST),
        (39, to(Addr, missing), libc::ENOENT),
    ];
    for (opcode, spoil, errno) in cases {
        let mut entry = super::scenes::scene(&mut bench, opcode)?.sqe;
        spoil.apply(&bench, &mut entry);
        bench.ring.push(sqe::flagged(Sqe { user_data: 1, ..entry }, LINK));
        bench.ring.push(sqe::nop(2));
        must("submit", bench.ring.submit(2))?;
        let mut seen = [must("wait", bench.ring.wait())?, must("wait", bench.ring.wait())?];
        seen.sort_by_key(|c| c.user_data);
        let name = OPCODES[opcode as usize];
        expect(&format!("{name} and what is linked to it"), seen.map(|c| c.res), [-errno, 0])?;
    }
    Ok(())
}

/// The claims of this file.
pub const FAMILIES: [&[Claim]; 2] = [BEFORE, NAMED];

#[cfg(test)]
mod tests {
    use crate::fidelity::errno_order::field::{COMMON, Spoil};

    #[test]
    fn the_common_spoils_are_told_apart() {
        let labels: Vec<String> = COMMON.iter().map(Spoil::label).collect();
        let mut unique = labels.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), labels.len());
    }
}
