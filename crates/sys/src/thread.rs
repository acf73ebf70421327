//! Threads that libc does not know, and the record that every thread has.
//!
//! ```text
//!  one mapping for each thread of ours, reused after its end:
//!  | guard | stack ........ entry, arg | room | record ... |fs:0 self ... | Slot |
//!                                             <- tpoff ---->              ctid: 0 = gone
//! ```
//!
//! A thread is made by clone(2) with the creator's identity, all signals blocked but SIGSYS,
//! SIGSEGV and SIGBUS. The kernel clears `ctid` when the thread has left its stack for good: only
//! then is the mapping reused. The record lies at the same offset from the thread pointer
//! everywhere (initial-exec TLS), so that it works in libc's threads and in ours.
//!
//! A program that links this crate as a library and lets it make threads needs
//! `#[global_allocator] = alloc::Alloc`: libc's malloc must not run on these threads.
//! What it does not do: join at exit (exit_group ends them), scheduling, thread-locals of libc.

use core::fmt::Write;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64};
use rust_alloc::boxed::Box;
use rust_alloc::vec::Vec;

use ringer_engine::host::HostThread;
use ringer_uapi::Errno;

use crate::arch::{self, Ucontext};
use crate::lock::ForkMutex;
use crate::raw::{self, PAGE, SysResult, general as g};
use crate::{generation, signals};

/// Usable stack \[bytes\]; pages are committed as they are touched.
const STACK: usize = 256 * 1024;
/// Room above the thread pointer for what the TLS ABI keeps there (self pointers) \[bytes\].
const TCB: usize = 1024;
/// Room below the thread pointer for other libraries' initial-exec TLS, in case something of
/// libc's is called by mistake: it finds zeros of its own instead of our stack \[bytes\].
const TLS_ROOM_MIN: usize = 4096;
/// Mappings of ended threads kept for reuse; more are unmapped.
const IDLE_MAX: usize = 4;
/// `ctid` between claiming a slot and clone's return.
const STARTING: u32 = u32::MAX;

/// What ringer keeps for every thread of the process. Zero in a thread that is new to us.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct ThreadRecord {
    /// Not 0: the blocking call this thread is in, or makes next, answers `EINTR`.
    pub interrupt: AtomicU32,
    /// How deep this thread is inside the engine (a signal handler may come in a second time).
    pub depth: AtomicU32,
    tid: AtomicU32,
    generation: AtomicU32,
    ours: AtomicU32,
    /// In a thread of ours: the application's thread that it works for.
    owner: AtomicU32,
    /// What the engine keeps for it in this generation.
    word: AtomicU64,
    /// The identity last computed, and what for: `identity.rs`.
    pub(crate) identity_epoch: AtomicU64,
    pub(crate) identity_ids: AtomicU64,
    pub(crate) identity: AtomicU64,
    /// The identity it was given for good, 0: none.
    pub(crate) identity_given: AtomicU64,
    /// Free for the interception layer (an engine stack, a saved mask, ...).
    pub scratch: [AtomicU64; 4],
}
const _: () = assert!(size_of::<ThreadRecord>() <= 128 && align_of::<ThreadRecord>() == 64);

/// The calling thread's record. Not `Send`-proof by type: keep it for the calling thread only.
#[inline(always)]
pub fn record() -> &'static ThreadRecord {
    let at: *const ThreadRecord = arch::thread_record().cast();
    // SAFETY:
    // 1. `arch` reserves 128 bytes, 64-aligned, for every thread: by the loader for libc's, by
    //    `Slot` for ours; zero is valid and all fields are atomics.
    // 2. It lives as long as its thread, and the reference stays with the calling thread.
    unsafe { &*at }
}

/// The calling thread's id; one load after the first time in a thread and process.
#[inline]
pub fn tid() -> u32 {
    let r = record();
    let generation = generation::current();
    if r.generation.load(Relaxed) == generation {
        return r.tid.load(Relaxed);
    }
    let tid = raw::gettid();
    r.tid.store(tid, Relaxed);
    r.word.store(0, Relaxed);
    r.generation.store(generation, Relaxed);
    tid
}

/// Whether that thread of this process has not exited.
pub fn is_alive(tid: u32) -> bool {
    // Signal 0: only whether there is somebody.
    raw::tgkill(raw::getpid(), tid, 0) != Err(Errno::ESRCH)
}

