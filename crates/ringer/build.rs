//! Builds the library that this crate carries; see `crates/preload/build/nested.rs`.

include!("../preload/build/nested.rs");

fn main() {
    build_preload();
}
