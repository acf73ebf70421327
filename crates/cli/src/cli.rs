//! The arguments.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// io_uring in user space, for programs that run where the kernel's own is refused
#[derive(Debug, Parser)]
#[command(name = "ringer", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  ringer demo                          see it work, in seconds
  ringer run -- fio job.fio            run a program where io_uring is refused
  ringer doctor fio                    will that program work here, and if not, why?
  ringer stats FILE                    what was counted by run --stats FILE
  ringer trace -- fio job.fio          every request of a program, as strace shows system calls
  ringer report trace.jsonl -o r.html  a page of what trace --json wrote
  ringer chaos --runs 100 -- ./test    does it survive short reads, late completions, EINTR?
  ringer record -o R -- ./test         keep what it is answered; ringer replay R -- ./test
  ringer top                           what all of them do just now";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a program with io_uring, whether or not the kernel allows it
    #[command(after_help = RUN_HELP)]
    Run(RunArgs),
    /// Say whether io_uring and ringer work here, and for a program, how it would be served
    #[command(after_help = DOCTOR_HELP)]
    Doctor(DoctorArgs),
    /// Block io_uring as Docker does, then run an io_uring program anyway
    Demo(DemoArgs),
    /// Add up what `run --stats FILE` counted, killed processes included
    Stats(StatsArgs),
    /// Run a program and show each of its io_uring requests
    #[command(after_help = TRACE_HELP)]
    Trace(TraceArgs),
    /// Run a program while its requests are cut, delayed and failed, as a seed and rules decide
    #[command(after_help = CHAOS_HELP)]
    Chaos(ChaosArgs),
    /// Run a program and keep what its requests were answered
    #[command(after_help = RECORD_HELP)]
    Record(RecordArgs),
    /// Run a program with the answers of a record, and say where it first differs
    #[command(after_help = REPLAY_HELP)]
    Replay(ReplayArgs),
    /// Make a page of HTML of a trace
    #[command(after_help = REPORT_HELP)]
    Report(ReportArgs),
    /// Watch what running programs do with their rings
    #[command(after_help = TOP_HELP)]
    Top(TopArgs),
    /// The child that shows that the library starts.
    #[command(name = crate::probe::SUBCOMMAND, hide = true)]
    Probe,
    /// The io_uring program that the demo runs.
    #[command(name = crate::demo::PROGRAM, hide = true)]
    DemoProgram(DemoProgramArgs),
    /// Blocks io_uring, then runs a program.
    #[command(name = crate::demo::BLOCKED, hide = true)]
    DemoBlocked(DemoBlockedArgs),
    /// Tries what doctor can not try in its own process.
    #[command(name = crate::doctor::TRIAL, hide = true)]
    DoctorTrial(DoctorTrialArgs),
}

const RUN_HELP: &str = "\
The program gets this process: its number, signals and exit status are its own, and ringer prints
nothing. If it can not be run: 125 ringer's own failure, 126 not executable, 127 not found.

Examples:
  ringer run -- qemu-img convert a.qcow2 b.raw
  ringer run --native never --stats /tmp/s.jsonl -- node server.js";

const TRACE_HELP: &str = "\
A line is a request, told when it completes: seconds since the first ring, process (and thread),
ring, number of the request in its process, opcode, arguments, result, CQE flags, how it ran and how
long after its submission. Further completions of a multishot request have its number and +N.
Requests without a completion are told at the end.

Only what ringer carries out can be seen, so the program runs as by run --native never. Paths,
socket addresses and times that a request points to are shown; what it reads and writes only with
--data, and nobody else can read the file that -o or --perfetto makes. What a program does after
its first process has ended is not followed. The exit status is the program's; ringer's own
failure is 125.

Examples:
  ringer trace -- fio job.fio
  ringer trace -c -- fio job.fio            a table for each opcode, as strace -c
  ringer trace -e read,write --slow 10 -o slow.txt -- ./server
  ringer trace -e %network --data 64 -- ./server
  ringer trace -p '/var/log/*' -- ./server
  ringer trace --json -o trace.jsonl -- ./server
  ringer trace --perfetto server.pftrace -- ./server
  ringer trace --pid 4711                   of a process that runs already, see ringer top";

const CHAOS_HELP: &str = "\
Without rules only what a correct program must survive: short reads, receives and sends, requests that
go to a worker, completions that come late and in any legal order, waits that end with EINTR,
completions behind a full queue. Errors and short writes come by rule. The same seed decides the same
about the same submissions.

A rule is what is done, to what and how often, in words: errno=NAME, short or short=BYTES, delay or
delay=5ms, worker, overflow, interrupt (of a wait); lose and twice need --illegal. op=READ,READV
path=*.db fd=7 ring=1 selects (a provided buffer); p=0.1 or nth=3 (of those that match). With a rule,
nothing else is done, unless --legal. A TOML file has tables [[rule]] of the same words.

A run fails if the program ends with another status than 0, by a signal or not in time. In a hunt (--runs)
{} among ARGS is a fresh folder for each run. Exit status: the program's, of a hunt 1 if a run failed;
ringer's own failure is 125.

