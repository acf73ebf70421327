//! The library in C programs: calls by libc and by the instruction, signals, filters, life.
//!
//! `preload/cases.c` holds one program for each claim; it is compiled with inline system calls and
//! with libc's, for glibc and for musl. What has no compiler here is not tested, which is said.
#![allow(clippy::print_stderr, reason = "a skip says why")]

mod support;

use ringer_testkit::harness::Scratch;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use support::link_kernel_headers;

const LIBRARY: &str = env!("RINGER_PRELOAD_SO");
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/preload");

/// The programs, built once for the process.
struct Built {
    folder: Scratch,
    /// The ways of calling that every claim is tested with.
    ways: Vec<&'static str>,
}

impl Built {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path(name)
    }

    /// Whether there was a compiler for it.
    fn compile(&self, compiler: &str, to: &str, source: &str, flags: &[&str]) -> bool {
        let mut cc = Command::new(compiler);
        cc.args(["-O2", "-Wall", "-Wextra", "-I"]).arg(self.path("include")).arg("-o");
        cc.arg(self.path(to)).arg(Path::new(SOURCES).join(source)).args(flags);
        match cc.output() {
            Ok(out) => {
                let words = String::from_utf8_lossy(&out.stderr);
                assert!(out.status.success(), "{source} does not compile: {words}");
                true
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
        link_kernel_headers(&built.path("include"));
        let threads = ["-pthread", "-ldl"];
        let inline = ["-DINLINE", "-pthread", "-ldl"];
        let all = built.compile("cc", "libc", "cases.c", &threads)
            && built.compile("cc", "inline", "cases.c", &inline)
            && built.compile("cc", "sites", "sites.c", &threads)
            && built.compile("cc", "plugin.so", "plugin.c", &["-shared", "-fPIC"]);
        if built.compile("musl-gcc", "musl", "cases.c", &threads)
            && built.compile("musl-gcc", "musl-inline", "cases.c", &inline)
        {
            built.ways.extend(["musl", "musl-inline"]);
        }
        all.then_some(built)
    });
    built.as_ref()
}

/// A program under the library, and what it said.
struct Case<'a> {
    command: Command,
    name: &'a str,
}

impl<'a> Case<'a> {
    fn new(built: &Built, how: &str, name: &'a str) -> Self {
        let mut command = Command::new(built.path(how));
        command.arg(name).env("LD_PRELOAD", LIBRARY);
        Self { command, name }
    }

    fn run(&mut self) -> Output {
        self.command.output().expect("the program starts")
    }

    #[track_caller]
    fn says(&mut self) -> String {
        let out = self.run();
        let words = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{}: {:?}: {words}", self.name, out.status);
        assert!(words.is_empty(), "{}: unexpected words: {words}", self.name);
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }
}

/// All ways of calling do this and succeed: glibc and musl, by symbol and by instruction.
#[track_caller]
fn every_way(name: &str) {
    let Some(built) = built() else { return };
    for how in &built.ways {
        Case::new(built, how, name).says();
    }
}

/// How many filters a process of the test itself carries: those of the machine around it.
fn filters_outside() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|l| l.strip_prefix("Seccomp_filters:"));
    line.map_or(0, |n| n.trim().parse().expect("a count"))
}

fn filters_in(built: &Built, how: &str, case: &str, variables: &[(&str, &str)]) -> u32 {
    let mut case = Case::new(built, how, case);
    case.command.envs(variables.iter().copied());
    case.says().parse::<u32>().expect("a count") - filters_outside()
}

#[test]
fn a_program_that_calls_by_libc_gets_no_filter() {
    let Some(built) = built() else { return };
    assert_eq!(filters_in(built, "libc", "use", &[]), 0);
    let mut cat = Command::new("cat");
    let status = cat.arg("/proc/self/status").env("LD_PRELOAD", LIBRARY).output().unwrap();
    let text = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(text.contains(&format!("Seccomp_filters:\t{}", filters_outside())), "{text}");
}

#[test]
fn a_program_that_calls_inline_gets_one_filter_and_works() {
    let Some(built) = built() else { return };
    assert_eq!(filters_in(built, "inline", "use", &[]), 1);
}

#[test]
fn no_trap_leaves_the_filter_out() {
    let Some(built) = built() else { return };
    assert_eq!(filters_in(built, "inline", "filters", &[("RINGER_NO_TRAP", "1")]), 0);
}

#[test]
fn registers_vectors_and_red_zone_survive_the_trap() {
    let Some(built) = built() else { return };
    Case::new(built, "inline", "registers").says();
}

#[test]
fn a_child_without_the_library_gets_the_hosts_answer_300_times_of_300() {
    let Some(built) = built() else { return };
    let mut case = Case::new(built, "inline", "children");
    case.command.arg(built.path("inline"));
    assert_eq!(case.says(), "300");
}

