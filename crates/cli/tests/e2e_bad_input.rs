//! A buggy program gets the kernel's errno and never takes the engine with it.

mod support;

use support::everywhere;

support::claims! {
    "bad-input", "bad-input-6.18.txt";
    bad_setup_arguments_get_the_kernels_errno: "setup" [];
    bad_enter_arguments_get_the_kernels_errno: "enter" [];
    bad_requests_get_the_kernels_errno: "requests" ["READ", "WRITE", "READV"];
    an_index_outside_the_array_is_dropped_and_counted: "array" ["NOP"];
    a_scribbled_completion_tail_is_put_right: "tail" ["NOP"];
    scribbled_heads_and_tails_do_what_they_do_in_the_kernel: "tails" ["NOP"];
}

#[test]
fn entries_rewritten_while_they_are_read_post_one_completion_each() {
    for ran in everywhere(&["bad-racing-writer"], &["NOP", "READ"]) {
        assert_eq!(ran.stdout, "one completion each: true\n");
    }
}

#[test]
fn closed_reused_and_unmapped_numbers_are_told_apart() {
    everywhere(&["bad-numbers"], &["NOP", "READ"]);
}

#[test]
fn out_of_descriptors_requests_go_on() {
    everywhere(&["bad-exhaustion", "descriptors"], &["READ"]);
}

#[test]
fn out_of_memory_requests_go_on() {
    everywhere(&["bad-exhaustion", "memory"], &["READ"]);
}

#[test]
fn out_of_threads_requests_go_on() {
    everywhere(&["bad-exhaustion", "threads"], &["READ"]);
}
