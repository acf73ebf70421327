//! One program: can ringer be loaded into it, and which way would its calls come?

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ringer_intercept::scan::carried_by;

use crate::doctor::report::{Check, Report};
use crate::elf::{self, Text};
use crate::probe;
use crate::program::{self, Program};

/// No object's code is larger; bounds what is read \[bytes\].
const TEXT_MAX: u64 = 1 << 30;
/// How the names begin of objects that the library never looks at: their calls are symbols that it
/// interposes (`ringer_intercept::scan` has the list that counts).
const C_LIBRARY: [&str; 12] = [
    "libc.so",
    "libc-2.",
    "libc.musl",
    "ld-linux",
    "ld-musl",
    "ld-2.",
    "libpthread",
    "librt.",
    "librt-2.",
    "libdl",
    "libm.so",
    "libresolv",
];

/// Adds the program's lines.
pub(crate) fn look(report: &mut Report, name: &OsStr, library: Option<&Path>) {
    let program = match program::find(name) {
        Ok(program) => program,
        Err(refusal) => {
            let check = Check::fail("program", refusal.what).cause(refusal.why).fix(refusal.fix);
            report.add(check);
            return;
        }
    };
    report.add(Check::pass("program", kind(&program)));
    if let Some(library) = library {
        report.add(loads(&program, library));
    }
    report.add(way(&program));
}

fn kind(program: &Program) -> String {
    let (path, loader) = (program.path.display(), program.loader.display());
    if program.path == program.image {
        return format!("{path}: dynamic, loaded by {loader}");
    }
    let image = program.image.display();
    format!("{path}: a script; its interpreter {image} is dynamic, loaded by {loader}")
}

fn loads(program: &Program, library: &Path) -> Check {
    const NAME: &str = "loads ringer";
    let mut preload = OsString::from(library);
    if let Some(old) = env::var_os("LD_PRELOAD").filter(|old| !old.is_empty()) {
        preload.push(":");
        preload.push(old);
    }
    match probe::prove(program, library, &preload) {
        Ok(()) => Check::pass(NAME, "its loader takes the library"),
        Err(refusal) => Check::fail(NAME, refusal.what).cause(refusal.why).fix(refusal.fix),
    }
}

/// By symbol or by trap: what the library will decide when it scans the loaded objects.
fn way(program: &Program) -> Check {
    const NAME: &str = "calls";
    let mut inline: Vec<PathBuf> = Vec::new();
    if object_carries(&program.image, &program.texts) {
        inline.push(program.image.clone());
    }
    for path in probe::objects(program) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if C_LIBRARY.iter().any(|c| name.starts_with(c)) {
            continue;
        }
        let texts = File::open(&path).map(|file| elf::texts(&file)).unwrap_or_default();
        if object_carries(&path, &texts) {
            inline.push(path);
        }
    }
    if inline.is_empty() {
        return Check::pass(NAME, "come through libc: no filter is needed")
            .cause("no loaded object has a system call instruction that could be io_uring's");
    }
    let names: Vec<String> = inline.iter().map(|p| p.display().to_string()).collect();
    Check::pass(NAME, "come through libc, and through a trap where a program has inline ones")
        .cause(format!("system call instructions in {}", names.join(", ")))
        .fix("nothing to do where the trap line above passes; libraries opened later are seen then")
}

fn object_carries(path: &Path, texts: &[Text]) -> bool {
    let Ok(file) = File::open(path) else { return false };
    texts.iter().any(|text| {
        let mut code = vec![0; usize::try_from(text.len.min(TEXT_MAX)).unwrap_or(0)];
        let read = file.read_at(&mut code, text.off).unwrap_or(0);
        carried_by(code.get(..read).unwrap_or(&[])).calls
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_has_inline_calls_of_ours() {
        let file = File::open("/proc/self/exe").unwrap();
        assert!(object_carries(Path::new("/proc/self/exe"), &elf::texts(&file)));
    }

    #[test]
    fn the_library_itself_is_not_named_like_a_c_library() {
        let name = crate::library::LIBRARY.file_name();
        assert!(!C_LIBRARY.iter().any(|c| name.starts_with(c)));
    }
}