/// The calling thread's word: 0 in a new thread, and in that of a forked child.
#[inline]
pub fn word() -> u64 {
    tid();
    record().word.load(Relaxed)
}

/// What to call in a thread that gets a word, so that its end is told.
static ON_WORD: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Sets what is called, in the thread itself, when its word is set.
pub fn on_word(watch: fn()) {
    // Release: what `watch` needs was made before.
    ON_WORD.store(watch as *mut (), Release);
}

/// Sets the calling thread's word.
pub fn set_word(word: u64) {
    tid();
    record().word.store(word, Relaxed);
    // Acquire: pairs with the Release in `on_word`.
    let watch = ON_WORD.load(Acquire);
    if !watch.is_null() {
        // SAFETY: only `on_word` stores here, and it stores a `fn()`.
        let watch = unsafe { core::mem::transmute::<*mut (), fn()>(watch) };
        watch();
    }
}

/// Whether the calling thread is one of ours.
pub fn is_ours() -> bool {
    record().ours.load(Relaxed) != 0
}

/// The application's thread that the calling one works for: itself, if it is the application's.
fn owner() -> u32 {
    if is_ours() { record().owner.load(Relaxed) } else { tid() }
}

/// Makes a call that [`HostThread::interrupt`] can end: `EINTR` then, and nothing was done.
///
/// # Safety
/// As for [`raw::syscall6`].
#[inline(always)]
pub unsafe fn interruptible(nr: u32, args: [usize; 6]) -> isize {
    // SAFETY: the caller's promise; the flag is the calling thread's own.
    unsafe { arch::interruptible(nr, args, record().interrupt.as_ptr()) }
}

/// For the SIGSYS handler, in a thread of ours: if the interrupted code was about to make an
/// interruptible call (or the kernel to restart one), it leaves with `EINTR` instead.
pub fn interrupt_fixup(context: &mut Ucontext) {
    if record().interrupt.load(SeqCst) != 0
        && let Some(ip) = arch::interrupted_ip(context.rip)
    {
        context.rip = ip;
    }
}

/// For who sleeps without a limit.
const A_DAY_NS: u64 = 86_400_000_000_000;

/// Sleeps while `*word == expected`. Always with a timeout, because a futex wait without one is
/// restarted unseen after a handler with `SA_RESTART`.
///
/// # Errors
/// `EAGAIN`: the word differs. `EINTR`. `ETIMEDOUT`, never without a limit.
pub fn park(word: &AtomicU32, expected: u32, timeout_ns: Option<u64>) -> SysResult<()> {
    let _asleep = Asleep::new();
    match raw::futex_wait(word, expected, Some(timeout_ns.unwrap_or(A_DAY_NS))) {
        // To the caller a wake-up without cause.
        Err(Errno::ETIMEDOUT) if timeout_ns.is_none() => Ok(()),
        other => other,
    }
}

/// The same on a word that other processes have, too.
///
/// # Errors
/// As [`park`].
pub fn park_among(word: &AtomicU32, expected: u32, timeout_ns: Option<u64>) -> SysResult<()> {
    let _asleep = Asleep::new();
    match raw::futex_wait_among(word, expected, Some(timeout_ns.unwrap_or(A_DAY_NS))) {
        Err(Errno::ETIMEDOUT) if timeout_ns.is_none() => Ok(()),
        other => other,
    }
}

/// While it lives, the calling thread waits and holds nothing of the engine: a signal handler that
/// runs on it may call in ([`ThreadRecord::depth`] reads 0).
#[derive(Debug)]
pub struct Asleep {
    depth: u32,
}

impl Asleep {
    /// The thread goes to sleep.
    #[allow(clippy::new_without_default, reason = "it is an event, not a value")]
    pub fn new() -> Self {
        Self { depth: record().depth.swap(0, Relaxed) }
    }
}

impl Drop for Asleep {
    fn drop(&mut self) {
        record().depth.store(self.depth, Relaxed);
    }
}

/// A thread's name, at most 15 bytes and a NUL.
#[derive(Clone, Copy, Debug, Default)]
pub struct Name([u8; 16], usize);

impl Name {
    /// A name of its own; cut after 15 bytes.
    pub fn new(name: &str) -> Self {
        let mut out = Self::default();
        // Writing to a `Name` cuts instead of failing.
        let _ = out.write_str(name);
        out
    }

