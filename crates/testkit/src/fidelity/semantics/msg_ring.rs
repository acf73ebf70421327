//! Section 3.18: messages between rings.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.18",
        a_message_is_a_completion_over_there,
        "MSG_RING posts its user_data and result to the target and answers 0.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        a_message_to_itself_comes_first,
        "A message to the own ring is posted before the sender's completion.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        a_message_can_carry_flags,
        "With FLAGS_PASS the message's flags are `file_index`, without it that is EINVAL.",
        needs "MSG_RING", "MSG_RING_FLAGS_PASS"
    ),
    claim!(
        "3.18",
        a_message_to_a_full_ring_waits_there,
        "A message to a full ring goes to its backlog, the sender gets 0.",
        needs "MSG_RING"
    ),
    claim!("3.18", a_message_needs_a_ring, "MSG_RING to a file that is no ring is EBADFD.",
        needs "MSG_RING"),
    claim!(
        "3.18",
        a_message_reaches_a_deferred_ring,
        "A message to a DEFER_TASKRUN ring appears at its owner's GETEVENTS.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        a_file_can_be_sent,
        "SEND_FD moves a registered file into the target's table: 0 for a slot, the slot for ALLOC, and a completion there.",
        needs "MSG_RING", "MSG_RING_CQE_SKIP"
    ),
    claim!(
        "3.18",
        a_file_is_sent_to_a_table,
        "SEND_FD without a target table is ENXIO, from an empty slot EBADF, to itself EINVAL.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        a_message_needs_no_ring_of_its_own,
        "SEND_MSG_RING sends a message without a ring.",
        needs "REGISTER_SEND_MSG_RING"
    ),
    claim!(
        "3.18",
        a_message_to_a_deferred_ring_of_its_own_comes_last,
        "A message from a DEFER_TASKRUN ring to itself appears after the sender's completion.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        a_message_to_itself_overtakes_its_batch,
        "A message to the own ring is posted before what its batch completed earlier.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        messages_arrive_in_order,
        "Messages of one batch arrive in its order, their sender's completions stand in it.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        a_message_goes_to_no_disabled_ring,
        "Data and files to an R_DISABLED ring are EBADFD, before the slot is looked at.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        a_message_wakes_a_waiter,
        "A message ends the wait of a thread in the target's enter, on a DEFER_TASKRUN ring, too.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        a_message_that_a_waiter_took_clears_taskrun,
        "TASKRUN is clear after a wait that a message to a DEFER_TASKRUN ring ended.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        a_message_signals_the_targets_eventfd,
        "A message signals the target's eventfd once, a deferred one sets TASKRUN, too.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        a_message_counts_for_a_timeout,
        "A message is a completion that a TIMEOUT with a count waits for.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        a_message_reaches_a_polling_ring,
        "A message to an IOPOLL ring is there at once, one to itself after the batch.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        a_message_goes_to_and_from_a_submission_thread,
        "SQPOLL rings send and get messages.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        a_message_is_a_member_of_a_chain,
        "A message that fails breaks its chain; CQE_SKIP_SUCCESS hides the sender's completion.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        two_rings_message_each_other,
        "Two threads whose rings message each other get all messages, in order.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        a_message_to_a_wide_ring_is_zero_beyond,
        "A message to a CQE32 ring has a zero second half.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        a_sent_file_takes_a_slots_place,
        "SEND_FD onto a used slot posts that one's tag; the file outlives the sender's table.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        a_sent_file_needs_a_slot,
        "SEND_FD with a length, to slot 0 or beyond is EINVAL, with ALLOC to a full table ENFILE.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        a_file_reaches_a_deferred_ring_at_once,
        "SEND_FD to a DEFER_TASKRUN ring is visible there without GETEVENTS.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        a_ring_whose_owner_is_gone_takes_no_file,
        "To a DEFER_TASKRUN ring whose owner has exited SEND_FD is EOWNERDEAD, data is 0.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        a_message_completes_what_polls_its_target,
        "A message completes a POLL_ADD of its target.",
        needs "MSG_RING"
    ),
    claim!(
        "3.18",
        a_message_without_a_ring_may_carry_flags,
        "SEND_MSG_RING takes FLAGS_PASS and reaches DEFER_TASKRUN rings; of SQE flags it takes none.",
        needs "REGISTER_SEND_MSG_RING"
    ),
];

