//! A good guest: nothing that a process may do breaks its rings, and no ring breaks the process.
//!
//! `preload/guest.c` holds one case for each claim. It runs on the kernel's ring first, then under
//! ringer with io_uring refused: through libc and by instructions of its own, for glibc and for musl.
#![allow(clippy::print_stderr, reason = "a skip says why")]

mod support;

use ringer_testkit::block::Profile;
use ringer_testkit::harness::{self, Scratch, Under};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use support::{RINGER, link_kernel_headers};

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/preload");
const BLOCKED: Under = Under::Blocked(Profile::Eperm);
/// What the host itself answers behind that blocker.
const REFUSED: &str = "-1";

/// The programs, built once for the process.
struct Built {
    folder: Scratch,
    /// By libc's symbols and by the instruction, for each C library there is a compiler for.
    ways: Vec<&'static str>,
}

impl Built {
    fn path(&self, name: &str) -> String {
        self.folder.path(name).to_string_lossy().into_owned()
    }

    /// Whether it could be built.
    fn compile(&self, compiler: &str, to: &str, flags: &[&str]) -> bool {
        let mut cc = Command::new(compiler);
        cc.args(["-O2", "-Wall", "-Wextra", "-I"]).arg(self.path("include")).arg("-o");
        cc.arg(self.path(to)).arg(Path::new(SOURCES).join("guest.c")).arg("-pthread").args(flags);
        match cc.output() {
            Ok(out) if out.status.success() => true,
            Ok(out) => {
                let words = String::from_utf8_lossy(&out.stderr);
                assert!(
                    flags.iter().any(|f| f.starts_with("-static") || f.contains("sanitize")),
                    "{words}"
                );
                eprintln!("skipped: {compiler} {flags:?}: {words}");
                false
            }
            Err(e) => {
                eprintln!("skipped: {compiler}: {e}");
                false
            }
        }
    }
}

fn built() -> Option<&'static Built> {
    static BUILT: OnceLock<Option<Built>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let mut built = Built { folder: Scratch::new(), ways: vec!["libc", "inline"] };
        link_kernel_headers(&built.folder.path("include"));
        let all = built.compile("cc", "libc", &["-ldl"])
            && built.compile("cc", "inline", &["-DINLINE", "-ldl"]);
        if built.compile("musl-gcc", "musl", &[])
            && built.compile("musl-gcc", "musl-inline", &["-DINLINE"])
        {
            built.ways.extend(["musl", "musl-inline"]);
        }
        all.then_some(built)
    });
    built.as_ref()
}

/// Runs a case there, by one way of calling, to its good end.
#[track_caller]
fn case(built: &Built, under: Under, how: &str, args: &[&str]) -> String {
    let program = built.path(how);
    let mut argv = vec![program.as_str()];
    argv.extend(args);
    let ran = harness::run(RINGER, under, &argv);
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (0, ""),
        "{how} {args:?} {under:?}: {}",
        ran.stdout
    );
    if under != Under::Kernel {
        assert_eq!(ran.stats.native_calls(), 0, "{how} {args:?}");
    }
    ran.stdout
}

/// On the kernel's ring, where there is one.
#[track_caller]
fn natively(built: &Built, args: &[&str]) -> Option<String> {
    if let Some(why) = harness::kernel_lacks() {
        eprintln!("skipped on the kernel's ring: {why}: {args:?}");
        return None;
    }
    Some(case(built, Under::Kernel, "libc", args))
}

/// The kernel and ringer, by every way of calling, do this and say the same.
#[track_caller]
fn everywhere(args: &[&str]) {
    if let Some(built) = built() {
        the_same(built, args, &built.ways);
    }
}

#[track_caller]
fn the_same(built: &Built, args: &[&str], ways: &[&str]) {
    let native = natively(built, args);
    for how in ways {
        let ours = case(built, BLOCKED, how, args);
        if let Some(native) = &native {
            assert_eq!(ours, *native, "{how} {args:?}");
        }
    }
}

