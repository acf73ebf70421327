//! `ringer record` and `ringer replay`: a program's completions are kept, and given to it again.
//!
//! ```text
//!  record:  PROG --shared buffer--> frames: S1 S2 C2 ... --> FILE      (layout: ringer_engine::replay)
//!  replay:  PROG <--answers-- FILE      PROG --its entries--> compared with FILE, the first other one is said
//! ```
//! In a replay the program's rings move nothing: what they read comes from the record, what they write goes
//! nowhere. Its ordinary system calls are its own. Limits are in `limits`; docs/decisions/0025 has why. What
//! this does not do: slow anything down to the time it took.

mod follow;
mod limits;
mod recorder;
mod replayer;

use std::fs;
use std::io::Read;
use std::path::Path;

use ringer_engine::replay::{Bad, LEN_MAX, Script};

use crate::cli::{RecordArgs, ReplayArgs};
use crate::refusal::Refusal;
use crate::{os, run};

use recorder::Recorder;
use replayer::Replayer;

/// Runs the program and writes its record; its exit status.
///
/// # Errors
/// 125: something cannot be replayed, or is missing; the file cannot be made, the program not be started.
/// There is no record then.
pub(crate) fn record(args: &RecordArgs) -> anyhow::Result<u8> {
    os::hold_standard_descriptors();
    run::refuse_elevated()?;
    let mut recorder = Recorder::new(crate::trace::file(&args.output)?);
    let ended = follow::follow(
        (&args.program, &args.args),
        &[("RINGER_TRACE_ALL", "whole".as_ref())],
        &mut recorder,
    );
    let done = ended.and_then(|ended| recorder.finish(&ended, &args.program));
    if done.is_err() {
        // A part of a record is none, and has what the program read all the same.
        let _ = fs::remove_file(&args.output);
    }
    let done = done?;
    eprintln!("ringer: record: {}, written to {}", done.said, args.output.display());
    Ok(done.status)
}

/// Runs the program with a record's answers: 0 if it did as recorded, 1 if not.
///
/// # Errors
/// 125: the record cannot be used, the program not be started.
pub(crate) fn replay(args: &ReplayArgs) -> anyhow::Result<u8> {
    os::hold_standard_descriptors();
    run::refuse_elevated()?;
    let mut script = read(&args.record)?;
    if args.any_data {
        script.forget_written();
    }
    // The program may change its folder before it makes a ring.
    let path = fs::canonicalize(&args.record).map_err(|e| refuse(&args.record, &e.to_string()))?;
    let any = if args.any_data { "1" } else { "0" };
    let mut replayer = Replayer::new(script);
    let ended = follow::follow(
        (&args.program, &args.args),
        &[
            ("RINGER_TRACE_ALL", "sums".as_ref()),
            ("RINGER_REPLAY", path.as_os_str()),
            ("RINGER_REPLAY_ANY_DATA", any.as_ref()),
        ],
        &mut replayer,
    )?;
    replayer.finish(&ended, &args.program)
}

fn refuse(path: &Path, why: &str) -> Refusal {
    Refusal::ours(format!("cannot replay {}", path.display()), why)
}

fn read(path: &Path) -> Result<Script, Refusal> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(LEN_MAX as u64 + 1).read_to_end(&mut bytes))
        .map_err(|e| refuse(path, &e.to_string()))?;
    if bytes.len() > LEN_MAX {
        return Err(refuse(path, "it is longer than any record"));
    }
    Script::parse(bytes).map_err(|bad| match bad {
        Bad::Other => refuse(path, "it is no record of this version")
            .fix("ringer record -o FILE -- PROG makes one"),
        Bad::Short => refuse(path, "its end is missing"),
        Bad::Broken => refuse(path, "it is damaged"),
    })
}
