//! `ringer trace`: every request of a program, and nothing that is not one.

mod support;

use ringer_testkit::harness::{self, Scratch, Under};
use ringer_testkit::os;
use serde_json::Value;
use std::io::Read as _;
use std::process::{Command, Stdio};
use support::RINGER;
use support::traced::{line, trace};

/// What `prog spine` submits, in order, and each result.
const SPINE: [(&str, i64); 21] = [
    ("NOP", 0),
    ("NOP", 0),
    ("NOP", 0),
    ("NOP", 0),
    ("WRITE", 4096),
    ("WRITEV", 4096),
    ("FSYNC", 0),
    ("FSYNC", 0),
    ("READ", 5000),
    ("READV", 192),
    ("READ", 3000),
    ("READ", 0),
    ("READ", 5000),
    ("READV", 192),
    ("READ", 3000),
    ("READ", 0),
    ("WRITE", 10),
    ("FSYNC", 0),
    ("WRITE", 3),
    ("WRITE", 3),
    ("READ", 6),
];

#[test]
fn every_request_of_a_known_program_is_told_once_with_its_result() {
    for under in Under::BLOCKED {
        for program in ["prog", "prog-inline"] {
            let (requests, end) = trace(under, &["--json"], &[program, "spine"]).ok().json();
            let told: Vec<(&str, i64)> = requests
                .iter()
                .map(|r| (r["op"].as_str().unwrap(), r["res"].as_i64().unwrap()))
                .collect();
            assert_eq!(told, SPINE);
            let ids: Vec<u64> = requests.iter().map(|r| r["id"].as_u64().unwrap()).collect();
            assert_eq!(ids, (1..=21).collect::<Vec<u64>>());
            assert!(requests.iter().all(|r| r["event"] == "request" && r["state"] == "done"));
            assert_eq!((&end["processes"], &end["requests"]), (&1.into(), &21.into()));
            assert_eq!((&end["lost_requests"], &end["strays"]), (&0.into(), &0.into()));
        }
    }
}

#[test]
fn arguments_files_and_ways_are_told() {
    for under in Under::BLOCKED {
        let (requests, _) = trace(under, &["--json"], &["prog", "spine"]).ok().json();
        let of_file = |r: &Value| r["file"].as_str().is_some_and(|f| f.starts_with('/'));
        let (write, fixed, here) = (&requests[4], &requests[12], &requests[18]);
        assert!(of_file(write) && write["fixed"] == false, "{write}");
        assert_eq!((&write["args"]["len"], &write["args"]["off"]), (&4096.into(), &0.into()));
        assert_eq!((&fixed["fixed"], &fixed["fd"]), (&true.into(), &1.into()), "{fixed}");
        assert!(of_file(fixed), "{fixed}");
        assert_eq!(fixed["args"]["sqe"], "FIXED_FILE");
        assert_eq!(here["args"]["off"], -1, "{here}");
        assert_eq!(requests[7]["args"]["flags"], "FSYNC_DATASYNC");
        assert_eq!(
            (&requests[0]["how"], &requests[6]["how"]),
            (&"inline".into(), &"caller".into())
        );
        assert!(requests.iter().all(|r| r["latency_ns"].as_u64().is_some()));
    }
}

#[test]
fn completions_of_a_multishot_have_its_number() {
    for under in Under::BLOCKED {
        let claim = "a_multishot_poll_reports_each_wake_up";
        let argv = ["fidelity", "--ringer", "--only", claim];
        let (told, _) = trace(under, &["--json", "-e", "poll_add"], &argv).json();
        let [first, more @ .., last] = &told[..] else { panic!("{told:?}") };
        assert_eq!((&first["event"], &first["cqe_flags"]), (&"request".into(), &"F_MORE".into()));
        assert_eq!(more.len(), 3, "{told:?}");
        for (shot, cqe) in (1_u64..).zip(more) {
            assert_eq!((&cqe["event"], &cqe["state"]), (&"cqe".into(), &"more".into()), "{cqe}");
            assert_eq!((&cqe["id"], &cqe["shot"]), (&first["id"], &shot.into()), "{cqe}");
        }
        // The claim leaves it armed: the ring's end may come before the process's, and cancels it.
        let ends = last["state"] == "in flight" || last["error"] == "ECANCELED";
        assert!(ends && last["id"] == first["id"], "{last}");
        let text = trace(under, &["-e", "POLL_ADD"], &argv);
        assert!(text.lines[0].contains(" POLL_ADD fd=") && text.lines[0].contains(" = 1 F_MORE <"));
        assert!(text.lines[1].contains(" +1 POLL_ADD = 1 F_MORE <"), "{:?}", text.lines);
    }
}