/// MSG_RING DATA: (user_data, res) over there.
fn data(to: &Ring, user_data: u64, res: u32, ud: u64) -> Sqe {
    rw(40, to.fd, 0, res, user_data, ud)
}

fn a_message_is_a_completion_over_there() -> Outcome {
    let (mut from, to) = (ring()?, ring()?);
    res(&mut from, data(&to, 77, 5, 1), 0)?;
    ends_flags(&to, &[(77, 5, 0)])
}

fn a_message_to_itself_comes_first() -> Outcome {
    let mut ring = ring()?;
    let message = data(&ring, 77, 5, 1);
    runs(&mut ring, &[message], &[(77, 5), (1, 0)])
}

fn a_message_can_carry_flags() -> Outcome {
    let (mut from, to) = (ring()?, ring()?);
    let flagged = |op_flags| Sqe { file_index: 1 << 16, op_flags, ..data(&to, 77, 5, 1) };
    res(&mut from, flagged(2), 0)?;
    ends_flags(&to, &[(77, 5, 1 << 16)])?;
    res(&mut from, flagged(0), -EINVAL)
}

fn a_message_to_a_full_ring_waits_there() -> Outcome {
    let (mut from, mut to) = (ring()?, small_cq(2)?);
    submit(&mut to, &[nop(1), nop(2)])?;
    res(&mut from, data(&to, 77, 5, 1), 0)?;
    ends(&to, &[(1, 0), (2, 0), (77, 5)])
}

fn a_message_needs_a_ring() -> Outcome {
    let mut from = ring()?;
    let sqe = rw(40, file(b"x")?, 0, 0, 0, 1);
    let c = must("one", from.one(sqe))?;
    expect("the result", c.res, -libc::EBADFD)
}

fn a_message_reaches_a_deferred_ring() -> Outcome {
    let mut from = ring()?;
    let to = with(8, (Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN).bits())?;
    res(&mut from, data(&to, 77, 5, 1), 0)?;
    ends(&to, &[(77, 5)])
}

/// MSG_RING SEND_FD: from slot `addr3` to slot+1 `file_index`.
fn send(to: &Ring, from: u64, slot: u32, ud: u64) -> Sqe {
    Sqe { addr3: from, file_index: slot, ..rw(40, to.fd, 1, 0, 77, ud) }
}

fn a_file_can_be_sent() -> Outcome {
    let (mut from, mut to) = (ring()?, ring()?);
    let (f, buf) = (file(b"abcd")?, Buf::new(8));
    must("register", from.register_files(&[f]))?;
    must("register", to.register_files(&[-1, -1, -1]))?;
    res(&mut from, send(&to, 0, 2, 1), 0)?;
    ends(&to, &[(77, 0)])?;
    res(&mut from, send(&to, 0, u32::MAX, 2), 2)?;
    ends(&to, &[(77, 2)])?;
    res(&mut from, Sqe { op_flags: 1, ..send(&to, 0, 1, 3) }, 0)?;
    for slot in 0..3 {
        res(&mut to, flagged(read(slot, buf.addr(), 4, 0, 4), FIXED), 4)?;
    }
    Ok(())
}

fn a_file_is_sent_to_a_table() -> Outcome {
    let (mut from, to) = (ring()?, ring()?);
    must("register", from.register_files(&[file(b"x")?, -1]))?;
    res(&mut from, send(&to, 0, 1, 1), -ENXIO)?;
    must("register", to.register_files(&[-1]))?;
    res(&mut from, send(&to, 1, 1, 2), -EBADF)?;
    res(&mut from, send(&to, 0, 5, 3), -EINVAL)?;
    let own = send(&from, 0, 2, 4);
    res(&mut from, own, -EINVAL)
}

fn a_message_needs_no_ring_of_its_own() -> Outcome {
    let to = ring()?;
    let bytes: Vec<u8> =
        data(&to, 77, 5, 0).to_words().iter().flat_map(|w| w.to_ne_bytes()).collect();
    let sqe = Buf::of(&bytes);
    expect("SEND_MSG_RING", register_fd(-1, 31, sqe.addr(), 1), Ok(0))?;
    ends(&to, &[(77, 5)])
}

fn deferring() -> Res<Ring> {
    with(8, (Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN).bits())
}

