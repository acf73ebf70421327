//! The spine, end to end: reads, writes, fsync and registered files where io_uring is refused.

mod support;

use ringer_testkit::harness::{self, Under};
use support::{RINGER, everywhere};

const OPCODES: &[&str] = &["NOP", "READ", "WRITE", "READV", "WRITEV", "FSYNC"];

#[test]
fn reads_writes_and_fixed_files_work_with_one_mapping() {
    everywhere(&["spine"], OPCODES);
}

#[test]
fn reads_writes_and_fixed_files_work_with_the_cq_ring_mapped_apart() {
    everywhere(&["--split", "spine"], OPCODES);
}

#[test]
fn without_ringer_the_blocked_program_gets_eperm() {
    for under in Under::BLOCKED {
        let Under::Blocked(profile) = under else { continue };
        let bin = harness::binaries(RINGER);
        let (blocked, prog) = (bin.join("blocked"), bin.join("prog"));
        let argv = [
            blocked.to_str().unwrap(),
            "--profile",
            profile.name(),
            "--",
            prog.to_str().unwrap(),
            "spine",
        ];
        let ran = harness::run(RINGER, Under::Kernel, &argv);
        assert_eq!((ran.code, ran.stderr.trim()), (1, "prog spine: setup: EPERM"));
    }
}
