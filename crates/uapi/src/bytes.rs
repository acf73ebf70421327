//! Reading and writing fields of a C structure that was copied as bytes.
//!
//! Offsets are constants of the caller's; one outside the buffer reads as zero and writes nothing,
//! so that no input can panic.

macro_rules! field {
    ($get:ident, $put:ident, $t:ty) => {
        #[doc = concat!("The native-endian `", stringify!($t), "` at byte `off`.")]
        pub fn $get(b: &[u8], off: usize) -> $t {
            b.get(off..off + size_of::<$t>())
                .and_then(|s| s.try_into().ok())
                .map_or(0, <$t>::from_ne_bytes)
        }
        #[doc = concat!("Stores a native-endian `", stringify!($t), "` at byte `off`.")]
        pub fn $put(b: &mut [u8], off: usize, v: $t) {
            if let Some(s) = b.get_mut(off..off + size_of::<$t>()) {
                s.copy_from_slice(&v.to_ne_bytes());
            }
        }
    };
}
field!(u16_at, put_u16, u16);
field!(u32_at, put_u32, u32);
field!(u64_at, put_u64, u64);
field!(i32_at, put_i32, i32);
field!(i64_at, put_i64, i64);

/// Whether every byte of `b` is zero.
pub fn all_zero(b: &[u8]) -> bool {
    b.iter().all(|&x| x == 0)
}
