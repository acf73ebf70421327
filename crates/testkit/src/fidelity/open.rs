//! What ringer does not do yet, by ABI name, and where that is settled.
//!
//! ```text
//!   claim.needs: NAME --+-- a refused row of the support tables: its issue, or why it cannot be had
//!                       '-- GAPS: what is there and has a gap that no row refuses
//! ```
//! Names are the rows' (opcodes without `IORING_OP_`, everything else without `IORING_`). With the
//! change that carries a row out, its claims stop being open, and fail until they hold. What it does
//! not do: say what is supported (the engine's rows do).

use ringer_engine::support::{Row, Support, rows};

/// Why something is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// To be carried out by this issue.
    Issue(u32),
    /// Carried out, not quite as the kernel does it; settled by this issue. A line of LIMITATIONS.md
    /// says so, too.
    Differs(u32, &'static str),
    /// Can not be had, or not at a price worth paying: a line of LIMITATIONS.md or SUPPORT.md.
    Limit(&'static str),
}

impl std::fmt::Display for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Issue(n) => write!(f, "#{n}"),
            Self::Differs(n, how) => write!(f, "differs (#{n}): {how}"),
            Self::Limit(why) => write!(f, "limit: {why}"),
        }
    }
}

/// Gaps in what exists, under names of their own.
pub const GAPS: &[(&str, Open)] = &[
    ("PROBE_ALL", Open::Issue(5)),
    // Threads, fork and exec.
    ("RING_ACROSS_EXEC", Open::Issue(6)),
    ("SUBMITTER_GONE", Open::Differs(6, "requests outlive the thread that submitted them")),
    // What is there and differs.
    ("RING_INODE", Open::Limit("a ring's descriptor is a pipe to whoever looks")),
    ("PINNED_BUFFERS", Open::Limit("memory of registered buffers is not pinned")),
    ("RING_MREMAP", Open::Limit("a mapping of a ring can grow")),
    (
        "SOCK_NONEMPTY_AT_ONCE",
        Open::Limit("a receive that is ready at once is one call and does not look"),
    ),
    (
        "EPOLL_SQ_FULL",
        Open::Limit("a ring's descriptor is a pipe, always writable to epoll, select and POLL_ADD"),
    ),
    (
        "POLL_EXCLUSIVE",
        Open::Limit("all polls that wait for a file are woken: wake-ups cannot be counted"),
    ),
];

/// The row of that name.
pub fn row(name: &str) -> Option<&'static Row> {
    rows().map(|(_, row)| row).find(|row| row.name == name)
}

/// Why a row is open; `None` when it is carried out, or refused as 6.18 does.
fn of_row(row: &Row) -> Option<Open> {
    match row.support {
        _ if row.is_newer() => None,
        Support::Full | Support::Partial(_) => None,
        Support::Refused(_, why) => Some(row.support.issue().map_or(Open::Limit(why), Open::Issue)),
    }
}

/// Why one name is open.
fn of_name(name: &str) -> Option<Open> {
    let gap = GAPS.iter().find(|(gap, _)| *gap == name).map(|(_, why)| *why);
    gap.or_else(|| row(name).and_then(of_row))
}

/// Why the first of `needs` that is open is so; `None` when all are carried out.
pub fn of(needs: &[&str]) -> Option<Open> {
    needs.iter().find_map(|need| of_name(need))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fidelity::all;
    use std::collections::HashSet;

    #[test]
    fn a_gap_is_no_row_and_stands_once() {
        let mut seen = HashSet::new();
        for (name, _) in GAPS {
            assert!(seen.insert(name), "{name} twice");
            assert!(row(name).is_none(), "{name} is a row of the support tables");
        }
    }

    #[test]
    fn every_need_is_a_row_or_a_gap() {
        for claim in all() {
            for need in claim.needs {
                let gap = GAPS.iter().any(|(name, _)| name == need);
                assert!(gap || row(need).is_some(), "{}: what is {need}?", claim.name);
            }
        }
    }

    #[test]
    fn every_gap_has_a_claim() {
        for (name, _) in GAPS {
            assert!(all().any(|c| c.needs.contains(name)), "{name}: take it from the list");
        }
    }

    #[test]
    fn every_refused_row_is_open_and_no_other() {
        for (_, row) in rows() {
            let open = !row.support.is_there() && !row.is_newer();
            assert_eq!(of(&[row.name]).is_some(), open, "{}", row.name);
        }
        assert_eq!(of(&["NOP", "RECV_ZC"]), row("RECV_ZC").and_then(of_row));
    }
}