Examples:
  ringer chaos -- ./server-test
  ringer chaos --runs 200 -- ./db-test --data {}
  ringer chaos --rule 'errno=EIO op=READ,READV path=*.db nth=3' -- ./db-test
  ringer chaos --rule 'errno=ENOBUFS selects p=0.2' --legal --runs 50 -- ./proxy-test";

const RECORD_HELP: &str = "\
The record has each request and each completion in order, with all that was read and received;
nobody else can read it. It is of one process with rings, and of one thread that submits. What
cannot be replayed ends the program and is said: submission threads and polled rings (SQPOLL,
IOPOLL), multishot requests, provided buffers, zero copy, direct descriptors, and requests that
accept or make sockets, receive messages, or work on names of files, epoll, memory, children and
other rings. At most 1 GiB. The exit status is the program's; 125: there is no record.

Examples:
  ringer record -o test.rec -- ./test
  ringer record -o read.rec -- fio --ioengine=io_uring --name=j --size=1m --rw=read";

const REPLAY_HELP: &str = "\
The program's rings move nothing: what a request reads comes from the record, what it writes goes
nowhere, a descriptor that it opens is one of /dev/null. Completions come as soon as what was
submitted before them is submitted, whatever time that took. What the program does by ordinary
system calls, it does.

A request is the recorded one if its opcode, flags, descriptor, offset and length are the same, and
what it writes. The first that is another is said with the recorded one, and the program is ended by
SIGKILL. Exit status 0: all as recorded, also the program's exit status; 1: not; 125: ringer's own
failure.

Examples:
  ringer replay test.rec -- ./test
  ringer replay --any-data test.rec -- ./test     it writes the time of day";

const REPORT_HELP: &str = "\
The page is one file that needs no network: what the requests were, how long they took and how they
ran, what was in flight over time, errors, and advice where a figure was measured.

Examples:
  ringer trace --json -o trace.jsonl -- fio job.fio
  ringer report trace.jsonl -o report.html";

const TOP_HELP: &str = "\
A process that runs under ringer (`ringer run --native never`, or where io_uring is refused) can be
watched at any time, unless it was started with --no-attach; while it is, each of its requests takes
about 0.1 us more. One at a time may watch a process. Processes of the user are looked for, or those
of PID's owner.

Armed requests wait for their file to be ready; latencies are from submission to completion, of
requests that complete once, over the last interval.

Keys: q quit, s sort, arrows select, Enter opcodes and rings of the selected process, h help.

Examples:
  ringer top
  ringer top 4711
  ringer top --plain --count 10 --interval 0.5 >> load.txt";

const DOCTOR_HELP: &str = "\
Each line is PASS, WARN or FAIL with its cause and what to do. Exit status 1 if a line is FAIL.

Examples:
  ringer doctor
  ringer doctor --json /usr/bin/fio
  ringer doctor --support              every opcode, register operation and flag
  ringer doctor --support timeout";

/// `ringer run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Whether the kernel's own io_uring may serve the program where it works
    #[arg(long, value_enum, default_value_t = NativeChoice::Auto)]
    pub(crate) native: NativeChoice,
    /// Append what was counted to FILE, as lines of JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) stats: Option<PathBuf>,
    /// Catch calls through libc only: no seccomp filter, no no_new_privs
    #[arg(long)]
    pub(crate) no_trap: bool,
    /// Leave inline calls as they are: each one traps
    #[arg(long)]
    pub(crate) no_patch: bool,
    /// Let nobody watch it with `ringer top`
    #[arg(long)]
    pub(crate) no_attach: bool,
    /// Complete requests late and in any legal order, as SEED decides; by ringer, whatever --native says
    #[arg(long, value_name = "SEED")]
    pub(crate) shuffle: Option<u32>,
    /// The program, searched in PATH
    #[arg(value_name = "PROG")]
    pub(crate) program: OsString,
    /// Its arguments
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<OsString>,
}

/// `--native`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NativeChoice {
    /// Leave the program to the kernel if its io_uring works for this process
    Auto,
    /// Always use ringer
    Never,
}

