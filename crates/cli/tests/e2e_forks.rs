//! Rings that a process and its children have, where the kernel's own is no measure.
//!
//! What holds on the kernel's ring as well is a claim of the matrix (`fidelity::semantics::forks`).

mod support;

use support::blocked;

#[test]
fn what_a_killed_process_owes_comes_once() {
    blocked(&["soak-kin", "24"], &[]);
}