#[test]
fn a_program_that_blocks_every_signal_still_traps_and_reads_back_its_mask() {
    every_way("blocked");
}

#[test]
fn a_handler_whose_mask_holds_everything_can_trap() {
    every_way("handler-mask");
}

#[test]
fn the_programs_own_sigsys_handler_gets_what_is_not_ours() {
    every_way("own-sigsys");
}

#[test]
fn a_program_with_a_trapping_sandbox_of_its_own_keeps_it() {
    let Some(built) = built() else { return };
    for how in built.ways.iter().filter(|how| how.ends_with("inline")) {
        Case::new(built, how, "own-filter").says();
    }
}

#[test]
fn a_trap_works_on_an_alternate_stack() {
    every_way("altstack");
}

#[test]
fn a_handler_that_interrupts_enter_and_calls_in_does_not_hang() {
    every_way("nested");
}

#[test]
fn interposed_functions_are_cancellation_points() {
    every_way("cancel");
}

#[test]
fn an_object_that_is_loaded_later_is_covered() {
    let Some(built) = built() else { return };
    let mut case = Case::new(built, "libc", "dlopen");
    case.command.arg(built.path("plugin.so")).arg(filters_outside().to_string());
    case.says();
    let mut case = Case::new(built, "libc", "dlopen-name");
    case.command.args(["plugin.so", &filters_outside().to_string()]);
    case.command.env("LD_LIBRARY_PATH", built.path("plugin.so").parent().unwrap());
    case.says();
}

#[test]
fn closing_everything_ends_the_rings_and_leaves_the_engine() {
    every_way("closefrom");
}

#[test]
fn parent_and_child_of_a_fork_go_on() {
    every_way("fork");
}

#[test]
fn the_handshake_is_given_once_and_leaves_no_variable() {
    let Some(built) = built() else { return };
    let mut case = Case::new(built, "libc", "environment");
    case.command.env("RINGER_HANDSHAKE", "2");
    let out = case.run();
    assert_eq!(String::from_utf8_lossy(&out.stderr), "ringer\n");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success() && !text.contains("RINGER_HANDSHAKE"), "{text}");
    assert!(text.contains("LD_PRELOAD="), "{text}");
}

/// Runs a case to its good end: how many of its calls trapped, and how many sites were patched.
#[track_caller]
fn sites(how: &str, name: &str, variables: &[(&str, &str)]) -> Option<(u64, u64)> {
    sites_of(how, &[name], variables)
}

/// The same with further arguments.
#[track_caller]
fn sites_of(how: &str, args: &[&str], variables: &[(&str, &str)]) -> Option<(u64, u64)> {
    let (built, name) = (built()?, args[0]);
    let scratch = Scratch::new();
    let file = scratch.path("stats");
    let mut case = Case::new(built, how, name);
    case.command.args(&args[1..]).env("RINGER_STATS", &file).envs(variables.iter().copied());
    case.says();
    let text = std::fs::read_to_string(&file).expect("an account");
    let ends = text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).expect("JSON"));
    let ends = ends.filter(|l| l["event"] == "exit");
    let count = |l: &serde_json::Value, key: &str| l[key].as_u64().expect("a count");
    Some(ends.fold((0, 0), |n, l| (n.0 + count(&l, "traps"), n.1 + count(&l, "patched"))))
}

/// Calls of a site that trap before it is patched, and some for setup and mmap.
const FEW: u64 = 16 + 8;

#[test]
fn a_site_that_traps_again_and_again_is_patched() {
    let Some((traps, patched)) = sites("sites", "again", &[]) else { return };
    assert!(patched == 1 && traps <= FEW, "{traps} traps, {patched} patched");
}

#[test]
fn registers_vectors_and_red_zone_survive_a_patched_call() {
    let Some((traps, patched)) = sites("inline", "registers", &[]) else { return };
    assert!(patched == 1 && traps <= FEW, "{traps} traps, {patched} patched");
}

#[test]
fn sites_are_patched_while_threads_run_through_them() {
    for _ in 0..5 {
        let Some((traps, patched)) = sites("sites", "hammered", &[]) else { return };
        // Some of four threads come by a trap until one of them has changed the site.
        assert!(patched == 40 && traps < 40 * 200, "{traps} traps, {patched} patched");
    }
}

#[test]
fn what_a_stub_runs_does_what_it_did_in_its_place() {
    let Some((traps, patched)) = sites("sites", "shapes", &[]) else { return };
    // Half of one site's calls, and all of another's, come by ways that cannot be patched.
    assert!(
        patched == 3 && (300..300 + 4 * FEW).contains(&traps),
        "{traps} traps, {patched} patched"
    );
}

