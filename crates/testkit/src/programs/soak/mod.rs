//! Soaks: rings by the thousand, processes killed in flight, mixed work for minutes; and an account.
//!
//! ```text
//!  warm-up -> account -> work -> account -> ... -> account     Account: what the process holds
//!  the second half of a soak may add nothing: no descriptor in any table, no thread, no mapping
//! ```
//!
//! Like all programs of the kit these know nothing of ringer: on the kernel's own io_uring they hold
//! as well. What they do not do: wait a fixed time for the end of a ring (`Account::quiet` waits for
//! the state).

mod account;
mod kills;
mod mixed;
mod rings;

pub use kills::{forks, victim};
pub use mixed::mixed;
pub use rings::rings;
