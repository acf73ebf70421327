// Builds `libringer_preload.so` from inside a build script (shared by the CLI and the embeddable
// crate, which include this file).
//
// The library is a `no_std` cdylib with panic=abort. Inside the workspace that combination breaks
// `cargo test --workspace`, so the crate is an ordinary rlib there and this nested cargo asks for
// the shared object, in a target folder of its own and always optimised. Both users share that
// folder: the second one finds the work done.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Crates whose sources end up in the library.
const CRATES: [&str; 6] = ["uapi", "ring", "engine", "sys", "intercept", "preload"];

/// What the outer cargo says to its build scripts and must not reach the inner one, beside the
/// `CARGO_*` family: compiler overrides (clippy sets `RUSTC_WORKSPACE_WRAPPER`), flags, and the
/// job server.
const LEAKS: [&str; 12] = [
    "RUSTFLAGS",
    "RUSTDOCFLAGS",
    "RUSTC",
    "RUSTDOC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_LINKER",
    "MAKEFLAGS",
    "MFLAGS",
    "OPT_LEVEL",
    "PROFILE",
    "DEBUG",
];

/// The `CARGO_*` variables a user sets: where cargo lives and how it reaches the registry.
const KEPT: [&str; 5] =
    ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTRIES_", "CARGO_TERM_COLOR"];

/// Linker arguments: nothing from libc or libgcc, relocations done and sealed at load.
const LINK_ARGS: [&str; 8] = [
    "-nostdlib",
    "-nostartfiles",
    "-Wl,--hash-style=gnu",
    "-Wl,-z,now",
    "-Wl,-z,relro",
    "-Wl,-z,noexecstack",
    "-Wl,-Bsymbolic",
    "-Wl,--gc-sections",
];

/// Builds the library and tells rustc its path as `RINGER_PRELOAD_SO` and a hash of its contents as
/// `RINGER_PRELOAD_HASH`.
fn build_preload() {
    let here = PathBuf::from(var("CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(var("OUT_DIR"));
    let crates = here.parent().expect("a member of the workspace has a parent folder");
    watch(crates);
    // OUT_DIR is <target>/<profile>/build/<package>/out.
    let target_dir = out.ancestors().nth(4).unwrap_or(&out).join("preload-build");
    let triple = var("TARGET").into_string().expect("a target triple is ASCII");
    assert!(
        triple.starts_with("x86_64-") && triple.contains("-linux-"),
        "ringer is written for x86-64 Linux, not for {triple}"
    );
    let status = nested(crates, &target_dir, &triple)
        .status()
        .expect("cargo starts: it started this build script");
    assert!(status.success(), "building libringer_preload.so failed: {status}");
    let built = target_dir.join(&triple).join("preload").join("libringer_preload.so");
    let so = out.join("libringer_preload.so");
    std::fs::copy(&built, &so)
        .unwrap_or_else(|e| panic!("copying {} to {}: {e}", built.display(), so.display()));
    println!("cargo::rustc-env=RINGER_PRELOAD_SO={}", so.display());
    let bytes = std::fs::read(&so).unwrap_or_else(|e| panic!("reading {}: {e}", so.display()));
    println!("cargo::rustc-env=RINGER_PRELOAD_HASH={:016x}", name_of(&bytes));
}

/// A name for contents, not a proof of them: different builds of the library lie side by side.
fn name_of(bytes: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hasher as _};
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

fn nested(crates: &Path, target_dir: &Path, triple: &str) -> Command {
    let mut c = Command::new(var("CARGO"));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let ours = text.starts_with("CARGO") && !KEPT.iter().any(|k| text.starts_with(k));
        if ours || LEAKS.contains(&text.as_ref()) {
            c.env_remove(&name);
        }
    }
    // Baseline x86-64 whatever a user's config.toml says: the trampoline's promise to the program
    // about vector registers rests on it, and so does its saving few: no code is vectorised. (The
    // variable wins over `build.rustflags`.)
    let flags = [
        "-Ctarget-cpu=x86-64",
        "-Crelocation-model=pic",
        "-Cno-vectorize-loops",
        "-Cno-vectorize-slp",
    ];
    c.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    c.current_dir(crates)
        .args(["rustc", "--quiet", "--package", "ringer-preload", "--lib"])
        .args(["--profile", "preload", "--crate-type", "cdylib", "--features", "cdylib"])
        .args(["--target", triple])
        .arg("--target-dir")
        .arg(target_dir)
        .arg("--")
        // It is copied to disk and compared byte by byte at each run.
        .arg("-Cstrip=debuginfo");
    for arg in LINK_ARGS {
        c.arg(format!("-Clink-arg={arg}"));
    }
    c
}

fn watch(crates: &Path) {
    for name in CRATES {
        println!("cargo::rerun-if-changed={}", crates.join(name).join("src").display());
        println!("cargo::rerun-if-changed={}", crates.join(name).join("Cargo.toml").display());
    }
    for file in ["preload/build/nested.rs", "../Cargo.toml", "../Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", crates.join(file).display());
    }
    println!("cargo::rerun-if-changed=build.rs");
}

fn var(name: &str) -> OsString {
    env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name} for build scripts"))
}
