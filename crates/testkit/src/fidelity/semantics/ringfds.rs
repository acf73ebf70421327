//! Section 3.17: rings that a thread names by an index.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.17",
        a_registered_ring_is_entered_by_index,
        "RING_FDS gives an index to enter by, also when the descriptor is closed.",
        needs "REGISTER_RING_FDS", "ENTER_REGISTERED_RING"
    ),
    claim!(
        "3.17",
        a_ring_index_is_the_threads_own,
        "Another thread does not see the index: EINVAL, or EBADF once it had a ring.",
        needs "REGISTER_RING_FDS"
    ),
    claim!(
        "3.17",
        a_ring_registration_checks_its_entries,
        "RING_FDS with a taken index is EBUSY, one of 16 or more EINVAL, no ring EOPNOTSUPP, a bad descriptor EBADF.",
        needs "REGISTER_RING_FDS"
    ),
    claim!(
        "3.17",
        a_ring_can_have_an_index_only,
        "REGISTERED_FD_ONLY answers an index instead of a descriptor.",
        needs "SETUP_REGISTERED_FD_ONLY"
    ),
    claim!(
        "3.17",
        a_ring_is_registered_with_by_index,
        "Bit 31 of a register operation makes its descriptor an index; an empty one is EBADF, one of 16 or more EINVAL.",
        needs "FEAT_REG_REG_RING"
    ),
    claim!(
        "3.17",
        a_ring_registration_stops_at_the_first_error,
        "RING_FDS answers how many entries it did before a bad one; what they got stays, and their indices are written back.",
        needs "REGISTER_RING_FDS"
    ),
    claim!(
        "3.17",
        a_thread_has_sixteen_indices,
        "The seventeenth ring is EBUSY, and so is setup with REGISTERED_FD_ONLY; an index that is unregistered is free again.",
        needs "REGISTER_RING_FDS", "SETUP_REGISTERED_FD_ONLY"
    ),
    claim!(
        "3.17",
        a_thread_that_submitted_has_indices,
        "An index is EINVAL in a thread that never used a ring, EBADF after it submitted to one, and neither after a mere wait.",
        needs "REGISTER_RING_FDS"
    ),
    claim!(
        "3.17",
        a_child_has_none_of_the_indices,
        "In a forked child an index of its parent's is EINVAL.",
        needs "REGISTER_RING_FDS"
    ),
    claim!(
        "3.17",
        a_ring_lives_as_long_as_its_index,
        "A ring whose descriptor is closed ends when its last index is unregistered.",
        needs "REGISTER_RING_FDS", "UNREGISTER_RING_FDS"
    ),
    claim!(
        "3.17",
        a_ring_without_a_descriptor_ends_with_its_index,
        "A ring that has an index only ends when that is unregistered.",
        needs "SETUP_REGISTERED_FD_ONLY"
    ),
    claim!(
        "3.17",
        indices_go_with_their_thread,
        "A thread that ends gives its indices up: rings that had nothing else end.",
        needs "REGISTER_RING_FDS", "SETUP_REGISTERED_FD_ONLY"
    ),
    claim!(
        "3.17",
        an_index_works_while_the_thread_ends,
        "What runs at a thread's end still finds its indices.",
        needs "REGISTER_RING_FDS"
    ),
];

const REGISTERED_RING: u32 = 16;

/// RING_FDS of one entry: the index it got.
fn index_of(fd: i32, at: u32) -> Sys<u32> {
    let arg = u64s(&[u64::from(at), u64::from(fd.cast_unsigned())]);
    register_fd(fd, 20, arg.addr(), 1).map(|_| arg.get64(0) as u32)
}

fn enter_index(index: u32) -> Sys<u64> {
    enter_fd(index.cast_signed(), 0, 0, GETEVENTS | REGISTERED_RING)
}

fn a_registered_ring_is_entered_by_index() -> Outcome {
    let mut ring = ring()?;
    let index = must("RING_FDS", index_of(ring.fd, u32::MAX))?;
    expect("enter", enter_index(index), Ok(0))?;
    close(ring.fd)?;
    ring.fd = -1;
    ring.push(nop(1));
    let enter = enter_fd(index.cast_signed(), 1, 1, GETEVENTS | REGISTERED_RING);
    expect("enter when closed", enter, Ok(1))?;
    expect("it", ring.reap().map(|c| c.user_data), Some(1))
}

fn a_ring_index_is_the_threads_own() -> Outcome {
    let ring = ring()?;
    let index = must("RING_FDS", index_of(ring.fd, u32::MAX))?;
    let seen = on_thread(move || {
        let before = enter_index(index);
        let had = Ring::new(2, 0).is_ok();
        (before, had, enter_index(index))
    })?;
    expect("another thread", seen, (Err(Errno(EINVAL)), true, Err(Errno(EBADF))))
}

