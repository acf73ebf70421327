//! `ringer run` is the program: status, signals, descriptors, environment; and its own failures.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::{MAPPED, RINGER, end, executable, ringer, under};

#[test]
fn the_library_is_in_the_program() {
    let count: u32 = end(&mut under(MAPPED)).fine().trim().parse().expect("a count");
    assert!(count > 0);
}

#[test]
fn the_programs_exit_status_is_its_own() {
    for code in [0, 1, 42, 125, 127, 255] {
        let ended = end(&mut under(["sh", "-c", &format!("exit {code}")]));
        assert!(ended.code == code && ended.err.is_empty(), "{ended:?}");
    }
}

#[test]
fn a_killed_program_is_seen_as_killed() {
    for signal in [9, 15, 11] {
        let script = format!("kill -{signal} $$");
        assert_eq!(end(&mut under(["sh", "-c", &script])).code, 128 + signal);
    }
}

#[test]
fn the_program_has_the_process_number_of_ringer() {
    let script = r#"echo $$; exec "$0" run --native never -- sh -c 'echo $$'"#;
    let out = end(Command::new("sh").args(["-c", script, RINGER])).fine();
    let pids: Vec<_> = out.lines().collect();
    assert_eq!(pids.len(), 2);
    assert_eq!(pids[0], pids[1]);
}

#[test]
fn arguments_arrive_as_they_are() {
    let args = ["printf", "<%s>", "", "a b", "--native", "-x", "--", "*"];
    assert_eq!(end(&mut under(args)).fine(), "<><a b><--native><-x><--><*>");
}

#[test]
fn options_of_the_program_need_no_separator() {
    let ended = end(&mut ringer(["run", "--native", "never", "sh", "-c", "echo $0", "--no-trap"]));
    assert_eq!(ended.fine(), "--no-trap\n");
}

#[test]
fn the_programs_name_is_what_was_typed() {
    let out = end(&mut under(["sh", "-c", "tr '\\0' '\\n' < /proc/$$/cmdline | head -1"])).fine();
    assert_eq!(out, "sh\n");
}

#[test]
fn signal_dispositions_and_masks_are_the_callers() {
    let status = ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"];
    for ignored in ["", "trap '' PIPE; ", "trap '' PIPE INT TERM; ", "trap '' CHLD; "] {
        let native = format!("{ignored}exec \"$@\"");
        let ours = format!("{ignored}exec \"$0\" run --native never -- \"$@\"");
        let want = end(Command::new("sh").args(["-c", &native, ""]).args(status)).fine();
        let got = end(Command::new("sh").args(["-c", &ours, RINGER]).args(status)).fine();
        assert_eq!(got, want);
    }
}

#[test]
fn closed_standard_descriptors_stay_closed() {
    let look = "for n in 0 1 2; do [ ! -e /proc/$$/fd/$n ] || echo $n >&2; done";
    let script = r#"exec "$0" run --native never -- sh -c "$1" <&- >&-"#;
    let ended = end(Command::new("sh").args(["-c", script, RINGER, look]));
    assert_eq!((ended.code, ended.err.as_str()), (0, "2\n"));
}

#[test]
fn no_descriptor_of_ringers_reaches_the_program() {
    let args = ["ls", "/proc/self/fd"];
    let native = end(Command::new(args[0]).arg(args[1])).fine();
    assert_eq!(end(&mut under(args)).fine(), native);
}

#[test]
fn only_the_preload_is_new_in_the_environment() {
    let native = end(Command::new("env").env_remove("LD_PRELOAD")).fine();
    let out = end(&mut under(["env"])).fine();
    let mut new: Vec<_> = out.lines().filter(|l| !native.lines().any(|n| n == *l)).collect();
    new.retain(|l| !l.starts_with("_="));
    assert_eq!(new.len(), 1, "{new:?}");
    assert!(new[0].starts_with("LD_PRELOAD=/") && !new[0].contains(' '), "{new:?}");
}

#[test]
fn an_existing_preload_comes_after_ours() {
    let out =
        end(under(["printenv", "LD_PRELOAD"]).env("LD_PRELOAD", "libc.so.6 libm.so.6")).fine();
    let names: Vec<_> = out.trim().split(':').collect();
    assert!(names[0].contains("libringer_preload"), "{out}");
    assert_eq!(names[1..], ["libc.so.6", "libm.so.6"]);
}

