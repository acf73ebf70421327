//! `cargo xtask containers`: real programs under ringer in real containers, with the stock profile.
//!
//! ```text
//!  seccomp.json (golang-github-containers-common) --conditions resolved--> config.json of a bundle
//!  runc, crun  x  docker       root of the container, Docker's 14 capabilities
//!                 kubernetes   RuntimeDefault under the restricted standard: an ordinary user, no
//!                              capability, no_new_privs, EPERM for what is not listed
//!                 rootless     the runtime itself without privileges, in a user namespace
//!                 --> ringer doctor; programs --here
//! ```
//! The container's root is the host's `/usr` and `/etc`, read-only; `/tmp`, `/run` and `/dev` are its own. What
//! does not run here (no runtime, not root, control groups that a runtime does not know) is skipped and
//! said. What it does not do: build images, or use a network.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which of them.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Only programs whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// The ringer binary, the kit's binaries beside it (default: built here, in release)
    #[arg(long)]
    ringer: Option<PathBuf>,
    /// The folder of the client programs (tests/clients)
    #[arg(long)]
    clients: Option<PathBuf>,
}

const RUNTIMES: [&str; 2] = ["runc", "crun"];
/// Of Debian's golang-github-containers-common: the profile of Podman and CRI-O, which is Docker's.
const PROFILE: &str = "/usr/share/containers/seccomp.json";
/// What Docker leaves to root (moby's `caps/defaults.go`, capabilities(7)).
const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];
const EPERM: u32 = 1;
const SECONDS: &str = "300";

/// A way to be contained.
struct Kind {
    name: &'static str,
    user: u32,
    capabilities: &'static [&'static str],
    no_new_privs: bool,
    /// What is not listed answers this; `None`: what the profile says.
    errno: Option<u32>,
    /// The runtime runs as an ordinary user, who is root inside.
    rootless: bool,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "docker",
        user: 0,
        capabilities: &CAPABILITIES,
        no_new_privs: false,
        errno: None,
        rootless: false,
    },
    Kind {
        name: "kubernetes",
        user: 1000,
        capabilities: &[],
        no_new_privs: true,
        errno: Some(EPERM),
        rootless: false,
    },
    Kind {
        name: "rootless",
        user: 0,
        capabilities: &CAPABILITIES,
        no_new_privs: false,
        errno: None,
        rootless: true,
    },
];
/// Who runs rootless containers: nobody's number.
const ORDINARY: u32 = 64_321;

/// Passed, failed, skipped.
type Counts = [u64; 3];

pub(crate) fn run(plan: &Plan) -> Result<()> {
    let (ringer, clients) = binaries(plan)?;
    let mut sum: Counts = [0; 3];
    let missing = missing();
    for runtime in RUNTIMES {
        for kind in &KINDS {
            if let Some(why) = missing.clone().or_else(|| unusable(runtime, kind, &ringer)) {
                println!("{runtime}, {}: skipped: {why}", kind.name);
                sum[2] += 1;
                continue;
            }
            println!("{runtime}, {}:", kind.name);
            let counts = contained(runtime, kind, &ringer, &clients, &plan.only)?;
            sum.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
        }
    }
    let [passed, failed, skipped] = sum;
    println!("containers: {passed} passed, {failed} failed, {skipped} skipped");
    if failed > 0 { bail!("{failed} failed in containers") } else { Ok(()) }
}

/// Ringer with the kit beside it, and the clients' folder.
fn binaries(plan: &Plan) -> Result<(PathBuf, PathBuf)> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let clients = plan.clients.clone().unwrap_or_else(|| target.join("clients/release"));
    let ringer = match &plan.ringer {
        Some(ringer) => ringer.clone(),
        None => crate::kit::build()?.join("ringer"),
    };
    let ringer = ringer.canonicalize().with_context(|| format!("{}", ringer.display()))?;
    Ok((ringer, clients.canonicalize().unwrap_or(clients)))
}

/// What every runtime lacks here.
fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root".to_owned());
    }
    let lacks = !Path::new(PROFILE).exists();
    lacks.then(|| format!("no {PROFILE} (Debian: golang-github-containers-common)"))
}

/// Why a runtime cannot run even test(1) of what it has to show, its user being who it is.
fn unusable(runtime: &str, kind: &Kind, ringer: &Path) -> Option<String> {
    if Command::new(runtime).arg("--version").output().is_err() {
        return Some(format!("{runtime} is not installed"));
    }
    let ran = Bundle::new(runtime, kind).and_then(|bundle| {
        let (ringer, source) =
            (ringer.to_string_lossy(), std::env::current_dir()?.join("Cargo.toml"));
        bundle.run(&["/usr/bin/test", "-x", &ringer, "-a", "-r", &source.to_string_lossy()])
    });
    match ran {
        Ok((true, _)) => None,
        Ok((false, said)) if said.is_empty() => Some("its user cannot read this folder".to_owned()),
        Ok((false, said)) => Some(format!("it runs nothing here: {}", said.trim())),
        Err(e) => Some(format!("{e:#}")),
    }
}

