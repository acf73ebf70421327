//! WAITID against waitid(2): which children, which changes, what is told of them, and what a cancel
//! leaves.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "1.1",
        a_waitid_tells_how_its_child_ended,
        "WAITID of a child by number, group, pidfd or any waits for its end and tells how it ended.",
        needs "WAITID"
    ),
    claim!(
        "1.1",
        a_child_that_has_ended_is_told_at_once,
        "WAITID of a child that has ended completes in the submission; WNOWAIT leaves it.",
        needs "WAITID"
    ),
    claim!(
        "1.1",
        a_waitid_that_must_not_hang_tells_of_nobody,
        "WAITID with WNOHANG and no change is 0 and si_signo 0; so is one by a pidfd that is O_NONBLOCK.",
        needs "WAITID"
    ),
    claim!(
        "1.1",
        a_waitid_sees_a_child_stop_and_go_on,
        "WAITID with WSTOPPED and WCONTINUED tells of these changes.",
        needs "WAITID"
    ),
    claim!(
        "1.1",
        a_waitid_needs_a_child,
        "WAITID without a child that fits is ECHILD, also when somebody else reaps it meanwhile.",
        needs "WAITID"
    ),
    claim!(
        "1.1",
        a_waitid_with_nowhere_to_tell_takes_the_child,
        "WAITID with a bad address is EFAULT when the child has ended, and has reaped it; with none it is 0.",
        needs "WAITID"
    ),
    claim!(
        "1.1",
        a_pidfd_may_be_closed_while_a_waitid_waits,
        "WAITID goes by the process that the pidfd named when it began.",
        needs "WAITID"
    ),
    claim!(
        "3.8",
        a_cancelled_waitid_tells_of_nobody,
        "A cancel of a WAITID writes a siginfo_t of nobody; one that cannot be written does not matter.",
        needs "WAITID"
    ),
    claim!(
        "3.8",
        a_linked_timeout_of_a_waitid_answers_one,
        "LINK_TIMEOUT behind a WAITID answers 1 when it cancels it.",
        needs "WAITID"
    ),
    claim!(
        "3.8",
        a_cancel_of_waitids_takes_the_newest,
        "Without ALL the newest WAITID is cancelled; with it they are counted as one, apart from futexes.",
        needs "WAITID", "FUTEX_WAIT"
    ),
    claim!(
        "3.6",
        a_chain_goes_on_when_its_child_ended,
        "What is linked behind a WAITID runs when the child has ended.",
        needs "WAITID"
    ),
];

const P_PIDFD: u32 = 3;

/// A child that lives until it is told, by its standard way out: a byte in a pipe is its status.
struct Child {
    pid: i32,
    tell: i32,
}

impl Child {
    fn new() -> Res<Self> {
        let (r, w) = pipe()?;
        let pid = must("fork", os::fork())?;
        if pid == 0 {
            os::deadline(20);
            let _ = os::close(w);
            let mut b = [0];
            let n = os::read(r, &mut b);
            os::exit_now(if n == Ok(1) { i32::from(b[0]) } else { 77 });
        }
        close(r)?;
        Ok(Self { pid, tell: w })
    }

    fn ends(&self, status: u8) -> Outcome {
        put(self.tell, &[status])
    }

    /// Ends it and waits until it can be waited for.
    fn ended(status: u8) -> Res<Self> {
        let child = Self::new()?;
        child.ends(status)?;
        let info = Buf::new(128);
        let options = (libc::WEXITED | libc::WNOWAIT) as u64;
        let args = [libc::P_PID.into(), child.pid as u64, info.addr(), options, 0, 0];
        must("waitid", os::raw6(libc::SYS_waitid, args))?;
        Ok(child)
    }
}

fn waitid(which: u32, id: i32, options: i32, info: u64, ud: u64) -> Sqe {
    Sqe { file_index: options.cast_unsigned(), ..rw(op::WAITID, id, 0, which, info, ud) }
}

fn of_child(child: &Child, info: &Buf, ud: u64) -> Sqe {
    waitid(libc::P_PID, child.pid, libc::WEXITED, info.addr(), ud)
}

/// si_signo, si_errno, si_code, si_pid, si_status.
fn told(info: &Buf) -> [i32; 5] {
    [0, 4, 8, 16, 24].map(|at| info.load(at).cast_signed())
}

const NOBODY: [i32; 5] = [0; 5];

fn ended(child: &Child, status: i32) -> [i32; 5] {
    [libc::SIGCHLD, 0, libc::CLD_EXITED, child.pid, status]
}

fn filled() -> Buf {
    let info = Buf::new(128);
    info.fill(0x55);
    info
}

fn pidfd(pid: i32) -> Res<i32> {
    Ok(must("pidfd_open", os::raw(libc::SYS_pidfd_open, [pid as u64, 0, 0]))? as i32)
}

