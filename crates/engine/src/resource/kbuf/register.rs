//! Registration of buffer rings: `IORING_REGISTER_PBUF_RING` (since 5.19), `UNREGISTER_PBUF_RING`,
//! `REGISTER_PBUF_STATUS` (since 6.8).
//!
//! Order of checks: 6.18 kbuf.c `io_register_pbuf_ring`, `io_unregister_pbuf_ring`,
//! `io_register_pbuf_status`, memmap.c `io_create_region`.

use super::Group;
use super::ring::BufRing;
use crate::engine::Engine;
use crate::host::{Host, HostRing};
use crate::ring::{Ring, State};
use crate::support::opflags::{PBUF_RING_ACCEPTED, PBUF_RING_INC, PBUF_RING_MMAP};
use ringer_uapi::Errno;
use ringer_uapi::bytes::{all_zero, put_u32, u16_at, u32_at, u64_at};

const PAGE: u64 = 4096;
/// `sizeof(struct io_uring_buf_reg)` and `sizeof(struct io_uring_buf_status)` \[bytes\].
const ARG: usize = 40;
/// Head and tail of as many could not be told apart.
const ENTRIES_END: u32 = 1 << 16;

/// `struct io_uring_buf_reg`.
struct Reg {
    addr: u64,
    entries: u32,
    group: u16,
    flags: u16,
    min_left: u32,
}

impl<H: Host> Engine<H> {
    /// # Errors
    /// `EFAULT`; `EINVAL` reserved words.
    fn buf_reg(&self, arg: u64) -> Result<Reg, Errno> {
        let mut b = [0; ARG];
        self.host().copy_in(arg, &mut b)?;
        if !all_zero(b.get(20..).unwrap_or(&[])) {
            return Err(Errno::EINVAL);
        }
        Ok(Reg {
            addr: u64_at(&b, 0),
            entries: u32_at(&b, 8),
            group: u16_at(&b, 12),
            flags: u16_at(&b, 14),
            min_left: u32_at(&b, 16),
        })
    }

    /// `IORING_REGISTER_PBUF_RING`.
    ///
    /// # Errors
    /// `EFAULT` address 0, memory that could not be pinned; `EINVAL` reserved words, unknown flags, a
    /// number of entries, an unaligned address, `min_left` without INC; `EEXIST`; `ENOMEM`.
    pub(in crate::resource) fn register_pbuf_ring(
        &self,
        ring: &Ring<H>,
        st: &mut State<H>,
        arg: u64,
    ) -> Result<u32, Errno> {
        let reg = self.buf_reg(arg)?;
        let (own, inc) = (reg.flags & PBUF_RING_MMAP != 0, reg.flags & PBUF_RING_INC != 0);
        if reg.flags & !PBUF_RING_ACCEPTED != 0
            || !reg.entries.is_power_of_two()
            || reg.entries >= ENTRIES_END
            || reg.min_left != 0 && !inc
        {
            return Err(Errno::EINVAL);
        }
        st.kbufs.vacate(reg.group)?;
        let len = (16 * u64::from(reg.entries)).next_multiple_of(PAGE);
        let at = if own {
            ring.mem.add_buf_ring(reg.group, len)?
        } else {
            self.check_buf_ring(reg.addr, len)?;
            reg.addr
        };
        let (mask, min_left) = ((reg.entries - 1) as u16, reg.min_left);
        let made = BufRing { at, mask, head: 0, inc, min_left, own };
        st.kbufs.0.insert(reg.group, Group::Ring(made));
        Ok(0)
    }

    fn check_buf_ring(&self, addr: u64, len: u64) -> Result<(), Errno> {
        if addr == 0 {
            return Err(Errno::EFAULT);
        }
        if !addr.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL);
        }
        addr.checked_add(len).ok_or(Errno::EOVERFLOW)?;
        self.host().check_pinnable(addr, len)
    }

    /// `IORING_UNREGISTER_PBUF_RING`.
    ///
    /// # Errors
    /// `EFAULT`; `EINVAL` reserved words, flags, a list's group; `ENOENT`.
    pub(in crate::resource) fn unregister_pbuf_ring(
        &self,
        ring: &Ring<H>,
        st: &mut State<H>,
        arg: u64,
    ) -> Result<u32, Errno> {
        let reg = self.buf_reg(arg)?;
        if reg.flags != 0 {
            return Err(Errno::EINVAL);
        }
        let own = st.kbufs.ring(reg.group)?.own;
        st.kbufs.0.remove(&reg.group);
        if own {
            ring.mem.drop_buf_ring(reg.group);
        }
        Ok(0)
    }

    /// `IORING_REGISTER_PBUF_STATUS`: tells a ring's head.
    ///
    /// # Errors
    /// `EFAULT`; `EINVAL` reserved words, a list's group; `ENOENT`.
    pub(in crate::resource) fn pbuf_status(&self, st: &State<H>, arg: u64) -> Result<u32, Errno> {
        let mut b = [0; ARG];
        self.host().copy_in(arg, &mut b)?;
        if !all_zero(b.get(8..).unwrap_or(&[])) {
            return Err(Errno::EINVAL);
        }
        // Only 16 of its 32 bits name a group.
        let group = u16::try_from(u32_at(&b, 0)).map_err(|_| Errno::ENOENT)?;
        put_u32(&mut b, 4, u32::from(st.kbufs.ring(group)?.head));
        self.host().copy_out(arg, &b)?;
        Ok(0)
    }
}
