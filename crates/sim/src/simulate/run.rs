//! One run: the world, the steps, the end, and what must be gone after it.
//!
//! ```text
//!  world -> steps (threads beside) -> everything is ended -> tables away -> ring closed -> nothing left
//!              '-- at every jump of the clock: no waiter has what it waits for, nothing ready waits
//! ```

use super::Summary;
use super::app::{ALL_FLOWS, App, FINAL, Ringside, Seen, TAG};
use super::check;
use super::neighbour::{move_in, pipes};
use super::program::{Program, Step};
use super::rows::{ADDRESSES, ARENA, BUF_AT, BUF_LEN, FILE, FREE_SLOT, SLOTS, STRIDE};
use super::watch::watchman;
use crate::kit::Flow;
use crate::policy::Fault;
use crate::sched::lock;
use crate::sqe;
use crate::{Client, Options, Sim, Thread};
use ringer_uapi::{Params, Sqe};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;
const IOPOLL: u32 = 1;
const CQSIZE: u32 = 1 << 3;
const R_DISABLED: u32 = 1 << 6;
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
    pub(crate) late_write: Option<u64>,
    pub(crate) flows: BTreeMap<i32, (bool, u64, u64)>,
    /// Memory of requests by user_data.
    pub(crate) memory: Vec<u8>,
    /// The ring was closed before everything had ended.
    pub(crate) cut: bool,
    /// The completion queue overflowed.
    pub(crate) overflowed: bool,
    pub(crate) struck: [u64; Fault::ALL.len()],
}

/// Runs a program and checks it.
pub(crate) fn run(program: &Program) -> Summary {
    let (sim, neighbours) = world(program);
    let neighbour = neighbours.map(|pipes| move_in(&sim, &pipes));
    let app = application(&sim, program);
    sim.watch(Some(watchman(&app, neighbour.clone())));
    let threads = play(&sim, &app, program);
    let cut = matches!(program.steps.last(), Some(Step::CloseRing));
    if !cut {
        threads.into_iter().for_each(Thread::join);
        end(&sim, &app);
        neighbour.iter().for_each(|n| n.move_out(&sim));
        tidy(&sim, &app, program);
        close(&sim, &app);
    } else {
        lock(&app.side).closing = true;
        app.sched.calm();
        close(&sim, &app);
        threads.into_iter().for_each(Thread::join);
        neighbour.iter().for_each(|n| n.move_out(&sim));
    }
    sim.watch(None);
    nothing_left(&sim);
    check::check(program, &record(&sim, &app, cut))
}

