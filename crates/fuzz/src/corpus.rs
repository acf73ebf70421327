//! The inputs that are kept: `fuzz/corpus/TARGET/*`, small, minimised, checked in.
//!
//! What it does not do: change them. New ones come out of a guided run (`cargo xtask fuzz --guided`).

use std::path::PathBuf;

/// Where the inputs of a target lie.
pub fn folder(target: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus")).join(target)
}

/// The inputs of a target by name, in the order of their names; none if there is no folder.
pub fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(folder(target)).into_iter().flatten().flatten();
    let mut all: Vec<(PathBuf, Vec<u8>)> = entries
        .map(|e| e.path())
        .filter_map(|path| std::fs::read(&path).ok().map(|bytes| (path, bytes)))
        .collect();
    all.sort();
    all
}
