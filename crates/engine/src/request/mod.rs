//! Requests after their SQE was read: state, chains, and everything they can wait in.
pub mod apoll;
pub mod cancel;
pub mod complete;
pub mod iowq;
pub mod reactor;
pub mod req;
mod select;
pub mod start;
pub mod sync_cancel;
pub mod table;
pub mod tctx;
pub mod timers;
mod turns;

pub use req::{Linked, Phase, Req, ReqFile};
