//! Plans as values and as text, which is how they get into a process.
//!
//! ```text
//!  seed 42
//!  rule errno=EIO op=READ,READV path=*.db p=0.1
//!  rule short=512 fd=7 nth=3
//!  only 1:17:0                     ring 1, its 17th entry (or wait), rule 0; if there is such a line, nothing else
//! ```
//! A rule is what it does (`errno=NAME`, `short[=BYTES]`, `delay[=TIME]`, `worker`, `overflow`,
//! `interrupt`, `lose`, `twice`) and to what: `op=`, `path=` (a glob of `*` and `?`), `fd=`, `ring=`,
//! `selects` (with IOSQE_BUFFER_SELECT), and how often: `p=` a probability, `nth=` that one alone. What
//! this does not do: read files, or decide.

use super::WHOLE;
use crate::opcode::{OPDEFS, opcode_by_name};
use crate::policy::{Share, What};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use ringer_uapi::Errno;

/// Most rules of a plan.
pub const RULES_MAX: usize = 1024;

/// What is to be done to a process's requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Decides what the rules leave open.
    pub seed: u64,
    /// In the order in which they act.
    pub rules: Vec<Rule>,
    /// If there is one, nothing else is done; sorted.
    pub only: Option<Vec<Injection>>,
}

/// One act of a rule, by what it was done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Injection {
    /// Which ring of its process, from 1.
    pub ring: u64,
    /// Which of the ring's entries, or of its waits, from 1.
    pub nth: u64,
    /// Which rule, from 0.
    pub rule: u16,
}

/// See the module's doc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it does.
    pub what: What,
    /// To which opcodes, a bit each.
    pub ops: u64,
    /// To what the kernel calls so.
    pub path: Option<Glob>,
    /// To this number of the program's table.
    pub fd: Option<i32>,
    /// On this ring of a process, from 1.
    pub ring: Option<u64>,
    /// Only to what selects a provided buffer.
    pub selects: bool,
    /// How often, in parts of [`WHOLE`].
    pub chance: u32,
    /// To this one of those that match in a process, from 1, whatever `chance` says.
    pub nth: Option<u64>,
}

/// A pattern of `*` and `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Vec<u8>);

/// Why a text is no plan: the word, and what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unclear {
    /// The word.
    pub word: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl fmt::Display for Unclear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\": {}", self.word, self.why)
    }
}

fn unclear(word: &str, why: &'static str) -> Unclear {
    Unclear { word: word.to_string(), why }
}

impl Plan {
    /// What a program that is right must survive: short transfers, workers, late completions in any legal
    /// order, waits that signals end, a completion queue that is full. Writes are left whole: of a regular file
    /// a kernel writes less only where there is no room for more, and programs take it for that.
    pub fn legal(seed: u64) -> Self {
        let rule = |what, chance| Rule { chance, ..Rule::of(what) };
        let rules = Vec::from([
            Rule { ops: ops_of(&SHORTENED), ..rule(What::Short(Share::Dice(0)), WHOLE / 4) },
            rule(What::Worker, WHOLE / 8),
            rule(What::Delay(0), WHOLE / 2),
            rule(What::Interrupt, WHOLE / 16),
            rule(What::Overflow, WHOLE / 16),
        ]);
        Self { seed, rules, only: None }
    }

    /// Completions late and in any legal order, and nothing else.
    pub fn late(seed: u64) -> Self {
        let rules = Vec::from([Rule { chance: WHOLE / 2, ..Rule::of(What::Delay(0)) }]);
        Self { seed, rules, only: None }
    }

    /// Whether it has completions come in another order.
    pub(super) fn reorders(&self) -> bool {
        self.only.is_none() && self.rules.iter().any(|rule| matches!(rule.what, What::Delay(0)))
    }

    /// Reads a plan.
    ///
    /// # Errors
    /// The first word that makes no sense.
    pub fn parse(text: &str) -> Result<Self, Unclear> {
        let mut plan = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(first), rest) = (words.next(), words) else { continue };
            match first {
                "seed" => plan.seed = seed(rest, line)?,
                "rule" if plan.rules.len() == RULES_MAX => {
                    return Err(unclear(line, "more than 1024 rules"));
                }
                "rule" => plan.rules.push(Rule::of_words(rest, line)?),
                "only" => {
                    let only = plan.only.get_or_insert_default();
                    for word in rest {
                        only.push(Injection::parse(word)?);
                    }
                }
                word => return Err(unclear(word, "a line begins with seed, rule or only")),
            }
        }
        if let Some(only) = &mut plan.only {
            only.sort_unstable();
            only.dedup();
        }
        Ok(plan)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        for rule in &self.rules {
            writeln!(f, "rule {rule}")?;
        }
        let Some(only) = &self.only else { return Ok(()) };
        f.write_str("only")?;
        for injection in only {
            write!(f, " {injection}")?;
        }
        writeln!(f)
    }
}

