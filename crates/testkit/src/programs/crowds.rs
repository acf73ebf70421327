//! Many threads, many rings, children: everybody gets the own completions and nobody crashes.

use super::{Outcome, expect, must};
use crate::os::{self, Buf};
use crate::ring::Ring;
use crate::sqe::{self, ASYNC, FIXED};
use std::sync::Mutex;

const THREADS: u64 = 8;
const ROUNDS: u64 = 500;

/// Each thread has a ring of its own and mixes inline, worker and waiting requests.
pub fn threads(_: &str) -> Outcome {
    let file = must("file", os::temp_file(&content(64)))?;
    std::thread::scope(|s| {
        let all: Vec<_> = (0..THREADS).map(|n| s.spawn(move || worker(file, n))).collect();
        all.into_iter().try_for_each(|t| t.join().map_err(|_| "a thread panicked".to_owned())?)
    })
}

/// 4096 bytes a page, the page's number in each.
fn content(pages: u8) -> Vec<u8> {
    (0..pages).flat_map(|p| [p; 4096]).collect()
}

fn worker(file: i32, n: u64) -> Outcome {
    let mut ring = must("setup", Ring::new(16, 0))?;
    must("register", ring.register_files(&[file]))?;
    let (r, w) = must("pipe", os::pipe())?;
    let buf = Buf::new(4 * 4096);
    for round in 0..ROUNDS {
        let base = n << 32 | round << 8;
        let page = |i: u64| (n * 7 + round + i) % 64;
        for i in 0..3 {
            let flags = [FIXED, FIXED | ASYNC, 0][i as usize];
            let fd = if flags & FIXED == 0 { file } else { 0 };
            let s = sqe::read(fd, buf.addr() + 4096 * i, 4096, 4096 * page(i), base + i);
            ring.push(sqe::flagged(s, flags));
        }
        ring.push(sqe::read(r, buf.addr() + 3 * 4096, 8, 0, base + 3));
        must("submit", ring.submit(0))?;
        must("write", os::write(w, &base.to_ne_bytes()))?;
        let mut seen = 0;
        for _ in 0..4 {
            let c = must("wait", ring.wait())?;
            expect("a completion of this round", c.user_data & !0xff, base)?;
            let i = c.user_data & 0xff;
            expect("its result", c.res, if i == 3 { 8 } else { 4096 })?;
            seen |= 1 << i;
        }
        expect("each request completed once", seen, 0b1111)?;
        for i in 0..3 {
            let right = [page(i) as u8; 4];
            expect("the right page", buf.get(4096 * i as usize, 4), right.to_vec())?;
        }
        expect("the pipe's bytes", buf.get64(3 * 4096), base)?;
    }
    Ok(())
}

/// All threads submit to one ring and wait in it; every completion is seen once by somebody.
pub fn shared(_: &str) -> Outcome {
    let ring = Mutex::new(must("setup", Ring::new(64, 0))?);
    let file = must("file", os::temp_file(&content(1)))?;
    let counts: Mutex<Vec<u8>> = Mutex::new(vec![0; (THREADS * ROUNDS) as usize]);
    let buf = Buf::new(64);
    std::thread::scope(|s| {
        let all: Vec<_> = (0..THREADS)
            .map(|n| {
                let (ring, counts, addr) = (&ring, &counts, buf.addr());
                s.spawn(move || share(ring, counts, (file, addr), n))
            })
            .collect();
        all.into_iter().try_for_each(|t| t.join().map_err(|_| "a thread panicked".to_owned())?)
    })?;
    let counts = counts.into_inner().map_err(|e| e.to_string())?;
    expect("each completion was seen once", counts.iter().all(|&c| c == 1), true)
}