#[test]
fn a_killed_program_loses_nothing_that_it_wrote() {
    for under in Under::BLOCKED {
        let scratch = Scratch::new();
        let file = scratch.path("trace");
        let argv = ["prog", "leave", "be-killed-busy"];
        let line = line(under, &file.to_string_lossy(), &["--json"], &argv);
        let mut traced = Command::new(&line[0])
            .args(&line[1..])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = traced.stdout.take().unwrap();
        out.read_exact(&mut [0; 6]).unwrap();
        // The traced program is the only child of the command.
        let tracer = traced.id();
        let children = format!("/proc/{tracer}/task/{tracer}/children");
        let child = std::fs::read_to_string(children).unwrap();
        os::kill(child.trim().parse().unwrap(), libc::SIGKILL).unwrap();
        let status = traced.wait().unwrap();
        assert_eq!(status.code(), Some(128 + libc::SIGKILL));
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let in_flight = lines.iter().filter(|l| l["state"] == "in flight").count();
        assert_eq!(
            (lines[0]["op"].as_str(), lines[0]["state"].as_str()),
            (Some("NOP"), Some("done"))
        );
        assert_eq!((in_flight, lines.last().unwrap()["torn"].as_u64()), (2, Some(0)), "{text}");
    }
}

#[test]
fn what_does_not_fit_is_lost_and_counted() {
    for under in Under::BLOCKED {
        // 128 slots, while the reader sleeps for milliseconds.
        let options = ["--json", "--buffer", "8"];
        let ran = trace(under, &options, &["prog", "hot-reads", "plain"]);
        let (requests, end) = ran.json();
        let (seen, lost) =
            (end["requests"].as_u64().unwrap(), end["lost_requests"].as_u64().unwrap());
        assert_eq!(seen + lost, 1016, "{end}");
        assert!(lost > 0, "{end}");
        assert_eq!(requests.len() as u64, seen);
        assert!(ran.stderr.contains("were lost"), "{}", ran.stderr);
    }
}

#[test]
fn children_and_their_children_have_traces_of_their_own() {
    for under in Under::BLOCKED {
        let (requests, end) = trace(under, &["--json"], &["prog", "children"]).ok().json();
        let pids: std::collections::HashSet<u64> =
            requests.iter().map(|r| r["pid"].as_u64().unwrap()).collect();
        assert_eq!(Some(pids.len() as u64), end["processes"].as_u64());
        assert!(pids.len() >= 4, "{pids:?}");
        assert!(requests.iter().all(|r| r["state"] == "done"));
        let (again, end) = trace(under, &["--json"], &["prog", "exec-again"]).ok().json();
        assert!(!again.is_empty() && end["processes"].as_u64() >= Some(2), "{end}");
    }
}

#[test]
fn there_are_as_many_requests_and_errors_as_the_counters_say() {
    let programs: [&[&str]; 6] = [
        &["prog", "threads"],
        &["prog", "waits", "links"],
        &["prog", "waits", "cancel"],
        &["prog", "waits", "overflow"],
        &["prog", "teardown", "in-flight"],
        &["prog", "sqpoll-reads"],
    ];
    let under = Under::BLOCKED[0];
    for argv in programs {
        let counted = harness::prog(RINGER, under, &argv[1..]).ok().stats;
        let sum = |key: &str| -> u64 {
            let rows = counted.processes.iter().filter_map(|p| p[key].as_object());
            rows.flat_map(|row| row.values()).filter_map(Value::as_u64).sum()
        };
        let (told, end) = trace(under, &["--json", "--buffer", "65536"], argv).ok().json();
        assert_eq!(end["requests"].as_u64(), Some(sum("requests")), "{argv:?}");
        let failed = told.iter().filter(|l| l["error"].is_string() && l["posted"] == true).count();
        assert_eq!(failed as u64, sum("errors"), "{argv:?}");
        let open = told.iter().filter(|l| l["state"] == "in flight").count();
        assert_eq!((open, &end["strays"]), (0, &0.into()), "{argv:?}");
    }
}

