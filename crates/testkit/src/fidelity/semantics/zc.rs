//! Section 3.13: sends without a copy, and their notifications.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.13",
        a_zero_copy_send_posts_twice,
        "SEND_ZC posts its result with MORE, then a notification of the same name."
    ),
    claim!(
        "3.13",
        a_zero_copy_send_tells_of_the_copy,
        "With REPORT_USAGE the notification says that loopback copied."
    ),
    claim!(
        "3.13",
        a_failed_zero_copy_send_notifies_too,
        "A SEND_ZC that fails posts its error with MORE, then the notification."
    ),
    claim!(
        "3.13",
        a_zero_copy_send_needs_a_protocol,
        "SEND_ZC over AF_UNIX is EOPNOTSUPP, a pipe ENOTSOCK."
    ),
    claim!(
        "3.13",
        a_refused_zero_copy_send_posts_once,
        "A SEND_ZC with addr3 or CQE_SKIP posts one EINVAL without MORE."
    ),
    claim!(
        "3.13",
        a_cancelled_zero_copy_send_notifies,
        "A SEND_ZC that is cancelled by its chain posts ECANCELED without MORE, and a notification."
    ),
    claim!(
        "3.13",
        a_notification_comes_before_what_follows,
        "A notification comes behind its batch and before the next of its chain; behind what its failure cancels.",
        needs "SEND_ZC", "CQE_F_NOTIF"
    ),
    claim!(
        "3.13",
        a_silent_chain_notifies,
        "Behind a failure with CQE_SKIP a SEND_ZC posts its notification alone."
    ),
    claim!(
        "3.13",
        a_refused_zero_copy_send_heads_its_chain,
        "A SEND_ZC refused after its notification was made says MORE as the head of a chain, not behind."
    ),
    claim!(
        "3.13",
        a_waiting_zero_copy_send_is_cancelled,
        "A SEND_ZC that waits and is cancelled posts ECANCELED with MORE, then the notification."
    ),
    claim!(
        "3.13",
        a_drain_waits_for_a_notification,
        "A request with IO_DRAIN behind a SEND_ZC runs after the notification."
    ),
    claim!(
        "3.13",
        a_failed_zero_copy_send_reports_its_usage,
        "With REPORT_USAGE a failure says that it copied, but not EFAULT of the bytes, nor a bad flag."
    ),
    claim!(
        "3.13",
        a_zero_copy_send_takes_a_registered_buffer,
        "FIXED_BUF sends from a registered buffer; outside EFAULT, after the socket was asked."
    ),
    claim!(
        "3.13",
        a_zero_copy_message_takes_a_registered_buffer,
        "SENDMSG_ZC with FIXED_BUF: each of its buffers lies in it and is not empty, else EFAULT first of all.",
        needs "SENDMSG_ZC", "RECVSEND_FIXED_BUF"
    ),
    claim!(
        "3.13",
        a_tag_follows_the_notification,
        "The tag of a registered buffer that a SEND_ZC used last comes after the notification."
    ),
    claim!(
        "3.13",
        a_zero_copy_send_on_a_worker_notifies,
        "IOSQE_ASYNC: the result with MORE, the notification, the next of the chain."
    ),
    claim!(
        "3.13",
        a_zero_copy_vector_is_sent,
        "SEND_ZC takes a vector, not with FIXED_BUF, and an address; SENDMSG_ZC sends a message."
    ),
    claim!(
        "1.1",
        a_fixed_buffer_is_for_zero_copy_sends,
        "SEND and SENDMSG with FIXED_BUF are EINVAL."
    ),
];

const NOTIF: u32 = 8;

fn send_zc(fd: i32, buf: &Buf, ud: u64) -> Sqe {
    rw(47, fd, buf.addr(), 16, 0, ud)
}

/// The next completions: result, MORE and NOTIF.
fn shots(ring: &Ring, want: &[(i32, u32)]) -> Outcome {
    each(ring, want, |c| (c.res, c.flags & (MORE | NOTIF)))
}

