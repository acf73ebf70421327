//! The suite's source: Debian's package, fetched by apt from the machine's own archive and built.
//!
//! ```text
//!   /etc/apt sources --(same archive, same key; deb-src, suite)--> target/conformance/apt
//!     -> apt-get update, showsrc -> the wanted version -> apt-get source -> configure, make
//!     -> target/conformance/liburing-VERSION/test/*.t
//! ```
//! Nothing of the machine's apt state is changed: lists and cache are folders of our own. Nothing
//! of the package is kept in the repository. What it does not do: run the tests.

use anyhow::{Context as _, Result, bail, ensure};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the version may be: the newest first, because the rows are about a new one.
const SUITES: [&str; 3] = ["sid", "testing", "stable"];

/// Why there is no suite to run.
#[derive(Debug)]
pub(crate) enum Missing {
    /// This machine cannot have it: said and counted, not a failure of ours.
    Here(String),
    /// It is there and does not build.
    Broken(anyhow::Error),
}

/// The folder of the built suite, `test/` in it; fetched and built if it is not in `cache` yet.
pub(crate) fn built(cache: &Path, version: &str) -> Result<PathBuf, Missing> {
    let tree = cache.join(format!("liburing-{version}"));
    if !tree.join("configure").exists() {
        fetch(cache, version).map_err(|e| Missing::Here(format!("{e:#}")))?;
    }
    build(&tree).map_err(Missing::Broken)?;
    Ok(tree)
}

/// Builds a tree, once: a stamp says that it was.
pub(crate) fn build(tree: &Path) -> Result<()> {
    let stamp = tree.join("built-for-conformance");
    if stamp.exists() {
        return Ok(());
    }
    println!("building {}", tree.display());
    say(Command::new("./configure").current_dir(tree))?;
    say(Command::new("make").args(["-j2", "-C", "src"]).current_dir(tree))?;
    // Those that need clang or a sanitizer are not among its targets or do not build: `-k`.
    let rest = say(Command::new("make").args(["-k", "-j2", "-C", "test"]).current_dir(tree));
    ensure!(!programs(tree)?.is_empty(), "no test was built: {rest:?}");
    fs::write(stamp, "")?;
    Ok(())
}

/// The names of the tests that were built, sorted.
pub(crate) fn programs(tree: &Path) -> Result<Vec<String>> {
    let folder = tree.join("test");
    let entries = fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|e| e.ok()?.file_name().to_str()?.strip_suffix(".t").map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}

fn fetch(cache: &Path, version: &str) -> Result<()> {
    for tool in ["apt-get", "dpkg-source", "gcc", "make"] {
        let there = Command::new(tool).arg("--version").stdout(Stdio::null()).status();
        ensure!(there.is_ok(), "{tool} is not installed");
    }
    let (mut offered, mut unread) = (Vec::new(), None);
    for suite in SUITES {
        let apt = Apt::new(cache, suite)?;
        if let Err(e) = apt.update() {
            println!("suite {suite}: {e:#}");
            unread = Some(suite);
            continue;
        }
        let versions = apt.versions()?;
        if let Some(full) = versions.iter().find(|v| upstream(v) == version) {
            println!("fetching liburing {full} ({suite})");
            return apt.source(full);
        }
        offered.extend(versions);
    }
    if let Some(suite) = unread.filter(|_| offered.is_empty()) {
        bail!("the archive's suites cannot be read here ({suite} was the last one tried)");
    }
    bail!("the archive offers liburing {offered:?} and not {version}, which the rows are about")
}

/// A Debian version without epoch and revision.
fn upstream(version: &str) -> &str {
    let version = version.split_once(':').map_or(version, |(_, v)| v);
    version.rsplit_once('-').map_or(version, |(v, _)| v)
}

/// apt with lists, cache and sources of our own, for one suite.
struct Apt {
    cache: PathBuf,
    options: Vec<String>,
}

impl Apt {
    fn new(cache: &Path, suite: &str) -> Result<Self> {
        let own = cache.join("apt").join(suite);
        for folder in ["lists/partial", "archives/partial", "parts"] {
            fs::create_dir_all(own.join(folder))?;
        }
        let sources = derive(&machine_sources(), suite);
        ensure!(!sources.is_empty(), "no Debian archive among this machine's apt sources");
        fs::write(own.join("parts/suite.sources"), sources)?;
        let own = own.canonicalize()?;
        let dir = |what: &str| format!("{}/{what}", own.display());
        let options = [
            format!("Dir::State::lists={}", dir("lists")),
            format!("Dir::Cache={}", dir(".")),
            format!("Dir::Etc::sourceparts={}", dir("parts")),
            "Dir::Etc::sourcelist=/dev/null".to_owned(),
            "APT::Sandbox::User=".to_owned() + whoami(),
        ];
        let options = options.into_iter().flat_map(|o| ["-o".to_owned(), o]).collect();
        Ok(Self { cache: cache.to_owned(), options })
    }

