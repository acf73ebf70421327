//! What the trace says could be done better, with numbers.
//!
//! A piece of advice is given only where the requests that it is about are in the trace, and a saving is
//! stated only where it was measured ([`super::measured`]) and is more than the measurement varies;
//! where it was measured and is not, that is said, so that nobody spends a day on it. What this does not
//! do: guess.

use std::collections::BTreeMap;

use super::flight::Flight;
use super::measured::Pair;
use super::tally::{FileUse, Tally};
use super::units;

/// Fewest requests that are worth a word.
const FEW: u64 = 100;
/// Most pieces about files.
const FILES_MAX: usize = 5;
/// "One at a time": mean of what is in flight.
const ALONE: f64 = 2.0;

/// One piece.
#[derive(Debug)]
pub(super) struct Advice {
    /// What was seen.
    pub(super) seen: String,
    /// What to do, and what that is worth.
    pub(super) advice: String,
    /// Where a stated figure is from.
    pub(super) source: Option<String>,
    /// Nothing is to be done.
    pub(super) fine: bool,
}

/// All that can be said.
pub(super) fn of(tally: &Tally, flight: &Flight) -> Vec<Advice> {
    let mut all = Vec::new();
    all.extend(overflow(tally));
    all.extend(disk(tally, flight));
    let mut files: Vec<_> = tally.files.iter().filter(|(_, f)| plain(f) >= FEW).collect();
    files.sort_by_key(|(name, f)| (std::cmp::Reverse(plain(f)), name.1.clone()));
    for (name, usage) in files.into_iter().take(FILES_MAX) {
        all.extend(register(&name.1, usage, tally.duration_ns()));
    }
    all.extend(refused(tally));
    all.extend(nothing_to_gain(tally));
    all.sort_by_key(|a| a.fine);
    all
}

fn plain(usage: &FileUse) -> u64 {
    usage.requests - usage.fixed
}

/// Completions that found the queue full.
fn overflow(tally: &Tally) -> Option<Advice> {
    let n: u64 = tally.rings.values().map(|r| r.overflows).sum();
    let rings = tally.rings.values().filter(|r| r.overflows > 0).count();
    let told: u64 = tally.ops.values().map(|op| op.completions).sum();
    (n > 0).then(|| Advice {
        seen: format!(
            "{} of {} completions ({}) found their completion queue full, on {rings} ring{}.",
            units::whole(n),
            units::whole(told),
            units::share(n, told),
            if rings == 1 { "" } else { "s" }
        ),
        advice: "They wait in a backlog until the program calls io_uring_enter, and a multishot request \
                 that meets it ends and must be submitted again. A larger queue \
                 (IORING_SETUP_CQSIZE) or reaping more often avoids that."
            .into(),
        source: None,
        fine: false,
    })
}

/// Reads that waited for a disk one at a time.
fn disk(tally: &Tally, flight: &Flight) -> Option<Advice> {
    let busy: Vec<f64> = flight.mean.iter().copied().filter(|m| *m > 0.0).collect();
    let mean = busy.iter().sum::<f64>() / (busy.len() as f64).max(1.0);
    let reads = tally.ops.iter().filter(|(name, _)| name.starts_with("READ"));
    let aio = reads.filter_map(|(_, op)| op.ways.get("aio")).sum::<u64>();
    let pair = Pair::of("O_DIRECT read, 1 at a time", "O_DIRECT read, 32 at a time")?;
    if aio < FEW || mean >= ALONE {
        return None;
    }
    pair.saving_ns().map(|_| Advice {
        seen: format!(
            "{} reads went to the disk, and {mean:.1} requests were in flight on average.",
            units::whole(aio)
        ),
        advice: format!(
            "A disk serves many at once: keep more reads in flight. Measured: {} a read one at a time, \
             {} with 32 in flight.",
            units::time(pair.dear.median as u64),
            units::time(pair.cheap.median as u64)
        ),
        source: Some(pair.source()),
        fine: false,
    })
}

/// Which measurement is about a request that ran so.
fn measured(op: &str, how: &str) -> Option<(&'static str, Option<Pair>)> {
    let receives = op.starts_with("RECV") || op == "READ";
    let reads = op.starts_with("READ");
    match how {
        "worker" | "caller" => {
            let pair = Pair::of("Worker hand-off, plain", "Worker hand-off, registered");
            Some(("are handed to a worker", pair))
        }
        "polled" if receives => {
            let pair = Pair::of("Receive that waits, plain", "Receive that waits, registered");
            Some(("wait for it to be ready", pair))
        }
        "inline" if reads => {
            let pair = Pair::of("4 KiB, plain, batch 1", "4 KiB, registered, batch 1");
            Some(("finish at once", pair))
        }
        _ => None,
    }
}

