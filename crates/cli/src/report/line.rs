//! A line of `ringer trace --json`, as far as the report looks at it.
//!
//! The file may come from anywhere: what is not as it should be makes a line malformed, never a panic.
//! What this does not do: add up.

use serde::Deserialize;
use serde_json::{Map, Value};

/// Longest line that is looked at \[bytes\].
pub(super) const LEN_MAX: u64 = 1 << 20;
/// Latest time that makes sense \[s\]: ten years.
const TIME_MAX: f64 = 3.2e8;

/// A line that says what kind it is.
#[derive(Debug, Deserialize)]
struct Kind {
    event: String,
}

/// A completion, or a request that was in flight at the end.
#[derive(Debug, Deserialize)]
pub(super) struct Told {
    /// `request`: the first that is told of it; `cqe`: more.
    pub(super) event: String,
    /// Which process of the trace; the same number of the system may come twice.
    #[serde(default)]
    pub(super) process: u64,
    pub(super) pid: u64,
    pub(super) ring: u64,
    pub(super) id: u64,
    pub(super) op: String,
    /// \[s\]
    pub(super) submitted: f64,
    pub(super) fd: Option<i64>,
    #[serde(default)]
    pub(super) fixed: bool,
    pub(super) file: Option<String>,
    pub(super) args: Option<Map<String, Value>>,
    pub(super) points_to: Option<Map<String, Value>>,
    pub(super) state: String,
    #[serde(default)]
    pub(super) shot: u64,
    /// \[s\]
    pub(super) time: Option<f64>,
    pub(super) latency_ns: Option<u64>,
    pub(super) res: Option<i64>,
    pub(super) error: Option<String>,
    pub(super) how: Option<String>,
    #[serde(default)]
    pub(super) overflow: bool,
}

impl Told {
    /// When it was submitted \[ns\].
    pub(super) fn submitted_ns(&self) -> u64 {
        (self.submitted * 1e9) as u64
    }

    /// When it completed \[ns\].
    pub(super) fn ended_ns(&self) -> Option<u64> {
        self.time.map(|t| (t * 1e9) as u64)
    }

    fn makes_sense(&self) -> bool {
        let times = [Some(self.submitted), self.time];
        let all = times.into_iter().flatten().all(|t| (0.0..TIME_MAX).contains(&t));
        let long = [Some(&self.op), self.error.as_ref(), self.how.as_ref()];
        all && long.into_iter().flatten().all(|t| t.len() <= 64)
    }
}

/// A call that is no submission.
#[derive(Debug, Deserialize)]
pub(super) struct Call {
    pub(super) call: String,
    #[serde(default)]
    pub(super) args: Map<String, Value>,
    pub(super) error: Option<String>,
}

impl Call {
    /// Its name, with the operation if it has one.
    pub(super) fn name(&self) -> String {
        let op = self.args.get("op").and_then(Value::as_str);
        op.map_or_else(|| self.call.clone(), |op| format!("{} {op}", self.call))
    }
}

/// The last line.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct End {
    #[serde(default)]
    pub(super) program: Vec<String>,
    pub(super) filter: Option<String>,
    #[serde(default)]
    pub(super) lost_requests: u64,
    #[serde(default)]
    pub(super) lost_completions: u64,
    #[serde(default)]
    pub(super) lost_others: u64,
    #[serde(default)]
    pub(super) torn: u64,
    #[serde(default)]
    pub(super) strays: u64,
}

/// What a line is.
#[derive(Debug)]
pub(super) enum Line {
    /// A completion.
    Told(Box<Told>),
    /// A call.
    Call(Call),
    /// A completion of no request.
    Alone,
    /// The end.
    End(End),
    /// Something that the report says nothing of.
    Other,
    /// Nothing that a trace has.
    Malformed,
}

/// Reads one.
pub(super) fn line(bytes: &[u8]) -> Line {
    let Ok(kind) = serde_json::from_slice::<Kind>(bytes) else { return Line::Malformed };
    match kind.event.as_str() {
        "request" | "cqe" => match serde_json::from_slice::<Told>(bytes) {
            Ok(told) if told.makes_sense() => Line::Told(Box::new(told)),
            _ => Line::Malformed,
        },
        "call" => match serde_json::from_slice::<Call>(bytes) {
            Ok(call) if call.name().len() <= 128 => Line::Call(call),
            _ => Line::Malformed,
        },
        "alone" => Line::Alone,
        "end" => serde_json::from_slice(bytes).map_or(Line::Malformed, Line::End),
        _ => Line::Other,
    }
}
