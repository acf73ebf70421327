//! Names in RAM: one flat directory of files, directories and symbolic links.
//!
//! What it does not do: paths of more than one member, permissions, resolution of links.

use crate::host::SimHost;
use crate::object::{Open, RamFile};
use crate::sched::lock;
use crate::world::Entry;
use ringer_engine::host::HostResult;
use ringer_uapi::Errno;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

const O_CREAT: u64 = 0o100;
const O_TRUNC: u64 = 0o1000;
const RESOLVE_CACHED: u64 = 0x20;
const AT_REMOVEDIR: u32 = 0x200;
const RENAME_NOREPLACE: u32 = 1;
const STATX_SIZE_AT: usize = 40;
/// `sizeof(struct statx)`.
pub(crate) const STATX_LEN: usize = 256;

/// What a name names.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    File(Arc<Mutex<RamFile>>),
    Directory,
    Link,
}

impl SimHost {
    pub(crate) fn open_name(&self, path: &[u8], how: [u64; 3]) -> HostResult<i32> {
        self.app_call("openat2", -1)?;
        let [flags, _, resolve] = how;
        if resolve & RESOLVE_CACHED != 0 && (self.cold_names.load(Relaxed) || self.forgets()) {
            return Err(Errno::EAGAIN);
        }
        let mut w = lock(&self.world);
        let fresh = || Node::File(Arc::default());
        let node = match w.names.get(path) {
            Some(node) => node.clone(),
            None if flags & O_CREAT != 0 => {
                w.names.entry(path.to_vec()).or_insert_with(fresh).clone()
            }
            None => return Err(Errno::ENOENT),
        };
        let file = match node {
            Node::File(file) => file,
            Node::Directory => return Err(Errno::EISDIR),
            Node::Link => return Err(Errno::ELOOP),
        };
        if flags & O_TRUNC != 0 {
            *lock(&file) = RamFile::default();
        }
        w.install(Entry::Open(Open::regular(file)))
    }

    pub(crate) fn stat_name(&self, path: &[u8], buf: u64) -> HostResult<()> {
        self.app_call("statx", -1)?;
        let mut w = lock(&self.world);
        let size = match w.names.get(path).ok_or(Errno::ENOENT)? {
            Node::File(file) => lock(file).data.len() as u64,
            Node::Directory | Node::Link => 0,
        };
        let mut out = [0u8; STATX_LEN];
        out[STATX_SIZE_AT..STATX_SIZE_AT + 8].copy_from_slice(&size.to_ne_bytes());
        w.write(buf, &out)
    }

    pub(crate) fn unlink_name(&self, path: &[u8], flags: u32) -> HostResult<()> {
        self.app_call("unlinkat", -1)?;
        let mut w = lock(&self.world);
        let directory = matches!(w.names.get(path).ok_or(Errno::ENOENT)?, Node::Directory);
        match (directory, flags & AT_REMOVEDIR != 0) {
            (true, false) => Err(Errno::EISDIR),
            (false, true) => Err(Errno::ENOTDIR),
            _ => w.names.remove(path).map(drop).ok_or(Errno::ENOENT),
        }
    }

    pub(crate) fn rename_name(&self, from: &[u8], to: &[u8], flags: u32) -> HostResult<()> {
        self.app_call("renameat2", -1)?;
        let mut w = lock(&self.world);
        if !w.names.contains_key(from) {
            return Err(Errno::ENOENT);
        }
        if flags & RENAME_NOREPLACE != 0 && w.names.contains_key(to) {
            return Err(Errno::EEXIST);
        }
        if let Some(node) = w.names.remove(from) {
            w.names.insert(to.to_vec(), node);
        }
        Ok(())
    }

    /// Gives a free name to a node.
    pub(crate) fn make_name(&self, call: &'static str, path: &[u8], node: Node) -> HostResult<()> {
        self.app_call(call, -1)?;
        let mut w = lock(&self.world);
        if w.names.contains_key(path) {
            return Err(Errno::EEXIST);
        }
        w.names.insert(path.to_vec(), node);
        Ok(())
    }

    pub(crate) fn link_name(&self, from: &[u8], to: &[u8]) -> HostResult<()> {
        let node = lock(&self.world).names.get(from).cloned().ok_or(Errno::ENOENT)?;
        match node {
            Node::Directory => Err(Errno::EPERM),
            node => self.make_name("linkat", to, node),
        }
    }
}
