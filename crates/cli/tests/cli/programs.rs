//! Programs that ringer can not be loaded into: said clearly, never run without it.

use std::fs;
use std::path::Path;

use crate::support::{MAPPED, RINGER, User, end, executable, mode, ringer, root, under};

/// The smallest file that looks like a static program: a header, and no loader.
fn header(class: u8, machine: u16) -> Vec<u8> {
    let mut h = vec![0; 64];
    h[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, 1, 1]);
    h[16] = 2;
    h[18..20].copy_from_slice(&machine.to_le_bytes());
    h[54] = 56;
    h
}

#[test]
fn a_static_program_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = executable(folder.path(), "static", header(2, 62));
    end(&mut under([&path])).refused(125, &["static program", "no dynamic loader", "to fix it"]);
}

#[test]
fn a_real_static_program_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("main.c");
    fs::write(&source, "int main(void) { return 0; }").expect("a file");
    for flag in ["-static", "-static-pie"] {
        let path = folder.path().join("main");
        let built = std::process::Command::new("gcc")
            .args([flag, "-o"])
            .args([&path, &source])
            .output()
            .is_ok_and(|out| out.status.success());
        if !built {
            eprintln!("skipped: gcc {flag} does not work here");
            return;
        }
        end(&mut under([&path])).refused(125, &["static program"]);
    }
}

/// musl's loader knows LD_PRELOAD and `--list` too.
#[test]
fn a_program_of_another_c_library_is_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("main.c");
    let text = "#include <unistd.h>\nint main(void) { char p[120] = {0};\n\
                return syscall(425, 4, p) < 0; }";
    fs::write(&source, text).expect("a file");
    let path = folder.path().join("main");
    let mut gcc = std::process::Command::new("musl-gcc");
    if !gcc.arg("-o").args([&path, &source]).output().is_ok_and(|out| out.status.success()) {
        eprintln!("skipped: there is no musl-gcc");
        return;
    }
    let args = ["__demo-blocked", "--", RINGER, "run", "--native", "never", "--"];
    assert_eq!(end(ringer(args).arg(&path)).fine(), "");
}

#[test]
fn another_architecture_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let arm = executable(folder.path(), "arm", header(2, 183));
    end(&mut under([&arm])).refused(126, &["aarch64, 64-bit", "x86-64"]);
    let small = executable(folder.path(), "small", &header(1, 3)[..52]);
    end(&mut under([&small])).refused(126, &["i386, 32-bit"]);
}

#[test]
fn a_program_whose_loader_is_missing_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut file = header(2, 62);
    file[32] = 64;
    file[56] = 1;
    let mut phdr = vec![0; 56];
    phdr[0] = 3;
    phdr[8] = 120;
    phdr[32] = 13;
    file.extend(phdr);
    file.extend(b"/no/ld.so.99\0");
    let path = executable(folder.path(), "prog", file);
    end(&mut under([&path])).refused(127, &["/no/ld.so.99", "does not exist"]);
}

#[test]
fn damaged_files_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let cut = executable(folder.path(), "cut", &header(2, 62)[..40]);
    end(&mut under([&cut])).refused(126, &["cut short"]);
}

#[test]
fn a_script_is_served_through_its_interpreter() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!("#!/bin/sh\n{}\n", MAPPED.join(" "));
    let path = executable(folder.path(), "script", &text);
    assert_ne!(end(&mut under([&path])).fine(), "0\n");
    let bare = executable(folder.path(), "bare", text.strip_prefix("#!/bin/sh\n").unwrap());
    assert_ne!(end(&mut under([&bare])).fine(), "0\n", "as execvp: sh runs it");
    let env = executable(folder.path(), "env", text.replace("/bin/sh", "/usr/bin/env sh"));
    assert_ne!(end(&mut under([&env])).fine(), "0\n");
}

