//! Threads of ours: what they are, how they end, how a call in them is interrupted.

use super::*;
use crate::raw::testing::in_child;
use rust_alloc::sync::Arc;
use std::sync::mpsc::channel;

fn shared() -> Spec<'static> {
    Spec { name: Name::worker(), table: Table::Shared, cpu: None }
}

fn read_blocking(fd: i32) -> isize {
    let mut byte = 0u8;
    // SAFETY: reads one byte into `byte`.
    unsafe { interruptible(g::__NR_read, [raw::fd_arg(fd), &raw mut byte as usize, 1, 0, 0, 0]) }
}

fn own_name() -> [u8; 16] {
    let mut name = [0u8; 16];
    // SAFETY: PR_GET_NAME writes 16 bytes.
    unsafe { raw::prctl(16, name.as_mut_ptr() as usize, 0, 0, 0) }.unwrap();
    name
}

fn park_until_set(gate: &AtomicU32) {
    while gate.load(Acquire) == 0 {
        let _ = park(gate, 0, None);
    }
}

/// Whether the kernel says the thread sleeps in a system call.
fn sleeps(tid: u32) -> bool {
    std::fs::read_to_string(std::format!("/proc/self/task/{tid}/stat"))
        .is_ok_and(|s| s.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S')))
}

#[test]
fn a_thread_knows_itself_and_blocks_all_but_three_signals() {
    let (tx, rx) = channel();
    let creator = tid();
    let body = move || {
        let mask = raw::sigprocmask(g::SIG_BLOCK, None).unwrap();
        tx.send((tid(), raw::gettid(), is_ours(), mask, own_name())).unwrap();
    };
    let t = spawn(shared(), Box::new(body)).unwrap();
    let (cached, real, ours, mask, name) = rx.recv().unwrap();
    t.join();
    assert_eq!(cached, real);
    assert_eq!(t.tid(), real);
    assert!(ours && !is_ours());
    let uncatchable = signals::bit(g::SIGKILL) | signals::bit(g::SIGSTOP);
    assert_eq!(mask | uncatchable, !signals::NEVER_BLOCKED);
    let expected = std::format!("iou-wrk-{creator}");
    assert!(name.starts_with(expected.as_bytes()), "{name:?}");
}

#[test]
fn a_worker_that_a_worker_makes_has_the_name_of_the_applications_thread() {
    let expected = std::format!("iou-wrk-{}\0", tid());
    let (tx, rx) = channel();
    let body = move || {
        let inner = move || tx.send(own_name()).unwrap();
        spawn(shared(), Box::new(inner)).unwrap().join();
    };
    spawn(shared(), Box::new(body)).unwrap().join();
    let name = rx.recv().unwrap();
    assert!(name.starts_with(expected.as_bytes()), "{name:?}");
}

#[test]
fn a_tid_is_right_in_a_forked_child() {
    let mine = tid();
    assert_eq!(mine, raw::gettid());
    assert_eq!(in_child(|| i32::from(tid() != raw::gettid())), 0);
    assert_eq!(tid(), mine);
}

#[test]
fn a_thousand_spawns_leave_at_most_the_idle_stacks() {
    let code = in_child(|| {
        let run = || spawn(shared(), Box::new(|| {})).map(|t| t.join());
        if run().is_err() {
            return 1;
        }
        for _ in 0..1_000 {
            if run().is_err() {
                return 2;
            }
        }
        let kept = SLOTS.lock().all.len();
        if kept <= IDLE_MAX + 1 { 0 } else { 3 }
    });
    assert_eq!(code, 0);
}

#[test]
fn many_threads_at_once_are_all_unmapped_but_the_idle_ones() {
    let code = in_child(|| {
        let gate = Arc::new(AtomicU32::new(0));
        let mut threads = Vec::new();
        for _ in 0..64 {
            let gate = gate.clone();
            let Ok(t) = spawn(shared(), Box::new(move || park_until_set(&gate))) else {
                return 1;
            };
            threads.push(t);
        }
        if SLOTS.lock().all.len() != 64 {
            return 2;
        }
        gate.store(1, Release);
        raw::futex_wake(&gate, u32::MAX);
        threads.iter().for_each(LinuxThread::join);
        drop(threads);
        let Ok(last) = spawn(shared(), Box::new(|| {})) else { return 3 };
        last.join();
        if SLOTS.lock().all.len() <= IDLE_MAX + 1 { 0 } else { 4 }
    });
    assert_eq!(code, 0);
}

#[test]
fn an_interrupt_ends_a_blocking_read_and_the_next_one() {
    let (r, w) = raw::pipe2(g::O_CLOEXEC).unwrap();
    let (tx, rx) = channel();
    let body = move || {
        tx.send(read_blocking(r)).unwrap();
        tx.send(read_blocking(r)).unwrap();
        while record().interrupt.load(SeqCst) != 0 {
            std::thread::yield_now();
        }
        tx.send(read_blocking(r)).unwrap();
    };
    let t = spawn(shared(), Box::new(body)).unwrap();
    while !sleeps(t.tid()) {
        std::thread::yield_now();
    }
    t.interrupt();
    let eintr = -(Errno::EINTR.raw() as isize);
    assert_eq!(rx.recv().unwrap(), eintr, "inside the call");
    assert_eq!(rx.recv().unwrap(), eintr, "before the call");
    t.clear_interrupt();
    raw::write(w, b"x").unwrap();
    assert_eq!(rx.recv().unwrap(), 1, "after it was forgotten");
    t.join();
    t.interrupt();
}

#[test]
fn an_interrupt_at_any_moment_is_never_lost() {
    let (r, w) = raw::pipe2(g::O_CLOEXEC).unwrap();
    let seen = Arc::new([const { AtomicU32::new(0) }; 2]);
    let theirs = seen.clone();
    let body = move || {
        for i in 0..5_000 {
            // A lost interrupt blocks here for good.
            assert_eq!(read_blocking(r), -4);
            theirs[0].store(i + 1, SeqCst);
            while theirs[1].load(SeqCst) != i + 1 {
                std::thread::yield_now();
            }
        }
    };
    let t = spawn(shared(), Box::new(body)).unwrap();
    for i in 0..5_000 {
        (0..i % 300).for_each(|_| core::hint::spin_loop());
        t.interrupt();
        while seen[0].load(SeqCst) != i + 1 {
            std::thread::yield_now();
        }
        t.clear_interrupt();
        seen[1].store(i + 1, SeqCst);
    }
    t.join();
    raw::close(w).unwrap();
}

/// In a private thread: the numbers of its table, and what writing to number 2 answers.
fn look_around() -> (Vec<i32>, SysResult<usize>) {
    let fds = std::fs::read_dir("/proc/thread-self/fd").unwrap();
    let mut fds: Vec<i32> =
        fds.map(|e| e.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    fds.sort_unstable();
    (fds, raw::write(2, b"nothing"))
}

fn holds_only_what_it_was_told_to_keep(table: fn(&[i32]) -> Table<'_>) {
    let code = in_child(|| {
        let (r, w) = raw::pipe2(0).unwrap();
        let (tx, rx) = channel();
        let go = Arc::new(AtomicU32::new(0));
        let wait = go.clone();
        let body = move || {
            tx.send(look_around()).unwrap();
            // Not the standard library's way of waiting: it wants thread-locals of libc's.
            park_until_set(&wait);
        };
        let keep = [w];
        let spec = Spec { name: Name::new("test"), table: table(&keep), cpu: None };
        let t = spawn(spec, Box::new(body)).unwrap();
        // Closing ours closes the last read end: spawn returned after the copy was gone.
        raw::close(r).unwrap();
        // SAFETY: ignores SIGPIPE in this child, so that the write answers instead.
        unsafe {
            signals::rt_sigaction(
                g::SIGPIPE,
                Some(&signals::Action { handler: 1, ..Default::default() }),
            )
        }
        .unwrap();
        assert_eq!(raw::write(w, b"x"), Err(Errno::EPIPE));
        let (fds, stray) = rx.recv().unwrap();
        assert_eq!(stray, Err(Errno::EINVAL));
        // The listing's own descriptor is there too.
        assert!(fds.len() == 5 && fds.starts_with(&[0, 1, 2]) && fds.contains(&w), "{fds:?}");
        go.store(1, Release);
        raw::futex_wake(&go, 1);
        t.join();
        0
    });
    assert_eq!(code, 0);
}

#[test]
fn a_private_table_holds_only_what_it_was_told_to_keep() {
    holds_only_what_it_was_told_to_keep(|keep| Table::Private(keep));
}

#[test]
fn an_unshared_table_holds_only_what_it_was_told_to_keep() {
    holds_only_what_it_was_told_to_keep(|keep| Table::Unshared(keep));
}

#[test]
fn a_cpu_that_does_not_exist_is_einval() {
    for cpu in [8_191, 1 << 30] {
        let spec = Spec { cpu: Some(cpu), ..shared() };
        let got = spawn(spec, Box::new(|| panic!("must not run"))).map(|t| t.tid());
        assert_eq!(got, Err(Errno::EINVAL));
    }
}

/// All writable memory of the process \[bytes\].
fn writable() -> u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let sizes = maps.lines().filter(|l| l.contains(" rw-p ")).map(|l| {
        let (from, to) = l.split_once(' ').unwrap().0.split_once('-').unwrap();
        u64::from_str_radix(to, 16).unwrap() - u64::from_str_radix(from, 16).unwrap()
    });
    sizes.sum()
}

#[test]
fn threads_come_and_go_without_a_trace_in_memory() {
    let code = in_child(|| {
        let spawn_some = |n| {
            for _ in 0..n {
                let spec = Spec { name: Name::new("test"), table: Table::Shared, cpu: None };
                spawn(spec, Box::new(|| ())).unwrap().join();
            }
        };
        spawn_some(100);
        let before = writable();
        spawn_some(4000);
        // 64 bytes a thread would be four times as much.
        i32::from(writable() > before + (64 << 10))
    });
    assert_eq!(code, 0);
}