fn a_waitid_tells_how_its_child_ended() -> Outcome {
    let mut ring = ring()?;
    for (which, id) in [(libc::P_PID, 1), (libc::P_ALL, 0), (libc::P_PGID, 0), (P_PIDFD, 2)] {
        let (child, info) = (Child::new()?, filled());
        let id = match id {
            1 => child.pid,
            2 => pidfd(child.pid)?,
            other => other,
        };
        submit(&mut ring, &[waitid(which, id, libc::WEXITED, info.addr(), 1)])?;
        pending(&ring)?;
        child.ends(42)?;
        ends(&ring, &[(1, 0)]).map_err(|e| format!("idtype {which}: {e}"))?;
        expect("told", told(&info), ended(&child, 42))?;
        expect("what lies between", info.load(12), 0x5555_5555)?;
        expect("what lies behind", info.load(28), 0x5555_5555)?;
        fails("wait", os::wait(child.pid), libc::ECHILD)?;
    }
    Ok(())
}

fn a_child_that_has_ended_is_told_at_once() -> Outcome {
    let mut ring = ring()?;
    let (child, info) = (Child::ended(3)?, filled());
    for options in [libc::WEXITED | libc::WNOWAIT, libc::WEXITED] {
        submit(&mut ring, &[waitid(libc::P_PID, child.pid, options, info.addr(), 1)])?;
        expect("at once", ring.reap().map(|c| (c.user_data, c.res)), Some((1, 0)))?;
        expect("told", told(&info), ended(&child, 3))?;
    }
    fails("wait", os::wait(child.pid), libc::ECHILD)
}

fn a_waitid_that_must_not_hang_tells_of_nobody() -> Outcome {
    let mut ring = ring()?;
    let child = Child::new()?;
    let (fd, options) = (pidfd(child.pid)?, libc::WEXITED | libc::WNOHANG);
    let flags = libc::O_NONBLOCK as u64;
    let calm = must("pidfd_open", os::raw(libc::SYS_pidfd_open, [child.pid as u64, flags, 0]))?;
    let calm = (P_PIDFD, calm as i32, libc::WEXITED);
    for (which, id, options) in [(libc::P_PID, child.pid, options), (P_PIDFD, fd, options), calm] {
        let info = filled();
        submit(&mut ring, &[waitid(which, id, options, info.addr(), 1)])?;
        expect("at once", ring.reap().map(|c| (c.user_data, c.res)), Some((1, 0)))?;
        expect("si_signo and si_errno", &told(&info)[..2], &NOBODY[..2])?;
    }
    child.ends(0)?;
    must("wait", os::wait(child.pid)).map(|_| ())
}

fn a_waitid_sees_a_child_stop_and_go_on() -> Outcome {
    let mut ring = ring()?;
    let child = Child::new()?;
    for (options, signal, code, status) in [
        (libc::WSTOPPED, libc::SIGSTOP, libc::CLD_STOPPED, libc::SIGSTOP),
        (libc::WCONTINUED, libc::SIGCONT, libc::CLD_CONTINUED, libc::SIGCONT),
    ] {
        let info = filled();
        submit(&mut ring, &[waitid(libc::P_PID, child.pid, options, info.addr(), 1)])?;
        pending(&ring)?;
        must("kill", os::kill(child.pid, signal))?;
        ends(&ring, &[(1, 0)])?;
        expect("told", told(&info), [libc::SIGCHLD, 0, code, child.pid, status])?;
    }
    let info = filled();
    submit(&mut ring, &[of_child(&child, &info, 1)])?;
    must("kill", os::kill(child.pid, libc::SIGKILL))?;
    ends(&ring, &[(1, 0)])?;
    let killed = [libc::SIGCHLD, 0, libc::CLD_KILLED, child.pid, libc::SIGKILL];
    expect("told", told(&info), killed)
}

fn a_waitid_needs_a_child() -> Outcome {
    let mut ring = ring()?;
    let info = filled();
    let none = waitid(libc::P_PID, os::pid(), libc::WEXITED, info.addr(), 1);
    res(&mut ring, none, -libc::ECHILD)?;
    expect("si_signo and si_errno", &told(&info)[..2], &NOBODY[..2])?;
    // What is wrong with the arguments is said before anything is told.
    let info = filled();
    let wrong = waitid(libc::P_PID, os::pid(), 0, info.addr(), 1);
    res(&mut ring, wrong, -EINVAL)?;
    expect("si_signo", info.load(0), 0x5555_5555)?;
    res(&mut ring, waitid(P_PIDFD, -1, libc::WEXITED, 0, 1), -EINVAL)?;
    res(&mut ring, waitid(P_PIDFD, file(b"")?, libc::WEXITED, 0, 1), -EBADF)?;
    let child = Child::new()?;
    submit(&mut ring, &[of_child(&child, &info, 1)])?;
    must("ignore", os::ignore_signal(libc::SIGCHLD, true))?;
    child.ends(0)?;
    let seen = ends(&ring, &[(1, -libc::ECHILD)]);
    must("default", os::ignore_signal(libc::SIGCHLD, false))?;
    seen
}

