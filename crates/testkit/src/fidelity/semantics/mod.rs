//! Claims about what requests, rings and registrations mean: sections 3, 4 and 5 of the inventory.
//!
//! One file a family, each with a `CLAIMS` list that is named here; `kit` is what they share. What
//! it does not do: errors of single fields (`errno_order`).

use super::Claim;

mod buffers;
mod cancel;
mod enter;
mod eventfd;
mod files;
mod kbuf;
mod kit;
mod lifetime;
mod links;
mod modes;
mod msg_ring;
mod multishot;
mod overflow;
mod patch2019;
mod poll;
mod rings;
mod setup;
mod submit;
mod timeouts;
mod wait;
mod zc;

/// The families' lists, in the inventory's order.
pub const FAMILIES: &[&[Claim]] = &[
    setup::CLAIMS,
    submit::CLAIMS,
    enter::CLAIMS,
    timeouts::CLAIMS,
    links::CLAIMS,
    poll::CLAIMS,
    cancel::CLAIMS,
    files::CLAIMS,
    buffers::CLAIMS,
    overflow::CLAIMS,
    wait::CLAIMS,
    kbuf::CLAIMS,
    multishot::CLAIMS,
    zc::CLAIMS,
    rings::CLAIMS,
    msg_ring::CLAIMS,
    eventfd::CLAIMS,
    modes::CLAIMS,
    lifetime::CLAIMS,
    patch2019::CLAIMS,
];

/// What a claim's program does after exec: its exit code, if the command line asks for it.
pub fn after_exec(args: &[String]) -> Option<std::process::ExitCode> {
    lifetime::after_exec(args)
}
