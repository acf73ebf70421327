//! What is done to a file as a whole or to a range of it, in RAM, its extended attributes, and advice
//! about memory.
//!
//! What it does not do: keep anything on a disk. What is advised shows in what is cached.

use crate::host::SimHost;
use crate::names::Node;
use crate::object::{Body, RamFile};
use crate::sched::lock;
use ringer_engine::host::{Attributed, HostResult, Iovec};
use ringer_uapi::Errno;
use std::sync::{Arc, Mutex};

const KEEP_SIZE: u32 = 1;
const PUNCH_HOLE: u32 = 2;
/// No file here is longer \[bytes\].
const LONGEST: u64 = 1 << 24;
const WILLNEED: u32 = 3;
const DONTNEED: u32 = 4;
const XATTR_CREATE: u32 = 1;
const XATTR_REPLACE: u32 = 2;
const NOREUSE: u32 = 5;

impl SimHost {
    /// The regular file behind a descriptor; `no_such` says what else is there.
    fn regular(&self, fd: i32, no_such: Errno) -> HostResult<Arc<Mutex<RamFile>>> {
        match &self.open(fd)?.body {
            Body::Regular { file, .. } => Ok(file.clone()),
            _ => Err(no_such),
        }
    }

    pub(crate) fn sync_range(&self, fd: i32, off: u64, flags: u32) -> HostResult<()> {
        self.app_call("sync_file_range", fd)?;
        if flags > 7 || off > i64::MAX as u64 {
            return Err(Errno::EINVAL);
        }
        self.regular(fd, Errno::ESPIPE).map(drop)
    }

    pub(crate) fn allocate(&self, fd: i32, mode: u32, off: u64, len: u64) -> HostResult<()> {
        self.app_call("fallocate", fd)?;
        let end = off.checked_add(len).filter(|_| len != 0).ok_or(Errno::EINVAL)?;
        if mode & !(KEEP_SIZE | PUNCH_HOLE) != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let file = self.regular(fd, Errno::ESPIPE)?;
        if end > LONGEST {
            return Err(Errno::EFBIG);
        }
        let (mut f, end) = (lock(&file), end as usize);
        if mode & PUNCH_HOLE != 0 {
            let to = end.min(f.data.len());
            let from = (off as usize).min(to);
            f.data[from..to].fill(0);
        } else if mode & KEEP_SIZE == 0 && f.data.len() < end {
            f.data.resize(end, 0);
        }
        Ok(())
    }

    pub(crate) fn truncate(&self, fd: i32, len: u64) -> HostResult<()> {
        self.app_call("ftruncate", fd)?;
        let file = self.regular(fd, Errno::EINVAL)?;
        if len > LONGEST {
            return Err(if len > i64::MAX as u64 { Errno::EINVAL } else { Errno::EFBIG });
        }
        let mut f = lock(&file);
        f.data.resize(len as usize, 0);
        f.cached = f.cached.min(len as usize);
        Ok(())
    }

    pub(crate) fn advise_file(&self, fd: i32, advice: u32) -> HostResult<()> {
        self.app_call("fadvise", fd)?;
        let file = self.regular(fd, Errno::ESPIPE)?;
        let mut f = lock(&file);
        match advice {
            0..WILLNEED | NOREUSE => {}
            WILLNEED => f.cached = f.data.len(),
            DONTNEED => f.cached = 0,
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }

    pub(crate) fn advise_memory(&self, addr: u64, len: u64, advice: u32) -> HostResult<()> {
        self.app_call("madvise", -1)?;
        if advice > DONTNEED || !addr.is_multiple_of(4096) {
            return Err(Errno::EINVAL);
        }
        let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
        lock(&self.world).read(addr, len).map(drop).map_err(|_| Errno::ENOMEM)
    }

    /// What has attributes; `no_such` says what else is there.
    fn attributed(&self, whom: Attributed<'_>, no_such: Errno) -> HostResult<Arc<Mutex<RamFile>>> {
        let path = match whom {
            Attributed::File(fd) => return self.regular(fd, no_such),
            Attributed::Path(path) => path,
        };
        match lock(&self.world).names.get(path) {
            Some(Node::File(file)) => Ok(file.clone()),
            Some(_) => Err(no_such),
            None => Err(Errno::ENOENT),
        }
    }

    pub(crate) fn set_attribute(
        &self,
        whom: Attributed<'_>,
        name: &[u8],
        value: &[u8],
        flags: u32,
    ) -> HostResult<()> {
        self.app_call("setxattr", -1)?;
        let file = self.attributed(whom, Errno::EPERM)?;
        let mut f = lock(&file);
        match (flags, f.xattrs.contains_key(name)) {
            (XATTR_CREATE, true) => Err(Errno::EEXIST),
            (XATTR_REPLACE, false) => Err(Errno::ENODATA),
            _ => {
                f.xattrs.insert(name.to_vec(), value.to_vec());
                Ok(())
            }
        }
    }

    pub(crate) fn get_attribute(
        &self,
        whom: Attributed<'_>,
        name: &[u8],
        to: Iovec,
    ) -> HostResult<u32> {
        self.app_call("getxattr", -1)?;
        let file = self.attributed(whom, Errno::ENODATA)?;
        let value = lock(&file).xattrs.get(name).cloned().ok_or(Errno::ENODATA)?;
        if to.len == 0 {
            return Ok(value.len() as u32);
        }
        if (to.len as usize) < value.len() {
            return Err(Errno::ERANGE);
        }
        lock(&self.world).write(to.base, &value)?;
        Ok(value.len() as u32)
    }
}