impl Injection {
    /// Reads `RING:NTH:RULE`.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(word: &str) -> Result<Self, Unclear> {
        let mut parts = word.split(':').map(str::parse::<u64>);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Ok(ring)), Some(Ok(nth)), Some(Ok(rule)), None) if rule < RULES_MAX as u64 => {
                Ok(Self { ring, nth, rule: rule as u16 })
            }
            _ => Err(unclear(word, "an injection is RING:NTH:RULE, three numbers")),
        }
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.ring, self.nth, self.rule)
    }
}

impl Rule {
    /// To everything, always.
    pub fn of(what: What) -> Self {
        Self {
            what,
            ops: u64::MAX,
            path: None,
            fd: None,
            ring: None,
            selects: false,
            chance: WHOLE,
            nth: None,
        }
    }

    /// Reads a rule.
    ///
    /// # Errors
    /// The first word that makes no sense; none says what is to be done, or two do.
    pub fn parse(text: &str) -> Result<Self, Unclear> {
        Self::of_words(text.split_ascii_whitespace(), text)
    }

    fn of_words<'a>(words: impl Iterator<Item = &'a str>, line: &str) -> Result<Self, Unclear> {
        let mut rule = Self::of(What::Worker);
        let mut acts = 0;
        let mut keys: Vec<&str> = Vec::new();
        for word in words {
            let (key, value) = word.split_once('=').map_or((word, None), |(k, v)| (k, Some(v)));
            if keys.contains(&key) {
                return Err(unclear(word, "it is said already"));
            }
            keys.push(key);
            if let Some(what) = act(word, key, value)? {
                rule.what = what;
                acts += 1;
            } else {
                rule.restrict(word, key, value)?;
            }
        }
        const ACTS: &str = "one of errno=NAME, short, delay, worker, overflow, interrupt, lose and twice is needed";
        // A wait has no opcode and no file.
        let of_entries = ["op", "path", "fd", "selects"];
        if rule.what == What::Interrupt
            && let Some(word) = keys.into_iter().find(|key| of_entries.contains(key))
        {
            return Err(unclear(
                word,
                "a wait has none: interrupt goes with ring=, p= and nth= only",
            ));
        }
        if acts == 1 { Ok(rule) } else { Err(unclear(line, ACTS)) }
    }

    fn restrict(&mut self, word: &str, key: &str, value: Option<&str>) -> Result<(), Unclear> {
        match key {
            "op" => self.ops = ops(word, value)?,
            "path" => match value.filter(|v| !v.is_empty()) {
                Some(pattern) => self.path = Some(Glob(pattern.as_bytes().to_vec())),
                None => return Err(unclear(word, "path= wants a pattern of * and ?")),
            },
            "fd" => self.fd = Some(number(value, word)?),
            "ring" => self.ring = Some(ordinal(value, word)?),
            "nth" => self.nth = Some(ordinal(value, word)?),
            "selects" if value.is_none() => self.selects = true,
            "p" => self.chance = chance(word, value)?,
            _ => return Err(unclear(word, "no word of a rule")),
        }
        Ok(())
    }

    pub(super) fn takes(&self, opcode: u8) -> bool {
        self.ops & bit(opcode) != 0
    }
}

/// Reads, receives and sends.
const SHORTENED: [u8; 10] = [1, 4, 9, 10, 22, 26, 27, 47, 48, 60];

fn ops_of(opcodes: &[u8]) -> u64 {
    opcodes.iter().fold(0, |bits, &opcode| bits | bit(opcode))
}

/// What has no row shares the last bit.
fn bit(opcode: u8) -> u64 {
    1 << opcode.min(63)
}

/// What a word says is to be done, if it says that.
fn act(word: &str, key: &str, value: Option<&str>) -> Result<Option<What>, Unclear> {
    Ok(Some(match (key, value) {
        ("errno", Some(name)) => {
            let known = Errno::from_name(name).or_else(|| {
                name.parse().ok().filter(|n| (1..4096).contains(n)).map(Errno::from_raw)
            });
            What::Fail(known.ok_or_else(|| unclear(word, "no errno has that name"))?)
        }
        ("short", None) => What::Short(Share::Dice(0)),
        ("short", bytes) => {
            let bytes = ordinal(bytes, word)?;
            What::Short(Share::Bytes(u32::try_from(bytes).unwrap_or(u32::MAX)))
        }
        ("delay", None) => What::Delay(0),
        ("delay", Some(text)) => What::Delay(time(word, text)?),
        ("worker", None) => What::Worker,
        ("overflow", None) => What::Overflow,
        ("interrupt", None) => What::Interrupt,
        ("lose", None) => What::Lose,
        ("twice", None) => What::Twice,
        _ => return Ok(None),
    }))
}

