//! The opcodes: one file or family each, and the table that names them.
pub mod accept;
pub mod advise;
pub mod async_cancel;
pub mod connect;
pub mod epoll;
pub mod files_update;
pub mod fixed_fd_install;
pub mod fs;
pub mod msg_ring;
pub mod nop;
pub mod opdef;
pub mod openclose;
pub mod pipe;
pub mod poll;
pub mod rw;
pub mod sendrecv;
pub mod shutdown;
pub mod socket;
pub mod splice;
pub mod statx;
pub mod sync;
pub mod timeout;
pub mod truncate;
pub mod xattr;

pub use crate::support::Support;
pub use opdef::{Cmd, Issue, IssueCx, OPDEFS, Op, OpDef, Outcome, PrepCx, opdef};
