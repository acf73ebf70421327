//! Chaos in a test's own process: the library face.

use io_uring::{IoUring, opcode, types};
use ringer::chaos::{Error, Plan, survive};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::panic::catch_unwind;

const LEN: usize = 8192;

/// Reads the file in pieces of 1 KiB; `careful`: what a read leaves is asked for again.
fn read_all(path: &std::path::Path, careful: bool) -> Vec<u8> {
    let file = std::fs::File::open(path).expect("the file");
    let mut ring = IoUring::new(8).expect("a ring");
    let (mut all, mut piece) = (vec![0; LEN], [0; 1024]);
    let mut at = 0;
    while at < LEN {
        let read = opcode::Read::new(types::Fd(file.as_raw_fd()), piece.as_mut_ptr(), 1024)
            .offset(at as u64)
            .build();
        // SAFETY: the buffer and the file live until the request has completed, below.
        unsafe { ring.submission().push(&read) }.expect("room");
        let cqe = loop {
            match ring.submit_and_wait(1) {
                Ok(_) => {}
                Err(e) if e.raw_os_error() == Some(libc::EINTR) => {}
                Err(e) => panic!("{e}"),
            }
            if let Some(cqe) = ring.completion().next() {
                break cqe;
            }
        };
        let n = usize::try_from(cqe.result()).unwrap_or_else(|_| panic!("res {}", cqe.result()));
        all[at..at + n].copy_from_slice(&piece[..n]);
        at += if careful { n } else { piece.len() };
    }
    all
}

fn file() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let content: Vec<u8> = (0..LEN).map(|i| 1 + (i % 250) as u8).collect();
    file.write_all(&content).expect("written");
    file
}

#[test]
fn a_careful_reader_survives_and_a_careless_one_does_not() {
    let file = file();
    let content = std::fs::read(file.path()).expect("read");
    survive(0..20, || assert_eq!(read_all(file.path(), true), content));
    let found = (0..20).any(|seed| {
        let _chaos = Plan::legal(seed).begin().expect("chaos");
        read_all(file.path(), false) != content
    });
    assert!(found, "no seed cut a read");
}

#[test]
fn a_rule_is_carried_out_and_told() {
    let file = file();
    let plan = Plan::new(1).rule("errno=EIO op=READ nth=3").expect("a rule");
    let chaos = plan.begin().expect("chaos");
    let read = catch_unwind(|| read_all(file.path(), true));
    assert!(read.is_err());
    let done: Vec<String> = chaos.done().iter().map(ToString::to_string).collect();
    assert!(
        matches!(&done[..], [one] if one.ends_with(":3:0 READ user_data=0x0: failed with EIO")),
        "{done:?}"
    );
    assert!(chaos.done().is_empty(), "it is told once");
    drop(chaos);
    assert_eq!(read_all(file.path(), true).len(), LEN);
}

#[test]
fn rings_of_other_threads_are_left_alone() {
    let file = file();
    let chaos = Plan::new(1).rule("errno=EIO").expect("a rule").begin().expect("chaos");
    let path = file.path().to_owned();
    let other = std::thread::spawn(move || read_all(&path, true).len());
    assert_eq!(other.join().expect("no panic"), LEN);
    assert!(chaos.done().is_empty());
}

#[test]
fn what_no_kernel_does_has_to_be_asked_for_by_name() {
    assert!(matches!(Plan::new(1).rule("lose"), Err(Error::Illegal(_))));
    assert!(matches!(Plan::new(1).rule("looses"), Err(Error::Rule(_))));
    assert!(Plan::new(1).illegal_rule("lose").is_ok());
}
