//! Sections 3.21, 3.22, 3.24, 3.25 and 3.28: kinds of rings, and workers.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.21",
        what_ends_silently_waits_for_its_owner,
        "On a DEFER_TASKRUN ring the rest of a chain that CQE_SKIP hides is work for GETEVENTS: TASKRUN is set until then."
    ),
    claim!(
        "3.21",
        a_completion_appears_without_a_call,
        "On a plain or COOP_TASKRUN ring a completion appears without a call."
    ),
    claim!(
        "3.21",
        a_deferred_ring_posts_in_getevents_only,
        "On a DEFER_TASKRUN ring nothing is posted before an enter with GETEVENTS."
    ),
    claim!(
        "3.21",
        an_enter_without_getevents_posts_nothing_deferred,
        "enter without GETEVENTS does not post deferred work, TASKRUN stays set."
    ),
    claim!(
        "3.21",
        deferred_successors_wait_for_getevents,
        "On a DEFER_TASKRUN ring what follows in a chain appears at GETEVENTS."
    ),
    claim!(
        "3.21",
        a_short_submission_runs_nothing_deferred,
        "A call with GETEVENTS that took less than it was to does not run deferred work."
    ),
    claim!(
        "3.21",
        another_thread_may_not_submit_to_a_single_issuer,
        "Other threads than the issuer get EEXIST for submitting and registering, entering with nothing is allowed."
    ),
    claim!(
        "3.21",
        another_thread_may_not_wait_on_a_deferred_ring,
        "On a DEFER_TASKRUN ring GETEVENTS by another thread is EEXIST, too."
    ),
    claim!(
        "3.21",
        the_thread_that_enables_is_the_issuer,
        "The thread that enables an R_DISABLED ring is its issuer; before that anyone may register."
    ),
    claim!(
        "3.21",
        anyone_submits_to_a_single_issuers_thread,
        "With SQPOLL other threads may submit to a SINGLE_ISSUER ring, register is EEXIST."
    ),
    claim!(
        "3.22",
        a_ring_in_our_memory_works,
        "NO_MMAP puts the rings into memory of the program's, several private pages."
    ),
    claim!(
        "3.22",
        our_memory_must_be_there,
        "Memory that is not page aligned is EINVAL, NULL, unmapped or read-only EFAULT."
    ),
    claim!(
        "3.22",
        the_header_is_zeroed_and_no_more,
        "The ring header is zeroed; SQ array and SQEs keep what was there."
    ),
    claim!(
        "3.22",
        our_memory_is_looked_at_before_the_submission_thread,
        "With NO_MMAP the rings' memory comes first, then the entries', then SQ_AFF without SQPOLL and ATTACH_WQ; an end behind the address space is EOVERFLOW."
    ),
    claim!(
        "3.22",
        rings_in_our_memory_come_and_go,
        "A thousand NO_MMAP rings in the same memory, each closed before the next, are all made."
    ),
    claim!(
        "3.1",
        without_an_array_its_place_is_left_alone,
        "With NO_SQARRAY sq_off.array is what the caller wrote."
    ),
    claim!("3.22", a_ring_in_our_memory_is_not_mapped, "mmap of a NO_MMAP ring is ENOMEM."),
    claim!(
        "3.22",
        our_memory_does_not_keep_a_ring,
        "Closing a NO_MMAP ring ends it although its memory is there."
    ),
    claim!(
        "3.24",
        an_idle_submission_thread_asks_to_be_woken,
        "An SQPOLL thread that idles sets NEED_WAKEUP and takes nothing until SQ_WAKEUP."
    ),
    claim!(
        "3.24",
        enter_of_a_polled_queue_answers_to_submit,
        "With SQPOLL enter answers to_submit without looking at the SQ."
    ),
    claim!(
        "3.24",
        a_submission_thread_serves_both_kinds_of_files,
        "An SQPOLL thread takes registered and plain descriptors."
    ),
    claim!(
        "3.24",
        requests_of_a_submission_thread_outlive_the_submitter,
        "What was submitted by SQPOLL goes on when the thread that filled the SQ has gone."
    ),
    claim!(
        "3.24",
        a_gone_creator_is_eownerdead,
        "enter of an SQPOLL ring whose creator has ended is EOWNERDEAD."
    ),
    claim!(
        "3.24",
        a_child_can_wake_the_submission_thread,
        "A forked child can wake the SQPOLL thread of its parent."
    ),
    claim!("3.25", iopoll_needs_direct_files, "On an IOPOLL ring a buffered read is EOPNOTSUPP."),
    claim!(
        "3.25",
        iopoll_takes_polled_operations_only,
        "On an IOPOLL ring RECV is EINVAL, NOP allowed and posted without polling."
    ),
    claim!(
        "3.25",
        an_idle_iopoll_ring_does_not_wait,
        "On an IOPOLL ring GETEVENTS with nothing in flight returns 0 at once."
    ),
    claim!(
        "3.28",
        workers_are_threads_of_the_process,
        "A request on a worker shows as a thread of the process, iou-wrk-PID."
    ),
    claim!(
        "3.28",
        a_worker_that_waits_does_not_hold_others,
        "A blocking request on a worker does not hold up another one."
    ),
];

