//! What the end-to-end tests share: the binary just built, and one way to run a program everywhere.
#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(clippy::print_stderr, reason = "a skip says why")]

use ringer_testkit::harness::{self, Ran, Under};

pub(crate) mod traced;

/// The command under test.
pub(crate) const RINGER: &str = env!("CARGO_BIN_EXE_ringer");

/// Exit code of a program that this host cannot show.
const SKIPPED: i32 = 77;

/// Runs a program of the kit on the kernel's ring (where there is one), then under ringer under
/// both blockers, through libc and inline: every run succeeds in silence, and the counters show
/// the opcodes carried out here and no call that reached the kernel's io_uring.
#[track_caller]
pub(crate) fn everywhere(args: &[&str], opcodes: &[&str]) -> Vec<Ran> {
    if harness::kernel_lacks().is_none() && natively(args).is_none() {
        return Vec::new();
    }
    blocked(args, opcodes)
}

/// The same without the kernel's ring, for what only ringer can do.
#[track_caller]
pub(crate) fn blocked(args: &[&str], opcodes: &[&str]) -> Vec<Ran> {
    let mut all = Vec::new();
    for under in Under::BLOCKED {
        for run in [harness::prog, harness::prog_inline] {
            let ran = run(RINGER, under, args);
            if skipped(&ran, args) {
                return all;
            }
            all.push(ran.ok().proved(opcodes));
        }
    }
    all
}

/// On the kernel's ring, if it has one.
#[track_caller]
pub(crate) fn natively(args: &[&str]) -> Option<Ran> {
    if let Some(why) = harness::kernel_lacks() {
        eprintln!("skipped on the kernel's ring: {why}: {args:?}");
        return None;
    }
    let ran = harness::prog(RINGER, Under::Kernel, args);
    (!skipped(&ran, args)).then(|| ran.ok())
}

/// Says why a test ends early.
pub(crate) fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

fn skipped(ran: &Ran, args: &[&str]) -> bool {
    if ran.code == SKIPPED {
        eprintln!("skipped {args:?}: {}", ran.stderr.trim());
    }
    ran.code == SKIPPED
}

/// The kernel, and ringer everywhere, print one part of a transcript as recorded on 6.18.
#[track_caller]
pub(crate) fn as_recorded(recorded: &str, args: &[&str; 2], opcodes: &[&str]) {
    let recorded = part(recorded, args[1]);
    match natively(args) {
        Some(ran) => same("the kernel", &ran.stdout, recorded),
        None if harness::kernel_lacks().is_none() => return,
        None => {}
    }
    let ours = with_differences(recorded);
    for ran in blocked(args, opcodes) {
        same("ringer", &ran.stdout, &ours);
    }
}

/// Where ringer answers otherwise than 6.18 and says so: the kernel's words, ours, why. A line that
/// comes to equal the kernel's fails its test until it is taken from this list.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    ("features: 262143", "features: 196607", "no read/write attributes"),
    ("read: Err(EINVAL)", "read: Err(EAGAIN)", "the descriptor is a pipe underneath"),
    ("write: Err(EINVAL)", "write: Ok(8)", "the descriptor is a pipe underneath"),
    ("cqe ud=3 res=4 flags=0x4", "cqe ud=3 res=4 flags=0x0", "a ready receive is one call"),
    ("cqe ud=13 res=4 flags=0x4", "cqe ud=13 res=4 flags=0x0", "the same"),
];

fn with_differences(recorded: &str) -> String {
    let mut ours = recorded.to_owned();
    for (theirs, mine, _) in DIFFERENCES {
        ours = ours.replace(theirs, mine);
    }
    ours
}

/// From `## name` to the next such line.
fn part<'a>(recorded: &'a str, name: &str) -> &'a str {
    let heading = format!("## {name}\n");
    let start = recorded.find(&heading).unwrap_or_else(|| panic!("no part {name:?}"));
    let body = start + heading.len();
    let end = recorded[body..].find("## ").map_or(recorded.len(), |n| body + n);
    &recorded[start..end]
}

/// Asserts equality and names the first line that differs.
#[track_caller]
fn same(who: &str, got: &str, want: &str) {
    let mut heading = "";
    for (g, w) in got.lines().zip(want.lines()) {
        assert_eq!(g, w, "{who}, in {heading:?}");
        if w.starts_with('#') {
            heading = w;
        }
    }
    assert_eq!(got.lines().count(), want.lines().count(), "{who}: lines");
}

/// One test for each part of a transcript: `claim: "part" [opcodes that must have been carried out];`
#[allow(unused_macros, reason = "every test file uses a part of this one")]
macro_rules! claims {
    ($program:literal, $file:literal; $($claim:ident: $part:literal $opcodes:expr;)*) => { $(
        #[test]
        fn $claim() {
            let recorded = include_str!(concat!("../../../tests/transcripts/", $file));
            support::as_recorded(recorded, &[$program, $part], &$opcodes);
        }
    )* };
}
#[allow(unused_imports, reason = "every test file uses a part of this one")]
pub(crate) use claims;

/// The kernel's headers by themselves, in a new folder: musl's compiler does not look where libc's are.
pub(crate) fn link_kernel_headers(include: &std::path::Path) {
    std::fs::create_dir(include).expect("a new folder");
    for (name, place) in [
        ("linux", "/usr/include/linux"),
        ("asm-generic", "/usr/include/asm-generic"),
        ("asm", "/usr/include/x86_64-linux-gnu/asm"),
    ] {
        std::os::unix::fs::symlink(place, include.join(name)).expect("a new link");
    }
}
