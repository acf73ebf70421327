//! Section 3.24: submission threads that several rings share.

use super::kit::*;
use std::os::unix::fs::PermissionsExt as _;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.24",
        an_attached_ring_shares_the_thread,
        "ATTACH_WQ with SQPOLL shares the submission thread, that of an attached ring too.",
        needs "SETUP_ATTACH_WQ"
    ),
    claim!(
        "3.24",
        a_thread_is_shared_with_sqpoll_rings_only,
        "ATTACH_WQ with SQPOLL to a ring without is EINVAL, without SQPOLL it is fine with any ring and makes no thread."
    ),
    claim!(
        "3.24",
        an_attached_ring_chooses_no_cpu,
        "SQ_AFF of an attached SQPOLL ring is ignored, also with a CPU that there is not."
    ),
    claim!(
        "3.24",
        a_shared_thread_ends_with_its_last_ring,
        "A shared submission thread goes on when its first ring is closed, and ends with the last."
    ),
    claim!(
        "3.24",
        a_shared_thread_waits_for_its_most_patient_ring,
        "A shared submission thread idles after the longest sq_thread_idle of its rings; attaching wakes it."
    ),
    claim!(
        "3.24",
        a_wakeup_of_one_ring_is_one_of_all,
        "NEED_WAKEUP is set on all rings of a shared thread, and SQ_WAKEUP of one wakes it for all."
    ),
    claim!(
        "3.24",
        a_shared_thread_takes_eight_entries_at_a_time,
        "Where several rings share a thread it takes 8 entries of each in turn, which cuts chains there; alone all of them."
    ),
    claim!(
        "3.24",
        a_busy_ring_starves_no_other,
        "A ring whose SQ is kept full does not keep the thread from the other ring."
    ),
    claim!(
        "3.24",
        a_disabled_ring_holds_nobody_up,
        "A disabled ring with entries leaves the shared thread to the others; ENABLE_RINGS has them taken."
    ),
    claim!(
        "3.24",
        room_is_waited_for_ring_by_ring,
        "SQ_WAIT on an attached ring returns when that ring has room."
    ),
    claim!(
        "3.24",
        rings_of_one_thread_share_its_workers,
        "IOWQ_MAX_WORKERS of a ring is that of all that share its submission thread."
    ),
    claim!(
        "3.24",
        each_ring_of_a_thread_acts_for_its_creator,
        "An entry of an attached ring has the credentials that made the ring, not those that made the thread."
    ),
    claim!(
        "3.24",
        a_child_that_attaches_gets_a_thread_of_its_own,
        "ATTACH_WQ with SQPOLL to the parent's ring in a forked child makes a new thread."
    ),
];

const NEED_WAKEUP: u32 = 1;
const SQ_WAIT: u32 = 4;
const ENABLE_RINGS: u32 = 12;
const MAX_WORKERS: u32 = 19;
/// Longer than a claim takes \[ms\].
const LONG: u32 = 60_000;

/// A SQPOLL ring with more flags and an idle time \[ms\].
fn polled(flags: Setup, idle: u32) -> Res<Ring> {
    let flags = (Setup::SQPOLL | flags).bits();
    must("setup", Ring::with(16, Params { flags, sq_thread_idle: idle, ..Params::default() }))
}

/// Parameters of a ring that is attached to another.
fn params(to: &Ring, flags: Setup) -> Params {
    let flags = (Setup::ATTACH_WQ | flags).bits();
    Params { flags, wq_fd: to.fd.cast_unsigned(), ..Params::default() }
}

fn attached(to: &Ring, flags: Setup, idle: u32) -> Res<Ring> {
    let params = Params { sq_thread_idle: idle, ..params(to, Setup::SQPOLL | flags) };
    must("setup of an attached ring", Ring::with(16, params))
}

/// Submission threads of this process.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let names = tasks.filter_map(|t| std::fs::read_to_string(t.path().join("comm")).ok());
    names.filter(|n| n.starts_with("iou-sqp-")).count()
}

fn sleeps(ring: &Ring) -> bool {
    ring.sq_flags() & NEED_WAKEUP != 0
}

fn wake(ring: &Ring) -> Outcome {
    must("enter", ring.enter(0, 0, SQ_WAKEUP, 0, 0)).map(drop)
}

/// Closes the ring, and waits until it is gone.
fn close_ring(ring: Ring) -> Outcome {
    let (r, w) = pipe()?;
    must("register", ring.register_files(&[w]))?;
    close(w)?;
    drop(ring);
    until("the ring has ended", || hung_up(r) == Ok(true))
}

/// A NOP through the thread.
fn works(ring: &mut Ring) -> Outcome {
    ring.push(nop(1));
    wake(ring)?;
    ends(ring, &[(1, 0)])
}

fn an_attached_ring_shares_the_thread() -> Outcome {
    let before = threads();
    let mut first = polled(Setup::empty(), 0)?;
    until("a thread", || threads() == before + 1)?;
    let mut second = attached(&first, Setup::empty(), 0)?;
    let mut third = attached(&second, Setup::NO_SQARRAY, 0)?;
    for ring in [&mut first, &mut second, &mut third] {
        works(ring)?;
    }
    expect("threads", threads(), before + 1)
}