fn a_zero_copy_send_posts_twice() -> Outcome {
    let (mut ring, (a, _b), buf) = (ring()?, tcp()?, Buf::new(64));
    submit(&mut ring, &[send_zc(a, &buf, 1)])?;
    shots(&ring, &[(16, MORE), (0, NOTIF)])
}

fn a_zero_copy_send_tells_of_the_copy() -> Outcome {
    let (mut ring, (a, b), buf) = (ring()?, tcp()?, Buf::new(64));
    submit(&mut ring, &[Sqe { ioprio: 8, ..send_zc(a, &buf, 1) }])?;
    shots(&ring, &[(16, MORE)])?;
    expect("it arrives", get(b)?.len(), 16)?;
    shots(&ring, &[(i32::MIN, NOTIF)])
}

fn a_failed_zero_copy_send_notifies_too() -> Outcome {
    let (mut ring, buf) = (ring()?, Buf::new(64));
    submit(&mut ring, &[send_zc(999, &buf, 1)])?;
    shots(&ring, &[(-EBADF, MORE), (0, NOTIF)])
}

fn a_zero_copy_send_needs_a_protocol() -> Outcome {
    let (mut ring, (a, _b), (_r, w), buf) = (ring()?, pair()?, pipe()?, Buf::new(64));
    submit(&mut ring, &[send_zc(a, &buf, 1)])?;
    shots(&ring, &[(-EOPNOTSUPP, MORE), (0, NOTIF)])?;
    submit(&mut ring, &[send_zc(w, &buf, 2)])?;
    shots(&ring, &[(-ENOTSOCK, MORE), (0, NOTIF)])
}

fn a_refused_zero_copy_send_posts_once() -> Outcome {
    let (mut ring, (a, _b), buf) = (ring()?, tcp()?, Buf::new(64));
    submit(&mut ring, &[send_zc(a, &buf, 3)])?;
    shots(&ring, &[(16, MORE), (0, NOTIF)])?;
    submit(&mut ring, &[Sqe { addr3: 1, ..send_zc(a, &buf, 1) }])?;
    shots(&ring, &[(-EINVAL, 0)])?;
    submit(&mut ring, &[flagged(send_zc(a, &buf, 2), SKIP)])?;
    shots(&ring, &[(-EINVAL, 0)])?;
    no_more(&mut ring)
}

fn a_cancelled_zero_copy_send_notifies() -> Outcome {
    let (mut ring, (a, _b), buf) = (ring()?, tcp()?, Buf::new(64));
    submit(&mut ring, &[flagged(nop_with(-EIO, 1), LINK), send_zc(a, &buf, 2)])?;
    shots(&ring, &[(-EIO, 0), (-ECANCELED, 0), (0, NOTIF)])
}

const REPORT: u16 = 8;
const FIXED_BUF: u16 = 4;
const VECTORIZED: u16 = 32;

fn udp() -> Res<(i32, i32)> {
    must("udp", os::state::udp_pair())
}

/// The next completions: user_data, result, MORE and NOTIF.
fn all_shots(ring: &Ring, want: &[(u64, i32, u32)]) -> Outcome {
    each(ring, want, |c| (c.user_data, c.res, c.flags & (MORE | NOTIF)))
}