fn share(ring: &Mutex<Ring>, counts: &Mutex<Vec<u8>>, at: (i32, u64), n: u64) -> Outcome {
    for round in 0..ROUNDS {
        let mut ring = ring.lock().map_err(|e| e.to_string())?;
        let flags = if round % 3 == 0 { ASYNC } else { 0 };
        ring.push(sqe::flagged(sqe::read(at.0, at.1, 8, 0, n * ROUNDS + round), flags));
        must("submit", ring.submit(0))?;
        let c = must("wait", ring.wait())?;
        expect("a result", c.res, 8)?;
        let mut counts = counts.lock().map_err(|e| e.to_string())?;
        counts[c.user_data as usize] += 1;
    }
    Ok(())
}

/// A forked child enters its parent's ring, makes its own, and so does its child.
pub fn children(_: &str) -> Outcome {
    let mut ring = must("setup", Ring::new(8, 0))?;
    let file = must("file", os::temp_file(b"0123456789"))?;
    must("register", ring.register_files(&[file]))?;
    let buf = Buf::new(16);
    let fixed = sqe::flagged(sqe::read(0, buf.addr(), 10, 0, 1), FIXED);
    let async_read = sqe::flagged(sqe::read(file, buf.addr(), 10, 0, 1), ASYNC);
    expect("before the fork", ring.result(fixed), Ok(10))?;
    expect("with a worker", ring.result(async_read), Ok(10))?;
    let before = os::count_in_proc("fd");
    for generation in 0..2 {
        let code = os::in_child(|| {
            let r = (|| {
                let fds = os::count_in_proc("fd");
                expect("a child has no more descriptors", fds <= before, true)?;
                expect("its parent's ring", ring.enter(0, 0, 0, 0, 0), Ok(0))?;
                let mut own = must("setup in a child", Ring::new(8, 0))?;
                must("register", own.register_files(&[file]))?;
                for s in [fixed, async_read, sqe::nop(1)] {
                    must("a request in a child", own.result(s))?;
                }
                if generation == 0 {
                    let code = os::in_child(|| i32::from(grandchild(file).is_err()));
                    expect("a grandchild", code, Ok(0))?;
                }
                must("again in the child", own.result(async_read))
            })();
            if let Err(why) = &r {
                eprintln!("{why}");
            }
            i32::from(r.is_err())
        });
        expect("a child", code, Ok(0))?;
        expect("the parent goes on", ring.result(fixed), Ok(10))?;
        expect("its workers too", ring.result(async_read), Ok(10))?;
    }
    Ok(())
}

fn grandchild(file: i32) -> Outcome {
    let mut own = must("setup", Ring::new(8, 0))?;
    let buf = Buf::new(16);
    let s = sqe::flagged(sqe::read(file, buf.addr(), 10, 0, 1), ASYNC);
    expect("a worker in a grandchild", own.result(s), Ok(10))
}

/// exec with a ring and a registered pipe end there: the end goes, and the new image starts over.
pub fn exec_again(stage: &str) -> Outcome {
    if let Some(fd) = stage.strip_prefix("reader-") {
        let fd: i32 = fd.parse().map_err(|_| "no number".to_owned())?;
        expect("the set went with the old image", os::read(fd, &mut [0]), Ok(0))?;
        return super::spine::spine("");
    }
    let ring = must("setup", Ring::new(8, 0))?;
    let (r, w) = must("pipe", os::pipe())?;
    must("register", ring.register_files(&[w]))?;
    must("keep the reader", os::fcntl(r, libc::F_SETFD, 0))?;
    let me = std::env::current_exe().map_err(|e| e.to_string())?;
    let argv = [me.to_string_lossy().into_owned(), "exec-again".into(), format!("reader-{r}")];
    Err(format!("exec: {:?}", os::exec(&argv)))
}

/// Every signal blocked, SIGSYS too: calls still work, and the mask reads back as it was set.
pub fn signals_blocked(_: &str) -> Outcome {
    os::block_all_signals(true);
    super::spine::spine("")?;
    let status = std::fs::read_to_string("/proc/thread-self/status").map_err(|e| e.to_string())?;
    expect("the process goes on", status.contains("SigBlk"), true)?;
    let t = std::thread::spawn(|| super::spine::spine(""));
    t.join().map_err(|_| "the thread panicked".to_owned())?
}
