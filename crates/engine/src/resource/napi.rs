//! `IORING_REGISTER_NAPI` (since 6.9): how long a wait may poll network devices instead of sleeping.
//!
//! ```text
//!  inactive --register--> dynamic | static -- ids, added and removed by name
//!     ^----- unregister ------'
//! ```
//!
//! Settings are taken, checked and told as the kernel does; waits sleep, which is what they do in the
//! kernel where no socket has come by a device that can be polled. Source: 6.18 io_uring/napi.c
//! `io_register_napi`, `io_unregister_napi`. What it does not do: poll devices.

use crate::engine::Engine;
use crate::host::Host;
use crate::ring::{Ring, State};
use alloc::collections::BTreeSet;
use ringer_uapi::Errno;
use ringer_uapi::bytes::{put_u32, u32_at};
use ringer_uapi::flags::Setup;

/// `sizeof(struct io_uring_napi)` \[bytes\].
const SIZE: usize = 16;
/// Longest time \[us\] (napi.c `MAX_BUSY_POLL_TO`).
const TIMEOUT_MAX_US: u32 = 10_000;
/// Ids up to the number of CPUs the kernel is made for are no devices'; this is what distributions'
/// kernels have.
const ID_MIN: u32 = 8192 + 1;
const OP_REGISTER: u8 = 0;
const OP_ADD: u8 = 1;
const OP_REMOVE: u8 = 2;
const TRACK_DYNAMIC: u32 = 0;
const TRACK_STATIC: u32 = 1;
const TRACK_NOTHING: u32 = 255;

/// The settings of a ring.
#[derive(Debug)]
pub struct Napi {
    timeout_us: u32,
    prefer: bool,
    tracking: u32,
    /// Devices that were named.
    ids: BTreeSet<u32>,
}

impl Default for Napi {
    fn default() -> Self {
        Self { timeout_us: 0, prefer: false, tracking: TRACK_NOTHING, ids: BTreeSet::new() }
    }
}

impl Napi {
    /// What is told of them, `tracking` where the call tells it.
    fn told(&self, tracking: u32) -> [u8; SIZE] {
        let mut b = [0; SIZE];
        put_u32(&mut b, 0, self.timeout_us);
        put_u32(&mut b, 4, u32::from(self.prefer));
        put_u32(&mut b, 8, tracking);
        b
    }

    fn register(&mut self, (timeout_us, prefer, tracking): (u32, bool, u32)) -> Result<(), Errno> {
        if tracking != TRACK_DYNAMIC && tracking != TRACK_STATIC {
            return Err(Errno::EINVAL);
        }
        let timeout_us = timeout_us.min(TIMEOUT_MAX_US);
        *self = Self { timeout_us, prefer, tracking, ids: BTreeSet::new() };
        Ok(())
    }

    fn name(&mut self, op: u8, id: u32) -> Result<(), Errno> {
        if self.tracking != TRACK_STATIC || id < ID_MIN {
            return Err(Errno::EINVAL);
        }
        let (done, else_) = match op {
            OP_ADD => (self.ids.insert(id), Errno::EEXIST),
            _ => (self.ids.remove(&id), Errno::ENOENT),
        };
        if done { Ok(()) } else { Err(else_) }
    }
}

impl<H: Host> Engine<H> {
    /// Takes settings, and answers those before.
    ///
    /// # Errors
    /// `EINVAL` a ring that polls for I/O, reserved fields, operations and tracking that are unknown,
    /// names where none are taken; `EFAULT`; `EEXIST`, `ENOENT` a name.
    pub(super) fn register_napi(
        &self,
        ring: &Ring<H>,
        st: &mut State<H>,
        arg: u64,
    ) -> Result<u32, Errno> {
        if ring.setup.contains(Setup::IOPOLL) {
            return Err(Errno::EINVAL);
        }
        let mut b = [0u8; SIZE];
        self.host().copy_in(arg, &mut b)?;
        let [_, _, _, _, prefer, op, pad @ ..] = b;
        let [pad0, pad1, ..] = pad;
        if pad0 != 0 || pad1 != 0 || u32_at(&b, 12) != 0 {
            return Err(Errno::EINVAL);
        }
        let napi = &mut st.napi;
        self.host().copy_out(arg, &napi.told(napi.tracking))?;
        let (timeout_us, param) = (u32_at(&b, 0), u32_at(&b, 8));
        match op {
            OP_REGISTER => napi.register((timeout_us, prefer != 0, param)),
            OP_ADD | OP_REMOVE => napi.name(op, param),
            _ => Err(Errno::EINVAL),
        }?;
        Ok(0)
    }

    /// Takes them back, and answers what they were if it is asked for.
    ///
    /// # Errors
    /// `EFAULT`.
    pub(super) fn unregister_napi(&self, st: &mut State<H>, arg: u64) -> Result<u32, Errno> {
        if arg != 0 {
            self.host().copy_out(arg, &st.napi.told(0))?;
        }
        st.napi = Napi::default();
        Ok(0)
    }
}
