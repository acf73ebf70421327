//! Requests after their SQE was read: state, chains, and everything they can wait in.
pub mod ahead;
pub mod aio;
pub mod apoll;
pub mod cancel;
pub(crate) mod clocks;
pub mod complete;
mod edges;
pub mod fate;
pub mod held;
pub mod iowq;
pub mod lent;
pub mod notif;
pub mod own;
pub mod reactor;
pub mod req;
mod select;
pub mod start;
pub mod sync_cancel;
pub mod table;
pub mod tctx;
pub mod timers;
mod turns;
pub mod waiter;

pub use notif::Notif;
pub use req::{Linked, Phase, Req, ReqFile};
