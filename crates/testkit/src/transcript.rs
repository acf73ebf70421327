//! A canonical text of what a program asked and what it was told.
//!
//! One line per answer: `register(FILES, 3) = 0`, `cqe ud=7 res=EBADF flags=0`. Nothing that may
//! differ between two right runs (descriptor numbers, addresses, times) is ever in it, so two
//! implementations agree when the texts are equal.

use crate::os::{Sys, name};
use ringer_uapi::Cqe;
use std::fmt::{Debug, Write as _};

/// The text so far.
#[derive(Debug, Default)]
pub struct Transcript {
    text: String,
}

impl Transcript {
    /// A heading.
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

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }
}
