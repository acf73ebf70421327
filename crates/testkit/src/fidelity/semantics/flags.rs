//! Sections 2.1, 2.6 and 2.7: flags of entries, of completions and of single opcodes.
//!
//! What it does not do: say again what a family beside it claims of its own flags.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "2.1",
        what_has_no_file_ignores_the_slot,
        "FIXED_FILE means nothing to NOP and EPOLL_CTL; it is EINVAL for FILES_UPDATE and TIMEOUT_REMOVE, EBADF for STATX and CLOSE."
    ),
    claim!(
        "2.1",
        a_quiet_multishot_posts_its_pieces,
        "CQE_SKIP_SUCCESS does not hide completions that have MORE.",
        needs "RECV_MULTISHOT", "REGISTER_PBUF_RING"
    ),
    claim!(
        "2.6",
        a_plain_completion_has_no_flags,
        "NOP, READ, WRITE and TIMEOUT complete with flags 0."
    ),
    claim!(
        "2.6",
        more_stands_on_all_but_the_last,
        "A multishot TIMEOUT of three has MORE on the first two completions."
    ),
    claim!(
        "2.6",
        the_upper_half_names_the_buffer,
        "A READ that took a buffer has flag BUFFER and its id in the upper 16 bits.",
        needs "REGISTER_PBUF_RING", "IOSQE_BUFFER_SELECT"
    ),
    claim!(
        "2.7",
        nop_takes_six_flags,
        "NOP with FILE looks its file up, with FIXED_BUFFER its buffer; CQE32 needs a ring of wide completions and fills the second half.",
        needs "NOP_FILE", "NOP_FIXED_FILE", "NOP_FIXED_BUFFER", "NOP_CQE32"
    ),
    claim!("2.7", fsync_can_be_of_data_only, "FSYNC takes DATASYNC and no other flag."),
    claim!(
        "2.7",
        transfer_flags_pass_through,
        "WRITE takes RWF_DSYNC and RWF_SYNC, RWF_APPEND writes at the end, RWF_HIPRI is EINVAL off an IOPOLL ring."
    ),
    claim!(
        "2.7",
        what_polls_first_waits_for_readiness,
        "RECV, SEND and ACCEPT with POLL_FIRST end when their file is ready."
    ),
    claim!(
        "2.7",
        zero_copy_flags_need_a_zero_copy_send,
        "RECVSEND_FIXED_BUF and REPORT_USAGE are EINVAL for a plain SEND."
    ),
    claim!(
        "2.7",
        a_send_takes_a_vector,
        "SEND with SEND_VECTORIZED takes addr as a vector of so many entries.",
        needs "SEND_VECTORIZED"
    ),
    claim!(
        "2.7",
        a_splice_takes_its_input_from_a_slot,
        "SPLICE with FD_IN_FIXED takes its input from a slot.",
        needs "SPLICE"
    ),
    claim!(
        "2.7",
        a_socket_command_reads_an_option,
        "URING_CMD GETSOCKOPT answers the length of a SOL_SOCKET option; another level is EOPNOTSUPP.",
        needs "URING_CMD"
    ),
];

fn what_has_no_file_ignores_the_slot() -> Outcome {
    let (mut ring, path, buf) = (ring()?, Buf::of(b"/\0"), Buf::new(256));
    let ep = must("epoll", os::epoll_create())?;
    let e = must("eventfd", os::eventfd(0, 0))?;
    let event = u64s(&[libc::EPOLLIN as u64, 0]);
    let watch = rw(op::EPOLL_CTL, ep, event.addr(), 1, i64::from(e).cast_unsigned(), 1);
    res(&mut ring, flagged(nop(1), FIXED), 0)?;
    res(&mut ring, flagged(watch, FIXED), 0)?;
    let update = rw(op::FILES_UPDATE, -1, buf.addr(), 1, 0, 2);
    res(&mut ring, flagged(update, FIXED), -EINVAL)?;
    res(&mut ring, flagged(at(op::TIMEOUT_REMOVE, 7, 3), FIXED), -EINVAL)?;
    let stat = rw(op::STATX, libc::AT_FDCWD, path.addr(), 0, buf.addr(), 4);
    res(&mut ring, flagged(stat, FIXED), -EBADF)?;
    res(&mut ring, flagged(of_fd(op::CLOSE, e, 5), FIXED), -EBADF)
}

