//! Section 3.11: provided buffers, as a list and as a ring, incremental and bundled.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.11",
        the_smaller_length_is_used,
        "A receive into a provided buffer takes at most its own length and the buffer's; 0 is the buffer's.",
        needs "REGISTER_PBUF_RING"
    ),
    claim!(
        "3.11",
        the_completion_names_the_buffer,
        "The completion has flag BUFFER and the buffer's id in the upper half.",
        needs "REGISTER_PBUF_RING", "IOSQE_BUFFER_SELECT", "CQE_F_BUFFER"
    ),
    claim!(
        "3.11",
        an_empty_group_is_enobufs,
        "A receive from an empty or unknown group is ENOBUFS at once, without data too.",
        needs "IOSQE_BUFFER_SELECT"
    ),
    claim!(
        "3.11",
        a_send_from_an_unknown_group_is_enoent,
        "A SEND from an unknown group is ENOENT.",
        needs "IOSQE_BUFFER_SELECT"
    ),
    claim!(
        "3.11",
        a_list_is_first_in_first_out,
        "PROVIDE_BUFFERS answers 0, its buffers are taken in order, ids may repeat.",
        needs "PROVIDE_BUFFERS"
    ),
    claim!(
        "3.11",
        a_removal_counts,
        "REMOVE_BUFFERS answers how many it took from the group, ENOENT for an unknown one.",
        needs "PROVIDE_BUFFERS", "REMOVE_BUFFERS"
    ),
    claim!(
        "3.11",
        a_pending_read_keeps_its_listed_buffer,
        "A pending READ keeps its listed buffer: REMOVE finds one fewer, a cancel reports it.",
        needs "PROVIDE_BUFFERS"
    ),
    claim!(
        "3.11",
        a_pending_recv_gives_its_listed_buffer_back,
        "A pending RECV gives its listed buffer back and finds ENOBUFS when the group is empty by then.",
        needs "PROVIDE_BUFFERS"
    ),
    claim!(
        "3.11",
        a_failure_after_selection_reports_the_buffer,
        "EFAULT from a provided buffer comes with flag BUFFER.",
        needs "PROVIDE_BUFFERS"
    ),
    claim!(
        "3.11",
        an_error_before_selection_takes_nothing,
        "A bad descriptor takes no buffer.",
        needs "PROVIDE_BUFFERS"
    ),
    claim!(
        "3.11",
        a_buffer_ring_checks_its_registration,
        "NULL is EFAULT; unaligned, no power of two, 65536 entries, reserved or unknown bits are EINVAL; a group that exists is EEXIST.",
        needs "REGISTER_PBUF_RING"
    ),
    claim!(
        "3.11",
        an_emptied_list_becomes_a_ring,
        "A group with listed buffers is EEXIST for a ring, an emptied one is converted.",
        needs "REGISTER_PBUF_RING"
    ),
    claim!(
        "3.11",
        a_ring_group_takes_no_list,
        "PROVIDE_BUFFERS and REMOVE_BUFFERS on a ring's group are EINVAL.",
        needs "REGISTER_PBUF_RING"
    ),
    claim!(
        "3.11",
        a_mapped_buffer_ring_stays_readable,
        "With MMAP the ring is mapped by its group, unknown groups are ENOMEM, and it stays readable after its end.",
        needs "REGISTER_PBUF_RING", "PBUF_RING_MMAP"
    ),
    claim!(
        "3.11",
        pending_reads_take_buffers_when_they_complete,
        "Pending reads hold no buffer of a ring: they take them as they complete.",
        needs "REGISTER_PBUF_RING", "REGISTER_PBUF_STATUS"
    ),
    claim!(
        "3.11",
        a_group_can_go_under_a_pending_read,
        "Unregistering the group under a pending read makes it ENOBUFS.",
        needs "REGISTER_PBUF_RING", "UNREGISTER_PBUF_RING"
    ),
    claim!(
        "3.11",
        the_end_of_a_file_takes_a_buffer,
        "EOF of a regular file takes a buffer of a ring, EOF of a socket does not.",
        needs "REGISTER_PBUF_RING"
    ),
    claim!(
        "3.11",
        a_cancelled_worker_read_takes_its_buffer,
        "A cancelled IOSQE_ASYNC read reports its buffer, the head has moved.",
        needs "REGISTER_PBUF_RING"
    ),
    claim!(
        "3.11",
        an_incremental_buffer_is_used_up,
        "With INC a buffer of 100 bytes serves 32, 60 and 8: BUF_MORE but on the last.",
        needs "REGISTER_PBUF_RING", "PBUF_RING_INC", "CQE_F_BUF_MORE"
    ),
    claim!(
        "3.11",
        a_bundle_receives_into_several_buffers,
        "RECV with BUNDLE fills buffers from the first one named, the last one partly.",
        needs "RECVSEND_BUNDLE"
    ),
    claim!(
        "3.11",
        a_bundle_sends_several_buffers,
        "SEND with BUNDLE sends three buffers of 64 bytes as one completion of 192.",
        needs "RECVSEND_BUNDLE", "FEAT_RECVSEND_BUNDLE"
    ),
    claim!(
        "3.11",
        a_bundle_appends_what_is_left,
        "A bundle without a length fills a buffer, then as many as are filled by what is left.",
        needs "RECVSEND_BUNDLE"
    ),
    claim!(
        "3.11",
        a_bundle_of_a_length_takes_no_part_of_a_buffer,
        "RECV with BUNDLE and a length takes buffers that fit into it, or a part of the first.",
        needs "RECVSEND_BUNDLE"
    ),
    claim!(
        "3.11",
        a_bundle_of_an_unknown_group_is_enoent,
        "RECV with BUNDLE from an unknown group is ENOENT, from an empty one ENOBUFS.",
        needs "RECVSEND_BUNDLE"
    ),
    claim!(
        "3.11",
        a_bundle_of_a_list_is_of_single_buffers,
        "SEND with BUNDLE from a list sends a buffer a completion, RECV fills one and what is left.",
        needs "RECVSEND_BUNDLE"
    ),
    claim!(
        "3.11",
        a_bundle_of_many_buffers_is_sent_in_parts,
        "SEND with BUNDLE takes 256 buffers at most with a length, then goes on with MORE.",
        needs "RECVSEND_BUNDLE"
    ),
    claim!(
        "3.11",
        an_incremental_bundle_goes_on_in_its_last_buffer,
        "A bundle of incremental buffers leaves the rest of the last one.",
        needs "RECVSEND_BUNDLE", "PBUF_RING_INC"
    ),
    claim!(
        "3.11",
        a_multishot_bundle_tells_all_at_once,
        "A multishot RECV with BUNDLE tells the buffers that are filled at once in one completion, then the rest.",
        needs "RECVSEND_BUNDLE"
    ),
    claim!(
        "3.11",
        a_bundle_without_provided_buffers_ends_with_nothing,
        "SEND with BUNDLE and a buffer of its own tells its bytes with MORE, then 0.",
        needs "RECVSEND_BUNDLE"
    ),
    claim!(
        "2.7",
        a_vectorised_send_sends_what_its_iovecs_say,
        "SEND_VECTORIZED sends the pieces of an array; a bad array is EFAULT, too long a one EINVAL.",
        needs "SEND_VECTORIZED"
    ),
];

