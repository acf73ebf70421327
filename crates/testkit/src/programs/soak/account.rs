//! What a process holds, as /proc says: descriptors of every table, threads, mappings, locks, memory.
//!
//! ```text
//!  peak, warm-up -> account -> a quarter of the work -> account -> the rest -> account
//!                                                          '---- judge ----------'
//! ```
//! An account is taken when every idle worker has ended, more than ever are kept for reuse, and one was
//! made anew: what pools keep is the same each time, so counts are exact. The last account may not be above the one before by
//! anything. Mappings of files and of shared memory are counted; anonymous ones are weighed, because
//! neighbours merge and split: [`SLACK_KIB`] in all. What it does not do: see other processes, judge
//! the program's own heap.

use super::super::{Outcome, expect, must};
use crate::os;
use crate::ring::Ring;
use crate::sqe::{self, ASYNC, op};
use ringer_uapi::Sqe;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;

/// What anonymous mappings may weigh more at the end \[KiB\]: an allocator may need a chunk or two
/// for an order of events that had not come before. A block of 16 bytes lost with each of 7,500
/// rings is 117 KiB, the stack of one thread four times as much as this.
const SLACK_KIB: u64 = 64;
/// Workers that stay, for each thread that has rings: the kernel keeps the last of the bounded and
/// the last of the unbounded ones (io-wq.c `io_wq_worker`).
const KEPT: usize = 2;
/// More workers than mappings of ended threads are kept (sys `thread.rs`, `IDLE_MAX`).
const CROWD: u32 = 16;
/// Those that are still there so long after the last request stay \[10 ms\].
const STAYS: u32 = 600;
/// Nobody is there who has no name yet: so long nothing changed \[10 ms\].
const NOBODY: u32 = 3;

/// See the module's doc.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// Descriptors in the program's own table.
    pub(super) fds: usize,
    /// Descriptors in tables that only other threads of the process have.
    pub(super) hidden: usize,
    /// Without workers: those of the kernel end with the last ring, at its leisure. One of ours that
    /// stays shows by the weight of its stack.
    pub(super) threads: usize,
    /// Told, not judged.
    pub(super) workers: usize,
    /// Mappings of files and of shared memory.
    pub(super) files: usize,
    /// Anonymous mappings without the heap \[KiB\].
    pub(super) anon_kib: u64,
    /// POSIX and flock locks of the process.
    pub(super) locks: usize,
    /// Kernel AIO contexts.
    pub(super) aio: usize,
    /// Children, zombies included.
    pub(super) children: usize,
    /// Told, not judged: pages of what is mapped come and go by the kernel's needs.
    pub(super) rss_kib: u64,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "fds {}+{} threads {}+{} maps {} + {} kB locks {} aio {} children {} rss {} kB",
            self.fds,
            self.hidden,
            self.threads,
            self.workers,
            self.files,
            self.anon_kib,
            self.locks,
            self.aio,
            self.children,
            self.rss_kib
        )
    }
}

/// The descriptors of a table: number and what it is. The listing's own are left out.
fn table(task: &str) -> BTreeSet<(String, String)> {
    let entries = fs::read_dir(format!("/proc/self/task/{task}/fd"));
    let named = entries.into_iter().flatten().flatten().filter_map(|e| {
        let link = fs::read_link(e.path()).ok()?.to_string_lossy().into_owned();
        let is_listing = link.starts_with("/proc/");
        (!is_listing).then(|| (e.file_name().to_string_lossy().into_owned(), link))
    });
    named.collect()
}

/// (own, hidden): a table that several threads share counts once.
fn descriptors(tasks: &[String]) -> (usize, usize) {
    let own = table(&os::pid().to_string());
    let others: BTreeSet<_> = tasks.iter().map(|t| table(t)).filter(|t| *t != own).collect();
    (own.len(), others.iter().map(BTreeSet::len).sum())
}

