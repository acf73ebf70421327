//! Personalities: credentials that were registered, for entries that name them.
//!
//! ```text
//!  PERSONALITY -- clone --> stand-in thread, with the credentials of then for good
//!  entry that names it: thread with equal credentials -> started there, as any
//!                       any other -> [stand-in's queue] -> started there; workers are its clones
//! ```
//!
//! Credentials belong to threads: a stand-in is a follower (`request::iowq`) under an identity that is
//! its own, made by the thread that registers, so that nothing the program does later reaches it. What
//! its requests set free (the rest of a chain, what a drain held back) it hands on to a follower of
//! whoever submitted them, and so do its workers: nothing else runs with its credentials. Registering
//! the same credentials again shares it; it ends some time after the last ring and request that has it.
//!
//! Source: 6.18 io_uring/register.c `io_register_personality`, io_uring.c `io_init_req`,
//! `__io_issue_sqe`. What it does not do: compare credentials itself (the host does).

use crate::engine::Engine;
use crate::host::{Credentials, Host, Identity};
use crate::request::iowq::Expected;
use crate::ring::State;
use crate::sync::{Mutex, mutex};
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use ringer_uapi::Errno;

/// How often credentials may change under a registration before it is given up.
const TRIES_MAX: u32 = 8;

/// See the module's doc.
#[derive(Debug)]
pub struct Personality<H: Host> {
    credentials: Credentials,
    /// Its stand-in's, which stays as long as this lives.
    stand_in: Expected<H>,
}

impl<H: Host> Personality<H> {
    /// What the host says of a thread that has them.
    pub(crate) fn credentials(&self) -> Credentials {
        self.credentials
    }

    /// The identity of its stand-in and of that one's workers.
    pub(crate) fn identity(&self) -> Identity {
        self.stand_in.identity()
    }
}

/// Those of a ring, by number.
#[derive(Debug)]
pub struct Personalities<H: Host> {
    all: BTreeMap<u16, Arc<Personality<H>>>,
    /// Where the next number is looked for: they go round.
    next: u16,
}

impl<H: Host> Default for Personalities<H> {
    fn default() -> Self {
        Self { all: BTreeMap::new(), next: 1 }
    }
}

impl<H: Host> Personalities<H> {
    /// The one with this number.
    pub(crate) fn get(&self, id: u16) -> Option<&Arc<Personality<H>>> {
        self.all.get(&id)
    }

    /// Gives it the next free number, from 1 on.
    fn insert(&mut self, who: Arc<Personality<H>>) -> Result<u16, Errno> {
        let from = self.next.max(1);
        let mut ids = (from..=u16::MAX).chain(1..from);
        let id = ids.find(|id| !self.all.contains_key(id)).ok_or(Errno::EBUSY)?;
        self.all.insert(id, who);
        self.next = id.wrapping_add(1);
        Ok(id)
    }
}

/// All that live, so that equal ones share a thread.
#[derive(Debug)]
pub(crate) struct Known<H: Host> {
    all: Mutex<H, Vec<Weak<Personality<H>>>>,
    next: AtomicU64,
}

impl<H: Host> Default for Known<H> {
    fn default() -> Self {
        Self { all: mutex(Vec::new()), next: AtomicU64::new(0) }
    }
}

impl<H: Host> Engine<H> {
    /// REGISTER_PERSONALITY: a number for the calling thread's credentials.
    ///
    /// # Errors
    /// `EBUSY`: 65,535 are registered. `EAGAIN`, `ENOMEM`: no thread to be had.
    pub(super) fn register_personality(&self, st: &mut State<H>) -> Result<u32, Errno> {
        let who = self.personality()?;
        st.personalities.insert(who).map(u32::from)
    }

    /// UNREGISTER_PERSONALITY. Requests under way keep it.
    ///
    /// # Errors
    /// `EINVAL`: no such number.
    pub(super) fn unregister_personality(&self, st: &mut State<H>, id: u32) -> Result<u32, Errno> {
        let id = u16::try_from(id).map_err(|_| Errno::EINVAL)?;
        st.personalities.all.remove(&id).map(|_| 0).ok_or(Errno::EINVAL)
    }

    fn personality(&self) -> Result<Arc<Personality<H>>, Errno> {
        // A reactor that a stand-in made first would have its credentials.
        self.ensure_reactor()?;
        for _ in 0..TRIES_MAX {
            let credentials = self.host().credentials();
            let mut all = self.known().all.lock();
            all.retain(|p| p.strong_count() > 0);
            let mut alive = all.iter().filter_map(Weak::upgrade);
            if let Some(same) = alive.find(|p| p.credentials == credentials) {
                return Ok(same);
            }
            drop(alive);
            drop(all);
            let identity = Identity::own(self.known().next.fetch_add(1, Relaxed));
            let stand_in = self.iowq().expect(self, identity)?;
            // libc may have changed them for all threads meanwhile: whose does the thread have?
            if self.host().credentials() == credentials {
                let who = Arc::new(Personality { credentials, stand_in });
                self.known().all.lock().push(Arc::downgrade(&who));
                return Ok(who);
            }
        }
        Err(Errno::EAGAIN)
    }
}

/// The personality that a request names.
#[derive(Debug)]
pub struct Creds<H: Host> {
    /// See [`Personality`].
    pub(crate) who: Arc<Personality<H>>,
    /// The follower of its submitter, since a stand-in has the request.
    pub(crate) origin: Option<Arc<Expected<H>>>,
}

/// Set while a stand-in, or a worker of one, holds a ring's lock to make progress.
#[derive(Debug)]
pub struct Acting<H: Host> {
    /// The identity it has.
    pub(crate) me: Identity,
    /// Who gets what is not its own.
    pub(crate) origin: Arc<Expected<H>>,
}

impl<H: Host> Clone for Acting<H> {
    fn clone(&self) -> Self {
        Self { me: self.me, origin: self.origin.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_of_its_own_is_no_hosts() {
        assert!(Identity::own(0).is_own() && !Identity::default().is_own());
        assert_ne!(Identity::own(0), Identity::own(1));
    }
}
