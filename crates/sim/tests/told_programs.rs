//! Programs that a campaign cut down, each of which told of something that must not be.

use ringer_sim::simulate::{self, Entry, How, Kind, Owes, Patience, Program, Step};
use ringer_sim::{BASE, Rates};
use ringer_uapi::Sqe;

const DEFERS: u32 = 1 << 12 | 1 << 13;
const MS: u64 = 1_000_000;
const DRAIN: u8 = 2;
const ASYNC: u8 = 16;
const SELECT: u8 = 32;
const ANY: u32 = 4;

/// What happens in a kind world, with that setup.
fn program(setup: u32, steps: Vec<Step>) -> Program {
    Program {
        seed: 0,
        kind: Kind::Plain,
        rates: Rates::NONE,
        numberless: false,
        no_nowait: false,
        posix_locks: false,
        meddles: false,
        setup,
        entries: (4, 8),
        eventfd: None,
        forbids: None,
        indexed: false,
        tags: false,
        neighbour: false,
        polled: false,
        unregisters: false,
        steps,
    }
}

fn holds(program: &Program) {
    let outcome = simulate::attempt(program).map(drop);
    assert_eq!(outcome, Ok(()), "{program}");
}

fn entry(sqe: Sqe, ok: (i32, i32), errors: &'static [i32]) -> Vec<Entry> {
    vec![Entry { sqe, memory: Vec::new(), owes: Owes { ok, errors, expires: None } }]
}

/// What a worker left for the owner of a ring comes before the end that a cancel makes.
#[test]
fn what_a_multishot_had_comes_before_its_end() {
    let accept = Sqe { opcode: 13, fd: 11, ioprio: 1, user_data: 1, ..Sqe::default() };
    let cancel = Sqe { opcode: 14, fd: -1, op_flags: ANY, user_data: 2, ..Sqe::default() };
    let patience = Patience { min: 3, ns: 3 * MS, enough_us: 0, how: How::For };
    let cancelled = entry(cancel, (0, i32::MAX), &[-2, -114]);
    holds(&program(
        DEFERS,
        vec![
            Step::Submit(entry(accept, (0, i32::MAX), &[])),
            Step::Dial(0, 0),
            Step::Poke,
            Step::Sleep(40 * MS),
            Step::SubmitAndWait(cancelled, patience),
        ],
    ));
}

/// A request that waits first, on a worker and with rights of its own, waits once.
#[test]
fn who_waits_first_with_other_rights_does_not_wait_again_and_again() {
    let (header, iov) = (BASE + (1 << 16) + 512 + 432, BASE + (1 << 16) + 512 + 288);
    let words = [0, 0, iov, 0, 0, 0, 0u64].into_iter().flat_map(u64::to_ne_bytes).collect();
    let message = Sqe { opcode: 10, addr: header, len: 1, ..Sqe::default() };
    let bytes = Sqe { opcode: 27, len: 100, ..Sqe::default() };
    let send = Sqe { opcode: 26, len: 100, ..Sqe::default() };
    for sqe in [message, bytes, send] {
        let flags = DRAIN | ASYNC | SELECT;
        let shape = Sqe { flags, fd: 6, ioprio: 1, buf_index: 1, user_data: 1, ..sqe };
        let mut entries = entry(Sqe { personality: 1, ..shape }, (0, 256), &[]);
        entries[0].memory = vec![(header, Vec::clone(&words))];
        let steps = vec![Step::Submit(entries), Step::Become(1)];
        for seed in 0..100 {
            let kind = Kind::Chaos;
            holds(&Program { seed, kind, ..program(DEFERS, steps.clone()) });
        }
    }
}
