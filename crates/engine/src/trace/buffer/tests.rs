//! The buffer, written as a process writes it and read as `ringer trace` does.

use super::*;
use crate::trace::Trail;
use std::vec;
use std::vec::Vec;

fn buffer(slots: u64) -> Buffer {
    let map = Map::leaked(HEADER + slots as usize * SLOT);
    Buffer::make(map, 7, 1).expect("a size that is one")
}

/// The slots from a position on, as far as the buffer's end and from its beginning.
fn slots(buffer: &Buffer, from: u64) -> Vec<u8> {
    let word = |at: u64| buffer.map.w64(at as usize).load(Relaxed).to_le_bytes();
    let slot = |i: u64| (0..8).map(move |w| HEADER as u64 + (i % buffer.slots) * 64 + w * 8);
    (from..from + buffer.slots).flat_map(slot).flat_map(word).collect()
}

/// Every record that is whole, as a reader that was never too late.
fn records(buffer: &Buffer, from: u64) -> Vec<Record> {
    let all = slots(buffer, from);
    let (mut at, mut out) = (0, Vec::new());
    while let Some((record, n)) = all.get(at * SLOT..).and_then(|s| read(s, from + at as u64)) {
        out.push(record);
        at += n;
    }
    out
}

fn entry(user_data: u64) -> TakenRecord {
    let sqe = Sqe { opcode: 22, fd: 3, user_data, addr3: 5, pad2: 6, ..Sqe::default() };
    TakenRecord {
        time_ns: 11,
        ring: 1 << 16,
        tid: 9,
        number: -1,
        linked: user_data == 4,
        seen: 3,
        sqe,
    }
}

fn tell(buffer: &Buffer, id: u64) {
    let trail = Trail::new(id).with(How::Worker);
    let (user_data, went, origin) = (4, Went::Backlog, Origin::Request);
    let told = Told { ring: 1 << 16, trail, user_data, res: -5, flags: 6, went, origin, lent: 0 };
    buffer.told(12, &told);
}

fn give_back(buffer: &Buffer, below: u64) {
    buffer.map.w64(AT_DONE).store(done_byte(below, buffer.slots).into(), Release);
}

#[test]
fn what_is_written_is_read() {
    let b = buffer(128);
    assert_eq!(b.taken(&entry(4)), 1);
    tell(&b, 1);
    let long = [b'x'; NAME_MAX + 1];
    b.name(5, b"/etc/passwd");
    b.name(6, &long);
    let [taken, told, short, cut] = &records(&b, 0)[..] else { panic!("four records") };
    assert_eq!(*taken, Record::Taken(entry(4)));
    let Record::Told(t) = told else { panic!("{told:?}") };
    assert_eq!((t.request, t.res, t.flags, t.how, t.went), (1, -5, 6, How::Worker, Went::Backlog));
    let name = |number, text: &[u8], whole| Record::Name { number, text: text.to_vec(), whole };
    assert_eq!(*short, name(5, b"/etc/passwd", true));
    assert_eq!(*cut, name(6, &long[..NAME_MAX], false));
}

#[test]
fn a_full_buffer_loses_and_counts_and_goes_on_when_it_was_read() {
    let b = buffer(128);
    let ids: Vec<u64> = (0..70).map(|i| b.taken(&entry(i))).collect();
    assert_eq!(ids[63], 127);
    assert_eq!(ids[64..], [0; 6]);
    tell(&b, 1);
    assert_eq!(b.map.w64(AT_LOST_TAKEN).load(Relaxed), 6);
    assert_eq!(b.map.w64(AT_LOST_TOLD).load(Relaxed), 1);
    assert_eq!(records(&b, 0).len(), 64);
    give_back(&b, 128);
    // Records go over the end: an odd one first.
    tell(&b, 2);
    for i in 0..63 {
        assert_eq!(b.taken(&entry(i)), 130 + 2 * i);
    }
    assert_eq!(records(&b, 128).len(), 64);
}

#[test]
fn a_rings_state_is_read_as_it_was_written() {
    let b = buffer(128);
    let state = RingState {
        ring: 3 << 16,
        in_flight: 1,
        polled: 2,
        workers: 3,
        backlog: 4,
        cq_ready: 5,
        cq_entries: 6,
        taken: u32::MAX,
        told: 8,
    };
    b.state(9, &state);
    assert_eq!(records(&b, 0), [Record::State { time_ns: 9, state }]);
}

#[test]
fn what_was_taken_in_another_session_is_told_in_none() {
    let b = buffer(128);
    let mut names = Vec::new();
    for session in [1, 2, SESSIONS + 1, SESSIONS - 1] {
        b.begin(7, 1, session);
        let first = b.map.w64(AT_FIRST).load(Relaxed);
        assert_eq!((first % b.slots, done_byte(first, b.slots)), (0, 0), "{session}");
        names.push(b.taken(&entry(4)));
        assert_eq!(*names.last().unwrap(), first + 1);
        // In the last of them all others are earlier.
        names.iter().for_each(|&name| tell(&b, name));
        let told = records(&b, first).into_iter().filter(|r| matches!(r, Record::Told(_))).count();
        assert_eq!(told, if session == SESSIONS + 1 { 3 } else { 1 }, "{session}");
    }
}

