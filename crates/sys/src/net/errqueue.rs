//! Transmit timestamps in a socket's error queue, by `recvmsg(MSG_ERRQUEUE)`.
//!
//! An entry of that queue can be looked at only by taking it. What it does not do: put one back.

use super::{IPPROTO_TCP, IPPROTO_UDP, MsgHdr, option};
use crate::raw::general as g;
use linux_raw_sys::net;
use ringer_engine::host::{HostResult, TxTimestamp};
use ringer_uapi::{Errno, bytes};

/// linux/net_tstamp.h `SOF_TIMESTAMPING_*`.
const SOFTWARE: i32 = 1 << 4;
const RAW_HARDWARE: i32 = 1 << 6;
const OPT_TSONLY: i32 = 1 << 11;
const OPT_STATS: i32 = 1 << 12;
/// linux/errqueue.h `SO_EE_ORIGIN_TIMESTAMPING`.
const ORIGIN: u8 = 4;
const ENOMSG: u32 = 42;
/// Whose control data says what an entry is: (`SOL_IP`, `IP_RECVERR`), (`SOL_IPV6`, `IPV6_RECVERR`).
const RECVERR: [(i32, i32); 2] = [(0, 11), (41, 25)];
/// More than the control data of an entry: timestamps, addresses, options of the packet.
const CONTROL: usize = 1024;

/// Whether the socket's timestamps may be taken; see `Host::tells_timestamps`. With their packets, or
/// the statistics of a stream, the kernel does not tell them (6.18 net/core/skbuff.c `__skb_tstamp_tx`).
///
/// # Errors
/// `EOPNOTSUPP` where notifications of sent pages may be among them.
pub fn tells_timestamps(fd: i32) -> HostResult<bool> {
    if !has_error_queue(fd) {
        return Ok(false);
    }
    // Refused by a kernel that has none.
    if option(fd, net::SO_ZEROCOPY).is_ok_and(|on| on != 0) {
        return Err(Errno::EOPNOTSUPP);
    }
    let flags = option(fd, net::SO_TIMESTAMPING).unwrap_or(0);
    let alone = flags & OPT_TSONLY != 0
        && (flags & OPT_STATS == 0 || option(fd, net::SO_PROTOCOL) != Ok(IPPROTO_TCP));
    Ok(alone && flags & (SOFTWARE | RAW_HARDWARE) != 0)
}

/// Whether `MSG_ERRQUEUE` is known to the socket's protocol: another one would receive.
fn has_error_queue(fd: i32) -> bool {
    const INET: [i32; 2] = [net::AF_INET as i32, net::AF_INET6 as i32];
    const RAW: i32 = net::SOCK_RAW as i32;
    /// ICMP, ICMPv6, UDP-Lite, MPTCP.
    const OTHERS: [i32; 4] = [1, 58, 136, 262];
    if !option(fd, net::SO_DOMAIN).is_ok_and(|family| INET.contains(&family)) {
        return false;
    }
    let known = |p: i32| matches!(p, IPPROTO_TCP | IPPROTO_UDP) || OTHERS.contains(&p);
    option(fd, net::SO_PROTOCOL).is_ok_and(known) || option(fd, net::SO_TYPE) == Ok(RAW)
}

/// Takes the first entry; see `Host::take_timestamp`.
///
/// # Errors
/// `EAGAIN`: there is none.
pub fn take_timestamp(fd: i32) -> HostResult<Option<TxTimestamp>> {
    let mut control = [0u8; CONTROL];
    let at = control.as_mut_ptr().expose_provenance() as u64;
    let mut msg = MsgHdr::new((0, 0), &[], (at, CONTROL as u64));
    msg.call(g::__NR_recvmsg, fd, net::MSG_ERRQUEUE | net::MSG_DONTWAIT)?;
    // Whatever came with a packet is not told.
    if msg.flags as u32 & net::MSG_TRUNC != 0 {
        return Ok(None);
    }
    let filled = (msg.control_len as usize).min(CONTROL);
    Ok(timestamp(core::hint::black_box(&control).get(..filled).unwrap_or(&[])))
}

