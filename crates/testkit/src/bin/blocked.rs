//! `blocked --profile eperm|docker -- PROG ARGS`: runs a program where io_uring is refused.
#![allow(clippy::print_stderr, reason = "its only output is the reason why it failed")]

use ringer_testkit::block::Profile;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [flag, profile, dashes, prog @ ..] = args.as_slice() else { return usage() };
    let (Some(profile), "--profile", "--") =
        (Profile::named(profile), flag.as_str(), dashes.as_str())
    else {
        return usage();
    };
    if let Err(e) = profile.apply() {
        eprintln!("blocked: the filter was refused: {e:?}");
        return ExitCode::from(125);
    }
    let e = ringer_testkit::os::exec(prog);
    eprintln!("blocked: {prog:?}: {e:?}");
    ExitCode::from(127)
}

fn usage() -> ExitCode {
    eprintln!("usage: blocked --profile eperm|docker -- PROG ARGS");
    ExitCode::from(125)
}
