//! `O_DIRECT` transfers: the host carries them out while no thread waits in them.
//!
//! ```text
//!  issue --> batch --before anything else starts or is seen--> host --> Phase::Aio
//!              |  no room: stays, its file held                  |
//!              '<------------- room again ----- reap <--- edge in the ring's poller
//! ```
//!
//! A batch is handed over in one call, before another request could close a descriptor and before
//! anybody could learn that the entries were taken. What the host has is past every cancel, as in the
//! kernel, where the block layer has it. A ring without a place for transfers (the host is out of
//! them) sends what would wait to workers. What it does not do: IOPOLL rings (`opcode::rw` finishes
//! these at once).

use super::{Linked, Phase, Req, ReqFile};
use crate::engine::Engine;
use crate::host::{Aio as _, AioDone, AioOp, Host, HostFile};
use crate::ring::{Ring, State};
use crate::slab::Key;
use alloc::sync::Arc;
use alloc::vec::Vec;
use ringer_uapi::Errno;
use ringer_uapi::flags::SqeFlags;

/// What the ring's poller reports ends under; no key of a watch has these bits.
pub(crate) const TOKEN: u64 = u64::MAX - 1;
/// Transfers of one ring that the host may have at once, at least and at most: each counts against
/// the host's fs.aio-max-nr.
const ENTRIES: (u32, u32) = (32, 128);
/// Ends taken at once.
const BATCH: usize = 64;

/// A ring's place for transfers.
#[derive(Debug, Default)]
enum Place<A> {
    #[default]
    Unasked,
    Had(Arc<A>),
    /// Not to be had.
    None,
}

/// See the module's doc.
#[derive(Debug)]
pub struct Transfers<H: Host> {
    place: Place<H::Aio>,
    /// To be handed over, in order.
    batch: Vec<Key>,
    /// Those that found no room.
    waiting: Vec<Key>,
    in_flight: u32,
}

impl<H: Host> Default for Transfers<H> {
    fn default() -> Self {
        Self { place: Place::Unasked, batch: Vec::new(), waiting: Vec::new(), in_flight: 0 }
    }
}

impl<H: Host> Transfers<H> {
    /// Whether something has to be handed over before anything else happens.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        !self.batch.is_empty()
    }

    /// Whether the host has some.
    #[inline]
    pub(crate) fn in_flight(&self) -> bool {
        self.in_flight > 0
    }

    /// Whether nothing is left of any.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.batch.is_empty() && self.waiting.is_empty()
    }
}

impl<H: Host> Engine<H> {
    /// Has the host carry out a transfer.
    #[inline]
    pub(crate) fn queue_aio(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, mut req: Req<H>) {
        if matches!(st.aio.place, Place::None) {
            return self.punt(ring, st, req);
        }
        if req.flags.contains(SqeFlags::FIXED_FILE)
            && let Err(e) = self.find_file(st, &mut req)
        {
            return self.complete(ring, st, req, Err(e), 0);
        }
        let key = match req.linked {
            Linked::None => {
                req.phase = Phase::Aio;
                req.trail.reached(&req.phase);
                st.reqs.insert(req)
            }
            _ => self.park(ring, st, req, Phase::Aio),
        };
        st.aio.batch.push(key);
        st.polled += 1;
    }

    /// Hands over what is due.
    #[cold]
    pub(crate) fn hand_over(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        let keys = core::mem::take(&mut st.aio.batch);
        self.tell_care_of_wait(st);
        self.need_care(ring, st);
        if st.leader == 0 && st.sleepers > 0 {
            // Whoever sleeps now must look at the poller instead.
            self.wake_waiters(ring, st, true);
        }
        if st.aio.waiting.is_empty() {
            self.start_transfers(ring, st, &keys);
        } else {
            self.hold_back(ring, st, &keys);
        }
    }

    fn place_of(&self, st: &mut State<H>) -> Option<Arc<H::Aio>> {
        if matches!(st.aio.place, Place::Unasked) {
            let entries = st.geo.sq_entries.clamp(ENTRIES.0, ENTRIES.1);
            let poller = self.poller_of(st);
            let place = poller.and_then(|p| self.host().aio(&p, TOKEN, entries));
            st.aio.place = place.map_or(Place::None, |place| Place::Had(Arc::new(place)));
        }
        match &st.aio.place {
            Place::Had(place) => Some(place.clone()),
            Place::Unasked | Place::None => None,
        }
    }