    fn command(&self, tool: &str, args: &[&str]) -> Command {
        let mut command = Command::new(tool);
        command.args(&self.options).args(args).current_dir(&self.cache);
        command
    }

    fn update(&self) -> Result<()> {
        // Without it, apt calls an update that reached nobody a success.
        let strict = "APT::Update::Error-Mode=any";
        say(&mut self.command("apt-get", &["-q", "-o", strict, "update"]))
    }

    fn versions(&self) -> Result<Vec<String>> {
        let out = self.command("apt-cache", &["showsrc", "--only-source", "liburing"]).output()?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        Ok(text.lines().filter_map(|l| l.strip_prefix("Version: ").map(str::to_owned)).collect())
    }

    fn source(&self, version: &str) -> Result<()> {
        let package = format!("liburing={version}");
        say(&mut self.command("apt-get", &["-q", "source", "--only-source", &package]))
    }
}

/// apt's sandbox user cannot write to folders of root's: stay who we are.
fn whoami() -> &'static str {
    if rustix::process::getuid().is_root() { "root" } else { "" }
}

/// Runs a step; its output is shown only when it fails.
fn say(command: &mut Command) -> Result<()> {
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    if out.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    let tail: Vec<&str> = text.lines().rev().take(8).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    bail!("{command:?}: {}\n{}", out.status, tail.join("\n"))
}

fn machine_sources() -> String {
    let mut text = fs::read_to_string("/etc/apt/sources.list").unwrap_or_default();
    let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    for part in parts.map(|e| e.path()) {
        if part.extension().is_some_and(|e| e == "sources" || e == "list") {
            text += "\n\n";
            text += &fs::read_to_string(&part).unwrap_or_default();
        }
    }
    text
}

/// From a machine's sources (either format) the same Debian archives' sources of `suite`.
fn derive(sources: &str, suite: &str) -> String {
    let mut found = String::new();
    for stanza in sources.split("\n\n") {
        let field = |name: &str| stanza.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
        if let Some(uris) = field("URIs:") {
            let key = field("Signed-By:").unwrap_or_default();
            for uri in uris.split_whitespace() {
                entry(&mut found, uri, suite, key);
            }
            continue;
        }
        for words in stanza.lines().filter_map(|l| l.trim().strip_prefix("deb ")) {
            let key = words.split(['[', ']', ' ']).find_map(|o| o.strip_prefix("signed-by="));
            let uri = words.split_whitespace().find(|w| w.contains("://"));
            entry(&mut found, uri.unwrap_or_default(), suite, key.unwrap_or_default());
        }
    }
    found
}

fn entry(found: &mut String, uri: &str, suite: &str, key: &str) {
    let uri = uri.trim_end_matches('/');
    if !uri.ends_with("/debian") || found.contains(&format!("{uri}\n")) {
        return;
    }
    let _ = write!(found, "Types: deb-src\nURIs: {uri}\nSuites: {suite}\nComponents: main\n");
    if !key.is_empty() {
        let _ = writeln!(found, "Signed-By: {key}");
    }
    found.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deb_src_of_a_suite_is_derived_from_both_formats_with_its_key() {
        let wanted = "Types: deb-src\nURIs: http://archive.invalid/debian\nSuites: sid\n\
                      Components: main\nSigned-By: /k.gpg\n\n";
        let deb822 = "Types: deb\n# a remark\nURIs: http://archive.invalid/debian\n\
                      Suites: bookworm bookworm-updates\nComponents: main\nSigned-By: /k.gpg\n";
        assert_eq!(derive(deb822, "sid"), wanted);
        let list = "# deb http://old.invalid/debian sid main\n\
                    deb [arch=amd64 signed-by=/k.gpg] http://archive.invalid/debian/ bookworm main";
        assert_eq!(derive(list, "sid"), wanted);
    }

    #[test]
    fn other_archives_are_left_out_and_none_is_named_twice() {
        let text = "deb http://a.invalid/debian x main\ndeb http://a.invalid/debian y main\n\
                    deb http://a.invalid/debian-security x main\ndeb http://b.invalid/node x main";
        assert_eq!(derive(text, "sid").matches("URIs:").count(), 1);
    }

    #[test]
    fn epoch_and_revision_are_no_part_of_the_upstream_version() {
        assert_eq!(["2.15-1", "1:2.15-1+b1", "2.15"].map(upstream), ["2.15"; 3]);
    }
}