/// The objects of `rows.rs`.
fn world(program: &Program) -> (Sim, Option<Vec<(i32, i32)>>) {
    let options = Options {
        numberless: program.numberless,
        no_nowait: program.no_nowait,
        posix_locks: program.posix_locks,
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
    let neighbours = pipes(&sim, program);
    sim.named("n0", &[1; 50]);
    sim.named("n1", &[2; 60]);
    sim.directory("n2");
    sim.fresh_numbers();
    lock(&sim.world).ledger.arena = Some((ARENA, STRIDE));
    let blank = vec![BLANK; 128 * STRIDE as usize];
    sim.write(ARENA, &blank);
    for e in program.entries() {
        if matches!(e.sqe.opcode, 2 | 5 | 23 | 26) {
            let bytes = [1 + (e.sqe.user_data % 100) as u8; BUF_LEN as usize];
            sim.write(super::rows::memory(e.sqe.user_data) + BUF_AT, &bytes);
        }
    }
    (sim, neighbours)
}

/// What the file at 0 holds.
pub(crate) fn file_byte(at: usize) -> u8 {
    (at % 160) as u8
}

/// The ring with its tables.
fn ring(sim: &Sim, program: &Program) -> Client {
    let (entries, cq) = program.entries;
    let cq_entries = if program.setup & CQSIZE != 0 { cq } else { 0 };
    // A submission thread falls asleep between two batches, mostly.
    let sq_thread_idle = 1 + program.seed as u32 % 3;
    let params = Params { flags: program.setup, cq_entries, sq_thread_idle, ..Params::default() };
    // No thread or descriptor to be had is no ring to be had; the world gets better.
    let ring = (0..1000).find_map(|_| Client::try_new(sim, entries, params).ok());
    let ring = ring.expect("a ring, some time");
    let fd = ring.fd;
    register_files(sim, program, fd);
    let buffer = sim.words(&[ARENA, 128 * STRIDE]);
    sim.register(fd, 0, buffer, 1).expect("registered buffers");
    if let Some(asynchronous) = program.eventfd {
        let event = sim.fds(&[10]);
        let op = if asynchronous { 7 } else { 4 };
        assert!((0..1000).any(|_| sim.register(fd, op, event, 1).is_ok()), "an eventfd, some time");
    }
    if program.setup & R_DISABLED != 0 {
        sim.register(fd, 12, 0, 0).expect("enabling");
    }
    ring
}

fn register_files(sim: &Sim, program: &Program, fd: i32) {
    let mut fds: Vec<i32> = (0..FREE_SLOT as i32).collect();
    fds.resize(SLOTS as usize, -1);
    let mut tags: Vec<u64> = (0..u64::from(FREE_SLOT)).map(|i| TAG + i).collect();
    tags.resize(SLOTS as usize, 0);
    let tags = if program.tags { sim.words(&tags) } else { 0 };
    let arg = sim.words(&[u64::from(SLOTS), 0, sim.fds(&fds), tags]);
    let done = (0..1000).any(|_| sim.register(fd, 13, arg, 32).is_ok());
    assert!(done, "registered files, some time");
}

fn application(sim: &Sim, program: &Program) -> App {
    let flow = |fd: i32| sim.flow(fd).map(|f| (fd, f));
    let flows = ALL_FLOWS.into_iter().filter_map(flow).collect();
    let client = ring(sim, program);
    let fd = client.fd;
    client.pages.polled.store(program.polled, Relaxed);
    let side = Ringside {
        client,
        log: Vec::new(),
        order: Vec::new(),
        pushed: BTreeMap::new(),
        issued: BTreeMap::new(),
        fed: BTreeMap::new(),
        eaten: BTreeMap::new(),
        closing: false,
        finishing: false,
        overflowed: false,
    };
    App {
        engine: sim.engine.clone(),
        sched: sim.sched.clone(),
        world: sim.world.clone(),
        side: Arc::new(Mutex::new(side)),
        waiters: Arc::default(),
        flows: Arc::new(flows),
        program: Arc::new(program.clone()),
        fd,
        scratch: sim.alloc(128),
        bell: Arc::downgrade(&sim.open(10)),
        callers: (13..=16).map(|fd| Arc::downgrade(&sim.open(fd))).collect(),
    }
}

/// Carries out the steps; returns the threads that it started.
fn play(sim: &Sim, app: &App, program: &Program) -> Vec<Thread<()>> {
    let mut threads = Vec::new();
    for step in &program.steps {
        match step {
            Step::CloseRing => break,
            Step::Thread(steps) => {
                let app = App { scratch: sim.alloc(128), ..app.clone() };
                let steps = steps.clone();
                threads.push(sim.start(move |_| steps.iter().for_each(|s| app.step(s))));
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
    app.hang_up();
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
    for op in [3, 1, 5] {
        // What is not there any more is ENXIO.
        let _ = sim.register(app.fd, op, 0, 0);
    }
    // Tags, more of them than the queue holds.
    for _ in 0..SLOTS {
        app.poke();
        app.reap();
    }
    // Who was about to signal the eventfd still has it, and may be slow.
    sim.sleep(5 * MS);
    assert_eq!(sim.held(), 0, "files are held without a table and without requests");
}

/// Closes the ring, which ends soon, and for good.
fn close(sim: &Sim, app: &App) {
    let id = lock(&app.side).client.pages.id;
    sim.close_ring(app.fd);
    assert_eq!(sim.engine.in_flight(id), None, "the ring has a place after its end");
}

/// After the ring: threads, files, pollers and timers are what they were before it.
fn nothing_left(sim: &Sim) {
    sim.sleep(6 * S);
    assert_eq!(sim.held(), 0, "the engine holds files of no ring");
    assert!(sim.threads() <= 1, "more than the reactor is left: {} threads", sim.threads());
    assert!(sim.pollers() <= 1, "more than the reactor's poller is left: {}", sim.pollers());
    assert_eq!(sim.ring_objects(), 0, "somebody refers to the ring");
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
        late_write: w.ledger.late_write,
        flows: app.flows.iter().map(flow).collect(),
        memory: w.read(ARENA, 128 * STRIDE as usize).map(<[u8]>::to_vec).unwrap_or_default(),
        cut,
        overflowed: side.overflowed,
        struck: sim.sched.struck(),
    }
}
