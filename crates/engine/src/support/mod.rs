//! What is supported, as data: rows of one shape, and the tables they stand in.
//!
//! ```text
//!  opcode/opdef.rs -----.    .-> accepted(rows): masks of setup, enter, an SQE; the features
//!  resource/regdef.rs --+----+-> the probe, the dispatch of register operations
//!  support/rings.rs ----+    '-> TABLES: SUPPORT.md, `ringer doctor --support`, `--stats`
//!  support/opflags.rs --'
//! ```
//! A row is written once and everything else follows from it, at compile time where a request
//! needs it. A row may say [`Support::Full`] only while a differential draw and an errno-order test
//! name it (a test in `xtask` holds that). What this does not do: carry anything out.

pub mod opflags;
pub mod refusal;
pub mod rings;
pub mod row;
pub mod tables;

pub use row::{Kernel, Row, Support, accepted, carried_out};
pub use tables::{Field, Place, ROWS, TABLES, Table, rows};

#[cfg(test)]
mod tests;
