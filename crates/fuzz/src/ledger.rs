//! What each entry owes, and what was posted for it.
//!
//! The rule needs no model of the engine: an entry that was taken posts exactly one completion
//! without `F_MORE`; one of a run of links in which somebody asked for silence on success posts at
//! most one. What it does not do: know which result is right.

use ringer_uapi::{Cqe, Sqe};

const LINKS: u8 = 4 | 8;
const SKIP: u8 = 64;
const MORE: u32 = 2;
/// In the upper half of every user_data of ours.
pub(crate) const TAG: u64 = 0x5eed_0000_0000_0000;

struct Owed {
    sqe: Sqe,
    last: u32,
    more: u32,
}

/// See the module's doc.
#[derive(Default)]
pub(crate) struct Ledger(Vec<Owed>);

impl Ledger {
    /// The entry with a user_data of its own, from here on owed.
    pub(crate) fn owe(&mut self, sqe: Sqe) -> Sqe {
        let sqe = Sqe { user_data: TAG | self.0.len() as u64, ..sqe };
        self.0.push(Owed { sqe, last: 0, more: 0 });
        sqe
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// A completion came.
    pub(crate) fn note(&mut self, cqe: &Cqe) {
        let at = cqe.user_data.wrapping_sub(TAG) as usize;
        let Some(owed) = self.0.get_mut(at) else { panic!("a completion of nobody: {cqe:?}") };
        match cqe.flags & MORE {
            0 => owed.last += 1,
            _ => owed.more += 1,
        }
        assert!(owed.last <= 1, "a second last completion: {cqe:?} of {:?}", owed.sqe);
        assert!(owed.last == 0 || cqe.flags & MORE == 0, "more after the last: {cqe:?}");
    }

    /// What has not ended.
    pub(crate) fn open(&self) -> Vec<Sqe> {
        self.0.iter().filter(|o| o.last == 0).map(|o| o.sqe).collect()
    }

    /// Everything has ended: nobody is owed anything.
    pub(crate) fn settle(&self) {
        let mut from = 0;
        while let Some(rest) = self.0.get(from..).filter(|r| !r.is_empty()) {
            let ends = rest.iter().position(|o| o.sqe.flags & LINKS == 0);
            let run = &rest[..ends.map_or(rest.len(), |i| i + 1)];
            let quiet = run.iter().any(|o| o.sqe.flags & SKIP != 0);
            for o in run {
                assert!(o.last == 1 || quiet, "nothing was posted for {:?}", o.sqe);
            }
            from += run.len();
        }
    }
}