const SINGLE: u32 = Setup::SINGLE_ISSUER.bits();
const DEFER: u32 = SINGLE | Setup::DEFER_TASKRUN.bits();
const TASKRUN: u32 = 4;

fn a_completion_appears_without_a_call() -> Outcome {
    for flags in [0, Setup::COOP_TASKRUN.bits()] {
        let mut ring = with(8, flags)?;
        let ((r, w), buf) = (pipe()?, Buf::new(8));
        submit(&mut ring, &[read(r, buf.addr(), 8, 0, 1)])?;
        put(w, b"x")?;
        until("it appears", || ring.cq_tail() == 1)?;
    }
    Ok(())
}

/// A deferred ring with work that has arrived.
fn arrived(flags: u32) -> Res<(Ring, Buf)> {
    let mut ring = with(8, flags | Setup::TASKRUN_FLAG.bits())?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    submit(&mut ring, &[read(r, buf.addr(), 8, 0, 1)])?;
    put(w, b"x")?;
    until("TASKRUN", || ring.sq_flags() & TASKRUN != 0)?;
    Ok((ring, buf))
}

fn a_deferred_ring_posts_in_getevents_only() -> Outcome {
    let (ring, _buf) = arrived(DEFER)?;
    pending(&ring)?;
    expect("enter", ring.enter(0, 0, GETEVENTS, 0, 0), Ok(0))?;
    expect("posted", ring.reap().map(|c| (c.user_data, c.res)), Some((1, 1)))?;
    expect("TASKRUN", ring.sq_flags() & TASKRUN, 0)
}

fn an_enter_without_getevents_posts_nothing_deferred() -> Outcome {
    let (mut ring, _buf) = arrived(DEFER)?;
    expect("enter", ring.enter(0, 0, 0, 0, 0), Ok(0))?;
    pending(&ring)?;
    submit(&mut ring, &[nop(2)])?;
    ends(&ring, &[(2, 0)])?;
    expect("TASKRUN", ring.sq_flags() & TASKRUN, TASKRUN)?;
    ends(&ring, &[(1, 1)])
}

fn deferred_successors_wait_for_getevents() -> Outcome {
    let mut ring = with(8, DEFER)?;
    submit(&mut ring, &[flagged(nop(1), LINK), nop(2)])?;
    expect("the head", ring.reap().map(|c| c.user_data), Some(1))?;
    pending(&ring)?;
    ends(&ring, &[(2, 0)])
}

fn a_short_submission_runs_nothing_deferred() -> Outcome {
    let mut ring = with(8, DEFER)?;
    for sqe in [flagged(nop(1), LINK), nop(2), refused(3), nop(4)] {
        ring.push(sqe);
    }
    expect("taken", ring.enter(4, 1, GETEVENTS, 0, 0), Ok(3))?;
    let seen: Vec<u64> = std::iter::from_fn(|| ring.reap()).map(|c| c.user_data).collect();
    expect("what is there", seen, vec![1, 3])?;
    expect("the rest", ring.enter(1, 1, GETEVENTS, 0, 0), Ok(1))?;
    ends_all(&ring, &[(2, 0), (4, 0)])
}

fn another_thread_may_not_submit_to_a_single_issuer() -> Outcome {
    let mut ring = with(8, SINGLE)?;
    ring.push(nop(1));
    let fd = ring.fd;
    let r = on_thread(move || {
        let submitted = enter_fd(fd, 1, 0, 0);
        let nothing = enter_fd(fd, 0, 0, GETEVENTS);
        (submitted, nothing, register_fd(fd, reg::UNREGISTER_FILES, 0, 0))
    })?;
    expect("submit, enter, register", r, (Err(Errno(EEXIST)), Ok(0), Err(Errno(EEXIST))))
}

