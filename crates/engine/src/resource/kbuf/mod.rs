//! Provided buffers: groups that requests take a buffer of when they have something to put into it.
//!
//! ```text
//!  PROVIDE_BUFFERS      --> List: [addr, len, id] ...            taken from the front
//!  REGISTER_PBUF_RING   --> Ring: entries in memory, tail the application's, head ours
//!                             select: copy of entry[head]  -->  commit: head += n, or with INC
//!                                                               addr += n, len -= n there
//! ```
//!
//! The entries and the tail are the application's memory: each is copied once and checked then, and
//! goes to system calls that check it again. A ring of the kernel's own (`IOU_PBUF_RING_MMAP`) is
//! memory of the host's, of which only the address is known here.
//!
//! Source: 6.18 io_uring/kbuf.c. What it does not do: decide when a buffer is committed or given back
//! (`request::select` does), pin memory.

mod register;
mod ring;

use crate::host::{Host, Iovec};
use alloc::collections::btree_map::{BTreeMap, Entry};
use alloc::collections::vec_deque::VecDeque;
use alloc::vec::Vec;
use ring::BufRing;
use ringer_uapi::Errno;
use ringer_uapi::flags::CqeFlags;

/// `IORING_CQE_BUFFER_SHIFT`.
const BUFFER_SHIFT: u32 = 16;
/// Most buffers that one list holds (kbuf.c `io_add_buffers`).
const LISTED_MAX: usize = u16::MAX as usize;

/// A buffer of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) addr: u64,
    pub(crate) len: u32,
    pub(crate) id: u16,
}

#[derive(Debug)]
enum Group {
    List(VecDeque<Listed>),
    Ring(BufRing),
}

/// The groups of a ring, any of 65,536.
#[derive(Debug, Default)]
pub struct Groups(BTreeMap<u16, Group>);

/// What a request selected, before it is known what becomes of it.
#[derive(Debug)]
pub(crate) struct Selected {
    group: u16,
    id: u16,
    /// All of it \[bytes\].
    pub(crate) len: u64,
    /// Buffers.
    pub(crate) nr: u16,
    /// How long each is, of several.
    lens: Vec<u64>,
    listed: Option<Listed>,
    /// The group has no more (`REQ_F_BL_EMPTY`).
    pub(crate) last: bool,
    /// The last buffer was not taken whole (`IORING_RECV_PARTIAL_MAP`).
    pub(crate) partial: bool,
}

impl Selected {
    /// Whether it came out of a list.
    pub(crate) fn is_listed(&self) -> bool {
        self.listed.is_some()
    }

    /// How many of the buffers `n` bytes went into (net.c `io_bundle_nbufs`).
    pub(crate) fn nr_of(&self, n: u64) -> u16 {
        if self.lens.is_empty() {
            return self.nr;
        }
        let mut left = n;
        let used = |len: &&u64| {
            let goes_on = left > 0;
            left = left.saturating_sub(**len);
            goes_on
        };
        self.lens.iter().take_while(used).count() as u16
    }
}

/// What a request has: committed, or taken out of a list.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    group: u16,
    id: u16,
    /// Something of it is left in the ring.
    pub(crate) more: bool,
    listed: Option<Listed>,
}

impl Kept {
    /// The flags of its request's completion.
    pub(crate) fn cqe_flags(&self) -> u32 {
        let more = if self.more { CqeFlags::BUF_MORE } else { CqeFlags::empty() };
        (CqeFlags::BUFFER | more).bits() | u32::from(self.id) << BUFFER_SHIFT
    }

    /// Whether it can go back into a list.
    pub(crate) fn is_listed(&self) -> bool {
        self.listed.is_some()
    }
}

/// How many buffers, and of how many bytes together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peek {
    /// At most; 0: whatever is there.
    pub(crate) len: u64,
    /// Buffers at most.
    pub(crate) nr: usize,
    /// The same as `len` of one out of a list.
    pub(crate) listed_len: u64,
}

impl Groups {
    /// Selects one buffer, of `len` bytes or what it has (`io_buffer_select`).
    ///
    /// # Errors
    /// `ENOBUFS` none; `EFAULT` of the ring's memory.
    pub(crate) fn select<H: Host>(
        &mut self,
        host: &H,
        group: u16,
        len: u64,
    ) -> Result<(Iovec, Selected), Errno> {
        match self.0.get_mut(&group) {
            None => Err(Errno::ENOBUFS),
            Some(Group::Ring(ring)) => ring.select(host, group, len),
            Some(Group::List(list)) => take_listed(list, group, len),
        }
    }

    /// Selects as many as are asked for (`io_ring_buffers_peek`); of a list one.
    ///
    /// # Errors
    /// `ENOENT` no such group; `ENOBUFS` none, or one of no length; `EFAULT` of the ring's memory.
    pub(crate) fn peek<H: Host>(
        &mut self,
        host: &H,
        group: u16,
        ask: Peek,
    ) -> Result<(Vec<Iovec>, Selected), Errno> {
        match self.0.get_mut(&group) {
            None => Err(Errno::ENOENT),
            Some(Group::Ring(ring)) => ring.peek(host, group, ask),
            Some(Group::List(list)) => {
                take_listed(list, group, ask.listed_len).map(|(buf, s)| (Vec::from([buf]), s))
            }
        }
    }

