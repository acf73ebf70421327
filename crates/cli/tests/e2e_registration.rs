//! Registration of files equals the kernel's, row by row, as recorded on 6.18.44.

mod support;

use support::everywhere;

support::claims! {
    "registration", "registration-6.18.txt";
    a_bad_array_registers_nothing: "errors" [];
    the_limit_is_rlimit_nofile: "limits" [];
    unregister_wants_a_set_and_no_argument: "unregister" [];
    an_index_out_of_range_or_empty_is_ebadf: "indices" ["READ", "WRITE", "FSYNC"];
    the_set_holds_its_files: "references" ["READ"];
    an_update_empties_the_slot_it_fails_on: "updates" ["READ"];
    unregister_does_not_wait_for_requests: "in-flight" ["READ", "WRITE", "POLL_ADD"];
    every_kind_of_ring_takes_a_set: "kinds" [];
}

#[test]
fn a_set_as_large_as_rlimit_nofile_registers_beside_open_descriptors() {
    everywhere(&["limit-64"], &["READ"]);
}

#[test]
fn with_no_descriptor_left_every_registered_file_still_reads() {
    everywhere(&["limit-64-distinct"], &["READ"]);
}

#[test]
fn a_query_says_what_setup_enter_and_the_probe_do() {
    everywhere(&["query"], &[]);
}
