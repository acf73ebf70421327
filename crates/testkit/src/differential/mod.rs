//! The differential generator: the same random program on the kernel's io_uring and on ringer.
//!
//! ```text
//!   seed, op table --generate--> Program --> execute, three times on the kernel  --> text
//!                                   |    \-> execute on ringer, by libc and inline --> text
//!                                   |          texts differ: minimise, print, fail
//!                                   |          (allowed: what differential/allowed.toml excuses)
//!                                   \- the kernel's three texts differ: set aside, counted
//! ```
//! `judge` drives executors (programs of the kit that read programs and answer texts);
//! `cargo xtask differential` and `e2e_differential` drive `judge`. What it does not do: link the
//! engine. What may be drawn comes from whoever does ([`draws::Rows`]).

pub mod allowed;
pub mod campaign;
mod canon;
mod dice;
pub mod draws;
pub mod execute;
mod generate;
pub mod judge;
pub mod minimise;
pub mod program;
mod scene;
mod shapes;
mod show;

pub use draws::{DRAWS, Rows};
pub use generate::generate;
