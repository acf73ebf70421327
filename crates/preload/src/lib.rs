//! `libringer_preload.so`: the constructor and the exported symbols, nothing else.
#![no_std]

mod exports;
#[cfg(feature = "cdylib")]
mod freestanding;