fn the_smaller_length_is_used() -> Outcome {
    let (mut ring, (a, b)) = (ring()?, pair()?);
    let mut group = BufRing::new(&ring, 1, 4, 0)?;
    (0..2).for_each(|id| group.add(id, 16));
    put(b, b"abcdefghijklmnopqrstuvwxyz")?;
    ends_one(&mut ring, select(rw(op::RECV, a, 0, 4, 0, 1), 1), 4)?;
    ends_one(&mut ring, select(rw(op::RECV, a, 0, 0, 0, 2), 1), 16)?;
    expect("the bytes", group.data.get(64, 16), b"efghijklmnopqrst".to_vec())
}

/// The result, whatever the flags.
fn ends_one(ring: &mut Ring, sqe: Sqe, want: i32) -> Outcome {
    expect("the result", must("one", ring.one(sqe))?.res, want)
}

fn the_completion_names_the_buffer() -> Outcome {
    let (mut ring, (a, b)) = (ring()?, pair()?);
    let mut group = BufRing::new(&ring, 1, 4, 0)?;
    group.add(7, 16);
    put(b, b"abc")?;
    submit(&mut ring, &[select(rw(op::RECV, a, 0, 16, 0, 1), 1)])?;
    let c = must("wait", ring.wait())?;
    expect("id and flag", (c.res, c.flags >> 16, c.flags & BUFFER), (3, 7, BUFFER))
}

