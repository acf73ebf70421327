//! `ringer record` and `ringer replay`: a program gets the same answers again, and is found out if it asks
//! for others.

mod support;

use ringer_testkit::harness::{self, Scratch};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use support::RINGER;

/// What a command came to.
struct Came {
    code: i32,
    stdout: String,
    stderr: String,
}

impl From<Output> for Came {
    fn from(out: Output) -> Self {
        Self {
            code: out.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        }
    }
}

fn ringer(words: &[&str], program: &[&str]) -> Command {
    let prog = harness::binaries(RINGER).join("prog");
    let mut command = Command::new("timeout");
    command.args(["120", RINGER]).args(words).arg("--").arg(prog).args(program);
    command
}

fn record(to: &Path, program: &[&str]) -> Came {
    let to = to.to_string_lossy();
    ringer(&["record", "-o", &to], program).output().expect("timeout(1)").into()
}

fn replay(options: &[&str], from: &Path, program: &[&str]) -> Came {
    let from = from.to_string_lossy();
    let words = [&["replay"], options, &[&*from]].concat();
    ringer(&words, program).output().expect("timeout(1)").into()
}

/// A file with something to read, what `answered` is given, and where a record goes.
struct Scene {
    scratch: Scratch,
    file: String,
}

impl Scene {
    fn new(len: usize) -> Self {
        let scratch = Scratch::new();
        let path = scratch.path("read");
        let content: Vec<u8> = (0..len).map(|i| (i / 7 % 251) as u8).collect();
        fs::write(&path, content).expect("a file");
        Self { file: path.to_string_lossy().into_owned(), scratch }
    }

    fn changed(&self, how: &str) -> String {
        format!("{},{how}", self.file)
    }
}

#[test]
fn a_replayed_program_reads_what_was_recorded_though_the_file_is_gone() {
    for how in ["", "defer"] {
        let scene = Scene::new(3000);
        let to = scene.scratch.path("record");
        let program = ["answered", &scene.changed(how)];
        let recorded = record(&to, &program);
        assert_eq!(recorded.code, 0, "{}", recorded.stderr);
        assert!(recorded.stdout.contains("its size: 3000\n"), "{}", recorded.stdout);
        assert!(recorded.stderr.contains("record: 20 requests, written to"), "{}", recorded.stderr);
        fs::remove_file(&scene.file).expect("removed");
        let replayed = replay(&[], &to, &program);
        assert_eq!(replayed.stderr, "ringer: replay: 20 of 20 requests as recorded\n");
        assert_eq!(replayed.code, 0);
        assert_eq!(replayed.stdout, recorded.stdout);
    }
}

#[test]
fn nothing_is_lost_of_more_than_the_buffer_holds() {
    let scene = Scene::new(24 << 20);
    let to = scene.scratch.path("record");
    let program = ["answered", &scene.changed("big")];
    let recorded = record(&to, &program);
    assert_eq!(recorded.code, 0, "{}", recorded.stderr);
    assert!(fs::metadata(&to).expect("a record").len() > 24 << 20);
    fs::write(&scene.file, []).expect("emptied");
    let replayed = replay(&[], &to, &program);
    assert_eq!(replayed.code, 0, "{}", replayed.stderr);
    assert_eq!(replayed.stdout, recorded.stdout);
}

#[test]
fn completions_come_in_the_order_in_which_they_were_recorded() {
    let scene = Scene::new(0);
    let to = scene.scratch.path("record");
    let name = to.to_string_lossy();
    // Late completions, in any legal order.
    let mut shuffled = ringer(&["record", "-o", &name], &["order"]);
    let shuffled = Came::from(shuffled.env("RINGER_SHUFFLE", "3").output().expect("timeout(1)"));
    assert_eq!(shuffled.code, 0, "{}", shuffled.stderr);
    assert_ne!(shuffled.stdout, "other orders none\n");
    let replayed = replay(&[], &to, &["order"]);
    assert_eq!(replayed.code, 0, "{}", replayed.stderr);
    assert_eq!(replayed.stdout, shuffled.stdout);
}

