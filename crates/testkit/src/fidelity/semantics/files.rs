//! Section 3.9: registered files, tags and direct descriptors.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.9",
        a_slot_holds_its_own_file,
        "A slot still is the old file when its descriptor was closed and the number reused."
    ),
    claim!(
        "3.9",
        a_slot_shares_the_file_position,
        "A slot and its descriptor share the file's position."
    ),
    claim!("3.9", a_descriptor_may_fill_many_slots, "The same descriptor may fill several slots."),
    claim!(
        "3.9",
        path_descriptors_are_refused,
        "An O_PATH descriptor is EBADF; epoll descriptors, sockets and eventfds are fine."
    ),
    claim!(
        "3.9",
        a_registration_is_all_or_nothing,
        "After an error no table exists and no tag is posted."
    ),
    claim!(
        "3.9",
        an_update_clears_leaves_and_replaces,
        "In an update -1 clears a slot, -2 leaves it, a descriptor replaces it; the answer is the number of slots."
    ),
    claim!(
        "3.9",
        an_update_stops_at_a_bad_descriptor_and_leaves_its_slot_empty,
        "An update of {ok, bad, ok} answers 1, and the bad one's slot is empty."
    ),
    claim!(
        "3.9",
        an_update_whose_first_is_bad_fails_and_empties_it,
        "An update whose first descriptor is bad is EBADF, its slot is empty."
    ),
    claim!(
        "3.9",
        a_removed_file_serves_its_requests,
        "A request in flight on a slot that is cleared ends on the old file, a new one is EBADF."
    ),
    claim!(
        "3.9",
        an_unregistration_does_not_wait,
        "UNREGISTER_FILES returns with a read pending, which ends on the old file."
    ),
    claim!(
        "3.9",
        a_queued_entry_finds_the_slot_empty,
        "An entry queued before the removal and submitted after it is EBADF."
    ),
    claim!(
        "3.9",
        an_idle_file_is_closed_in_the_call,
        "With nothing in flight the file is closed when the call returns."
    ),
    claim!(
        "3.9",
        a_tag_is_posted_when_its_slot_is_emptied,
        "A tag is a completion with its value and result 0 once its slot was emptied or replaced."
    ),
    claim!(
        "3.9",
        a_tag_comes_after_the_last_request,
        "A tag is posted after the completion of the last request on its file."
    ),
    claim!("3.9", tags_need_files, "A tag on an empty slot, or with -1 or -2, is EINVAL."),
    claim!(
        "3.9",
        an_unregistration_posts_tags_from_the_last_slot,
        "UNREGISTER_FILES posts tags in descending order of slots."
    ),
    claim!(
        "3.9",
        a_direct_open_fills_its_slot,
        "A direct open with a slot answers 0 and replaces what was there."
    ),
    claim!(
        "3.9",
        a_direct_open_can_choose_its_slot,
        "A direct open with ALLOC answers the slot, ENFILE when none is free."
    ),
    claim!(
        "3.9",
        a_direct_open_needs_a_table,
        "A direct open into a slot without a table is ENXIO, with ALLOC ENFILE, beyond the table EINVAL."
    ),
    claim!(
        "3.9",
        a_direct_descriptor_is_not_close_on_exec,
        "O_CLOEXEC with a direct open is EINVAL."
    ),
    claim!(
        "3.9",
        a_failed_direct_open_leaves_the_slot,
        "A direct open that fails leaves an occupied slot alone."
    ),
    claim!(
        "3.9",
        a_direct_accept_fills_a_slot,
        "ACCEPT into a slot answers 0, with ALLOC the slot: the one behind."
    ),
    claim!(
        "3.9",
        an_allocation_range_is_kept,
        "FILE_ALLOC_RANGE limits ALLOC, not explicit slots."
    ),
    claim!(
        "3.9",
        an_allocation_goes_on_from_the_last,
        "ALLOC goes on behind the slot it chose last and wraps inside the range."
    ),
    claim!(
        "3.9",
        files_update_allocates_and_writes_back,
        "FILES_UPDATE at offset -1 chooses a slot for each descriptor, writes the numbers back and stops at a bad one."
    ),
    claim!(
        "3.9",
        a_direct_close_names_its_slot,
        "CLOSE of slot+1 empties it; with FIXED_FILE it is EBADF, of an empty slot EBADF."
    ),
    claim!(
        "3.9",
        an_installed_descriptor_leaves_the_slot,
        "FIXED_FD_INSTALL makes a close-on-exec descriptor, with NO_CLOEXEC another one; the slot stays.",
        needs "FIXED_FD_INSTALL"
    ),
    claim!(
        "3.9",
        a_direct_pipe_takes_two_slots,
        "PIPE into slot n fills n and n+1 and writes their numbers to the array.",
        needs "PIPE"
    ),
    claim!(
        "3.9",
        a_direct_socket_fills_a_slot,
        "SOCKET into a slot answers 0, with ALLOC the slot.",
        needs "SOCKET"
    ),
    claim!("3.9", a_sparse_table_is_empty, "RSRC_REGISTER_SPARSE makes a table of empty slots."),
    claim!(
        "3.3",
        two_slots_of_one_file_wait_side_by_side,
        "Requests on two slots that were registered from one number both wait."
    ),
];