fn a_thread_is_shared_with_sqpoll_rings_only() -> Outcome {
    let before = threads() + 1;
    let (plain, first) = (ring()?, polled(Setup::empty(), 0)?);
    until("a thread", || threads() == before)?;
    let (mut to_plain, mut none) = (params(&plain, Setup::SQPOLL), params(&plain, Setup::SQPOLL));
    fails("to a ring without", setup_call(8, &mut to_plain), EINVAL)?;
    none.wq_fd = u32::MAX;
    fails("to nothing", setup_call(8, &mut none), ENXIO)?;
    none.wq_fd = file(b"")?.cast_unsigned();
    fails("to a file", setup_call(8, &mut none), EINVAL)?;
    for to in [&plain, &first] {
        res(&mut must("setup", Ring::with(8, params(to, Setup::empty())))?, nop(1), 0)?;
    }
    let mut stray = params(&first, Setup::SQ_AFF);
    fails("a CPU without a thread", setup_call(8, &mut stray), EINVAL)?;
    expect("threads", threads(), before)
}

fn an_attached_ring_chooses_no_cpu() -> Outcome {
    let first = polled(Setup::empty(), 0)?;
    let nowhere = |mut params: Params| {
        params.sq_thread_cpu = 1 << 20;
        params
    };
    let mut alone = Params { flags: (Setup::SQPOLL | Setup::SQ_AFF).bits(), ..Params::default() };
    alone = nowhere(alone);
    fails("alone", setup_call(8, &mut alone), EINVAL)?;
    let params = nowhere(params(&first, Setup::SQPOLL | Setup::SQ_AFF));
    works(&mut must("attached", Ring::with(8, params))?)
}

fn a_shared_thread_ends_with_its_last_ring() -> Outcome {
    rings_end()?;
    let before = threads();
    let first = polled(Setup::empty(), 1)?;
    let mut second = attached(&first, Setup::empty(), 1)?;
    close_ring(first)?;
    works(&mut second)?;
    let mut third = attached(&second, Setup::empty(), 1)?;
    drop(second);
    works(&mut third)?;
    expect("threads", threads(), before + 1)?;
    drop(third);
    until("the thread has ended", || threads() == before)
}

fn a_shared_thread_waits_for_its_most_patient_ring() -> Outcome {
    rings_end()?;
    let mut first = polled(Setup::empty(), 1)?;
    until("the thread idles", || sleeps(&first))?;
    let second = attached(&first, Setup::empty(), LONG)?;
    until("it wakes", || !sleeps(&first))?;
    first.push(nop(1));
    until("it takes what comes", || first.cq_tail() == 1)?;
    let _ = os::poll(-1, 0, 50);
    expect("asleep", (sleeps(&first), sleeps(&second)), (false, false))?;
    close_ring(second)?;
    // 6.18 may finish the long time that it has begun (sqpoll.c `io_sq_thread`): not after work.
    expect("one before", first.reap().map(|c| c.res), Some(0))?;
    works(&mut first)?;
    until("the thread idles again", || sleeps(&first))
}

fn a_wakeup_of_one_ring_is_one_of_all() -> Outcome {
    let mut first = polled(Setup::empty(), 1)?;
    let mut second = attached(&first, Setup::empty(), 1)?;
    for _ in 0..3 {
        until("all idle", || sleeps(&first) && sleeps(&second))?;
        first.push(nop(1));
        second.push(nop(2));
        let _ = os::poll(-1, 0, 5);
        expect("taken", (first.reap().is_some(), second.reap().is_some()), (false, false))?;
        wake(&second)?;
        ends(&first, &[(1, 0)])?;
        ends(&second, &[(2, 0)])?;
    }
    Ok(())
}

/// Ten entries in a chain whose first one fails.
fn chain() -> [Sqe; 10] {
    std::array::from_fn(|i| {
        let sqe = if i == 0 { nop_with(-EIO, 1) } else { nop(i as u64 + 1) };
        if i == 9 { sqe } else { flagged(sqe, LINK) }
    })
}

/// The results of that, how many of them failed.
fn chain_of(ring: &mut Ring) -> Res<usize> {
    ring.push_together(chain());
    wake(ring)?;
    let mut all: Vec<_> = wait_for(ring, 10)?.iter().map(|c| (c.user_data, c.res)).collect();
    all.sort_unstable();
    let failed = all.iter().filter(|(_, res)| *res != 0).count();
    let want = |i: u64| match i {
        1 => -EIO,
        i if i as usize <= failed => -ECANCELED,
        _ => 0,
    };
    expect("completions", &all, &(1..=10).map(|i| (i, want(i))).collect())?;
    Ok(failed)
}

