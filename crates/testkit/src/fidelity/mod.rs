//! The fidelity matrix: every observed line of the ABI inventory as a claim that can be run.
//!
//! ```text
//!   errno_order/*, semantics/*   const CLAIMS: &[Claim]     one list a family
//!        \______________________ all() ______________/
//!                                  | runner: one forked child a claim, a deadline each
//!                                  v
//!   name TAB pass|fail|skip|open TAB why        report: counts, docs/fidelity.md
//! ```
//! A claim asserts what 6.18 does and knows nothing of ringer: it must hold on the kernel's ring.
//! What ringer does not do yet is named in [`open`], and a claim that needs it is open there. A claim
//! that is open and holds is a failure, so the list can not go stale. `cargo xtask fidelity` runs
//! the matrix. What it does not do: random programs (`random`), measurements.

pub mod errno_order;
pub mod open;
pub mod report;
pub mod runner;
pub mod semantics;

pub use crate::programs::Outcome;
pub use runner::main;

/// One line of the spec as an executable claim.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// `a_hardlink_survives_a_failed_head`: unique, snake case, a sentence.
    pub name: &'static str,
    /// Section of the ABI inventory, "3.6".
    pub section: &'static str,
    /// What the kernel does, in one sentence.
    pub says: &'static str,
    /// Opcodes, register operations or flags (ABI names, see [`open`]) without which it can not
    /// hold: the claim is open on ringer while one of them is listed there.
    pub needs: &'static [&'static str],
    /// `Err(why)` when it does not hold, `Err("skip: why")` when this host can not show it.
    pub run: fn() -> Outcome,
}

/// All claims, family by family.
pub fn all() -> impl Iterator<Item = &'static Claim> {
    errno_order::FAMILIES.iter().chain(semantics::FAMILIES).flat_map(|family| family.iter())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_claim_has_a_name_of_its_own_and_a_sentence() {
        let mut seen = HashSet::new();
        for c in all() {
            assert!(seen.insert(c.name), "{} twice", c.name);
            let snake = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
            assert!(c.name.bytes().all(snake), "{} is not in snake case", c.name);
            assert!(c.section.starts_with(|d: char| d.is_ascii_digit()), "{}", c.name);
            assert!(c.says.ends_with('.') && !c.says.contains(['|', '\n']), "{}: says", c.name);
        }
    }

    #[test]
    fn every_section_of_the_inventory_has_a_claim() {
        let sub = |major: u32, last: u32| (1..=last).map(move |minor| format!("{major}.{minor}"));
        let sections = sub(2, 7).chain(sub(3, 29)).chain(sub(5, 2));
        for section in sections.chain(["1.0", "1.1", "4"].map(str::to_owned)) {
            assert!(all().any(|c| c.section == section), "no claim of section {section}");
        }
    }
}