fn tasks() -> Vec<String> {
    let entries = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

/// The KiB that a line of the form `Name:   123 kB` says.
fn kib(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|l| l.strip_prefix(name));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Size of a line of /proc/self/maps \[KiB\].
fn map_kib(line: &str) -> u64 {
    let range = line.split(' ').next().and_then(|r| r.split_once('-'));
    let ends = range.and_then(|(a, b)| {
        Some((u64::from_str_radix(a, 16).ok()?, u64::from_str_radix(b, 16).ok()?))
    });
    ends.map_or(0, |(from, to)| (to - from) >> 10)
}

/// Whether a line of /proc/self/maps is of a file or of shared memory: it has an inode.
fn is_file(line: &str) -> bool {
    line.split_whitespace().nth(4).is_some_and(|inode| inode != "0")
}

/// Threads that work for rings, by their name here and in the kernel, which says for whom.
fn workers() -> BTreeMap<String, usize> {
    let name = |task: &String| fs::read_to_string(format!("/proc/self/task/{task}/comm")).ok();
    let mut of = BTreeMap::new();
    for name in tasks().iter().filter_map(name).filter(|n| n.starts_with("iou-wrk")) {
        *of.entry(name.trim_end().to_owned()).or_default() += 1;
    }
    of
}

/// So many workers at once that every pool of what they leave behind is full when they have ended.
/// All are seen at work before they may go: one that never ran has no name and would not be waited for.
fn crowd() -> Outcome {
    let (empty, other) = (must("pipe", os::pipe())?, must("pipe", os::pipe())?);
    let mut ring = must("setup", Ring::new(CROWD, 0))?;
    // A READ of a pipe would be polled and not keep its worker.
    let tee =
        Sqe { len: 1, file_index: empty.0.cast_unsigned(), ..sqe::of_fd(op::TEE, other.1, 0) };
    for name in 1..=u64::from(CROWD) {
        ring.push(Sqe { user_data: name, ..tee });
    }
    must("submit", ring.submit(0))?;
    let is_there = || workers().values().sum::<usize>() >= CROWD as usize;
    for _ in 0..3 * STAYS {
        if is_there() {
            break;
        }
        let _ = os::poll(-1, 0, 10);
    }
    if !is_there() {
        return Err(format!("a worker for each that waits: {:?}", workers()));
    }
    drop(ring);
    let ends = [empty.0, empty.1, other.0, other.1];
    ends.into_iter().try_for_each(|end| must("close", os::close(end)).map(drop))
}

/// All idle workers have ended but those that stay; then one works.
fn settle() -> Outcome {
    crowd()?;
    let (mut last, mut same) = (workers(), 0);
    let too_many = |w: &BTreeMap<_, _>| w.values().any(|&n| n > KEPT);
    while too_many(&last) || same < if last.is_empty() { NOBODY } else { STAYS } {
        let _ = os::poll(-1, 0, 10);
        let now = workers();
        same = if now == last { same + 1 } else { 0 };
        last = now;
        expect("workers end", same < 3 * STAYS, true)?;
    }
    let mut ring = must("setup", Ring::new(8, 0))?;
    expect("a worker works", ring.result(sqe::flagged(sqe::nop(1), ASYNC)), Ok(0))
}

impl Account {
    /// What is held now.
    pub(super) fn now() -> Self {
        let text = |name: &str| fs::read_to_string(name).unwrap_or_default();
        let tasks = tasks();
        let maps = text("/proc/self/maps");
        let me = os::pid().to_string();
        let locks = text("/proc/locks");
        let children = tasks.iter().map(|t| text(&format!("/proc/self/task/{t}/children")));
        Self {
            files: maps.lines().filter(|l| is_file(l)).count(),
            anon_kib: maps
                .lines()
                .filter(|l| !is_file(l) && !l.ends_with("[heap]"))
                .map(map_kib)
                .sum(),
            locks: locks.lines().filter(|l| l.split_whitespace().any(|w| w == me)).count(),
            aio: maps.lines().filter(|l| l.contains("[aio]")).count(),
            children: children.map(|c| c.split_whitespace().count()).sum(),
            rss_kib: kib(&text("/proc/self/smaps_rollup"), "Rss:"),
            ..Self::descriptors()
        }
    }

    /// Descriptors and threads alone, which is quick.
    fn descriptors() -> Self {
        let tasks = tasks();
        let (fds, hidden) = descriptors(&tasks);
        let workers = workers().values().sum();
        let threads = tasks.len().saturating_sub(workers);
        Self { fds, hidden, threads, workers, ..Self::default() }
    }

    /// What is held once nothing more goes away: three looks that agree, or the last of many.
    pub(super) fn quiet() -> Self {
        let mut same = 0;
        let mut last = Self::now();
        for _ in 0..500 {
            let _ = os::poll(-1, 0, 10);
            let now = Self::now();
            same = if (Self { rss_kib: 0, ..now }) == (Self { rss_kib: 0, ..last }) {
                same + 1
            } else {
                0
            };
            last = now;
            if same == 3 {
                break;
            }
        }
        last
    }

    /// What is counted, by name.
    fn counts(&self) -> [(&'static str, usize); 7] {
        [
            ("descriptors", self.fds),
            ("descriptors of other tables", self.hidden),
            ("threads", self.threads),
            ("mappings of files", self.files),
            ("locks", self.locks),
            ("AIO contexts", self.aio),
            ("children", self.children),
        ]
    }
}

/// The accounts of a soak, the first one after the warm-up.
#[derive(Debug, Default)]
pub(super) struct History(Vec<Account>);

impl History {
    /// Takes an account and tells of it.
    ///
    /// # Errors
    /// Idle workers do not end, or no ring can be made.
    pub(super) fn take(&mut self, at: &str) -> Outcome {
        settle()?;
        let account = Account::quiet();
        println!("{at}: {account}");
        self.0.push(account);
        Ok(())
    }

    /// Waits until no more descriptors are held than at the first account; ten seconds at most.
    pub(super) fn wait_for_descriptors(&self) -> Outcome {
        let held = |a: &Account| a.fds + a.hidden;
        let most = self.0.first().map_or(0, held);
        let mut now = 0;
        for _ in 0..2000 {
            now = held(&Account::descriptors());
            if now <= most {
                return Ok(());
            }
            let _ = os::poll(-1, 0, 5);
        }
        Err(format!("descriptors do not come back: {most} at first, {now} now"))
    }

    /// Whether everything is back: see the module's doc.
    pub(super) fn judge(&self) -> Outcome {
        self.judge_within(SLACK_KIB)
    }

    /// The same where anonymous memory may grow by so many KiB.
    pub(super) fn judge_within(&self, slack_kib: u64) -> Outcome {
        let [.., before, after] = self.0.as_slice() else {
            return Err("too few accounts to judge".into());
        };
        for ((what, was), (_, is)) in before.counts().into_iter().zip(after.counts()) {
            if is > was {
                return Err(format!("{what} grow: {was}, then {is}"));
            }
        }
        let (was, is) = (before.anon_kib, after.anon_kib);
        if is > was + slack_kib {
            return Err(format!("anonymous memory grows: {was} kB, then {is} kB"));
        }
        Ok(())
    }
}
