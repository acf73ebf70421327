//! The test programs: one behaviour each, chosen by name, the same on any io_uring.
//!
//! `prog [--split] NAME [ARG]` answers with exit code 0 and whatever the behaviour prints, 1 and a
//! reason on stderr when the ring did something else, 2 for an unknown name, 77 when this host
//! cannot show it (the kit's harness counts that as skipped).

use crate::ring::{Layout, choose_layout};
use std::process::ExitCode;

pub mod answered;
pub mod bad;
pub mod copy;
pub mod crowds;
pub mod differential;
pub mod engine;
pub mod features;
pub mod identity;
pub mod leaving;
pub mod lifetime;
pub mod modes;
pub mod order;
pub mod query;
pub mod registration;
pub mod rough;
pub mod setup;
pub mod soak;
pub mod spine;
pub mod stuck;
pub mod waits;
pub mod watched;
pub mod wishes;

/// What a program ends with: `Err` is the reason it failed.
pub type Outcome = Result<(), String>;

/// Name, what it shows, function of the remaining argument.
type Entry = (&'static str, fn(&str) -> Outcome);

const PROGRAMS: &[Entry] = &[
    ("registration", registration::transcript),
    ("spine", spine::spine),
    ("hot-reads", spine::hot_reads),
    ("waits", waits::transcript),
    ("engine", engine::transcript),
    ("differential", differential::executor),
    ("setup", setup::transcript),
    ("threads", crowds::threads),
    ("shared-ring", crowds::shared),
    ("children", crowds::children),
    ("exec-again", crowds::exec_again),
    ("signals-blocked", crowds::signals_blocked),
    ("signal-storm", rough::signal_storm),
    ("many-rings", rough::many_rings),
    ("spawning", rough::spawning),
    ("sweeping", rough::sweeping),
    ("closed-while-waiting", rough::closed_while_waiting),
    ("identity-setuid", identity::setuid),
    ("identity-seteuid", identity::seteuid),
    ("identity-seteuid-raw", identity::seteuid_raw),
    ("identity-capset", identity::capset),
    ("identity-seccomp", identity::seccomp),
    ("identity-landlock", identity::landlock),
    ("identity-directory", identity::directory),
    ("leave", leaving::leave),
    ("order", order::order),
    ("answered", answered::answered),
    ("unanswered", answered::unanswered),
    ("copy-careful", copy::careful),
    ("copy-careless", copy::careless),
    ("teardown", lifetime::teardown),
    ("last-mapping", lifetime::last_mapping),
    ("counts", lifetime::counts),
    ("cycle", lifetime::cycle),
    ("scm-ring", lifetime::scm_ring),
    ("posix-locks", lifetime::posix_locks),
    ("limit-64", lifetime::limit_64),
    ("limit-64-distinct", lifetime::limit_64_distinct),
    ("sqpoll-reads", modes::sqpoll_reads),
    ("sqpoll-idle", modes::sqpoll_idle),
    ("iopoll", modes::iopoll),
    ("rings-poll-rings", modes::rings_poll_rings),
    ("iopoll-waits", stuck::iopoll_waits),
    ("connect-given-up", stuck::connect_given_up),
    ("workers-end", stuck::workers_end),
    ("bad-input", bad::transcript),
    ("bad-racing-writer", bad::racing_writer),
    ("bad-numbers", bad::numbers),
    ("bad-exhaustion", bad::exhaustion),
    ("watched", watched::watched),
    ("wishes", wishes::wishes),
    ("features", features::features),
    ("query", query::query),
    ("soak-rings", soak::rings),
    ("soak-forks", soak::forks),
    ("soak-kin", soak::kin),
    ("soak-mixed", soak::mixed),
    ("soak-races", soak::races),
    ("soak-victim", soak::victim),
];

/// Fails with what was seen when a claim does not hold.
///
/// # Errors
/// The claim and the value, when it is not what was wanted.
pub fn expect<T: PartialEq + std::fmt::Debug>(claim: &str, seen: T, want: T) -> Outcome {
    if seen == want { Ok(()) } else { Err(format!("{claim}: {seen:?}, wanted {want:?}")) }
}

/// Names the step a call failed in.
///
/// # Errors
/// The step and the errno.
pub fn must<T>(step: &str, r: crate::Sys<T>) -> Result<T, String> {
    r.map_err(|e| format!("{step}: {e:?}"))
}

/// Runs the program the command line names.
pub fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|a| a == "--split") {
        choose_layout(Layout::Split);
        args.remove(0);
    }
    let name = args.first().map_or("", String::as_str);
    let arg = args.get(1).map_or("", String::as_str);
    let Some((_, run)) = PROGRAMS.iter().find(|(n, _)| *n == name) else {
        let names: Vec<_> = PROGRAMS.iter().map(|(n, _)| *n).collect();
        eprintln!("prog: no program {name:?}; there are {names:?}");
        return ExitCode::from(2);
    };
    crate::os::deadline(60);
    match run(arg) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) if why.starts_with("skip: ") => {
            eprintln!("prog {name}: {why}");
            ExitCode::from(77)
        }
        Err(why) => {
            eprintln!("prog {name}: {why}");
            ExitCode::from(1)
        }
    }
}
