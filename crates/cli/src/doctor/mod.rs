//! `ringer doctor`: asks every module what it would do here, and says so line by line.
//!
//! - [`here`]: the kernel's io_uring, and what ringer itself needs;
//! - [`target`]: one program: how it is loaded, which of ringer's ways would catch its calls;
//! - [`trial`]: what can only be tried in a child, because it can not be undone;
//! - [`report`]: the lines;
//! - [`support`]: what the engine carries out, for `--support`.
//!
//! What it does not do: change anything but the folder that `run` would use too.

pub(crate) mod here;
pub(crate) mod report;
pub(crate) mod support;
pub(crate) mod target;
pub(crate) mod trial;

use std::io;

use crate::cli::DoctorArgs;
use crate::doctor::report::Report;
pub(crate) use crate::doctor::trial::{SUBCOMMAND as TRIAL, Trial};

/// Prints the report (1 if something failed), or the support tables.
pub(crate) fn doctor(args: &DoctorArgs) -> anyhow::Result<u8> {
    if let Some(word) = &args.support {
        return support::support(word, args.json);
    }
    let mut report = Report::default();
    let library = here::look(&mut report);
    if let Some(name) = &args.program {
        target::look(&mut report, name, library.as_deref());
    }
    let mut out = io::stdout().lock();
    if args.json {
        report.write_json(&mut out)?;
    } else {
        report.write_text(&mut out, report::colour())?;
    }
    Ok(u8::from(report.failed()))
}
