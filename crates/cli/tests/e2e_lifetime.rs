//! What lives how long: sets, locks, descriptors, cycles, and the order of a teardown.

mod support;

use support::everywhere;

#[test]
fn teardown_posts_requests_then_buffer_tags_then_file_tags() {
    for with in ["", "files-first", "in-flight"] {
        let requests = if with == "in-flight" { "[(7, -125), (8, -125), (9, -125)]" } else { "[]" };
        let want =
            format!("tags [202, 201, 102, 101]\nrequests {requests}\nrequests end first true\n");
        for ran in everywhere(&["teardown", with], &[]) {
            assert_eq!(ran.stdout, want, "{with}");
        }
    }
}

#[test]
fn a_mapping_keeps_the_set_and_its_end_drops_it() {
    everywhere(&["last-mapping"], &[]);
}

#[test]
fn descriptors_are_as_many_as_before_the_ring() {
    everywhere(&["counts"], &["READ"]);
}

#[test]
fn a_registered_socket_that_holds_itself_does_not_leak() {
    everywhere(&["cycle"], &[]);
}

#[test]
fn a_ring_is_refused_in_scm_rights() {
    everywhere(&["scm-ring"], &[]);
}

#[test]
fn posix_locks_survive_registration_requests_and_the_rings_end() {
    everywhere(&["posix-locks"], &["READ", "WRITE", "FSYNC"]);
}
