//! Section 3.29: rings that a process and its children have.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.29",
        a_child_reaps_what_its_parent_submitted,
        "A child waits on its parent's ring for what the parent submitted, before the fork and after it."
    ),
    claim!(
        "3.29",
        a_parent_that_waits_is_woken_by_what_its_child_does,
        "A parent that waits in enter is woken by the completion of a child's request."
    ),
    claim!(
        "3.29",
        a_thread_that_waits_through_a_fork_is_woken,
        "A thread that waits in enter while another one forks is woken by the child's completion, whatever it waits for itself."
    ),
    claim!(
        "3.29",
        each_uses_its_own_memory_and_descriptors,
        "A request reads into the memory, and from the descriptors, of the process that submitted it."
    ),
    claim!(
        "3.29",
        a_child_uses_memory_that_its_parent_gave,
        "The same with a ring in the caller's shared memory (NO_MMAP)."
    ),
    claim!(
        "3.29",
        two_processes_take_turns_a_thousand_times,
        "Parent and child submit and reap in turns, and nothing is lost or seen twice."
    ),
    claim!(
        "3.29",
        processes_that_wait_at_once_lose_nothing,
        "Four processes that submit to one ring under a lock of theirs, and wait for it at once, see each completion."
    ),
    claim!(
        "3.29",
        a_child_cancels_its_parents_request,
        "A child cancels a request of its parent's by user_data."
    ),
    claim!(
        "3.29",
        a_parents_poll_sees_a_childs_completion,
        "The ring's descriptor becomes readable in the parent with a completion of the child's, and unreadable when it is reaped."
    ),
    claim!("3.29", a_childs_poll_sees_its_parents_completion, "And the other way round."),
    claim!(
        "3.29",
        a_killed_childs_requests_are_over_once_they_are_ready,
        "Requests of a child that was killed end with ECANCELED, once their files are ready at the latest."
    ),
    claim!(
        "3.29",
        a_killed_childs_timeout_goes_on,
        "A timeout of a child that was killed ends with ETIME, and a waiting parent sees it."
    ),
    claim!(
        "3.29",
        a_childs_exec_cancels_its_requests,
        "A child that executes another program has its requests cancelled."
    ),
    claim!(
        "3.29",
        a_child_may_not_submit_for_a_single_issuer,
        "On a SINGLE_ISSUER ring a child's submission is EEXIST, and with DEFER_TASKRUN its wait and register, too."
    ),
    claim!(
        "3.29",
        a_child_that_enables_a_ring_is_its_issuer,
        "A child may enable a disabled SINGLE_ISSUER ring, and then submits alone."
    ),
    claim!(
        "3.29",
        a_child_submits_to_its_parents_submission_thread,
        "What a child puts into its parent's SQPOLL ring its parent's thread carries out."
    ),
    claim!(
        "3.29",
        a_grandchild_has_the_ring_without_its_parent,
        "A ring outlives its maker: a grandchild goes on with it."
    ),
    claim!(
        "3.29",
        a_child_maps_its_parents_ring,
        "A child maps its parent's ring by the descriptor and finds the same memory."
    ),
    claim!(
        "3.29",
        a_child_is_not_disturbed_by_its_parents_end_of_the_ring,
        "A parent that closes and unmaps a ring leaves its child's."
    ),
];

/// Forks: the child runs `body`, and its exit code says whether that went well.
fn child(body: impl FnOnce() -> Outcome) -> Res<i32> {
    let pid = must("fork", os::fork())?;
    if pid == 0 {
        os::deadline(10);
        let done = body();
        if let Err(why) = &done {
            eprintln!("the child: {why}");
        }
        os::exit_now(i32::from(done.is_err()));
    }
    Ok(pid)
}

fn well(pid: i32) -> Outcome {
    expect("the child", must("wait", os::wait(pid))?, 0)
}

/// A child that says `x` into a pipe when `body` is over, and then does nothing until it is killed.
fn lingers(body: impl FnOnce() -> Outcome) -> Res<i32> {
    let (said, say) = pipe()?;
    let pid = child(|| {
        body()?;
        put(say, b"x")?;
        loop {
            let _ = os::poll(-1, 0, 1000);
        }
    })?;
    close(say)?;
    expect("the child", get(said)?, b"x".to_vec())?;
    close(said)?;
    Ok(pid)
}