const NONE: u32 = u32::MAX;

/// `struct io_uring_rsrc_register` of files with tags.
fn register_tagged(ring: &Ring, fds: &[i32], tags: &[u64]) -> Sys<u64> {
    let (fds, tags, nr) = (i32s(fds), u64s(tags), fds.len() as u64);
    let arg = u64s(&[nr, 0, fds.addr(), tags.addr()]);
    ring.register(reg::FILES2, arg.addr(), 32)
}

/// `struct io_uring_rsrc_update2` of files with tags.
fn update_tagged(ring: &Ring, off: u64, fds: &[i32], tags: &[u64]) -> Sys<u64> {
    let (list, tags, nr) = (i32s(fds), u64s(tags), fds.len() as u64);
    let arg = u64s(&[off, list.addr(), tags.addr(), nr]);
    ring.register(reg::FILES_UPDATE2, arg.addr(), 32)
}

/// `struct io_uring_rsrc_update`.
fn update(ring: &Ring, off: u64, fds: &[i32]) -> Sys<u64> {
    let list = i32s(fds);
    let arg = u64s(&[off, list.addr()]);
    ring.register(reg::FILES_UPDATE, arg.addr(), fds.len() as u32)
}

fn sparse(ring: &Ring, nr: u64) -> Outcome {
    let arg = u64s(&[nr | 1 << 32, 0, 0, 0]);
    must("register", ring.register(reg::FILES2, arg.addr(), 32)).map(|_| ())
}

/// What the first byte of a slot's file is: `-` for an empty slot.
fn byte(ring: &mut Ring, slot: i32) -> Res<char> {
    let buf = Buf::of(b"-");
    let c = must("one", ring.one(flagged(read(slot, buf.addr(), 1, 0, 0xb), FIXED)))?;
    match c.res {
        1 => Ok(buf.get(0, 1)[0].into()),
        r if r == -EBADF => Ok('-'),
        r => Err(format!("slot {slot}: {r}")),
    }
}

fn slots(ring: &mut Ring, want: &str) -> Outcome {
    let mut got = String::new();
    for slot in 0..want.len() {
        got.push(byte(ring, slot as i32)?);
    }
    expect("the slots", got.as_str(), want)
}

fn a_slot_holds_its_own_file() -> Outcome {
    let mut ring = ring()?;
    let old = file(b"old")?;
    must("register", ring.register_files(&[old]))?;
    close(old)?;
    let new = must("open", os::open("/dev/zero", libc::O_RDONLY))?;
    expect("the number was reused", new, old)?;
    slots(&mut ring, "o")
}

fn a_slot_shares_the_file_position() -> Outcome {
    let mut ring = ring()?;
    let (f, buf) = (file(b"abcdef")?, Buf::new(8));
    expect("lseek", os::raw(libc::SYS_lseek, [f as u64, 0, 0]), Ok(0))?;
    must("register", ring.register_files(&[f]))?;
    res(&mut ring, flagged(read(0, buf.addr(), 2, u64::MAX, 1), FIXED), 2)?;
    expect("through the descriptor", get(f)?, b"cdef".to_vec())
}

