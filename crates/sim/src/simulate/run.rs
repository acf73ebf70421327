//! One run: the world, the steps, the end, and what must be gone after it.
//!
//! ```text
//!  world -> steps (threads beside) -> everything is ended -> tables away -> ring closed -> nothing left
//!              '-- at every jump of the clock: no waiter has what it waits for, nothing ready waits
//! ```

use super::Summary;
use super::app::{ALL_FLOWS, App, FINAL, Ringside, Seen, TAG};
use super::check;
use super::mailbox::{self, Mail, Mailbox};
use super::neighbour::{Neighbour, Pipes, move_in, pipes};
use super::program::{Change, PERSONALITY, Program, Step};
use super::rows::{
    ADDRESSES, ARENA, BUF_AT, BUF_LEN, CHILDREN, EACH, FILE, FUTEXES, SLOTS, STRIDE,
};
use super::tables::{Tables, Tag};
use super::watch::watchman;
use crate::kit::Flow;
use crate::policy::Fault;
use crate::sched::lock;
use crate::sqe;
use crate::world::Rights;
use crate::{Client, Options, Sim, Thread};
use ringer_uapi::{Params, Sqe};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;
const IOPOLL: u32 = 1;
const CQSIZE: u32 = 1 << 3;
const SQPOLL: u32 = 1 << 1;
const ATTACH_WQ: u32 = 1 << 5;
const R_DISABLED: u32 = 1 << 6;
const NO_MMAP: u32 = 1 << 14;
const REGISTERED_FD_ONLY: u32 = 1 << 15;
/// `IORING_SQ_CQ_OVERFLOW`.
pub(crate) const OVERFLOW: u32 = 2;
/// What buffers of requests are filled with: nothing else has this byte.
pub(crate) const BLANK: u8 = 0xa5;
/// Milliseconds that the end of a run may take, and when it begins to press.
const ENDING: u32 = 900;
const PRESS: u32 = 12;
const CANCEL: u32 = 60;

/// What a run left behind for the checker.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) log: Vec<Seen>,
    pub(crate) order: Vec<u64>,
    pub(crate) pushed: BTreeMap<u64, u64>,
    pub(crate) issued: BTreeMap<u64, usize>,
    pub(crate) fed: BTreeMap<i32, u64>,
    pub(crate) eaten: BTreeMap<i32, u64>,
    pub(crate) attempts: Vec<u64>,
    pub(crate) rights: Vec<(u64, Rights)>,
    pub(crate) late_write: Option<u64>,
    /// Wake-ups of futexes that found somebody.
    pub(crate) woken: u64,
    pub(crate) flows: BTreeMap<i32, (bool, u64, u64)>,
    /// Memory of requests by user_data.
    pub(crate) memory: Vec<u8>,
    /// The ring was closed before everything had ended.
    pub(crate) cut: bool,
    /// The completion queue overflowed.
    pub(crate) overflowed: bool,
    /// The ring was closed early, and everything that it still did could be seen.
    pub(crate) whole: bool,
    /// Entries that were taken, in `order`.
    pub(crate) taken: usize,
    pub(crate) tags: BTreeMap<u64, Tag>,
    pub(crate) mail: Mail,
    pub(crate) registered: BTreeMap<u32, u64>,
    /// Names that SYNC_CANCEL cancelled one request of.
    pub(crate) sync_cancelled: BTreeSet<u64>,
    pub(crate) entered: [u64; 32],
    pub(crate) struck: [u64; Fault::ALL.len()],
}

