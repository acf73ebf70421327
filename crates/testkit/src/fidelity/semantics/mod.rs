//! Claims about what requests, rings and registrations mean: sections 3, 4 and 5 of the inventory, and
//! what the tables of 1 and 2 say beyond errors.
//!
//! One file a family, each with a `CLAIMS` list that is named here; `kit` is what they share. What
//! it does not do: errors of single fields (`errno_order`).

use super::Claim;

mod buffers;
mod cancel;
mod clones;
mod closing;
mod direct;
mod emptied;
mod enter;
mod epolls;
mod eventfd;
mod files;
mod flags;
mod forks;
mod futex;
mod kbuf;
mod kit;
mod lifetime;
mod links;
mod making;
mod messages;
mod modes;
mod msg_ring;
mod multishot;
mod napi;
mod nowait;
mod overflow;
mod patch2019;
mod personality;
mod poll;
mod ranges;
mod refused;
mod regions;
mod resize;
mod ringfds;
mod rings;
mod selects;
mod setup;
mod sockets;
mod splices;
mod sqpoll;
mod submit;
mod sync_cancel;
mod timeouts;
mod timestamps;
mod transfers;
mod uring_cmd;
mod vectors;
mod wait;
mod waitid;
mod workers;
mod xattrs;
mod zc;

/// The families' lists, in the inventory's order.
pub const FAMILIES: &[&[Claim]] = &[
    transfers::CLAIMS,
    direct::CLAIMS,
    vectors::CLAIMS,
    flags::CLAIMS,
    ranges::CLAIMS,
    making::CLAIMS,
    splices::CLAIMS,
    emptied::CLAIMS,
    closing::CLAIMS,
    epolls::CLAIMS,
    setup::CLAIMS,
    submit::CLAIMS,
    sockets::CLAIMS,
    messages::CLAIMS,
    nowait::CLAIMS,
    enter::CLAIMS,
    timeouts::CLAIMS,
    links::CLAIMS,
    refused::CLAIMS,
    poll::CLAIMS,
    cancel::CLAIMS,
    futex::CLAIMS,
    waitid::CLAIMS,
    uring_cmd::CLAIMS,
    timestamps::CLAIMS,
    sync_cancel::CLAIMS,
    files::CLAIMS,
    buffers::CLAIMS,
    clones::CLAIMS,
    overflow::CLAIMS,
    wait::CLAIMS,
    regions::CLAIMS,
    kbuf::CLAIMS,
    selects::CLAIMS,
    multishot::CLAIMS,
    zc::CLAIMS,
    xattrs::CLAIMS,
    ringfds::CLAIMS,
    rings::CLAIMS,
    resize::CLAIMS,
    personality::CLAIMS,
    msg_ring::CLAIMS,
    eventfd::CLAIMS,
    modes::CLAIMS,
    sqpoll::CLAIMS,
    workers::CLAIMS,
    lifetime::CLAIMS,
    forks::CLAIMS,
    napi::CLAIMS,
    patch2019::CLAIMS,
];

/// What a claim's program does after exec: its exit code, if the command line asks for it.
pub fn after_exec(args: &[String]) -> Option<std::process::ExitCode> {
    lifetime::after_exec(args)
}
