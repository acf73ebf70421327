//! Everything that differs between processors, one file for each.

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub use x86_64::*;

#[cfg(not(target_arch = "x86_64"))]
compile_error!(
    "ringer runs on x86-64 so far; another processor needs its own file in sys/src/arch"
);
