//! Builds the preload library that this binary carries; see `crates/preload/build/nested.rs`.

include!("../preload/build/nested.rs");

fn main() {
    build_preload();
}