/// What each way of calling says under ringer, which may differ from the kernel's.
#[track_caller]
fn ours(args: &[&str]) -> Vec<String> {
    let Some(built) = built() else { return Vec::new() };
    built.ways.iter().map(|how| case(built, BLOCKED, how, args)).collect()
}

fn root(why: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root {why}");
    }
    root
}

// --- signals -------------------------------------------------------------------------------------

#[test]
fn a_wait_that_is_left_by_siglongjmp_leaves_the_ring_usable() {
    everywhere(&["leap"]);
}

#[test]
fn a_wait_that_is_left_for_good_does_not_keep_others_from_theirs() {
    everywhere(&["leap-away"]);
}

#[test]
fn a_handler_that_interrupts_a_wait_may_submit() {
    everywhere(&["handler-submits"]);
}

#[test]
fn fault_handlers_from_before_the_first_ring_are_the_programs_own() {
    everywhere(&["faults", "before"]);
}

#[test]
fn fault_handlers_from_after_the_first_ring_are_the_programs_own() {
    everywhere(&["faults", "after"]);
}

#[test]
fn a_handler_may_unwind_the_stack_wherever_it_came() {
    let Some(built) = built() else { return };
    eprintln!("skipped with musl: the compiler's unwinder is for glibc");
    the_same(built, &["unwind"], &["libc", "inline"]);
}

#[test]
fn a_blocked_signal_is_left_for_its_signalfd() {
    everywhere(&["signalfd"]);
}

// --- threads -------------------------------------------------------------------------------------

#[test]
fn a_deferred_cancel_ends_a_thread_behind_its_wait() {
    everywhere(&["cancelled", "deferred"]);
}

#[test]
fn an_asynchronous_cancel_ends_a_thread_in_its_wait() {
    everywhere(&["cancelled", "asynchronous"]);
}

#[test]
fn what_ended_threads_left_under_way_ends_once() {
    everywhere(&["thread-ends"]);
}

#[test]
fn threads_with_the_smallest_stacks_make_rings() {
    everywhere(&["tiny-stacks"]);
}

// --- descriptors ---------------------------------------------------------------------------------

/// Numbers that the engine may take of twenty or a thousand: one always, four while somebody waits, one
/// for each pipe or socket that a request holds.
#[track_caller]
fn takes_at_most(most: u32, args: &[&str]) {
    let Some(built) = built() else { return };
    let Some(native) = natively(built, args) else { return };
    let left = |said: &str| said.trim().parse::<u32>().expect("a count");
    for said in ours(args) {
        assert!(left(&said) + most >= left(&native), "{said} of {native}");
    }
}

#[test]
fn twenty_numbers_are_enough_for_a_ring_in_use() {
    takes_at_most(5 + 2, &["limit-20"]);
}

#[test]
fn the_lowest_free_numbers_are_the_programs() {
    takes_at_most(5 + 6, &["low-numbers"]);
}

#[test]
fn a_program_that_closes_all_it_finds_keeps_its_ring() {
    everywhere(&["walker"]);
}

#[test]
fn an_exec_leaves_the_programs_own_numbers() {
    let Some(built) = built() else { return };
    let standard = "0 1 2 \n".repeat(31);
    if let Some(native) = natively(built, &["exec-numbers"]) {
        assert_eq!(native, standard);
    }
    for said in ours(&["exec-numbers"]) {
        assert_eq!(said, standard);
    }
}

// --- processes -----------------------------------------------------------------------------------

#[test]
fn children_of_every_kind_are_made_while_requests_are_in_flight() {
    everywhere(&["children"]);
}

#[test]
fn children_by_odd_flags_of_clone_leave_their_parent_alone() {
    everywhere(&["odd-clones"]);
}

#[test]
fn a_child_by_a_raw_clone_has_its_parents_ring_and_its_own() {
    everywhere(&["raw-child"]);
}

