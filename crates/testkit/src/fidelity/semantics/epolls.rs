//! Section 1.1: EPOLL_WAIT.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "1.1",
        an_epoll_wait_takes_what_is_ready,
        "EPOLL_WAIT answers how many events it wrote, at most len; what is there by level stays there.",
        needs "EPOLL_WAIT"
    ),
    claim!(
        "1.1",
        an_epoll_wait_waits_for_readiness,
        "EPOLL_WAIT of a set without anything ready waits until something is, also in a slot.",
        needs "EPOLL_WAIT"
    ),
    claim!(
        "1.1",
        an_epoll_wait_is_cancelled,
        "An EPOLL_WAIT that waits is cancelled with ECANCELED.",
        needs "EPOLL_WAIT"
    ),
    claim!(
        "1.1",
        an_epoll_wait_that_fails_says_why,
        "EPOLL_WAIT of no epoll set is EINVAL, of no room EINVAL, of bad memory EFAULT.",
        needs "EPOLL_WAIT"
    ),
    claim!(
        "1.1",
        an_edge_is_taken_once,
        "What an EPOLL_WAIT took by edge the next one waits for.",
        needs "EPOLL_WAIT"
    ),
    claim!(
        "1.1",
        an_added_descriptor_wakes_an_epoll_wait,
        "An EPOLL_CTL that adds something ready ends an EPOLL_WAIT that waits.",
        needs "EPOLL_WAIT"
    ),
];

/// An epoll set with the reading end of a pipe in it.
struct Set {
    ep: i32,
    w: i32,
    room: Buf,
}

impl Set {
    fn new(events: i32) -> Res<Self> {
        let (ep, (r, w)) = (must("epoll", os::epoll_create())?, pipe()?);
        must("add", os::epoll_add(ep, r, events.cast_unsigned()))?;
        Ok(Self { ep, w, room: Buf::new(64) })
    }

    fn wait(&self, max: u32, ud: u64) -> Sqe {
        rw(op::EPOLL_WAIT, self.ep, self.room.addr(), max, 0, ud)
    }
}

fn an_epoll_wait_takes_what_is_ready() -> Outcome {
    let (mut ring, set) = (ring()?, Set::new(libc::EPOLLIN)?);
    let (r2, w2) = pipe()?;
    must("add", os::epoll_add(set.ep, r2, libc::EPOLLIN as u32))?;
    put(set.w, b"x")?;
    put(w2, b"x")?;
    res(&mut ring, set.wait(4, 1), 2)?;
    expect("the events", set.room.load(0), libc::EPOLLIN as u32)?;
    res(&mut ring, set.wait(1, 2), 1)?;
    res(&mut ring, set.wait(4, 3), 2)
}

fn an_epoll_wait_waits_for_readiness() -> Outcome {
    let (mut ring, set) = (ring()?, Set::new(libc::EPOLLIN)?);
    must("register", ring.register_files(&[set.ep]))?;
    submit(&mut ring, &[set.wait(4, 1)])?;
    waits(&ring)?;
    put(set.w, b"x")?;
    ends(&ring, &[(1, 1)])?;
    let other = Set::new(libc::EPOLLIN)?;
    must(
        "update",
        ring.register(reg::FILES_UPDATE, u64s(&[0, i32s(&[other.ep]).leak()]).leak(), 1),
    )?;
    submit(&mut ring, &[flagged(Sqe { fd: 0, ..other.wait(4, 2) }, FIXED)])?;
    waits(&ring)?;
    put(other.w, b"x")?;
    ends(&ring, &[(2, 1)])
}

fn an_epoll_wait_is_cancelled() -> Outcome {
    let (mut ring, set) = (ring()?, Set::new(libc::EPOLLIN)?);
    submit(&mut ring, &[set.wait(4, 1)])?;
    submit(&mut ring, &[cancel(1, 0, 2)])?;
    ends_all(&ring, &[(1, -ECANCELED), (2, 0)])
}

fn an_epoll_wait_that_fails_says_why() -> Outcome {
    let (mut ring, set) = (ring()?, Set::new(libc::EPOLLIN)?);
    put(set.w, b"x")?;
    res(&mut ring, Sqe { fd: set.w, ..set.wait(4, 1) }, -EINVAL)?;
    res(&mut ring, set.wait(0, 2), -EINVAL)?;
    res(&mut ring, set.wait(u32::MAX, 3), -EINVAL)?;
    res(&mut ring, Sqe { addr: 8, ..set.wait(4, 4) }, -EFAULT)?;
    res(&mut ring, Sqe { fd: 999, ..set.wait(4, 5) }, -EBADF)
}

fn an_edge_is_taken_once() -> Outcome {
    let (mut ring, set) = (ring()?, Set::new(libc::EPOLLIN | libc::EPOLLET)?);
    put(set.w, b"x")?;
    res(&mut ring, set.wait(4, 1), 1)?;
    submit(&mut ring, &[set.wait(4, 2)])?;
    waits(&ring)?;
    put(set.w, b"y")?;
    ends(&ring, &[(2, 1)])
}

fn an_added_descriptor_wakes_an_epoll_wait() -> Outcome {
    let (mut ring, set, (r, w)) = (ring()?, Set::new(libc::EPOLLIN)?, pipe()?);
    put(w, b"x")?;
    submit(&mut ring, &[set.wait(4, 1)])?;
    waits(&ring)?;
    let event = u64s(&[libc::EPOLLIN as u64, 0]);
    let add = rw(op::EPOLL_CTL, set.ep, event.addr(), 1, i64::from(r).cast_unsigned(), 2);
    submit(&mut ring, &[add])?;
    ends_all(&ring, &[(1, 1), (2, 0)])
}