fn an_empty_group_is_enobufs() -> Outcome {
    let (mut ring, (a, _b)) = (ring()?, pair()?);
    res(&mut ring, select(rw(op::RECV, a, 0, 16, 0, 1), 9), -ENOBUFS)?;
    let _group = BufRing::new(&ring, 1, 4, 0)?;
    res(&mut ring, select(rw(op::RECV, a, 0, 16, 0, 2), 1), -ENOBUFS)
}

fn a_send_from_an_unknown_group_is_enoent() -> Outcome {
    let (mut ring, (a, _b)) = (ring()?, pair()?);
    let s = select(rw(op::SEND, a, 0, 16, 0, 1), 9);
    res(&mut ring, s, -ENOENT)
}

/// PROVIDE_BUFFERS: `n` of `len` bytes from `addr`, the first one called `id`, into group 1.
fn provide(addr: u64, len: u32, n: i32, id: u64, ud: u64) -> Sqe {
    Sqe { buf_index: 1, ..rw(31, n, addr, len, id, ud) }
}

fn remove(n: i32, group: u16, ud: u64) -> Sqe {
    Sqe { buf_index: group, ..of_fd(32, n, ud) }
}

fn a_list_is_first_in_first_out() -> Outcome {
    let (mut ring, (a, b), data) = (ring()?, pair()?, Buf::new(4096));
    res(&mut ring, provide(data.addr(), 4, 2, 5, 1), 0)?;
    res(&mut ring, provide(data.addr() + 64, 4, 1, 5, 2), 0)?;
    put(b, b"abcdefghijkl")?;
    for id in [5, 6, 5] {
        let c = must("one", ring.one(select(rw(op::RECV, a, 0, 4, 0, 3), 1)))?;
        expect("length and id", (c.res, c.flags >> 16), (4, id))?;
    }
    expect("the last", data.get(64, 4), b"ijkl".to_vec())
}

fn a_removal_counts() -> Outcome {
    let (mut ring, data) = (ring()?, Buf::new(4096));
    res(&mut ring, provide(data.addr(), 4, 3, 0, 1), 0)?;
    res(&mut ring, remove(2, 1, 2), 2)?;
    res(&mut ring, remove(9, 1, 3), 1)?;
    res(&mut ring, remove(1, 9, 4), -ENOENT)
}

fn a_pending_read_keeps_its_listed_buffer() -> Outcome {
    let (mut ring, (r, _w), data) = (ring()?, pipe()?, Buf::new(4096));
    res(&mut ring, provide(data.addr(), 4, 2, 0, 1), 0)?;
    submit(&mut ring, &[select(read(r, 0, 4, 0, 2), 1)])?;
    res(&mut ring, remove(9, 1, 3), 1)?;
    submit(&mut ring, &[cancel(2, 0, 4)])?;
    let mut all = wait_for(&ring, 2)?;
    all.sort_by_key(|c| c.user_data);
    expect("the read", (all[0].res, all[0].flags & BUFFER), (-ECANCELED, BUFFER))
}

fn a_pending_recv_gives_its_listed_buffer_back() -> Outcome {
    let (mut ring, (a, b), data) = (ring()?, pair()?, Buf::new(4096));
    res(&mut ring, provide(data.addr(), 4, 1, 0, 1), 0)?;
    submit(&mut ring, &[select(rw(op::RECV, a, 0, 4, 0, 2), 1)])?;
    pending(&ring)?;
    res(&mut ring, remove(9, 1, 3), 1)?;
    put(b, b"abcd")?;
    ends(&ring, &[(2, -ENOBUFS)])
}