fn a_quiet_multishot_posts_its_pieces() -> Outcome {
    let (mut ring, (a, b)) = (ring()?, pair()?);
    let mut bufs = BufRing::new(&ring, 1, 8, 0)?;
    bufs.add(5, 64);
    bufs.add(6, 64);
    let recv = Sqe { ioprio: 2, ..flagged(of_fd(op::RECV, a, 1), SKIP) };
    submit(&mut ring, &[select(recv, 1)])?;
    put(b, b"xyz")?;
    ends_flags(&ring, &[(1, 3, BUFFER | MORE | 5 << 16)])
}

fn a_plain_completion_has_no_flags() -> Outcome {
    let (mut ring, f, b, ts) = (ring()?, file(b"abcd")?, Buf::new(8), after(0));
    for sqe in [nop(1), read(f, b.addr(), 4, 0, 1), write(f, b.addr(), 4, 0, 1)] {
        expect("flags", must("one", ring.one(sqe))?.flags, 0)?;
    }
    submit(&mut ring, &[timeout(&ts, 0, 2)])?;
    ends_flags(&ring, &[(2, -ETIME, 0)])
}

fn more_stands_on_all_but_the_last() -> Outcome {
    let (mut ring, ts) = (ring()?, after(MS));
    submit(&mut ring, &[Sqe { op_flags: 64, ..timeout(&ts, 3, 1) }])?;
    ends_flags(&ring, &[(1, -ETIME, MORE), (1, -ETIME, MORE), (1, -ETIME, 0)])
}

fn the_upper_half_names_the_buffer() -> Outcome {
    let (mut ring, f) = (ring()?, file(b"abcd")?);
    let mut bufs = BufRing::new(&ring, 1, 8, 0)?;
    bufs.add(77, 64);
    submit(&mut ring, &[select(read(f, 0, 64, 0, 1), 1)])?;
    ends_flags(&ring, &[(1, 4, BUFFER | 77 << 16)])
}

fn nop_takes_six_flags() -> Outcome {
    let (mut ring, f) = (ring()?, file(b"x")?);
    let with_flags = |flags, fd| Sqe { op_flags: flags, fd, ..nop(1) };
    res(&mut ring, with_flags(2, f), 0)?;
    res(&mut ring, with_flags(2, -1), -EBADF)?;
    res(&mut ring, with_flags(2 | 4, 0), -EBADF)?;
    must("register", ring.register_files(&[f]))?;
    res(&mut ring, with_flags(2 | 4, 0), 0)?;
    res(&mut ring, with_flags(8, -1), -EFAULT)?;
    res(&mut ring, with_flags(16, -1), 0)?;
    res(&mut ring, with_flags(32, -1), -EINVAL)?;
    let mut wide = with(8, Setup::CQE32.bits())?;
    let c = must("one", wide.one(Sqe { off: 7, addr: 9, ..with_flags(32, -1) }))?;
    expect("the second half", (c.res, c.big), (0, [7, 9]))
}

fn fsync_can_be_of_data_only() -> Outcome {
    let (mut ring, f) = (ring()?, file(b"x")?);
    let with_flags = |flags| Sqe { op_flags: flags, ..of_fd(op::FSYNC, f, 1) };
    res(&mut ring, with_flags(0), 0)?;
    res(&mut ring, with_flags(1), 0)?;
    res(&mut ring, with_flags(2), -EINVAL)
}