fn contained(
    runtime: &str,
    kind: &Kind,
    ringer: &Path,
    clients: &Path,
    only: &str,
) -> Result<Counts> {
    let bundle = Bundle::new(runtime, kind)?;
    let ringer_name = ringer.to_string_lossy();
    let (well, said) = bundle.run(&[&ringer_name, "doctor"])?;
    if !well {
        println!("{said}ringer doctor: FAILED");
        return Ok([0, 1, 0]);
    }
    let programs = ringer.with_file_name("programs");
    let (programs, clients) = (programs.to_string_lossy(), clients.to_string_lossy());
    let args = ["--here", "--ringer", &ringer_name, "--clients", &clients, "--only", only];
    let (well, said) = bundle.run(&[&[&*programs][..], &args].concat())?;
    print!("{said}");
    let counts = said.lines().rev().find_map(|l| l.strip_prefix("programs: ")).and_then(counts);
    // What did not come to its end failed.
    let [passed, failed, skipped] = counts.unwrap_or([0, 1, 0]);
    Ok([passed + 1, failed.max(u64::from(!well)), skipped])
}

/// The numbers of "N passed, N failed, N skipped".
fn counts(line: &str) -> Option<Counts> {
    let mut numbers = line.split(", ").map(|part| part.split(' ').next()?.parse().ok());
    Some([numbers.next()??, numbers.next()??, numbers.next()??])
}

/// A folder that a runtime makes a container of.
struct Bundle<'a> {
    runtime: &'a str,
    kind: &'a Kind,
    scratch: ringer_testkit::harness::Scratch,
}

impl<'a> Bundle<'a> {
    fn new(runtime: &'a str, kind: &'a Kind) -> Result<Self> {
        let scratch = ringer_testkit::harness::Scratch::new();
        let root = scratch.path("rootfs");
        for folder in ["usr", "etc", "proc", "tmp", "dev", "run", "var"] {
            std::fs::create_dir_all(root.join(folder))?;
        }
        for (link, to) in
            [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")]
        {
            std::os::unix::fs::symlink(to, root.join(link))?;
        }
        let tmp = scratch.path("tmp");
        std::fs::create_dir(&tmp)?;
        std::fs::set_permissions(&tmp, Permissions::from_mode(0o1777))?;
        for folder in shown()? {
            std::fs::create_dir_all(root.join(folder.strip_prefix("/")?))?;
        }
        Ok(Self { runtime, kind, scratch })
    }

    /// Runs a program to its end: whether it ended well, and what it said.
    fn run(&self, argv: &[&str]) -> Result<(bool, String)> {
        let config =
            serde_json::to_vec_pretty(&config(self.kind, argv, &self.scratch.path("tmp"))?)?;
        std::fs::write(self.scratch.path("config.json"), config)?;
        if self.kind.rootless {
            let mut all = Command::new("chown");
            all.arg("-hR").arg(format!("{ORDINARY}:{ORDINARY}")).arg(self.scratch.path(""));
            all.status().context("chown(1)")?;
        }
        let name = format!("ringer-{}-{}", std::process::id(), self.kind.name);
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", SECONDS]);
        if self.kind.rootless {
            let who = [format!("--reuid={ORDINARY}"), format!("--regid={ORDINARY}")];
            command.arg("setpriv").args(who).args(["--clear-groups", "--inh-caps=-all"]);
        }
        command.args([self.runtime, "--root"]);
        command.arg(self.scratch.path("state")).args(["run", "--bundle"]);
        let out = command.arg(self.scratch.path("")).arg(&name).output().context("timeout(1)")?;
        let said = [out.stdout, out.stderr].concat();
        Ok((out.status.success(), String::from_utf8_lossy(&said).into_owned()))
    }
}

/// Folders that a container sees where they are: this repository, and what was built of it.
fn shown() -> Result<Vec<PathBuf>> {
    let here = std::env::current_dir()?;
    let mut all = vec![here.clone()];
    if let Some(target) = std::env::var_os("CARGO_TARGET_DIR") {
        let target = PathBuf::from(target).canonicalize()?;
        all.extend((!target.starts_with(&here)).then_some(target));
    }
    Ok(all)
}

/// The runtime specification's config.json (opencontainers/runtime-spec, config.md).
fn config(kind: &Kind, argv: &[&str], tmp: &Path) -> Result<Value> {
    let read_only = |folder: &Path| json!({ "destination": folder, "source": folder, "type": "bind", "options": ["rbind", "ro"] });
    let memory = |to: &str, mode: &str| {
        let options = ["nosuid", mode];
        json!({ "destination": to, "source": "tmpfs", "type": "tmpfs", "options": options })
    };
    let mut mounts = vec![
        json!({ "destination": "/proc", "source": "proc", "type": "proc" }),
        memory("/dev", "mode=755"),
        memory("/dev/shm", "mode=1777"),
        memory("/run", "mode=1777"),
        memory("/var", "mode=1777"),
        read_only(Path::new("/usr")),
        read_only(Path::new("/etc")),
    ];
    // A folder of a disk: a file system in memory takes no O_DIRECT.
    mounts.push(
        json!({ "destination": "/tmp", "source": tmp, "type": "bind", "options": ["rbind"] }),
    );
    // After it, as they may lie in there.
    mounts.extend(shown()?.iter().map(|folder| read_only(folder)));
    let sets = ["bounding", "effective", "permitted"].map(|set| (set, json!(kind.capabilities)));
    let mut spaces = vec!["pid", "network", "ipc", "uts", "mount"];
    let mut mappings = Vec::new();
    if kind.rootless {
        spaces.push("user");
        mappings.push(json!({ "containerID": 0, "hostID": ORDINARY, "size": 1 }));
    }
    let spaces: Vec<Value> = spaces.iter().map(|kind| json!({ "type": kind })).collect();
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": kind.user, "gid": kind.user },
            "args": argv,
            "env": ["PATH=/usr/sbin:/usr/bin", "HOME=/tmp"],
            "cwd": "/",
            "capabilities": Value::from_iter(sets),
            "noNewPrivileges": kind.no_new_privs,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "box",
        "mounts": mounts,
        "linux": {
            "namespaces": spaces,
            "uidMappings": mappings,
            "gidMappings": mappings,
            "seccomp": seccomp(kind)?,
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }))
}