fn a_failure_after_selection_reports_the_buffer() -> Outcome {
    let (mut ring, f) = (ring()?, file(b"abcd")?);
    res(&mut ring, provide(4096, 4, 1, 3, 1), 0)?;
    let c = must("one", ring.one(select(read(f, 0, 4, 0, 2), 1)))?;
    expect("result, flag, id", (c.res, c.flags & BUFFER, c.flags >> 16), (-EFAULT, BUFFER, 3))
}

fn an_error_before_selection_takes_nothing() -> Outcome {
    let (mut ring, data) = (ring()?, Buf::new(4096));
    res(&mut ring, provide(data.addr(), 4, 1, 3, 1), 0)?;
    let c = must("one", ring.one(select(read(999, 0, 4, 0, 2), 1)))?;
    expect("result, flags", (c.res, c.flags), (-EBADF, 0))?;
    res(&mut ring, remove(9, 1, 3), 1)
}

fn a_buffer_ring_checks_its_registration() -> Outcome {
    let ring = ring()?;
    let mem = Buf::new(8192);
    let reg = |addr: u64, entries: u64, flags: u64, resv: u64| {
        let arg = u64s(&[addr, entries | 1 << 32 | flags << 48, resv, 0, 0]);
        ring.register(22, arg.addr(), 1)
    };
    fails("NULL", reg(0, 4, 0, 0), EFAULT)?;
    fails("not aligned", reg(mem.addr() + 16, 4, 0, 0), EINVAL)?;
    fails("no power of two", reg(mem.addr(), 3, 0, 0), EINVAL)?;
    fails("too many", reg(mem.addr(), 65_536, 0, 0), EINVAL)?;
    fails("an unknown flag", reg(mem.addr(), 4, 8, 0), EINVAL)?;
    fails("a reserved word", reg(mem.addr(), 4, 0, 1), EINVAL)?;
    expect("a good one", reg(mem.addr(), 4, 0, 0), Ok(0))?;
    fails("it exists", reg(mem.addr(), 4, 0, 0), EEXIST)
}

fn an_emptied_list_becomes_a_ring() -> Outcome {
    let (mut ring, data) = (ring()?, Buf::new(4096));
    res(&mut ring, provide(data.addr(), 4, 1, 0, 1), 0)?;
    let arg = u64s(&[data.addr(), 4 | 1 << 32, 0, 0, 0]);
    fails("a list", ring.register(22, arg.addr(), 1), EEXIST)?;
    res(&mut ring, remove(1, 1, 2), 1)?;
    expect("an emptied one", ring.register(22, arg.addr(), 1), Ok(0))
}

fn a_ring_group_takes_no_list() -> Outcome {
    let (mut ring, data) = (ring()?, Buf::new(4096));
    let _group = BufRing::new(&ring, 1, 4, 0)?;
    res(&mut ring, provide(data.addr(), 4, 1, 0, 1), -EINVAL)?;
    res(&mut ring, remove(1, 1, 2), -EINVAL)
}

fn a_mapped_buffer_ring_stays_readable() -> Outcome {
    let ring = ring()?;
    let arg = u64s(&[0, 4 | 3 << 32 | 1 << 48, 0, 0, 0]);
    expect("register", ring.register(22, arg.addr(), 1), Ok(0))?;
    let at = |group: u64| Buf::map(4096, libc::MAP_SHARED, ring.fd, 0x8000_0000 | group << 16);
    let mem = must("mmap", at(3))?;
    fails("an unknown group", at(4), ENOMEM)?;
    mem.put64(16, 77);
    let arg = u64s(&[0, 3 << 32, 0, 0, 0]);
    expect("unregister", ring.register(23, arg.addr(), 1), Ok(0))?;
    expect("still there", mem.get64(16), 77)
}

