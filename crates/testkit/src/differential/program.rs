//! A random program as a value: what a generator makes, an executor runs, a minimiser cuts.
//!
//! ```text
//!   Program -> setup
//!           -> steps: register | submit (entries, wait) | settle | do (an action of the program)
//! ```
//! Objects have names, never numbers; addresses are places in an arena or small structures. So a
//! program means the same in every process. What it does not do: run.

use serde::{Deserialize, Serialize};

/// A program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Where it came from.
    pub seed: u64,
    /// The ring.
    pub setup: Setup,
    /// What is done, in order.
    pub steps: Vec<Step>,
}

/// How the ring is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// `IORING_SETUP_*`.
    pub flags: u32,
    /// Entries of the SQ.
    pub entries: u32,
    /// Entries of the CQ, with `IORING_SETUP_CQSIZE`.
    pub cq_entries: u32,
    /// `IORING_SETUP_*` of a second ring, if there is one.
    #[serde(default)]
    pub other: Option<u32>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// A register call.
    Register(Register),
    /// Entries submitted by one call (by more when it takes fewer), and a wait for so many.
    Submit {
        /// The entries.
        sqes: Vec<Entry>,
        /// `min_complete`.
        wait: u32,
    },
    /// Takes completions until no more come.
    Settle,
    /// Something the program does by plain calls.
    Do(Action),
}

/// An entry; its `user_data` is `id`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Names the entry for good, whatever is cut around it.
    pub id: u64,
    /// `IORING_OP_*`.
    pub op: u8,
    /// `IOSQE_*`.
    pub flags: u8,
    /// As in the ABI.
    pub ioprio: u16,
    /// Whom it is about.
    pub fd: Fd,
    /// As in the ABI.
    pub off: Val,
    /// As in the ABI.
    pub addr: Val,
    /// As in the ABI.
    pub len: u32,
    /// `len` is this object's number instead (RENAMEAT, LINKAT).
    pub to: Option<Obj>,
    /// The union of per-op flags.
    pub op_flags: u32,
    /// As in the ABI.
    pub buf_index: u16,
    /// As in the ABI.
    pub personality: u16,
    /// As in the ABI.
    pub file_index: u32,
    /// As in the ABI.
    #[serde(default)]
    pub addr3: u64,
    /// `file_index` is this object's number instead (SPLICE, TEE).
    #[serde(default)]
    pub from: Option<Obj>,
    /// `addr3` is this address instead (SETXATTR, GETXATTR).
    #[serde(default)]
    pub path: Option<Val>,
}

/// What `fd` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fd {
    /// The number of an object.
    Obj(Obj),
    /// A slot of the registered files, or any other number.
    Number(i32),
}

impl Default for Fd {
    fn default() -> Self {
        Self::Number(-1)
    }
}

/// An object of the scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Obj {
    /// A regular file of 8 KiB, read and written.
    File,
    /// The same file, open for reading.
    ReadOnly,
    /// Another one, open with `O_APPEND`.
    Append,
    /// A regular file of 8 KiB that no other object shares.
    Scratch,
    /// A duplicate of `File`'s descriptor.
    Spare(u8),
    /// A folder of the program's own.
    Folder,
    /// Read end of a pipe.
    PipeR(u8),
    /// Write end of a pipe.
    PipeW(u8),
    /// One end of a connected pair.
    Sock(Pair, u8),
    /// An eventfd.
    Event,
    /// A timerfd.
    Timer,
    /// A TCP socket that listens.
    Listener,
    /// A TCP socket that is not connected.
    Fresh(u8),
    /// An epoll instance.
    Epoll,
    /// The ring, or the second one.
    Ring(u8),
}

/// Kinds of connected pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Pair {
    /// AF_UNIX, stream.
    Stream,
    /// AF_UNIX, datagrams.
    Dgram,
    /// TCP over loopback.
    Tcp,
    /// UDP over loopback.
    Udp,
}

/// A 64-bit field: a number, or the address of something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Val {
    /// A number, also a bad address.
    Num(u64),
    /// A place in the arena.
    Arena(u32),
    /// A place in the memory of provided buffers.
    Pool(u32),
    /// An object's number (EPOLL_CTL).
    Of(Obj),
    /// Room for a `struct statx`, of which only what is the same everywhere is compared.
    Statx,
    /// A timespec.
    Time(i64, i64),
    /// An array of iovecs: (place in the arena, length).
    Iovs(Vec<(u32, u32)>),
    /// A `struct msghdr` of such iovecs, with room for a name of so many bytes if there is one, and for so
    /// many bytes of control data.
    Msg(Vec<(u32, u32)>, Option<u32>, u32),
    /// An array of `struct futex_waitv`: (value, place in the arena, flags).
    Waiters(Vec<(u64, u32, u32)>),
    /// A path.
    Path(String),
    /// A path in the folder, as a path that starts nowhere.
    Whole(String),
    /// An address of 127.0.0.1.
    Port(Port),
    /// A `struct open_how`.
    How(u64, u64, u64),
    /// A `struct epoll_event`.
    Epoll(u32, u64),
    /// Room for the two numbers of a pipe.
    Pair,
    /// An array of descriptors.
    Fds(Vec<Fd>),
}

impl Default for Val {
    fn default() -> Self {
        Self::Num(0)
    }
}

/// Ports to connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Port {
    /// The listener's.
    Listener,
    /// One that nobody listens on.
    Closed,
    /// Any.
    Any,
}

