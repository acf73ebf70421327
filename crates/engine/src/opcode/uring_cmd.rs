//! `IORING_OP_URING_CMD` (since 5.19): a command of the file's own.
//!
//! - Reads:   `fd`; low half of `off` = command; `op_flags` = `IORING_URING_CMD_*`. Sockets: `addr` =
//!   level and option, `file_index` = length, `addr3` = value
//! - Rejects: `EINVAL` if the high half of `off` is set, for other flags, for MULTISHOT without
//!   BUFFER_SELECT or the other way round, or with FIXED
//! - Result:  SIOCINQ, SIOCOUTQ: bytes. GETSOCKOPT: length of the value. SETSOCKOPT, `/dev/null`: 0.
//!   TX_TIMESTAMP: see `tx_timestamp.rs`
//! - Errors:  `EOPNOTSUPP` a file or a socket without commands, an unknown one, an option of another
//!   level than SOL_SOCKET, IOPOLL rings; TX_TIMESTAMP: `EINVAL` without completions of 32 bytes; those
//!   of ioctl(2), getsockopt(2), setsockopt(2)
//! - Blocks:  no; TX_TIMESTAMP waits by poll
//! - Source:  6.18 io_uring/uring_cmd.c `io_uring_cmd_prep`, `io_uring_cmd`; cmd_net.c
//!   `io_uring_cmd_sock`; drivers/char/mem.c `uring_cmd_null`

use super::opdef::{Issue, IssueCx, Op, Outcome, PrepCx};
use crate::host::{FileKind, Host, SockOpt};
use crate::support::opflags::URING_CMD_ACCEPTED;
use ringer_uapi::flags::{Setup, SqeFlags};
use ringer_uapi::{Errno, Sqe};

const FIXED: u32 = 1;
const MULTISHOT: u32 = 2;
/// `SOCKET_URING_OP_*`.
const SIOCINQ: u32 = 0;
const SIOCOUTQ: u32 = 1;
const GETSOCKOPT: u32 = 2;
const SETSOCKOPT: u32 = 3;
const TX_TIMESTAMP: u32 = 4;
const SOL_SOCKET: i32 = 1;

/// See the module's doc.
#[derive(Debug)]
pub struct UringCmd {
    command: u32,
    option: SockOpt,
    /// The ring takes completions of 32 bytes.
    wide: bool,
}

impl Op for UringCmd {
    fn prep<H: Host>(cx: &PrepCx<'_, H>, sqe: &Sqe) -> Result<Self, Errno> {
        let flags = sqe.op_flags;
        if sqe.off >> 32 != 0 || flags & !URING_CMD_ACCEPTED != 0 {
            return Err(Errno::EINVAL);
        }
        let multi = flags & MULTISHOT != 0;
        if multi && flags & FIXED != 0 || multi != cx.flags.contains(SqeFlags::BUFFER_SELECT) {
            return Err(Errno::EINVAL);
        }
        let option = SockOpt {
            level: (sqe.addr as u32).cast_signed(),
            name: ((sqe.addr >> 32) as u32).cast_signed(),
            value: sqe.addr3,
            len: sqe.file_index.cast_signed(),
        };
        let wide = cx.setup.intersects(Setup::CQE32 | Setup::CQE_MIXED);
        Ok(Self { command: sqe.off as u32, option, wide })
    }

    fn issue<H: Host>(&mut self, cx: &IssueCx<'_, H>) -> Outcome {
        // On a worker the file is held, and what it is says nothing of how it was opened.
        let kind = if cx.how == Issue::Worker { None } else { cx.kind };
        let res = match (IssueCx { kind, ..*cx }).looked_up() {
            Ok(FileKind::Socket) if !cx.iopoll && self.is_timestamps() => {
                match self.may_tell(cx.host, cx.fd) {
                    Ok(()) => return Outcome::Again,
                    Err(e) => Err(e),
                }
            }
            Ok(FileKind::Socket) if !cx.iopoll => self.of_socket(cx.host, cx.fd),
            Ok(FileKind::Other) if !cx.iopoll && cx.host.is_null(cx.fd) => Ok(0),
            Ok(_) => Err(Errno::EOPNOTSUPP),
            Err(e) => Err(e),
        };
        res.into()
    }
}

impl UringCmd {
    /// Whether it waits for timestamps, once it waits.
    pub(crate) fn is_timestamps(&self) -> bool {
        self.command == TX_TIMESTAMP
    }

    fn may_tell<H: Host>(&self, host: &H, fd: i32) -> Result<(), Errno> {
        if self.wide { host.tells_timestamps(fd).map(drop) } else { Err(Errno::EINVAL) }
    }

    fn of_socket<H: Host>(&self, host: &H, fd: i32) -> Result<i32, Errno> {
        match self.command {
            SIOCINQ => host.unread(fd),
            SIOCOUTQ => host.unsent(fd),
            GETSOCKOPT if self.option.level != SOL_SOCKET => Err(Errno::EOPNOTSUPP),
            GETSOCKOPT => host.getsockopt(fd, self.option),
            SETSOCKOPT => host.setsockopt(fd, self.option).map(|()| 0),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }
}
