//! How tests run programs: natively, under ringer, under a blocker; what `--stats` said.
//!
//! ```text
//!   prog(ringer, Under::Blocked(Docker), ["spine"])
//!     -> blocked --profile docker -- ringer run --native never --stats F -- prog spine
//!     -> Ran { code, stdout, stderr, ended_ns, stats }
//! ```
//! The kit's binaries are built once for each test process with the cargo that runs it, into the
//! folder where the test itself was built; `RINGER_TEST_PREBUILT` says that they are there already
//! (an ordinary user's rerun cannot write there).

use crate::block::Profile;
use crate::os;
use crate::stuck::Watch;
use serde_json::Value;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// Says that the kit's binaries lie in `folder`, so that nothing is built.
pub fn prebuilt(folder: &Path) {
    let _ = FOLDER.set(folder.to_owned());
}

/// Builds the kit's binaries next to `beside` (any binary of this build) and answers their folder.
///
/// # Panics
/// When cargo cannot build them.
pub fn binaries(beside: &str) -> &'static Path {
    FOLDER.get_or_init(|| {
        let folder = Path::new(beside).parent().expect("a folder").to_owned();
        if std::env::var_os("RINGER_TEST_PREBUILT").is_none() {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut build = Command::new(cargo);
            build.args(["build", "--quiet", "--offline", "-p", "ringer-testkit", "--bins"]);
            build.arg("--target-dir").arg(folder.parent().expect("a target folder"));
            if folder.ends_with("release") {
                build.arg("--release");
            }
            let ok = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo");
            assert!(ok.success(), "the kit's programs do not build");
        }
        folder
    })
}

/// A scratch folder, gone when dropped.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// A new folder in `TMPDIR` that others may look into: some programs change their user.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("ringer-test-")
            .permissions(Permissions::from_mode(0o755))
            .tempdir();
        Self(dir.expect("a scratch folder"))
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// Where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Under {
    /// On the kernel's own io_uring.
    Kernel,
    /// Under ringer, the kernel's io_uring being there but never used.
    Ringer,
    /// Under ringer where the kernel refuses.
    Blocked(Profile),
}

impl Under {
    /// Ringer under both blockers.
    pub const BLOCKED: [Self; 2] = [Self::Blocked(Profile::Eperm), Self::Blocked(Profile::Docker)];
}

/// What a run came to.
#[derive(Debug)]
pub struct Ran {
    /// Exit code, or 128 + signal.
    pub code: i32,
    /// Everything on stdout, from the program and whatever it left behind.
    pub stdout: String,
    /// Everything on stderr.
    pub stderr: String,
    /// `CLOCK_MONOTONIC` \[ns\] when the wait for the program returned.
    pub ended_ns: u64,
    /// What `--stats` wrote.
    pub stats: Stats,
    /// Where its threads were, if it took long.
    pub stuck: String,
}

impl Ran {
    /// Asserts success and silence on stderr.
    ///
    /// # Panics
    /// When the program failed or something was said on stderr.
    #[track_caller]
    pub fn ok(self) -> Self {
        let Self { code, stdout, stderr, stuck, .. } = &self;
        assert!(*code == 0, "exit code {code}\n{stdout}\n{stderr}\n{stuck}");
        assert!(self.stderr.is_empty(), "unexpected words on stderr: {}", self.stderr);
        self
    }

    /// Asserts that these opcodes were carried out by ringer and none by the kernel's io_uring.
    ///
    /// # Panics
    /// When the counters say otherwise.
    #[track_caller]
    pub fn proved(self, opcodes: &[&str]) -> Self {
        for op in opcodes {
            assert!(self.stats.requests(op) > 0, "no {op} in {:?}", self.stats);
        }
        assert_eq!(self.stats.native_calls(), 0, "native calls in {:?}", self.stats);
        self
    }
}

/// What `ringer stats --json` makes of a stats file: killed and filtered processes included.
#[derive(Debug, Default)]
pub struct Stats {
    /// One value a process.
    pub processes: Vec<Value>,
}

impl Stats {
    /// Reads a stats file.
    pub fn read(ringer: &str, file: &Path) -> Self {
        let out = Command::new(ringer).args(["stats", "--json"]).arg(file).output();
        let json: Value =
            out.ok().and_then(|o| serde_json::from_slice(&o.stdout).ok()).unwrap_or_default();
        Self { processes: json["processes"].as_array().cloned().unwrap_or_default() }
    }

    /// Requests of one opcode, over all processes.
    pub fn requests(&self, opcode: &str) -> u64 {
        self.processes.iter().filter_map(|p| p["requests"][opcode].as_u64()).sum()
    }

    /// Rings made by ringer, over all processes.
    pub fn rings(&self) -> u64 {
        self.processes.iter().filter_map(|p| p["rings"].as_u64()).sum()
    }

