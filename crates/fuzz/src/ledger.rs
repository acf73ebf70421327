//! What each entry owes, and what was posted for it.
//!
//! The rule needs no model of the engine: an entry that was taken posts exactly one completion
//! without `F_MORE`; one of a run of links in which somebody asked for silence on success posts at
//! most one. Of what notifies, the notification comes besides: once if its result has `F_MORE`, and
//! perhaps if its chain cancelled it (`request/notif.rs`). What it does not do: know which result is right.

use ringer_engine::opcode::OPDEFS;
use ringer_uapi::{Cqe, Sqe};

const LINKS: u8 = 4 | 8;
const SKIP: u8 = 64;
const MORE: u32 = 2;
const NOTIF: u32 = 8;
/// In the upper half of every user_data of ours.
pub(crate) const TAG: u64 = 0x5eed_0000_0000_0000;

struct Owed {
    sqe: Sqe,
    last: u32,
    more: u32,
    notifs: u32,
}

impl Owed {
    fn notifies(&self) -> bool {
        OPDEFS.get(usize::from(self.sqe.opcode)).is_some_and(|def| def.notifies)
    }
}

/// See the module's doc.
#[derive(Default)]
pub(crate) struct Ledger(Vec<Owed>);

impl Ledger {
    /// The entry with a user_data of its own, from here on owed.
    pub(crate) fn owe(&mut self, sqe: Sqe) -> Sqe {
        let sqe = Sqe { user_data: TAG | self.0.len() as u64, ..sqe };
        self.0.push(Owed { sqe, last: 0, more: 0, notifs: 0 });
        sqe
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// A completion came.
    pub(crate) fn note(&mut self, cqe: &Cqe) {
        let at = cqe.user_data.wrapping_sub(TAG) as usize;
        let Some(owed) = self.0.get_mut(at) else { panic!("a completion of nobody: {cqe:?}") };
        if cqe.flags & NOTIF != 0 {
            owed.notifs += 1;
            let fits = owed.notifies() && owed.notifs == 1;
            return assert!(fits, "a notification: {cqe:?} of {:?}", owed.sqe);
        }
        let more = cqe.flags & MORE != 0;
        owed.more += u32::from(more);
        owed.last += u32::from(!more || owed.notifies());
        assert!(owed.last <= 1, "a second last completion: {cqe:?} of {:?}", owed.sqe);
        assert!(owed.last == 0 || !more || owed.notifies(), "more after the last: {cqe:?}");
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
                let told = !o.notifies() || o.more == 0 || o.notifs == 1;
                assert!(told, "no notification of {:?}", o.sqe);
            }
            from += run.len();
        }
    }
}