#[test]
fn the_byte_comes_round_and_nothing_unread_is_overwritten() {
    let b = buffer(256);
    for round in 0..2000 {
        let id = b.taken(&entry(round));
        assert_eq!(id, round * 2 + 1);
        assert_eq!(records(&b, id - 1), [Record::Taken(entry(round))]);
        give_back(&b, id + 1);
    }
}

#[test]
fn a_record_without_its_last_word_is_not_there() {
    let b = buffer(128);
    b.taken(&entry(1));
    b.taken(&entry(2));
    for missing in 2..4 {
        let mut all = slots(&b, 0);
        all[missing * SLOT] ^= 0xff;
        assert_eq!(read(&all, 0), Some((Record::Taken(entry(1)), 2)));
        assert_eq!(read(&all[2 * SLOT..], 2), None);
    }
}

#[test]
fn nothing_that_a_stranger_writes_panics() {
    let mut word = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word
    };
    for _ in 0..20_000 {
        let mut bytes: Vec<u8> = (0..40).flat_map(|_| next().to_le_bytes()).collect();
        let position = next() >> 8;
        // A right stamp, and what follows it as it may be.
        for i in 0..4 {
            let kind = if i == 0 { 1 + next() % 8 } else { MORE };
            let at = i as usize * SLOT;
            bytes[at..at + 8].copy_from_slice(&stamp(position + i, kind).to_le_bytes());
        }
        let length = if next() % 2 == 0 { next() } else { next() % 300 };
        bytes[16..24].copy_from_slice(&length.to_le_bytes());
        if let Some((_, n)) = read(&bytes, position) {
            assert!(n <= NAME_SLOTS);
        }
        let cut = next() as usize % bytes.len();
        let _ = read(&bytes[..cut], position);
    }
}

#[test]
fn data_of_any_length_is_read_as_it_was_written() {
    for len in [0, 1, 31, 32, 33, DATA_MAX, DATA_MAX + 1] {
        let b = buffer(128);
        let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let (kind, field) = (DataKind::Read, Field::Addr3);
        let head = DataHead { request: 9, kind, field, total: 5_000, hidden: false };
        b.data(&head, &bytes);
        tell(&b, 9);
        let [data, told] = &records(&b, 0)[..] else { panic!("two records") };
        assert_eq!(*data, Record::Data(head, bytes[..len.min(DATA_MAX)].to_vec()));
        assert!(matches!(told, Record::Told(t) if t.request == 9));
    }
}

#[test]
fn calls_are_read_as_they_were_made() {
    let b = buffer(128);
    let setup = Call::Setup { entries: 8, flags: 1 << 31, ring: 3 << 16 };
    let register = Call::Register { fd: -1, opcode: 1 << 31 | 2, arg: u64::MAX, nr: 7 };
    b.called(5, 6, &Called { call: setup, result: Ok(4) });
    b.called(7, u32::MAX, &Called { call: register, result: Err(Errno::EINVAL) });
    let record =
        |time_ns, tid, call, result| Record::Called(CalledRecord { time_ns, tid, call, result });
    assert_eq!(records(&b, 0), [record(5, 6, setup, 4), record(7, u32::MAX, register, -22)]);
}

#[test]
fn data_that_finds_no_room_is_counted_apart() {
    let b = buffer(128);
    let head =
        DataHead { request: 1, kind: DataKind::Text, field: Field::Addr, total: 0, hidden: true };
    (0..129).for_each(|_| b.data(&head, &[]));
    let count = |at| b.map.w64(at).load(Relaxed);
    assert_eq!([AT_LOST_TAKEN, AT_LOST_TOLD, AT_LOST_MORE].map(count), [0, 0, 1]);
}

#[test]
fn a_session_in_the_memory_of_another_has_all_its_room_and_none_of_its_records() {
    let buffer = buffer(SLOTS_MIN);
    for session in 1..5 {
        buffer.begin(7, 1, session);
        let mut taken = 0;
        while buffer.taken(&entry(taken)) != 0 {
            taken += 1;
        }
        assert!(taken >= SLOTS_MIN / 2 - 2, "session {session}: room for {taken}");
        assert_eq!(buffer.lost(), 1, "session {session}");
        let mut slots = vec![0; SLOTS_MIN as usize * SLOT];
        let n = buffer.take(buffer.first(), &mut slots);
        let (mut at, mut seen) = (0, 0);
        while let Some((Record::Taken(t), n)) =
            slots.get(at * SLOT..n * SLOT).and_then(|rest| read(rest, buffer.first() + at as u64))
        {
            assert_eq!(t.sqe.user_data, seen, "session {session}");
            (at, seen) = (at + n, seen + 1);
        }
        assert_eq!(seen, taken, "session {session}");
    }
}