fn transfer_flags_pass_through() -> Outcome {
    let (mut ring, f, b) = (ring()?, file(b"abcd")?, Buf::of(b"xy"));
    let with_flags = |flags| Sqe { op_flags: flags, ..write(f, b.addr(), 2, 0, 1) };
    res(&mut ring, with_flags(2), 2)?;
    res(&mut ring, with_flags(4), 2)?;
    res(&mut ring, with_flags(16), 2)?;
    res(&mut ring, with_flags(1), -EINVAL)?;
    let back = Buf::new(8);
    res(&mut ring, read(f, back.addr(), 8, 0, 2), 6)?;
    expect("the file", back.get(0, 6), b"xycdxy".to_vec())
}

fn what_polls_first_waits_for_readiness() -> Outcome {
    let (mut ring, (a, b), buf) = (ring()?, pair()?, Buf::new(8));
    let first = |bit, opcode, fd, ud| Sqe { ioprio: bit, ..rw(opcode, fd, buf.addr(), 3, 0, ud) };
    res(&mut ring, first(1, op::SEND, b, 1), 3)?;
    res(&mut ring, first(1, op::RECV, a, 2), 3)?;
    let (listener, port) = must("listener", os::tcp_listener())?;
    let accept = Sqe { ioprio: 4, ..of_fd(op::ACCEPT, listener, 3) };
    submit(&mut ring, &[first(1, op::RECV, a, 2), accept])?;
    pending(&ring)?;
    put(b, b"xyz")?;
    ends(&ring, &[(2, 3)])?;
    let client = must("socket", os::socket(libc::AF_INET, libc::SOCK_STREAM))?;
    must("connect", os::state::connect(client, port))?;
    let accepted = must("wait", ring.wait())?;
    expect("ACCEPT", (accepted.user_data, accepted.res >= 0), (3, true))?;
    put(client, b"hello")?;
    expect("what the client sent", get(accepted.res)?, b"hello".to_vec())
}

fn zero_copy_flags_need_a_zero_copy_send() -> Outcome {
    let (mut ring, (a, _b), buf) = (ring()?, pair()?, Buf::new(8));
    for bit in [4, 8, 64] {
        let send = Sqe { ioprio: bit, ..rw(op::SEND, a, buf.addr(), 3, 0, 1) };
        res(&mut ring, send, -EINVAL)?;
    }
    Ok(())
}

fn a_send_takes_a_vector() -> Outcome {
    let (mut ring, (a, b), buf) = (ring()?, pair()?, Buf::of(b"abcdef"));
    let iov = u64s(&[buf.addr(), 2, buf.addr() + 3, 2]);
    res(&mut ring, Sqe { ioprio: 32, ..rw(op::SEND, a, iov.addr(), 2, 0, 1) }, 4)?;
    expect("what came", get(b)?, b"abde".to_vec())
}

fn a_splice_takes_its_input_from_a_slot() -> Outcome {
    let (mut ring, f, (r, w)) = (ring()?, file(b"abcd")?, pipe()?);
    must("register", ring.register_files(&[f]))?;
    let splice = Sqe { op_flags: 1 << 31, file_index: 0, ..rw(30, w, 0, 4, u64::MAX, 1) };
    res(&mut ring, splice, 4)?;
    expect("what came", get(r)?, b"abcd".to_vec())
}

fn a_socket_command_reads_an_option() -> Outcome {
    let (mut ring, (a, _b), value) = (ring()?, pair()?, Buf::new(8));
    let option = |level: i32, name: i32| {
        let addr = u64::from(level.cast_unsigned()) | u64::from(name.cast_unsigned()) << 32;
        Sqe { file_index: 4, addr3: value.addr(), ..rw(46, a, addr, 0, 2, 1) }
    };
    res(&mut ring, option(libc::SOL_SOCKET, libc::SO_TYPE), 4)?;
    expect("the type", value.load(0), libc::SOCK_STREAM as u32)?;
    res(&mut ring, option(libc::IPPROTO_TCP, libc::TCP_NODELAY), -EOPNOTSUPP)
}
