//! Threads, children, exec and blocked signals, end to end.

mod support;

use support::everywhere;

#[test]
fn eight_threads_with_a_ring_each_get_their_own_completions() {
    everywhere(&["threads"], &["READ"]);
}

#[test]
fn eight_threads_on_one_ring_see_every_completion_once() {
    everywhere(&["shared-ring"], &["READ"]);
}

#[test]
fn children_meet_their_parents_ring_without_harm_and_make_their_own() {
    everywhere(&["children"], &["READ"]);
}

#[test]
fn exec_drops_the_set_and_the_new_image_starts_over() {
    everywhere(&["exec-again"], &["READ", "WRITE"]);
}

#[test]
fn calls_work_with_every_signal_blocked() {
    everywhere(&["signals-blocked"], &["READ", "WRITE"]);
}
