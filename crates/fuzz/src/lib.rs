//! Fuzz targets: each a function of bytes that must return, whatever the bytes are.
//!
//! ```text
//!  fuzz/corpus/NAME/*  --.                         .-- sim: the real engine, a world in RAM
//!  bin/fuzz: mutations --+--> Target::run(&[u8]) --+-- intercept: filter, scan, decode
//!  fuzz/: libFuzzer    --'        its oracle       '-- cli: ELF and stats files; sys: user memory
//! ```
//!
//! A target reads its input as a little program (`arbitrary`: what is missing reads as zero), plays
//! it, and checks what must hold after any program; a panic is a finding. Nothing here needs more
//! than stable Rust: `tests/corpus.rs` replays the corpus, `cargo xtask fuzz` mutates it, and the
//! same functions run under libFuzzer, guided by coverage, from the `fuzz` folder. What it does not
//! do: compare with the kernel (the differential tier does).
#![forbid(unsafe_code)]

mod cli;
mod corpus;
mod ledger;
mod mutate;
mod pages;
mod scene;
mod targets;

pub use corpus::{corpus, folder};
pub use mutate::Mutator;
pub use targets::{TARGETS, Target, named, run};
