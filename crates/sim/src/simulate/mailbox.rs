//! A second ring, number [`FD`], that the program's ring sends messages and files to, and that answers.
//!
//! ```text
//!  request MSG_RING --message--> mailbox --taken when the application looks in--> mail
//!          SEND_FD  --file-----> its table of 3
//!          CLONE_BUFFERS <------ buffers like the program's
//!  a look in: a reply --message--> the program's ring: both locks, from both sides
//! ```
//!
//! It is small, so that mail overflows, and by the seed defers its task work. Every message comes once,
//! those of single requests in order, and none of a request that failed. What it does not do: wait.

use super::app::{App, GETEVENTS, Ringside};
use super::check::Checker;
use super::program::{Change, Entry, Program, Step};
use super::rows::ALIAS;
use super::tables::buffers;
use crate::sched::lock;
use crate::{Client, Sim, sqe};
use ringer_uapi::{Errno, Params, Sqe};
use std::collections::BTreeMap;

/// The mailbox's number.
pub(crate) const FD: i32 = 20;
/// The program's ring, whose number is not known when it is drawn.
pub(crate) const OWN: i32 = -7;
/// Slots of its table.
pub(crate) const SLOTS: u32 = 3;
/// user_data of the message of a request, of a message without one, and of a reply. The last two
/// count in steps of [`ALIAS`].
pub(crate) const MESSAGE: u64 = 1 << 34;
pub(crate) const POST: u64 = 1 << 35;
pub(crate) const REPLY: u64 = 1 << 36;
/// Replies of a run: an overflow of the program's ring by them alone would say little.
const REPLIES_MAX: u64 = 8;
const DEFER: u32 = 1 << 12 | 1 << 13;
pub(crate) const MSG_RING: u8 = 40;
const CQ_OVERFLOW: u32 = 2;
const SKIP: u8 = 64;
const CQE_SKIP: u32 = 1;

/// See the module's doc.
#[derive(Debug)]
pub(crate) struct Mailbox {
    client: Client,
    /// What came: user_data and result.
    pub(crate) mail: Vec<(u64, i32)>,
    /// Messages without a request, and replies, so far.
    posts: u64,
    replies: u64,
}

/// Whether the program has anything to do with it.
fn is_used(program: &Program) -> bool {
    let asks = |s: &Step| matches!(s, Step::Register(Change::Post(_) | Change::Clone(..)));
    program.entries().iter().any(|e| e.sqe.opcode == MSG_RING) || program.steps.iter().any(asks)
}

/// Makes the ring, the first descriptor behind the objects.
pub(crate) fn open(sim: &Sim, program: &Program) -> Option<Mailbox> {
    if !is_used(program) {
        return None;
    }
    let flags = if program.seed.is_multiple_of(3) { DEFER } else { 0 };
    let params = Params { flags, ..Params::default() };
    let client = (0..1000).find_map(|_| Client::try_new(sim, 2, params).ok()).expect("a mailbox");
    assert_eq!(client.fd, FD, "the mailbox has its number");
    let table = sim.words(&[u64::from(SLOTS) | 1 << 32, 0, 0, 0]);
    sim.engine.register(FD, 13, table, 32).expect("an empty table");
    let ranges = sim.words(&buffers());
    sim.engine.register(FD, 0, ranges, buffers().len() as u32 / 2).expect("the program's buffers");
    Some(Mailbox { client, mail: Vec::new(), posts: 0, replies: 0 })
}

impl Ringside {
    fn take_mail(&mut self) {
        if let Some(m) = &mut self.mailbox {
            m.mail.extend(m.client.reap().iter().map(|c| (c.user_data, c.res)));
        }
    }
}

impl App {
    /// Sends a reply and takes what came; its owner does, who is the first thread.
    pub(crate) fn look_in(&self) {
        let mut side = lock(&self.side);
        let Some(m) = &mut side.mailbox else { return };
        // A ring without a descriptor is told nothing.
        let to = self.fd.filter(|_| m.replies < REPLIES_MAX);
        let answers = u32::from(to.is_some());
        if let Some(fd) = to {
            m.replies += 1;
            let ud = REPLY + m.replies * ALIAS;
            m.client.push([Sqe { off: ud, len: 1, ..sqe::of(MSG_RING, fd, ud) }]);
        }
        drop(side);
        let taken = self.engine.enter(FD, answers, 0, GETEVENTS, 0, 0);
        assert_eq!(taken, Ok(answers as usize), "a look into the mailbox");
        lock(&self.side).take_mail();
    }

