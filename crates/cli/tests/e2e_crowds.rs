//! Threads, children, exec, signals and descriptor sweeps, end to end.

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

#[test]
fn a_storm_of_signals_loses_no_request() {
    everywhere(&["signal-storm"], &["READ"]);
}

#[test]
fn two_hundred_rings_work_at_once_and_go() {
    everywhere(&["many-rings"], &["READ"]);
}

#[test]
fn programs_are_spawned_while_requests_wait() {
    everywhere(&["spawning"], &["READ"]);
}

#[test]
fn closing_and_overwriting_every_other_number_harms_nothing() {
    everywhere(&["sweeping"], &["READ"]);
}

#[test]
fn a_ring_closed_under_a_waiter_lets_it_finish() {
    everywhere(&["closed-while-waiting"], &[]);
}