fn seed<'a>(mut words: impl Iterator<Item = &'a str>, line: &str) -> Result<u64, Unclear> {
    match (words.next(), words.next()) {
        (seed, None) => number(seed, line),
        _ => Err(unclear(line, "one number is wanted")),
    }
}

/// A number that counts from 1.
fn ordinal(text: Option<&str>, word: &str) -> Result<u64, Unclear> {
    number(text, word)
        .and_then(|n| if n > 0 { Ok(n) } else { Err(unclear(word, "it counts from 1")) })
}

fn number<T: core::str::FromStr>(text: Option<&str>, word: &str) -> Result<T, Unclear> {
    text.and_then(|t| t.parse().ok()).ok_or_else(|| unclear(word, "a number is wanted"))
}

/// `5ms`, `300us`, `1s` \[ns\].
fn time(word: &str, text: &str) -> Result<u64, Unclear> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at(digits);
    let unit: u64 = match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ => return Err(unclear(word, "a time is a number and ns, us, ms or s")),
    };
    let count: u64 = number(Some(count), word)?;
    // None at all would be the usual one.
    Ok(count.saturating_mul(unit).clamp(1, 3_600_000_000_000))
}

/// `0.25` in parts of [`WHOLE`], without floating point.
fn chance(word: &str, value: Option<&str>) -> Result<u32, Unclear> {
    const WHY: &str = "p= wants a probability, 0 to 1, of at most six decimals";
    let (whole, rest) = value.map_or(("", ""), |v| v.split_once('.').unwrap_or((v, "")));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(rest) || rest.len() > 6 {
        return Err(unclear(word, WHY));
    }
    let whole: u32 = number(Some(whole), word)?;
    let parts = rest.bytes().chain(core::iter::repeat(b'0')).take(6);
    let parts = parts.fold(0, |n, digit| n * 10 + u32::from(digit - b'0'));
    match whole.checked_mul(WHOLE).and_then(|n| n.checked_add(parts)) {
        Some(n) if n <= WHOLE => Ok(n),
        _ => Err(unclear(word, WHY)),
    }
}

fn ops(word: &str, value: Option<&str>) -> Result<u64, Unclear> {
    let names = value.unwrap_or_default().split(',').filter(|name| !name.is_empty());
    let mut bits = names.map(|name| {
        opcode_by_name(name).map(bit).ok_or_else(|| unclear(word, "no opcode has that name"))
    });
    let all = bits.try_fold(0, |all, bit| bit.map(|bit| all | bit))?;
    if all == 0 { Err(unclear(word, "op= wants names of opcodes")) } else { Ok(all) }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what.word())?;
        match self.what {
            What::Fail(e) => match e.name() {
                Some(name) => write!(f, "={name}")?,
                None => write!(f, "={}", e.raw())?,
            },
            What::Short(Share::Bytes(n)) => write!(f, "={n}")?,
            What::Delay(ns) if ns > 0 => write!(f, "={ns}ns")?,
            _ => {}
        }
        if self.ops != u64::MAX {
            let names = OPDEFS.iter().zip(0u8..).filter(|(_, opcode)| self.takes(*opcode));
            for (i, (def, _)) in names.enumerate() {
                write!(f, "{}{}", if i == 0 { " op=" } else { "," }, def.name)?;
            }
        }
        if let Some(Glob(pattern)) = &self.path {
            write!(f, " path={}", String::from_utf8_lossy(pattern))?;
        }
        if let Some(fd) = self.fd {
            write!(f, " fd={fd}")?;
        }
        if let Some(ring) = self.ring {
            write!(f, " ring={ring}")?;
        }
        if self.selects {
            f.write_str(" selects")?;
        }
        match self.nth {
            Some(n) => write!(f, " nth={n}"),
            None if self.chance == WHOLE => Ok(()),
            None => write!(f, " p={}.{:06}", self.chance / WHOLE, self.chance % WHOLE),
        }
    }
}

impl Glob {
    /// Whether the whole of a name is like the pattern.
    pub fn matches(&self, name: &[u8]) -> bool {
        // The last star, and where it began to match: one that is passed never has to be tried again.
        let (mut at, mut from, mut star) = (0, 0, None);
        while let Some(&byte) = name.get(from) {
            match self.0.get(at) {
                Some(b'*') => {
                    star = Some((at, from));
                    at += 1;
                }
                Some(&want) if want == b'?' || want == byte => {
                    at += 1;
                    from += 1;
                }
                _ => {
                    let Some((back, begun)) = star else { return false };
                    star = Some((back, begun + 1));
                    at = back + 1;
                    from = begun + 1;
                }
            }
        }
        self.0.get(at..).is_some_and(|rest| rest.iter().all(|&b| b == b'*'))
    }
}