fn a_notification_comes_before_what_follows() -> Outcome {
    let ((a, _b), buf) = (udp()?, Buf::new(64));
    for flags in [0, (Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN).bits()] {
        let mut ring = with(16, flags)?;
        submit(&mut ring, &[send_zc(a, &buf, 1), nop(2)])?;
        all_shots(&ring, &[(1, 16, MORE), (2, 0, 0), (1, 0, NOTIF)])?;
        let first = flagged(send_zc(a, &buf, 1), LINK);
        submit(&mut ring, &[first, flagged(send_zc(a, &buf, 2), LINK), nop(3), nop(4)])?;
        let chain = [(1, 0, NOTIF), (2, 16, MORE), (2, 0, NOTIF), (3, 0, 0)];
        all_shots(&ring, &[(1, 16, MORE), (4, 0, 0)])?;
        all_shots(&ring, &chain)?;
        submit(&mut ring, &[flagged(send_zc(999, &buf, 1), LINK), nop(2)])?;
        all_shots(&ring, &[(1, -EBADF, MORE), (2, -ECANCELED, 0), (1, 0, NOTIF)])?;
        // What the call itself says is another matter.
        submit(&mut ring, &[flagged(Sqe { addr: 0x1000, ..send_zc(a, &buf, 1) }, LINK), nop(2)])?;
        all_shots(&ring, &[(1, -EFAULT, MORE), (1, 0, NOTIF), (2, -ECANCELED, 0)])?;
    }
    Ok(())
}

fn a_silent_chain_notifies() -> Outcome {
    let (mut ring, (a, _b), buf) = (ring()?, udp()?, Buf::new(64));
    let head = flagged(nop_with(-EIO, 1), LINK | SKIP);
    submit(&mut ring, &[head, flagged(send_zc(a, &buf, 2), LINK), nop(3)])?;
    all_shots(&ring, &[(1, -EIO, 0), (2, 0, NOTIF)])?;
    no_more(&mut ring)
}

fn a_refused_zero_copy_send_heads_its_chain() -> Outcome {
    let (mut ring, (a, _b), buf) = (ring()?, udp()?, Buf::new(64));
    let bad = |ud| Sqe { ioprio: 64, ..send_zc(a, &buf, ud) };
    submit(&mut ring, &[flagged(bad(1), LINK), nop(2)])?;
    all_shots(&ring, &[(1, -EINVAL, MORE), (2, -ECANCELED, 0), (1, 0, NOTIF)])?;
    submit(&mut ring, &[flagged(nop(1), LINK), bad(2)])?;
    all_shots(&ring, &[(1, -ECANCELED, 0), (2, -EINVAL, 0), (2, 0, NOTIF)])?;
    submit(&mut ring, &[flagged(send_zc(a, &buf, 1), LINK), refused(2)])?;
    all_shots(&ring, &[(1, -ECANCELED, MORE), (2, -EINVAL, 0), (1, 0, NOTIF)])
}

fn a_waiting_zero_copy_send_is_cancelled() -> Outcome {
    let (mut ring, buf) = (ring()?, Buf::new(64));
    let (listener, port) = must("listener", os::tcp_listener())?;
    // With one connection queued, the next one is not answered: nothing can be sent.
    must("listen", os::listen(listener, 0))?;
    let first = must("socket", os::socket(libc::AF_INET, libc::SOCK_STREAM))?;
    must("connect", os::state::connect(first, port))?;
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
    let a = must("socket", os::socket(libc::AF_INET, kind))?;
    fails("connect", os::state::connect(a, port), libc::EINPROGRESS)?;
    submit(&mut ring, &[send_zc(a, &buf, 1)])?;
    pending(&ring)?;
    submit(&mut ring, &[cancel(1, 0, 2)])?;
    all_shots(&ring, &[(2, 0, 0), (1, -ECANCELED, MORE), (1, 0, NOTIF)])
}

fn a_drain_waits_for_a_notification() -> Outcome {
    let (mut ring, (a, _b), buf) = (ring()?, udp()?, Buf::new(64));
    submit(&mut ring, &[send_zc(a, &buf, 1), flagged(nop(2), DRAIN), nop(3)])?;
    all_shots(&ring, &[(1, 16, MORE), (1, 0, NOTIF), (2, 0, 0), (3, 0, 0)])
}