fn kill(pid: i32) -> Outcome {
    must("kill", os::kill(pid, libc::SIGKILL))?;
    expect("the child", must("wait", os::wait(pid))?, 128 + libc::SIGKILL)
}

fn a_child_reaps_what_its_parent_submitted() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    submit(&mut ring, &[nop(1), read(r, buf.addr(), 8, 0, 2)])?;
    let pid = child(|| ends(&ring, &[(1, 0), (2, 3), (3, 0)]))?;
    put(w, b"abc")?;
    until("what came before", || ring.cq_tail() == 2)?;
    submit(&mut ring, &[nop(3)])?;
    well(pid)?;
    expect("its bytes", buf.get(0, 3), b"abc".to_vec())?;
    no_more(&mut ring)
}

fn a_parent_that_waits_is_woken_by_what_its_child_does() -> Outcome {
    let mut ring = ring()?;
    let (r, w) = pipe()?;
    let fd = ring.fd;
    let pid = child(|| {
        // The parent says that it is about to wait, and is given the time to.
        get(r)?;
        let _ = os::poll(-1, 0, 20);
        submit(&mut ring, &[nop(7)])
    })?;
    put(w, b"x")?;
    expect("the wait", enter_fd(fd, 0, 1, GETEVENTS), Ok(0))?;
    ends(&ring, &[(7, 0)])?;
    well(pid)
}

fn a_thread_that_waits_through_a_fork_is_woken() -> Outcome {
    for pending in [0, 1] {
        let mut ring = ring()?;
        let (silent, _w) = pipe()?;
        let buf = Buf::new(8);
        let reads: Vec<Sqe> = (0..pending).map(|_| read(silent, buf.addr(), 8, 0, 1)).collect();
        submit(&mut ring, &reads)?;
        let fd = ring.fd;
        let waits = std::thread::spawn(move || enter_fd(fd, 0, 1, GETEVENTS));
        // It has the time to fall asleep.
        let _ = os::poll(-1, 0, 20);
        let pid = child(|| {
            ring.catch_up();
            submit(&mut ring, &[nop(7)])
        })?;
        expect("the wait", waits.join().map_err(|_| "a panic")?, Ok(0))?;
        ends(&ring, &[(7, 0)])?;
        well(pid)?;
    }
    Ok(())
}

fn own_memory(mut ring: Ring) -> Outcome {
    let buf = Buf::new(8);
    let (ours, theirs) = (file(b"parent")?, file(b"child!")?);
    let pid = child(|| {
        must("dup2", os::dup2(theirs, ours))?;
        ring.catch_up();
        runs(&mut ring, &[read(ours, buf.addr(), 6, 0, 1)], &[(1, 6)])?;
        expect("the child's", buf.get(0, 6), b"child!".to_vec())
    })?;
    well(pid)?;
    expect("the parent's", buf.get(0, 6), vec![0; 6])?;
    ring.catch_up();
    runs(&mut ring, &[read(ours, buf.addr(), 6, 0, 2)], &[(2, 6)])?;
    expect("the parent's", buf.get(0, 6), b"parent".to_vec())
}

fn each_uses_its_own_memory_and_descriptors() -> Outcome {
    own_memory(ring()?)
}

fn a_child_uses_memory_that_its_parent_gave() -> Outcome {
    own_memory(must("setup", Ring::in_shared_memory(8, 0))?)
}

fn two_processes_take_turns_a_thousand_times() -> Outcome {
    let mut ring = ring()?;
    let ((to_child, from_parent), (to_parent, from_child)) = (pipe()?, pipe()?);
    let turn = |ring: &mut Ring, i: u64| {
        ring.catch_up();
        runs(ring, &[nop(i), nop(i + 1)], &[(i, 0), (i + 1, 0)])
    };
    let pid = child(|| {
        for i in 0..500 {
            get(to_child)?;
            turn(&mut ring, 4 * i)?;
            put(from_child, b"x")?;
        }
        Ok(())
    })?;
    for i in 0..500 {
        put(from_parent, b"x")?;
        get(to_parent)?;
        turn(&mut ring, 4 * i + 2)?;
    }
    well(pid)
}

