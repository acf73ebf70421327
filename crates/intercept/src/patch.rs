//! The place of call-site patching: an inline `syscall` that has trapped once could be replaced by
//! a jump to a trampoline, some 2 to 4 ns a call instead of the 0.9 us of a trap.
//!
//! Not done yet. What is known about how to do it safely: exactly one instruction of five or more
//! bytes *before* the `syscall` is overwritten, never the `syscall` itself, so that a jump into the
//! middle, or a thread stopped there, still works (it traps); the page is prepared on a private copy
//! and moved over the original (`mremap`), so that it is never writable and executable at once; the
//! site must step over the red zone, as `trap.rs` does.
