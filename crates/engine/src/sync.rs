//! The engine's synchronisation primitives, in one place so that a model checker can replace them.

use crate::host::Host;

/// A mutex over the host's lock. A panic while it is held leaves it locked: the engine's panic
/// strategy is abort.
pub type Mutex<H, T> = lock_api::Mutex<<H as Host>::Lock, T>;
/// What [`Mutex::lock`] returns.
pub type MutexGuard<'a, H, T> = lock_api::MutexGuard<'a, <H as Host>::Lock, T>;

/// A value over the host's shared lock: many look at it at once, who changes it is alone.
pub type Shared<H, T> = lock_api::RwLock<<H as Host>::Shared, T>;
/// What [`Shared`]'s `read` returns.
pub type ReadGuard<'a, H, T> = lock_api::RwLockReadGuard<'a, <H as Host>::Shared, T>;
/// The same of a part of the value.
pub type SharedGuard<'a, H, T> = lock_api::MappedRwLockReadGuard<'a, <H as Host>::Shared, T>;
/// What [`Shared`]'s `write` returns.
pub type SharedMutGuard<'a, H, T> = lock_api::RwLockWriteGuard<'a, <H as Host>::Shared, T>;

/// A new value over a shared lock.
pub const fn shared<R: lock_api::RawRwLock, T>(value: T) -> lock_api::RwLock<R, T> {
    lock_api::RwLock::new(value)
}

/// A new mutex; which lock is inferred from where it goes.
pub const fn mutex<R: lock_api::RawMutex, T>(value: T) -> lock_api::Mutex<R, T> {
    lock_api::Mutex::new(value)
}