#[test]
fn a_script_gets_its_arguments() {
    let folder = tempfile::tempdir().expect("a folder");
    let with = executable(folder.path(), "with", "#!/bin/sh\necho \"$0|$1|$2\"\n");
    let without = executable(folder.path(), "without", "echo \"$0|$1|$2\"\n");
    for path in [with, without] {
        let want = format!("{}|a b|c\n", path.display());
        assert_eq!(end(under([&path]).args(["a b", "c"])).fine(), want);
    }
}

#[test]
fn a_script_of_a_static_interpreter_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let interpreter = executable(folder.path(), "interpreter", header(2, 62));
    let text = format!("#!{}\n", interpreter.display());
    let path = executable(folder.path(), "script", text);
    end(&mut under([&path])).refused(125, &["interpreter: it is a static program"]);
}

#[test]
fn a_script_of_a_missing_interpreter_is_127() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = executable(folder.path(), "script", "#!/no/such/sh -e\n");
    end(&mut under([&path])).refused(127, &["/no/such/sh"]);
}

#[test]
fn scripts_of_scripts_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("self");
    executable(folder.path(), "self", format!("#!{}\n", path.display()));
    end(&mut under([&path])).refused(126, &["too many times"]);
}

/// A copy of `grep` that gains something at exec, for a user who is not root.
fn gaining(user: &User, change: impl Fn(&Path)) -> Option<crate::support::Ended> {
    let copy = user.path("grep");
    fs::copy("/bin/grep", &copy).expect("a copy of grep");
    change(&copy);
    let copy = copy.to_str().expect("a name").to_owned();
    let ended = end(&mut user.under(&[&copy, "-c", "libringer_preload", "/proc/self/maps"]));
    if ended.code != 125 {
        // Where nothing is gained, the library must be there.
        eprintln!("skipped: nothing is gained here (nosuid or no_new_privs)");
        assert_ne!(ended.fine(), "0\n");
        return None;
    }
    Some(ended)
}

#[test]
fn setuid_and_setgid_programs_are_refused() {
    if !root("to make setuid programs") {
        return;
    }
    let user = User::new();
    for (bits, word) in [(0o4755, "setuid"), (0o2755, "setgid")] {
        if let Some(ended) = gaining(&user, |path| mode(path, bits)) {
            ended.refused(125, &[word, "ignores LD_PRELOAD"]);
        }
    }
}

#[test]
fn a_setuid_bit_that_gives_nothing_does_not_matter() {
    let user = User::new();
    let copy = user.path("grep");
    fs::copy("/bin/grep", &copy).expect("a copy of grep");
    user.own(&copy);
    mode(&copy, 0o4755);
    let copy = copy.to_str().expect("a name").to_owned();
    let ended = end(&mut user.under(&[&copy, "-c", "libringer_preload", "/proc/self/maps"]));
    assert_ne!(ended.fine(), "0\n", "its owner becomes nobody else");
}

#[test]
fn programs_with_file_capabilities_are_refused() {
    if !root("to give file capabilities") {
        return;
    }
    // VFS_CAP_REVISION_2 with the effective bit; CAP_NET_BIND_SERVICE permitted.
    let mut value = [0_u8; 20];
    value[..4].copy_from_slice(&0x0200_0001_u32.to_le_bytes());
    value[4..8].copy_from_slice(&(1_u32 << 10).to_le_bytes());
    let user = User::new();
    let copy = user.path("grep");
    fs::copy("/bin/grep", &copy).expect("a copy of grep");
    let flags = rustix::fs::XattrFlags::empty();
    if let Err(e) = rustix::fs::setxattr(&copy, "security.capability", &value, flags) {
        eprintln!("skipped: this file system takes no capabilities: {e}");
        return;
    }
    let name = copy.to_str().expect("a name").to_owned();
    let ended = end(&mut user.under(&[&name, "-c", "x", "/dev/null"]));
    ended.refused(125, &["file capabilities"]);
}
