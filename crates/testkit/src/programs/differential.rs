//! Reads programs of the differential generator, one a line, runs each, and answers what it saw.

use super::Outcome;
use crate::differential::execute;
use crate::differential::judge::Request;
use crate::os::set_aside;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};

/// How long one program may take before the process is killed \[s\].
const DEADLINE: u32 = 40;

/// Runs programs until there are no more.
pub fn executor(_: &str) -> Outcome {
    // Programs name 0 and 1, and would read the next request, or answer for it.
    let requests = File::from(set_aside(0).map_err(|e| format!("{e:?}"))?);
    let mut out = File::from(set_aside(1).map_err(|e| format!("{e:?}"))?);
    for line in BufReader::new(requests).lines() {
        let line = line.map_err(|e| e.to_string())?;
        let request: Request = serde_json::from_str(&line).map_err(|e| e.to_string())?;
        crate::os::deadline(DEADLINE);
        let saw = execute::run(&request);
        let answer = serde_json::to_string(&saw).map_err(|e| e.to_string())?;
        writeln!(out, "{answer}").and_then(|()| out.flush()).map_err(|e| e.to_string())?;
        crate::os::deadline(0);
    }
    Ok(())
}