fn a_ring_registration_checks_its_entries() -> Outcome {
    let ring = ring()?;
    expect("index 3", index_of(ring.fd, 3), Ok(3))?;
    fails("index 3 again", index_of(ring.fd, 3), EBUSY)?;
    fails("index 16", index_of(ring.fd, 16), EINVAL)?;
    let entry = |fd: i32| {
        let arg = u64s(&[u64::from(u32::MAX), u64::from(fd.cast_unsigned())]);
        ring.register(20, arg.addr(), 1)
    };
    fails("no ring", entry(file(b"x")?), EOPNOTSUPP)?;
    fails("closed", entry(999), EBADF)
}

fn a_ring_can_have_an_index_only() -> Outcome {
    let _first = ring()?;
    let free = || {
        let fd = must("open", os::open("/dev/null", 0))?;
        must("close", os::close(fd)).map(|_| fd)
    };
    let before = free()?;
    let ring = must("setup", index_only(0))?;
    expect("the lowest free descriptor", free()?, before)?;
    expect("enter", enter_index(ring.index), Ok(0))
}

/// `IORING_REGISTER_USE_REGISTERED_RING`.
const BY_INDEX: u32 = 1 << 31;

/// UNREGISTER_RING_FDS of one index, by a ring that is named by another or the same.
fn forget(by: u32, index: u32) -> Sys<u64> {
    let arg = u64s(&[u64::from(index), 0]);
    register_fd(by.cast_signed(), 21 | BY_INDEX, arg.addr(), 1)
}

/// A ring without a descriptor, in memory of ours.
struct Indexed {
    index: u32,
    _memory: [Buf; 2],
}

/// REGISTERED_FD_ONLY.
fn index_only(flags: u32) -> Sys<Indexed> {
    let memory = [Buf::new(4096), Buf::new(4096)];
    let flags = (Setup::REGISTERED_FD_ONLY | Setup::NO_MMAP).bits() | flags;
    let mut p = Params { flags, ..Params::default() };
    let [rings, sqes] = &memory;
    (p.cq_off.user_addr, p.sq_off.user_addr) = (rings.addr(), sqes.addr());
    let index = setup_call(8, &mut p)?.cast_unsigned();
    Ok(Indexed { index, _memory: memory })
}

fn a_ring_is_registered_with_by_index() -> Outcome {
    let mut ring = ring()?;
    let by = |index: u32, opcode: u32, arg: u64, nr: u32| {
        register_fd(index.cast_signed(), opcode | BY_INDEX, arg, nr)
    };
    let index = must("RING_FDS", index_of(ring.fd, 5))?;
    close(ring.fd)?;
    ring.fd = -1;
    let fds = i32s(&[file(b"x")?]);
    expect("FILES", by(index, reg::FILES, fds.addr(), 1), Ok(0))?;
    fails("FILES again", by(index, reg::FILES, fds.addr(), 1), EBUSY)?;
    fails("an empty index", by(6, reg::UNREGISTER_FILES, 0, 0), EBADF)?;
    fails("no index", by(16, reg::UNREGISTER_FILES, 0, 0), EINVAL)?;
    fails("no operation", by(index, 36, 0, 0), EINVAL)?;
    expect("UNREGISTER_FILES", by(index, reg::UNREGISTER_FILES, 0, 0), Ok(0))
}

fn a_ring_registration_stops_at_the_first_error() -> Outcome {
    let ring = ring()?;
    let fd = u64::from(ring.fd.cast_unsigned());
    let any = u64::from(u32::MAX);
    let arg = u64s(&[any, fd, 9, fd, any, 999, any, fd]);
    expect("two of four", ring.register(20, arg.addr(), 4), Ok(2))?;
    let told: Vec<u64> = (0..4).map(|i| arg.get64(16 * i)).collect();
    expect("indices", told, vec![0, 9, any, any])?;
    expect("the first", enter_index(0), Ok(0))?;
    expect("the second", enter_index(9), Ok(0))?;
    fails("the next", enter_index(1), EBADF)?;
    let arg = u64s(&[9, 0, 3, 0, 16, 0, 0, 0]);
    expect("two of four", ring.register(21, arg.addr(), 4), Ok(2))?;
    fails("the second", enter_index(9), EBADF)?;
    expect("the first", enter_index(0), Ok(0))
}

fn a_thread_has_sixteen_indices() -> Outcome {
    let ring = ring()?;
    for i in 0..16 {
        expect("an index", index_of(ring.fd, u32::MAX), Ok(i))?;
    }
    fails("the seventeenth", index_of(ring.fd, u32::MAX), EBUSY)?;
    fails("setup", index_only(0).map(|r| r.index), EBUSY)?;
    expect("unregister", forget(3, 7), Ok(1))?;
    let again = must("setup", index_only(0))?;
    expect("the free one", again.index, 7)?;
    let descriptor = must("setup", Ring::new(4, 0))?;
    fails("another ring", index_of(descriptor.fd, u32::MAX), EBUSY)
}

