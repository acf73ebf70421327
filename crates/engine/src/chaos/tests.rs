use super::plan::{Glob, Plan, Rule};
use super::*;
use alloc::format;
use alloc::string::ToString;
use ringer_uapi::{Errno, Sqe};

const READ: u8 = 22;
const WRITE: u8 = 23;

fn plan(text: &str) -> Plan {
    Plan::parse(text).unwrap_or_else(|e| panic!("{e}"))
}

/// What becomes of `n` reads on a ring.
fn fates(chaos: &Chaos, ring: u64, n: u64) -> Vec<Vec<What>> {
    let sqe = Sqe { opcode: READ, ..Sqe::default() };
    let of =
        |nth| Submission { ring: RingId(ring << 16), nth, sqe: &sqe, number: Some(3), path: None };
    let acts = |fate: Option<Box<Fate>>| fate.map_or(Vec::new(), |f| f.acts);
    (1..=n).map(|nth| acts(chaos.fate(&of(nth))).iter().map(|act| act.what).collect()).collect()
}

#[test]
fn a_plan_is_the_same_after_it_was_text() {
    let text = "seed 42\n\
                rule errno=EIO op=READV,READ path=*.db selects p=0.1\n\
                rule short=512 fd=7 nth=3\n\
                rule delay=5ms ring=2\nrule delay\nrule lose p=0.000001\n\
                only 2:1:0 1:17:0 1:17:0\n";
    let first = plan(text);
    assert_eq!(plan(&first.to_string()), first);
    assert_eq!(first.only.as_ref().map(Vec::len), Some(2), "in order, each once");
    for (rule, says) in first
        .rules
        .iter()
        .zip(["errno=EIO op=READV,READ path=*.db selects p=0.100000", "short=512 fd=7 nth=3"])
    {
        assert_eq!(rule.to_string(), says);
    }
}

#[test]
fn a_word_that_makes_no_sense_is_refused_by_name() {
    for (text, word) in [
        ("rule errno=EFOO", "errno=EFOO"),
        ("rule worker op=FOO", "op=FOO"),
        ("rule worker op=", "op="),
        ("rule worker p=1.5", "p=1.5"),
        ("rule worker p=-1", "p=-1"),
        ("rule worker p=0.1234567", "p=0.1234567"),
        ("rule delay=5", "delay=5"),
        ("rule short=x", "short=x"),
        ("rule op=READ", "rule op=READ"),
        ("rule worker short", "rule worker short"),
        ("rule worker files", "files"),
        ("only 1:2", "1:2"),
        ("only 1:2:3:4", "1:2:3:4"),
        ("seed x", "seed x"),
        ("seed 1 2", "seed 1 2"),
        ("rule worker nth=0", "nth=0"),
        ("rule worker ring=0", "ring=0"),
        ("rule short=0", "short=0"),
        ("rule worker op=READ op=WRITE", "op=WRITE"),
        ("rule interrupt op=READ", "op"),
        ("sed 1", "sed"),
    ] {
        let refused = Plan::parse(text).expect_err(text);
        assert_eq!(refused.word, word, "{refused}");
    }
}

#[test]
fn the_same_seed_decides_the_same_and_another_does_not() {
    let (one, again, other) =
        (Chaos::new(Plan::legal(7)), Chaos::new(Plan::legal(7)), Chaos::new(Plan::legal(8)));
    assert_eq!(fates(&one, 1, 200), fates(&again, 1, 200));
    assert_ne!(fates(&again, 1, 200), fates(&other, 1, 200));
    assert_ne!(fates(&one, 1, 200), fates(&one, 2, 200), "rings have their own");
}

#[test]
fn decisions_do_not_depend_on_what_else_was_decided() {
    let (all, one) = (Chaos::new(Plan::legal(7)), Chaos::new(Plan::legal(7)));
    let last = fates(&all, 1, 100).pop();
    let sqe = Sqe { opcode: READ, ..Sqe::default() };
    let of = Submission { ring: RingId(1 << 16), nth: 100, sqe: &sqe, number: Some(3), path: None };
    let alone = one.fate(&of).map_or(Vec::new(), |f| f.acts);
    assert_eq!(last, Some(alone.iter().map(|act| act.what).collect()));
}