fn a_message_to_a_deferred_ring_of_its_own_comes_last() -> Outcome {
    let mut ring = deferring()?;
    let message = data(&ring, 77, 5, 1);
    submit(&mut ring, &[message, nop(2)])?;
    ends(&ring, &[(1, 0), (2, 0)])?;
    pending(&ring)?;
    ends(&ring, &[(77, 5)])
}

fn a_message_to_itself_overtakes_its_batch() -> Outcome {
    let mut ring = ring()?;
    let message = data(&ring, 77, 5, 2);
    runs(&mut ring, &[nop(1), message, nop(3)], &[(77, 5), (1, 0), (2, 0), (3, 0)])
}

fn messages_arrive_in_order() -> Outcome {
    let (mut from, to) = (ring()?, ring()?);
    let batch = [nop(1), data(&to, 71, 1, 2), nop(3), data(&to, 72, 2, 4), data(&to, 73, 3, 5)];
    runs(&mut from, &batch, &[(1, 0), (2, 0), (3, 0), (4, 0), (5, 0)])?;
    ends(&to, &[(71, 1), (72, 2), (73, 3)])
}

fn a_message_goes_to_no_disabled_ring() -> Outcome {
    let (mut from, to) = (ring()?, with(8, Setup::R_DISABLED.bits())?);
    res(&mut from, data(&to, 77, 5, 1), -libc::EBADFD)?;
    res(&mut from, send(&to, 9, 1, 2), -libc::EBADFD)?;
    res(&mut from, Sqe { len: 1, ..send(&to, 9, 1, 3) }, -EINVAL)?;
    must("enable", to.register(reg::ENABLE_RINGS, 0, 0))?;
    res(&mut from, data(&to, 77, 5, 4), 0)?;
    ends(&to, &[(77, 5)])
}

fn a_message_wakes_a_waiter() -> Outcome {
    for flags in [0, (Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN).bits()] {
        let mut from = ring()?;
        let (tell, told) = std::sync::mpsc::channel();
        let waiter = std::thread::spawn(move || {
            let to = with(8, flags)?;
            tell.send(to.fd).map_err(|e| e.to_string())?;
            ends(&to, &[(71, 1), (72, 2)])
        });
        let fd = told.recv().map_err(|e| e.to_string())?;
        for (i, pause) in [(1, 20), (2, 20)] {
            let _ = os::poll(-1, 0, pause);
            res(&mut from, rw(40, fd, 0, i, 70 + u64::from(i), 1), 0)?;
        }
        waiter.join().map_err(|_| "the waiter panicked")??;
    }
    Ok(())
}

fn a_message_that_a_waiter_took_clears_taskrun() -> Outcome {
    let mut from = ring()?;
    let (tell, told) = std::sync::mpsc::channel();
    let waiter = std::thread::spawn(move || {
        let flags = Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN | Setup::TASKRUN_FLAG;
        let to = with(8, flags.bits())?;
        tell.send(to.fd).map_err(|e| e.to_string())?;
        must("enter", to.enter(0, 1, GETEVENTS, 0, 0))?;
        expect("TASKRUN", to.sq_flags() & 4, 0)?;
        ends(&to, &[(77, 5)])
    });
    let fd = told.recv().map_err(|e| e.to_string())?;
    let _ = os::poll(-1, 0, 20);
    res(&mut from, rw(40, fd, 0, 5, 77, 1), 0)?;
    waiter.join().map_err(|_| "the waiter panicked")?
}

fn a_message_signals_the_targets_eventfd() -> Outcome {
    let mut from = ring()?;
    let (plain, deferred) = (ring()?, {
        let flags = Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN | Setup::TASKRUN_FLAG;
        with(8, flags.bits())?
    });
    for to in [&plain, &deferred] {
        let event = must("eventfd", os::eventfd(0, libc::EFD_NONBLOCK))?;
        must("register", to.register(reg::EVENTFD, i32s(&[event]).addr(), 1))?;
        res(&mut from, data(to, 71, 1, 1), 0)?;
        expect("the counter", get(event)?, 1u64.to_ne_bytes().to_vec())?;
        res(&mut from, data(to, 72, 2, 2), 0)?;
        if to.fd == deferred.fd {
            expect("TASKRUN", to.sq_flags() & 4, 4)?;
            pending(to)?;
        } else {
            expect("the counter", get(event)?, 1u64.to_ne_bytes().to_vec())?;
        }
        ends(to, &[(71, 1), (72, 2)])?;
    }
    Ok(())
}