fn pending_reads_take_buffers_when_they_complete() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), (r2, w2)) = (pipe()?, pipe()?);
    let mut group = BufRing::new(&ring, 1, 4, 0)?;
    (0..2).for_each(|id| group.add(id, 16));
    submit(&mut ring, &[select(read(r, 0, 16, 0, 1), 1), select(read(r2, 0, 16, 0, 2), 1)])?;
    expect("the head", group.head(&ring)?, 0)?;
    put(w2, b"second")?;
    let c = must("wait", ring.wait())?;
    expect("the second takes the first", (c.user_data, c.res, c.flags >> 16), (2, 6, 0))?;
    put(w, b"first")?;
    let c = must("wait", ring.wait())?;
    expect("the first takes the second", (c.user_data, c.res, c.flags >> 16), (1, 5, 1))?;
    expect("the head", group.head(&ring)?, 2)
}

fn a_group_can_go_under_a_pending_read() -> Outcome {
    let (mut ring, (r, w)) = (ring()?, pipe()?);
    let mut group = BufRing::new(&ring, 1, 4, 0)?;
    group.add(0, 16);
    submit(&mut ring, &[select(read(r, 0, 16, 0, 1), 1)])?;
    let arg = u64s(&[0, 1 << 32, 0, 0, 0]);
    expect("unregister", ring.register(23, arg.addr(), 1), Ok(0))?;
    put(w, b"x")?;
    ends(&ring, &[(1, -ENOBUFS)])
}

fn the_end_of_a_file_takes_a_buffer() -> Outcome {
    let (mut ring, f, (a, b)) = (ring()?, file(b"")?, pair()?);
    let mut group = BufRing::new(&ring, 1, 4, 0)?;
    (0..2).for_each(|id| group.add(id, 16));
    close(b)?;
    let c = must("one", ring.one(select(rw(op::RECV, a, 0, 16, 0, 1), 1)))?;
    expect("a socket's", (c.res, c.flags & BUFFER), (0, 0))?;
    expect("the head", group.head(&ring)?, 0)?;
    let c = must("one", ring.one(select(read(f, 0, 16, 0, 2), 1)))?;
    expect("a file's", (c.res, c.flags & BUFFER), (0, BUFFER))?;
    expect("the head", group.head(&ring)?, 1)
}

fn a_cancelled_worker_read_takes_its_buffer() -> Outcome {
    let (mut ring, (r, _w)) = (ring()?, pipe()?);
    let mut group = BufRing::new(&ring, 1, 4, 0)?;
    group.add(0, 16);
    submit(&mut ring, &[flagged(select(read(r, 0, 16, 0, 1), 1), ASYNC)])?;
    until("a worker took the buffer", || group.head(&ring) == Ok(1))?;
    submit(&mut ring, &[cancel(1, 0, 2)])?;
    let all = wait_for(&ring, 2)?;
    let c = all.iter().find(|c| c.user_data == 1).ok_or("no completion")?;
    expect("result, flag", (c.res, c.flags & BUFFER), (-ECANCELED, BUFFER))
}

fn an_incremental_buffer_is_used_up() -> Outcome {
    let (mut ring, (a, b)) = (ring()?, pair()?);
    let mut group = BufRing::new(&ring, 1, 4, 2)?;
    group.add(0, 100);
    put(b, &[1; 200])?;
    for (len, more) in [(32, BUF_MORE), (60, BUF_MORE), (60, 0)] {
        let c = must("one", ring.one(select(rw(op::RECV, a, 0, len, 0, 1), 1)))?;
        let want = len.cast_signed().min(if more == 0 { 8 } else { 60 });
        expect("length, id, flag", (c.res, c.flags >> 16, c.flags & BUF_MORE), (want, 0, more))?;
    }
    expect("the head", group.head(&ring)?, 1)
}

/// `IORING_RECVSEND_BUNDLE`.
const BUNDLE: u16 = 16;