#[test]
fn acts_that_are_left_out_change_nothing_about_the_others() {
    let whole = Chaos::new(Plan::legal(3));
    let all = fates(&whole, 1, 300);
    let only = Vec::from([
        Injection { ring: 1, nth: 17, rule: 0 },
        Injection { ring: 1, nth: 18, rule: 2 },
        Injection { ring: 2, nth: 19, rule: 2 },
    ]);
    let few = Chaos::new(Plan { only: Some(only), ..Plan::legal(3) });
    for (nth, (few, all)) in (1..).zip(fates(&few, 1, 300).iter().zip(&all)) {
        let kept: Vec<What> = match nth {
            17 => all.iter().filter(|w| matches!(w, What::Short(_))).copied().collect(),
            18 => all.iter().filter(|w| matches!(w, What::Delay(_))).copied().collect(),
            _ => Vec::new(),
        };
        assert_eq!(*few, kept, "entry {nth}");
    }
}

#[test]
fn the_nth_that_matches_is_counted_over_all_rings() {
    let chaos = Chaos::new(plan("rule errno=EIO op=READ nth=3"));
    let hits = |ring| fates(&chaos, ring, 2).iter().map(Vec::len).sum::<usize>();
    assert_eq!((hits(1), hits(2), hits(1)), (0, 1, 0));
}

#[test]
fn how_often_is_about_as_often_as_was_asked() {
    let chaos = Chaos::new(plan("seed 5\nrule errno=EIO p=0.1"));
    let hits = fates(&chaos, 1, 10_000).iter().filter(|acts| !acts.is_empty()).count();
    assert!((900..1100).contains(&hits), "{hits} of 10000");
    let never = Chaos::new(plan("rule errno=EIO p=0"));
    assert!(fates(&never, 1, 1000).iter().all(Vec::is_empty));
}

#[test]
fn a_rule_is_for_what_it_names() {
    let of = |opcode, number, path: &'static [u8], flags| {
        let sqe = Sqe { opcode, flags, ..Sqe::default() };
        move |rule: &str| {
            let rule = Rule::parse(rule).unwrap_or_else(|e| panic!("{e}"));
            let path = Some(path).filter(|p| !p.is_empty());
            let of = Submission { ring: RingId(2 << 16), nth: 1, sqe: &sqe, number, path };
            matches(&rule, &of)
        }
    };
    let read = of(READ, Some(7), b"/var/lib/a.db", 0);
    assert!(read("worker") && read("worker op=write,read") && read("worker fd=7 ring=2"));
    assert!(read("worker path=*.db") && read("worker path=/var/*/?.db"));
    assert!(!read("worker op=WRITE") && !read("worker fd=8") && !read("worker ring=1"));
    assert!(!read("worker path=*.log") && !read("worker selects"));
    let nameless = of(WRITE, None, b"", 1 << 5);
    assert!(nameless("worker selects") && !nameless("worker path=*") && !nameless("worker fd=0"));
}

#[test]
fn a_pattern_with_many_stars_takes_no_time() {
    let glob = |text: &str| Rule::parse(&format!("worker path={text}")).ok().and_then(|r| r.path);
    // With a look back to every star this would take longer than the machine lasts.
    let slow = glob(&("*a".repeat(60) + "b")).unwrap_or_else(|| panic!("no pattern"));
    assert!(!slow.matches("a".repeat(2000).as_bytes()));
    let all = |glob: Option<Glob>, name: &[u8]| glob.is_some_and(|g| g.matches(name));
    assert!(
        all(glob("*"), b"") && all(glob("a*b*c"), b"aXbYbZc") && !all(glob("a*b*c"), b"aXbYc-")
    );
    assert!(!all(glob("?"), b"") && all(glob("??"), b"ab"));
}

#[test]
fn what_is_done_without_rules_is_what_a_kernel_may_do() {
    let legal = Plan::legal(0);
    assert!(
        legal.rules.iter().all(|rule| rule.what.is_legal() && !matches!(rule.what, What::Fail(_)))
    );
    assert!(!What::Lose.is_legal() && What::Fail(Errno::EIO).is_legal());
}
