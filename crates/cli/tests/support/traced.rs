//! A program of the kit under `ringer trace`.

use super::RINGER;
use ringer_testkit::harness::{self, Scratch, Under};
use serde_json::Value;
use std::process::Command;

/// What a traced run came to.
pub(crate) struct Traced {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) lines: Vec<String>,
}

impl Traced {
    /// Every line as JSON.
    #[track_caller]
    pub(crate) fn all(&self) -> Vec<Value> {
        let parse = |l: &String| serde_json::from_str(l).unwrap_or_else(|e| panic!("{l}: {e}"));
        self.lines.iter().map(parse).collect()
    }

    /// The lines as JSON: requests and completions, and the last one.
    #[track_caller]
    pub(crate) fn json(&self) -> (Vec<Value>, Value) {
        let mut all = self.all();
        let end = all.pop().unwrap_or_else(|| panic!("no line\n{}", self.stderr));
        assert_eq!(end["event"], "end");
        all.retain(|l| l["event"] == "request" || l["event"] == "cqe");
        (all, end)
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        let Self { code, stdout, stderr, .. } = &self;
        assert_eq!((*code, stderr.as_str()), (0, ""), "{stdout}");
        self
    }
}

/// The command line that traces a program of the kit into `file`.
pub(crate) fn line(under: Under, file: &str, options: &[&str], argv: &[&str]) -> Vec<String> {
    let Under::Blocked(profile) = under else { panic!("under a blocker") };
    let bin = |name: &str| harness::binaries(RINGER).join(name).to_string_lossy().into_owned();
    let (name, args) = argv.split_first().expect("a program");
    let mut line = vec![bin("blocked")];
    let words = ["--profile", profile.name(), "--", RINGER, "trace", "-o", file];
    line.extend(words.iter().chain(options).chain(&["--"]).map(|&w| w.to_owned()));
    line.push(bin(name));
    line.extend(args.iter().map(|&a| a.to_owned()));
    line
}

/// Traces a program of the kit.
pub(crate) fn trace(under: Under, options: &[&str], argv: &[&str]) -> Traced {
    let scratch = Scratch::new();
    let file = scratch.path("trace");
    let line = line(under, &file.to_string_lossy(), options, argv);
    let out = Command::new("timeout").arg("120").args(line).output().expect("timeout(1)");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    Traced {
        code: out.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        lines: text.lines().map(str::to_owned).collect(),
    }
}