/// Runs a program and checks it.
pub(crate) fn run(program: &Program) -> Summary {
    let (sim, mailbox, neighbours) = world(program);
    let neighbour = neighbours.map(|pipes| move_in(&sim, program, &pipes));
    let app = application(&sim, program, mailbox, neighbour.as_ref().map(Neighbour::fd));
    sim.watch(Some(watchman(&app, neighbour.clone())));
    let threads = play(&sim, &app, program);
    let cut = match program.steps.last() {
        Some(Step::CloseRing(mapped)) => Some(*mapped),
        _ => None,
    };
    let whole;
    if let Some(mapped) = cut {
        drift(&sim, &app, mapped);
        lock(&app.side).closing = true;
        app.sched.calm();
        whole = close(&sim, &app);
        threads.into_iter().for_each(Thread::join);
        app.close_mailbox(&sim);
        neighbour.iter().for_each(|n| n.move_out(&sim));
    } else {
        threads.into_iter().for_each(Thread::join);
        end(&sim, &app);
        app.close_mailbox(&sim);
        neighbour.iter().for_each(|n| n.move_out(&sim));
        tidy(&sim, &app, program);
        whole = close(&sim, &app);
    }
    sim.watch(None);
    nothing_left(&sim);
    let record = Record { whole, ..record(&sim, &app, cut.is_some()) };
    check::check(program, &record)
}

/// The objects of `rows.rs`.
fn world(program: &Program) -> (Sim, Option<Mailbox>, Option<Pipes>) {
    let options = Options {
        numberless: program.numberless,
        no_nowait: program.no_nowait,
        posix_locks: program.posix_locks,
        meddles: program.meddles.then_some(program.seed),
        lends: program.seed.is_multiple_of(2),
        ..Options::default()
    };
    let sim = Sim::with_policy(options, program.policy());
    let data: Vec<u8> = (0..FILE).map(file_byte).collect();
    let cached = program.seed as usize % (FILE + 1);
    for fd in [sim.file(&data, cached), sim.file(&[1; 300], 200)] {
        sim.make_direct(fd);
    }
    sim.pipe();
    sim.pipe();
    sim.socketpair();
    sim.datagrams();
    sim.eventfd();
    sim.listener(ADDRESSES[0], false, 2);
    sim.listener(ADDRESSES[1], true, 2);
    for nonblocking in [false, false, true, true] {
        sim.socket(nonblocking);
    }
    sim.epoll();
    sim.eventfd();
    let last = sim.eventfd();
    assert_eq!(last, 19, "the objects have their numbers");
    // What is beside is looked at without an enter, as a program does that counts what it has under way.
    sim.meddle(false);
    let mailbox = mailbox::open(&sim, program);
    let neighbours = pipes(&sim, program);
    sim.named("n0", &[1; 50]);
    sim.named("n1", &[2; 60]);
    sim.attribute("n0", "user.a", &[3; 4]);
    sim.attribute("n1", "user.b", &[4; 16]);
    sim.directory("n2");
    (0..EACH as i32).for_each(|i| sim.child(CHILDREN + i));
    sim.fresh_numbers();
    lock(&sim.world).ledger.arena = Some((ARENA, STRIDE));
    let blank = vec![BLANK; 128 * STRIDE as usize];
    sim.write(ARENA, &blank);
    for e in program.entries() {
        if matches!(e.sqe.opcode, 2 | 5 | 9 | 23 | 26 | 47 | 48 | 61) {
            let bytes = [1 + (e.sqe.user_data % 100) as u8; BUF_LEN as usize];
            sim.write(super::rows::memory(e.sqe.user_data) + BUF_AT, &bytes);
        }
    }
    (sim, mailbox, neighbours)
}

/// What the file at 0 holds.
pub(crate) fn file_byte(at: usize) -> u8 {
    (at % 160) as u8
}

