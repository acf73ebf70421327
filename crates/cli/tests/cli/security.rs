//! Each line of SECURITY.md that can be seen from outside.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::SealFlags;

use crate::support::{Ended, MAPPED, RINGER, User, end, mode, ringer, root, under};

#[test]
fn an_ordinary_user_with_a_private_home_is_served() {
    let user = User::new();
    assert_ne!(end(&mut user.under(&MAPPED)).fine(), "0\n");
    let [library] = &user.libraries("run")[..] else { panic!("one library") };
    assert_eq!(fs::metadata(library).unwrap().mode() & 0o7777, 0o644);
    assert_eq!(fs::metadata(library.parent().unwrap()).unwrap().mode() & 0o7777, 0o700);
}

#[test]
fn without_a_runtime_folder_the_cache_is_used() {
    let user = User::new();
    let ended = end(user.under(&MAPPED).env_remove("XDG_RUNTIME_DIR"));
    assert_ne!(ended.fine(), "0\n");
    assert_eq!(user.libraries("home/.cache").len(), 1);
}

#[test]
fn a_folder_with_a_space_in_its_name_is_passed_over() {
    let user = User::new();
    let spaced = user.folder_of("with a space", 0o700);
    let ended = end(user.under(&MAPPED).env("XDG_RUNTIME_DIR", &spaced));
    assert_ne!(ended.fine(), "0\n");
    assert!(user.libraries("with a space").is_empty());
    assert_eq!(user.libraries("home/.cache").len(), 1);
}

#[test]
fn a_program_in_a_folder_with_spaces_and_colons_is_run() {
    let user = User::new();
    let folder = user.folder_of("a b:c $d", 0o755);
    fs::copy("/bin/grep", folder.join("gr ep")).unwrap();
    let program = folder.join("gr ep");
    let args = [program.to_str().unwrap(), "-c", "libringer_preload", "/proc/self/maps"];
    assert_ne!(end(&mut user.under(&args)).fine(), "0\n");
}

#[test]
fn a_relative_runtime_folder_is_not_believed() {
    let user = User::new();
    let ended = end(user.under(&MAPPED).env("XDG_RUNTIME_DIR", "run"));
    assert_ne!(ended.fine(), "0\n");
    assert!(user.libraries("run").is_empty());
}

#[test]
fn a_library_that_was_changed_is_refused() {
    let user = User::new();
    end(&mut user.under(&["true"])).fine();
    let [library] = &user.libraries("run")[..] else { panic!("one library") };
    let mut bytes = fs::read(library).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(library, bytes).unwrap();
    end(&mut user.under(&["true"])).refused(125, &["not the library of this ringer", "rm -r"]);
}

#[test]
fn a_link_that_was_planted_is_refused() {
    let user = User::new();
    end(&mut user.under(&["true"])).fine();
    let [library] = &user.libraries("run")[..] else { panic!("one library") };
    let moved = user.path("moved");
    fs::rename(library, &moved).unwrap();
    symlink(&moved, library).unwrap();
    end(&mut user.under(&["true"])).refused(125, &["symbolic link"]);
}

#[test]
fn a_folder_that_was_planted_is_refused() {
    if !root("to be two users") {
        return;
    }
    let user = User::new();
    // Somebody else (root) made it first, where the user's would be.
    fs::create_dir(user.path("run").join("ringer")).unwrap();
    end(&mut user.under(&["true"])).refused(125, &["belongs to user 0"]);
}