fn a_descriptor_may_fill_many_slots() -> Outcome {
    let mut ring = ring()?;
    let f = file(b"a")?;
    must("register", ring.register_files(&[f, f, f]))?;
    slots(&mut ring, "aaa")
}

fn path_descriptors_are_refused() -> Outcome {
    let ring = ring()?;
    let path = must("open", os::open("/", libc::O_PATH))?;
    fails("O_PATH", ring.register_files(&[path]), EBADF)?;
    let (a, _b) = pair()?;
    let fds = [must("epoll", os::epoll_create())?, must("eventfd", os::eventfd(0, 0))?, a];
    expect("others", ring.register_files(&fds), Ok(0))
}

fn a_registration_is_all_or_nothing() -> Outcome {
    let mut ring = ring()?;
    let f = file(b"a")?;
    fails("register", register_tagged(&ring, &[f, f, 999], &[1, 2, 3]), EBADF)?;
    fails("unregister", ring.register(reg::UNREGISTER_FILES, 0, 0), ENXIO)?;
    no_more(&mut ring)
}

fn an_update_clears_leaves_and_replaces() -> Outcome {
    let mut ring = ring()?;
    let (a, b) = (file(b"a")?, file(b"b")?);
    must("register", ring.register_files(&[a, a, -1]))?;
    expect("update", update(&ring, 0, &[-1, -2, b]), Ok(3))?;
    slots(&mut ring, "-ab")
}

fn an_update_stops_at_a_bad_descriptor_and_leaves_its_slot_empty() -> Outcome {
    let mut ring = ring()?;
    let (a, b) = (file(b"a")?, file(b"b")?);
    must("register", ring.register_files(&[a, a, a]))?;
    expect("update", update(&ring, 0, &[b, 999, b]), Ok(1))?;
    slots(&mut ring, "b-a")
}

fn an_update_whose_first_is_bad_fails_and_empties_it() -> Outcome {
    let mut ring = ring()?;
    let a = file(b"a")?;
    must("register", ring.register_files(&[a, a]))?;
    fails("update", update(&ring, 0, &[999]), EBADF)?;
    slots(&mut ring, "-a")
}

fn a_removed_file_serves_its_requests() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    must("register", ring.register_files(&[r]))?;
    close(r)?;
    let s = |ud| flagged(read(0, buf.addr(), 8, 0, ud), FIXED);
    submit(&mut ring, &[s(1)])?;
    expect("update", update(&ring, 0, &[-1]), Ok(1))?;
    res(&mut ring, s(2), -EBADF)?;
    put(w, b"abc")?;
    ends(&ring, &[(1, 3)])?;
    fails_with_sigpipe(w)
}

/// The last reader goes with the request: soon, a write finds none.
fn fails_with_sigpipe(w: i32) -> Outcome {
    must("ignore", os::on_signal(libc::SIGPIPE, ignore, 0))?;
    until("the file is closed", || os::write(w, b"x") == Err(Errno(EPIPE)))
}

extern "C" fn ignore(_: i32) {}

fn an_unregistration_does_not_wait() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    must("register", ring.register_files(&[r]))?;
    let s = |ud| flagged(read(0, buf.addr(), 8, 0, ud), FIXED);
    submit(&mut ring, &[s(1), s(2)])?;
    expect("unregister", ring.register(reg::UNREGISTER_FILES, 0, 0), Ok(0))?;
    res(&mut ring, s(3), -EBADF)?;
    put(w, b"a")?;
    let first = must("wait", ring.wait())?;
    expect("one of them", first.res, 1)?;
    put(w, b"b")?;
    ends(&ring, &[(3 - first.user_data, 1)])
}