fn a_shared_thread_takes_eight_entries_at_a_time() -> Outcome {
    let mut first = polled(Setup::empty(), 1)?;
    expect("failed alone", chain_of(&mut first)?, 10)?;
    let mut second = attached(&first, Setup::empty(), 1)?;
    expect("failed of the first", chain_of(&mut first)?, 8)?;
    expect("failed of the second", chain_of(&mut second)?, 8)
}

fn a_busy_ring_starves_no_other() -> Outcome {
    let mut busy = polled(Setup::empty(), LONG)?;
    let mut other = attached(&busy, Setup::empty(), LONG)?;
    let (mut ended, mut under_way) = (0, false);
    until("100 entries of the other ring", || {
        for _ in 0..1000 {
            while busy.tail().wrapping_sub(busy.sq_head()) < 16 {
                busy.push(nop(1));
            }
            while busy.reap().is_some() {}
            if !under_way {
                other.push(nop(2));
            }
            under_way = other.reap().is_none();
            ended += usize::from(!under_way);
        }
        ended >= 100
    })
}

fn a_disabled_ring_holds_nobody_up() -> Outcome {
    let mut first = polled(Setup::empty(), 1)?;
    let mut disabled = attached(&first, Setup::R_DISABLED, 1)?;
    disabled.push(nop(7));
    for _ in 0..3 {
        works(&mut first)?;
    }
    expect("taken of the disabled", disabled.sq_head(), 0)?;
    expect("enable", disabled.register(ENABLE_RINGS, 0, 0), Ok(0))?;
    ends(&disabled, &[(7, 0)])
}

fn room_is_waited_for_ring_by_ring() -> Outcome {
    let first = polled(Setup::empty(), 1)?;
    let mut second = attached(&first, Setup::empty(), 1)?;
    until("it idles", || sleeps(&second))?;
    second.push_together((0..16).map(nop));
    expect("enter", second.enter(16, 0, SQ_WAKEUP | SQ_WAIT, 0, 0), Ok(16))?;
    let left = second.tail().wrapping_sub(second.sq_head());
    if left == 16 { Err("there is no room".into()) } else { Ok(()) }
}

fn rings_of_one_thread_share_its_workers() -> Outcome {
    let first = polled(Setup::empty(), 0)?;
    let second = attached(&first, Setup::empty(), 0)?;
    let alone = polled(Setup::empty(), 0)?;
    let limits = |ring: &Ring, set: u64| {
        let words = u64s(&[set]);
        must("IOWQ_MAX_WORKERS", ring.register(MAX_WORKERS, words.addr(), 2))?;
        Ok::<_, String>(words.get64(0))
    };
    let (before, set) = (limits(&alone, 0)?, 3 | 5 << 32);
    limits(&first, set)?;
    expect("of the attached ring", limits(&second, 0)?, set)?;
    expect("of another", limits(&alone, 0)?, before)
}

/// A file that only its owner may read, for as long as it lives.
struct Secret(std::path::PathBuf);

impl Secret {
    fn new() -> Res<Self> {
        let path = std::env::temp_dir().join(format!("secret.{}", os::pid()));
        let made = std::fs::write(&path, "secret")
            .and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)));
        made.map(|()| Self(path)).map_err(|e| e.to_string())
    }

    /// What OPENAT by a submission thread says: 0 for a descriptor.
    fn opened(&self, ring: &mut Ring) -> Res<i32> {
        let path = Buf::of(format!("{}\0", self.0.display()).as_bytes());
        ring.push(rw(op::OPENAT, libc::AT_FDCWD, path.addr(), 0, 0, 1));
        wake(ring)?;
        let res = must("wait", ring.wait())?.res;
        if res >= 0 {
            close(res)?;
        }
        Ok(res.min(0))
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let _ = os::seteuid(0);
        let _ = std::fs::remove_file(&self.0);
    }
}

fn each_ring_of_a_thread_acts_for_its_creator() -> Outcome {
    if os::raw(libc::SYS_geteuid, [0; 3]) != Ok(0) {
        return Err("skip: needs root".to_owned());
    }
    let secret = Secret::new()?;
    let mut roots = polled(Setup::empty(), 1)?;
    must("seteuid", os::seteuid(65_534))?;
    let mut nobodys = attached(&roots, Setup::empty(), 1)?;
    must("seteuid", os::seteuid(0))?;
    let mut roots_too = attached(&nobodys, Setup::empty(), 1)?;
    expect("root's", secret.opened(&mut roots)?, 0)?;
    expect("nobody's", secret.opened(&mut nobodys)?, -libc::EACCES)?;
    expect("root's again", secret.opened(&mut roots_too)?, 0)
}

fn a_child_that_attaches_gets_a_thread_of_its_own() -> Outcome {
    let first = polled(Setup::empty(), 1)?;
    let attach = || {
        let mut ring = attached(&first, Setup::empty(), 1)?;
        works(&mut ring)?;
        expect("threads", threads(), 1)
    };
    let code = os::in_child(|| match attach() {
        Ok(()) => 0,
        Err(_) => 1,
    });
    expect("the child", code, Ok(0))
}
