//! Where functions begin, by the unwinding table of the object they are in.
//!
//! ```text
//!  .eh_frame_hdr: version, encodings | eh_frame | n | (start, entry) x n, sorted by start
//! ```
//! The sorted table is what every C++ or Rust exception and every `backtrace` of this object goes by
//! (LSB core, section 10.6.2). Compilers write an entry for each function, C included, on x86-64.
//!
//! What it does not do: trust it. The object may be gone and something else in its place: everything
//! is read with the fault fixup, and who asks checks what it found.

use crate::scan::Range;
use ringer_sys::usermem;

/// Version 1; eh_frame as a 4-byte distance from here; a 4-byte count; 4-byte distances from the
/// table's start.
const HEADER: u32 = 0x3b03_1b01;
/// Offset of the count \[bytes\].
const COUNT: u64 = 8;
/// Offset of the first entry \[bytes\].
const ENTRIES: u64 = 12;
/// Length of an entry \[bytes\].
const ENTRY: u64 = 8;

/// The start of the function that `addr` is in, or of the last one before it, and that of the next one;
/// `None` without such a table at `table`.
pub(crate) fn function(table: Range, addr: u64) -> Option<(u64, Option<u64>)> {
    let word = |at: u64| usermem::load32(table.lo.checked_add(at)?).ok();
    let room = table.hi.checked_sub(table.lo)?.checked_sub(ENTRIES)? / ENTRY;
    if word(0)? != HEADER {
        return None;
    }
    let n = u64::from(word(COUNT)?).min(room);
    let start = |i: u64| {
        Some(table.lo.wrapping_add_signed(word(ENTRIES + i * ENTRY)?.cast_signed().into()))
    };
    let (mut lo, mut hi) = (0, n);
    while lo < hi {
        let mid = lo.midpoint(hi);
        if start(mid)? <= addr { lo = mid + 1 } else { hi = mid }
    }
    Some((start(lo.checked_sub(1)?)?, if lo < n { start(lo) } else { None }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn table(starts: &[i32]) -> (Vec<u32>, Range) {
        let mut words = std::vec![HEADER, 0, starts.len() as u32];
        words.extend(starts.iter().flat_map(|&s| [s.cast_unsigned(), 0]));
        let lo = words.as_ptr() as u64;
        let range = Range { lo, hi: lo + 4 * words.len() as u64 };
        (words, range)
    }

    #[test]
    fn the_last_start_not_behind_an_address_is_found() {
        let (_words, t) = table(&[-900, -500, 0x2000, 0x2100]);
        let from_table = |at: u64| at.wrapping_sub(t.lo).cast_signed();
        let find = |at: i64| {
            let (start, next) = function(t, t.lo.wrapping_add_signed(at))?;
            Some((from_table(start), next.map(from_table)))
        };
        assert_eq!(find(-901), None);
        assert_eq!(find(-900), Some((-900, Some(-500))));
        assert_eq!(find(-501), Some((-900, Some(-500))));
        assert_eq!(find(0x20ff), Some((0x2000, Some(0x2100))));
        assert_eq!(find(0x9_0000), Some((0x2100, None)));
    }

    #[test]
    fn what_is_no_such_table_is_none() {
        let (mut words, t) = table(&[0]);
        assert_eq!(function(Range { hi: t.lo + 11, ..t }, t.lo), None);
        assert_eq!(function(Range { lo: 8, hi: 4096 }, 100), None);
        words[0] ^= 1;
        assert_eq!(function(t, t.lo + 8), None);
    }

    #[test]
    fn a_count_beyond_the_table_is_cut() {
        let (mut words, t) = table(&[0, 8]);
        words[2] = u32::MAX;
        assert_eq!(function(t, t.lo + 100), Some((t.lo + 8, None)));
    }
}
