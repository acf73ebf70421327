//! The region that a program registers with a ring (`IORING_REGISTER_MEM_REGION`).
//!
//! ```text
//!  the caller's memory      shared: an alias of ours; private: used in place, kept at its munmap
//!  of the ring's own        a memfd in the shelf's table, mapped at OFF_PARAM_REGION
//! ```
//! What it does not do: keep the ring alive while only this is mapped.

use ringer_ring::Map;
use ringer_uapi::Errno;

use super::memory::{self, create_memfd, drop_user_region, pages, user_region};
use crate::pin;
use crate::raw::{self, SysResult, general as g};

/// Largest region of the ring's own \[bytes\]: the kernel has to find pages for all of it.
const OWN_MAX: u64 = 1 << 30;

/// See the module's doc.
#[derive(Debug)]
pub(super) struct Region {
    map: Map,
    from: From,
}

#[derive(Clone, Copy, Debug)]
enum From {
    /// A number of the shelf's.
    Memfd(i32),
    /// The caller's memory; whether it is an alias of ours.
    User(bool),
}

impl Region {
    /// The caller's.
    ///
    /// # Errors
    /// `EFAULT` memory that could not be pinned; `ENOMEM` more than may be.
    pub(super) fn user(at: u64, len: u64) -> SysResult<Self> {
        pin::check(at, len)?;
        let len = usize::try_from(len).map_err(|_| Errno::EFAULT)?;
        let (map, alias) = user_region((at, len))?;
        Ok(Self { map, from: From::User(alias) })
    }

    /// How much memory of its own a ring is given for `len`, asked for by the calling thread.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn size_of_own(len: u64) -> SysResult<usize> {
        if len > OWN_MAX.min(pin::memlock()) {
            return Err(Errno::ENOMEM);
        }
        usize::try_from(len).map_err(|_| Errno::ENOMEM)
    }

    /// Of the ring's own. On the shelf's thread.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn own(size: usize) -> SysResult<Self> {
        let fd = create_memfd().map_err(|_| Errno::ENOMEM)?;
        let seals = (g::F_SEAL_SHRINK | g::F_SEAL_GROW) as usize;
        let map = raw::ftruncate(fd, pages(size) as u64)
            .and_then(|()| raw::fcntl(fd, g::F_ADD_SEALS, seals))
            .and_then(|_| memory::view(fd, 0, size));
        match map {
            Ok(map) => Ok(Self { map, from: From::Memfd(fd) }),
            Err(_) => {
                let _ = raw::close(fd);
                Err(Errno::ENOMEM)
            }
        }
    }

    pub(super) fn map(&self) -> &Map {
        &self.map
    }

    /// Its number in the shelf's table.
    pub(super) fn number(&self) -> Option<i32> {
        match self.from {
            From::Memfd(fd) => Some(fd),
            From::User(_) => None,
        }
    }

    /// Lets the memory go; the number is to be closed. Nothing may use it any more.
    pub(super) fn unmap(&self) {
        match self.from {
            From::Memfd(_) => memory::unmap(&self.map),
            From::User(alias) => drop_user_region(&self.map, alias),
        }
    }
}