fn a_message_counts_for_a_timeout() -> Outcome {
    let (mut from, mut to, ts) = (ring()?, ring()?, hour());
    submit(&mut to, &[flagged(timeout(&ts, 1, 1), LINK), nop(2)])?;
    res(&mut from, data(&to, 77, 5, 1), 0)?;
    ends(&to, &[(77, 5), (1, 0), (2, 0)])
}

fn a_message_reaches_a_polling_ring() -> Outcome {
    let (mut from, mut to) = (ring()?, with(8, Setup::IOPOLL.bits())?);
    res(&mut from, data(&to, 77, 5, 1), 0)?;
    expect("there", to.reap().map(|c| (c.user_data, c.res)), Some((77, 5)))?;
    let message = data(&to, 78, 6, 1);
    submit(&mut to, &[message, nop(2)])?;
    ends(&to, &[(2, 0), (78, 6), (1, 0)])
}

fn a_message_goes_to_and_from_a_submission_thread() -> Outcome {
    let (mut from, mut to) = (ring()?, with(8, Setup::SQPOLL.bits())?);
    res(&mut from, data(&to, 77, 5, 1), 0)?;
    ends(&to, &[(77, 5)])?;
    to.push(data(&from, 78, 6, 2));
    let _ = enter_fd(to.fd, 1, 0, SQ_WAKEUP);
    ends(&from, &[(78, 6)])?;
    ends(&to, &[(2, 0)])
}

fn a_message_is_a_member_of_a_chain() -> Outcome {
    let (mut from, to, f) = (ring()?, ring()?, file(b"x")?);
    let chain = [flagged(nop(1), LINK), flagged(data(&to, 77, 5, 2), LINK), nop(3)];
    runs(&mut from, &chain, &[(1, 0), (2, 0), (3, 0)])?;
    ends(&to, &[(77, 5)])?;
    let bad = rw(40, f, 0, 0, 0, 2);
    let chain = [flagged(bad, LINK | SKIP), data(&to, 77, 5, 3)];
    runs(&mut from, &chain, &[(2, -libc::EBADFD)])?;
    no_more(&mut from)?;
    submit(&mut from, &[flagged(data(&to, 78, 6, 4), SKIP), flagged(data(&to, 79, 7, 5), ASYNC)])?;
    ends(&from, &[(5, 0)])?;
    ends(&to, &[(78, 6), (79, 7)])
}

/// Sends so many messages of its own to `to`, and takes as many.
fn talk(mut ring: Ring, to: i32, n: u32) -> Outcome {
    let (mut sent, mut done, mut got) = (0, 0, 0);
    while done < n || got < n {
        if sent < n && sent - done < 4 {
            sent += 1;
            ring.push(rw(40, to, 0, sent, 1, 0));
            must("submit", ring.submit(0))?;
        }
        let c = match ring.reap() {
            Some(c) => c,
            None if sent < n && sent - done < 4 => continue,
            None => must("wait", ring.wait())?,
        };
        if c.user_data == 0 {
            expect("sent", c.res, 0)?;
            done += 1;
        } else {
            got += 1;
            expect("the next message", c.res, got.cast_signed())?;
        }
    }
    // Its own messages may still be under way to the other one, which must be there.
    std::mem::forget(ring);
    Ok(())
}

fn two_rings_message_each_other() -> Outcome {
    const MESSAGES: u32 = 2000;
    let (a, b) = (with(8, 0)?, with(8, 0)?);
    let (a_fd, b_fd) = (a.fd, b.fd);
    let other = std::thread::spawn(move || talk(b, a_fd, MESSAGES));
    talk(a, b_fd, MESSAGES)?;
    other.join().map_err(|_| "the other thread panicked")?
}

fn a_message_to_a_wide_ring_is_zero_beyond() -> Outcome {
    let (mut from, to) = (ring()?, with(8, Setup::CQE32.bits())?);
    res(&mut from, data(&to, 77, 5, 1), 0)?;
    let c = must("wait", to.wait())?;
    expect("the completion", (c.user_data, c.res, c.big), (77, 5, [0; 2]))
}