#[test]
fn a_thread_forks_while_others_are_in_enter() {
    everywhere(&["forks"]);
}

/// Runs it behind the blocker, under ringer, and gives what it said.
#[track_caller]
fn tree(argv: &[&str]) -> String {
    let ran = harness::run(RINGER, BLOCKED, argv);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{argv:?}: {}", ran.stdout);
    ran.stdout
}

#[test]
fn a_program_without_its_environment_gets_the_hosts_answer() {
    let Some(built) = built() else { return };
    for how in &built.ways {
        let said =
            tree(&["sh", "-c", "\"$0\" use && env -i \"$0\" host && \"$0\" use", &built.path(how)]);
        assert_eq!(said, format!("used\n{REFUSED}\nused\n"), "{how}");
    }
}

#[test]
fn a_static_program_in_the_middle_gets_the_hosts_answer_and_its_children_are_served() {
    let Some(built) = built() else { return };
    if !built.compile("cc", "static", &["-static", "-DINLINE"]) {
        return;
    }
    for how in &built.ways {
        let (host, program) = (built.path("static"), built.path(how));
        let said = tree(&[&program, "then", &host, "host", &program, "use"]);
        assert_eq!(said, format!("{REFUSED}\nused\n"), "{how}");
    }
}

#[test]
fn a_setgid_program_in_the_middle_gets_the_hosts_answer() {
    let Some(built) = built() else { return };
    if !root("to give a program to another group") {
        return;
    }
    for how in &built.ways {
        let (program, gains) = (built.path(how), built.path(&format!("{how}.setgid")));
        std::fs::copy(&program, &gains).expect("a copy");
        std::os::unix::fs::chown(&gains, None, Some(65534)).expect("chown");
        std::fs::set_permissions(&gains, std::fs::Permissions::from_mode(0o2755)).expect("chmod");
        // No blocker, which would keep it from gaining anything: the host's own answer is its kernel's.
        let ran = harness::run(RINGER, Under::Ringer, &[&program, "then", &gains, "gains"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{how}: {}", ran.stdout);
        let lines: Vec<&str> = ran.stdout.lines().collect();
        if lines.first() == Some(&"no gain") {
            eprintln!("skipped: the bit has no effect here (nosuid or no_new_privs)");
            return;
        }
        // EFAULT, or EPERM and ENOSYS where the host refuses.
        assert!(matches!(lines[..], ["no library", "-14" | "-1" | "-38"]), "{how}: {lines:?}");
    }
}

// --- hosts ---------------------------------------------------------------------------------------

#[test]
fn a_user_without_rights_who_can_gain_none_is_served() {
    let Some(built) = built() else { return };
    for how in &built.ways {
        let program = built.path(how);
        let mut argv = vec!["setpriv", "--no-new-privs"];
        if rustix::process::geteuid().is_root() {
            argv.extend(["--reuid=65534", "--regid=65534", "--clear-groups"]);
            argv.extend(["--inh-caps=-all", "--bounding-set=-all"]);
        }
        argv.extend([&program, "use"]);
        assert_eq!(tree(&argv), "used\n", "{how}");
    }
}

#[test]
fn a_ring_goes_on_when_proc_is_gone() {
    if root("to mount over /proc") {
        everywhere(&["proc-goes"]);
    }
}

#[test]
fn without_proc_there_is_no_ring_and_the_program_goes_on() {
    let Some(built) = built() else { return };
    if !root("to mount over /proc") {
        return;
    }
    let covered = "mount -t tmpfs none /proc && exec \"$0\" asks";
    for how in &built.ways {
        let program = built.path(how);
        let said = tree(&["unshare", "-m", "sh", "-c", covered, &program]);
        assert_eq!(said, format!("{}\n", -libc::ENOENT), "{how}");
    }
}

#[test]
fn where_nothing_new_may_be_executed_inline_calls_trap() {
    let Some(built) = built() else { return };
    for how in &built.ways {
        let program = built.path(how);
        let ran = harness::run(RINGER, BLOCKED, &[&program, "mdwe", &program, "use"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{how}: {}", ran.stdout);
        if ran.stdout == "no PR_SET_MDWE\n" {
            eprintln!("skipped: this kernel knows no PR_SET_MDWE (6.3)");
            return;
        }
        let sum =
            |key: &str| -> u64 { ran.stats.processes.iter().filter_map(|p| p[key].as_u64()).sum() };
        assert_eq!((ran.stdout.as_str(), sum("patched")), ("used\n", 0), "{how}");
        assert_eq!(sum("traps") > 100, how.ends_with("inline"), "{how}: {:?}", ran.stats);
    }
}

/// `ringer run` with variables around it, behind the blocker.
fn with(variables: &[(&str, &str)], argv: &[&str]) -> (Option<i32>, String, String) {
    let scratch = Scratch::new();
    let line = harness::command(RINGER, BLOCKED, &scratch.path("stats"), argv);
    let (first, rest) = line.split_first().expect("a program");
    let mut command = Command::new(first);
    command.args(rest).envs(variables.iter().copied()).stdin(Stdio::null());
    let out = command.output().expect("it starts");
    let code = out.status.code().or_else(|| out.status.signal().map(|n| 128 + n));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (code, text(&out.stdout), text(&out.stderr))
}

#[test]
fn another_preloaded_library_comes_along() {
    const BESIDE: &str = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2";
    let Some(built) = built() else { return };
    if !Path::new(BESIDE).exists() {
        eprintln!("skipped: there is no {BESIDE} (libjemalloc2)");
        return;
    }
    for how in built.ways.iter().filter(|how| !how.starts_with("musl")) {
        let ended = with(&[("LD_PRELOAD", BESIDE)], &[&built.path(how), "beside", "mallctl"]);
        assert_eq!(ended, (Some(0), String::new(), String::new()), "{how}");
    }
}

/// A compiler's checker wants to be the first library unless it is told not to look, whatever is
/// preloaded.
#[track_caller]
fn checked_by(what: &str, variable: &str, options: &str) {
    let Some(built) = built() else { return };
    let name = format!("checked-{what}");
    let flag = format!("-fsanitize={what}");
    if !built.compile("cc", &name, &["-g", "-DINLINE", &flag]) {
        return;
    }
    let program = built.path(&name);
    for args in [&["use"][..], &["thread-ends"], &["children"], &["handler-submits"], &["forks"]] {
        let mut argv = vec![program.as_str()];
        argv.extend(args);
        let (code, _, err) = with(&[(variable, options)], &argv);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{what} {args:?}");
    }
}

#[test]
fn a_program_with_asan_is_served() {
    checked_by("address", "ASAN_OPTIONS", "verify_asan_link_order=0:detect_leaks=0");
}

// --- policy --------------------------------------------------------------------------------------

/// What six lines say of OPENAT, OPENAT2 and CONNECT, twice each: on a ring from before the filter, and
/// on one from behind it; as they come, and from a worker.
fn policy(open: i32, connect: i32) -> String {
    let ring = format!("{open} {open}\n{open} {open}\n{connect} {connect}\n");
    ring.repeat(2)
}

#[track_caller]
fn kept(what: &str, ours_says: &str) {
    let Some(built) = built() else { return };
    if let Some(native) = natively(built, &["policy", what]) {
        assert_eq!(native, policy(0, 0), "the kernel's io_uring passes filters by");
    }
    for said in ours(&["policy", what]) {
        assert_eq!(said, ours_says);
    }
}

#[test]
fn a_filter_that_forbids_open_stops_open_requests() {
    kept("open", &policy(-libc::EACCES, 0));
}

#[test]
fn a_filter_that_forbids_connect_stops_connect_requests() {
    kept("connect", &policy(0, -libc::EACCES));
}