    fn numbered(stem: &str, number: u32) -> Self {
        let mut out = Self::default();
        let _ = write!(out, "{stem}{number}");
        out
    }

    /// `iou-wrk-<tid>`, as the kernel names its workers: the thread is the application's also where a
    /// worker makes the next one (io-wq.c `io_wq_worker`, 6.18).
    pub fn worker() -> Self {
        Self::numbered("iou-wrk-", owner())
    }

    /// `iou-sqp-<pid>`, as the kernel names its poll threads.
    pub fn sq_poll() -> Self {
        Self::numbered("iou-sqp-", raw::getpid())
    }
}

impl Write for Name {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        for (to, from) in self.0.iter_mut().take(15).skip(self.1).zip(s.bytes()) {
            *to = from;
            self.1 += 1;
        }
        Ok(())
    }
}

/// Which descriptors a new thread has.
#[derive(Clone, Copy, Debug)]
pub enum Table<'a> {
    /// The creator's, shared.
    Shared,
    /// A copy of its own in which only these numbers stay; 0, 1 and 2 are filled with something
    /// that can be neither read nor written, unless they are among them. On return from
    /// [`spawn`] everything else is closed there.
    Private(&'a [i32]),
    /// The same by close_range(2): the files above the highest of these numbers are not copied first
    /// and then closed, so where there is none the thread never has any.
    Unshared(&'a [i32]),
}

/// What [`spawn`] makes.
#[derive(Clone, Copy, Debug)]
pub struct Spec<'a> {
    /// Its name.
    pub name: Name,
    /// Its descriptors.
    pub table: Table<'a>,
    /// Binds it to one CPU.
    pub cpu: Option<u32>,
}

/// Room below the thread pointer \[bytes\].
fn tls_room() -> usize {
    arch::thread_record_below().max(TLS_ROOM_MIN).next_multiple_of(64)
}

/// The end of a mapping: what must outlive the thread.
#[repr(C, align(64))]
struct Slot {
    /// 0: free or ended. Cleared by the kernel as the last thing the thread does.
    ctid: AtomicU32,
    /// Handles, and the claim of a spawn under way.
    refs: AtomicU32,
    base: usize,
    len: usize,
    thread_pointer: usize,
}

/// Invariant: the slot is mapped. It is unmapped only under [`SLOTS`]' lock, out of the list, when
/// `refs` and `ctid` are 0; who keeps a `SlotRef` outside the lock holds one of `refs`.
#[derive(Clone, Copy, Debug)]
struct SlotRef(NonNull<Slot>);

// SAFETY: a slot belongs to no thread, and its fields are atomics or never change.
unsafe impl Send for SlotRef {}
// SAFETY: as for `Send`.
unsafe impl Sync for SlotRef {}

impl SlotRef {
    fn get(&self) -> &Slot {
        // SAFETY: the invariant of the type.
        unsafe { self.0.as_ref() }
    }

    fn idle(&self) -> bool {
        let slot = self.get();
        // Acquire: pairs with the Release of a handle's drop; for `ctid` the kernel's clearing
        // comes after everything the thread did.
        slot.refs.load(Acquire) == 0 && slot.ctid.load(Acquire) == 0
    }

    fn record(&self) -> &ThreadRecord {
        let at = self.get().thread_pointer - arch::thread_record_below();
        let at: *const ThreadRecord = core::ptr::with_exposed_provenance(at);
        // SAFETY: `map` left room for it below the thread pointer, in the same mapping as the
        // slot, zeroed or written as a record before.
        unsafe { &*at }
    }

    /// # Safety
    /// The slot is idle and in no list.
    unsafe fn unmap(self) {
        let (base, len) = (self.get().base, self.get().len);
        // SAFETY: idle: the kernel left the stack, no handle is left, and nobody can find it.
        let _ = unsafe { raw::munmap(base, len) };
    }

    fn map() -> SysResult<Self> {
        let below = tls_room();
        let len = (PAGE + STACK + below + TCB + size_of::<Slot>()).next_multiple_of(PAGE);
        let base = raw::mmap_anonymous(len)?;
        // SAFETY: our new mapping; its first page becomes the guard.
        let guarded = unsafe { raw::mprotect(base, PAGE, g::PROT_NONE) };
        if let Err(e) = guarded {
            // SAFETY: nobody saw it.
            let _ = unsafe { raw::munmap(base, len) };
            return Err(e);
        }
        let at = base + len - size_of::<Slot>().next_multiple_of(64);
        let slot: *mut Slot = core::ptr::with_exposed_provenance_mut(at);
        let new = Slot {
            ctid: AtomicU32::new(0),
            refs: AtomicU32::new(0),
            base,
            len,
            thread_pointer: at - TCB,
        };
        // SAFETY: inside the new mapping, 64-aligned, seen by nobody else.
        unsafe { slot.write(new) };
        NonNull::new(slot).map(Self).ok_or(Errno::ENOMEM)
    }

