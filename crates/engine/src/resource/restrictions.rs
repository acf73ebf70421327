//! What a restricted ring lets through: register operations, opcodes and flags of entries.
//!
//! ```text
//!  R_DISABLED ring --RESTRICTIONS, once--> kept --ENABLE_RINGS--> in force for good
//! ```
//!
//! Source: 6.18 io_uring/register.c `io_register_restrictions`, `io_parse_restrictions`, io_uring.c
//! `io_check_restriction`. What it does not do: restrict a task or a thread; that is newer than 6.18.

use super::regdef::Call;
use crate::engine::Engine;
use crate::host::Host;
use alloc::boxed::Box;
use core::sync::atomic::Ordering::Acquire;
use ringer_uapi::bytes::u16_at;
use ringer_uapi::{Errno, OP_COUNT, REGISTER_COUNT};

/// `sizeof(struct io_uring_restriction)` \[bytes\].
const ENTRY_SIZE: usize = 16;
/// `IORING_MAX_RESTRICTIONS`: one of each kind, register operation and opcode.
const ENTRIES_MAX: u32 = 4 + REGISTER_COUNT + OP_COUNT as u32;

/// See the module's doc. One bit an operation or opcode.
#[derive(Debug, Default)]
pub struct Restrictions {
    register_ops: u64,
    opcodes: u64,
    flags_allowed: u8,
    flags_required: u8,
}

const _: () = assert!(REGISTER_COUNT <= u64::BITS && OP_COUNT <= u64::BITS as usize);

impl Restrictions {
    /// Takes one entry; its reserved words are not looked at.
    fn add(&mut self, kind: u16, what: u8) -> Result<(), Errno> {
        match kind {
            0 if u32::from(what) < REGISTER_COUNT => self.register_ops |= 1 << what,
            1 if usize::from(what) < OP_COUNT => self.opcodes |= 1 << what,
            2 => self.flags_allowed = what,
            3 => self.flags_required = what,
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }

    /// Whether a register operation may be called once the ring is enabled.
    pub fn allows_register(&self, opcode: u32) -> bool {
        self.register_ops >> opcode & 1 != 0
    }

    /// Whether an entry with this opcode (of 6.18) and these flags may run.
    pub fn allows_entry(&self, opcode: u8, flags: u8) -> bool {
        let required = self.flags_required;
        self.opcodes >> opcode & 1 != 0
            && flags & required == required
            && flags & !(self.flags_allowed | required) == 0
    }
}

impl<H: Host> Engine<H> {
    /// REGISTER_RESTRICTIONS. The first that succeeds is the last, and everything it does not name
    /// is forbidden from ENABLE_RINGS on.
    ///
    /// # Errors
    /// `EBADFD`: the ring is not disabled. `EBUSY`: there are restrictions. `EINVAL`: no array, too
    /// many entries, or an unknown one. `EFAULT`.
    pub(super) fn register_restrictions(&self, c: &mut Call<'_, '_, H>) -> Result<u32, Errno> {
        if !c.ring.disabled.load(Acquire) {
            return Err(Errno::EBADFD);
        }
        if c.st.restrictions.is_some() {
            return Err(Errno::EBUSY);
        }
        if c.arg == 0 || c.nr > ENTRIES_MAX {
            return Err(Errno::EINVAL);
        }
        let mut bytes = [0u8; ENTRY_SIZE * ENTRIES_MAX as usize];
        let given = bytes.get_mut(..ENTRY_SIZE * c.nr as usize).ok_or(Errno::EINVAL)?;
        if !given.is_empty() {
            // Nothing is copied from anywhere, also from where nothing can be.
            self.host().copy_in(c.arg, given)?;
        }
        let mut all = Restrictions::default();
        for entry in given.chunks_exact(ENTRY_SIZE) {
            all.add(u16_at(entry, 0), entry.get(2).copied().unwrap_or(0))?;
        }
        c.st.restrictions = Some(Box::new(all));
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_allowed_that_is_not_named() {
        let mut all = Restrictions::default();
        assert!(!all.allows_entry(0, 0) && !all.allows_register(0));
        assert_eq!(all.add(0, 35), Ok(()));
        assert_eq!(all.add(1, 62), Ok(()));
        assert!(all.allows_register(35) && !all.allows_register(34));
        assert!(all.allows_entry(62, 0) && !all.allows_entry(61, 0));
        for (kind, what) in [(0, 36), (1, 63), (4, 0)] {
            assert_eq!(all.add(kind, what), Err(Errno::EINVAL), "{kind} {what}");
        }
    }

    #[test]
    fn a_required_flag_is_allowed_and_the_last_word_counts() {
        let mut all = Restrictions { opcodes: 1, ..Restrictions::default() };
        for (kind, what) in [(2, 4), (3, 1), (3, 16)] {
            assert_eq!(all.add(kind, what), Ok(()));
        }
        assert!(all.allows_entry(0, 16) && all.allows_entry(0, 20));
        assert!(!all.allows_entry(0, 4) && !all.allows_entry(0, 17));
    }
}
