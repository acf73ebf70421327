//! The io_uring ABI as data: layouts, constants, flag sets; no behaviour.
//!
//! Constants and C layouts come from `linux-raw-sys` (generated from the kernel's own headers);
//! this crate adds decoded by-value forms ([`Sqe`], [`Cqe`], [`Params`]), what that crate lacks,
//! and compile-time checks that sizes and offsets are the kernel's.
#![no_std]
#![forbid(unsafe_code)]

pub mod bytes;
mod cqe;
mod errno;
pub mod flags;
mod params;
mod sqe;

pub use cqe::Cqe;
pub use errno::Errno;
pub use params::{CqOffsets, Params, SqOffsets};
pub use sqe::Sqe;

/// The generated bindings, for constants that have no typed form here.
pub use linux_raw_sys as raw;

/// Request opcodes 6.18 accepts: 0..=62 (`IORING_OP_LAST` of that kernel).
pub const OP_COUNT: usize = 63;
/// Register opcodes 6.18 accepts: 0..=35.
pub const REGISTER_COUNT: u32 = 36;
/// `IORING_MAX_ENTRIES` (6.18 io_uring/io_uring.c).
pub const SQ_ENTRIES_MAX: u32 = 32_768;
/// `IORING_MAX_CQ_ENTRIES`.
pub const CQ_ENTRIES_MAX: u32 = 2 * SQ_ENTRIES_MAX;
/// `IORING_MAX_FIXED_FILES` (6.18 io_uring/rsrc.c).
pub const FIXED_FILES_MAX: u32 = 1 << 20;
/// `IORING_MAX_REG_BUFFERS` as 6.18 enforces it for a registration.
pub const REG_BUFFERS_MAX: u32 = 1 << 14;
/// mmap offset of the SQ and CQ rings.
pub const OFF_SQ_RING: u64 = 0;
/// mmap offset of the CQ ring: the same memory as [`OFF_SQ_RING`].
pub const OFF_CQ_RING: u64 = 0x0800_0000;
/// mmap offset of the SQEs.
pub const OFF_SQES: u64 = 0x1000_0000;
/// mmap offset of a registered region of the ring's own (6.18 io_uring/memmap.h
/// `IORING_MAP_OFF_PARAM_REGION`).
pub const OFF_PARAM_REGION: u64 = 0x2000_0000;
/// mmap offset base of buffer rings (`| bgid << 16`).
pub const OFF_PBUF_RING: u64 = 0x8000_0000;
/// `IORING_OFF_PBUF_SHIFT`.
pub const OFF_PBUF_SHIFT: u32 = 16;
/// The bits of an mmap offset that select a region.
pub const OFF_MMAP_MASK: u64 = 0xf800_0000;
/// `fd` value that clears a slot in an update, and that marks an empty slot in a registration.
pub const FILE_EMPTY: i32 = -1;
/// `IORING_REGISTER_FILES_SKIP`: leave this slot as it is.
pub const FILE_SKIP: i32 = -2;
/// `IORING_FILE_INDEX_ALLOC`: pick a free slot.
pub const FILE_INDEX_ALLOC: u32 = u32::MAX;
