//! Requests that a worker holds, on the kernel and under ringer.

mod support;

use support::everywhere;

#[test]
fn a_wait_on_an_iopoll_ring_ends_with_what_a_worker_finishes() {
    everywhere(&["iopoll-waits"], &["WRITE"]);
}

#[test]
fn a_connect_that_nobody_answers_is_given_up_for_certain() {
    everywhere(&["connect-given-up"], &["CONNECT", "LINK_TIMEOUT"]);
}

#[test]
fn workers_that_are_not_needed_end_while_others_work() {
    everywhere(&["workers-end"], &["OPENAT"]);
}
