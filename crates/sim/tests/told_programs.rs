//! Programs that a campaign cut down, each of which told of something that must not be.

use ringer_sim::simulate::{self, Entry, How, Kind, Owes, Patience, Program, Step};
use ringer_sim::Rates;
use ringer_uapi::Sqe;

const DEFERS: u32 = 1 << 12 | 1 << 13;
const MS: u64 = 1_000_000;
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
