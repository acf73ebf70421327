//! The table of rings: finds a ring by its name, and knows whether a call is in it.
//!
//! ```text
//!  RingId = generation | place      place: lock that callers share, ring or nothing
//!
//!   caller                               host: last descriptor gone
//!   shares the place's lock              ring locked: is the place's lock shared? -> not now
//!   ... its whole call ...
//!   lets go of it                        alone: the place is emptied
//! ```
//!
//! A call costs two atomic operations here, however many rings there are: the places never move, and
//! the lock that keeps the ring's memory is the count that teardown looks at. What it does not do: say
//! when a ring ends (`ring/teardown.rs`).

use crate::host::{Host, RingId};
use crate::primitive::GrowOnly;
use crate::ring::Ring;
use crate::sync::{Mutex, ReadGuard, Shared, SharedGuard, SharedMutGuard, mutex, shared};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU32, AtomicU64};
use ringer_uapi::Errno;

/// A ring that somebody is in: it is not torn down until this is dropped.
pub(crate) type Visit<'a, H> = SharedGuard<'a, H, Arc<Ring<H>>>;

/// A place in the table: nothing while it is free or a setup is under way.
type Place<H> = Shared<H, Option<Arc<Ring<H>>>>;

/// See the module's doc.
#[derive(Debug)]
pub(crate) struct Rings<H: Host> {
    places: GrowOnly<Place<H>>,
    /// Places that were given back.
    free: Mutex<H, Vec<u32>>,
    /// Places that are not free. Written with `free` locked.
    taken: AtomicU32,
    generation: AtomicU64,
}

/// The low bits of a [`RingId`] are its place in the table; the rest makes it unique.
const INDEX_BITS: u32 = 16;
/// Generations come round after 16 million setups: the host keeps 40 bits of a name.
const GENERATION_MASK: u64 = (1 << 24) - 1;

impl<H: Host> Default for Rings<H> {
    fn default() -> Self {
        Self {
            places: GrowOnly::new(),
            free: mutex(Vec::new()),
            taken: AtomicU32::new(0),
            generation: AtomicU64::new(1),
        }
    }
}

impl<H: Host> Rings<H> {
    /// Reserves a name for a new ring.
    ///
    /// # Errors
    /// `ENFILE`: 65,536 rings.
    pub(crate) fn reserve(&self) -> Result<RingId, Errno> {
        let mut free = self.free.lock();
        let index = match free.pop() {
            Some(index) => u64::from(index),
            None if self.places.count() >> INDEX_BITS != 0 => return Err(Errno::ENFILE),
            None => self.places.push(shared(None)) as u64,
        };
        self.taken.fetch_add(1, Relaxed);
        let generation = self.generation.fetch_add(1, Relaxed) & GENERATION_MASK;
        Ok(RingId(generation << INDEX_BITS | index))
    }

    /// Puts a ring at the place that was reserved for it.
    pub(crate) fn publish(&self, ring: Arc<Ring<H>>) {
        if let Some(place) = self.places.get(index_of(ring.id)) {
            *place.write() = Some(ring);
        }
    }

    /// The ring with this name, for a whole call.
    #[inline]
    pub(crate) fn visit(&self, id: RingId) -> Option<Visit<'_, H>> {
        let place = self.places.get(index_of(id))?.read();
        ReadGuard::<H, _>::try_map(place, |ring| ring.as_ref().filter(|r| r.id == id)).ok()
    }

    /// The ring with this name, which may end at any time.
    pub(crate) fn get(&self, id: RingId) -> Option<Arc<Ring<H>>> {
        self.visit(id).map(|ring| ring.clone())
    }

    /// Whether somebody is in a ring, or finds it just now.
    pub(crate) fn is_visited(&self, id: RingId) -> bool {
        self.places.get(index_of(id)).is_some_and(Place::<H>::is_locked)
    }

    /// The rings there are.
    pub(crate) fn all(&self) -> Vec<Arc<Ring<H>>> {
        self.places.iter().filter_map(|(_, place)| place.read().clone()).collect()
    }

    /// Shows those that nobody is alone with just now; each stays meanwhile.
    pub(crate) fn each_free(&self, mut look: impl FnMut(&Ring<H>)) {
        for (_, place) in self.places.iter() {
            if let Some(ring) = place.try_read().as_deref().and_then(Option::as_ref) {
                look(ring);
            }
        }
    }

    /// Whether there may be more than one ring.
    pub(crate) fn may_be_several(&self) -> bool {
        self.taken.load(Relaxed) > 1
    }

    /// Whether there is no ring, nor a setup under way.
    pub(crate) fn is_unused(&self) -> bool {
        self.taken.load(Relaxed) == 0
    }

    /// Frees a place, once nobody is in its ring; whether it was the last.
    pub(crate) fn forget(&self, id: RingId) -> bool {
        self.places.get(index_of(id)).is_some_and(|place| self.empty(id, place.write()))
    }

    /// As [`Rings::forget`]; `None` if somebody is in its ring.
    pub(crate) fn try_forget(&self, id: RingId) -> Option<bool> {
        Some(self.empty(id, self.places.get(index_of(id))?.try_write()?))
    }

    fn empty(&self, id: RingId, mut place: SharedMutGuard<'_, H, Option<Arc<Ring<H>>>>) -> bool {
        // Dropped after the locks are let go: it may be the last reference.
        let ring = place.take();
        drop(place);
        let mut free = self.free.lock();
        free.push(index_of(id) as u32);
        let last = self.taken.fetch_sub(1, Relaxed) == 1;
        drop(free);
        drop(ring);
        last
    }
}

fn index_of(id: RingId) -> usize {
    (id.0 & ((1 << INDEX_BITS) - 1)) as usize
}
