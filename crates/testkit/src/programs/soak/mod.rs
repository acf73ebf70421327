//! Soaks: rings by the thousand, processes killed in flight, mixed work for minutes, shared memory
//! that is rewritten all the time; and an account of what the process holds (`account`).
//!
//! Like all programs of the kit these know nothing of ringer: on the kernel's own io_uring they hold
//! as well. What they do not do: wait a fixed time for the end of a ring (`Account::quiet` waits for
//! the state).

mod account;
mod kills;
mod kin;
mod mixed;
mod races;
mod rings;

pub use kills::{forks, victim};
pub use kin::kin;
pub use mixed::mixed;
pub use races::races;
pub use rings::rings;
