//! The three signals ringer lives on (SIGSYS, SIGSEGV, SIGBUS): our handlers, and the
//! application's own actions behind them.
//!
//! ```text
//!  SIGSEGV, SIGBUS -> user memory routine?  go on at its EFAULT exit
//!                  -> our code, a caller-owned ring page?  put a fresh page there
//!                  -> otherwise the application's action
//!  SIGSYS          -> thread of ours?       interrupt: leave the call with EINTR
//!                  -> the trap handler (intercept), if it says the signal was its own
//!                  -> otherwise the application's action
//! ```
//!
//! Once [`install`] ran, [`exchange`] is what sigaction(2) means for these signals: the kernel's
//! action stays ours, the table holds the application's. Handlers take no lock and allocate
//! nothing. What it does not do: masks (intercept drops these three from every mask).

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicPtr};

use ringer_uapi::Errno;

use crate::arch::{self, Ucontext};
use crate::latch::Latch;
use crate::lock::ForkMutex;
use crate::raw::{self, PAGE, SysResult, general as g};
use crate::{standin, thread};

/// A signal's action as rt_sigaction(2) takes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Action {
    /// `SIG_DFL` (0), `SIG_IGN` (1) or the address of a handler.
    pub handler: u64,
    /// `SA_*`.
    pub flags: u64,
    /// Where the handler returns to, with `SA_RESTORER`.
    pub restorer: u64,
    /// Blocked while the handler runs.
    pub mask: u64,
}

const SIG_DFL: u64 = 0;
const SIG_IGN: u64 = 1;
const SI_TKILL: i32 = -6;
const SEGV_MAPERR: i32 = 1;

/// The bits of SIGSYS, SIGSEGV and SIGBUS in a signal mask: a blocked one kills the process when
/// its trap or fault comes.
pub const NEVER_BLOCKED: u64 = bit(g::SIGSYS) | bit(g::SIGSEGV) | bit(g::SIGBUS);

/// The bit of a signal in a mask.
pub const fn bit(sig: u32) -> u64 {
    1 << (sig - 1)
}

/// `siginfo_t`, as far as it is the same for every signal we look at.
#[repr(C)]
#[derive(Debug)]
pub struct SigInfo {
    /// The signal.
    pub signo: i32,
    /// Unused on Linux.
    pub errno: i32,
    /// Why: `SI_TKILL`, `SYS_SECCOMP`, `SEGV_MAPERR`, ...
    pub code: i32,
    pad: i32,
    /// Faults: the address. SIGSYS: the address of the system call instruction.
    pub addr: u64,
    /// SIGSYS: the call's number.
    pub syscall: i32,
    /// SIGSYS: `AUDIT_ARCH_*`.
    pub arch: u32,
}

/// What intercept's trap handler is: true if the signal was its own.
pub type TrapHandler = unsafe extern "C" fn(info: &SigInfo, context: &mut Ucontext) -> bool;

/// The application's action for one signal, readable in a handler while somebody changes it.
struct Slot(Latch<4>);

impl Slot {
    const fn new() -> Self {
        Self(Latch::new())
    }

    fn get(&self) -> Action {
        let [handler, flags, restorer, mask] = self.0.get();
        Action { handler, flags, restorer, mask }
    }

    /// Under the lock only.
    fn set(&self, a: Action) {
        self.0.set([a.handler, a.flags, a.restorer, a.mask]);
    }
}

static APP: [Slot; 3] = [const { Slot::new() }; 3];
static TRAP: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
static USER_RINGS: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
/// Which of the three are ours at the kernel (bits as in `bit`), and the lock over changes.
static INSTALLED: ForkMutex<u64> = ForkMutex::new(0);
/// Whether faults of ours are survived.
static READY: AtomicBool = AtomicBool::new(false);

/// Whether [`install`] has run: an access to bad memory by `usermem` does no harm.
#[inline(always)]
pub(crate) fn ready() -> bool {
    READY.load(Relaxed)
}

fn slot(sig: u32) -> Option<&'static Slot> {
    let [sys, segv, bus] = &APP;
    match sig {
        g::SIGSYS => Some(sys),
        g::SIGSEGV => Some(segv),
        g::SIGBUS => Some(bus),
        _ => None,
    }
}

/// rt_sigaction(2) itself.
///
/// # Safety
/// A handler in `new` must be fit to run at any instruction of any thread.
///
/// # Errors
/// `EINVAL`: no such signal, or one that cannot be caught.
pub unsafe fn rt_sigaction(sig: u32, new: Option<&Action>) -> SysResult<Action> {
    let mut old = Action::default();
    let at = new.map_or(0, |a| core::ptr::from_ref(a) as usize);
    // SAFETY: the kernel reads one action unless NULL and writes one; the handler is the caller's
    // promise.
    let ret =
        unsafe { raw::syscall4(g::__NR_rt_sigaction, sig as usize, at, &raw mut old as usize, 8) };
    Errno::demux(ret).map(|_| old)
}

