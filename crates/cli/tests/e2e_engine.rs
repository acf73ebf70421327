//! Odd places of the engine, end to end, as recorded on 6.18.44.

mod support;

support::claims! {
    "engine", "engine-6.18.txt";
    what_comes_after_a_drain_waits_for_it: "drain" ["READ", "NOP"];
    a_broken_chain_posts_what_the_kernels_does: "broken-chains" ["NOP"];
    cqe_skip_hides_what_the_kernel_hides_of_a_link_timeout: "link-timeouts" ["LINK_TIMEOUT"];
    a_removed_timeout_counts_as_a_completion: "counted" ["TIMEOUT", "TIMEOUT_REMOVE"];
    an_updated_poll_keeps_its_kind: "polls" ["POLL_ADD", "POLL_REMOVE"];
    wait_arguments_are_looked_at_when_the_kernel_does: "wait-arguments" ["NOP"];
    deferred_work_signals_the_eventfd: "deferred" ["READ", "TIMEOUT"];
    a_request_gets_a_worker_while_another_blocks: "two-workers" ["OPENAT"];
    registration_goes_entry_by_entry: "registration-order" ["OPENAT"];
    a_ring_may_be_closed_while_a_call_is_on_its_way_in: "closed-underway" [];
}
