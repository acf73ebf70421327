use super::*;
use alloc::vec;

fn entry(opcode: u8, user_data: u64) -> Sqe {
    Sqe { opcode, fd: 3, len: 10, addr: 4096, user_data, ..Sqe::default() }
}

/// S1 S2 C2 S3 C1 C3.
fn record() -> Vec<u8> {
    let done = |nth, after, data| Frame::Complete {
        ring: 1,
        nth,
        res: 3,
        flags: 0,
        silent: false,
        after,
        data,
    };
    let frames = [
        Frame::Setup { ring: 1, entries: 8, flags: 2 },
        Frame::Submit { ring: 1, sqe: entry(22, 7) },
        Frame::Submit { ring: 1, sqe: entry(23, 8) },
        Frame::Sum { ring: 1, nth: 2, sum: 99 },
        done(2, 2, &[]),
        Frame::Submit { ring: 1, sqe: entry(0, 9) },
        done(1, 2, b"abc"),
        done(3, 3, &[]),
        Frame::End { submissions: 3, status: 0 },
    ];
    let mut bytes = MAGIC.to_vec();
    for frame in &frames {
        frame.write(&mut bytes);
    }
    bytes
}

fn all_due(script: &mut Script) -> Vec<(u64, Vec<u8>)> {
    core::iter::from_fn(|| script.due(1).map(|d| (d.nth, d.data.to_vec()))).collect()
}

#[test]
fn a_completion_comes_when_what_was_submitted_before_it_is_submitted() {
    let mut script = Script::parse(record()).expect("a record");
    assert_eq!(script.setup(1), Some((8, 2)));
    script.submitted(1);
    assert_eq!(all_due(&mut script), []);
    script.submitted(1);
    assert_eq!(all_due(&mut script), [(2, vec![])]);
    script.submitted(1);
    assert_eq!(all_due(&mut script), [(1, b"abc".to_vec()), (3, vec![])]);
    script.submitted(1);
    assert_eq!(all_due(&mut script), []);
}

#[test]
fn what_had_come_and_was_not_done_with_comes_to_who_waits_and_once() {
    let mut script = Script::parse(record()).expect("a record");
    let waited = |script: &mut Script| script.due_to_who_waits(1).map(|d| d.nth);
    script.submitted(1);
    assert_eq!(waited(&mut script), None, "nothing had come");
    script.submitted(1);
    assert_eq!(all_due(&mut script), [(2, vec![])]);
    assert_eq!(waited(&mut script), Some(1));
    assert_eq!(waited(&mut script), None, "the third was not submitted");
    script.submitted(1);
    assert_eq!(all_due(&mut script), [(3, vec![])]);
}

#[test]
fn an_entry_is_the_same_wherever_it_points_and_whatever_it_is_called() {
    let script = Script::parse(record()).expect("a record");
    let moved = Sqe { addr: 8192, user_data: 1, ..entry(22, 7) };
    assert_eq!(script.compare((1, 1), &moved, || None), Ok(()));
    let longer = Sqe { len: 11, ..entry(22, 7) };
    assert_eq!(script.compare((1, 1), &longer, || None), Err(Differs::Field("len")));
    let later = Sqe { off: 1, ..entry(22, 7) };
    assert_eq!(script.compare((1, 1), &later, || None), Err(Differs::Field("off")));
    assert_eq!(script.compare((1, 2), &entry(23, 8), || Some(99)), Ok(()));
    assert_eq!(script.compare((1, 2), &entry(23, 8), || Some(98)), Err(Differs::Bytes));
    assert_eq!(script.compare((1, 4), &entry(0, 9), || None), Err(Differs::Beyond));
    assert_eq!(script.compare((2, 1), &entry(0, 9), || None), Err(Differs::Beyond));
}

#[test]
fn a_part_of_a_record_is_none() {
    let whole = record();
    for len in 0..whole.len() {
        let part = whole.get(..len).unwrap_or_default().to_vec();
        let bad = Script::parse(part).expect_err("a part");
        assert_eq!(bad, if len < MAGIC.len() { Bad::Other } else { Bad::Short }, "{len}");
    }
    let mut more = whole;
    more.push(0);
    assert_eq!(Script::parse(more).err(), Some(Bad::Broken));
}

#[test]
fn a_record_with_any_byte_changed_does_no_harm() {
    let whole = record();
    for at in 0..whole.len() {
        for change in [1, 0x80, 0xff] {
            let mut other = whole.clone();
            if let Some(byte) = other.get_mut(at) {
                *byte ^= change;
            }
            if let Ok(mut script) = Script::parse(other) {
                (0..8).for_each(|_| script.submitted(1));
                assert!(all_due(&mut script).len() <= 3);
            }
        }
    }
}

#[test]
fn sums_tell_bytes_apart() {
    let of = |bytes: &[u8]| {
        let mut sum = Sum::default();
        sum.bytes(bytes);
        sum.get()
    };
    assert_ne!(of(b""), of(b"\0"));
    assert_ne!(of(b"\0\0\0\0\0\0\0\0"), of(b"\0"));
    assert_ne!(of(b"abcdefgh1"), of(b"abcdefgh2"));
    assert_eq!(of(b"abcdefgh1"), of(b"abcdefgh1"));
}