fn a_thread_that_submitted_has_indices() -> Outcome {
    let mut ring = ring()?;
    ring.push(nop(1));
    let fd = ring.fd;
    let seen = on_thread(move || {
        let first = enter_index(3);
        let none = u64s(&[3, 0]);
        let nothing = register_fd(fd, 21, none.addr(), 1);
        let waited = enter_fd(fd, 0, 0, GETEVENTS);
        let second = enter_index(3);
        let submitted = enter_fd(fd, 1, 0, 0);
        ([first, nothing, waited, second, submitted], enter_index(3))
    })?;
    let not = Err(Errno(EINVAL));
    expect("another thread", seen, ([not, Ok(0), Ok(0), not, Ok(1)], Err(Errno(EBADF))))?;
    ends(&ring, &[(1, 0)])
}

fn a_child_has_none_of_the_indices() -> Outcome {
    let ring = ring()?;
    expect("an index", index_of(ring.fd, 2), Ok(2))?;
    let code = must("fork", os::in_child(|| i32::from(enter_index(2) != Err(Errno(EINVAL)))))?;
    expect("the child's answer", code, 0)?;
    expect("the parent's", enter_index(2), Ok(0))
}

/// Registers a pipe's write end as the ring's only file; answers the read end.
fn hold_pipe(index: u32) -> Res<i32> {
    let (r, w) = pipe()?;
    let fds = i32s(&[w]);
    let by = index.cast_signed();
    must("FILES", register_fd(by, reg::FILES | BY_INDEX, fds.addr(), 1))?;
    close(w)?;
    Ok(r)
}

fn ended(r: i32) -> Outcome {
    until("the end of the ring", || hung_up(r) == Ok(true))
}

fn a_ring_lives_as_long_as_its_index() -> Outcome {
    rings_end()?;
    let other = ring()?;
    let by = must("RING_FDS", index_of(other.fd, 15))?;
    let fd = must("setup", setup_call(4, &mut Params::default()))?;
    expect("two indices", (index_of(fd, 1), index_of(fd, 2)), (Ok(1), Ok(2)))?;
    let r = hold_pipe(1)?;
    close(fd)?;
    expect("unregister one", forget(by, 1), Ok(1))?;
    let _ = os::poll(-1, 0, 60);
    expect("it lives", hung_up(r)?, false)?;
    expect("enter", enter_index(2), Ok(0))?;
    expect("unregister the other by itself", forget(2, 2), Ok(1))?;
    fails("enter", enter_index(2), EBADF)?;
    ended(r)
}

fn a_ring_without_a_descriptor_ends_with_its_index() -> Outcome {
    rings_end()?;
    let ring = must("setup", index_only(0))?;
    let r = hold_pipe(ring.index)?;
    expect("unregister", forget(ring.index, ring.index), Ok(1))?;
    ended(r)
}

fn indices_go_with_their_thread() -> Outcome {
    rings_end()?;
    let (first, second) = on_thread(|| -> Res<(i32, i32)> {
        let only = must("setup", index_only(0))?;
        let fd = must("setup", setup_call(4, &mut Params::default()))?;
        let index = must("RING_FDS", index_of(fd, u32::MAX))?;
        close(fd)?;
        let held = (hold_pipe(only.index)?, hold_pipe(index)?);
        // Its memory outlives it, as it may.
        std::mem::forget(only);
        Ok(held)
    })??;
    ended(first)?;
    ended(second)
}

fn an_index_works_while_the_thread_ends() -> Outcome {
    /// Enters once more when its thread ends, as whoever owns a ring in a thread-local does.
    struct Last(u32, std::sync::mpsc::Sender<Sys<u64>>);
    impl Drop for Last {
        fn drop(&mut self) {
            let _ = self.1.send(enter_index(self.0));
        }
    }
    thread_local!(static LAST: std::cell::RefCell<Option<Last>> = const { std::cell::RefCell::new(None) });
    let (tell, told) = std::sync::mpsc::channel();
    let ring = ring()?;
    let fd = ring.fd;
    on_thread(move || {
        // Before the thread has any index: what is made first goes last.
        LAST.with_borrow_mut(|last| *last = None);
        let index = index_of(fd, 4)?;
        LAST.with_borrow_mut(|last| *last = Some(Last(index, tell)));
        Ok::<_, Errno>(())
    })?
    .map_err(|e| format!("{e:?}"))?;
    let answer = told.recv().map_err(|_| "nothing ran at the thread's end".to_owned())?;
    expect("enter", answer, Ok(0))
}
