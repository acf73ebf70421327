//! The table of register operations: one row each, in ABI order, and how it is done.
//!
//! A row is number, name, kernel, support and what runs it; a row without the latter is refused
//! with its errno. The dispatch below and the support tables come from the rows. What it does not
//! do: look at descriptor or thread, which `register` did before.

use super::clone::Clone;
use crate::engine::Engine;
use crate::host::Host;
use crate::ring::{Ring, StateGuard};
use crate::support::Support::{self, Full, Partial, Refused};
use crate::support::{Row, refusal};
use alloc::sync::Arc;
use ringer_uapi::{Errno, REGISTER_COUNT};

/// A call on a ring that is locked and may be registered with.
pub(super) struct Call<'a, 'g, H: Host> {
    pub(super) ring: &'a Arc<Ring<H>>,
    pub(super) st: &'a mut StateGuard<'g, H>,
    pub(super) arg: u64,
    pub(super) nr: u32,
    /// What is to be done when the lock is free.
    pub(super) clone: Option<Clone<H>>,
}

macro_rules! register_table {
    ($($n:literal $name:ident $since:tt $support:expr $(=> |$e:ident, $c:ident| $run:expr)?;)+) => {
        /// The rows; those from [`REGISTER_COUNT`] on are of newer kernels.
        pub const REGISTER: [Row; COUNT] = [$(Row {
            name: stringify!($name), value: $n, since: $since, support: $support,
        }),+];

        const COUNT: usize = [$($n),+].len();
        /// The bodies as written, empty where there is none.
        const WRITTEN: [&str; COUNT] = [$(stringify!($($run)?)),+];

        impl<H: Host> Engine<H> {
            /// Runs the row's body.
            ///
            /// # Errors
            /// The operation's; the row's for one that is refused.
            pub(super) fn run_register(
                &self,
                call: &mut Call<'_, '_, H>,
                opcode: u32,
            ) -> Result<u32, Errno> {
                match opcode {
                    $($($n => {
                        let ($e, $c) = (self, call);
                        $run
                    })?)+
                    other => Err(self.refuse_register(other)),
                }
            }
        }
    };
}

const NOT_PINNED: Support = Partial(
    "memory is not pinned: a buffer that is unmapped gives EFAULT; RLIMIT_MEMLOCK holds for each, \
     not for the sum",
);
const AS_BUFFERS: Support = Partial("as REGISTER_BUFFERS");
const WORKERS: &str =
    "threads that set none share their workers; files without a number count apart";
const REGION: &str = "the caller's private memory as with SETUP_NO_MMAP; a mapping of the ring's own does not keep the ring";
const RESIZE: &str = "a mapping from before does not keep the ring";
const PBUFS: &str = "memory is not pinned: a ring that is unmapped gives EFAULT";
const HARDWARE: Support = Refused(Errno::EINVAL, "needs a network card with header split");
const NEWER: Support = Refused(Errno::EINVAL, "newer than 6.18, which refuses it too");

