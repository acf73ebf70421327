//! Descriptors through a socket: one message, up to 253 of them.
//!
//! What it does not do: decide whose they are, or keep a message that was only partly received.

use rust_alloc::vec::Vec;

use ringer_uapi::Errno;

use crate::raw::{self, SysResult};

/// The kernel's `SCM_MAX_FD`.
pub(crate) const BATCH: usize = 253;

const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;
const MSG_CTRUNC: u32 = 0x08;
const MSG_DONTWAIT: u32 = 0x40;
const MSG_NOSIGNAL: u32 = 0x4000;
const MSG_CMSG_CLOEXEC: u32 = 0x4000_0000;

/// `struct cmsghdr` and its payload.
#[repr(C, align(8))]
struct Control {
    len: usize,
    level: i32,
    kind: i32,
    fds: [i32; BATCH],
}

const HEADER: usize = 16;

/// `struct user_msghdr`.
#[repr(C)]
struct Msg {
    name: usize,
    name_len: usize,
    iov: usize,
    iov_len: usize,
    control: usize,
    control_len: usize,
    flags: u32,
}

#[repr(C)]
struct Iov {
    base: usize,
    len: usize,
}

/// Close-on-exec or not, for received descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cloexec {
    Yes,
    No,
}

/// Sends at most [`BATCH`] descriptors of the calling thread's table.
///
/// # Errors
/// `EBADF`: one is closed. `EINVAL`: one may not be passed. `ETOOMANYREFS`, `ENOMEM`, `EAGAIN`.
pub(crate) fn send(socket: i32, fds: &[i32]) -> SysResult<()> {
    let mut control = Control { len: 0, level: SOL_SOCKET, kind: SCM_RIGHTS, fds: [-1; BATCH] };
    let place = control.fds.get_mut(..fds.len()).ok_or(Errno::EINVAL)?;
    place.copy_from_slice(fds);
    control.len = HEADER + 4 * fds.len();
    let byte = 0u8;
    let iov = Iov { base: &raw const byte as usize, len: 1 };
    let msg = Msg {
        name: 0,
        name_len: 0,
        iov: &raw const iov as usize,
        iov_len: 1,
        control: &raw const control as usize,
        control_len: control.len,
        flags: 0,
    };
    let at = &raw const msg as u64;
    // SAFETY: everything `msg` points at lives on this stack frame and is only read.
    unsafe { raw::sendmsg(socket, at, MSG_NOSIGNAL | MSG_DONTWAIT) }.map(drop)
}

/// Receives one message of [`send`] into the calling thread's table, all or nothing.
///
/// # Errors
/// `EMFILE`: not all found a number. `EAGAIN`: no message.
pub(crate) fn receive(socket: i32, cloexec: Cloexec) -> SysResult<Vec<i32>> {
    receive_with(socket, cloexec, &mut [0]).map(|(_, got)| got)
}

/// The same with the bytes of the message; how many there were, 0 at the end of what the peer sends.
///
/// # Errors
/// As [`receive`].
pub(crate) fn receive_with(
    socket: i32,
    cloexec: Cloexec,
    bytes: &mut [u8],
) -> SysResult<(usize, Vec<i32>)> {
    let mut control = Control { len: 0, level: 0, kind: 0, fds: [-1; BATCH] };
    let iov = Iov { base: bytes.as_mut_ptr() as usize, len: bytes.len() };
    let mut msg = Msg {
        name: 0,
        name_len: 0,
        iov: &raw const iov as usize,
        iov_len: 1,
        control: &raw mut control as usize,
        control_len: size_of::<Control>(),
        flags: 0,
    };
    let flags = if cloexec == Cloexec::Yes { MSG_CMSG_CLOEXEC } else { 0 };
    let at = &raw mut msg as u64;
    // SAFETY: everything `msg` points at lives on this stack frame or is borrowed, and may be written.
    let n = unsafe { raw::recvmsg(socket, at, flags | MSG_DONTWAIT) }?;
    let rights = control.level == SOL_SOCKET && control.kind == SCM_RIGHTS;
    let count = match msg.control_len {
        0 => 0,
        _ if !rights => 0,
        _ => control.len.saturating_sub(HEADER) / 4,
    };
    let got: Vec<i32> = control.fds.iter().copied().take(count).collect();
    if msg.flags & MSG_CTRUNC != 0 {
        super::close_all(&got);
        return Err(Errno::EMFILE);
    }
    Ok((n, got))
}