#[test]
fn the_first_request_that_differs_is_named() {
    let scene = Scene::new(3000);
    let to = scene.scratch.path("record");
    assert_eq!(record(&to, &["answered", &scene.file]).code, 0);
    let differs = |how: &str, said: &[&str]| {
        let came = replay(&[], &to, &["answered", &scene.changed(how)]);
        assert_eq!(came.code, 1, "{how}: {}", came.stderr);
        for line in said {
            assert!(came.stderr.contains(line), "{how}: {} lacks {line}", came.stderr);
        }
    };
    let ended = |n: u32| format!("replay: {n} of 20 requests as recorded, then it was ended\n");
    differs(
        "longer",
        &[
            "replay: request 3 of ring 1 differs: len is another\n",
            "  recorded: READ fd=4 len=16 off=0\n",
            "  it came:  READ fd=4 len=17 off=0\n",
            &ended(2),
        ],
    );
    differs("path", &["request 1 of ring 1 differs: its path is another\n", &ended(0)]);
    differs("bytes", &["differs: what it writes is something else\n", "WRITE fd=", &ended(8)]);
    differs(
        "more",
        &[
            "request 21 of ring 1 differs: nothing more was recorded of its ring\n",
            "  it came:  NOP\n",
            &ended(20),
        ],
    );
    differs("fewer", &["replay: 19 of 20 requests as recorded\n"]);
    differs("defer", &["ring 1 is another: it has 32 entries and flags 0x3000, recorded are 32"]);
}

#[test]
fn other_bytes_are_no_difference_where_any_may_be_written() {
    let scene = Scene::new(3000);
    let to = scene.scratch.path("record");
    assert_eq!(record(&to, &["answered", &scene.file]).code, 0);
    let came = replay(&["--any-data"], &to, &["answered", &scene.changed("bytes")]);
    assert_eq!(came.code, 0, "{}", came.stderr);
    let path = replay(&["--any-data"], &to, &["answered", &scene.changed("path")]);
    assert!(path.stderr.contains("its path is another"), "{}", path.stderr);
}

#[test]
fn a_replay_writes_nothing_and_tells_of_another_exit_status() {
    let scene = Scene::new(0);
    let to = scene.scratch.path("record");
    assert_eq!(record(&to, &["copy-careful"]).code, 0);
    // It looks at its copy by read(2).
    let came = replay(&[], &to, &["copy-careful"]);
    assert_eq!(came.code, 1);
    assert!(came.stderr.contains("bytes of the copy: 0, wanted 32768"), "{}", came.stderr);
    assert!(came.stderr.contains("replay: 64 of 64 requests as recorded\n"), "{}", came.stderr);
    assert!(came.stderr.contains("replay: it ended with status 1, recorded is 0\n"));
}

#[test]
fn what_cannot_be_replayed_is_told_at_once() {
    let scene = Scene::new(0);
    let to = scene.scratch.path("record");
    for (what, said) in [
        ("sqpoll", "ring 1: a thread of the kernel's submits for it (IORING_SETUP_SQPOLL)"),
        ("iopoll", "ring 1: it finds completions by polling (IORING_SETUP_IOPOLL)"),
        ("accept", "request 2 of ring 1 (ACCEPT fd="),
        ("multishot", "it is a multishot request"),
        ("select", "it takes a provided buffer"),
        ("direct", "its descriptor is a direct one"),
        ("unlink", "it works on names of files"),
        ("files", "it changes the registered files"),
        ("thread", "request 2 of ring 1 (NOP): another thread submits it"),
        ("process", "more than one process of it has rings"),
    ] {
        let begun = Instant::now();
        let came = record(&to, &["unanswered", what]);
        assert_eq!(came.code, 125, "{what}: {}", came.stderr);
        let line = "ringer: what the program does cannot be replayed: ";
        assert!(
            came.stderr.contains(line) && came.stderr.contains(said),
            "{what}: {}",
            came.stderr
        );
        // It would have gone on for 20 s.
        assert!(begun.elapsed() < Duration::from_secs(15), "{what}");
        assert!(!to.exists(), "{what}: a part of a record is none");
    }
}

#[test]
fn a_record_is_its_makers_alone_and_whole_or_none() {
    let scene = Scene::new(100);
    let to = scene.scratch.path("record");
    let program = ["answered", &*scene.file];
    assert_eq!(record(&to, &program).code, 0);
    assert_eq!(fs::metadata(&to).expect("a record").permissions().mode() & 0o777, 0o600);
    let whole = fs::read(&to).expect("a record");
    let refused = |bytes: &[u8], why: &str| {
        fs::write(&to, bytes).expect("written");
        let came = replay(&[], &to, &program);
        assert_eq!(came.code, 125, "{}", came.stderr);
        assert!(came.stderr.contains(why), "{}", came.stderr);
        assert_eq!(came.stdout, "", "it did not run");
    };
    refused(whole.get(..whole.len() - 1).unwrap_or_default(), "its end is missing");
    refused(&[&*whole, b"x"].concat(), "it is damaged");
    refused(b"{}", "it is no record of this version");
    let none = ringer(&["record", "-o", &to.to_string_lossy()], &["no such program"]);
    let none = Came::from({ none }.output().expect("timeout(1)"));
    assert_eq!(none.code, 125);
    assert!(none.stderr.contains("there is nothing to record"), "{}", none.stderr);
}