#[test]
fn many_first_runs_at_once_all_work() {
    let user = User::new();
    let mut children: Vec<_> = (0..12)
        .map(|_| user.under(&MAPPED).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
        .collect();
    for child in children.drain(..) {
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
    }
    assert_eq!(user.libraries("run").len(), 1);
}

#[test]
fn roots_library_belongs_to_root_and_can_be_read_by_all() {
    if !root("to be root") {
        return;
    }
    let path = preloaded(&mut under(["printenv", "LD_PRELOAD"]));
    let (file, folder) = (Path::new(&path), Path::new(&path).parent().unwrap());
    for (path, bits) in [(file, 0o644), (folder, 0o755)] {
        let meta = fs::symlink_metadata(path).unwrap();
        assert_eq!((meta.uid(), meta.mode() & 0o7777), (0, bits), "{path:?}");
    }
}

#[test]
fn a_program_that_drops_its_rights_still_loads_it() {
    if !root("to drop rights") {
        return;
    }
    let drop = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"];
    let ended = end(under(drop).args(MAPPED));
    assert_ne!(ended.fine(), "0\n");
}

/// Runs a shell script with mounts of its own, as root; `None` if that is refused here.
fn with_mounts(script: &str) -> Option<Ended> {
    if !root("to mount") {
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script, RINGER]).env_remove("LD_PRELOAD");
    let ended = end(&mut command);
    if ended.err.contains("unshare failed") || ended.err.contains("permission denied") {
        eprintln!("skipped: mounts are refused here: {}", ended.err.trim());
        return None;
    }
    Some(ended)
}

#[test]
fn a_noexec_run_folder_is_passed_over() {
    let script = r#"mount -t tmpfs -o noexec,mode=755 none /run
        "$0" run --native never -- printenv LD_PRELOAD"#;
    if let Some(ended) = with_mounts(script) {
        let path = ended.fine();
        assert!(path.starts_with('/') && !path.starts_with("/run/"), "{path}");
    }
}

#[test]
fn a_noexec_tmp_does_not_matter() {
    let script = r#"cp "$0" /usr/local/bin/.ringer-test-$$ 2>/dev/null || exit 0
        trap 'rm -f /usr/local/bin/.ringer-test-$$' EXIT
        mount -t tmpfs -o noexec none /tmp
        /usr/local/bin/.ringer-test-$$ run --native never -- grep -c libringer_preload /proc/self/maps"#;
    if let Some(ended) = with_mounts(script) {
        assert_ne!(ended.fine(), "0\n");
    }
}

#[test]
fn with_no_place_at_all_every_reason_is_given() {
    let script = r#"for d in /run /var/cache /dev/shm; do
          mount -t tmpfs -o noexec,mode=755 none $d; done
        cp "$0" /run/ringer-copy; mount -o remount,exec /run
        mkdir /run/r; mount -t tmpfs -o mode=755 none /run/r; cp /run/ringer-copy /run/r/ringer
        mount -o remount,noexec /run; mount -t tmpfs -o noexec none /tmp
        /run/r/ringer run --native never -- true"#;
    if let Some(ended) = with_mounts(script) {
        ended.refused(125, &["/run/ringer", "/var/cache", "/dev/shm", "/tmp", "noexec", "to fix"]);
    }
}

#[test]
fn the_stats_file_is_made_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = ringer(["run", "--native", "never", "--stats", "s.jsonl", "--"]);
    command.args(["sh", "-c", "cd /; printenv RINGER_STATS"]).current_dir(folder.path());
    let named = end(&mut command).fine();
    let want = folder.path().canonicalize().unwrap().join("s.jsonl");
    assert_eq!(Path::new(named.trim()), want, "whole, whatever folder the program goes to");
    let meta = fs::metadata(&want).unwrap();
    assert_eq!(meta.mode() & 0o7777, 0o600);
}

#[test]
fn a_stats_file_is_never_truncated() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("s.jsonl");
    fs::write(&file, "{}\n").unwrap();
    let mut command = ringer(["run", "--native", "never", "--stats"]);
    end(command.arg(&file).args(["--", "true"])).fine();
    assert!(fs::read_to_string(&file).unwrap().starts_with("{}\n"));
}

