//! io_uring in user space for the process that asks for it, where the kernel's own is refused.
//!
//! ```no_run
//! fn main() -> Result<(), ringer::Error> {
//!     if !ringer::kernel_available() {
//!         ringer::install()?; // before anything that sets up a ring, or starts a thread
//!     }
//!     // tokio-uring, the io-uring crate, liburing ... as on any other machine
//!     Ok(())
//! }
//! ```
//!
//! ```text
//!  install()   library (embedded) -> memfd -> dlopen -> its constructor scans, filters if needed
//!                                              `-> ringer_install: loaded objects call it
//! ```
//! The library is the one that `ringer run` preloads, with all its limits. What this crate does not
//! do: serve a static program, or children that the process starts (use `ringer run` for those).
//!
//! For tests: [`chaos`] cuts, delays and fails the requests of a thread's rings, [`trace`] tells what a
//! thread submitted and what came of it.

pub mod chaos;
mod load;
pub mod trace;

use std::fmt;

/// What [`install`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Installed {
    /// The library was loaded now; this many places in the loaded objects call it from here on.
    Now {
        /// How many.
        places: usize,
    },
    /// It was there already: the program runs under `ringer run`, or called [`install`] before.
    Before,
}

/// Why this process cannot be served.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The program has no dynamic loader: it was linked statically.
    Static,
    /// The library could not be put into memory that code may run from.
    Memory(std::io::Error),
    /// The loader refused the library, in its own words.
    Refused(String),
    /// The library was loaded but found no place to change: nothing would reach it.
    NoEffect,
}

impl Error {
    /// Whether linking the program dynamically would help.
    pub fn wants_dynamic_linking(&self) -> bool {
        matches!(self, Self::Static)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Static => f.write_str(
                "ringer cannot serve a statically linked program: it has no dynamic loader; \
                 link it dynamically (for Rust: a -gnu target without +crt-static)",
            ),
            Self::Memory(e) => write!(f, "ringer's library cannot be put into a memfd: {e}"),
            Self::Refused(why) => write!(f, "the loader refuses ringer's library: {why}"),
            Self::NoEffect => {
                f.write_str("ringer's library is loaded, but no object of the program calls libc")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Memory(e) => Some(e),
            _ => None,
        }
    }
}

/// Lets this process's io_uring calls be carried out by ringer from now on.
///
/// To be called at the top of `main`: rings that exist stay the kernel's. If the program's own code
/// holds inline system calls that could be io_uring's, a seccomp filter is installed, without
/// privileges together with `PR_SET_NO_NEW_PRIVS`. `RINGER_NO_TRAP=1` leaves it out.
///
/// # Errors
/// See [`Error`]; nothing has changed then.
pub fn install() -> Result<Installed, Error> {
    load::install()
}

/// Whether [`install`] can serve this process: it was linked dynamically.
pub fn available() -> bool {
    load::is_dynamic()
}

/// Whether the kernel's own io_uring answers this process: then nothing needs to be installed.
pub fn kernel_available() -> bool {
    load::kernel_answers()
}