/// What sigaction(2) does, for SIGSYS, SIGSEGV and SIGBUS; `None` for any other signal, which is
/// the kernel's own business. The application's handler and flags read back as it set them.
///
/// # Safety
/// As for sigaction(2): the handler is the application's responsibility.
pub unsafe fn exchange(sig: u32, new: Option<Action>) -> Option<SysResult<Action>> {
    let slot = slot(sig)?;
    // No handler of ours may find this thread holding the lock: none takes it, but the
    // application's may call sigaction.
    let mask = block_signals();
    let installed = INSTALLED.lock();
    let result = if *installed & bit(sig) == 0 {
        // SAFETY: the caller's promise; with a restorer where the caller has none of its own.
        unsafe { rt_sigaction(sig, new.map(with_restorer).as_ref()) }
    } else {
        let old = slot.get();
        if let Some(action) = new {
            slot.set(action);
        }
        Ok(old)
    };
    drop(installed);
    restore_signals(mask);
    Some(result)
}

/// The application's action for one of the three signals, if ours stands before it.
pub fn app_action(sig: u32) -> Option<Action> {
    slot(sig).map(Slot::get)
}

fn with_restorer(mut action: Action) -> Action {
    if action.flags & u64::from(g::SA_RESTORER) == 0 {
        action.flags |= u64::from(g::SA_RESTORER);
        action.restorer = arch::sigreturn_addr() as u64;
    }
    action
}

/// Blocks every signal but the three for the calling thread; answers the mask before.
pub fn block_signals() -> u64 {
    raw::sigprocmask(g::SIG_SETMASK, Some(!NEVER_BLOCKED)).unwrap_or(0)
}

/// Sets the calling thread's mask, without the three.
pub fn restore_signals(mask: u64) {
    let _ = raw::sigprocmask(g::SIG_SETMASK, Some(mask & !NEVER_BLOCKED));
}

/// Installs the handlers that are not yet there; the application's actions of that moment go to
/// the table. To be called before the first ring, and by [`set_trap`] and the first spawn.
pub fn install() {
    let mask = block_signals();
    let mut installed = INSTALLED.lock();
    for (sig, handler) in [
        (g::SIGSYS, on_sigsys as *const () as u64),
        (g::SIGSEGV, on_fault as *const () as u64),
        (g::SIGBUS, on_fault as *const () as u64),
    ] {
        if *installed & bit(sig) == 0 && install_one(sig, handler).is_ok() {
            *installed |= bit(sig);
        }
    }
    let faults = bit(g::SIGSEGV) | bit(g::SIGBUS);
    READY.store(*installed & faults == faults, Relaxed);
    drop(installed);
    restore_signals(mask);
}

fn install_one(sig: u32, handler: u64) -> SysResult<()> {
    // SA_SIGINFO: we need the context. SA_ONSTACK: a goroutine's or a nearly full stack has no
    // room. SA_NODEFER: the application's action behind ours may leave by longjmp, or fault again,
    // and a blocked one kills. SA_RESTART: an interrupt is made by the instruction pointer; an
    // unrelated call that restarts is none of ours.
    let flags = g::SA_SIGINFO | g::SA_ONSTACK | g::SA_NODEFER | g::SA_RESTART;
    let ours = with_restorer(Action { handler, flags: u64::from(flags), restorer: 0, mask: 0 });
    // The table must be right before our handler can run.
    // SAFETY: asks only.
    let old = unsafe { rt_sigaction(sig, None) }?;
    if let Some(slot) = slot(sig) {
        slot.set(old);
    }
    // SAFETY: `on_sigsys` and `on_fault` are async-signal-safe: no lock, no allocation, no
    // register or memory changed but the context's.
    unsafe { rt_sigaction(sig, Some(&ours)) }.map(drop)
}

/// Names intercept's trap handler, and installs ours.
pub fn set_trap(handler: TrapHandler) {
    // Release: pairs with the Acquire in `on_sigsys`.
    TRAP.store(handler as *mut (), Release);
    install();
}