    fn start_transfers(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, mut keys: &[Key]) {
        let Some(place) = self.place_of(st) else {
            keys.iter().for_each(|&key| self.to_worker(ring, st, key));
            return;
        };
        while !keys.is_empty() {
            let ops: Vec<AioOp<'_>> = keys.iter().map(|&key| op_of(st, key)).collect();
            let (taken, why) = place.submit(&ops);
            st.aio.in_flight += taken as u32;
            keys = keys.get(taken..).unwrap_or(&[]);
            // What could not go on without waiting has ended, and its number still names its file.
            self.take_ends(ring, st, &place, true);
            match why {
                Some(Errno::EAGAIN) if st.aio.in_flight() => {
                    return self.hold_back(ring, st, keys);
                }
                Some(_) => {
                    // A worker's call says what is wrong with it.
                    let Some((&first, rest)) = keys.split_first() else { return };
                    self.to_worker(ring, st, first);
                    keys = rest;
                }
                None => {}
            }
        }
    }

    /// Keeps what found no room, with the file that its number names now.
    fn hold_back(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, keys: &[Key]) {
        for &key in keys {
            let Some(req) = st.reqs.get_mut(key) else { continue };
            let held = match req.file {
                ReqFile::None => {
                    self.host().hold(req.fd).map(|file| req.file = ReqFile::Held(file))
                }
                _ => Ok(()),
            };
            match held {
                Ok(()) => st.aio.waiting.push(key),
                Err(_) => self.to_worker(ring, st, key),
            }
        }
    }

    fn to_worker(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, key: Key) {
        if let Some(mut req) = st.reqs.remove(key) {
            st.polled -= 1;
            req.phase = Phase::Fresh;
            self.punt(ring, st, req);
        }
    }

    /// Completes what has ended, and hands over what waits for room.
    pub(crate) fn reap_transfers(&self, ring: &Arc<Ring<H>>, st: &mut State<H>) {
        let Place::Had(place) = &st.aio.place else { return };
        let place = place.clone();
        self.take_ends(ring, st, &place, false);
        if !st.aio.waiting.is_empty() {
            let keys = core::mem::take(&mut st.aio.waiting);
            self.start_transfers(ring, st, &keys);
        }
    }

    fn take_ends(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, place: &H::Aio, fresh: bool) {
        let mut done = [AioDone::default(); BATCH];
        loop {
            let n = place.reap(&mut done);
            for end in done.get(..n).unwrap_or(&[]) {
                self.end_transfer(ring, st, *end, fresh);
            }
            if n < BATCH {
                return;
            }
        }
    }

    /// Ends one. `fresh`: nothing else has happened since it was handed over.
    fn end_transfer(&self, ring: &Arc<Ring<H>>, st: &mut State<H>, end: AioDone, fresh: bool) {
        let key = Key::from_bits(end.token);
        // The program could write to where the ends come from.
        if !st.reqs.get(key).is_some_and(|r| matches!(r.phase, Phase::Aio)) {
            return;
        }
        let Some(mut req) = st.reqs.remove(key) else { return };
        st.aio.in_flight = st.aio.in_flight.saturating_sub(1);
        st.polled -= 1;
        let known = fresh || !matches!(req.file, ReqFile::None);
        if end.res == Err(Errno::EAGAIN) && !req.is_nowait() && known {
            // rw.c `io_rw_should_reissue`. The device says so in the call that hands over; later, a
            // plain number may be another file's.
            req.phase = Phase::Fresh;
            return self.punt(ring, st, req);
        }
        self.complete_here(ring, st, req, end.res.map(|n| n as i32), 0);
    }
}

/// What the host is to do. A request without a number here is refused there, and gets a worker.
fn op_of<H: Host>(st: &State<H>, key: Key) -> AioOp<'_> {
    let req = st.reqs.get(key);
    let fd = req.map_or(-1, |r| match r.file.file() {
        Some(file) => file.number().unwrap_or(-1),
        None => r.fd,
    });
    let nothing = AioOp { token: key.bits(), fd, iov: &[], off: 0, rwf: 0, write: false };
    req.and_then(Req::rw).map_or(nothing, |rw| AioOp { fd, ..rw.whole(key.bits()) })
}