    /// Prepares TLS and the first two words of the stack; answers the stack pointer.
    fn arm(&self, start: Box<Start<'_>>) -> usize {
        let slot = self.get();
        let below = tls_room();
        // A program may have megabytes of thread-locals; only what is near matters to anybody.
        for (start, len) in [
            (slot.thread_pointer - TLS_ROOM_MIN, TLS_ROOM_MIN + TCB),
            (slot.thread_pointer - arch::thread_record_below(), size_of::<ThreadRecord>()),
        ] {
            let at: *mut u8 = core::ptr::with_exposed_provenance_mut(start);
            // SAFETY: the room below and above the thread pointer lies in the slot's mapping, and
            // the claim makes it ours.
            unsafe { at.write_bytes(0, len) };
        }
        for self_pointer in [0, 16] {
            let at = slot.thread_pointer + self_pointer;
            let at: *mut usize = core::ptr::with_exposed_provenance_mut(at);
            // SAFETY: inside the TCB room; fs:0 and fs:16 hold the thread pointer (TLS ABI, libc).
            unsafe { at.write(slot.thread_pointer) };
        }
        self.record().ours.store(1, Relaxed);
        self.record().owner.store(owner(), Relaxed);
        let stack = (slot.thread_pointer - below - 64) & !63;
        let words: *mut [usize; 2] = core::ptr::with_exposed_provenance_mut(stack);
        let arg = Box::into_raw(start).expose_provenance();
        // SAFETY: the top of the claimed stack.
        unsafe { words.write([entry as *const () as usize, arg]) };
        stack
    }
}

/// All mappings of this process. Another generation's are forgotten, not unmapped: handles of the
/// parent's engine may still point there.
struct Slots {
    generation: u32,
    all: Vec<SlotRef>,
}

static SLOTS: ForkMutex<Slots> = ForkMutex::new(Slots { generation: 0, all: Vec::new() });

/// Finds or maps a slot and claims it (`refs` is 1, `ctid` is [`STARTING`]).
fn claim() -> SysResult<SlotRef> {
    let mut slots = SLOTS.lock();
    let generation = generation::current();
    if slots.generation != generation {
        core::mem::forget(core::mem::take(&mut slots.all));
        slots.generation = generation;
    }
    let found = slots.all.iter().copied().find(SlotRef::idle);
    let slot = match found {
        Some(slot) => slot,
        None => {
            slots.all.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            let slot = SlotRef::map()?;
            slots.all.push(slot);
            slot
        }
    };
    slot.get().refs.store(1, Relaxed);
    slot.get().ctid.store(STARTING, Relaxed);
    let mut idle = 0;
    slots.all.retain(|s| {
        idle += usize::from(s.idle());
        let keep = !s.idle() || idle <= IDLE_MAX;
        if !keep {
            // SAFETY: idle, and `retain` takes it out of the list under the lock.
            unsafe { s.unmap() };
        }
        keep
    });
    Ok(slot)
}

/// What a new thread gets.
struct Start<'a> {
    body: Box<dyn FnOnce() + Send + 'static>,
    spec: Spec<'a>,
    slot: SlotRef,
    /// 0 until the thread is set up; then 1, or 1 + errno. Lives on the creator's stack.
    ready: Option<&'a AtomicU32>,
}