/// The ring, without tables. One that is attached is to the ring beside, or to one that ends at once.
fn ring(sim: &Sim, program: &Program, beside: Option<i32>) -> Client {
    let (entries, cq) = program.entries;
    let cq_entries = if program.setup & CQSIZE != 0 { cq } else { 0 };
    // A submission thread falls asleep between two batches, mostly.
    let sq_thread_idle = 1 + program.seed as u32 % 3;
    let (sq_thread_cpu, flags) = (program.seed as u32 % 2, program.setup);
    let mut params =
        Params { flags, cq_entries, sq_thread_idle, sq_thread_cpu, ..Params::default() };
    if flags & NO_MMAP != 0 {
        // The pages are where they always are; they only have to be somewhere.
        (params.cq_off.user_addr, params.sq_off.user_addr) = (ARENA, ARENA + 4096);
    }
    // No thread or descriptor to be had is no ring to be had; the world gets better.
    let some_time = |entries, params| {
        let ring = (0..1000).find_map(|_| Client::try_new(sim, entries, params).ok());
        ring.expect("a ring, some time")
    };
    let passing = (flags & ATTACH_WQ != 0 && beside.is_none())
        .then(|| some_time(1, Params { flags: flags & SQPOLL, ..Params::default() }).fd);
    params.wq_fd = beside.or(passing).map_or(0, i32::cast_unsigned);
    let ring = some_time(entries, params);
    if let Some(fd) = passing {
        sim.close_ring(fd);
    }
    ring
}

/// What is registered from the start.
fn furnish(app: &App, program: &Program) {
    let tag = |n: u64| if program.tags { TAG + n } else { 0 };
    let until = |done: &dyn Fn(&Tables) -> bool, change: &Change| {
        (0..1000).find(|_| {
            app.change(change);
            done(&lock(&app.side).tables)
        })
    };
    let files = until(&|t| t.are_there().0, &Change::AllFiles(tag(0)));
    let buffers = until(&|t| t.are_there().1, &Change::AllBuffers(tag(u64::from(SLOTS))));
    assert!(files.is_some() && buffers.is_some(), "tables, some time");
    app.provide();
    if let Some(asynchronous) = program.eventfd {
        let bell = until(&|t| t.bell.is_some(), &Change::Bell(asynchronous));
        assert!(bell.is_some(), "an eventfd, some time");
    }
    let numbered = (0..1000).find_map(|_| app.personality());
    assert_eq!(numbered, Some(PERSONALITY.into()), "a personality, some time");
    if let Some(op) = program.forbids {
        app.restrict(op);
    }
    if program.setup & R_DISABLED != 0 {
        if !program.seed.is_multiple_of(3) {
            app.add_region(program.seed.is_multiple_of(2), true);
        }
        let done = app.register(12, 0, 0);
        done.expect("enabling");
        lock(&app.side).tables.count(12);
    }
}

fn application(sim: &Sim, program: &Program, mailbox: Option<Mailbox>, beside: Option<i32>) -> App {
    let flow = |fd: i32| sim.flow(fd).map(|f| (fd, f));
    let flows = ALL_FLOWS.into_iter().filter_map(flow).collect();
    sim.meddle(true);
    let client = ring(sim, program, beside);
    sim.meddle(false);
    let indexed = program.setup & REGISTERED_FD_ONLY != 0;
    let (fd, index) = if indexed { (None, Some(client.fd)) } else { (Some(client.fd), None) };
    client.pages.polled.store(program.polled, Relaxed);
    let side = Ringside {
        client,
        log: Vec::new(),
        order: Vec::new(),
        pushed: BTreeMap::new(),
        issued: BTreeMap::new(),
        fed: BTreeMap::new(),
        eaten: BTreeMap::new(),
        tables: Tables::default(),
        mailbox,
        entered: [0; 32],
        adrift: false,
        closing: false,
        finishing: false,
        overflowed: false,
    };
    let entries = program.entries();
    let drains = entries.iter().any(|e| e.sqe.flags & sqe::DRAIN != 0);
    let app = App {
        engine: sim.engine.clone(),
        sched: sim.sched.clone(),
        world: sim.world.clone(),
        side: Arc::new(Mutex::new(side)),
        waiters: Arc::default(),
        roomers: Arc::default(),
        issues_at_once: !drains && !program.has_threads() && program.setup & SQPOLL == 0,
        opcodes: Arc::new(entries.iter().map(|e| (e.sqe.user_data, e.sqe.opcode)).collect()),
        flows: Arc::new(flows),
        program: Arc::new(program.clone()),
        fd,
        index,
        scratch: sim.alloc(2048),
        bell: Arc::downgrade(&sim.open(10)),
        callers: (13..=16).map(|fd| Arc::downgrade(&sim.open(fd))).collect(),
    };
    let app = app.with_index();
    furnish(&app, program);
    app
}

