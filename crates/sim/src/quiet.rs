//! Panics that somebody catches and tells: kept out of the output, and read.

use std::any::Any;
use std::cell::Cell;
use std::sync::Once;

thread_local! {
    /// Panics of this thread are somebody's business who tells of them otherwise.
    static HUSHED: Cell<bool> = const { Cell::new(false) };
}

/// Whether panics of the calling thread are kept quiet.
pub(crate) fn is_hushed() -> bool {
    HUSHED.get()
}

/// Keeps panics of the calling thread, and of the tasks it starts, quiet or not.
pub(crate) fn hush(quiet: bool) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !is_hushed() {
                before(info);
            }
        }));
    });
    HUSHED.set(quiet);
}

/// What a panic says.
pub(crate) fn text(why: &(dyn Any + Send)) -> String {
    match (why.downcast_ref::<&str>(), why.downcast_ref::<String>()) {
        (Some(s), _) => (*s).to_owned(),
        (_, Some(s)) => s.clone(),
        _ => "?".to_owned(),
    }
}