/// Starts a thread with the calling thread's identity.
///
/// # Errors
/// `EAGAIN`, `ENOMEM`: no thread to be had. `EINVAL`: the CPU does not exist or is not allowed.
/// [`Table::Unshared`]: close_range(2)'s, whose `CLOSE_RANGE_UNSHARE` there is since 5.9.
pub fn spawn(spec: Spec<'_>, body: Box<dyn FnOnce() + Send + 'static>) -> SysResult<LinuxThread> {
    signals::install();
    let slot = claim()?;
    let ready = AtomicU32::new(0);
    let wait = spec.cpu.is_some() || matches!(spec.table, Table::Private(_) | Table::Unshared(_));
    let start = Box::new(Start { body, spec, slot, ready: wait.then_some(&ready) });
    let stack = slot.arm(start);
    let mut flags = g::CLONE_VM
        | g::CLONE_FS
        | g::CLONE_SIGHAND
        | g::CLONE_THREAD
        | g::CLONE_SYSVSEM
        | g::CLONE_SETTLS
        | g::CLONE_PARENT_SETTID
        | g::CLONE_CHILD_CLEARTID;
    if matches!(spec.table, Table::Shared | Table::Unshared(_)) {
        flags |= g::CLONE_FILES;
    }
    let mask = signals::block_signals();
    let (ctid, tp) = (slot.get().ctid.as_ptr(), slot.get().thread_pointer);
    // SAFETY: `arm` prepared stack and TLS in the mapping we claimed, which nobody reuses before
    // the kernel clears `ctid`; `entry` never returns.
    let tid = unsafe { arch::clone(flags, stack, ctid, tp) };
    // The mask as it was: a thread that had one of the three blocked gets it blocked again.
    let _ = raw::sigprocmask(g::SIG_SETMASK, Some(mask));
    let tid = match Errno::demux(tid) {
        Ok(tid) => tid as u32,
        Err(e) => {
            drop(take_start(stack));
            slot.get().ctid.store(0, Release);
            slot.get().refs.store(0, Release);
            return Err(e);
        }
    };
    let thread = LinuxThread { slot, tid };
    if wait {
        wait_ready(&ready)?;
    }
    Ok(thread)
}

fn wait_ready(ready: &AtomicU32) -> SysResult<()> {
    loop {
        match ready.load(Acquire) {
            0 => drop(raw::futex_wait(ready, 0, None)),
            1 => return Ok(()),
            errno => return Err(Errno::from_raw((errno - 1) as u16)),
        }
    }
}

/// Takes back what [`SlotRef::arm`] left on a stack whose thread never came to be.
fn take_start(stack: usize) -> Box<Start<'static>> {
    let words: *const [usize; 2] = core::ptr::with_exposed_provenance(stack);
    // SAFETY: `arm` wrote them, and no thread runs there.
    let [_, arg] = unsafe { words.read() };
    // SAFETY: the pointer of `Box::into_raw` in `arm`, taken once.
    unsafe { Box::from_raw(core::ptr::with_exposed_provenance_mut(arg)) }
}

/// The first function of a new thread.
unsafe extern "C" fn entry(arg: *mut Start<'static>) -> ! {
    // SAFETY: `arm` left the pointer of a `Box` for exactly this call. What the `Start` borrows
    // lives until `ready` is stored, for which the creator waits.
    let start = unsafe { Box::from_raw(arg) };
    run(start);
    loop {
        // SAFETY: ends this thread only; nothing of it is in use. The kernel clears `ctid` then.
        unsafe { raw::syscall1(g::__NR_exit, 0) };
    }
}

/// Separate from [`entry`], so that everything is dropped before the thread ends: the box, too.
#[inline(never)]
#[expect(clippy::boxed_local, reason = "the box itself must go here: the caller never returns")]
fn run(start: Box<Start<'_>>) {
    let Start { body, spec, slot, ready } = *start;
    let r = record();
    r.tid.store(slot.get().ctid.load(Relaxed), Relaxed);
    r.generation.store(generation::current(), Relaxed);
    // SAFETY: PR_SET_NAME reads 16 bytes.
    let _ = unsafe { raw::prctl(g_pr_set_name(), spec.name.0.as_ptr() as usize, 0, 0, 0) };
    let own = match spec.table {
        Table::Shared => Ok(()),
        Table::Private(keep) => {
            close_all_but(keep);
            Ok(())
        }
        Table::Unshared(keep) => leave_table(keep),
    };
    let bound = own.and_then(|()| spec.cpu.map_or(Ok(()), bind));
    if let Some(ready) = ready {
        let code = bound.map_or_else(|e| 1 + e.raw().cast_unsigned(), |()| 1);
        ready.store(code, Release);
        // The creator may be gone already: the address is only a key.
        raw::futex_wake(ready, 1);
    }
    if bound.is_ok() {
        body();
    }
}

const fn g_pr_set_name() -> u32 {
    linux_raw_sys::prctl::PR_SET_NAME
}