/// The stock profile as the specification wants it: its conditions (architecture, capabilities) are
/// resolved, as Podman and Docker do before they start a container.
fn seccomp(kind: &Kind) -> Result<Value> {
    let text = std::fs::read_to_string(PROFILE).context(PROFILE)?;
    let profile: Value = serde_json::from_str(&text).context(PROFILE)?;
    let rules = profile["syscalls"].as_array().context("no rules")?;
    let errno = kind.errno.map_or_else(|| profile["defaultErrnoRet"].clone(), Value::from);
    Ok(json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": errno,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules.iter().filter(|rule| applies(rule, kind)).map(resolved).collect::<Vec<_>>(),
    }))
}

fn applies(rule: &Value, kind: &Kind) -> bool {
    let list = |of: &Value| of.as_array().cloned().unwrap_or_default();
    let has = |cap: &Value| kind.capabilities.iter().any(|c| cap == *c);
    let arches = list(&rule["includes"]["arches"]);
    (arches.is_empty() || arches.iter().any(|a| a == "amd64"))
        && list(&rule["includes"]["caps"]).iter().all(has)
        && !list(&rule["excludes"]["caps"]).iter().any(has)
}

fn resolved(rule: &Value) -> Value {
    let keys = ["names", "action", "errnoRet", "args"];
    let there = |key: &&str| !matches!(&rule[*key], Value::Null) && rule[*key] != json!([]);
    keys.iter().filter(|key| there(key)).map(|key| (*key, rule[*key].clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_for_other_capabilities_and_machines_are_left_out() {
        let [docker, kubernetes, _] = &KINDS;
        let rule = |includes: Value, excludes: Value| json!({ "names": ["x"], "action": "SCMP_ACT_ALLOW", "includes": includes, "excludes": excludes });
        let chroot = json!({ "caps": ["CAP_SYS_CHROOT"] });
        let cases = [
            (rule(json!({}), json!({})), true, true),
            (rule(json!({ "arches": ["s390"] }), json!({})), false, false),
            (rule(json!({ "arches": ["amd64", "x32"] }), json!({})), true, true),
            (rule(chroot.clone(), json!({})), true, false),
            (rule(json!({}), chroot), false, true),
            (rule(json!({ "caps": ["CAP_SYS_ADMIN"] }), json!({})), false, false),
        ];
        for (rule, in_docker, in_kubernetes) in cases {
            assert_eq!(
                (applies(&rule, docker), applies(&rule, kubernetes)),
                (in_docker, in_kubernetes)
            );
        }
        let rule =
            json!({ "names": ["x"], "action": "A", "args": [], "comment": "c", "errnoRet": null });
        assert_eq!(resolved(&rule), json!({ "names": ["x"], "action": "A" }));
    }

    #[test]
    fn a_tiers_last_line_is_read() {
        assert_eq!(counts("12 passed, 0 failed, 3 skipped"), Some([12, 0, 3]));
        assert_eq!(counts("12 passed"), None);
        assert_eq!(counts("many passed, 0 failed, 3 skipped"), None);
    }
}
