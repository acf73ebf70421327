//! `IORING_REGISTER_QUERY` (since 6.18): what this io_uring has, answered from the rows.
//!
//! ```text
//!  arg -> header { next, data, op, size, result, resv } -> next header -> ... -> NULL
//!                    '-> struct io_uring_query_opcode
//! ```
//! Source: 6.18 io_uring/query.c `io_query`, `io_handle_query_entry`. A header that is wrong has its
//! errno in `result`, and the call goes on; only memory and the length of the list end it.

use crate::engine::Engine;
use crate::host::Host;
use crate::support::carried_out;
use crate::support::rings::{ENTER, FEATURES_REPORTED, SETUP_ACCEPTED, SQE};
use ringer_uapi::bytes::{all_zero, put_u32, put_u64, u32_at, u64_at};
use ringer_uapi::{Errno, OP_COUNT, REGISTER_COUNT};

/// `sizeof(struct io_uring_query_hdr)` \[bytes\].
const HEADER: usize = 40;
/// `IO_MAX_QUERY_SIZE`: the longest answer \[bytes\].
const ANSWER_MAX: usize = 48;
/// `IO_MAX_QUERY_ENTRIES`.
const ENTRIES_MAX: u32 = 1000;
/// `__IO_URING_QUERY_MAX`: 6.18 knows one query, the opcodes'.
const QUERIES: u32 = 1;

/// What a longer answer's memory is cleared with, a page at a time.
static ZEROES: [u8; 4096] = [0; 4096];

/// `struct io_uring_query_opcode`.
fn opcodes() -> [u8; ANSWER_MAX] {
    let mut b = [0; ANSWER_MAX];
    put_u32(&mut b, 0, OP_COUNT as u32);
    put_u32(&mut b, 4, REGISTER_COUNT);
    put_u64(&mut b, 8, FEATURES_REPORTED.into());
    put_u64(&mut b, 16, SETUP_ACCEPTED.into());
    put_u64(&mut b, 24, const { carried_out(ENTER) }.into());
    put_u64(&mut b, 32, const { carried_out(SQE) }.into());
    put_u32(&mut b, 40, QUERIES);
    b
}

impl<H: Host> Engine<H> {
    /// Answers a list of queries; needs no ring.
    ///
    /// # Errors
    /// `EINVAL` `nr`; `EFAULT`; `ERANGE` a list of 1000 and more.
    pub(super) fn query(&self, arg: u64, nr: u32) -> Result<u32, Errno> {
        if nr != 0 {
            return Err(Errno::EINVAL);
        }
        let (mut at, mut count) = (arg, 0);
        while at != 0 {
            at = self.query_one(at)?;
            count += 1;
            if count >= ENTRIES_MAX {
                return Err(Errno::ERANGE);
            }
        }
        Ok(0)
    }

    /// One header. Returns the address of the next.
    fn query_one(&self, at: u64) -> Result<u64, Errno> {
        let mut header = [0; HEADER];
        self.host().copy_in(at, &mut header)?;
        let (next, data) = (u64_at(&header, 0), u64_at(&header, 8));
        let (op, size) = (u32_at(&header, 16), u32_at(&header, 20));
        let result_and_reserved = header.get(24..).unwrap_or(&[]);
        let answer = if op >= QUERIES {
            Err(Errno::EOPNOTSUPP)
        } else if size == 0 || !all_zero(result_and_reserved) {
            Err(Errno::EINVAL)
        } else {
            // What is there is read, though nothing of it means anything yet.
            let mut old = [0; ANSWER_MAX];
            let n = (size as usize).min(ANSWER_MAX);
            self.host().copy_in(data, old.get_mut(..n).unwrap_or(&mut []))?;
            Ok(opcodes())
        };
        let known = answer.map_or(0, |_| size.min(ANSWER_MAX as u32));
        self.answer_query((data, size), answer.as_ref().map_or(&[], |b| &b[..]), known)?;
        put_u32(&mut header, 20, known);
        put_u32(&mut header, 24, answer.err().map_or(0, |e| -e.raw()) as u32);
        self.host().copy_out(at, &header)?;
        Ok(next)
    }

    /// The answer, and zeroes in the rest of the caller's memory.
    fn answer_query(
        &self,
        (data, size): (u64, u32),
        answer: &[u8],
        known: u32,
    ) -> Result<(), Errno> {
        if size == 0 {
            // Nothing is written, wherever it would go.
            return Ok(());
        }
        let known = known as usize;
        self.host().copy_out(data, answer.get(..known).unwrap_or(&[]))?;
        let (mut at, end) = (known as u64, u64::from(size));
        while at < end {
            let n = (end - at).min(ZEROES.len() as u64);
            let zeroes = ZEROES.get(..n as usize).unwrap_or(&ZEROES);
            self.host().copy_out(data.wrapping_add(at), zeroes)?;
            at += n;
        }
        Ok(())
    }
}
