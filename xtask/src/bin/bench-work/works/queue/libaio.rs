//! io_submit(2) and io_getevents(2), as libaio makes them.
//!
//! A file that is not open with `O_DIRECT` is transferred while `io_submit` runs. The structures are those of
//! `include/uapi/linux/aio_abi.h`.

use super::{Queue, Transfers, What, whole};
use anyhow::{Result, ensure};

/// `struct iocb` for a little-endian machine.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Iocb {
    data: u64,
    key: u32,
    rw_flags: i32,
    opcode: u16,
    reqprio: i16,
    fildes: u32,
    buf: u64,
    nbytes: u64,
    offset: i64,
    reserved2: u64,
    flags: u32,
    resfd: u32,
}

/// `struct io_event`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Event {
    data: u64,
    obj: u64,
    res: i64,
    res2: i64,
}

const PREAD: u16 = 0;
const PWRITE: u16 = 1;
const FSYNC: u16 = 2;

/// An AIO context with what is queued for it.
pub(super) struct Context {
    id: u64,
    transfers: Transfers,
    slots: Vec<Iocb>,
    queued: Vec<usize>,
    events: Vec<Event>,
}

impl Context {
    pub(super) fn new(transfers: Transfers) -> Result<Self> {
        let slots = transfers.slots();
        let mut id = 0u64;
        // SAFETY: the call writes one word.
        let r = unsafe { libc::syscall(libc::SYS_io_setup, slots, &raw mut id) };
        ensure!(r == 0, "io_setup: {}", std::io::Error::last_os_error());
        let (iocbs, events) = (vec![Iocb::default(); slots], vec![Event::default(); slots]);
        Ok(Self { id, transfers, slots: iocbs, queued: Vec::new(), events })
    }

    fn submit(&mut self) -> Result<()> {
        let base = self.slots.as_mut_ptr();
        let mut all: Vec<_> = self.queued.drain(..).map(|slot| base.wrapping_add(slot)).collect();
        let mut rest = all.as_mut_slice();
        while !rest.is_empty() {
            // SAFETY: the pointers are to `slots`, whose buffers live as long as the context.
            let n = unsafe {
                libc::syscall(libc::SYS_io_submit, self.id, rest.len(), rest.as_mut_ptr())
            };
            ensure!(n > 0, "io_submit: {}", std::io::Error::last_os_error());
            rest = rest.get_mut(n as usize..).unwrap_or_default();
        }
        Ok(())
    }

    fn events(&mut self) -> Result<&[Event]> {
        let (room, to) = (self.events.len(), self.events.as_mut_ptr());
        let forever = std::ptr::null_mut::<libc::timespec>();
        // SAFETY: the array has room for that many.
        let n =
            unsafe { libc::syscall(libc::SYS_io_getevents, self.id, 1usize, room, to, forever) };
        ensure!(n > 0, "io_getevents: {}", std::io::Error::last_os_error());
        Ok(&self.events[..n as usize])
    }
}

impl Queue for Context {
    fn push(&mut self, slot: usize, block: u64) -> Result<()> {
        let t = &self.transfers;
        self.slots[slot] = Iocb {
            data: slot as u64,
            opcode: if t.what == What::Read { PREAD } else { PWRITE },
            fildes: t.fd().cast_unsigned(),
            buf: t.at(slot) as u64,
            nbytes: t.len as u64,
            offset: (block * t.len as u64).cast_signed(),
            ..Iocb::default()
        };
        self.queued.push(slot);
        Ok(())
    }

    fn wait(&mut self, done: &mut Vec<usize>) -> Result<()> {
        self.submit()?;
        let len = self.transfers.len;
        for event in self.events()? {
            whole(event.res, len)?;
            done.push(event.data as usize);
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let fildes = self.transfers.fd().cast_unsigned();
        self.slots[0] = Iocb { opcode: FSYNC, fildes, ..Iocb::default() };
        self.queued.push(0);
        self.submit()?;
        whole(self.events()?[0].res, 0)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the context is this one's; the call waits for what is under way.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.id) };
    }
}