/// Carries out the steps; returns the threads that it started.
fn play(sim: &Sim, app: &App, program: &Program) -> Vec<Thread<()>> {
    let mut threads = Vec::new();
    for step in &program.steps {
        match step {
            Step::CloseRing(_) => break,
            Step::Thread(steps) => {
                let app = App { scratch: sim.alloc(2048), ..app.clone() };
                let steps = steps.clone();
                let forgets = program.seed.is_multiple_of(2);
                threads.push(sim.start(move |_| {
                    let app = app.with_index();
                    steps.iter().for_each(|s| app.step(s));
                    if forgets {
                        app.forget_index();
                    }
                }));
            }
            step => app.step(step),
        }
    }
    threads
}

/// Brings everything to an end: by itself first, then by the end of all streams, then by cancelling.
fn end(sim: &Sim, app: &App) {
    app.sched.calm();
    lock(&app.side).finishing = true;
    let id = lock(&app.side).client.pages.id;
    for round in 0..ENDING {
        app.submit_all();
        app.poke();
        app.reap();
        let idle = sim.engine.in_flight(id) == Some(0);
        let side = lock(&app.side);
        let empty = side.client.queued() == 0 && side.client.ready() == 0;
        let over = idle && empty && side.client.sq_flags() & OVERFLOW == 0;
        drop(side);
        if over {
            return;
        }
        if round >= PRESS {
            press(app, round);
        }
        sim.sleep(MS);
    }
    let left = sim.engine.in_flight(id);
    panic!("{} requests are left over at the end", left.unwrap_or(0));
}

/// Gives whatever still waits a reason to end.
fn press(app: &App, round: u32) {
    for (fd, flow) in &*app.flows {
        match flow {
            Flow::Bytes(chan) if round == PRESS => chan.shut(),
            Flow::Bytes(_) => {}
            // Room for who sends, once in a while: it must not take away what others wait for.
            Flow::Messages(_) if round.is_multiple_of(9) => (0..4).for_each(|_| app.eat(*fd, 1)),
            Flow::Messages(queue) => app.send_message(*fd, queue),
        }
    }
    app.ring_bell();
    app.fill_epoll();
    app.hang_up();
    for i in 0..EACH as i32 {
        app.feed(0, FUTEXES + i, 2);
        app.feed(0, CHILDREN + i, 0);
    }
    // Who connects is accepted, who accepts is called.
    for which in 0..2 {
        app.answer(which);
        app.dial(0, which);
    }
    let pollable = app.program.setup & IOPOLL == 0;
    if pollable && round >= CANCEL && round.is_multiple_of(10) {
        let all = Sqe { op_flags: 1 | 4, ..sqe::cancel(0, 0, FINAL + u64::from(round)) };
        app.push(&[all]);
        app.submit_all();
    }
}

/// Takes the tables away, if the program does: nothing is held then.
fn tidy(sim: &Sim, app: &App, program: &Program) {
    if !program.unregisters {
        return;
    }
    let (files, buffers) = lock(&app.side).tables.are_there();
    let bell = lock(&app.side).tables.bell.is_some();
    let gone = [(files, Change::NoFiles), (buffers, Change::NoBuffers), (bell, Change::NoBell)];
    gone.iter().filter(|(there, _)| *there).for_each(|(_, change)| app.change(change));
    app.drop_personality();
    app.drop_provided();
    // Tags, more of them than the queue holds.
    for _ in 0..SLOTS {
        app.poke();
        app.reap();
    }
    // Who was about to signal the eventfd still has it, and may be slow; what is lent lies idle for two ticks
    // of the reactor.
    sim.sleep(40 * MS);
    assert_eq!(sim.held(), 0, "files are held without a table and without requests");
}