fn a_failed_zero_copy_send_reports_its_usage() -> Outcome {
    let (mut ring, (a, _b), buf) = (ring()?, udp()?, Buf::new(64));
    let zc = |fd| Sqe { ioprio: REPORT, ..send_zc(fd, &buf, 1) };
    let tries = [
        (zc(a), 16, i32::MIN),
        (Sqe { len: 0, ..zc(a) }, 0, i32::MIN),
        (zc(999), -EBADF, i32::MIN),
        (Sqe { addr: u64::MAX, ..zc(a) }, -EFAULT, i32::MIN),
        (Sqe { addr: 0x1000, ..zc(a) }, -EFAULT, 0),
        (Sqe { ioprio: REPORT | 64, ..zc(a) }, -EINVAL, 0),
    ];
    for (sqe, res, usage) in tries {
        submit(&mut ring, &[sqe])?;
        shots(&ring, &[(res, MORE), (usage, NOTIF)])?;
    }
    Ok(())
}

fn a_zero_copy_send_takes_a_registered_buffer() -> Outcome {
    let (mut ring, (a, b), (u, _), (_r, w)) = (ring()?, udp()?, pair()?, pipe()?);
    let buf = Buf::of(b"0123456789abcdef");
    let zc = |fd| Sqe { ioprio: FIXED_BUF, ..send_zc(fd, &buf, 1) };
    submit(&mut ring, &[zc(a)])?;
    shots(&ring, &[(-EFAULT, MORE), (0, NOTIF)])?;
    let iov = u64s(&[buf.addr(), 16, 0, 0]);
    must("BUFFERS", ring.register(reg::BUFFERS, iov.addr(), 2))?;
    let tries = [
        (zc(a), 16),
        (Sqe { len: 0, ..zc(a) }, 0),
        (Sqe { len: 17, ..zc(a) }, -EFAULT),
        (Sqe { len: u32::MAX, ..zc(a) }, -EFAULT),
        (Sqe { buf_index: 1, ..zc(a) }, -EFAULT),
        (Sqe { buf_index: 2, ..zc(a) }, -EFAULT),
        (Sqe { buf_index: 2, ..zc(u) }, -EOPNOTSUPP),
        (Sqe { buf_index: 2, ..zc(w) }, -ENOTSOCK),
        (Sqe { ioprio: FIXED_BUF | VECTORIZED, ..zc(a) }, -EINVAL),
        (Sqe { ioprio: FIXED_BUF | VECTORIZED, off: 16, file_index: 16, ..zc(a) }, -EFAULT),
    ];
    for (sqe, res) in tries {
        submit(&mut ring, &[sqe])?;
        shots(&ring, &[(res, MORE), (0, NOTIF)])?;
    }
    expect("arrives", get(b)?, b"0123456789abcdef".to_vec())
}

/// A `struct msghdr` behind its iovecs.
fn message(iovs: &[u64]) -> (Buf, u64) {
    let mem = u64s(iovs);
    let all = Buf::new(256);
    all.put(64, &mem.get(0, 8 * iovs.len()));
    all.put64(16, all.addr() + 64);
    all.put64(24, iovs.len() as u64 / 2);
    let addr = all.addr();
    (all, addr)
}

fn a_zero_copy_message_takes_a_registered_buffer() -> Outcome {
    let (mut ring, (a, b), (_r, w)) = (ring()?, udp()?, pipe()?);
    let buf = Buf::of(b"0123456789abcdef");
    let iov = u64s(&[buf.addr(), 16]);
    must("BUFFERS", ring.register(reg::BUFFERS, iov.addr(), 1))?;
    let at = buf.addr();
    let tries: [(&[u64], i32, i32); 6] = [
        (&[at + 4, 4, at, 2], a, 6),
        (&[], a, 0),
        (&[at, 4, at + 4, 0], a, -EFAULT),
        (&[at, 4, at + 8, 9], a, -EFAULT),
        (&[at, 17], w, -EFAULT),
        (&[at, 16], w, -ENOTSOCK),
    ];
    for (iovs, fd, res) in tries {
        let (_mem, addr) = message(iovs);
        submit(&mut ring, &[Sqe { ioprio: FIXED_BUF, ..rw(48, fd, addr, 1, 0, 1) }])?;
        shots(&ring, &[(res, MORE), (0, NOTIF)])?;
    }
    let (_mem, addr) = message(&[at, 17]);
    submit(&mut ring, &[Sqe { ioprio: FIXED_BUF, ..rw(48, 999, addr, 1, 0, 1) }])?;
    shots(&ring, &[(-EBADF, MORE), (0, NOTIF)])?;
    expect("arrives", get(b)?, b"456701".to_vec())
}

