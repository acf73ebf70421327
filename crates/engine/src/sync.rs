//! The engine's synchronisation primitives, in one place so that a model checker can replace them.

use crate::host::Host;

/// A mutex over the host's lock. A panic while it is held leaves it locked: the engine's panic
/// strategy is abort.
pub type Mutex<H, T> = lock_api::Mutex<<H as Host>::Lock, T>;
/// What [`Mutex::lock`] returns.
pub type MutexGuard<'a, H, T> = lock_api::MutexGuard<'a, <H as Host>::Lock, T>;

/// A new mutex; which lock is inferred from where it goes.
pub const fn mutex<R: lock_api::RawMutex, T>(value: T) -> lock_api::Mutex<R, T> {
    lock_api::Mutex::new(value)
}
