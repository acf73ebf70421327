//! Runs tests of the suite: a scratch folder and a deadline each, a few at a time.
//!
//! ```text
//!   queue: [tests that open internet sockets] one at a time    (several use one fixed port)
//!          [the others]                       `jobs` at a time
//!     -> guard -> child::run(blocked -- ringer run --native never --stats F -- TEST)
//! ```
//! What it does not do: try a test twice, or judge it.

use super::expect::Row;
use super::guard;
use super::verdict::{Outcome, Ran};
use anyhow::Result;
use ringer_testkit::block::Profile;
use ringer_testkit::harness::{self, Scratch, Stats, Under};
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A test that has not ended by then has failed.
const LIMIT: Duration = Duration::from_secs(120);
/// The same for those that run only with `--long`.
const LIMIT_LONG: Duration = Duration::from_secs(300);

/// One test to run.
#[derive(Clone, Debug)]
pub(crate) struct Test {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    /// It opens internet sockets.
    pub(crate) net: bool,
    /// Whoever has not ended by then has failed.
    pub(crate) limit: Duration,
    /// Where only io_uring is refused, not where Docker's whole profile is.
    pub(crate) eperm: bool,
}

impl Test {
    /// The test of that name in the built tree.
    pub(crate) fn new(tree: &Path, name: &str, row: Option<&Row>) -> Self {
        let file = |ending: &str| tree.join("test").join(format!("{name}.{ending}"));
        let source = fs::read_to_string(file("c")).unwrap_or_default();
        let net = source.contains("AF_INET") || source.contains("t_create_socket_pair");
        let own = row.and_then(|r| r.seconds).map(Duration::from_secs);
        let long = row.is_some_and(|r| r.long.is_some());
        let limit = own.unwrap_or(if long { LIMIT_LONG } else { LIMIT });
        let eperm = row.is_some_and(|r| r.eperm.is_some());
        Self { name: name.to_owned(), program: file("t"), net, limit, eperm }
    }
}

/// Where and how the tests run.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) ringer: String,
    pub(crate) under: Under,
    pub(crate) logs: PathBuf,
    pub(crate) jobs: usize,
}

impl Runner {
    /// One that runs them on the kernel's own io_uring.
    pub(crate) fn native(ringer: &str, logs: &Path, jobs: usize) -> Self {
        let logs = logs.join("native");
        Self { ringer: ringer.to_owned(), under: Under::Kernel, logs, jobs }
    }

    /// One that runs them under ringer where io_uring is refused.
    pub(crate) fn ringer(ringer: &str, logs: &Path, jobs: usize) -> Self {
        let (under, logs) = (Under::Blocked(Profile::Docker), logs.join("ringer"));
        Self { ringer: ringer.to_owned(), under, logs, jobs }
    }

    /// Where a test's words are.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// Runs all of them; `each` is told as they end.
    pub(crate) fn run(
        &self,
        tests: Vec<Test>,
        each: impl Fn(&Test, &Ran, Duration) + Sync,
    ) -> Result<BTreeMap<String, Ran>> {
        fs::create_dir_all(&self.logs)?;
        let queue = Mutex::new(Queue::new(tests));
        let done = Mutex::new(BTreeMap::new());
        // A function, so that the lock is not held over the body of the loop.
        let next = || lock(&queue).next();
        let worker = || -> Result<()> {
            while let Some(test) = next() {
                let started = Instant::now();
                let ran = self.one(&test)?;
                each(&test, &ran, started.elapsed());
                lock(&queue).ended(&test);
                lock(&done).insert(test.name, ran);
            }
            Ok(())
        };
        std::thread::scope(|s| {
            let workers: Vec<_> = (0..self.jobs.max(1)).map(|_| s.spawn(worker)).collect();
            workers.into_iter().try_for_each(|w| w.join().unwrap_or_else(panic_again))
        })?;
        Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn one(&self, test: &Test) -> Result<Ran> {
        if !test.program.exists() {
            return Ok(Ran { outcome: Outcome::NotBuilt, rings: 0, native_calls: 0 });
        }
        let (scratch, notes) = (Scratch::new(), Scratch::new());
        let stats = notes.path("stats");
        let program = test.program.to_string_lossy();
        let under = match self.under {
            Under::Blocked(_) if test.eperm => Under::Blocked(Profile::Eperm),
            other => other,
        };
        let argv = harness::command(&self.ringer, under, &stats, &[&program]);
        // By this name also when a build has put another in its place since.
        let exe = Path::new("/proc/self/exe");
        let places = (scratch.path("."), self.log(&test.name));
        let outcome = guard::run(exe, &argv, (&places.0, &places.1), test.limit)?;
        let stats = match self.under {
            Under::Kernel => Stats::default(),
            _ => Stats::read(&self.ringer, &stats),
        };
        Ok(Ran { outcome, rings: stats.rings(), native_calls: stats.native_calls() })
    }
}

fn panic_again(payload: Box<dyn std::any::Any + Send>) -> Result<()> {
    std::panic::resume_unwind(payload)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is still to run.
struct Queue {
    net: VecDeque<Test>,
    rest: VecDeque<Test>,
    net_busy: bool,
}

impl Queue {
    fn new(tests: Vec<Test>) -> Self {
        let (net, rest): (Vec<_>, Vec<_>) = tests.into_iter().partition(|t| t.net);
        Self { net: net.into(), rest: rest.into(), net_busy: false }
    }

    /// The next one; `None` also when what is left must wait for a test that still runs: who runs
    /// that one comes back for the rest.
    fn next(&mut self) -> Option<Test> {
        if !self.net_busy
            && let Some(test) = self.net.pop_front()
        {
            self.net_busy = true;
            return Some(test);
        }
        self.rest.pop_front()
    }

    fn ended(&mut self, test: &Test) {
        if test.net {
            self.net_busy = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(name: &str, net: bool) -> Test {
        Test { name: name.to_owned(), program: PathBuf::new(), net, limit: LIMIT, eperm: false }
    }

    #[test]
    fn tests_with_internet_sockets_never_run_side_by_side() {
        let mut queue = Queue::new(vec![test("a", true), test("b", true), test("c", false)]);
        let first = queue.next().unwrap();
        assert_eq!((first.name.as_str(), queue.next().unwrap().name.as_str()), ("a", "c"));
        assert!(queue.next().is_none());
        queue.ended(&first);
        assert_eq!(queue.next().unwrap().name, "b");
    }
}