    /// Takes what was selected: `len` bytes in `nr` buffers of it were used. Of a list it was taken
    /// already.
    pub(crate) fn commit<H: Host>(
        &mut self,
        host: &H,
        selected: &Selected,
        (len, nr): (u64, u16),
    ) -> Kept {
        let &Selected { group, id, listed, .. } = selected;
        let more = match self.0.get_mut(&group) {
            Some(Group::Ring(ring)) if listed.is_none() => ring.commit(host, len, nr),
            _ => false,
        };
        Kept { group, id, more, listed }
    }

    /// Whether it matters to a commit how much was used.
    pub(crate) fn goes_by_length(&self, selected: &Selected) -> bool {
        selected.listed.is_none()
            && matches!(self.0.get(&selected.group), Some(Group::Ring(ring)) if ring.inc)
    }

    /// Gives back what was selected and not committed: a ring's is still there.
    pub(crate) fn give_back(&mut self, selected: &Selected) {
        self.put_back(selected.group, selected.listed);
    }

    /// Gives back what came out of a list.
    pub(crate) fn recycle(&mut self, kept: &Kept) {
        self.put_back(kept.group, kept.listed);
    }

    /// kbuf.c `io_kbuf_recycle_legacy`: at the front, unless the group became something else.
    fn put_back(&mut self, group: u16, listed: Option<Listed>) {
        if let (Some(buf), Some(Group::List(list))) = (listed, self.0.get_mut(&group)) {
            list.push_front(buf);
        }
    }

    /// PROVIDE_BUFFERS: `nr` buffers, each `step` bytes behind the one before.
    ///
    /// # Errors
    /// `EINVAL` a ring's group; `EOVERFLOW` not even one more fits; `ENOMEM`.
    pub(crate) fn provide(
        &mut self,
        group: u16,
        first: Listed,
        (nr, step): (u32, u32),
    ) -> Result<(), Errno> {
        let list = match self.0.entry(group).or_insert_with(|| Group::List(VecDeque::new())) {
            Group::List(list) => list,
            Group::Ring(_) => return Err(Errno::EINVAL),
        };
        let fits = (LISTED_MAX - list.len().min(LISTED_MAX)).min(nr as usize);
        if fits == 0 {
            return Err(Errno::EOVERFLOW);
        }
        list.try_reserve(fits).map_err(|_| Errno::ENOMEM)?;
        let mut next = first;
        for _ in 0..fits {
            list.push_back(next);
            next.addr = next.addr.wrapping_add(u64::from(step));
            next.id = next.id.wrapping_add(1);
        }
        Ok(())
    }

    /// REMOVE_BUFFERS: up to `nr`; answers how many.
    ///
    /// # Errors
    /// `ENOENT` no such group; `EINVAL` a ring's.
    pub(crate) fn remove(&mut self, group: u16, nr: u32) -> Result<u32, Errno> {
        match self.0.get_mut(&group) {
            None => Err(Errno::ENOENT),
            Some(Group::Ring(_)) => Err(Errno::EINVAL),
            Some(Group::List(list)) => {
                let n = list.len().min(nr as usize);
                list.drain(..n);
                Ok(n as u32)
            }
        }
    }

    /// Makes room for a ring: a list that was emptied goes.
    ///
    /// # Errors
    /// `EEXIST`.
    fn vacate(&mut self, group: u16) -> Result<(), Errno> {
        match self.0.entry(group) {
            Entry::Vacant(_) => Ok(()),
            Entry::Occupied(old) => match old.get() {
                Group::List(list) if list.is_empty() => {
                    old.remove();
                    Ok(())
                }
                _ => Err(Errno::EEXIST),
            },
        }
    }

    /// A ring's group.
    ///
    /// # Errors
    /// `ENOENT` no such group; `EINVAL` a list's.
    fn ring(&self, group: u16) -> Result<&BufRing, Errno> {
        match self.0.get(&group) {
            None => Err(Errno::ENOENT),
            Some(Group::List(_)) => Err(Errno::EINVAL),
            Some(Group::Ring(ring)) => Ok(ring),
        }
    }
}

fn take_listed(
    list: &mut VecDeque<Listed>,
    group: u16,
    len: u64,
) -> Result<(Iovec, Selected), Errno> {
    let buf = list.pop_front().ok_or(Errno::ENOBUFS)?;
    let whole = u64::from(buf.len);
    let len = if len == 0 { whole } else { len.min(whole) };
    let (listed, last) = (Some(buf), list.is_empty());
    let (id, lens) = (buf.id, Vec::new());
    let selected = Selected { group, id, len, nr: 1, lens, listed, last, partial: false };
    Ok((Iovec { base: buf.addr, len }, selected))
}