unsafe extern "C" fn on_sigsys(sig: i32, info: *mut SigInfo, context: *mut Ucontext) {
    // SAFETY: SA_SIGINFO: the kernel passes a valid siginfo that is ours until we return.
    let info = unsafe { &mut *info };
    // SAFETY: likewise the context.
    let context = unsafe { &mut *context };
    if info.code == SI_TKILL && thread::is_ours() {
        thread::interrupt_fixup(context);
        return;
    }
    let trap = TRAP.load(Acquire);
    if !trap.is_null() {
        // SAFETY: only `set_trap` stores here, and it stores a `TrapHandler`.
        let trap: TrapHandler = unsafe { core::mem::transmute(trap) };
        // SAFETY: called as its type asks, in a SIGSYS handler.
        if unsafe { trap(info, context) } {
            return;
        }
    }
    chain(sig.cast_unsigned(), info, context);
}

unsafe extern "C" fn on_fault(sig: i32, info: *mut SigInfo, context: *mut Ucontext) {
    // SAFETY: SA_SIGINFO: the kernel passes a valid siginfo that is ours until we return.
    let info = unsafe { &mut *info };
    // SAFETY: likewise the context.
    let context = unsafe { &mut *context };
    let sig = sig.cast_unsigned();
    // Code > 0: the kernel says that this instruction faulted; anything else was sent.
    if info.code > 0 {
        if let Some(ip) = arch::user_fault_ip(context.rip) {
            context.rip = ip;
            return;
        }
        if arch::is_own_code(context.rip)
            && is_user_ring(info.addr as usize)
            && put_page(info.addr as usize, sig == g::SIGSEGV && info.code == SEGV_MAPERR)
        {
            return;
        }
    }
    chain(sig, info, context);
}

/// Names the function that knows caller-owned ring memory (`ringobj::owns_user_ring`). It runs in a
/// fault handler: no lock, no allocation.
pub fn set_user_rings(owns: fn(usize) -> bool) {
    // Release: pairs with the Acquire in `is_user_ring`.
    USER_RINGS.store(owns as *mut (), Release);
}

fn is_user_ring(addr: usize) -> bool {
    let owns = USER_RINGS.load(Acquire);
    if owns.is_null() {
        return false;
    }
    // SAFETY: only `set_user_rings` stores here, and it stores such a function.
    let owns: fn(usize) -> bool = unsafe { core::mem::transmute(owns) };
    owns(addr)
}

/// Puts a fresh page where a caller-owned ring lost its own, so that our access goes on.
fn put_page(addr: usize, nothing_there: bool) -> bool {
    let page = addr & !(PAGE - 1);
    if nothing_there {
        return standin::put(page);
    }
    let flags = g::MAP_PRIVATE | g::MAP_ANONYMOUS | g::MAP_FIXED;
    let prot = g::PROT_READ | g::PROT_WRITE;
    // SAFETY: the host says the page belongs to a region that the application gave us as ring
    // memory; its present mapping cannot be accessed (that is why we are here), so nothing
    // readable is lost.
    unsafe { raw::mmap(page, PAGE, prot, flags, -1, 0) }.is_ok()
}

/// Does what the kernel would have done had the application's action been its own.
fn chain(sig: u32, info: &mut SigInfo, context: &mut Ucontext) {
    let Some(slot) = slot(sig) else { return };
    let action = slot.get();
    let sent = info.code <= 0;
    match action.handler {
        SIG_IGN if sent => {}
        // An ignored fault kills, as the default does (force_sig in the kernel).
        SIG_DFL | SIG_IGN => die(sig, !sent && sig != g::SIGSYS),
        handler => run_app_handler(sig, handler, action, info, context),
    }
}

/// Lets the signal's default action end the process, core dump and wait status included. A fault
/// comes again by itself on return, with the registers and the address that a dump should show.
fn die(sig: u32, comes_again: bool) {
    let default = Action::default();
    // SAFETY: the default action has no handler.
    let _ = unsafe { rt_sigaction(sig, Some(&default)) };
    if !comes_again {
        // Not blocked (SA_NODEFER, and the three never are), so this does not return.
        let _ = raw::tgkill(raw::getpid(), raw::gettid(), sig);
    }
}

