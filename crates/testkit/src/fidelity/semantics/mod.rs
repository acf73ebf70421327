//! Claims about what requests, rings and registrations mean: sections 3, 4 and 5 of the inventory.
//!
//! One file a family, each with a `CLAIMS` list that is named here. What it does not do: errors of
//! single fields (`errno_order`).

use super::Claim;

/// The families' lists, in the inventory's order.
pub const FAMILIES: &[&[Claim]] = &[];