fn another_thread_may_not_wait_on_a_deferred_ring() -> Outcome {
    let ring = with(8, DEFER)?;
    let fd = ring.fd;
    let r = on_thread(move || (enter_fd(fd, 0, 1, GETEVENTS), enter_fd(fd, 0, 0, GETEVENTS)))?;
    expect("wait and look", r, (Err(Errno(EEXIST)), Err(Errno(EEXIST))))
}

fn the_thread_that_enables_is_the_issuer() -> Outcome {
    let mut ring = with(8, SINGLE | Setup::R_DISABLED.bits())?;
    let fd = ring.fd;
    let r = on_thread(move || {
        let early = register_fd(fd, reg::UNREGISTER_FILES, 0, 0);
        (early, register_fd(fd, reg::ENABLE_RINGS, 0, 0))
    })?;
    expect("register, enable", r, (Err(Errno(ENXIO)), Ok(0)))?;
    ring.push(nop(1));
    fails("the creator submits", ring.submit(0), EEXIST)
}

fn anyone_submits_to_a_single_issuers_thread() -> Outcome {
    let mut ring = with(8, SINGLE | Setup::SQPOLL.bits())?;
    ring.push(nop(1));
    let fd = ring.fd;
    let r = on_thread(move || {
        (enter_fd(fd, 1, 0, SQ_WAKEUP), register_fd(fd, reg::UNREGISTER_FILES, 0, 0))
    })?;
    expect("submit, register", r, (Ok(1), Err(Errno(EEXIST))))?;
    ends(&ring, &[(1, 0)])
}

