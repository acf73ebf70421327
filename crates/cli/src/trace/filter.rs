//! Which requests of a trace are shown.
//!
//! What this does not do: keep the traced process from writing the others.

use std::collections::HashSet;

use glob::Pattern;

use super::join::{Event, Request};
use crate::cli::TraceArgs;
use crate::refusal::Refusal;

/// Names for several opcodes, as strace(1) has them.
const CLASSES: [(&str, &[u8]); 5] = [
    // Those that take a path, and CLOSE.
    ("%file", &[18, 19, 21, 28, 35, 36, 37, 38, 39, 42, 44]),
    ("%network", &[9, 10, 13, 16, 26, 27, 34, 45, 47, 48, 56, 57, 58]),
    ("%read", &[1, 4, 10, 22, 27, 49, 58, 60]),
    ("%write", &[2, 5, 9, 23, 26, 47, 48, 61]),
    ("%wait", &[6, 7, 11, 12, 15, 50, 51, 52, 53, 59]),
];
/// The name for calls that are no submission.
const CALLS: &str = "%call";

/// See the module's doc.
#[derive(Debug)]
pub(super) struct Filter {
    /// Opcodes; `None`: all.
    only: Option<HashSet<u8>>,
    /// Calls that are no submission.
    calls: bool,
    /// Files; empty: all.
    files: Vec<Which>,
    slow_ns: u64,
    /// What a reader of the trace has to know of it.
    pub(super) said: Option<String>,
}

/// A file.
#[derive(Debug)]
enum Which {
    /// By its descriptor.
    Number(i32),
    /// By its path.
    Path(Pattern),
}

impl Filter {
    /// What the arguments ask for.
    ///
    /// # Errors
    /// 125: no opcode has that name, a pattern is none, a time makes no sense.
    pub(super) fn of(args: &TraceArgs) -> Result<Self, Refusal> {
        let slow = args.slow.unwrap_or(0.0);
        if !slow.is_finite() || slow < 0.0 {
            return Err(Refusal::ours("cannot trace", "--slow wants milliseconds, 0 or more"));
        }
        let (mut only, mut calls) = (HashSet::new(), false);
        let words: Vec<&str> = args.only.iter().flat_map(|list| list.split(',')).collect();
        for word in words.iter().map(|w| w.trim()).filter(|w| !w.is_empty()) {
            match CLASSES.iter().find(|(name, _)| *name == word) {
                _ if word == CALLS => calls = true,
                Some((_, opcodes)) => only.extend(*opcodes),
                None => {
                    only.insert(opcode_of(word)?);
                }
            }
        }
        let chosen = calls || !only.is_empty();
        let files = args.path.iter().map(|p| which(p)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            calls: calls || !chosen && files.is_empty() && args.slow.is_none(),
            only: chosen.then_some(only),
            files,
            slow_ns: (slow * 1e6) as u64,
            said: said(args),
        })
    }

    /// Whether the request is one of those.
    pub(super) fn has(&self, event: &Event<'_>) -> bool {
        let request = event.request;
        let opcode = request.taken.sqe.opcode;
        self.only.as_ref().is_none_or(|only| only.contains(&opcode)) && self.has_file(request)
    }

    fn has_file(&self, request: &Request) -> bool {
        let is = |which: &Which| match which {
            Which::Number(n) => request.taken.number == *n,
            Which::Path(pattern) => {
                let texts = request.points.iter().filter_map(super::bytes::Bytes::text);
                request.file.as_deref().is_some_and(|f| pattern.matches(f))
                    || texts.into_iter().any(|t| pattern.matches(&t))
            }
        };
        self.files.is_empty() || self.files.iter().any(is)
    }

    /// Whether it took long enough.
    pub(super) fn is_slow(&self, event: &Event<'_>) -> bool {
        event.latency_ns().is_none_or(|ns| ns >= self.slow_ns)
    }

    /// Whether calls that are no submission are shown, and completions of no request.
    pub(super) fn has_calls(&self) -> bool {
        self.calls
    }
}

fn said(args: &TraceArgs) -> Option<String> {
    let mut said = Vec::new();
    if !args.only.is_empty() {
        said.push(format!("-e {}", args.only.join(",")));
    }
    said.extend(args.path.iter().map(|p| format!("-p {p}")));
    if let Some(slow) = args.slow {
        said.push(format!("--slow {slow}"));
    }
    (!said.is_empty()).then(|| said.join(" "))
}

fn which(word: &str) -> Result<Which, Refusal> {
    if let Ok(number) = word.parse() {
        return Ok(Which::Number(number));
    }
    Pattern::new(word).map(Which::Path).map_err(|e| {
        Refusal::ours(format!("cannot trace -p {word}"), format!("it is no pattern: {e}"))
            .fix("-p wants a descriptor's number, or a path in which * stands for anything")
    })
}

fn opcode_of(word: &str) -> Result<u8, Refusal> {
    ringer_engine::opcode::opcode_by_name(word).ok_or_else(|| {
        let classes = CLASSES.map(|(name, _)| name).join(", ");
        Refusal::ours(format!("cannot trace {word}"), "no opcode has that name").fix(format!(
            "ringer doctor --support lists them; there are also {classes} and {CALLS}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_the_opcodes_of_their_name() {
        let names = |class: &str| -> Vec<&str> {
            let (_, opcodes) = CLASSES.iter().find(|(name, _)| *name == class).expect("a class");
            let row = |n: &u8| ringer_engine::opcode::opdef(*n).expect("an opcode").name;
            opcodes.iter().map(row).collect()
        };
        let moves = |n: &str, words: [&str; 2]| words.iter().any(|w| n.starts_with(w));
        assert!(names("%read").iter().all(|n| moves(n, ["READ", "RECV"])), "{:?}", names("%read"));
        assert!(
            names("%write").iter().all(|n| moves(n, ["WRITE", "SEND"])),
            "{:?}",
            names("%write")
        );
        for (class, name) in [("%file", "OPENAT2"), ("%network", "LISTEN"), ("%wait", "EPOLL_WAIT")]
        {
            assert!(names(class).contains(&name), "{:?}", names(class));
        }
    }
}