#[test]
fn a_stats_file_that_is_no_plain_file_of_the_caller_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let stats = |name: &str| {
        let mut command = ringer(["run", "--native", "never", "--stats"]);
        end(command.arg(folder.path().join(name)).args(["--", "true"]))
    };
    fs::write(folder.path().join("target"), "").unwrap();
    symlink(folder.path().join("target"), folder.path().join("link")).unwrap();
    stats("link").refused(125, &["symbolic link"]);
    let fifo = folder.path().join("fifo");
    let bits = rustix::fs::Mode::from_raw_mode(0o600);
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, bits, 0).unwrap();
    stats("fifo").refused(125, &["not a regular file"]);
    stats("missing/file").refused(125, &["No such file"]);
    stats(".").refused(125, &[]);
    if root("to own somebody else's file") {
        let theirs = folder.path().join("theirs");
        fs::write(&theirs, "").unwrap();
        mode(&theirs, 0o666);
        std::os::unix::fs::chown(&theirs, Some(65534), None).unwrap();
        stats("theirs").refused(125, &["belongs to user 65534"]);
    }
}

/// The library gets into a setuid program only by root's own /etc/ld.so.preload; then a caller's
/// RINGER_STATS must not name a file for it to write.
#[test]
fn with_more_rights_than_the_caller_the_variables_are_ignored() {
    if !root("to make a setuid program") {
        return;
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    if status.lines().any(|l| l.starts_with("NoNewPrivs:") && l.ends_with('1')) {
        eprintln!("skipped: under no_new_privs no program gains rights");
        return;
    }
    let user = User::new();
    let [plain, raised] = ["plain", "raised"].map(|name| user.folder_of(name, 0o700));
    fs::copy(RINGER, user.path("setuid")).unwrap();
    mode(&user.path("setuid"), 0o4755);
    let script = r#"cd "$1"; library=$("$0" run --native never -- printenv LD_PRELOAD)
        mkdir layer; mount -t tmpfs none layer; mkdir layer/upper layer/work
        mount -t overlay -o lowerdir=/etc,upperdir=layer/upper,workdir=layer/work none /etc
        echo "$library" > /etc/ld.so.preload
        for pair in ringer:plain setuid:raised; do
          RINGER_STATS="$1/${pair#*:}/stats" setpriv --reuid 65534 --regid 65534 --clear-groups -- \
            "./${pair%:*}" __demo-program --calls libc /bin/true "${pair#*:}/copy"
        done"#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script, RINGER]).arg(user.folder.path());
    let ended = end(&mut command);
    if ended.code != 0 {
        eprintln!("skipped: mounts or io_uring are refused here: {}", ended.err.trim());
        return;
    }
    assert!(plain.join("stats").exists(), "without more rights they are not: {ended:?}");
    assert!(raised.join("copy").exists() && !raised.join("stats").exists(), "{ended:?}");
    assert_eq!(fs::metadata(raised.join("copy")).unwrap().uid(), 0, "it was root");
}

/// A ring's memory can not be cut short under the engine, which would be a SIGBUS.
#[test]
fn a_rings_memory_is_sealed_against_shrinking_and_growing() {
    if !root("to open another process's mappings") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    fs::write(&from, vec![7; 64 << 20]).unwrap();
    let mut command = under([RINGER, "__demo-program", "--calls", "libc"]);
    command.arg(&from).arg(folder.path().join("to"));
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let maps = format!("/proc/{}/maps", child.id());
    let range = loop {
        assert!(child.try_wait().unwrap().is_none(), "it had no ring");
        let text = fs::read_to_string(&maps).unwrap_or_default();
        if let Some(line) = text.lines().find(|line| line.contains("/memfd:")) {
            break line.split(' ').next().unwrap().to_owned();
        }
    };
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let seals = fs::File::open(format!("/proc/{}/map_files/{range}", child.id()))
        .map(|file| rustix::fs::fcntl_get_seals(file).unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
    let seals = match seals {
        Ok(seals) => seals,
        Err(e) => return eprintln!("skipped: {e}"),
    };
    assert!(seals.contains(SealFlags::SHRINK | SealFlags::GROW), "{seals:?}");
}

fn preloaded(command: &mut Command) -> String {
    end(command).fine().trim().to_owned()
}