#[test]
fn a_site_keeps_the_flags_exactly_where_its_function_may_look_at_them() {
    let Some((traps, patched)) = sites("sites", "flags", &[]) else { return };
    assert!(patched == 9 && traps <= 9 * 16 + FEW, "{traps} traps, {patched} patched");
}

#[test]
fn a_patched_site_works_in_a_forked_child() {
    let Some((traps, patched)) = sites("sites", "forked", &[]) else { return };
    assert!(patched == 1 && traps <= 2 * FEW, "{traps} traps, {patched} patched");
}

#[test]
fn an_object_that_comes_again_is_patched_again() {
    let Some(built) = built() else { return };
    let plugin = built.path("plugin.so");
    let args = ["reload", plugin.to_str().expect("a path")];
    let Some((traps, patched)) = sites_of("libc", &args, &[]) else { return };
    assert!(patched == 3 && traps <= 3 * FEW + 16, "{traps} traps, {patched} patched");
}

#[test]
fn where_code_must_not_change_calls_go_on_to_trap() {
    for (name, variables) in [("refused", &[][..]), ("again", &[("RINGER_NO_PATCH", "1")])] {
        let Some((traps, patched)) = sites("sites", name, variables) else { return };
        assert!(patched == 0 && traps > 1000, "{name}: {traps} traps, {patched} patched");
    }
}

/// The lines that a case left, and the other files beside them.
fn account(built: &Built, how: &str, name: &str) -> (Output, Vec<serde_json::Value>, Vec<PathBuf>) {
    let scratch = Scratch::new();
    let file = scratch.path("stats");
    let mut case = Case::new(built, how, name);
    case.command.env("RINGER_STATS", &file);
    let out = case.run();
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let lines = text.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    let folder = std::fs::read_dir(file.parent().expect("a folder")).expect("a folder");
    let others = folder.filter_map(|e| Some(e.ok()?.path())).filter(|p| *p != file).collect();
    (out, lines, others)
}

#[test]
fn every_way_to_leave_writes_the_account() {
    let Some(built) = built() else { return };
    for (how, name) in
        [("libc", "use"), ("inline", "use"), ("libc", "quick-exit"), ("inline", "exit-in-handler")]
    {
        let (out, lines, others) = account(built, how, name);
        assert!(out.status.success() && others.is_empty(), "{name}: {others:?}");
        let [start, end] = &lines[..] else { panic!("{name}: {lines:?}") };
        assert_eq!(start["event"], "start");
        assert_eq!(end["event"], "exit");
        assert_eq!(end["native_calls"], 0);
        assert!(end["requests"]["NOP"].as_u64() >= Some(1), "{end}");
        assert!(end["requests"]["READ"].as_u64() >= Some(1), "{end}");
        assert!(end["exe"].as_str().is_some_and(|p| p.ends_with(how)), "{end}");
    }
}

#[test]
fn a_killed_process_leaves_its_counters() {
    let Some(built) = built() else { return };
    let (out, lines, others) = account(built, "inline", "killed");
    assert_eq!(out.status.signal(), Some(9));
    let pid = lines[0]["pid"].as_u64().unwrap();
    assert_eq!(lines.len(), 1);
    let [counters] = &others[..] else { panic!("{others:?}") };
    assert!(counters.ends_with(format!("stats.{pid}")), "{counters:?}");
}

#[test]
fn a_process_without_rings_leaves_no_account() {
    let Some(built) = built() else { return };
    let (out, lines, others) = account(built, "inline", "filters");
    assert!(out.status.success() && lines.is_empty() && others.is_empty());
}

#[test]
fn the_account_is_not_written_through_a_link_or_to_what_is_no_file() {
    let Some(built) = built() else { return };
    let scratch = Scratch::new();
    let victim = scratch.path("victim");
    std::fs::write(&victim, "precious").unwrap();
    let link = scratch.path("link");
    std::os::unix::fs::symlink(&victim, &link).unwrap();
    let folder = scratch.path("folder");
    std::fs::create_dir(&folder).unwrap();
    for file in [&link, &folder, &PathBuf::from("/dev/null")] {
        let mut case = Case::new(built, "libc", "use");
        case.command.env("RINGER_STATS", file);
        case.says();
    }
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn a_planted_counters_file_is_left_alone() {
    let Some(built) = built() else { return };
    let scratch = Scratch::new();
    let (file, victim) = (scratch.path("stats"), scratch.path("victim"));
    std::fs::write(&victim, "precious").unwrap();
    // The shell's process id becomes the program's.
    let plant = format!(
        "ln -s {} {}.$$; exec {} use",
        victim.display(),
        file.display(),
        built.path("libc").display()
    );
    let mut shell = Command::new("/bin/sh");
    let out = shell.args(["-c", &plant]).env("LD_PRELOAD", LIBRARY).env("RINGER_STATS", &file);
    assert!(out.output().unwrap().status.success());
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 2);
}
