//! Section 3.13: sends without a copy, and their notifications.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.13",
        a_zero_copy_send_posts_twice,
        "SEND_ZC posts its result with MORE, then a notification of the same name.",
        needs "SEND_ZC"
    ),
    claim!(
        "3.13",
        a_zero_copy_send_tells_of_the_copy,
        "With REPORT_USAGE the notification says that loopback copied.",
        needs "SEND_ZC"
    ),
    claim!(
        "3.13",
        a_failed_zero_copy_send_notifies_too,
        "A SEND_ZC that fails posts its error with MORE, then the notification.",
        needs "SEND_ZC"
    ),
    claim!(
        "3.13",
        a_zero_copy_send_needs_a_protocol,
        "SEND_ZC over AF_UNIX is EOPNOTSUPP, a pipe ENOTSOCK.",
        needs "SEND_ZC"
    ),
    claim!(
        "3.13",
        a_refused_zero_copy_send_posts_once,
        "A SEND_ZC with addr3 or CQE_SKIP posts one EINVAL without MORE.",
        needs "SEND_ZC"
    ),
    claim!(
        "3.13",
        a_cancelled_zero_copy_send_notifies,
        "A SEND_ZC that is cancelled by its chain posts ECANCELED without MORE, and a notification.",
        needs "SEND_ZC"
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