fn a_queued_entry_finds_the_slot_empty() -> Outcome {
    let mut ring = ring()?;
    let (f, buf) = (file(b"a")?, Buf::new(8));
    must("register", ring.register_files(&[f]))?;
    ring.push(flagged(read(0, buf.addr(), 1, 0, 1), FIXED));
    must("unregister", ring.register(reg::UNREGISTER_FILES, 0, 0))?;
    must("submit", ring.submit(0))?;
    ends(&ring, &[(1, -EBADF)])
}

fn an_idle_file_is_closed_in_the_call() -> Outcome {
    let ring = ring()?;
    for empty in [true, false] {
        let (r, w) = pipe()?;
        must("register", ring.register_files(&[w]))?;
        close(w)?;
        expect("held", hung_up(r)?, false)?;
        if empty {
            expect("update", update(&ring, 0, &[-1]), Ok(1))?;
        }
        must("unregister", ring.register(reg::UNREGISTER_FILES, 0, 0))?;
        expect("closed", hung_up(r)?, true)?;
    }
    Ok(())
}

fn a_tag_is_posted_when_its_slot_is_emptied() -> Outcome {
    let mut ring = ring()?;
    let (a, b) = (file(b"a")?, file(b"b")?);
    must("register", register_tagged(&ring, &[a, a, a], &[11, 12, 0]))?;
    expect("clear", update(&ring, 0, &[-1]), Ok(1))?;
    ends_flags(&ring, &[(11, 0, 0)])?;
    expect("replace", update_tagged(&ring, 1, &[b], &[21]), Ok(1))?;
    ends_flags(&ring, &[(12, 0, 0)])?;
    expect("clear one without", update(&ring, 2, &[-1]), Ok(1))?;
    no_more(&mut ring)?;
    must("unregister", ring.register(reg::UNREGISTER_FILES, 0, 0))?;
    ends(&ring, &[(21, 0)])
}

fn a_tag_comes_after_the_last_request() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    must("register", register_tagged(&ring, &[r], &[11]))?;
    submit(&mut ring, &[flagged(read(0, buf.addr(), 8, 0, 1), FIXED)])?;
    must("unregister", ring.register(reg::UNREGISTER_FILES, 0, 0))?;
    pending(&ring)?;
    put(w, b"x")?;
    ends(&ring, &[(1, 1), (11, 0)])
}

fn tags_need_files() -> Outcome {
    let ring = ring()?;
    let a = file(b"a")?;
    fails("on an empty slot", register_tagged(&ring, &[a, -1], &[1, 2]), EINVAL)?;
    must("register", register_tagged(&ring, &[a, a], &[0, 0]))?;
    for fd in [-1, -2] {
        fails("in an update", update_tagged(&ring, 0, &[fd], &[9]), EINVAL)?;
    }
    Ok(())
}

fn an_unregistration_posts_tags_from_the_last_slot() -> Outcome {
    let ring = ring()?;
    let a = file(b"a")?;
    must("register", register_tagged(&ring, &[a, a, a], &[1, 2, 3]))?;
    must("unregister", ring.register(reg::UNREGISTER_FILES, 0, 0))?;
    ends(&ring, &[(3, 0), (2, 0), (1, 0)])
}

/// OPENAT of a path into a slot.
fn open_direct(path: &Buf, slot: u32, ud: u64) -> Sqe {
    Sqe { file_index: slot, ..rw(op::OPENAT, libc::AT_FDCWD, path.addr(), 0, 0, ud) }
}

fn null() -> Buf {
    Buf::of(b"/dev/zero\0")
}

/// Whether the slot is /dev/zero.
fn is_zero(ring: &mut Ring, slot: i32) -> Outcome {
    expect("the slot's byte", byte(ring, slot)?, '\0')
}

fn a_direct_open_fills_its_slot() -> Outcome {
    let mut ring = ring()?;
    let path = null();
    must("register", register_tagged(&ring, &[file(b"a")?, -1], &[7, 0]))?;
    res(&mut ring, open_direct(&path, 2, 1), 0)?;
    is_zero(&mut ring, 1)?;
    submit(&mut ring, &[open_direct(&path, 1, 2)])?;
    ends_all(&ring, &[(2, 0), (7, 0)])?;
    is_zero(&mut ring, 0)
}

