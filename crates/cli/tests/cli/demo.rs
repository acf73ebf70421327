//! `ringer demo` from outside.

use crate::support::{end, ringer};

#[test]
fn the_demo_works_and_says_so_in_plain_lines() {
    let ended = end(&mut ringer(["demo", "--size", "2"]));
    assert!(ended.code == 0 && !ended.out.contains('\x1b') && ended.err.is_empty(), "{ended:?}");
    let line = |number: &str| {
        let found = ended.out.lines().find(|line| line.starts_with(number));
        found.unwrap_or_else(|| panic!("no line {number} in {}", ended.out)).to_owned()
    };
    assert!(line("2 ").contains("Operation not permitted"), "{}", ended.out);
    for number in ["3 ", "4 "] {
        assert!(line(number).contains("same sha256"), "{}", ended.out);
    }
    assert_eq!(ended.out.matches("0 native io_uring calls").count(), 2, "{}", ended.out);
}

#[test]
fn the_demos_program_alone_is_refused_where_io_uring_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    std::fs::write(&from, "x").expect("a file");
    for calls in ["libc", "inline"] {
        let exe = crate::support::RINGER;
        let mut command = ringer(["__demo-blocked", "--", exe, "__demo-program", "--calls", calls]);
        let ended = end(command.args([&from, &to]));
        assert_eq!(ended.code, 1);
        assert!(ended.err.contains("io_uring_setup: Operation not permitted"), "{ended:?}");
    }
}