register_table! {
    0 REGISTER_BUFFERS (5, 1) NOT_PINNED
        => |e, c| need(c.arg).and_then(|()| e.register_buffers(c.st, c.arg, c.nr, 0));
    1 UNREGISTER_BUFFERS (5, 1) Full
        => |e, c| none(c).and_then(|()| e.drop_buffers(c.ring, c.st));
    2 REGISTER_FILES (5, 1) Full
        => |e, c| need(c.arg).and_then(|()| e.register_files(c.st, c.arg, c.nr, 0));
    3 UNREGISTER_FILES (5, 1) Full
        => |e, c| none(c).and_then(|()| e.unregister_files(c.ring, c.st));
    4 REGISTER_EVENTFD (5, 2) Full => |e, c| e.register_eventfd(c.st, c.arg, c.nr, false);
    5 UNREGISTER_EVENTFD (5, 2) Full
        => |_e, c| none(c).and_then(|()| c.st.eventfd.take().map(|_| 0).ok_or(Errno::ENXIO));
    6 REGISTER_FILES_UPDATE (5, 5) Full
        => |e, c| e.register_files_update(c.ring, c.st, c.arg, c.nr);
    7 REGISTER_EVENTFD_ASYNC (5, 6) Full => |e, c| e.register_eventfd(c.st, c.arg, c.nr, true);
    8 REGISTER_PROBE (5, 6) Full => |e, c| e.register_probe(c.arg, c.nr);
    9 REGISTER_PERSONALITY (5, 6) Full
        => |e, c| none(c).and_then(|()| e.register_personality(c.st));
    10 UNREGISTER_PERSONALITY (5, 6) Full
        => |e, c| if c.arg == 0 { e.unregister_personality(c.st, c.nr) } else { Err(Errno::EINVAL) };
    11 REGISTER_RESTRICTIONS (5, 10) Full => |e, c| e.register_restrictions(c);
    12 REGISTER_ENABLE_RINGS (5, 10) Full => |e, c| none(c).and_then(|()| e.enable(c.ring, c.st));
    13 REGISTER_FILES2 (5, 13) Full
        => |e, c| e.rsrc_register(c.arg, c.nr)
            .and_then(|r| e.register_files(c.st, r.data, r.nr, r.tags));
    14 REGISTER_FILES_UPDATE2 (5, 13) Full
        => |e, c| e.rsrc_update(c.arg, c.nr).and_then(|u| {
            u.offset.checked_add(u.nr).ok_or(Errno::EOVERFLOW)?;
            e.files_update(c.ring, c.st, (u.offset, u.nr), u.data, u.tags)
        });
    15 REGISTER_BUFFERS2 (5, 13) AS_BUFFERS
        => |e, c| e.rsrc_register(c.arg, c.nr)
            .and_then(|r| e.register_buffers(c.st, r.data, r.nr, r.tags));
    16 REGISTER_BUFFERS_UPDATE (5, 13) AS_BUFFERS
        => |e, c| e.rsrc_update(c.arg, c.nr).and_then(|u| e.buffers_update(c.ring, c.st, &u));
    17 REGISTER_IOWQ_AFF (5, 14) Full
        => |e, c| if c.arg == 0 || c.nr == 0 { Err(Errno::EINVAL) } else {
            e.iowq_aff(c.ring, c.arg, c.nr)
        };
    18 UNREGISTER_IOWQ_AFF (5, 14) Full
        => |e, c| none(c).and_then(|()| e.set_iowq_aff(c.ring, None));
    19 REGISTER_IOWQ_MAX_WORKERS (5, 15) Partial(WORKERS)
        => |e, c| if c.arg == 0 || c.nr != 2 { Err(Errno::EINVAL) } else {
            e.iowq_max_workers(c.ring, c.st, c.arg)
        };
    20 REGISTER_RING_FDS (5, 18) Full => |e, c| e.register_ring_fds(c);
    21 UNREGISTER_RING_FDS (5, 18) Full => |e, c| e.unregister_ring_fds(c);
    22 REGISTER_PBUF_RING (5, 19) Partial(PBUFS)
        => |e, c| one(c).and_then(|()| e.register_pbuf_ring(c.ring, c.st, c.arg));
    23 UNREGISTER_PBUF_RING (5, 19) Full
        => |e, c| one(c).and_then(|()| e.unregister_pbuf_ring(c.ring, c.st, c.arg));
    24 REGISTER_SYNC_CANCEL (6, 0) Full
        => |e, c| one(c).and_then(|()| e.sync_cancel(c.ring, c.st, c.arg));
    25 REGISTER_FILE_ALLOC_RANGE (6, 0) Full => |e, c| e.file_alloc_range(c.st, c.arg, c.nr);
    26 REGISTER_PBUF_STATUS (6, 8) Full
        => |e, c| one(c).and_then(|()| e.pbuf_status(c.st, c.arg));
    27 REGISTER_NAPI (6, 9) Partial("settings are taken and told; waits sleep and poll no device")
        => |e, c| one(c).and_then(|()| e.register_napi(c.ring, c.st, c.arg));
    28 UNREGISTER_NAPI (6, 9) Full
        => |e, c| if c.nr != 1 { Err(Errno::EINVAL) } else { e.unregister_napi(c.st, c.arg) };
    29 REGISTER_CLOCK (6, 12) Full
        => |e, c| if c.arg == 0 || c.nr != 0 { Err(Errno::EINVAL) } else {
            e.register_clock(c.st, c.arg)
        };
    30 REGISTER_CLONE_BUFFERS (6, 12) AS_BUFFERS => |e, c| e.clone_buffers(c);
    31 REGISTER_SEND_MSG_RING (6, 13) Full => |_e, _c| Err(Errno::EINVAL);
    32 REGISTER_ZCRX_IFQ (6, 15) HARDWARE;
    33 REGISTER_RESIZE_RINGS (6, 13) Partial(RESIZE)
        => |e, c| one(c).and_then(|()| e.resize_rings(c.ring, c.st, c.arg));
    34 REGISTER_MEM_REGION (6, 13) Partial(REGION)
        => |e, c| one(c).and_then(|()| e.register_mem_region(c.ring, c.st, c.arg));
    35 REGISTER_QUERY (6, 18) Full => |e, c| e.query(c.arg, c.nr);
    36 REGISTER_ZCRX_CTRL (6, 19) NEWER;
    37 REGISTER_BPF_FILTER (7, 0) NEWER;
}

// No holes, in order; what has a body is what is not refused, and newer ones are refused.
const _: () = {
    let mut i = 0;
    while i < COUNT {
        assert!(REGISTER[i].value == i as u64);
        assert!(WRITTEN[i].is_empty() != REGISTER[i].support.is_there());
        assert!(i < REGISTER_COUNT as usize || WRITTEN[i].is_empty());
        i += 1;
    }
};

/// `IORING_REGISTER_SEND_MSG_RING`, which no ring takes.
const SEND_MSG_RING: u32 = 31;
/// `IORING_REGISTER_QUERY`.
const QUERY: u32 = 35;

impl<H: Host> Engine<H> {
    /// register.c `io_uring_register_blind`: what needs no ring.
    pub(super) fn register_blind(&self, opcode: u32, arg: u64, nr: u32) -> Result<u32, Errno> {
        match opcode {
            QUERY => return self.query(arg, nr),
            SEND_MSG_RING => return self.send_msg_ring(arg, nr),
            _ => {}
        }
        self.note_refused(|count| refusal::of_register(opcode, count));
        Err(Errno::EINVAL)
    }

    /// What an operation without a body answers.
    #[cold]
    fn refuse_register(&self, opcode: u32) -> Errno {
        self.note_refused(|count| refusal::of_register(opcode, count));
        match REGISTER.get(opcode as usize).map(|row| row.support) {
            Some(Refused(e, _)) => e,
            _ => Errno::EINVAL,
        }
    }
}

/// An argument that must be there.
fn need(arg: u64) -> Result<(), Errno> {
    if arg == 0 { Err(Errno::EFAULT) } else { Ok(()) }
}

/// An operation that takes one thing.
fn one<H: Host>(c: &Call<'_, '_, H>) -> Result<(), Errno> {
    if c.arg == 0 || c.nr != 1 { Err(Errno::EINVAL) } else { Ok(()) }
}

/// An operation that takes no argument.
fn none<H: Host>(c: &Call<'_, '_, H>) -> Result<(), Errno> {
    if c.arg != 0 || c.nr != 0 { Err(Errno::EINVAL) } else { Ok(()) }
}