    /// Calls that reached the kernel's own io_uring, over all processes.
    pub fn native_calls(&self) -> u64 {
        self.processes.iter().filter_map(|p| p["native_calls"].as_u64()).sum()
    }
}

/// The command line that runs `argv` there.
pub fn command(ringer: &str, under: Under, stats: &Path, argv: &[&str]) -> Vec<String> {
    let mut line: Vec<String> = Vec::new();
    let mut add = |words: &[&str]| line.extend(words.iter().map(|&w| w.to_owned()));
    if let Under::Blocked(profile) = under {
        let blocked = binaries(ringer).join("blocked");
        add(&[&blocked.to_string_lossy(), "--profile", profile.name(), "--"]);
    }
    if under != Under::Kernel {
        let stats = stats.to_string_lossy();
        add(&[ringer, "run", "--native", "never", "--stats", &stats, "--"]);
    }
    add(argv);
    line
}

/// Runs `argv` to its end and to the end of its output.
///
/// # Panics
/// When it cannot be started.
pub fn run(ringer: &str, under: Under, argv: &[&str]) -> Ran {
    run_within(120, ringer, under, argv)
}

/// The same; after so many seconds it is killed (exit code 137 or 124).
///
/// # Panics
/// As [`run`].
pub fn run_within(seconds: u32, ringer: &str, under: Under, argv: &[&str]) -> Ran {
    let scratch = Scratch::new();
    let stats = scratch.path("stats");
    let mut line = ["timeout", "-k", "5"].map(str::to_owned).to_vec();
    line.push(seconds.to_string());
    line.extend(command(ringer, under, &stats, argv));
    let (prog, args) = line.split_first().expect("a program");
    let mut c = Command::new(prog);
    c.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = c.spawn().unwrap_or_else(|e| panic!("{prog}: {e}"));
    let out = child.stdout.take().map(|p| std::thread::spawn(move || slurp(p)));
    let err = child.stderr.take().map(|p| std::thread::spawn(move || slurp(p)));
    let watch = Watch::over(child.id());
    let status = child.wait().expect("wait");
    let ended_ns = os::clock(libc::CLOCK_MONOTONIC);
    let text = |t: Option<std::thread::JoinHandle<String>>| {
        t.and_then(|t| t.join().ok()).unwrap_or_default()
    };
    Ran {
        code: code_of(status),
        stdout: text(out),
        stderr: text(err),
        ended_ns,
        stats: if under == Under::Kernel { Stats::default() } else { Stats::read(ringer, &stats) },
        stuck: watch.seen(),
    }
}

fn slurp(mut from: impl std::io::Read) -> String {
    let mut bytes = Vec::new();
    let _ = from.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn code_of(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(-1)
}

/// Runs a program of the kit.
///
/// # Panics
/// As [`run`].
pub fn prog(ringer: &str, under: Under, args: &[&str]) -> Ran {
    kit(ringer, under, "prog", args)
}

/// Runs a program of the kit with its calls inline.
///
/// # Panics
/// As [`run`].
pub fn prog_inline(ringer: &str, under: Under, args: &[&str]) -> Ran {
    kit(ringer, under, "prog-inline", args)
}

fn kit(ringer: &str, under: Under, name: &str, args: &[&str]) -> Ran {
    let program = binaries(ringer).join(name);
    let program = program.to_string_lossy();
    let mut argv = vec![program.as_ref()];
    argv.extend(args);
    run(ringer, under, &argv)
}

/// Whether this host has an io_uring of its own.
pub fn kernel_has_io_uring() -> bool {
    crate::Ring::new(2, 0).is_ok()
}

/// Whether its rings end when nobody holds them any more. A 6.18 kernel that has 64 rings with
/// requests that never end (URING_CMD with MULTISHOT and BUFFER_SELECT is one) does not end any
/// other until it is booted again (io_uring.c `iou_wq` runs 64 `io_ring_exit_work` at a time);
/// `grep -l io_ring_exit_work /proc/*/stack` lists them.
pub fn rings_end() -> bool {
    static END: OnceLock<bool> = OnceLock::new();
    let probe = || -> os::Sys<bool> {
        let (ring, (ours, held)) = (crate::Ring::new(2, 0)?, os::pipe()?);
        ring.register_files(&[held])?;
        os::close(held)?;
        drop(ring);
        let hung_up = os::poll(ours, libc::POLLIN, 5000)? != 0;
        os::close(ours)?;
        Ok(hung_up)
    };
    *END.get_or_init(|| probe().unwrap_or(false))
}

/// Why a part that is to be shown on the kernel's ring is not, if so.
pub fn kernel_lacks() -> Option<&'static str> {
    if !kernel_has_io_uring() {
        return Some("this host refuses the kernel's io_uring");
    }
    (!rings_end()).then_some("this kernel ends no ring any more (64 never end): boot it again")
}