fn a_bundle_receives_into_several_buffers() -> Outcome {
    let (mut ring, (a, b)) = (ring()?, pair()?);
    let mut group = BufRing::new(&ring, 1, 4, 0)?;
    (0..4).for_each(|id| group.add(id, 16));
    put(b, &[1; 24])?;
    let recv = Sqe { ioprio: BUNDLE, ..select(rw(op::RECV, a, 0, 0, 0, 1), 1) };
    let c = must("one", ring.one(recv))?;
    expect("bytes, first id", (c.res, c.flags >> 16), (24, 0))?;
    expect("the head", group.head(&ring)?, 2)
}

fn a_bundle_sends_several_buffers() -> Outcome {
    let (mut ring, (a, b)) = (ring()?, pair()?);
    let mut group = BufRing::new(&ring, 1, 4, 0)?;
    (0..3).for_each(|id| group.add(id, 64));
    let send = Sqe { ioprio: BUNDLE, ..select(rw(op::SEND, a, 0, 0, 0, 1), 1) };
    let c = must("one", ring.one(send))?;
    expect("bytes, flags", (c.res, c.flags), (192, BUFFER))?;
    expect("the head", group.head(&ring)?, 3)?;
    expect("what arrives", must("read", os::read(b, &mut [0; 512]))?, 192)
}

/// A bundle's result, buffer flags and whether there is MORE.
fn bundled(c: Cqe) -> (i32, u32, u32, bool) {
    (c.res, c.flags & (BUFFER | BUF_MORE), c.flags >> 16, c.flags & MORE != 0)
}

fn bundle(opcode: u8, fd: i32, len: u32, more: u16) -> Sqe {
    Sqe { ioprio: BUNDLE | more, ..select(rw(opcode, fd, 0, len, 0, 1), 1) }
}

fn a_bundle_appends_what_is_left() -> Outcome {
    let (mut ring, (a, b)) = (ring()?, pair()?);
    let mut group = BufRing::new(&ring, 1, 256, 0)?;
    (0..200).for_each(|id| group.add(id, 4));
    put(b, &[1; 402])?;
    let c = must("one", ring.one(bundle(op::RECV, a, 0, 0)))?;
    expect("whole buffers", bundled(c), (400, BUFFER, 0, false))?;
    expect("the head", group.head(&ring)?, 100)?;
    let c = must("one", ring.one(bundle(op::RECV, a, 0, 0)))?;
    expect("the rest", bundled(c), (2, BUFFER, 100, false))
}

fn a_bundle_of_a_length_takes_no_part_of_a_buffer() -> Outcome {
    let (mut ring, (a, b)) = (ring()?, pair()?);
    let mut group = BufRing::new(&ring, 1, 8, 0)?;
    (0..4).for_each(|id| group.add(id, 16));
    put(b, &[1; 100])?;
    let c = must("one", ring.one(bundle(op::RECV, a, 10, 0)))?;
    expect("ten", bundled(c), (10, BUFFER, 0, false))?;
    expect("the entry", group.entry_len(0), 16)?;
    let c = must("one", ring.one(bundle(op::RECV, a, 40, 0)))?;
    expect("two and no part", bundled(c), (32, BUFFER, 1, false))?;
    expect("the entry", group.entry_len(3), 16)?;
    expect("the head", group.head(&ring)?, 3)
}

fn a_bundle_of_an_unknown_group_is_enoent() -> Outcome {
    let (mut ring, (a, _b)) = (ring()?, pair()?);
    res(&mut ring, bundle(op::RECV, a, 0, 0), -ENOENT)?;
    let _group = BufRing::new(&ring, 1, 4, 0)?;
    res(&mut ring, bundle(op::RECV, a, 0, 0), -ENOBUFS)?;
    res(&mut ring, bundle(op::SEND, a, 0, 0), -ENOBUFS)
}