/// `ringer doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// A program to look at as well
    #[arg(value_name = "PROG")]
    pub(crate) program: Option<OsString>,
    /// Say instead what ringer carries out: all of it, or what has WORD in its name
    #[arg(long, value_name = "WORD", num_args = 0..=1, default_missing_value = "", conflicts_with = "program")]
    pub(crate) support: Option<String>,
    /// Print one JSON object instead of lines
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ringer stats`.
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// What `--stats` was given
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Print one JSON object instead of lines
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ringer trace`.
#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// Write to FILE instead of the standard error
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Only these opcodes, separated by commas; also %file, %network, %read, %write, %wait, and %call
    /// for io_uring_setup and io_uring_register
    #[arg(short = 'e', long = "only", value_name = "OP,..")]
    pub(crate) only: Vec<String>,
    /// Only requests on this file: a descriptor's number, or a path in which * stands for anything
    #[arg(short, long, value_name = "FD|PATH")]
    pub(crate) path: Vec<String>,
    /// Show the first N bytes of what requests read, receive, write and send
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1024))]
    pub(crate) data: u32,
    /// With --data: no byte leaves the program, only how many there were
    #[arg(long, requires = "data")]
    pub(crate) redact: bool,
    /// Print only a table at the end: requests, errors and latency of each opcode
    #[arg(short, long, conflicts_with_all = ["json", "slow"])]
    pub(crate) count: bool,
    /// Print JSON objects, one a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Write a timeline to FILE that ui.perfetto.dev opens; lines only with -o or --json
    #[arg(long, value_name = "FILE")]
    pub(crate) perfetto: Option<PathBuf>,
    /// Show only completions that came at least MS milliseconds after their submission
    #[arg(long, value_name = "MS")]
    pub(crate) slow: Option<f64>,
    /// Room for records in each process [KiB]: what does not fit is lost, and counted
    #[arg(long, value_name = "KIB", default_value_t = 8192, value_parser = clap::value_parser!(u64).range(8..=1_048_576))]
    pub(crate) buffer: u64,
    /// Watch a process that runs already, until it ends or this is interrupted
    #[arg(long, value_name = "PID", conflicts_with_all = ["program", "data"], value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pid: Option<u32>,
    /// The program, searched in PATH
    #[arg(value_name = "PROG", required_unless_present = "pid")]
    pub(crate) program: Option<OsString>,
    /// Its arguments
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<OsString>,
}

/// `ringer report`.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// What `ringer trace --json` wrote; - is the standard input
    #[arg(value_name = "TRACE")]
    pub(crate) trace: PathBuf,
    /// Write to FILE instead of the standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// `ringer chaos`.
#[derive(Debug, Args)]
pub(crate) struct ChaosArgs {
    /// Decide as N does [default: one by chance; a failure says which]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Hunt: run the program with N seeds, one after the other from --seed on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) runs: Option<u64>,
    /// Runs at a time in a hunt [default: as many as there are processors]
    #[arg(short, long, value_name = "N")]
    pub(crate) jobs: Option<usize>,
    /// A rule; may be given several times
    #[arg(long, value_name = "RULE")]
    pub(crate) rule: Vec<String>,
    /// Rules from a TOML file
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Option<PathBuf>,
    /// With rules: do what is done without any as well
    #[arg(long)]
    pub(crate) legal: bool,
    /// Allow rules that no kernel would follow
    #[arg(long)]
    pub(crate) illegal: bool,
    /// Only these injections of the seed (RING:NTH:RULE,..), or those in @FILE
    #[arg(long, value_name = "LIST")]
    pub(crate) only: Option<String>,
    /// A run that has not ended after S seconds has failed [default in a hunt: 20 times the first, at least 10]
    #[arg(long, value_name = "S")]
    pub(crate) limit: Option<f64>,
    /// If the run fails, find the fewest injections that make it fail
    #[arg(long, conflicts_with = "runs")]
    pub(crate) shrink: bool,
    /// In a hunt, do not look for fewer injections
    #[arg(long)]
    pub(crate) no_shrink: bool,
    /// Write everything that was injected to FILE, a line each
    #[arg(short, long, value_name = "FILE", conflicts_with = "runs")]
    pub(crate) output: Option<PathBuf>,
    /// The program, searched in PATH
    #[arg(value_name = "PROG")]
    pub(crate) program: OsString,
    /// Its arguments
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<OsString>,
}

/// `ringer record`.
#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// The record
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// The program, searched in PATH
    #[arg(value_name = "PROG")]
    pub(crate) program: OsString,
    /// Its arguments
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<OsString>,
}

/// `ringer replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Let it write other bytes: only how many, and where to, is compared
    #[arg(long)]
    pub(crate) any_data: bool,
    /// What `ringer record` wrote
    #[arg(value_name = "RECORD")]
    pub(crate) record: PathBuf,
    /// The program, searched in PATH
    #[arg(value_name = "PROG")]
    pub(crate) program: OsString,
    /// Its arguments
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<OsString>,
}

/// `ringer top`.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Only this process
    #[arg(value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pid: Option<u32>,
    /// Print lines, also to a terminal
    #[arg(long)]
    pub(crate) plain: bool,
    /// Stop after N looks
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Between two looks [seconds]
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) interval: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|e| format!("{e}"))?;
    if (0.1..=3600.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("from 0.1 to 3600".into())
    }
}

/// `ringer demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Size of the file that is copied [MiB]
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) size: u32,
}

/// The demo's program.
#[derive(Debug, Args)]
pub(crate) struct DemoProgramArgs {
    /// How it makes its calls
    #[arg(long, value_enum)]
    pub(crate) calls: Calls,
    /// File to copy
    pub(crate) from: PathBuf,
    /// Copy
    pub(crate) to: PathBuf,
}

/// How the demo's program makes its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Calls {
    /// libc's `syscall` function
    Libc,
    /// An instruction of its own
    Inline,
}

/// The demo's blocker.
#[derive(Debug, Args)]
pub(crate) struct DemoBlockedArgs {
    /// Program and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

/// Doctor's trials.
#[derive(Debug, Args)]
pub(crate) struct DoctorTrialArgs {
    /// Which
    #[arg(value_enum)]
    pub(crate) trial: crate::doctor::Trial,
}