fn a_direct_open_can_choose_its_slot() -> Outcome {
    let mut ring = ring()?;
    let path = null();
    sparse(&ring, 2)?;
    res(&mut ring, open_direct(&path, NONE, 1), 0)?;
    res(&mut ring, open_direct(&path, NONE, 2), 1)?;
    res(&mut ring, open_direct(&path, NONE, 3), -ENFILE)?;
    is_zero(&mut ring, 1)
}

fn a_direct_open_needs_a_table() -> Outcome {
    let mut ring = ring()?;
    let path = null();
    res(&mut ring, open_direct(&path, 1, 1), -ENXIO)?;
    res(&mut ring, open_direct(&path, NONE, 2), -ENFILE)?;
    sparse(&ring, 2)?;
    res(&mut ring, open_direct(&path, 3, 3), -EINVAL)
}

fn a_direct_descriptor_is_not_close_on_exec() -> Outcome {
    let mut ring = ring()?;
    sparse(&ring, 2)?;
    let op_flags = libc::O_CLOEXEC.cast_unsigned();
    res(&mut ring, Sqe { op_flags, ..open_direct(&null(), 1, 1) }, -EINVAL)
}

fn a_failed_direct_open_leaves_the_slot() -> Outcome {
    let mut ring = ring()?;
    must("register", ring.register_files(&[file(b"a")?]))?;
    res(&mut ring, open_direct(&Buf::of(b"/nowhere/at/all\0"), 1, 1), -ENOENT)?;
    slots(&mut ring, "a")
}

fn a_direct_accept_fills_a_slot() -> Outcome {
    let mut ring = ring()?;
    sparse(&ring, 3)?;
    let (listener, port) = must("listener", os::tcp_listener())?;
    let addr = Buf::of(&os::loopback(port));
    for (ud, file_index, want) in [(1, 2, 0), (2, NONE, 2)] {
        let c = must("socket", os::socket(libc::AF_INET, libc::SOCK_STREAM))?;
        res(&mut ring, rw(op::CONNECT, c, addr.addr(), 0, 16, 9), 0)?;
        res(&mut ring, Sqe { file_index, ..of_fd(op::ACCEPT, listener, ud) }, want)?;
    }
    let buf = Buf::new(8);
    for slot in 1..3 {
        let s = flagged(rw(op::SEND, slot, buf.addr(), 8, 0, 3), FIXED);
        res(&mut ring, s, 8)?;
    }
    Ok(())
}

/// FILE_ALLOC_RANGE: {off, len, reserved}.
fn range(ring: &Ring, off: u64, len: u64) -> Outcome {
    let arg = u64s(&[off | len << 32, 0]);
    must("range", ring.register(reg::FILE_ALLOC_RANGE, arg.addr(), 0)).map(|_| ())
}

fn an_allocation_range_is_kept() -> Outcome {
    let mut ring = ring()?;
    let path = null();
    sparse(&ring, 4)?;
    range(&ring, 1, 2)?;
    res(&mut ring, open_direct(&path, NONE, 1), 1)?;
    res(&mut ring, open_direct(&path, NONE, 2), 2)?;
    res(&mut ring, open_direct(&path, NONE, 3), -ENFILE)?;
    res(&mut ring, open_direct(&path, 4, 4), 0)
}

fn an_allocation_goes_on_from_the_last() -> Outcome {
    let mut ring = ring()?;
    let path = null();
    sparse(&ring, 3)?;
    res(&mut ring, open_direct(&path, NONE, 1), 0)?;
    res(&mut ring, open_direct(&path, NONE, 2), 1)?;
    res(&mut ring, open_direct(&path, NONE, 3), 2)?;
    expect("update", update(&ring, 1, &[-1]), Ok(1))?;
    res(&mut ring, open_direct(&path, NONE, 4), 1)
}

