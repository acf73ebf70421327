//! The canonical form of what a run saw: sorted where the order is free, in order where it is
//! promised.
//!
//! Promised: the completions of one chain among themselves, and those of one request (a multishot's).
//! Free: everything else between two points where the program waits for quiet. So completions
//! are printed by `user_data` (a stable sort keeps a request's own order), and for each chain the
//! order in which its members ended is printed besides. A linked timeout has an order with its own
//! request only: what comes after that request does not wait for it.

use super::draws::{op, op_name};
use super::program::{Entry, MESSAGES};
use crate::os::name;
use ringer_uapi::Cqe;
use std::collections::BTreeMap;

/// `IORING_CQE_F_NOTIF`.
const NOTIF: u32 = 8;

/// Keeps what was submitted and renders what completed.
#[derive(Debug, Default)]
pub(super) struct Canon {
    /// Entries by `user_data`.
    entries: BTreeMap<u64, Entry>,
    /// Which chain an entry belongs to, and the chains' members as they ended.
    chain_of: BTreeMap<u64, usize>,
    ended: Vec<Vec<u64>>,
    /// Linked timeouts, their requests, and whether they ended first.
    timed: Vec<(u64, u64, bool)>,
}

impl Canon {
    /// One call took these entries: notes chains.
    pub(super) fn taken(&mut self, sqes: &[Entry]) {
        let mut linked = false;
        for e in sqes {
            let links = e.flags & (super::program::bit::LINK | super::program::bit::HARDLINK) != 0;
            if !linked {
                self.ended.push(Vec::new());
            }
            self.chain_of.insert(e.id, self.ended.len() - 1);
            self.entries.insert(e.id, e.clone());
            linked = links;
        }
    }

    /// The entry that a completion names.
    pub(super) fn entry(&self, user_data: u64) -> Option<&Entry> {
        self.entries.get(&user_data)
    }

    /// The members of an entry's chain, in no order.
    pub(super) fn chain_of(&self, user_data: u64) -> Vec<u64> {
        let Some(chain) = self.chain_of.get(&user_data) else { return Vec::new() };
        self.chain_of.iter().filter(|(_, c)| *c == chain).map(|(id, _)| *id).collect()
    }

    /// The lines of a batch of completions, in canonical order.
    pub(super) fn lines(&mut self, mut cqes: Vec<Cqe>) -> Vec<String> {
        // A notification has no place among what it follows.
        for c in cqes.iter().filter(|c| c.flags & NOTIF == 0) {
            let Some(&chain) = self.chain_of.get(&c.user_data) else { continue };
            let links = |id: &u64| self.entries.get(id).is_some_and(|e| e.op == op::LINK_TIMEOUT);
            if links(&c.user_data) {
                self.timed(c.user_data);
            } else {
                self.ended[chain].push(c.user_data);
            }
        }
        cqes.sort_by_key(|c| c.user_data);
        cqes.iter().map(|c| self.line(c)).collect()
    }

    /// A linked timeout ended: before or after its request?
    fn timed(&mut self, id: u64) {
        let Some(&chain) = self.chain_of.get(&id) else { return };
        let before = self.chain_of.range(..id).rev().find(|(_, c)| **c == chain).map(|(r, _)| *r);
        if let Some(request) = before {
            let first = !self.ended[chain].contains(&request);
            self.timed.push((id, request, first));
        }
    }

    /// The lines of what the second ring got.
    pub(super) fn mail(&self, mut cqes: Vec<Cqe>) -> Vec<String> {
        cqes.sort_by_key(|c| c.user_data);
        cqes.iter().map(|c| format!("the other ring: {}", self.line(c))).collect()
    }

    fn line(&self, c: &Cqe) -> String {
        let besides = if c.user_data < MESSAGES { "tag" } else { "message" };
        let what = self.entries.get(&c.user_data).map_or(besides, |e| op_name(e.op));
        let res = if c.flags & NOTIF != 0 {
            format!("{:#x}", c.res)
        } else if c.res < 0 {
            name(-c.res)
        } else if self.makes_descriptor(c.user_data) {
            "a descriptor".to_owned()
        } else {
            c.res.to_string()
        };
        let mut line = format!("#{} {what} = {res}", c.user_data);
        if c.flags != 0 {
            line += &format!(" flags={:#x}", c.flags);
        }
        // Of others it is what a NOP that was not told of left in the kernel's request.
        if c.big != [0; 2] && self.entries.get(&c.user_data).is_some_and(|e| e.op == op::NOP) {
            line += &format!(" big={:?}", c.big);
        }
        line
    }

    /// Whether a result that is no error is a number of the descriptor table.
    pub(super) fn makes_descriptor(&self, user_data: u64) -> bool {
        self.entries.get(&user_data).is_some_and(|e| {
            e.op == op::FIXED_FD_INSTALL
                || [op::OPENAT, op::OPENAT2, op::ACCEPT, op::SOCKET].contains(&e.op)
                    && e.file_index == 0
        })
    }

    /// The order within each chain of more than one member.
    pub(super) fn chains(&mut self) -> Vec<String> {
        self.timed.sort_unstable();
        let timed = self.timed.iter().map(|(id, request, first)| {
            let how = if *first { "before" } else { "after" };
            format!("#{id} ended {how} #{request}")
        });
        let chains = self
            .ended
            .iter()
            .filter(|c| c.iter().any(|m| *m != c[0]))
            .map(|c| format!("chain ended in the order {c:?}"));
        chains.chain(timed).collect()
    }
}
