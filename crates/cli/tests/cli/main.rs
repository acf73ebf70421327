//! The command from outside: what it starts, what it refuses, what it leaves behind.
#![allow(clippy::print_stderr, reason = "a skip says why")]

mod demo;
mod doctor;
mod programs;
mod run;
mod security;
mod stats;
mod support;