fn a_tag_follows_the_notification() -> Outcome {
    let (mut ring, (a, _b), (r, w), buf) = (ring()?, udp()?, pipe()?, Buf::new(64));
    let (iov, tag) = (u64s(&[buf.addr(), 64]), u64s(&[77]));
    let arg = u64s(&[1, 0, iov.addr(), tag.addr()]);
    must("BUFFERS2", ring.register(reg::BUFFERS2, arg.addr(), 32))?;
    let byte = Buf::new(8);
    let zc = Sqe { ioprio: FIXED_BUF, ..send_zc(a, &buf, 2) };
    submit(&mut ring, &[flagged(read(r, byte.addr(), 1, 0, 1), LINK), zc])?;
    put(w, b"x")?;
    all_shots(&ring, &[(1, 1, 0), (2, 16, MORE), (2, 0, NOTIF)])?;
    must("UNREGISTER", ring.register(reg::UNREGISTER_BUFFERS, 0, 0))?;
    ends(&ring, &[(77, 0)])
}

fn a_zero_copy_send_on_a_worker_notifies() -> Outcome {
    let (mut ring, (a, _b), (u, _v), buf) = (ring()?, udp()?, pair()?, Buf::new(64));
    submit(&mut ring, &[flagged(send_zc(a, &buf, 1), ASYNC)])?;
    shots(&ring, &[(16, MORE), (0, NOTIF)])?;
    submit(&mut ring, &[flagged(send_zc(u, &buf, 1), ASYNC | LINK), nop(2)])?;
    all_shots(&ring, &[(1, -EOPNOTSUPP, MORE), (2, -ECANCELED, 0), (1, 0, NOTIF)])
}

fn a_zero_copy_vector_is_sent() -> Outcome {
    let (mut ring, (a, b)) = (ring()?, udp()?);
    let buf = Buf::of(b"0123456789abcdef");
    let at = buf.addr();
    let (mem, addr) = message(&[at, 3, at + 8, 2]);
    let zc = Sqe { ioprio: VECTORIZED, ..rw(47, a, mem.addr() + 64, 2, 0, 1) };
    submit(&mut ring, &[zc])?;
    shots(&ring, &[(5, MORE), (0, NOTIF)])?;
    expect("arrives", get(b)?, b"01289".to_vec())?;
    for ioprio in [0, VECTORIZED, 1] {
        submit(&mut ring, &[Sqe { ioprio, ..rw(48, a, addr, 1, 0, 1) }])?;
        shots(&ring, &[(5, MORE), (0, NOTIF)])?;
        expect("arrives", get(b)?, b"01289".to_vec())?;
    }
    Ok(())
}

fn a_fixed_buffer_is_for_zero_copy_sends() -> Outcome {
    let (mut ring, (a, _b), buf) = (ring()?, udp()?, Buf::new(64));
    let (_mem, addr) = message(&[buf.addr(), 4]);
    res(&mut ring, Sqe { ioprio: FIXED_BUF, ..rw(op::SEND, a, buf.addr(), 4, 0, 1) }, -EINVAL)?;
    res(&mut ring, Sqe { ioprio: FIXED_BUF, ..rw(op::SENDMSG, a, addr, 1, 0, 2) }, -EINVAL)
}
