//! The model checker's atomics, and a futex over them.
//!
//! ```text
//!   sleeper                                  waker
//!   waiting += 1                             (changed the word before)
//!   full barrier                             full barrier
//!   bucket lock                              waiting == 0: nobody to wake
//!   word as expected? queue, sleep           bucket lock: take up to n off the queue
//! ```
//!
//! as in the kernel (6.18 kernel/futex/core.c, "the waiter invokes futex_wait()"), so that a program
//! that relies on more than this futex gives fails its model. What it does not do: time out by itself
//! (time is the test's), or fail with `EINTR`.

use core::ops::Deref;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use loom::sync::{Condvar, Mutex};
use ringer_uapi::Errno;
use rust_alloc::collections::VecDeque;
use rust_alloc::sync::Arc;
use rust_alloc::vec::Vec;
use std::cell::RefCell;
use std::sync::OnceLock;

use crate::raw::SysResult;

/// A pair of fences of which one costs nothing is, to a model, a pair of fences.
pub fn light_fence() {
    fence(SeqCst);
}

/// See [`light_fence`].
pub fn heavy_fence() {
    fence(SeqCst);
}

pub use loom::hint::spin_loop;
pub use loom::sync::atomic::fence;
pub use loom::thread::yield_now as step_aside;

/// How many of a kind one execution of a model can use.
const STOCK: usize = 24;

/// A model checker's atomic that a constant can hold. It comes out of a stock that is made when the
/// model begins ([`reset`]), because the checker counts the making of an atomic as an access, which
/// must come before any thread's.
macro_rules! lazy_atomic {
    ($name:ident, $value:ty, $stock:ident) => {
        std::thread_local! {
            static $stock: RefCell<Vec<loom::sync::atomic::$name>> = const { RefCell::new(Vec::new()) };
        }

        /// As `core`'s; see the module's doc.
        #[derive(Debug, Default)]
        pub struct $name(OnceLock<loom::sync::atomic::$name>);

        impl $name {
            /// As `core`'s, of a zero.
            pub const fn new(zero: $value) -> Self {
                assert!(zero as u32 == 0, "the stock holds zeroes");
                Self(OnceLock::new())
            }

            fn stock(n: usize) {
                let new = || loom::sync::atomic::$name::new(<$value>::default());
                $stock.set((0..n).map(|_| new()).collect());
            }
        }

        impl Deref for $name {
            type Target = loom::sync::atomic::$name;

            fn deref(&self) -> &Self::Target {
                self.0.get_or_init(|| $stock.with_borrow_mut(Vec::pop).expect("enough in stock"))
            }
        }
    };
}

lazy_atomic!(AtomicU32, u32, WORDS);
lazy_atomic!(AtomicU64, u64, DOUBLES);
lazy_atomic!(AtomicBool, bool, FLAGS);

/// A word of memory that was not made as an atomic.
pub type Word64 = loom::sync::atomic::AtomicU64;

#[derive(Debug, Default)]
struct Bucket {
    queue: VecDeque<u64>,
    next: u64,
}

#[derive(Debug)]
struct Sleepers {
    waiting: AtomicU32,
    bucket: Mutex<Bucket>,
    woken: Condvar,
}

impl Sleepers {
    fn new() -> Self {
        Self {
            waiting: AtomicU32::new(0),
            bucket: Mutex::new(Bucket::default()),
            woken: Condvar::new(),
        }
    }
}

/// The futexes of one execution of a model, by the address of the word.
#[derive(Debug, Default)]
pub struct Futexes {
    // A lock of std: no thread of the model runs while it is held. In the order of first use, which
    // is the same whenever an execution is repeated; that of addresses is not.
    by_address: std::sync::Mutex<Vec<(usize, Arc<Sleepers>)>>,
}

impl Futexes {
    fn of(&self, word: &loom::sync::atomic::AtomicU32) -> Arc<Sleepers> {
        let mut all = self.by_address.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let at = core::ptr::from_ref(word) as usize;
        // Where nobody sleeps or wakes, the word may be gone and the address another one's: whether it is
        // depends on the allocator, and an execution must not.
        all.retain(|(_, s)| Arc::strong_count(s) > 1);
        if let Some((_, s)) = all.iter().find(|(address, _)| *address == at) {
            return s.clone();
        }
        let s = Arc::new(Sleepers::new());
        all.push((at, s.clone()));
        s
    }

    /// Sleeps while `*word == expected`, or until `given_up` says so after a wake.
    ///
    /// # Errors
    /// `EAGAIN`: the word differs. `ETIMEDOUT`: given up.
    pub fn wait(
        &self,
        word: &loom::sync::atomic::AtomicU32,
        expected: u32,
        given_up: impl Fn() -> bool,
    ) -> SysResult<()> {
        let s = self.of(word);
        s.waiting.fetch_add(1, Relaxed);
        fence(SeqCst);
        let mut b = s.bucket.lock().map_err(|_| Errno::EAGAIN)?;
        let mut result = Ok(());
        if word.load(Relaxed) == expected {
            let me = b.next;
            b.next += 1;
            b.queue.push_back(me);
            while b.queue.contains(&me) {
                if given_up() {
                    b.queue.retain(|t| *t != me);
                    result = Err(Errno::ETIMEDOUT);
                    break;
                }
                b = s.woken.wait(b).map_err(|_| Errno::EAGAIN)?;
            }
        } else {
            result = Err(Errno::EAGAIN);
        }
        drop(b);
        s.waiting.fetch_sub(1, Relaxed);
        result
    }

    /// Wakes up to `n` sleepers on the word.
    pub fn wake(&self, word: &loom::sync::atomic::AtomicU32, n: u32) {
        let s = self.of(word);
        fence(SeqCst);
        if s.waiting.load(Relaxed) == 0 {
            return;
        }
        let Ok(mut b) = s.bucket.lock() else { return };
        let n = b.queue.len().min(n as usize);
        b.queue.drain(..n);
        drop(b);
        s.woken.notify_all();
    }

    /// Makes every sleeper ask whether it has given up.
    pub fn shake(&self) {
        let all = self.by_address.lock().map(|m| m.clone()).unwrap_or_default();
        for (_, s) in all {
            drop(s.bucket.lock());
            s.woken.notify_all();
        }
    }
}

std::thread_local! {
    // The threads of a model are coroutines of one thread.
    static FUTEXES: RefCell<Arc<Futexes>> = RefCell::default();
}

/// To be called first in every execution of a model.
pub fn reset() {
    FUTEXES.take();
    AtomicU32::stock(STOCK);
    AtomicU64::stock(4);
    AtomicBool::stock(STOCK);
}

/// As futex(2) `FUTEX_WAIT`.
///
/// # Errors
/// `EAGAIN`: the word differs.
pub fn futex_wait(word: &AtomicU32, expected: u32, _timeout_ns: Option<u64>) -> SysResult<()> {
    let futexes = FUTEXES.with_borrow(Arc::clone);
    futexes.wait(word, expected, || false)
}

/// As futex(2) `FUTEX_WAKE`.
pub fn futex_wake(word: &AtomicU32, n: u32) {
    let futexes = FUTEXES.with_borrow(Arc::clone);
    futexes.wake(word, n);
}

loom::thread_local! {
    static TID: core::cell::Cell<u32> = core::cell::Cell::new(0);
}
static NEXT_TID: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(1);

/// The calling thread of the model, never 0.
pub fn tid() -> u32 {
    TID.with(|tid| {
        if tid.get() == 0 {
            tid.set(NEXT_TID.fetch_add(1, Relaxed));
        }
        tid.get()
    })
}
