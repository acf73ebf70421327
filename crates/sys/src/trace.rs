//! Where a trace of this process goes: its buffer, the clock, what descriptors are called, and data.
//!
//! ```text
//!  request -> number looked up lately? --no--> readlink /proc/thread-self/fd/N -> Name record
//!          -> Taken record                     close(2), dup2(2), ... by libc: not lately
//! ```
//! Names are found here and not by the reader, who comes when the program may have closed the file,
//! put another at its number, or gone. A look costs a microsecond, so one is good for 16 ms, unless the
//! number is seen to be closed: only a program that makes those calls by instructions of its own can
//! be told of under the old name, and for no longer. What this does not do: make the buffer
//! (`intercept::trace`).

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64};

use ringer_engine::host::Clock;
use ringer_engine::trace::buffer::{Buffer, NAME_MAX, TakenRecord};
use ringer_engine::trace::{Called, Injected, Taken, Told};

use crate::{clock, io, net, raw, thread};

mod data;
pub(crate) mod whole;

pub use whole::Level;

/// Numbers whose last look is remembered; those that are equal modulo this share a place.
const PLACES: usize = 1024;
/// For how long a name is good \[2^20 ns\].
const GOOD_FOR: u64 = 16;
/// Bits of a place that hold the time.
const TIME_BITS: u32 = 32;

/// A sleep without room \[ns\], and how many of them one writer takes: ten seconds.
const PAUSE_NS: u64 = 100_000;
const PAUSES_MAX: u32 = 100_000;

static BUFFER: AtomicPtr<Buffer> = AtomicPtr::new(core::ptr::null_mut());
/// Number + 1 and time of the last look at it, 0 for none.
static LOOKS: [AtomicU64; PLACES] = [const { AtomicU64::new(0) }; PLACES];

/// Whether requests are traced, and not only what a policy does to them.
static REQUESTS: AtomicBool = AtomicBool::new(true);

/// Has only acts of a policy written, and no requests.
pub fn leave_requests_out() {
    REQUESTS.store(false, Relaxed);
}

/// Says where the requests of engines that are made from now on go; `None`: nowhere.
pub fn set_buffer(buffer: Option<&'static Buffer>) {
    // Who never traced has touched none of it.
    if buffer.is_some() || self::buffer().is_some() {
        forget_all();
        data::forget();
    }
    let at = buffer.map_or(core::ptr::null_mut(), |b| core::ptr::from_ref(b).cast_mut());
    // Release: pairs with the Acquire in `buffer`.
    BUFFER.store(at, Release);
}

/// The same for one buffer at a time. False: there is one.
pub fn try_set_buffer(buffer: &'static Buffer) -> bool {
    if self::buffer().is_some() {
        return false;
    }
    forget_all();
    data::forget();
    let at = core::ptr::from_ref(buffer).cast_mut();
    // AcqRel: as in `set_buffer`, and what was there before is seen.
    BUFFER.compare_exchange(core::ptr::null_mut(), at, AcqRel, Acquire).is_ok()
}

/// Says how many bytes are kept of what requests read and write (0: none is looked at), and whether only
/// how many there are is.
pub fn keep_data(limit: u32, hidden: bool) {
    data::configure(limit, hidden);
}

/// Says that all bytes are told, and waited for room with: see [`Level`].
pub fn keep_all(level: Level) {
    whole::configure(level);
}

/// What a writer does that finds no room and may lose nothing; false: nobody reads any more.
pub fn pause(nth: u32) -> bool {
    static NOBODY: AtomicBool = AtomicBool::new(false);
    if nth >= PAUSES_MAX {
        NOBODY.store(true, Relaxed);
    }
    if NOBODY.load(Relaxed) {
        return false;
    }
    // Nobody wakes it: it is a sleep.
    let _ = raw::futex_wait(&AtomicU32::new(0), 0, Some(PAUSE_NS));
    true
}

#[inline]
fn buffer() -> Option<&'static Buffer> {
    // SAFETY: only `set_buffer` stores here, and it stores null or a `&'static Buffer`.
    unsafe { BUFFER.load(Acquire).as_ref() }
}

pub(crate) fn is_on() -> bool {
    REQUESTS.load(Relaxed) && buffer().is_some()
}

pub(crate) fn taken(t: &Taken<'_>) -> u64 {
    let Some(buffer) = buffer() else { return 0 };
    let time_ns = clock::now(Clock::Monotonic);
    if let Some(number) = t.number {
        name(buffer, number, time_ns);
    }
    let name = buffer.taken(&TakenRecord {
        time_ns,
        ring: t.ring,
        tid: thread::tid(),
        number: t.number.unwrap_or(-1),
        linked: t.linked,
        seen: t.seen,
        sqe: *t.sqe,
    });
    if name != 0 && whole::is_on() {
        whole::taken(buffer, name, t.sqe);
    } else if name != 0 {
        data::taken(buffer, name, t.sqe);
    }
    name
}

pub(crate) fn told(t: &Told) {
    if let Some(buffer) = buffer() {
        if whole::is_on() {
            whole::told(buffer, t);
        } else {
            data::told(buffer, t);
        }
        buffer.told(clock::now(Clock::Monotonic), t);
    }
}

pub(crate) fn injected(i: &Injected) {
    if let Some(buffer) = buffer() {
        let time_ns = clock::now(Clock::Monotonic);
        if let Some(number) = i.number {
            name(buffer, number, time_ns);
        }
        buffer.injected(time_ns, i);
    }
}

pub(crate) fn called(c: &Called) {
    if let Some(buffer) = buffer() {
        buffer.called(clock::now(Clock::Monotonic), thread::tid(), c);
    }
}

/// The number is closed, or something else is put there.
pub(crate) fn closed(number: i32) {
    if buffer().is_some() {
        place(number).store(0, Relaxed);
    }
}

/// Many numbers are closed.
pub(crate) fn closed_range() {
    if buffer().is_some() {
        forget_all();
    }
}

fn forget_all() {
    for place in &LOOKS {
        place.store(0, Relaxed);
    }
}

fn place(number: i32) -> &'static AtomicU64 {
    &LOOKS[number.cast_unsigned() as usize % PLACES]
}

fn name(buffer: &Buffer, number: i32, time_ns: u64) {
    let now = (time_ns >> 20) & ((1 << TIME_BITS) - 1);
    let (place, whose) = (place(number), u64::from(number.cast_unsigned()) + 1);
    let last = place.load(Relaxed);
    if last >> TIME_BITS == whose && now.wrapping_sub(last & ((1 << TIME_BITS) - 1)) < GOOD_FOR {
        return;
    }
    // Noted before the look: a close in between is not forgotten.
    place.store(whose << TIME_BITS | now, Relaxed);
    // One byte more than is kept shows that there is more.
    let mut text = [0; NAME_MAX + 1];
    let mut len = io::name_of(number, &mut text).unwrap_or(0);
    if text.starts_with(b"socket:[") {
        len += net::ends_of(number, text.get_mut(len..).unwrap_or(&mut []));
    }
    buffer.name(number, text.get(..len).unwrap_or(&[]));
}
