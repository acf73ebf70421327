//! What waits, end to end, as recorded on 6.18.44.

mod support;

support::claims! {
    "waits", "waits-6.18.txt";
    pipes_and_eventfds_wait_and_transfer_as_the_kernel_does: "pipes" ["READ", "WRITE"];
    sockets_send_and_receive_as_the_kernel_does: "sockets" ["SEND", "RECV"];
    connections_are_made_and_accepted: "accept" ["ACCEPT", "CONNECT", "CLOSE"];
    polls_fire_and_are_removed: "poll" ["POLL_ADD", "POLL_REMOVE"];
    timeouts_fire_count_and_change: "timeouts" ["TIMEOUT", "TIMEOUT_REMOVE"];
    links_break_and_drains_wait_as_the_kernels_do: "links" ["READ", "NOP"];
    a_link_timeout_ends_its_request: "link-timeout" ["LINK_TIMEOUT"];
    cancel_finds_what_the_kernel_finds: "cancel" ["ASYNC_CANCEL"];
    nothing_is_lost_when_the_cq_ring_is_full: "overflow" ["NOP"];
    enter_waits_and_is_interrupted_as_the_kernels: "enter" ["NOP"];
    names_are_made_changed_and_removed: "names" ["OPENAT", "STATX", "RENAMEAT", "EPOLL_CTL"];
}
