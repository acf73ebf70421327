//! Section 3.29: how long rings, requests and files live.

use super::kit::*;
use crate::programs::lifetime;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.29",
        a_mapping_keeps_a_ring,
        "Closing the descriptor with a mapping there changes nothing: files stay registered until the mapping goes."
    ),
    claim!(
        "3.29",
        a_closed_but_mapped_ring_goes_on,
        "A request that was pending when the descriptor was closed still posts into the mapping."
    ),
    claim!(
        "3.29",
        what_came_before_a_close_is_there_behind_it,
        "What a request got before the descriptor was closed is a completion in the mapping when close(2) returns."
    ),
    claim!(
        "3.29",
        a_duplicate_keeps_a_ring,
        "A ring lives while a duplicate of its descriptor does."
    ),
    claim!(
        "3.29",
        the_end_of_a_ring_cancels_what_is_pending,
        "At the end of a ring pending reads, polls, timeouts and worker requests post ECANCELED."
    ),
    claim!(
        "3.29",
        buffers_go_before_files,
        "At the end of a ring buffers go first, then files, each table from the last slot down."
    ),
    claim!(
        "3.29",
        a_pending_request_holds_its_file,
        "Closing the last descriptor of a file does not end a request on it."
    ),
    claim!(
        "3.29",
        a_gone_threads_read_takes_no_data,
        "A read whose submitter has gone ends with ECANCELED when it becomes ready, the data stays.",
        needs "SUBMITTER_GONE"
    ),
    claim!(
        "3.29",
        a_gone_processs_read_takes_no_data,
        "A read of a process that ended takes no data."
    ),
    claim!(
        "3.29",
        a_gone_threads_timeout_fires,
        "A timeout whose submitter has gone still fires with ETIME."
    ),
    claim!(
        "3.29",
        a_child_can_submit_to_its_parents_ring,
        "A forked child may submit to the ring, the parent sees the completion."
    ),
    claim!(
        "3.29",
        a_childs_end_does_not_touch_its_parents_requests,
        "A child that ends leaves the parent's requests pending."
    ),
    claim!(
        "3.29",
        a_ring_is_usable_after_exec,
        "With close-on-exec cleared a ring stays usable in the new image.",
        needs "RING_ACROSS_EXEC"
    ),
];

fn a_mapping_keeps_a_ring() -> Outcome {
    rings_end()?;
    lifetime::last_mapping("")
}

fn a_closed_but_mapped_ring_goes_on() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    submit(&mut ring, &[read(r, buf.addr(), 8, 0, 1)])?;
    close(ring.fd)?;
    ring.fd = -1;
    put(w, b"x")?;
    until("the completion", || ring.cq_tail() == 1)?;
    expect("it", ring.reap().map(|c| (c.user_data, c.res)), Some((1, 1)))
}

fn what_came_before_a_close_is_there_behind_it() -> Outcome {
    for flags in [0, Setup::COOP_TASKRUN.bits()] {
        let mut ring = must("setup", Ring::new(8, flags))?;
        let ((r, w), buf) = (pipe()?, Buf::new(8));
        submit(&mut ring, &[read(r, buf.addr(), 8, 0, 1)])?;
        put(w, b"x")?;
        close(ring.fd)?;
        ring.fd = -1;
        expect("it", ring.reap().map(|c| (c.user_data, c.res)), Some((1, 1)))?;
    }
    Ok(())
}

fn a_duplicate_keeps_a_ring() -> Outcome {
    let mut ring = ring()?;
    let copy = must("dup", os::dup(ring.fd))?;
    must("close", os::close(ring.fd))?;
    ring.fd = copy;
    res(&mut ring, nop(1), 0)
}

fn the_end_of_a_ring_cancels_what_is_pending() -> Outcome {
    rings_end()?;
    let mut ring = must("setup", Ring::in_memory(8, 0))?;
    let ((r, _w), buf, ts) = (pipe()?, Buf::new(8), hour());
    let pending = [
        read(r, buf.addr(), 8, 0, 1),
        poll_add(r, IN, 2),
        timeout(&ts, 0, 3),
        flagged(read(r, buf.addr(), 8, 0, 4), LINK),
        nop(5),
    ];
    submit(&mut ring, &pending)?;
    close(ring.fd)?;
    ring.fd = -1;
    until("all completions", || ring.cq_tail() == 5)?;
    let mut got: Vec<_> =
        std::iter::from_fn(|| ring.reap()).map(|c| (c.user_data, c.res)).collect();
    got.sort_unstable();
    expect("completions", got, (1..=5).map(|ud| (ud, -ECANCELED)).collect())
}

