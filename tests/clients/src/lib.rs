//! What the client programs share: generated content and its checksum.

use sha2::{Digest as _, Sha256};
use std::path::Path;

/// Bytes that repeat nowhere near a page or block size.
pub fn content(len: usize) -> Vec<u8> {
    let mut x = 0x2545_f491_4f6c_dd1du64;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 32) as u8
        })
        .collect()
}

/// SHA-256 in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Asserts that two files hold the same bytes and answers their checksum.
///
/// # Panics
/// When they differ or cannot be read.
pub fn same(a: &Path, b: &Path) -> String {
    let [a, b] = [a, b].map(|p| digest(&std::fs::read(p).expect("read")));
    assert_eq!(a, b, "the copy differs");
    a
}
