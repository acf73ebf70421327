//! The requests of a ring that wait: by key, and by user_data.
//!
//! ```text
//!   slab    [ 0 ][ 1 ][ 2 ][ 3 ] ...      Key = index and generation
//!             ^----older----'  ^
//!   chains  [ . ][ . ][ . ][ . ]          the newest of those whose user_data hashes here
//! ```
//!
//! There are as many chains as requests, or more, so that a cancel, an update or a removal by
//! user_data looks at those that have it and at few others, however many wait: poll.c
//! `io_poll_find` does so, timeout.c goes through a list. What it does not do: say what may be
//! cancelled, or in which order (`cancel` does).

use super::Req;
use crate::host::Host;
use crate::slab::{Key, Slab};
use alloc::vec;
use alloc::vec::Vec;

/// Chains of a ring in which something waits, at least.
const CHAINS_MIN: usize = 16;
/// No place.
const NONE: u32 = u32::MAX;
/// include/linux/hash.h `GOLDEN_RATIO_64`.
const GOLDEN_RATIO: u64 = 0x61c8_8646_80b5_83eb;

/// The kernel's hash of a number.
pub(crate) fn hash(value: u64) -> u64 {
    value.wrapping_mul(GOLDEN_RATIO)
}

#[derive(Debug)]
struct Waiting<H: Host> {
    req: Req<H>,
    /// What its chain goes by, whatever becomes of the request's.
    user_data: u64,
    /// When it came, among all that ever did.
    since: u64,
    /// Its neighbours' places.
    newer: u32,
    older: u32,
}

/// See the module's doc.
#[derive(Debug)]
pub struct Requests<H: Host> {
    slab: Slab<Waiting<H>>,
    /// Places; a power of two long, or empty.
    chains: Vec<u32>,
    came: u64,
}

impl<H: Host> Default for Requests<H> {
    fn default() -> Self {
        Self { slab: Slab::default(), chains: Vec::new(), came: 0 }
    }
}

impl<H: Host> Requests<H> {
    /// Stores a request. Its user_data stays as it is while it is here.
    #[inline(always)]
    pub fn insert(&mut self, req: Req<H>) -> Key {
        self.came += 1;
        if self.slab.len() >= self.chains.len() {
            self.grow();
        }
        let (user_data, since) = (req.user_data, self.came);
        let key = self.slab.insert(Waiting { req, user_data, since, newer: NONE, older: NONE });
        self.link(key, user_data);
        key
    }

    /// The request, unless it is gone.
    pub fn get(&self, key: Key) -> Option<&Req<H>> {
        self.slab.get(key).map(|w| &w.req)
    }

    /// The request, unless it is gone.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut Req<H>> {
        self.slab.get_mut(key).map(|w| &mut w.req)
    }

    /// Takes a request out; its key finds nothing from here on.
    #[inline(always)]
    pub fn remove(&mut self, key: Key) -> Option<Req<H>> {
        self.unlink(key)?;
        self.slab.remove(key).map(|w| w.req)
    }

    /// Puts a request behind all that came before, as if it had come just now.
    pub fn renew(&mut self, key: Key) {
        let Some(user_data) = self.unlink(key) else { return };
        self.came += 1;
        if let Some(w) = self.slab.get_mut(key) {
            w.since = self.came;
        }
        self.link(key, user_data);
    }

    /// How many requests wait.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// All of them, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &Req<H>)> {
        self.slab.iter().map(|(key, w)| (key, &w.req))
    }

    /// Those with this user_data, the newest first.
    pub fn of(&self, user_data: u64) -> impl Iterator<Item = (Key, &Req<H>)> {
        let newest = self.chains.get(self.chain(user_data)).copied().unwrap_or(NONE);
        core::iter::successors(self.slab.at(newest), |(_, w)| self.slab.at(w.older))
            .filter(move |(_, w)| w.user_data == user_data)
            .map(|(key, w)| (key, &w.req))
    }

    /// A number that grows with each that comes; 0 for one that is gone.
    pub fn since(&self, key: Key) -> u64 {
        self.slab.get(key).map_or(0, |w| w.since)
    }

    fn chain(&self, user_data: u64) -> usize {
        // The highest bits: they depend on all of the number's. With no chains, any is as good.
        let bits = self.chains.len().checked_ilog2().unwrap_or(1);
        (hash(user_data) >> (64 - bits)) as usize
    }

    /// Makes a request the newest of its chain.
    fn link(&mut self, key: Key, user_data: u64) {
        let chain = self.chain(user_data);
        let Some(newest) = self.chains.get_mut(chain) else { return };
        let older = core::mem::replace(newest, key.place());
        if let Some(w) = self.slab.at_mut(older) {
            w.newer = key.place();
        }
        if let Some(w) = self.slab.get_mut(key) {
            (w.newer, w.older) = (NONE, older);
        }
    }

    /// Takes a request out of its chain, whose neighbours are joined; answers what the chain goes by.
    fn unlink(&mut self, key: Key) -> Option<u64> {
        let (user_data, newer, older) =
            self.slab.get(key).map(|w| (w.user_data, w.newer, w.older))?;
        if let Some(w) = self.slab.at_mut(older) {
            w.newer = newer;
        }
        if let Some(w) = self.slab.at_mut(newer) {
            w.older = older;
            return Some(user_data);
        }
        let chain = self.chain(user_data);
        if let Some(newest) = self.chains.get_mut(chain) {
            *newest = older;
        }
        Some(user_data)
    }

    /// Twice as many chains.
    fn grow(&mut self) {
        let count = (2 * self.chains.len()).max(CHAINS_MIN);
        self.chains = vec![NONE; count];
        let mut all: Vec<(u64, Key, u64)> =
            self.slab.iter().map(|(key, w)| (w.since, key, w.user_data)).collect();
        // As they came: each becomes its chain's newest in turn.
        all.sort_unstable_by_key(|&(since, ..)| since);
        for (_, key, user_data) in all {
            self.link(key, user_data);
        }
    }
}