    /// A message without a request, to the mailbox or to the ring itself.
    pub(crate) fn post(&self, to_itself: bool) {
        let mut side = lock(&self.side);
        let Some(m) = &mut side.mailbox else { return };
        m.posts += 1;
        let ud = POST + m.posts * ALIAS;
        drop(side);
        let fd = self.fd.filter(|_| to_itself).unwrap_or(FD);
        let words = Sqe { off: ud, len: 2, ..sqe::of(MSG_RING, fd, 0) }.to_words();
        let arg = self.words(0, &words);
        let r = self.engine.register(-1, 31, arg, 1);
        assert_eq!(r, Ok::<usize, Errno>(0), "a message without a request");
        lock(&self.side).tables.count(31);
    }

    /// Takes the last of it, and closes the ring.
    pub(crate) fn close_mailbox(&self, sim: &Sim) {
        let there = lock(&self.side).mailbox.is_some();
        for round in 0.. {
            lock(&self.side).take_mail();
            let side = lock(&self.side);
            let Some(m) = &side.mailbox else { return };
            let empty = m.client.sq_flags() & CQ_OVERFLOW == 0 && m.client.in_flight() == 0;
            drop(side);
            if round > 1 && empty {
                break;
            }
            assert!(round < 1000, "mail that never ends");
            self.engine.enter(FD, 0, 0, GETEVENTS, 0, 0).expect("a last look into the mailbox");
        }
        lock(&self.side).take_mail();
        assert!(there, "a mailbox");
        sim.engine.register(FD, 3, 0, 0).expect("taking its table away");
        sim.engine.register(FD, 1, 0, 0).expect("taking its buffers away");
        sim.close_ring(FD);
    }
}

/// What a mailbox came to, for the checker.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    mail: Vec<(u64, i32)>,
    posts: u64,
    replies: u64,
}

impl From<&Mailbox> for Mail {
    fn from(m: &Mailbox) -> Self {
        Self { mail: m.mail.clone(), posts: m.posts, replies: m.replies }
    }
}

impl Checker<'_> {
    /// Every message comes once, with what was said, and none of a request that failed.
    pub(super) fn check_messages(&self) {
        let mail = &self.record.mail;
        let here = self.record.log.iter().filter(|s| s.ud >= MESSAGE).map(|s| (s.ud, s.res));
        let mut came: BTreeMap<u64, Vec<i32>> = BTreeMap::new();
        for (ud, res) in mail.mail.iter().copied().chain(here) {
            came.entry(ud).or_default().push(res);
        }
        for e in self.entries.values().filter(|e| e.sqe.opcode == MSG_RING) {
            let got = came.remove(&e.sqe.off).unwrap_or_default();
            self.check_message(e, &got);
        }
        for n in 1..=mail.posts {
            let got = came.remove(&(POST + n * ALIAS)).unwrap_or_default();
            assert!(got == [2] || self.record.cut && got.is_empty(), "post {n} came as {got:?}");
        }
        for n in 1..=mail.replies {
            // Here, and as what the mailbox's own request ended with.
            let mut got = came.remove(&(REPLY + n * ALIAS)).unwrap_or_default();
            got.sort_unstable();
            let lost = self.record.cut && got == [0];
            assert!(got == [0, 1] || lost, "reply {n} came as {got:?}");
        }
        assert!(came.is_empty(), "messages of nobody: {came:?}");
        self.check_their_order();
    }

    fn check_message(&self, e: &Entry, got: &[i32]) {
        let sends_file = e.sqe.addr == 1;
        let silent = sends_file && e.sqe.op_flags & CQE_SKIP != 0;
        let (Some(end), false) = (self.last(e).map(|l| l.1), silent) else {
            // Hidden, or never seen to its end.
            let limit = usize::from(!silent);
            assert!(got.len() <= limit, "{}, and its message {got:?}", self.describe(e));
            return;
        };
        if end < 0 {
            assert!(got.is_empty(), "{}, and still a message came", self.describe(e));
            return;
        }
        let says = if sends_file { end } else { e.sqe.len as i32 };
        let unseen = self.record.cut && e.sqe.fd == OWN && got.is_empty();
        assert!(got == [says] || unseen, "{}, its message: {got:?}", self.describe(e));
    }

    /// Single requests of one thread send in the order in which they were submitted.
    fn check_their_order(&self) {
        let drains = self.entries.values().any(|e| e.sqe.flags & 2 != 0);
        if self.program.has_threads() || self.program.meddles || drains {
            return;
        }
        let single = |ud: u64| {
            let e = self.entries.get(&(ud - MESSAGE))?;
            let alone =
                self.chains.iter().any(|c| c.len() == 1 && c[0].sqe.user_data == ud - MESSAGE);
            (alone && e.sqe.flags & !SKIP == 0 && e.sqe.addr == 0).then_some(ud)
        };
        let of_requests = self.record.mail.mail.iter().filter(|m| (MESSAGE..POST).contains(&m.0));
        let came: Vec<u64> = of_requests.filter_map(|m| single(m.0)).collect();
        assert!(came.is_sorted(), "messages in another order than they were sent: {came:?}");
    }
}