fn files_update_allocates_and_writes_back() -> Outcome {
    let mut ring = ring()?;
    sparse(&ring, 4)?;
    let (a, b) = (file(b"a")?, file(b"b")?);
    let list = i32s(&[a, b, 999]);
    let all = rw(op::FILES_UPDATE, 0, list.addr(), 3, u64::from(NONE), 1);
    res(&mut ring, all, 2)?;
    let numbers: Vec<u8> = [0, 1, 999_i32].iter().flat_map(|x| x.to_ne_bytes()).collect();
    expect("the array", list.get(0, 12), numbers)?;
    slots(&mut ring, "ab--")
}

fn a_direct_close_names_its_slot() -> Outcome {
    let mut ring = ring()?;
    let (a, b) = (file(b"a")?, file(b"b")?);
    must("register", ring.register_files(&[a, b]))?;
    let close = |slot, flags| Sqe { file_index: slot, flags, ..of(op::CLOSE, 1) };
    res(&mut ring, close(1, FIXED), -EBADF)?;
    res(&mut ring, close(2, 0), 0)?;
    slots(&mut ring, "a-")?;
    res(&mut ring, close(2, 0), -EBADF)
}

fn an_installed_descriptor_leaves_the_slot() -> Outcome {
    let mut ring = ring()?;
    must("register", ring.register_files(&[file(b"a")?]))?;
    for (op_flags, cloexec) in [(0, libc::FD_CLOEXEC), (1, 0)] {
        let install = Sqe { op_flags, ..flagged(of_fd(54, 0, 1), FIXED) };
        let fd = must("install", ring.result(install))?;
        expect("F_GETFD", os::fcntl(fd, libc::F_GETFD, 0), Ok(cloexec))?;
    }
    slots(&mut ring, "a")
}

fn a_direct_pipe_takes_two_slots() -> Outcome {
    let mut ring = ring()?;
    sparse(&ring, 4)?;
    let (fds, buf) = (Buf::new(8), Buf::of(b"abc"));
    let pipe = |file_index, ud| Sqe { file_index, ..rw(62, 0, fds.addr(), 0, 0, ud) };
    res(&mut ring, pipe(2, 1), 0)?;
    expect("the numbers", fds.get64(0), 1 | 2 << 32)?;
    res(&mut ring, flagged(write(2, buf.addr(), 3, 0, 2), FIXED), 3)?;
    res(&mut ring, flagged(read(1, buf.addr(), 8, 0, 3), FIXED), 3)?;
    res(&mut ring, pipe(NONE, 4), 0)?;
    let mut chosen = [fds.get64(0) as u32, (fds.get64(0) >> 32) as u32];
    chosen.sort_unstable();
    expect("the chosen ones", chosen, [0, 3])
}

fn a_direct_socket_fills_a_slot() -> Outcome {
    let mut ring = ring()?;
    sparse(&ring, 2)?;
    let off = libc::SOCK_DGRAM as u64;
    let socket = |file_index, ud| Sqe { file_index, off, ..of_fd(45, libc::AF_UNIX, ud) };
    res(&mut ring, socket(2, 1), 0)?;
    res(&mut ring, socket(NONE, 2), 0)?;
    res(&mut ring, socket(NONE, 3), -ENFILE)
}

fn a_sparse_table_is_empty() -> Outcome {
    let mut ring = ring()?;
    sparse(&ring, 3)?;
    slots(&mut ring, "---")?;
    fails("it is one", ring.register_files(&[0]), EBUSY)
}

fn two_slots_of_one_file_wait_side_by_side() -> Outcome {
    let (mut ring, (r, w), buf) = (ring()?, pipe()?, Buf::new(16));
    must("register", ring.register_files(&[r, r]))?;
    let read_slot =
        |slot: i32| flagged(read(slot, buf.addr() + 8 * slot as u64, 1, 0, 1 + slot as u64), FIXED);
    submit(&mut ring, &[read_slot(0), read_slot(1)])?;
    pending(&ring)?;
    put(w, b"ab")?;
    ends_all(&ring, &[(1, 1), (2, 1)])?;
    // And once more, when one of them is gone.
    submit(&mut ring, &[read_slot(0), read_slot(1)])?;
    must("update", update(&ring, 0, &[-1]))?;
    put(w, b"cd")?;
    ends_all(&ring, &[(1, 1), (2, 1)])
}