#[test]
fn running_twice_loads_once() {
    let script = ["run", "--native", "never", "--", "printenv", "LD_PRELOAD"];
    let out = end(under([RINGER]).args(script)).fine();
    assert_eq!(out.matches("libringer_preload").count(), 1, "{out}");
}

#[test]
fn no_trap_reaches_the_library_by_its_variable() {
    let args = ["run", "--native", "never", "--no-trap", "--", "printenv", "RINGER_NO_TRAP"];
    assert_eq!(end(&mut ringer(args)).fine(), "1\n");
}

#[test]
fn auto_leaves_a_program_to_a_kernel_that_works() {
    let works = end(&mut ringer(["doctor", "--json"])).out.contains("\"works:");
    if !works {
        eprintln!("skipped: this kernel refuses io_uring, so auto has nothing to leave it to");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("stats");
    let stats = file.to_str().expect("a name");
    let args = ["run", "--stats", stats, "--", "sh", "-c", "echo ${LD_PRELOAD-none}"];
    assert_eq!(end(&mut ringer(args)).fine(), "none\n");
    let lines = fs::read_to_string(&file).expect("the file");
    let line: serde_json::Value = serde_json::from_str(&lines).expect("one line of JSON");
    assert_eq!(line["event"], "native");
    assert!(line["exe"].as_str().is_some_and(|exe| exe.ends_with("/sh")), "{line}");
}

#[test]
fn auto_uses_ringer_where_the_kernel_refuses() {
    let args = ["__demo-blocked", "--", RINGER, "run", "--", "printenv", "LD_PRELOAD"];
    assert!(end(&mut ringer(args)).fine().contains("libringer_preload"));
}

#[test]
fn a_wrong_command_line_is_ringers_own_failure() {
    for args in [&["run"][..], &["run", "--native", "maybe", "--", "true"], &["run", "--nope"]] {
        let ended = end(&mut ringer(args));
        assert_eq!(ended.code, 125, "{ended:?}");
    }
    assert_eq!(end(&mut ringer(["nope"])).code, 2);
}

#[test]
fn a_missing_program_is_127() {
    end(&mut under(["/nonexistent/prog"])).refused(127, &["/nonexistent/prog", "No such file"]);
    // A folder in PATH that may not be searched makes it 126, as with execvp.
    end(under(["surely-no-such-program"]).env("PATH", "/usr/bin:/bin")).refused(127, &["PATH"]);
    end(&mut under([""])).refused(127, &[]);
    end(&mut under(["/etc/passwd/x"])).refused(127, &[]);
}

#[test]
fn what_is_not_executable_is_126() {
    let folder = tempfile::tempdir().expect("a folder");
    let plain = folder.path().join("plain");
    fs::write(&plain, "#!/bin/sh\n").expect("a file");
    end(under([&plain]).arg("x")).refused(126, &["not an executable file", "chmod +x"]);
    end(&mut under([folder.path()])).refused(126, &["not an executable file"]);
}

#[test]
fn path_is_searched_as_execvp_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let make = |name: &str| {
        let dir = folder.path().join(name);
        fs::create_dir(&dir).expect("mkdir");
        dir
    };
    let (plain, good) = (make("plain"), make("good"));
    fs::write(plain.join("prog"), "").expect("a file");
    let search = |dirs: &str| {
        let mut command = under(["prog"]);
        command.env("PATH", dirs).current_dir(&good);
        end(&mut command)
    };
    let (p, g) = (plain.display(), good.display());
    search(&format!("{p}:{g}")).refused(126, &["plain/prog"]);
    executable(&good, "prog", "#!/bin/sh\necho good\n");
    assert_eq!(search(&format!("{p}:{g}")).fine(), "good\n", "goes on past what cannot run");
    assert_eq!(search(&format!("{p}:")).fine(), "good\n", "an empty name is this folder");
}

#[test]
fn an_elevated_ringer_refuses_to_run_anything() {
    if !crate::support::root("to make a setuid copy") {
        return;
    }
    let user = crate::support::User::new();
    // Root's file with the set-user-ID bit, started by somebody else.
    crate::support::mode(&user.path("ringer"), 0o4755);
    let ended = end(&mut user.under(&["true"]));
    if ended.code == 0 {
        eprintln!("skipped: the bit has no effect here (nosuid or no_new_privs)");
        return;
    }
    ended.refused(125, &["more rights"]);
}

#[test]
fn a_program_started_with_exec_in_a_shell_keeps_its_library() {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" run --native never -- \"$@\"", RINGER]).args(MAPPED);
    command.arg0("sh");
    assert_ne!(end(&mut command).fine(), "0\n");
}
