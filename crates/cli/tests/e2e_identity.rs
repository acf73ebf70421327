//! Requests run with their submitter's rights: users, capabilities, filters, domains, directories.

mod support;

use support::{blocked, everywhere};

#[test]
fn after_setuid_workers_from_before_have_the_new_users_rights() {
    everywhere(&["identity-setuid"], &["OPENAT"]);
}

#[test]
fn the_effective_user_may_change_from_request_to_request() {
    everywhere(&["identity-seteuid"], &["OPENAT"]);
}

#[test]
fn also_by_raw_calls_that_change_one_thread() {
    everywhere(&["identity-seteuid-raw"], &["OPENAT"]);
}

#[test]
fn capabilities_dropped_are_gone_for_requests() {
    everywhere(&["identity-capset"], &["OPENAT"]);
}

#[test]
fn a_filter_added_after_setup_binds_the_requests_of_its_thread() {
    blocked(&["identity-seccomp"], &["OPENAT"]);
}

#[test]
fn a_filter_added_on_every_thread_binds_workers_made_before_it() {
    blocked(&["identity-seccomp", "tsync"], &["OPENAT"]);
}

#[test]
fn a_landlock_domain_entered_after_setup_holds() {
    everywhere(&["identity-landlock"], &["OPENAT"]);
}

#[test]
fn the_working_directory_is_the_one_at_submission() {
    everywhere(&["identity-directory"], &["OPENAT"]);
}
