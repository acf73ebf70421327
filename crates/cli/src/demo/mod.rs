//! `ringer demo`: an io_uring program, refused as in a container, and the same one under ringer.
//!
//! ```text
//!   1  program                                   the kernel's own io_uring, where there is one
//!   2  blocked -- program                        what happens in Docker: EPERM
//!   3  blocked -- ringer run -- program          calls by libc's symbol
//!   4  blocked -- ringer run -- program          calls by an instruction: the trap
//! ```
//!
//! Copies are compared by checksum. What it does not do: measure well. One machine, seconds,
//! and the medians of three passes; benches/ is for numbers.

pub(crate) mod program;

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::account::{self, Counts};
use crate::cli::{DemoArgs, DemoBlockedArgs};
use crate::host;
use crate::os::seccomp::{self, Privilege, Verdict};

/// The hidden subcommand of the program.
pub(crate) const PROGRAM: &str = "__demo-program";
/// The hidden subcommand of the blocker.
pub(crate) const BLOCKED: &str = "__demo-blocked";
const CHUNK: usize = 1 << 20;

/// Installs the filter and becomes the command.
pub(crate) fn blocked(args: &DemoBlockedArgs) -> anyhow::Result<u8> {
    seccomp::install(Verdict::Eperm, Privilege::NoNewPrivs).context("blocking io_uring")?;
    let (name, rest) = args.command.split_first().context("a command")?;
    let error = Command::new(name).args(rest).exec();
    Err(error).with_context(|| format!("running {}", Path::new(name).display()))
}

/// Runs the four steps; 1 if one did not come out as it should.
pub(crate) fn demo(args: &DemoArgs) -> anyhow::Result<u8> {
    let folder = tempfile::tempdir().context("making a folder for the demo's files")?;
    let stage = Stage {
        exe: env::current_exe().context("finding this program")?,
        from: folder.path().join("original"),
        to: folder.path().join("copy"),
        stats: folder.path().join("stats.jsonl"),
        len: u64::from(args.size) << 20,
    };
    let mut show = Show::new();
    show.line("io_uring in user space: the same program, four ways")?;
    show.step("making the file")?;
    let sum = generate(&stage.from, stage.len).context("making the file to copy")?;
    show.line(&format!("machine  {}", host::kernel()))?;
    show.line(&format!("file     {} MiB, sha256 {}", args.size, &sum[..16]))?;
    let mut good = true;
    for (number, way) in Way::ALL.into_iter().enumerate() {
        show.step(way.title())?;
        let run = stage.run(way)?;
        let verdict = run.verdict(way, &sum);
        good &= verdict.is_ok();
        let text = verdict.unwrap_or_else(|why| format!("FAILED: {why}"));
        show.line(&format!("{}  {:<31} {text}", number + 1, way.title()))?;
        if let Some(counts) = run.counts {
            show.line(&format!("{:35}{counts}", ""))?;
        }
    }
    show.end();
    Ok(u8::from(!good))
}

/// How the program is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Kernel,
    Blocked,
    RingerLibc,
    RingerInline,
}

impl Way {
    const ALL: [Self; 4] = [Self::Kernel, Self::Blocked, Self::RingerLibc, Self::RingerInline];

    fn title(self) -> &'static str {
        match self {
            Self::Kernel => "the kernel's own io_uring",
            Self::Blocked => "blocked as in Docker",
            Self::RingerLibc => "blocked, ringer, libc calls",
            Self::RingerInline => "blocked, ringer, inline calls",
        }
    }

    fn ringer(self) -> bool {
        matches!(self, Self::RingerLibc | Self::RingerInline)
    }

    fn calls(self) -> &'static str {
        if self == Self::RingerInline { "inline" } else { "libc" }
    }
}

/// Files and programs of a demo.
#[derive(Debug)]
struct Stage {
    exe: PathBuf,
    from: PathBuf,
    to: PathBuf,
    stats: PathBuf,
    len: u64,
}

/// How a run came out.
#[derive(Debug)]
struct Run {
    /// Medians of the two parts and the number of messages, or what the program said.
    times: Result<(Duration, Duration, u64), String>,
    /// Checksum of the copy.
    sum: String,
    len: u64,
    /// What ringer counted.
    counts: Option<Counts>,
}