/// Requests of a file on plain descriptors that ran in one way.
#[derive(Debug)]
struct Group {
    what: &'static str,
    n: u64,
    pair: Pair,
}

/// The requests of a file on plain descriptors, by how they ran, as far as that was measured.
fn groups(usage: &FileUse) -> Vec<Group> {
    let mut groups: BTreeMap<&'static str, (u64, Option<Pair>)> = BTreeMap::new();
    for ((op, how), n) in &usage.plain {
        if let Some((what, pair)) = measured(op, how) {
            groups.entry(what).or_insert((0, pair)).0 += n;
        }
    }
    let known =
        groups.into_iter().filter_map(|(what, (n, pair))| Some(Group { what, n, pair: pair? }));
    known.filter(|g| g.n >= FEW).collect()
}

fn costs(pair: &Pair) -> String {
    let (dear, cheap) = (pair.dear.median as u64, pair.cheap.median as u64);
    let (dear, cheap) = (units::time(dear), units::time(cheap));
    format!("{dear} a request on a plain descriptor and {cheap} on a registered one")
}

/// What a registered file would save.
fn register(name: &str, usage: &FileUse, duration_ns: u64) -> Vec<Advice> {
    let one = |g: Group| {
        let saving = g.pair.saving_ns()?;
        let all_ns = (saving * g.n as f64) as u64;
        Some(Advice {
            seen: format!(
                "{} of {} requests ({}) on {} use a plain descriptor and {}.",
                units::whole(g.n),
                units::whole(usage.requests),
                units::share(g.n, usage.requests),
                called(name, usage),
                g.what
            ),
            advice: format!(
                "Registering it (IORING_REGISTER_FILES, IOSQE_FIXED_FILE) would save about {} each, {} or \
                 {} of the time of this trace. Measured on ringer: {}.",
                units::time(saving as u64),
                units::time(all_ns),
                units::share(all_ns, duration_ns.max(all_ns)),
                costs(&g.pair)
            ),
            source: Some(g.pair.source()),
            fine: false,
        })
    };
    groups(usage).into_iter().filter_map(one).collect()
}

/// Requests on plain descriptors that a registered file would not make cheaper, of all files together.
fn nothing_to_gain(tally: &Tally) -> Vec<Advice> {
    let mut all: BTreeMap<&str, (Group, u64)> = BTreeMap::new();
    let requests: u64 = tally.files.values().map(|f| f.requests).sum();
    let groups = tally.files.values().flat_map(groups);
    for group in groups.filter(|g| g.pair.saving_ns().is_none()) {
        match all.get_mut(group.what) {
            Some((sum, files)) => (sum.n, *files) = (sum.n + group.n, *files + 1),
            None => {
                all.insert(group.what, (group, 1));
            }
        }
    }
    // That a few have nothing to gain is no news.
    let told = all.into_values().filter(|(g, _)| g.n * 20 >= requests);
    let one = |(g, files): (Group, u64)| Advice {
        seen: format!(
            "{} of {} requests on files ({}) use a plain descriptor and {}, on {} file{}.",
            units::whole(g.n),
            units::whole(requests),
            units::share(g.n, requests),
            g.what,
            units::whole(files),
            if files == 1 { "" } else { "s" }
        ),
        advice: format!(
            "Nothing to gain by registering: {}, which is not more than the measurement varies.",
            costs(&g.pair)
        ),
        source: Some(g.pair.source()),
        fine: true,
    };
    told.map(one).collect()
}

/// A file with its numbers.
fn called(name: &str, usage: &FileUse) -> String {
    let numbers: Vec<String> = usage
        .numbers
        .iter()
        .filter(|(fixed, _)| !fixed)
        .map(|(_, number)| format!("{number}"))
        .collect();
    let more = if usage.more_numbers { ", …" } else { "" };
    let plural = if numbers.len() == 1 { "" } else { "s" };
    format!("fd{plural} {}{more} <{name}>", numbers.join(", "))
}

/// Requests that can never have been right.
fn refused(tally: &Tally) -> Option<Advice> {
    let wrong = |error: &str| matches!(error, "EINVAL" | "EBADF" | "EFAULT" | "EOPNOTSUPP");
    let found: Vec<_> = tally.errors.iter().filter(|((_, e), _)| wrong(e)).collect();
    let (first, _) = found.iter().max_by_key(|(_, n)| **n)?;
    let list: Vec<String> = found
        .iter()
        .take(6)
        .map(|((op, e), n)| format!("{} {op} with {e}", units::whole(**n)))
        .collect();
    Some(Advice {
        seen: format!("Refused as wrong: {}.", list.join(", ")),
        advice: format!(
            "Errors of the program, or something that ringer does not carry out. Their arguments: ringer \
             trace -e {op} -- PROG; what is carried out: ringer doctor --support {op}.",
            op = first.0.to_lowercase()
        ),
        source: None,
        fine: false,
    })
}
