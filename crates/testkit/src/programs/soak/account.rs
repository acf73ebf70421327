//! What a process holds, as /proc says: descriptors of every table, threads, mappings, locks, memory.
//!
//! *Back* means that the second half of a soak adds nothing: the least count of its last quarter is
//! not above the most of the third, for each kind of thing, and resident memory grows by at most
//! [`RSS_SLACK_KIB`] from one to the other. The first half may settle: pools fill, tables grow to
//! their size. Pools of threads fill by chance, so [`POOL_SLACK`] threads more and their mappings
//! are none of growth. What it does not do: see other processes.

use super::super::Outcome;
use crate::os;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;

/// Resident memory may vary so much between two quarters of a soak \[KiB\]: pages of the allocator
/// and of the stacks of threads that come and go. A leak of 64 bytes a ring is more in 10,000 rings.
pub(super) const RSS_SLACK_KIB: u64 = 512;

/// Threads that a pool may still gain in the last quarter, and the mappings of one: stack, guard,
/// alternate stack. A thread or a mapping lost every thousand rings is more in 10,000.
const POOL_SLACK: usize = 2;
const MAPS_OF_A_THREAD: usize = 3;

/// See the module's doc.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// Descriptors in the program's own table.
    pub(super) fds: usize,
    /// Descriptors in tables that only other threads of the process have.
    pub(super) hidden: usize,
    pub(super) threads: usize,
    pub(super) maps: usize,
    pub(super) maps_kib: u64,
    /// POSIX and flock locks of the process.
    pub(super) locks: usize,
    /// Kernel AIO contexts.
    pub(super) aio: usize,
    /// Children, zombies included.
    pub(super) children: usize,
    pub(super) rss_kib: u64,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "fds {}+{} threads {} maps {} ({} kB) locks {} aio {} children {} rss {} kB",
            self.fds,
            self.hidden,
            self.threads,
            self.maps,
            self.maps_kib,
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
            maps: maps.lines().count(),
            maps_kib: maps.lines().map(map_kib).sum(),
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
        Self { fds, hidden, threads: tasks.len(), ..Self::default() }
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

    /// What is counted and never estimated, by name.
    fn counts(&self) -> [(&'static str, usize); 7] {
        [
            ("descriptors", self.fds),
            ("descriptors of other tables", self.hidden),
            ("threads", self.threads),
            ("mappings", self.maps),
            ("locks", self.locks),
            ("AIO contexts", self.aio),
            ("children", self.children),
        ]
    }
}

/// Accounts taken at equal distances, the first one after the warm-up.
#[derive(Debug, Default)]
pub(super) struct History(Vec<Account>);

impl History {
    /// Takes an account and tells of it.
    pub(super) fn take(&mut self, at: &str) {
        let account = Account::quiet();
        println!("{at}: {account}");
        self.0.push(account);
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
        let half = self.0.len() / 2;
        let late = self.0.get(half..).unwrap_or(&[]);
        let (third, fourth) = late.split_at(late.len() / 2);
        let (Some(first), Some(middle), Some(last)) =
            (self.0.first(), third.first(), fourth.last())
        else {
            return Err("too few accounts to judge".into());
        };
        let counts = first.counts();
        let mut new_threads = 0;
        for (i, (what, at_first)) in counts.into_iter().enumerate() {
            let of = |part: &[Account]| part.iter().map(|a| a.counts()[i].1).collect::<Vec<_>>();
            // Whoever may end at any moment (an idle worker) is counted where there are fewest.
            let before = of(third).into_iter().max().unwrap_or(0);
            let after = of(fourth).into_iter().min().unwrap_or(0);
            let slack = match what {
                "threads" => POOL_SLACK,
                "mappings" => new_threads * MAPS_OF_A_THREAD,
                _ => 0,
            };
            if what == "threads" {
                new_threads = after.saturating_sub(before);
            }
            if after > before + slack {
                return Err(format!("{what} grow: {at_first} at first, {before}, then {after}"));
            }
        }
        let rss = |part: &[Account]| part.iter().map(|a| a.rss_kib).min().unwrap_or(0);
        let (before, after) = (rss(third), rss(fourth));
        if after > before + RSS_SLACK_KIB {
            return Err(format!("resident memory grows: {before} kB, then {after} kB"));
        }
        println!("back: {first}\n   -> {middle}\n   -> {last}");
        Ok(())
    }
}
