//! A program that asks for things in numbers that a test knows, and takes any answer.

use super::{Outcome, must};
use crate::ring::{Ring, setup_call, u64s};
use crate::sqe::{self, op};
use ringer_uapi::{Params, Sqe};

/// What no kernel has.
const NO_OPCODE: u8 = 200;
const RECV_ZC: u8 = 58;
const RW_ATTR_FLAG_PI: u64 = 1;
const POLL_ADD_LEVEL: u32 = 8;
const SQE_MIXED: u32 = 1 << 19;
const NO_SETUP_FLAG: u32 = 1 << 30;
const REGISTER_ZCRX_CTRL: u32 = 36;
const NO_REGISTER: u32 = 99;

/// Asks twelve times for RECV_ZC, three for a poll by level, twice for attributes, once for
/// everything else; between them a NOP that any io_uring carries out.
///
/// # Errors
/// A call that has no errno to give failed.
pub fn wishes(_: &str) -> Outcome {
    for flags in [SQE_MIXED, NO_SETUP_FLAG] {
        let _ = setup_call(4, &mut Params { flags, ..Params::default() });
    }
    let mut ring = must("setup", Ring::new(32, 0))?;
    let level = Sqe { len: POLL_ADD_LEVEL, ..sqe::of_fd(op::POLL_ADD, -1, 2) };
    let attributes = u64s(&[0; 4]);
    let read = sqe::read(-1, 0, 0, 0, 3);
    let attr = Sqe { pad2: RW_ATTR_FLAG_PI, addr3: attributes.addr(), ..read };
    for (times, wish) in
        [(12, sqe::of_fd(RECV_ZC, -1, 1)), (3, level), (2, attr), (1, sqe::of(NO_OPCODE, 4))]
    {
        for _ in 0..times {
            must("a wish", ring.one(wish))?;
        }
    }
    must("a NOP", ring.one(sqe::nop(5)))?;
    let _ = ring.register(REGISTER_ZCRX_CTRL, 0, 0);
    let _ = ring.register(NO_REGISTER, 0, 0);
    Ok(())
}