/// A register call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Register {
    /// `REGISTER_FILES`.
    Files(Vec<Fd>),
    /// `REGISTER_FILES2` with descriptors and tags.
    Files2(Vec<Fd>, Vec<u64>),
    /// `REGISTER_FILES2` with `RSRC_REGISTER_SPARSE`.
    Sparse(u32),
    /// `UNREGISTER_FILES`.
    NoFiles,
    /// `REGISTER_FILES_UPDATE` from a slot on.
    Update(u32, Vec<Fd>),
    /// `REGISTER_FILES_UPDATE2` from a slot on, with tags.
    Update2(u32, Vec<Fd>, Vec<u64>),
    /// `REGISTER_FILE_ALLOC_RANGE`.
    Range(u32, u32),
    /// `REGISTER_BUFFERS`: places in the arena.
    Buffers(Vec<(u32, u32)>),
    /// `REGISTER_BUFFERS2` with tags.
    Buffers2(Vec<(u32, u32)>, Vec<u64>),
    /// `REGISTER_BUFFERS_UPDATE` from an index on.
    BuffersUpdate(u32, Vec<(u32, u32)>, Vec<u64>),
    /// `UNREGISTER_BUFFERS`.
    NoBuffers,
    /// `REGISTER_EVENTFD`, or the async one.
    Eventfd(bool),
    /// `UNREGISTER_EVENTFD`.
    NoEventfd,
    /// `REGISTER_PROBE` of so many.
    Probe(u32),
    /// `REGISTER_ENABLE_RINGS`.
    Enable,
    /// `REGISTER_RESTRICTIONS`: kind and argument of each.
    Restrict(Vec<(u8, u8)>),
    /// `REGISTER_PERSONALITY`.
    Personality,
    /// `UNREGISTER_PERSONALITY` of a number.
    NoPersonality(u32),
    /// `REGISTER_RING_FDS` of the ring, which its index names from then on.
    Index,
    /// `UNREGISTER_RING_FDS` of that, and back to the descriptor.
    NoIndex,
    /// `REGISTER_CLONE_BUFFERS` of the second ring's: flags, first slots there and here, how many.
    Clone(u32, (u32, u32), u32),
    /// `REGISTER_SEND_MSG_RING`: to whom, user_data, result.
    Post(Obj, u64, u32),
    /// `REGISTER_RESIZE_RINGS` to so many entries.
    Resize(u32, u32),
    /// `REGISTER_SYNC_CANCEL`: user_data, descriptor, flags, opcode.
    SyncCancel(u64, Fd, u32, u8),
    /// `REGISTER_IOWQ_MAX_WORKERS`: for what is bounded, for the rest; then what is told.
    Workers(u32, u32),
    /// `REGISTER_IOWQ_AFF` of these CPUs, or `UNREGISTER_IOWQ_AFF`.
    Affinity(Option<u64>),
    /// `REGISTER_MEM_REGION`: of memory of the ring's own, for the arguments of waits.
    Region(bool, bool),
    /// `REGISTER_PBUF_RING` of a group with flags, with [`BUFS`] buffers.
    Bufs(u16, u16),
    /// As many buffers more for a group, which is no call.
    MoreBufs(u16),
    /// `UNREGISTER_PBUF_RING`.
    NoBufs(u16),
    /// `REGISTER_PBUF_STATUS`: the head.
    Head(u16),
    /// Any operation with any argument.
    Raw(u32, u64, u32),
}

/// What a program does besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Writes so many bytes.
    Write(Obj, u32),
    /// Closes the descriptor.
    Close(Obj),
    /// `dup2` of the first over the number of the second.
    Dup2(Obj, Obj),
    /// Locks bytes of the file: (exclusive, start, length).
    Lock(bool, i64, i64),
    /// Unlocks bytes of the file.
    Unlock(i64, i64),
    /// Connects to the listener.
    Connect,
    /// Lets the timerfd expire, once and soon.
    Arm,
}

/// user_data of the message of request 0; tags are below.
pub const MESSAGES: u64 = 2000;
/// Slots of the second ring's table of files.
pub const OTHER_SLOTS: u32 = 3;
/// Bytes of a region; each entry has one in the arena and one in the file.
pub const REGION: u32 = 64;
/// Length of the regular files \[bytes\].
pub const FILE_LEN: u32 = 8192;
/// Where the part of the file begins that entries write to, one region each.
pub const FILE_WRITES: u32 = 2048;
/// Room for an entry in the arena \[bytes\].
pub const ROOM: u32 = 256;
/// Entries that have room: ids are below this.
pub const IDS: u64 = 90;
/// Length of the arena \[bytes\]: what entries read into, then what they write from.
pub const ARENA: u32 = 2 * ROOM * IDS as u32;

/// Where the word of a futex lies: below everybody's room, never written to.
pub const fn futex_word(n: u8) -> u32 {
    n as u32 * 4
}
/// Groups whose buffers have memory are below this: rings, and a list.
pub const GROUPS: u16 = 4;
/// Buffers that a ring is given at once.
pub const BUFS: u16 = 8;
/// Length of a provided buffer \[bytes\].
pub const BUF_LEN: u32 = 64;
/// Room for the buffers of a group \[bytes\].
pub const GROUP_ROOM: u32 = 4096;

/// Where entry `id` reads into.
pub const fn reads_into(id: u64) -> u32 {
    id as u32 * ROOM
}

/// Where entry `id` writes from: all bytes are its id there.
pub const fn writes_from(id: u64) -> u32 {
    (id + IDS) as u32 * ROOM
}

/// Bit of `sqe->flags`.
pub mod bit {
    #![allow(missing_docs, reason = "the names are the header's")]
    pub const FIXED: u8 = 1;
    pub const DRAIN: u8 = 2;
    pub const LINK: u8 = 4;
    pub const HARDLINK: u8 = 8;
    pub const ASYNC: u8 = 16;
    pub const SELECT: u8 = 32;
    pub const SKIP: u8 = 64;
}