fn buffers_go_before_files() -> Outcome {
    rings_end()?;
    let mut ring = must("setup", Ring::in_memory(8, 0))?;
    let (f, page) = (file(b"x")?, Buf::new(4096));
    let (fds, iovs) = (i32s(&[f, f]), u64s(&[page.addr(), 4096, page.addr(), 4096]));
    for (op, data, tags) in [(reg::FILES2, &fds, [101, 102]), (reg::BUFFERS2, &iovs, [201, 202])] {
        let tags = u64s(&tags);
        let arg = u64s(&[2, 0, data.addr(), tags.addr()]);
        must("register", ring.register(op, arg.addr(), 32))?;
    }
    close(ring.fd)?;
    ring.fd = -1;
    until("all tags", || ring.cq_tail() == 4)?;
    let got: Vec<_> = std::iter::from_fn(|| ring.reap()).map(|c| c.user_data).collect();
    expect("tags", got, vec![202, 201, 102, 101])
}

fn a_pending_request_holds_its_file() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    submit(&mut ring, &[read(r, buf.addr(), 8, 0, 1)])?;
    close(r)?;
    put(w, b"abc")?;
    ends(&ring, &[(1, 3)])
}

fn a_gone_threads_read_takes_no_data() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    ring.push(read(r, buf.addr(), 8, 0, 1));
    let fd = ring.fd;
    let tid = on_thread(move || {
        let r = enter_fd(fd, 1, 0, 0);
        r.map(|_| os::raw(libc::SYS_gettid, [0; 3]))
    })?;
    let tid = tid.and_then(|t| t).map_err(|e| format!("enter: {e:?}"))?;
    // join(3) returns before the kernel has ended the thread.
    let task = format!("/proc/self/task/{tid}");
    until("the thread has gone", || !std::path::Path::new(&task).exists())?;
    put(w, b"x")?;
    ends(&ring, &[(1, -ECANCELED)])?;
    expect("the data", get(r)?, b"x".to_vec())
}

fn a_gone_processs_read_takes_no_data() -> Outcome {
    let (r, w) = pipe()?;
    let code = os::in_child(|| {
        let buf = Buf::new(8);
        let submitted = ring().and_then(|mut ring| {
            submit(&mut ring, &[read(r, buf.addr(), 8, 0, 1)])?;
            ring.abandon();
            Ok(())
        });
        i32::from(submitted.is_err())
    });
    expect("the child", code, Ok(0))?;
    put(w, b"abc")?;
    expect("the data", get(r)?, b"abc".to_vec())
}

fn a_gone_threads_timeout_fires() -> Outcome {
    let mut ring = ring()?;
    let ts = after(20 * MS);
    ring.push(timeout(&ts, 0, 1));
    let fd = ring.fd;
    on_thread(move || enter_fd(fd, 1, 0, 0))?.map_err(|e| format!("enter: {e:?}"))?;
    ends(&ring, &[(1, -ETIME)])
}

fn a_child_can_submit_to_its_parents_ring() -> Outcome {
    let mut ring = ring()?;
    ring.push(nop(1));
    let fd = ring.fd;
    let code = os::in_child(|| i32::from(enter_fd(fd, 1, 0, 0) != Ok(1)));
    expect("the child's enter", code, Ok(0))?;
    ends(&ring, &[(1, 0)])
}

fn a_childs_end_does_not_touch_its_parents_requests() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    submit(&mut ring, &[read(r, buf.addr(), 8, 0, 1)])?;
    expect("the child", os::in_child(|| 0), Ok(0))?;
    pending(&ring)?;
    put(w, b"x")?;
    ends(&ring, &[(1, 1)])
}

fn a_ring_is_usable_after_exec() -> Outcome {
    let ring = ring()?;
    must("fcntl", os::fcntl(ring.fd, libc::F_SETFD, 0))?;
    let me = std::env::current_exe().map_err(|e| e.to_string())?;
    let fd = ring.fd.to_string();
    let status = std::process::Command::new(me).args([AFTER_EXEC, &fd]).status();
    let status = status.map_err(|e| e.to_string())?;
    expect("enter in the new image", status.code(), Some(0))
}

/// The argument that makes this program the new image of [`a_ring_is_usable_after_exec`].
const AFTER_EXEC: &str = "--after-exec";

/// Enters the ring that an image before this one made, if the command line says so.
pub(super) fn after_exec(args: &[String]) -> Option<std::process::ExitCode> {
    let [first, fd] = args else { return None };
    let fd = fd.parse().ok().filter(|_| first == AFTER_EXEC)?;
    Some(u8::from(enter_fd(fd, 0, 0, GETEVENTS) != Ok(0)).into())
}