fn run_app_handler(
    sig: u32,
    handler: u64,
    action: Action,
    info: &mut SigInfo,
    context: &mut Ucontext,
) {
    let flags = action.flags;
    if flags & u64::from(g::SA_RESETHAND) != 0
        && let Some(slot) = slot(sig)
    {
        // Without the lock: a concurrent sigaction and this reset have no order anyway.
        slot.set(Action::default());
    }
    // sigreturn sets the old mask again from the context.
    let _ = raw::sigprocmask(g::SIG_BLOCK, Some(action.mask & !NEVER_BLOCKED));
    type Handler = unsafe extern "C" fn(i32, *mut SigInfo, *mut Ucontext);
    let at: *const () = core::ptr::with_exposed_provenance(handler as usize);
    // SAFETY: the application gave this address to sigaction as its handler. One that expects the
    // signal number only ignores the other two registers.
    let handler: Handler = unsafe { core::mem::transmute(at) };
    // SAFETY: called as the kernel would, from a handler of the same signal.
    unsafe { handler(sig.cast_signed(), info, context) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::testing::in_child;
    use core::sync::atomic::AtomicU32;

    unsafe extern "C" fn exit_9(_: i32, info: *mut SigInfo, _: *mut Ucontext) {
        // SAFETY: called with a valid siginfo.
        let addr = unsafe { (*info).addr };
        raw::exit_group(if addr == 0x10 { 9 } else { 8 });
    }

    fn fault_at_0x10() {
        let at: *const u8 = core::ptr::without_provenance(0x10);
        // SAFETY: not valid at all: the fault is the point, and the process is a child made for it.
        unsafe { core::ptr::read_volatile(at) };
    }

    fn app(handler: u64, flags: u32) -> Action {
        Action { handler, flags: u64::from(flags), restorer: 0, mask: 0 }
    }

    #[test]
    fn a_foreign_fault_reaches_the_applications_handler() {
        let code = in_child(|| {
            install();
            let action = app(exit_9 as *const () as u64, g::SA_SIGINFO);
            // SAFETY: `exit_9` is async-signal-safe.
            unsafe { exchange(g::SIGSEGV, Some(action)) };
            fault_at_0x10();
            1
        });
        assert_eq!(code, 9);
    }

    #[test]
    fn a_foreign_fault_without_a_handler_kills_with_its_signal() {
        for handler in [SIG_DFL, SIG_IGN] {
            let code = in_child(|| {
                install();
                // SAFETY: no handler.
                unsafe { exchange(g::SIGSEGV, Some(app(handler, 0))) };
                fault_at_0x10();
                1
            });
            assert_eq!(code, 256 + g::SIGSEGV.cast_signed());
        }
    }

    #[test]
    fn the_application_reads_back_what_it_set() {
        let code = in_child(|| {
            install();
            let mine = Action { handler: 77, flags: 3, restorer: 5, mask: 9 };
            // SAFETY: the address is never called: no such signal is raised here.
            let first = unsafe { exchange(g::SIGBUS, Some(mine)) };
            // SAFETY: asks only.
            let second = unsafe { exchange(g::SIGBUS, None) };
            i32::from(!(first.is_some() && second == Some(Ok(mine))))
        });
        assert_eq!(code, 0);
        // SAFETY: asks only.
        assert_eq!(unsafe { exchange(g::SIGUSR1, None) }, None);
    }

    #[test]
    fn a_sent_and_ignored_signal_is_ignored() {
        let code = in_child(|| {
            install();
            // SAFETY: no handler.
            unsafe { exchange(g::SIGSYS, Some(app(SIG_IGN, 0))) };
            let _ = raw::tgkill(raw::getpid(), raw::gettid(), g::SIGSYS);
            0
        });
        assert_eq!(code, 0);
    }

    #[test]
    fn our_own_access_to_a_ring_that_was_unmapped_finds_a_fresh_page() {
        use core::sync::atomic::AtomicUsize;
        static RING: AtomicUsize = AtomicUsize::new(0);
        let code = in_child(|| {
            install();
            set_user_rings(|addr| addr / PAGE == RING.load(Relaxed) / PAGE);
            let at = raw::mmap_anonymous(PAGE).unwrap();
            RING.store(at, Relaxed);
            // SAFETY: stays mapped, or is mapped again by the handler under test.
            let word = unsafe { AtomicU32::from_ptr(core::ptr::with_exposed_provenance_mut(at)) };
            word.store(7, Relaxed);
            // SAFETY: `word` is the only user, and survives by design.
            unsafe { raw::munmap(at, PAGE) }.unwrap();
            assert_eq!(word.load(Relaxed), 0, "unmapped");
            word.store(8, Relaxed);
            // SAFETY: as above.
            unsafe { raw::mprotect(at, PAGE, g::PROT_NONE) }.unwrap();
            word.store(9, Relaxed);
            assert_eq!(word.load(Relaxed), 9, "protected");
            RING.store(0, Relaxed);
            // SAFETY: as above; now nobody owns it, so that the access must kill.
            unsafe { raw::munmap(at, PAGE) }.unwrap();
            word.store(1, Relaxed);
            0
        });
        assert_eq!(code, 256 + g::SIGSEGV.cast_signed());
    }
}