#[test]
fn opcodes_are_chosen_by_name() {
    for under in Under::BLOCKED {
        let ran = trace(under, &["-e", "fsync,IORING_OP_WRITEV"], &["prog", "spine"]).ok();
        let of = |op: &str| ran.lines.iter().filter(|l| l.contains(op)).count();
        assert_eq!((ran.lines.len(), of(" FSYNC "), of(" WRITEV ")), (4, 3, 1), "{:?}", ran.lines);
    }
    let wrong = trace(Under::BLOCKED[0], &["-e", "sync"], &["prog", "spine"]);
    assert_eq!(wrong.code, 125);
    assert!(wrong.stderr.contains("ringer doctor --support"), "{}", wrong.stderr);
}

#[test]
fn only_slow_requests_are_told_if_asked() {
    for under in Under::BLOCKED {
        let ran = trace(under, &["--slow", "60000"], &["prog", "spine"]).ok();
        assert_eq!(ran.lines, [""; 0]);
    }
}

#[test]
fn a_table_counts_each_opcode() {
    for under in Under::BLOCKED {
        let ran = trace(under, &["-c"], &["prog", "spine"]).ok();
        let row = |name: &str| -> Vec<String> {
            let found = ran.lines.iter().find(|l| l.ends_with(&format!(" {name}")));
            let found = found.unwrap_or_else(|| panic!("no {name} in {:?}", ran.lines));
            found.split_whitespace().map(str::to_owned).collect()
        };
        // % time, seconds, mean, max, requests, errors, in flight.
        for (name, requests) in [("NOP", "4"), ("READ", "7"), ("FSYNC", "3"), ("total", "21")] {
            assert_eq!(row(name)[4..7], [requests, "0", "0"], "{name}");
        }
        assert_eq!(row("total")[0], "100.00");
    }
}

#[test]
fn lines_go_to_the_standard_error_and_the_status_is_the_programs() {
    let ran =
        harness::prog(RINGER, Under::Blocked(ringer_testkit::block::Profile::Eperm), &["spine"])
            .ok();
    assert_eq!(ran.code, 0);
    let out = Command::new(RINGER).args(["trace", "--", "sh", "-c", "exit 7"]).output().unwrap();
    assert_eq!(out.status.code(), Some(7));
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("no process made a ring"), "{said}");
    let prog = harness::binaries(RINGER).join("prog");
    let out = Command::new(RINGER).arg("trace").arg("--").arg(prog).arg("spine").output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!((out.status.code(), said.lines().count()), (Some(0), SPINE.len()), "{said}");
}

#[test]
fn a_link_in_the_outputs_place_is_not_followed() {
    let scratch = Scratch::new();
    let (target, link) = (scratch.path("target"), scratch.path("link"));
    std::fs::write(&target, "kept").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let out = Command::new(RINGER).arg("trace").arg("-o").arg(&link).args(["--", "true"]).output();
    let out = out.unwrap();
    assert_eq!(out.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&out.stderr).contains("symbolic link"));
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "kept");
}

#[test]
fn nothing_is_written_without_a_trace_and_nothing_is_left_behind() {
    let folders = || {
        let all = std::fs::read_dir("/dev/shm").into_iter().flatten().flatten();
        all.filter(|e| e.file_name().to_string_lossy().starts_with("ringer-trace-")).count()
    };
    for under in Under::BLOCKED {
        harness::prog(RINGER, under, &["spine"]).ok();
    }
    let before = folders();
    // Other tests of this file make folders meanwhile: one that is left stays.
    for _ in 0..3 {
        trace(Under::BLOCKED[0], &[], &["prog", "spine"]).ok();
    }
    let gone = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        folders() <= before
    });
    assert!(gone, "{} folders, {before} before", folders());
}
