//! A trace in a test's own process: the library face.

use io_uring::{IoUring, opcode, squeue::Flags, types};
use ringer::trace::{Error, Trace};

fn nops(ring: &mut IoUring, names: std::ops::Range<u64>) {
    let n = names.end - names.start;
    for name in names.clone() {
        let last = name + 1 == names.end;
        let flags = if last { Flags::empty() } else { Flags::IO_LINK };
        let nop = opcode::Nop::new().build().user_data(name).flags(flags);
        // SAFETY: it needs no memory.
        unsafe { ring.submission().push(&nop) }.expect("room");
    }
    ring.submit_and_wait(n as usize).expect("done");
    assert_eq!(ring.completion().count() as u64, n);
}

#[test]
fn what_a_thread_submits_is_told_with_what_came_of_it() {
    let trace = Trace::begin().expect("a trace");
    assert!(matches!(Trace::begin(), Err(Error::Begun)));
    let mut ring = IoUring::new(8).expect("a ring");
    nops(&mut ring, 10..13);
    let all = trace.requests();
    let seen: Vec<_> = all.iter().map(|r| (r.op, r.user_data, r.linked, r.is_over())).collect();
    assert_eq!(seen, [("NOP", 10, false, true), ("NOP", 11, true, true), ("NOP", 12, true, true)]);
    assert!(all.iter().all(|r| r.completions.len() == 1 && r.completions[0].res == 0), "{all:?}");
    // A descriptor that nobody has.
    let mut byte = [0];
    let read = opcode::Read::new(types::Fd(-1), byte.as_mut_ptr(), 1).build().user_data(7);
    // SAFETY: the buffer lives until the request has completed, below.
    unsafe { ring.submission().push(&read) }.expect("room");
    ring.submit_and_wait(1).expect("done");
    let all = trace.requests();
    let last = all.last().expect("a request");
    assert_eq!((last.op, last.fd, last.completions[0].error()), ("READ", -1, Some("EBADF")));
    assert_eq!((all.len(), trace.lost()), (4, 0));
}

#[test]
fn threads_have_traces_of_their_own() {
    let run = |names: std::ops::Range<u64>| {
        let trace = Trace::begin().expect("a trace");
        let mut ring = IoUring::new(8).expect("a ring");
        for _ in 0..200 {
            nops(&mut ring, names.clone());
        }
        trace.requests().iter().map(|r| r.user_data).collect::<Vec<_>>()
    };
    let threads: Vec<_> =
        (0..4).map(|i| std::thread::spawn(move || run(i * 10..i * 10 + 2))).collect();
    for (thread, i) in threads.into_iter().zip(0..) {
        let seen = thread.join().expect("no panic");
        assert_eq!(seen.len(), 400);
        assert!(seen.iter().all(|name| name / 10 == i), "{seen:?}");
    }
}

#[test]
fn what_comes_after_a_trace_is_not_written() {
    let mut ring = None;
    for round in 0..3 {
        let trace = Trace::begin().expect("a trace");
        let ring = ring.get_or_insert_with(|| IoUring::new(8).expect("a ring"));
        nops(ring, 0..1);
        assert_eq!(trace.requests().len(), 1, "round {round}");
        drop(trace);
        nops(ring, 1..2);
    }
}
