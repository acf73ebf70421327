//! What the command's `account.rs`, compiled here for its reader, names of the command line.

use std::path::PathBuf;

/// `ringer stats`.
#[derive(Debug)]
pub(crate) struct StatsArgs {
    pub(crate) file: PathBuf,
    pub(crate) json: bool,
}
