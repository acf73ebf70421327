//! One ring of buffers: `struct io_uring_buf_ring` in memory, and the head, which is ours.
//!
//! ```text
//!   +0  addr u64 | len u32 | id u16 | tail u16      entry 0, whose last half-word is the ring's tail
//!  +16  addr u64 | len u32 | id u16 | -             entry 1 ...
//! ```
//! Source: 6.18 kbuf.c `io_ring_buffer_select`, `io_ring_buffers_peek`, `io_kbuf_inc_commit`.

use super::{Peek, Selected};
use crate::host::{Host, Iovec};
use alloc::vec::Vec;
use core::sync::atomic::{Ordering, fence};
use ringer_uapi::Errno;
use ringer_uapi::bytes::{put_u32, put_u64, u16_at, u32_at, u64_at};

/// `sizeof(struct io_uring_buf)` \[bytes\].
const ENTRY: u64 = 16;
/// Where the tail is.
const TAIL: u64 = 14;
/// kbuf.c `PEEK_MAX_IMPORT`.
const PEEK_MAX: u64 = 256;
const UIO_MAXIOV: u16 = 1024;

/// See the module's doc.
#[derive(Debug)]
pub(super) struct BufRing {
    /// Where it lies.
    pub(super) at: u64,
    /// Entries, a power of two, less one.
    pub(super) mask: u16,
    pub(super) head: u16,
    /// `IOU_PBUF_RING_INC`.
    pub(super) inc: bool,
    /// With less than this left an incremental buffer is used up.
    pub(super) min_left: u32,
    /// The host's memory.
    pub(super) own: bool,
}

#[derive(Clone, Copy)]
struct Buf {
    addr: u64,
    len: u32,
    id: u16,
}

impl BufRing {
    /// How many buffers there are.
    fn ready<H: Host>(&self, host: &H) -> Result<u16, Errno> {
        let mut b = [0; 2];
        host.copy_in(self.at + TAIL, &mut b)?;
        // Pairs with the Release by which the application stores the tail behind its entries.
        fence(Ordering::Acquire);
        Ok(u16_at(&b, 0).wrapping_sub(self.head))
    }

    fn place(&self, head: u16) -> u64 {
        self.at + ENTRY * u64::from(head & self.mask)
    }

    fn entry<H: Host>(&self, host: &H, head: u16) -> Result<Buf, Errno> {
        let mut b = [0; ENTRY as usize];
        host.copy_in(self.place(head), &mut b)?;
        Ok(Buf { addr: u64_at(&b, 0), len: u32_at(&b, 8), id: u16_at(&b, 12) })
    }

    pub(super) fn select<H: Host>(
        &self,
        host: &H,
        group: u16,
        len: u64,
    ) -> Result<(Iovec, Selected), Errno> {
        let ready = self.ready(host)?;
        if ready == 0 {
            return Err(Errno::ENOBUFS);
        }
        let buf = self.entry(host, self.head)?;
        let whole = u64::from(buf.len);
        let len = if len == 0 { whole } else { len.min(whole) };
        let (id, last) = (buf.id, ready == 1);
        let (nr, lens, listed, partial) = (1, Vec::new(), None, false);
        let selected = Selected { group, id, len, nr, lens, listed, last, partial };
        Ok((Iovec { base: buf.addr, len }, selected))
    }

    pub(super) fn peek<H: Host>(
        &self,
        host: &H,
        group: u16,
        ask: Peek,
    ) -> Result<(Vec<Iovec>, Selected), Errno> {
        let ready = self.ready(host)?;
        let mut nr = usize::from(ready.min(UIO_MAXIOV));
        if nr == 0 {
            return Err(Errno::ENOBUFS);
        }
        let mut buf = self.entry(host, self.head)?;
        if ask.len > 0 {
            if buf.len == 0 {
                return Err(Errno::ENOBUFS);
            }
            nr = nr.min(ask.len.div_ceil(u64::from(buf.len)).min(PEEK_MAX) as usize);
        }
        nr = nr.min(ask.nr);
        let mut left = if ask.len > 0 { ask.len } else { i32::MAX as u64 };
        let first = buf;
        let (mut bufs, mut partial) = (Vec::with_capacity(nr), false);
        // How far the head would be (the kernel's is on the last one when the length ended it).
        let mut head = self.head;
        loop {
            let len = u64::from(buf.len).min(left);
            // Of a buffer that is taken as a whole no part, but for the first.
            let cut = len < u64::from(buf.len) && !self.inc;
            partial |= cut;
            if cut && !bufs.is_empty() {
                break;
            }
            bufs.push(Iovec { base: buf.addr, len });
            left -= len;
            if left == 0 {
                break;
            }
            head = head.wrapping_add(1);
            if bufs.len() == nr {
                break;
            }
            buf = self.entry(host, head)?;
        }
        let last = head == self.head.wrapping_add(ready);
        let len = bufs.iter().map(|b| b.len).sum();
        let (id, nr, listed) = (first.id, bufs.len() as u16, None);
        let lens = if nr > 1 { bufs.iter().map(|b| b.len).collect() } else { Vec::new() };
        Ok((bufs, Selected { group, id, len, nr, lens, listed, last, partial }))
    }

    /// Moves on. Answers whether something of the last buffer is left.
    pub(super) fn commit<H: Host>(&mut self, host: &H, len: u64, nr: u16) -> bool {
        if !self.inc {
            self.head = self.head.wrapping_add(nr);
            return false;
        }
        let mut left = len;
        // What was selected lies in as many entries at most, whatever they have become meanwhile.
        for _ in 0..=self.mask {
            if left == 0 {
                break;
            }
            let Ok(buf) = self.entry(host, self.head) else { return false };
            let part = left.min(u64::from(buf.len)) as u32;
            let rest = buf.len - part;
            let more = rest >= self.min_left.max(1) || part == 0;
            let mut b = [0; 12];
            put_u64(&mut b, 0, buf.addr.wrapping_add(u64::from(part)));
            put_u32(&mut b, 8, rest);
            if more {
                let _ = host.copy_out(self.place(self.head), &b);
                return true;
            }
            let _ = host.copy_out(self.place(self.head) + 8, &[0; 4]);
            self.head = self.head.wrapping_add(1);
            left -= u64::from(part);
        }
        len == 0
    }
}
