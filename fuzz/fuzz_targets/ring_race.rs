//! `ring_race` under libFuzzer: see `ringer_fuzz::TARGETS`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| ringer_fuzz::run("ring_race", data));