fn a_ring_in_our_memory_works() -> Outcome {
    let mut ring = must("setup", Ring::in_memory(64, 0))?;
    let all: Vec<Sqe> = (0..64).map(nop).collect();
    for _ in 0..3 {
        submit(&mut ring, &all)?;
        ends(&ring, &(0..64).map(|ud| (ud, 0)).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Setup in memory at these addresses.
fn setup_at(rings: u64, sqes: u64) -> Sys<i32> {
    setup_with(0, rings, sqes)
}

/// The same with more flags; `wq_fd` is no descriptor.
fn setup_with(flags: u32, rings: u64, sqes: u64) -> Sys<i32> {
    let flags = Setup::NO_MMAP.bits() | flags;
    let mut p = Params { flags, wq_fd: 999, ..Params::default() };
    p.cq_off.user_addr = rings;
    p.sq_off.user_addr = sqes;
    setup_call(8, &mut p)
}

fn our_memory_is_looked_at_before_the_submission_thread() -> Outcome {
    let (rings, sqes, unmapped, last) =
        (Buf::new(4096), Buf::new(4096), 4096, 4096u64.wrapping_neg());
    fails("rings before the alignment", setup_at(unmapped, sqes.addr() + 64), EFAULT)?;
    fails("rings before NULL", setup_at(last, 0), EOVERFLOW)?;
    fails("the entries' end", setup_at(rings.addr(), last), EOVERFLOW)?;
    for (flag, then) in [(Setup::SQ_AFF, EINVAL), (Setup::ATTACH_WQ, ENXIO)] {
        let with = |rings, sqes| setup_with(flag.bits(), rings, sqes);
        fails("rings", with(unmapped, sqes.addr()), EFAULT)?;
        fails("entries", with(rings.addr(), unmapped), EFAULT)?;
        fails("the thread", with(rings.addr(), sqes.addr()), then)?;
    }
    Ok(())
}

fn rings_in_our_memory_come_and_go() -> Outcome {
    let (rings, sqes) = (Buf::new(4096), Buf::new(4096));
    for _ in 0..1000 {
        close(must("setup", setup_at(rings.addr(), sqes.addr()))?)?;
    }
    Ok(())
}

fn without_an_array_its_place_is_left_alone() -> Outcome {
    let mut p = Params { flags: Setup::NO_SQARRAY.bits(), ..Params::default() };
    p.sq_off.array = 0x5555;
    let fd = must("setup", setup_call(8, &mut p))?;
    expect("array", p.sq_off.array, 0x5555)?;
    close(fd)
}

fn our_memory_must_be_there() -> Outcome {
    let (a, b, readable) = (Buf::new(8192), Buf::new(8192), Buf::new(4096));
    must("protect", readable.protect(libc::PROT_READ))?;
    fails("not aligned", setup_at(a.addr() + 64, b.addr()), EINVAL)?;
    fails("not aligned", setup_at(a.addr(), b.addr() + 64), EINVAL)?;
    fails("NULL", setup_at(0, b.addr()), EFAULT)?;
    fails("NULL", setup_at(a.addr(), 0), EFAULT)?;
    fails("unmapped", setup_at(4096, b.addr()), EFAULT)?;
    fails("read-only", setup_at(readable.addr(), b.addr()), EFAULT)?;
    close(must("setup", setup_at(a.addr(), b.addr()))?)
}

fn the_header_is_zeroed_and_no_more() -> Outcome {
    let (rings, sqes) = (Buf::new(4096), Buf::new(4096));
    rings.fill(0x55);
    sqes.fill(0x55);
    let mut p = Params { flags: Setup::NO_MMAP.bits(), ..Params::default() };
    p.cq_off.user_addr = rings.addr();
    p.sq_off.user_addr = sqes.addr();
    let fd = must("setup", setup_call(8, &mut p))?;
    let words: Vec<u32> = (0..12).map(|i| rings.load(4 * i)).collect();
    expect("the header", words, vec![0, 0, 0, 0, 7, 15, 8, 16, 0, 0, 0, 0])?;
    expect("the array", rings.load(p.sq_off.array as usize), 0x5555_5555)?;
    expect("the SQEs", sqes.load(0), 0x5555_5555)?;
    close(fd)
}

fn a_ring_in_our_memory_is_not_mapped() -> Outcome {
    let ring = must("setup", Ring::in_memory(8, 0))?;
    for off in [0, 0x1000_0000] {
        fails("mmap", Buf::map(4096, libc::MAP_SHARED, ring.fd, off), ENOMEM)?;
    }
    Ok(())
}

fn our_memory_does_not_keep_a_ring() -> Outcome {
    rings_end()?;
    let mut ring = must("setup", Ring::in_memory(8, 0))?;
    let (r, w) = pipe()?;
    must("register", ring.register_files(&[w]))?;
    close(w)?;
    close(ring.fd)?;
    ring.fd = -1;
    expect("the reader sees the end", os::read(r, &mut [0]), Ok(0))
}

const NEED_WAKEUP: u32 = 1;

fn idling() -> Res<Ring> {
    let params = Params { flags: Setup::SQPOLL.bits(), sq_thread_idle: 1, ..Params::default() };
    let ring = must("setup", Ring::with(8, params))?;
    until("the thread idles", || ring.sq_flags() & NEED_WAKEUP != 0)?;
    Ok(ring)
}

fn an_idle_submission_thread_asks_to_be_woken() -> Outcome {
    let mut ring = idling()?;
    ring.push(nop(1));
    let _ = os::poll(-1, 0, 5);
    expect("nothing is taken", ring.sq_head(), 0)?;
    expect("enter", ring.enter(1, 0, SQ_WAKEUP, 0, 0), Ok(1))?;
    ends(&ring, &[(1, 0)])
}

fn enter_of_a_polled_queue_answers_to_submit() -> Outcome {
    let ring = idling()?;
    expect("enter", ring.enter(77, 0, SQ_WAKEUP, 0, 0), Ok(77))
}

fn a_submission_thread_serves_both_kinds_of_files() -> Outcome {
    let mut ring = with(8, Setup::SQPOLL.bits())?;
    let (f, buf) = (file(b"abcd")?, Buf::new(8));
    must("register", ring.register_files(&[f]))?;
    ring.push(read(f, buf.addr(), 4, 0, 1));
    ring.push(flagged(read(0, buf.addr(), 4, 0, 2), FIXED));
    must("enter", ring.enter(2, 0, SQ_WAKEUP, 0, 0))?;
    ends_all(&ring, &[(1, 4), (2, 4)])
}

fn requests_of_a_submission_thread_outlive_the_submitter() -> Outcome {
    let mut ring = with(8, Setup::SQPOLL.bits())?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    ring.push(read(r, buf.addr(), 8, 0, 1));
    let fd = ring.fd;
    on_thread(move || enter_fd(fd, 1, 0, SQ_WAKEUP))?.map_err(|e| format!("enter: {e:?}"))?;
    until("it is taken", || ring.sq_head() == 1)?;
    put(w, b"x")?;
    ends(&ring, &[(1, 1)])
}

/// In a child of the ring's creator: whether enter says so once that has ended.
fn left_alone(ring: &Ring, alive: i32) -> bool {
    os::deadline(5);
    // Its end of this pipe goes with the creator.
    let _ = os::poll(alive, libc::POLLIN, 5000);
    let gone = || enter_fd(ring.fd, 1, 0, SQ_WAKEUP) == Err(Errno(libc::EOWNERDEAD));
    until("the creator has gone", gone).is_ok()
}

fn a_gone_creator_is_eownerdead() -> Outcome {
    let (answer, to) = pipe()?;
    let code = os::in_child(|| {
        let (Ok(ring), Ok((alive, hold))) = (with(8, Setup::SQPOLL.bits()), pipe()) else {
            return 1;
        };
        if os::fork() == Ok(0) {
            let _ = os::close(hold);
            let said: &[u8] = if left_alone(&ring, alive) { b"yes" } else { b"no" };
            let _ = os::write(to, said);
            os::exit_now(0);
        }
        0
    });
    expect("the creator", code, Ok(0))?;
    close(to)?;
    expect("EOWNERDEAD", get(answer)?, b"yes".to_vec())
}

fn a_child_can_wake_the_submission_thread() -> Outcome {
    let mut ring = idling()?;
    ring.push(nop(1));
    let fd = ring.fd;
    let code = os::in_child(|| i32::from(enter_fd(fd, 1, 0, SQ_WAKEUP) != Ok(1)));
    expect("the child's enter", code, Ok(0))?;
    until("it is taken", || ring.cq_tail() == 1)
}

fn iopoll_needs_direct_files() -> Outcome {
    let (mut ring, page) = (with(8, Setup::IOPOLL.bits())?, Buf::new(4096));
    res(&mut ring, read(file(&[5; 4096])?, page.addr(), 4096, 0, 1), -EOPNOTSUPP)
}

fn iopoll_takes_polled_operations_only() -> Outcome {
    let mut ring = with(8, Setup::IOPOLL.bits())?;
    submit(&mut ring, &[of(op::RECV, 1)])?;
    expect("RECV", ring.reap().map(|c| c.res), Some(-EINVAL))?;
    submit(&mut ring, &[nop(2)])?;
    expect("NOP", ring.reap().map(|c| c.res), Some(0))
}

fn an_idle_iopoll_ring_does_not_wait() -> Outcome {
    expect("enter", with(8, Setup::IOPOLL.bits())?.enter(0, 1, GETEVENTS, 0, 0), Ok(0))
}

fn workers_are_threads_of_the_process() -> Outcome {
    let mut ring = ring()?;
    let ((r, _w), buf) = (pipe()?, Buf::new(8));
    submit(&mut ring, &[flagged(read(r, buf.addr(), 8, 0, 1), ASYNC)])?;
    let named = || {
        let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let mut names = tasks.filter_map(|t| std::fs::read_to_string(t.path().join("comm")).ok());
        names.any(|n| n.starts_with("iou-wrk-"))
    };
    until("a worker", named)
}

fn a_worker_that_waits_does_not_hold_others() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    submit(&mut ring, &[flagged(read(r, buf.addr(), 1, 0, 1), ASYNC)])?;
    let unlocker = Buf::of(b"x");
    submit(&mut ring, &[flagged(write(w, unlocker.addr(), 1, 0, 2), ASYNC)])?;
    ends_all(&ring, &[(1, 1), (2, 1)])
}

fn what_ends_silently_waits_for_its_owner() -> Outcome {
    let mut ring = with(8, DEFER | Setup::TASKRUN_FLAG.bits())?;
    let told = |ring: &Ring| ring.sq_flags() & TASKRUN != 0;
    take(&mut ring, &[flagged(nop(1), LINK | SKIP), refused(2)])?;
    expect("TASKRUN", told(&ring), true)?;
    ends(&ring, &[(1, -ECANCELED)])?;
    must("enter", ring.enter(0, 0, GETEVENTS, 0, 0))?;
    expect("TASKRUN", told(&ring), false)?;
    pending(&ring)
}