/// Binds the calling thread to one CPU.
fn bind(cpu: u32) -> SysResult<()> {
    let mut mask = [0u64; 128];
    *mask.get_mut(cpu as usize / 64).ok_or(Errno::EINVAL)? = 1 << (cpu % 64);
    // SAFETY: the kernel reads the mask.
    let ret = unsafe {
        raw::syscall3(g::__NR_sched_setaffinity, 0, size_of_val(&mask), mask.as_ptr() as usize)
    };
    Errno::demux(ret).map(drop)
}

/// close_range(2).
const CLOSE_RANGE_UNSHARE: u32 = 2;

/// Gives the calling thread, which shares its table, one of its own in which only `keep` stays.
///
/// # Errors
/// The call's: before 5.9, or refused. Then it has the table that it had.
fn leave_table(keep: &[i32]) -> SysResult<()> {
    let above = keep.iter().max().map_or(0, |last| last.cast_unsigned() + 1);
    raw::close_range(above, u32::MAX, CLOSE_RANGE_UNSHARE)?;
    close_all_but(keep);
    Ok(())
}

/// Closes every number of the calling thread's own table but those in `keep`, and fills 0, 1 and 2
/// so that a stray message never lands in somebody's file.
fn close_all_but(keep: &[i32]) {
    let mut from = 0i32;
    let mut close_before = |next: i32| {
        close_between(from.cast_unsigned(), next.cast_unsigned());
        from = from.max(next + 1);
    };
    if keep.is_sorted() {
        keep.iter().copied().for_each(close_before);
    } else {
        // A few numbers: looking for the next one each time needs no memory.
        let after = |last: i32| keep.iter().copied().filter(|&fd| fd > last).min();
        core::iter::successors(after(-1), |&last| after(last)).for_each(&mut close_before);
    }
    close_between(from.cast_unsigned(), u32::MAX);
    // An epoll descriptor answers EINVAL to read and write.
    let Ok(filler) = raw::epoll_create() else { return };
    for fd in 0..3 {
        if filler != fd && !keep.contains(&fd) {
            let _ = raw::dup3(filler, fd, g::O_CLOEXEC);
        }
    }
    if filler > 2 {
        let _ = raw::close(filler);
    }
}

/// Closes `from..to`.
fn close_between(from: u32, to: u32) {
    /// Beyond this nobody has descriptors, as `fs.nr_open`'s default says.
    const NR_OPEN: u32 = 1 << 20;
    if from >= to || raw::close_range(from, to - 1, 0).is_ok() {
        return;
    }
    // Before 5.9, or refused: one by one.
    for fd in from..to.min(NR_OPEN) {
        let _ = raw::close(fd.cast_signed());
    }
}

/// A thread of ours. Dropping the handle lets it run on.
#[derive(Debug)]
pub struct LinuxThread {
    slot: SlotRef,
    tid: u32,
}

impl LinuxThread {
    /// Its id.
    pub fn tid(&self) -> u32 {
        self.tid
    }

    /// Whether it has ended (its stack is free).
    pub fn ended(&self) -> bool {
        self.slot.get().ctid.load(Acquire) == 0
    }

    /// Waits for its end.
    pub fn join(&self) {
        let ctid = &self.slot.get().ctid;
        loop {
            let now = ctid.load(Acquire);
            if now == 0 {
                return;
            }
            // Not private: the kernel wakes by address in shared memory's way.
            // SAFETY: the kernel reads the word, which lives as long as the handle.
            let _ = unsafe {
                raw::syscall4(
                    g::__NR_futex,
                    ctid.as_ptr() as usize,
                    g::FUTEX_WAIT as usize,
                    now as usize,
                    0,
                )
            };
        }
    }
}

impl Drop for LinuxThread {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `SlotRef::idle`.
        self.slot.get().refs.fetch_sub(1, AcqRel);
    }
}

impl HostThread for LinuxThread {
    fn interrupt(&self) {
        if self.ended() {
            return;
        }
        self.slot.record().interrupt.store(1, SeqCst);
        // The id may only be another's if the thread ended this very moment and its number came
        // round again; a thread that is not ours ignores nothing then but its own SIGSYS.
        let _ = raw::tgkill(raw::getpid(), self.tid, g::SIGSYS);
    }

    fn clear_interrupt(&self) {
        self.slot.record().interrupt.store(0, SeqCst);
    }
}

#[cfg(test)]
mod tests;
