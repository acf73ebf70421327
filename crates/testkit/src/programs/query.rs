//! `IORING_REGISTER_QUERY`: what it answers agrees with setup, enter, the probe and itself.

use super::{Outcome, expect, must};
use crate::call;
use crate::os::{Buf, Errno, Sys};
use crate::ring::{Ring, reg, setup_call};
use ringer_uapi::Params;

const QUERY: u32 = 35;
/// Where a header's members are.
const SIZE: usize = 20;
/// See [`SIZE`].
const RESULT: usize = 24;
const RESERVED: usize = 28;
const ANSWER: u32 = 48;
const FILL: u8 = 0xaa;

/// A header and its data.
struct Query {
    header: Buf,
    data: Buf,
}

impl Query {
    fn new(op: u32, size: u32) -> Self {
        let data = Buf::of(&[FILL; 64]);
        let header = Buf::new(40);
        header.put64(8, data.addr());
        header.put64(16, u64::from(size) << 32 | u64::from(op));
        Self { header, data }
    }

    fn ask(&self, fd: i32) -> Sys<u64> {
        let fd = i64::from(fd) as u64;
        call::sys(call::REGISTER, [fd, u64::from(QUERY), self.header.addr(), 0, 0, 0])
    }

    /// The result and how much of the answer is known.
    fn said(&self) -> (i32, u32) {
        (self.header.load(RESULT).cast_signed(), self.header.load(SIZE))
    }

    fn byte(&self, at: usize) -> u8 {
        self.data.get(at, 1).first().copied().unwrap_or(0)
    }
}

/// Asks in every way, with a ring and without.
///
/// # Errors
/// What did not hold.
pub fn query(_: &str) -> Outcome {
    let ring = must("setup", Ring::new(8, 0))?;
    for fd in [ring.fd, -1] {
        let q = Query::new(0, ANSWER);
        expect("a query", q.ask(fd), Ok(0))?;
        expect("its result", q.said(), (0, ANSWER))?;
        agrees(&ring, &q)?;
    }
    sizes()?;
    refusals(&ring)?;
    lists()
}

/// The masks are those of the calls.
fn agrees(ring: &Ring, q: &Query) -> Outcome {
    let [features, setup, enter, sqe] = [8, 16, 24, 32].map(|at| q.data.get64(at));
    expect("opcodes and queries", (q.data.load(0), q.data.load(40)), (63, 1))?;
    expect("features", features, u64::from(ring.params.features))?;
    for bit in 0..32 {
        let flags = 1 << bit;
        let made = setup_call(4, &mut Params { flags, cq_entries: 8, ..Params::default() });
        if let Ok(fd) = made {
            let _ = crate::os::close(fd);
        }
        let named = setup & u64::from(flags) != 0;
        expect(
            &format!("setup takes bit {bit} only if it is named"),
            made.is_ok() && !named,
            false,
        )?;
    }
    // A flag of the mask gets past the flags to the descriptor.
    for bit in (0..32).filter(|bit| enter & 1 << bit != 0 && *bit != 4) {
        let seen = call::sys(call::ENTER, [999, 0, 0, 1 << bit, 0, 8]);
        expect(&format!("enter bit {bit}"), seen, Err(Errno(libc::EBADF)))?;
    }
    expect("bits beyond an SQE's flags", sqe & !0x7f, 0)?;
    let op = q.data.load(4);
    expect("the first operation that is none", ring.register(op, 0, 1), Err(Errno(libc::EINVAL)))?;
    let probe = Buf::new(16 + 8 * 256);
    expect("probe", ring.register(reg::PROBE, probe.addr(), 256), Ok(0))?;
    expect("the probe's last opcode", u32::from(probe.get(0, 1)[0]) + 1, q.data.load(0))
}

/// A short answer is cut, a long one is filled with zeroes.
fn sizes() -> Outcome {
    for (size, known, after) in [(1, 1, FILL), (12, 12, FILL), (48, 48, FILL), (60, 48, 0)] {
        let q = Query::new(0, size);
        expect("a query", q.ask(-1), Ok(0))?;
        expect("its size", q.said(), (0, known))?;
        expect("the first byte", q.byte(0), 63)?;
        let within = (known as usize).min(63);
        expect("the byte after", q.byte(within), after)?;
        expect("the last byte", q.byte(63), FILL)?;
    }
    Ok(())
}

/// What is wrong in a header is its result; what is wrong with memory ends the call.
fn refusals(ring: &Ring) -> Outcome {
    let unknown = Query::new(1, ANSWER);
    expect("an unknown query", unknown.ask(-1), Ok(0))?;
    expect("its result", unknown.said(), (-libc::EOPNOTSUPP, 0))?;
    expect("its memory", (unknown.byte(0), unknown.byte(48)), (0, FILL))?;
    let empty = Query::new(0, 0);
    expect("an answer of no size", empty.ask(-1), Ok(0))?;
    expect("its result", empty.said(), (-libc::EINVAL, 0))?;
    for at in [RESULT, RESERVED, RESERVED + 8] {
        let q = Query::new(0, ANSWER);
        q.header.store(at, 1);
        expect("a reserved member", q.ask(-1), Ok(0))?;
        expect("its result", q.said(), (-libc::EINVAL, 0))?;
    }
    let nowhere = Query::new(0, ANSWER);
    nowhere.header.put64(8, 0x10);
    expect("data nowhere", nowhere.ask(-1), Err(Errno(libc::EFAULT)))?;
    expect("its header", nowhere.said(), (0, ANSWER))?;
    expect("a header nowhere", ring.register(QUERY, 0x10, 0), Err(Errno(libc::EFAULT)))?;
    let q = Query::new(0, ANSWER);
    expect("a count", ring.register(QUERY, q.header.addr(), 1), Err(Errno(libc::EINVAL)))?;
    expect("a closed descriptor", q.ask(999), Err(Errno(libc::EBADF)))?;
    expect("no list", ring.register(QUERY, 0, 0), Ok(0))
}

/// Headers are answered one after the other, up to 999.
fn lists() -> Outcome {
    for (count, answer) in [(2, Ok(0)), (999, Ok(0)), (1000, Err(Errno(libc::ERANGE)))] {
        let list: Vec<Query> = (0..count).map(|_| Query::new(0, ANSWER)).collect();
        for pair in list.windows(2) {
            pair[0].header.put64(0, pair[1].header.addr());
        }
        expect("a list", list[0].ask(-1), answer)?;
        let last = list.last().map(Query::said);
        expect("its last", last, Some((0, ANSWER)))?;
    }
    Ok(())
}
