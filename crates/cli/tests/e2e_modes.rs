//! The submission thread and polled completion, end to end.

mod support;

use support::everywhere;

#[test]
fn a_hundred_thousand_fixed_reads_without_an_enter_call() {
    everywhere(&["sqpoll-reads"], &["READ"]);
}

#[test]
fn an_idle_submission_thread_burns_nothing_and_wakes_when_called() {
    everywhere(&["sqpoll-idle"], &["NOP"]);
}

#[test]
fn a_poll_of_another_ring_completes_without_a_call() {
    everywhere(&["rings-poll-rings"], &["POLL_ADD", "NOP"]);
}

#[test]
fn iopoll_refuses_what_the_kernel_refuses() {
    for ran in everywhere(&["iopoll"], &["NOP"]) {
        assert_eq!(ran.stdout, "buffered EOPNOTSUPP\nrecv EINVAL\n");
    }
}
