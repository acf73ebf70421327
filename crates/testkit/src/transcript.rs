//! A canonical text of what a program asked and what it was told.
//!
//! One line per answer: `register(FILES, 3) = 0`, `cqe ud=7 res=EBADF flags=0`. Nothing that may
//! differ between two right runs (descriptor numbers, addresses, times) is ever in it, so two
//! implementations agree when the texts are equal.

use crate::os::{Sys, name};
use ringer_uapi::Cqe;
use std::fmt::{Debug, Write as _};

/// A part of a transcript: it makes its own rings and depends on no other part.
pub type Part = fn(&mut Transcript) -> Result<(), String>;

/// Prints the parts named in `only` (`a,b`; all without a name), each under `## name`.
///
/// # Errors
/// What stopped a part.
pub fn print(parts: &[(&str, Part)], only: &str) -> Result<(), String> {
    let mut t = Transcript::default();
    for (name, part) in parts {
        if only.is_empty() || only.split(',').any(|o| o == *name) {
            let _ = writeln!(t.text, "## {name}");
            part(&mut t)?;
        }
    }
    print!("{}", t.text);
    Ok(())
}

/// The text so far.
#[derive(Debug, Default)]
pub struct Transcript {
    text: String,
}

impl Transcript {
    /// Prints the text so far.
    pub fn print(&self) {
        print!("{}", self.text);
    }

    /// A heading within a part.
    pub fn part(&mut self, what: &str) {
        let _ = writeln!(self.text, "# {what}");
    }

    /// A call and its answer.
    pub fn call<T: Debug>(&mut self, what: &str, r: Sys<T>) {
        let _ = match r {
            Ok(v) => writeln!(self.text, "{what} = {v:?}"),
            Err(e) => writeln!(self.text, "{what} = {e:?}"),
        };
    }

    /// A completion.
    pub fn cqe(&mut self, c: Cqe) {
        let res = if c.res < 0 { name(-c.res) } else { c.res.to_string() };
        let _ = writeln!(self.text, "cqe ud={} res={res} flags={:#x}", c.user_data, c.flags);
    }

    /// Any other observation.
    pub fn seen(&mut self, what: &str, v: impl Debug) {
        let _ = writeln!(self.text, "{what}: {v:?}");
    }
}
