//! Setup, the ring's descriptor, its mappings and its readiness, as recorded on 6.18.44.

mod support;

support::claims! {
    "setup", "setup-6.18.txt";
    sizes_are_rounded_clamped_and_refused: "sizes" [];
    the_largest_rings_are_the_kernels: "large-sizes" [];
    flags_are_taken_and_refused_alone_and_together: "flags" [];
    parameters_are_written_back: "written-back" [];
    the_descriptor_is_the_lowest_free_and_closes_on_exec: "descriptor" [];
    offsets_select_regions: "mappings" [];
    poll_and_epoll_see_completions_by_level_and_edge: "poll-mask" ["NOP", "READ"];
    the_probe_says_what_is_there: "probe" [];
    an_eventfd_is_registered_and_signalled: "eventfd" ["NOP"];
}

#[test]
fn what_the_features_word_promises_holds() {
    support::everywhere(&["features"], &["READV", "TIMEOUT", "NOP", "WRITE"]);
}