fn processes_that_wait_at_once_lose_nothing() -> Outcome {
    const EACH: u32 = 200;
    let mut ring = with(64, 0)?;
    // A token in a pipe is the lock; each takes it to submit and to reap.
    let ((take, give), seen) = (pipe()?, must("mmap", shared_page())?);
    put(give, b"t")?;
    let work = |ring: &mut Ring| -> Outcome {
        for _ in 0..EACH {
            get_one(take)?;
            ring.catch_up();
            submit(ring, &[nop(1)])?;
            put(give, b"t")?;
            // Somebody's is there, or was taken by somebody.
            get_one(take)?;
            if ring.reap().is_some() {
                seen.word(0).fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            put(give, b"t")?;
        }
        Ok(())
    };
    let mut pids = Vec::new();
    for _ in 0..3 {
        pids.push(child(|| work(&mut ring))?);
    }
    work(&mut ring)?;
    pids.into_iter().try_for_each(well)?;
    while ring.reap().is_some() {
        seen.word(0).fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    expect("completions seen", seen.load(0), 4 * EACH)
}

/// Reads one byte.
fn get_one(fd: i32) -> Outcome {
    let mut byte = [0; 1];
    must("read", os::read(fd, &mut byte)).map(drop)
}

fn shared_page() -> Sys<Buf> {
    Buf::map(4096, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0)
}

fn a_child_cancels_its_parents_request() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    submit(&mut ring, &[read(r, buf.addr(), 8, 0, 1)])?;
    let pid = child(|| {
        ring.catch_up();
        submit(&mut ring, &[cancel(1, 0, 2)])?;
        ends_all(&ring, &[(1, -ECANCELED), (2, 0)])
    })?;
    well(pid)?;
    put(w, b"abc")?;
    expect("the data", get(r)?, b"abc".to_vec())
}

fn a_parents_poll_sees_a_childs_completion() -> Outcome {
    let mut ring = ring()?;
    let fd = ring.fd;
    expect("before", os::poll(fd, libc::POLLIN, 0), Ok(0))?;
    let (r, w) = pipe()?;
    let pid = child(|| {
        get(r)?;
        let _ = os::poll(-1, 0, 20);
        submit(&mut ring, &[nop(1)])
    })?;
    put(w, b"x")?;
    expect("the poll", os::poll(fd, libc::POLLIN, 5000), Ok(libc::POLLIN))?;
    well(pid)?;
    ends(&ring, &[(1, 0)])?;
    expect("behind it", os::poll(fd, libc::POLLIN, 0), Ok(0))?;
    let pid = child(|| {
        ring.catch_up();
        submit(&mut ring, &[nop(2)])
    })?;
    expect("once more", os::poll(fd, libc::POLLIN, 5000), Ok(libc::POLLIN))?;
    well(pid)
}

fn a_childs_poll_sees_its_parents_completion() -> Outcome {
    let mut ring = ring()?;
    let fd = ring.fd;
    let (r, w) = pipe()?;
    let pid = child(|| {
        expect("before", os::poll(fd, libc::POLLIN, 0), Ok(0))?;
        put(w, b"x")?;
        expect("the poll", os::poll(fd, libc::POLLIN, 5000), Ok(libc::POLLIN))?;
        ends(&ring, &[(1, 0)])
    })?;
    get(r)?;
    let _ = os::poll(-1, 0, 20);
    submit(&mut ring, &[nop(1)])?;
    well(pid)
}

fn a_killed_childs_requests_are_over_once_they_are_ready() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    let chain = [flagged(poll_add(r, IN, 1), LINK), nop(2), read(r, buf.addr(), 8, 0, 3)];
    let pid = lingers(|| submit(&mut ring, &chain))?;
    kill(pid)?;
    put(w, b"abc")?;
    ends_all(&ring, &[(1, -ECANCELED), (2, -ECANCELED), (3, -ECANCELED)])?;
    expect("the data", get(r)?, b"abc".to_vec())?;
    ring.catch_up();
    no_more(&mut ring)
}

fn a_killed_childs_timeout_goes_on() -> Outcome {
    let mut ring = ring()?;
    let ts = after(100 * MS);
    let pid = lingers(|| submit(&mut ring, &[timeout(&ts, 0, 1)]))?;
    kill(pid)?;
    ends(&ring, &[(1, -ETIME)])?;
    ring.catch_up();
    no_more(&mut ring)
}