/// Closes the descriptor of a ring that stays mapped for a while: what is under way goes on.
fn drift(sim: &Sim, app: &App, ns: u64) {
    if ns == 0 || app.program.setup & NO_MMAP != 0 {
        return;
    }
    let pages = lock(&app.side).client.pages.clone();
    pages.mapped.store(true, Relaxed);
    lock(&app.side).adrift = true;
    close_name(sim, app);
    app.sched.changed();
    for _ in 0..ns / MS {
        assert!(!sim.engine.ring_closed(pages.id), "a ring that is mapped has ended");
        app.reap();
        sim.sleep(MS);
    }
    app.reap();
    pages.mapped.store(false, Relaxed);
}

/// The application has no name for the ring any more, if it had one.
fn close_name(sim: &Sim, app: &App) {
    let gone = app.fd.map(|fd| lock(&sim.world).fds.remove(&fd));
    if gone.is_none_or(|fd| fd.is_some()) {
        app.forget_index();
    }
}

/// Closes the ring, which ends soon, and for good. Whether all that it did last can be seen, in memory
/// that is the application's.
fn close(sim: &Sim, app: &App) -> bool {
    let id = lock(&app.side).client.pages.id;
    let owned = app.program.setup & NO_MMAP != 0;
    let side = lock(&app.side);
    let there = side.log.len() + side.client.completions();
    drop(side);
    close_name(sim, app);
    sim.end_ring(id);
    assert_eq!(sim.engine.in_flight(id), None, "the ring has a place after its end");
    if owned {
        lock(&app.side).tables.gone_with_the_ring(there);
        lock(&app.side).finishing = true;
        app.take_all();
    }
    owned && lock(&app.side).client.sq_flags() & OVERFLOW == 0
}

/// After the ring: threads, files, pollers and timers are what they were before it.
fn nothing_left(sim: &Sim) {
    // Ticks of the reactor; idle threads do not take their time with the last ring.
    sim.sleep(S);
    assert_eq!(sim.held(), 0, "the engine holds files of no ring");
    assert!(sim.threads() <= 1, "more than the reactor is left: {} threads", sim.threads());
    assert!(sim.pollers() <= 1, "more than the reactor's poller is left: {}", sim.pollers());
    assert_eq!(sim.ring_objects(), 0, "somebody refers to the ring");
    assert_eq!(sim.page_objects(), 0, "somebody has pages of the ring");
    sim.close_all();
    assert_eq!(sim.open_files(), 0, "somebody refers to closed files");
    let before = sim.jumps();
    sim.sleep(1000 * S);
    assert_eq!(sim.jumps() - before, 1, "somebody ticks for nothing");
}

fn record(sim: &Sim, app: &App, cut: bool) -> Record {
    let side = lock(&app.side);
    let w = lock(&sim.world);
    let flow = |(fd, f): (&i32, &Flow)| {
        let (put, taken) = f.totals();
        (*fd, (matches!(f, Flow::Bytes(_)), put, taken))
    };
    Record {
        log: side.log.clone(),
        order: side.order.clone(),
        pushed: side.pushed.clone(),
        issued: side.issued.clone(),
        fed: side.fed.clone(),
        eaten: side.eaten.clone(),
        attempts: w.ledger.attempts.clone(),
        rights: w.ledger.rights.clone(),
        late_write: w.ledger.late_write,
        woken: w.ledger.woken,
        flows: app.flows.iter().map(flow).collect(),
        memory: w.read(ARENA, 128 * STRIDE as usize).map(<[u8]>::to_vec).unwrap_or_default(),
        cut,
        overflowed: side.overflowed,
        whole: false,
        taken: side.client.sq_head() as usize,
        tags: side.tables.tags.clone(),
        mail: side.mailbox.as_ref().map_or_else(Mail::default, Mail::from),
        registered: side.tables.done.clone(),
        sync_cancelled: side.tables.cancelled.clone(),
        entered: side.entered,
        struck: sim.sched.struck(),
    }
}