fn a_waitid_with_nowhere_to_tell_takes_the_child() -> Outcome {
    let mut ring = ring()?;
    let child = Child::ended(0)?;
    res(&mut ring, waitid(libc::P_PID, child.pid, libc::WEXITED, 8, 1), -EFAULT)?;
    fails("wait", os::wait(child.pid), libc::ECHILD)?;
    let child = Child::new()?;
    submit(&mut ring, &[waitid(libc::P_PID, child.pid, libc::WEXITED, 8, 1)])?;
    pending(&ring)?;
    child.ends(0)?;
    ends(&ring, &[(1, -EFAULT)])?;
    fails("wait", os::wait(child.pid), libc::ECHILD)?;
    let child = Child::ended(0)?;
    res(&mut ring, waitid(libc::P_PID, child.pid, libc::WEXITED, 0, 1), 0)
}

fn a_pidfd_may_be_closed_while_a_waitid_waits() -> Outcome {
    let mut ring = ring()?;
    let (child, info) = (Child::new()?, filled());
    let fd = pidfd(child.pid)?;
    submit(&mut ring, &[waitid(P_PIDFD, fd, libc::WEXITED, info.addr(), 1)])?;
    close(fd)?;
    waits(&ring)?;
    child.ends(5)?;
    ends(&ring, &[(1, 0)])?;
    expect("told", told(&info), ended(&child, 5))
}

fn a_cancelled_waitid_tells_of_nobody() -> Outcome {
    let mut ring = ring()?;
    let (child, info) = (Child::new()?, filled());
    submit(&mut ring, &[of_child(&child, &info, 1)])?;
    runs(&mut ring, &[cancel(1, 0, 2)], &[(2, 1), (1, -ECANCELED)])?;
    expect("si_signo and si_errno", &told(&info)[..2], &NOBODY[..2])?;
    submit(&mut ring, &[waitid(libc::P_PID, child.pid, libc::WEXITED, 8, 1)])?;
    runs(&mut ring, &[cancel(1, 0, 2)], &[(2, 1), (1, -ECANCELED)])?;
    child.ends(0)?;
    must("wait", os::wait(child.pid)).map(|_| ())
}

fn a_linked_timeout_of_a_waitid_answers_one() -> Outcome {
    let mut ring = ring()?;
    let (child, info, soon) = (Child::new()?, filled(), after(MS));
    let wait = flagged(of_child(&child, &info, 1), LINK);
    runs(&mut ring, &[wait, link_timeout(&soon, 2)], &[(2, 1), (1, -ECANCELED)])?;
    child.ends(0)?;
    must("wait", os::wait(child.pid)).map(|_| ())
}

fn a_cancel_of_waitids_takes_the_newest() -> Outcome {
    let mut ring = ring()?;
    let (child, info, word) = (Child::new()?, filled(), Buf::new(64));
    let of_op = Sqe { len: op::WAITID.into(), ..cancel(0, OP, 9) };
    submit(&mut ring, &[1, 2, 3].map(|ud| of_child(&child, &info, ud)))?;
    runs(&mut ring, &[of_op], &[(9, 1), (3, -ECANCELED)])?;
    let wait = |ud| Sqe { addr3: 1, ..rw(op::FUTEX_WAIT, 0x82, word.addr(), 0, 0, ud) };
    submit(&mut ring, &[wait(4), wait(5)])?;
    submit(&mut ring, &[cancel(0, ANY | ALL, 9)])?;
    let all = [1, 2, 4, 5].map(|ud| (ud, -ECANCELED));
    ends_all(&ring, &[&all[..], &[(9, 2)]].concat())?;
    child.ends(0)?;
    must("wait", os::wait(child.pid)).map(|_| ())
}

fn a_chain_goes_on_when_its_child_ended() -> Outcome {
    let mut ring = ring()?;
    let (child, info) = (Child::new()?, filled());
    submit(&mut ring, &[flagged(of_child(&child, &info, 1), LINK), nop(2)])?;
    waits(&ring)?;
    child.ends(9)?;
    ends(&ring, &[(1, 0), (2, 0)])?;
    let gone = flagged(of_child(&child, &info, 1), LINK);
    runs(&mut ring, &[gone, nop(2)], &[(1, -libc::ECHILD), (2, -ECANCELED)])
}