fn a_childs_exec_cancels_its_requests() -> Outcome {
    let mut ring = ring()?;
    let ((r, _w), buf) = (pipe()?, Buf::new(8));
    let pid = child(|| {
        submit(&mut ring, &[read(r, buf.addr(), 8, 0, 1)])?;
        let sleep = ["/bin/sleep", "0.5"].map(str::to_owned);
        Err(format!("exec: {:?}", os::exec(&sleep)))
    })?;
    ends(&ring, &[(1, -ECANCELED)])?;
    well(pid)
}

fn a_child_may_not_submit_for_a_single_issuer() -> Outcome {
    let flags = Setup::SINGLE_ISSUER.bits();
    for (flags, waits) in
        [(flags, Ok(0)), (flags | Setup::DEFER_TASKRUN.bits(), Err(Errno(EEXIST)))]
    {
        let mut ring = with(8, flags)?;
        ring.push(nop(1));
        let pid = child(|| {
            expect("submit", enter_fd(ring.fd, 1, 0, 0), Err(Errno(EEXIST)))?;
            expect("wait", enter_fd(ring.fd, 0, 0, GETEVENTS), waits)?;
            let files = i32s(&[-1]);
            let register = register_fd(ring.fd, reg::FILES, files.addr(), 1);
            expect("register", register, Err(Errno(EEXIST)))
        })?;
        well(pid)?;
        expect("the owner's", enter_fd(ring.fd, 1, 0, 0), Ok(1))?;
        ends(&ring, &[(1, 0)])?;
    }
    Ok(())
}

fn a_child_that_enables_a_ring_is_its_issuer() -> Outcome {
    let mut ring = with(8, (Setup::SINGLE_ISSUER | Setup::R_DISABLED).bits())?;
    let pid = child(|| {
        expect("enable", register_fd(ring.fd, reg::ENABLE_RINGS, 0, 0), Ok(0))?;
        runs(&mut ring, &[nop(1)], &[(1, 0)])
    })?;
    well(pid)?;
    ring.catch_up();
    ring.push(nop(2));
    expect("the parent's", enter_fd(ring.fd, 1, 0, 0), Err(Errno(EEXIST)))
}

fn a_child_submits_to_its_parents_submission_thread() -> Outcome {
    let mut ring = with(8, Setup::SQPOLL.bits())?;
    let wakes = GETEVENTS | SQ_WAKEUP;
    ring.push(nop(1));
    must("enter", ring.enter(1, 1, wakes, 0, 0))?;
    ends(&ring, &[(1, 0)])?;
    let pid = child(|| {
        ring.push(nop(2));
        must("enter", ring.enter(1, 1, wakes, 0, 0))?;
        ends(&ring, &[(2, 0)])
    })?;
    well(pid)
}

fn a_grandchild_has_the_ring_without_its_parent() -> Outcome {
    let (r, w) = pipe()?;
    let pid = child(|| {
        let mut ring = ring()?;
        runs(&mut ring, &[nop(1)], &[(1, 0)])?;
        let (alive, hold) = pipe()?;
        child(|| {
            close(hold)?;
            // Readable, by its end, once the parent has gone.
            let _ = os::poll(alive, libc::POLLIN, 5000);
            runs(&mut ring, &[nop(2)], &[(2, 0)])?;
            put(w, b"done")
        })?;
        Ok(())
    })?;
    close(w)?;
    well(pid)?;
    expect("the grandchild", get(r)?, b"done".to_vec())
}

fn a_child_maps_its_parents_ring() -> Outcome {
    let ring = ring()?;
    let pid = child(|| {
        let mut again = must("mmap", Ring::from_fd(must("dup", os::dup(ring.fd))?, ring.params))?;
        runs(&mut again, &[nop(1)], &[(1, 0)])
    })?;
    well(pid)?;
    expect("the tail", ring.cq_tail(), 1)
}

fn a_child_is_not_disturbed_by_its_parents_end_of_the_ring() -> Outcome {
    let mut ring = ring()?;
    let (r, w) = pipe()?;
    let pid = child(|| {
        close(w)?;
        runs(&mut ring, &[nop(1)], &[(1, 0)])?;
        get(r)?;
        runs(&mut ring, &[nop(2)], &[(2, 0)])
    })?;
    drop(ring);
    put(w, b"x")?;
    well(pid)
}
