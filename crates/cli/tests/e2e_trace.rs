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
        let lines: Vec<Value> = lines.into_iter().filter(|l| l["event"] != "call").collect();
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
    let requests = said.lines().filter(|l| l.contains("] ring1 #")).count();
    let calls = said.lines().filter(|l| l.contains("] io_uring_")).count();
    assert_eq!((out.status.code(), requests), (Some(0), SPINE.len()), "{said}");
    assert_eq!(said.lines().count(), requests + calls, "{said}");
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

/// The lines of a claim of the kit, as JSON.
fn claim(under: Under, options: &[&str], claim: &str) -> Vec<Value> {
    let mut all = vec!["--json"];
    all.extend(options);
    let ran = trace(under, &all, &["fidelity", "--ringer", "--only", claim]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.all()
}

#[test]
fn data_is_shown_if_asked_and_only_then() {
    for under in Under::BLOCKED {
        let (with, _) = trace(under, &["--json", "--data", "4"], &["prog", "spine"]).ok().json();
        let (write, writev, read) = (&with[4], &with[5], &with[8]);
        assert_eq!(write["written"], r#""\x00\x07\x0e\x15"..."#, "{write}");
        assert!(writev["written"].is_string() && write["read"].is_null());
        assert_eq!((&read["read"], &read["written"]), (&write["written"], &Value::Null), "{read}");
        assert_eq!(with[11]["read"], Value::Null, "the end of the file: {}", with[11]);
        let (without, _) = trace(under, &["--json"], &["prog", "spine"]).ok().json();
        assert!(without.iter().all(|r| r["read"].is_null() && r["written"].is_null()));
    }
}

#[test]
fn redacted_data_has_a_length_and_no_byte() {
    let under = Under::BLOCKED[0];
    let options = ["--json", "--data", "4", "--redact"];
    let (told, _) = trace(under, &options, &["prog", "spine"]).ok().json();
    assert_eq!(
        (&told[4]["written"], &told[8]["read"]),
        (&"<4096 bytes>".into(), &"<5000 bytes>".into())
    );
}

#[test]
fn what_comes_into_provided_buffers_is_shown_at_each_completion() {
    for under in Under::BLOCKED {
        let received = |name: &str, op: &str| -> Vec<String> {
            let lines = claim(under, &["--data", "64"], name);
            let of_op = lines.iter().filter(|l| l["op"] == op && l["read"].is_string());
            of_op.map(|l| l["read"].as_str().unwrap_or_default().to_owned()).collect()
        };
        let shots = received("a_multishot_recv_ends_with_the_stream", "RECV");
        assert_eq!(shots, ["\"abc\""; 3]);
        let shots = received("a_multishot_read_ends_with_the_stream", "READ_MULTISHOT");
        assert_eq!(shots, ["\"twenty bytes of \"", "\"data\""]);
        let shots = received("a_multishot_recvmsg_writes_a_header", "RECVMSG");
        assert!(shots.len() == 1 && shots[0].contains("\\x03\\x00\\x00\\x00"), "{shots:?}");
    }
}

#[test]
fn addresses_that_lead_nowhere_show_no_data_and_do_no_harm() {
    let lines = claim(Under::BLOCKED[0], &["--data", "64"], "a_send_goes_to_an_address");
    let sends: Vec<&Value> = lines.iter().filter(|l| l["op"] == "SEND").collect();
    let to = |i: usize| sends[i]["points_to"]["to"].as_str();
    assert!(to(1).is_some_and(|a| a.starts_with("127.0.0.1:")), "{}", sends[1]);
    assert_eq!((&sends[4]["error"], to(4)), (&"EFAULT".into(), None), "{}", sends[4]);
    assert_eq!(sends[1]["written"], "\"abcd\"");
}

#[test]
fn paths_and_times_are_shown_by_what_they_say() {
    for under in Under::BLOCKED {
        let lines = claim(under, &[], "openat2_gives_the_errors_that_the_inventory_names");
        let opens: Vec<&Value> =
            lines.iter().filter(|l| l["points_to"]["path"].is_string()).collect();
        assert!(opens.iter().any(|l| l["op"] == "OPENAT2"), "{lines:?}");
        let how = opens.iter().find_map(|l| l["points_to"]["how"].as_str());
        assert!(how.is_some_and(|h| h.starts_with("{flags=0x")), "{opens:?}");
        let lines =
            claim(under, &["-e", "timeout"], "timeout_gives_the_errors_that_the_inventory_names");
        let times: Vec<&str> = lines.iter().filter_map(|l| l["points_to"]["ts"].as_str()).collect();
        assert!(times.iter().any(|t| t.ends_with('s')), "{lines:?}");
    }
}

#[test]
fn calls_are_shown_with_their_names_and_results() {
    for under in Under::BLOCKED {
        let lines = trace(under, &["--json"], &["prog", "spine"]).ok().all();
        let calls: Vec<&Value> = lines.iter().filter(|l| l["event"] == "call").collect();
        let setup = calls[0];
        assert_eq!((&setup["call"], &setup["ring"]), (&"io_uring_setup".into(), &1.into()));
        assert_eq!((&setup["args"]["entries"], &setup["error"]), (&"8".into(), &Value::Null));
        let files = calls.iter().find(|c| c["args"]["op"] == "REGISTER_FILES").expect("a call");
        assert_eq!((&files["res"], &files["args"]["nr_args"]), (&0.into(), &"2".into()));
        assert_eq!(files["args"]["fd"].as_str(), Some(setup["res"].to_string().as_str()));
    }
    let lines = claim(
        Under::BLOCKED[0],
        &["-e", "%call"],
        "register_buffers_refuses_stray_arguments_in_the_kernels_order",
    );
    let refused = lines.iter().filter(|l| l["event"] == "call" && l["error"].is_string()).count();
    assert!(refused > 0 && lines.iter().all(|l| l["event"] != "request"), "{lines:?}");
}

#[test]
fn completions_of_no_request_are_told_as_such() {
    for under in Under::BLOCKED {
        let lines = claim(under, &[], "a_message_is_a_completion_over_there");
        let alone: Vec<&Value> = lines.iter().filter(|l| l["event"] == "alone").collect();
        assert!(!alone.is_empty() && alone.iter().all(|l| l["origin"] == "(message)"), "{lines:?}");
        let sent = lines.iter().filter(|l| l["op"] == "MSG_RING" && l["res"] == 0).count();
        assert!(alone.len() <= sent, "{lines:?}");
        let end = lines.last().expect("an end");
        assert_eq!((&end["alone"], &end["strays"]), (&alone.len().into(), &0.into()));
    }
}

#[test]
fn members_of_a_chain_name_its_head() {
    for under in Under::BLOCKED {
        let text = trace(under, &[], &["prog", "waits", "links"]).ok();
        let first: Vec<&String> = text.lines.iter().filter(|l| l.contains(" chain=#1 ")).collect();
        assert_eq!(first.len(), 2, "{:?}", text.lines);
        assert!(first[0].contains(" #1 WRITE ") && first[1].contains(" #2 READ "), "{first:?}");
    }
}

#[test]
fn requests_are_chosen_by_file_and_by_class() {
    let under = Under::BLOCKED[0];
    let count = |options: &[&str]| -> (usize, usize) {
        let mut all = vec!["--json"];
        all.extend(options);
        let (requests, _) = trace(under, &all, &["prog", "spine"]).ok().json();
        (requests.len(), requests.iter().filter(|r| r["op"] == "NOP").count())
    };
    let (all, nops) = count(&[]);
    assert_eq!(count(&["-p", "/*"]), (all - nops, 0));
    assert_eq!(count(&["-p", "/no/such/*"]), (0, 0));
    assert_eq!(count(&["-p", "9999", "-p", "*"]), (all - nops, 0));
    assert_eq!(count(&["-e", "%read"]).0, 9);
    assert_eq!(count(&["-e", "%write,nop"]), (5 + nops, nops));
    let wrong = trace(under, &["-p", "[", "--json"], &["prog", "spine"]);
    assert_eq!(wrong.code, 125, "{}", wrong.stderr);
    assert!(wrong.stderr.contains("-p wants"), "{}", wrong.stderr);
}

#[test]
fn a_trace_is_for_its_owner_only() {
    let scratch = Scratch::new();
    let file = scratch.path("trace");
    std::fs::write(&file, "").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let out = Command::new(RINGER).arg("trace").arg("-o").arg(&file).args(["--", "true"]).output();
    assert_eq!(out.unwrap().status.code(), Some(0));
    let mode = std::os::unix::fs::MetadataExt::mode(&file.metadata().unwrap());
    assert_eq!(mode & 0o777, 0o600);
}