fn a_bundle_of_a_list_is_of_single_buffers() -> Outcome {
    let (mut ring, (a, b), data) = (ring()?, pair()?, Buf::new(4096));
    res(&mut ring, provide(data.addr(), 8, 2, 0, 1), 0)?;
    submit(&mut ring, &[bundle(op::SEND, a, 0, 0)])?;
    let (first, second) = (must("wait", ring.wait())?, must("wait", ring.wait())?);
    expect("the first", bundled(first), (8, BUFFER, 0, true))?;
    expect("the second", bundled(second), (8, BUFFER, 1, false))?;
    res(&mut ring, provide(data.addr(), 8, 4, 3, 1), 0)?;
    put(b, &[1; 20])?;
    let c = must("one", ring.one(bundle(op::RECV, a, 0, 0)))?;
    expect("two buffers", bundled(c), (16, BUFFER, 3, false))
}

fn a_bundle_of_many_buffers_is_sent_in_parts() -> Outcome {
    let (mut ring, (a, b)) = (ring()?, pair()?);
    let mut group = BufRing::new(&ring, 1, 256, 0)?;
    (0..10).for_each(|id| group.add(id, 4));
    submit(&mut ring, &[bundle(op::SEND, a, 0, 0)])?;
    let c = must("wait", ring.wait())?;
    expect("all", bundled(c), (40, BUFFER, 0, false))?;
    expect("what arrives", must("read", os::read(b, &mut [0; 512]))?, 40)?;
    no_more(&mut ring)
}

fn an_incremental_bundle_goes_on_in_its_last_buffer() -> Outcome {
    let (mut ring, (a, b)) = (ring()?, pair()?);
    let mut group = BufRing::new(&ring, 1, 8, 2)?;
    (0..4).for_each(|id| group.add(id, 16));
    put(b, &[1; 24])?;
    let c = must("one", ring.one(bundle(op::RECV, a, 24, 0)))?;
    expect("one and a half", bundled(c), (24, BUFFER | BUF_MORE, 0, false))?;
    expect("the head", group.head(&ring)?, 1)?;
    let c = must("one", ring.one(bundle(op::SEND, a, 10, 0)))?;
    expect("the rest and more", bundled(c), (10, BUFFER | BUF_MORE, 1, true))
}

fn a_multishot_bundle_tells_all_at_once() -> Outcome {
    let (mut ring, (a, b)) = (ring()?, pair()?);
    let mut group = BufRing::new(&ring, 1, 8, 0)?;
    (0..6).for_each(|id| group.add(id, 16));
    submit(&mut ring, &[bundle(op::RECV, a, 0, 2)])?;
    put(b, &[1; 40])?;
    for (n, id) in [(32, 0), (8, 2)] {
        let c = must("wait", ring.wait())?;
        expect("a part", bundled(c), (n, BUFFER, id, true))?;
    }
    expect("the head", group.head(&ring)?, 3)?;
    put(b, &[1; 48])?;
    let c = must("wait", ring.wait())?;
    expect("the last buffers", bundled(c), (48, BUFFER, 3, true))
}

fn a_vectorised_send_sends_what_its_iovecs_say() -> Outcome {
    let (mut ring, (a, b), data) = (ring()?, pair()?, Buf::of(b"abcdefgh"));
    let iovs = u64s(&[data.addr() + 4, 2, data.addr(), 3, data.addr(), 0]);
    let send = |at: u64, n: u32| Sqe { ioprio: 32, ..rw(op::SEND, a, at, n, 0, 1) };
    res(&mut ring, send(iovs.addr(), 3), 5)?;
    expect("the bytes", get(b)?, b"efabc".to_vec())?;
    res(&mut ring, send(16, 1), -EFAULT)?;
    res(&mut ring, send(iovs.addr(), 1025), -EINVAL)
}

fn a_bundle_without_provided_buffers_ends_with_nothing() -> Outcome {
    let (mut ring, (a, b), data) = (ring()?, pair()?, Buf::of(b"abcdefgh"));
    submit(&mut ring, &[Sqe { ioprio: BUNDLE, ..rw(op::SEND, a, data.addr(), 8, 0, 1) }])?;
    let (first, second) = (must("wait", ring.wait())?, must("wait", ring.wait())?);
    expect("the bytes", bundled(first), (8, 0, 0, true))?;
    expect("nothing", bundled(second), (0, 0, 0, false))?;
    expect("what arrives", get(b)?, b"abcdefgh".to_vec())
}