impl Stage {
    fn run(&self, way: Way) -> anyhow::Result<Run> {
        let _ = fs::remove_file(&self.to);
        let _ = fs::remove_file(&self.stats);
        let words = self.command(way);
        let (name, rest) = words.split_first().context("a command")?;
        let out = Command::new(name)
            .args(rest)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .output()
            .context("starting the program")?;
        let said = String::from_utf8_lossy(&out.stderr);
        let times = if out.status.success() {
            parse(&out.stdout).ok_or_else(|| anyhow!("the program printed no times"))
        } else if said.trim().is_empty() {
            Err(anyhow!("the program ended with {}", out.status))
        } else {
            Err(anyhow!("{}", said.trim().trim_start_matches("ringer: ").to_owned()))
        };
        Ok(Run {
            times: times.map_err(|e| e.to_string()),
            sum: checksum(&self.to).unwrap_or_default(),
            len: self.len,
            counts: way.ringer().then(|| self.counts()),
        })
    }

    /// What ringer wrote; nothing if the program never had a ring.
    fn counts(&self) -> Counts {
        account::read(&self.stats).map(|all| account::sum(&all)).unwrap_or_default()
    }

    fn command(&self, way: Way) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        if way != Way::Kernel {
            words.extend([self.exe.clone().into(), BLOCKED.into(), "--".into()]);
        }
        if way.ringer() {
            let run = ["run", "--native", "never", "--stats"].map(OsString::from);
            words.push(self.exe.clone().into());
            words.extend(run);
            words.push(self.stats.clone().into());
            if way == Way::RingerLibc {
                // Shows that libc calls need no filter, though this binary has inline calls too.
                words.push("--no-trap".into());
            }
            words.push("--".into());
        }
        words.extend([self.exe.clone().into(), PROGRAM.into(), "--calls".into()]);
        words.extend([way.calls().into(), self.from.clone().into(), self.to.clone().into()]);
        words
    }
}

impl Run {
    /// What to print; an error if this is not how it should be.
    fn verdict(&self, way: Way, sum: &str) -> Result<String, String> {
        match (&self.times, way) {
            (Err(said), Way::Blocked) => Ok(format!("fails: {said}")),
            (Ok(_), Way::Blocked) => Err("the block does not hold".into()),
            (Err(said), Way::Kernel) => Ok(format!("not available here: {said}")),
            (Err(said), _) => Err(said.clone()),
            (Ok(_), _) if self.sum != sum => Err("the copy differs from the original".into()),
            (Ok((_, _, messages)), _) if !self.served(way, *messages) => {
                Err("it worked, and not through ringer".into())
            }
            (Ok((copy, echo, messages)), _) => Ok(format!(
                "copy {:>5.2} GiB/s, same sha256;  echo {:>4.0} k/s",
                self.len as f64 / copy.as_secs_f64() / f64::from(1 << 30),
                *messages as f64 / echo.as_secs_f64() / 1e3,
            )),
        }
    }

    /// Whether ringer served the requests of the echoes at least, and the kernel none.
    fn served(&self, way: Way, messages: u64) -> bool {
        match &self.counts {
            Some(counts) => counts.native == 0 && counts.total() >= 4 * messages,
            None => !way.ringer(),
        }
    }
}

fn parse(stdout: &[u8]) -> Option<(Duration, Duration, u64)> {
    let value: Value = serde_json::from_slice(stdout).ok()?;
    let number = |key: &str| value.get(key)?.as_u64();
    let time = |key: &str| Some(Duration::from_micros(number(key)?.max(1)));
    Some((time("copy_us")?, time("echo_us")?, number("messages")?))
}

/// Writes a file whose contents do not repeat; gives its checksum.
fn generate(path: &Path, len: u64) -> io::Result<String> {
    let mut file = File::create(path)?;
    let mut sum = Sha256::new();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut chunk = vec![0; CHUNK];
    for _ in 0..len / CHUNK as u64 {
        for word in chunk.chunks_exact_mut(8) {
            // xorshift64
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        sum.update(&chunk);
        file.write_all(&chunk)?;
    }
    Ok(hex(sum))
}

fn checksum(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut sum = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hex(sum)),
            n => sum.update(&chunk[..n]),
        }
    }
}

fn hex(sum: Sha256) -> String {
    sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lines on the standard output, and a bar below them where somebody watches.
struct Show {
    bar: ProgressBar,
}

impl Show {
    fn new() -> Self {
        // Hidden by itself where the standard error is no terminal.
        let bar = ProgressBar::new(Way::ALL.len() as u64);
        let style = ProgressStyle::with_template("{spinner} [{bar:24}] {pos}/{len} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar }
    }

    fn step(&mut self, what: &'static str) -> io::Result<()> {
        self.bar.set_message(what);
        if self.bar.is_hidden() { io::stdout().flush() } else { Ok(()) }
    }

    fn line(&mut self, text: &str) -> io::Result<()> {
        let printed = self.bar.suspend(|| writeln!(io::stdout(), "{text}"));
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            self.bar.inc(1);
        }
        printed
    }

    fn end(self) {
        self.bar.finish_and_clear();
    }
}
