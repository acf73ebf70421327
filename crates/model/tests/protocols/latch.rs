//! The application's actions for the signals that ringer lives on.

use ringer_model::{check, spawn};
use ringer_sys::latch::Latch;
use std::sync::Arc;

#[test]
fn a_handler_never_sees_a_half_changed_action() {
    check(|| {
        let latch: Arc<Latch<2>> = Arc::default();
        let theirs = latch.clone();
        let writer = spawn(move || (1..=2).for_each(|n| theirs.set([n, n])));
        let [a, b] = latch.get();
        assert_eq!(a, b, "one word of one action, one of another");
        writer.join().expect("a writer that does not panic");
        assert_eq!(latch.get(), [2, 2]);
    });
}
