//! The opcodes: one file or family each, and the table that names them.
pub mod accept;
pub mod async_cancel;
pub mod connect;
pub mod epoll;
pub mod files_update;
pub mod fs;
pub mod fsync;
pub mod msg_ring;
pub mod nop;
pub mod opdef;
pub mod openclose;
pub mod poll;
pub mod provide_buffers;
pub mod read_multishot;
pub mod rw;
pub mod sendrecv;
pub mod shutdown;
pub mod statx;
pub mod timeout;

pub use crate::support::Support;
pub use opdef::{Cmd, Issue, IssueCx, OPDEFS, Op, OpDef, Outcome, PrepCx, opdef};