/// What the control data of an entry tells: `struct scm_timestamping`, of which the first time is the
/// kernel's and the last the device's, and `struct sock_extended_err`.
fn timestamp(mut control: &[u8]) -> Option<TxTimestamp> {
    const HEADER: usize = 16;
    const SOL_SOCKET: i32 = net::SOL_SOCKET as i32;
    const STAMPS: [i32; 2] = [net::SO_TIMESTAMPING as i32, net::SO_TIMESTAMPING_NEW as i32];
    let (mut times, mut error) = (None, None);
    while control.len() >= HEADER {
        let len = bytes::u64_at(control, 0) as usize;
        let of = (bytes::i32_at(control, 8), bytes::i32_at(control, 12));
        let Some(body) = control.get(HEADER..len) else { break };
        if of.0 == SOL_SOCKET && STAMPS.contains(&of.1) && body.len() >= 48 {
            times = Some([0, 32].map(|at| [bytes::u64_at(body, at), bytes::u64_at(body, at + 8)]));
        } else if RECVERR.contains(&of) && body.len() >= 16 {
            error = Some(body);
        }
        let Some(rest) = control.get(len.next_multiple_of(8)..) else { break };
        control = rest;
    }
    let error = error.filter(|e| bytes::u32_at(e, 0) == ENOMSG && e.get(4) == Some(&ORIGIN))?;
    let (kind, key) = (bytes::u32_at(error, 8), bytes::u32_at(error, 12));
    let [kernel, device] = times?;
    let hardware = kernel == [0; 2];
    let at = if hardware { device } else { kernel };
    (at != [0; 2]).then_some(TxTimestamp { key, kind, hardware, at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rust_alloc::vec::Vec;

    fn entry(level: i32, kind: i32, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend((16 + body.len() as u64).to_ne_bytes());
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn times(of: [u64; 6]) -> Vec<u8> {
        entry(1, 37, &of.map(u64::to_ne_bytes).concat())
    }

    /// errno, origin, info, data.
    fn error(of: [u32; 4]) -> Vec<u8> {
        entry(0, 11, &of.map(u32::to_ne_bytes).concat())
    }

    #[test]
    fn an_entry_tells_its_time_and_what_it_is_about() {
        let is = error([ENOMSG, 4, 1, 9]);
        let mut told = TxTimestamp { key: 9, kind: 1, hardware: false, at: [7, 8] };
        assert_eq!(timestamp(&[times([7, 8, 0, 0, 0, 0]), is.clone()].concat()), Some(told));
        assert_eq!(timestamp(&[is.clone(), times([7, 8, 0, 0, 1, 2])].concat()), Some(told));
        told = TxTimestamp { hardware: true, at: [1, 2], ..told };
        assert_eq!(timestamp(&[is.clone(), times([0, 0, 0, 0, 1, 2])].concat()), Some(told));
        for none in [is.clone(), [is, times([0; 6])].concat()] {
            assert_eq!(timestamp(&none), None, "no time");
        }
        for other in [error([ENOMSG, 5, 1, 9]), error([111, 4, 1, 9]), error([0; 4])] {
            assert_eq!(timestamp(&[times([7; 6]), other].concat()), None, "another's");
        }
    }

    #[test]
    fn control_data_of_any_shape_is_walked_safely() {
        let all = [times([7; 6]), error([ENOMSG, 4, 1, 9])].concat();
        assert!(timestamp(&all).is_some());
        for cut in 0..all.len() {
            assert_eq!(timestamp(&all[..cut]), None);
        }
        for len in [0, 1, 15, 16, 17, u64::MAX, u64::MAX - 6] {
            let mut bad = all.clone();
            bad[..8].copy_from_slice(&len.to_ne_bytes());
            let _ = timestamp(&bad);
        }
    }
}