fn a_sent_file_takes_a_slots_place() -> Outcome {
    let (mut from, mut to) = (ring()?, ring()?);
    let (old, new, buf) = (file(b"old")?, file(b"abcd")?, Buf::new(8));
    must("register", from.register_files(&[new]))?;
    let (fds, tags) = (i32s(&[old]), u64s(&[11]));
    let arg = u64s(&[1, 0, fds.addr(), tags.addr()]);
    must("register", to.register(reg::FILES2, arg.addr(), 32))?;
    res(&mut from, send(&to, 0, 1, 1), 0)?;
    ends(&to, &[(11, 0), (77, 0)])?;
    must("unregister", from.register(reg::UNREGISTER_FILES, 0, 0))?;
    close(new)?;
    res(&mut to, flagged(read(0, buf.addr(), 4, 0, 4), FIXED), 4)
}

fn a_sent_file_needs_a_slot() -> Outcome {
    let (mut from, to) = (ring()?, ring()?);
    let f = file(b"x")?;
    must("register", from.register_files(&[f]))?;
    res(&mut from, send(&to, 0, u32::MAX, 1), -ENFILE)?;
    res(&mut from, send(&to, 0, 0, 2), -ENXIO)?;
    must("register", to.register_files(&[f]))?;
    res(&mut from, send(&to, 0, 0, 3), -EINVAL)?;
    res(&mut from, send(&to, 0, 2, 4), -EINVAL)?;
    res(&mut from, send(&to, 0, u32::MAX, 5), -ENFILE)?;
    res(&mut from, Sqe { len: 1, ..send(&to, 7, 1, 6) }, -EINVAL)?;
    // FLAGS_PASS means nothing here.
    res(&mut from, Sqe { op_flags: 3, ..send(&to, 0, 1, 7) }, 0)?;
    pending(&to)
}

fn a_file_reaches_a_deferred_ring_at_once() -> Outcome {
    let (mut from, mut to) = (ring()?, deferring()?);
    let (f, buf) = (file(b"abcd")?, Buf::new(8));
    must("register", from.register_files(&[f]))?;
    must("register", to.register_files(&[-1]))?;
    submit(&mut from, &[send(&to, 0, 1, 1), nop(2)])?;
    expect("there", to.reap().map(|c| (c.user_data, c.res)), Some((77, 0)))?;
    ends(&from, &[(2, 0), (1, 0)])?;
    res(&mut to, flagged(read(0, buf.addr(), 4, 0, 4), FIXED), 4)
}

fn a_ring_whose_owner_is_gone_takes_no_file() -> Outcome {
    let (mut from, f) = (ring()?, file(b"x")?);
    must("register", from.register_files(&[f]))?;
    let (to, tid) = on_thread(|| {
        let to = deferring()?;
        must("register", to.register_files(&[-1]))?;
        Ok::<_, String>((to, must("gettid", os::raw(libc::SYS_gettid, [0; 3]))?))
    })??;
    let task = format!("/proc/self/task/{tid}");
    until("the thread has gone", || !std::path::Path::new(&task).exists())?;
    res(&mut from, send(&to, 0, 1, 1), -libc::EOWNERDEAD)?;
    res(&mut from, data(&to, 77, 5, 2), 0)?;
    pending(&to)
}

fn a_message_completes_what_polls_its_target() -> Outcome {
    let (mut from, mut polling, to) = (ring()?, ring()?, ring()?);
    submit(&mut polling, &[poll_add(to.fd, IN, 1)])?;
    pending(&polling)?;
    res(&mut from, data(&to, 77, 5, 1), 0)?;
    let c = must("wait", polling.wait())?;
    expect("the poll", (c.user_data, c.res.cast_unsigned() & IN), (1, IN))?;
    ends(&to, &[(77, 5)])
}

fn a_message_without_a_ring_may_carry_flags() -> Outcome {
    let (plain, deferred) = (ring()?, deferring()?);
    let call = |sqe: Sqe| {
        let bytes: Vec<u8> = sqe.to_words().iter().flat_map(|w| w.to_ne_bytes()).collect();
        register_fd(-1, 31, Buf::of(&bytes).addr(), 1)
    };
    for to in [&plain, &deferred] {
        let sqe = Sqe { file_index: 1 << 16, op_flags: 2, ..data(to, 77, 5, 0) };
        expect("SEND_MSG_RING", call(sqe), Ok(0))?;
        fails("with a flag", call(flagged(sqe, SKIP)), EINVAL)?;
        fails("a file", call(Sqe { addr: 1, ..data(to, 77, 5, 0) }), EINVAL)?;
        ends_flags(to, &[(77, 5, 1 << 16)])?;
        pending(to)?;
    }
    Ok(())
}
