//! Files that the command reads and somebody else may have written.
//!
//! The two modules are the command's own, compiled here a second time: it is a program, not a
//! library. `cli` is what one of them names of the command line.

#![allow(dead_code, reason = "the command uses more of its modules than the targets do")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

#[path = "../../../cli/src/account.rs"]
mod account;
#[path = "../../../cli/src/elf.rs"]
mod elf_file;

thread_local! {
    static SCRATCH: (tempfile::TempDir, File) = {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("elf");
        let file = File::options().read(true).write(true).create_new(true).open(path);
        let file = file.expect("a file");
        (folder, file)
    };
}

pub(crate) fn elf(data: &[u8]) {
    SCRATCH.with(|(_, file)| {
        file.set_len(0).expect("truncated");
        file.write_all_at(data, 0).expect("written");
        if let elf_file::Elf::Dynamic { interpreter, texts } = elf_file::read(file) {
            assert!(interpreter.as_os_str().len() < 4096 && texts.len() <= 512);
            assert_eq!(texts, elf_file::texts(file));
        }
        assert!(elf_file::texts(file).len() <= 512);
    });
}

/// The lines, then the words of a counters file beside it.
pub(crate) fn stats(data: &[u8]) {
    let split = data.first().map_or(0, |&n| (n as usize * 8).min(data.len() - 1));
    let (lines, words) = data.get(1..).unwrap_or(&[]).split_at(split);
    SCRATCH.with(|(folder, _)| {
        let path = folder.path().join("s");
        std::fs::write(&path, lines).expect("written");
        let mut counters = words.to_vec();
        counters.resize(ringer_engine::stats::LEN, 0xff);
        if words.len() % 2 == 0 {
            counters[..8].copy_from_slice(&ringer_engine::stats::MAGIC.to_le_bytes());
        }
        std::fs::write(folder.path().join("s.7"), &counters).expect("written");
        tell(&path);
    });
}

fn tell(path: &Path) {
    let Ok(processes) = account::read(path) else { return };
    let sum = account::sum(&processes);
    assert!(sum.total() >= processes.iter().map(|p| p.counts.total()).max().unwrap_or(0));
    let _ = format!("{sum}{processes:?}");
}
