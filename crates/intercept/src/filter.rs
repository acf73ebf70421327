//! The seccomp filter that turns inline io_uring calls of this image into traps.
//!
//! ```text
//!  nr 425..=427 ------------------------------------> called from one of our ranges? --> TRAP
//!  nr 9 (mmap): offset 0, 1<<27 .. 15<<27 or >= 2^31     |
//!               and MAP_SHARED and fd >= 0               +--> no: ALLOW
//!               and not our own call (magic)     --------^
//!  everything else: ALLOW after three instructions
//! ```
//! It says yes by instruction pointer only, never "everybody but us": a filter outlives execve(2),
//! and a program that was started without the library must get the host's own answer rather than
//! a signal that nobody handles. Our own calls carry a magic value in the half of an argument that
//! the kernel ignores, so that they pass a filter inherited from another image, too.
//!
//! What it does not do: look at any other call. It cannot be removed, and each further one costs
//! every call 18-20 ns, so there is one for all objects of the start and later ones only when
//! dlopen(3) brings an object that needs it.

use crate::scan::Range;
use alloc::vec::Vec;
use core::fmt;
use ringer_sys::raw::{self, general as g};
use ringer_uapi::Errno;

/// One instruction of classic BPF (`struct sock_filter`).
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Insn {
    pub(crate) code: u16,
    pub(crate) jt: u8,
    pub(crate) jf: u8,
    pub(crate) k: u32,
}

#[cfg(any(test, feature = "test-utils"))]
impl Insn {
    /// Any instruction, for tests of [`crate::bpf`].
    pub const fn new(code: u16, jt: u8, jf: u8, k: u32) -> Self {
        Self { code, jt, jf, k }
    }
}

impl fmt::Debug for Insn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x} jt {} jf {} k {:#x}", self.code, self.jt, self.jf, self.k)
    }
}

// Instruction codes of linux/bpf_common.h.
pub(crate) const LD_W_ABS: u16 = 0x20;
pub(crate) const JEQ_K: u16 = 0x15;
pub(crate) const JGT_K: u16 = 0x25;
pub(crate) const JGE_K: u16 = 0x35;
pub(crate) const JSET_K: u16 = 0x45;
pub(crate) const RET_K: u16 = 0x06;

// Words of `struct seccomp_data` \[bytes\], little-endian halves.
pub(crate) const NR: u32 = 0;
pub(crate) const ARCH: u32 = 4;
pub(crate) const IP_LOW: u32 = 8;
pub(crate) const IP_HIGH: u32 = 12;
const fn arg_low(n: u32) -> u32 {
    16 + 8 * n
}
const fn arg_high(n: u32) -> u32 {
    20 + 8 * n
}

/// `SECCOMP_RET_ALLOW`.
pub const ALLOW: u32 = 0x7fff_0000;
/// What our traps carry in `si_errno`: a program may have filters and a SIGSYS handler of its own.
pub const TRAP_DATA: u16 = 0x5269;
/// `SECCOMP_RET_TRAP`, with our data.
pub const TRAP: u32 = 0x0003_0000 | TRAP_DATA as u32;
/// `AUDIT_ARCH_X86_64`.
pub const ARCH_X86_64: u32 = 0xc000_003e;
/// `BPF_MAXINSNS` of linux/bpf_common.h.
pub(crate) const MAX_LEN: usize = 4096;
/// The high half of [`raw::MMAP_MAGIC`].
const MAGIC: u32 = (raw::MMAP_MAGIC >> 32) as u32;

const fn ld(at: u32) -> Insn {
    Insn { code: LD_W_ABS, jt: 0, jf: 0, k: at }
}
const fn ret(k: u32) -> Insn {
    Insn { code: RET_K, jt: 0, jf: 0, k }
}
const fn jmp(code: u16, k: u32, jt: u8, jf: u8) -> Insn {
    Insn { code, jt, jf, k }
}

/// The program for calls made from `ranges`.
///
/// Empty if there are none, or more than one filter of the kernel can hold.
pub fn program(ranges: &[Range]) -> Vec<Insn> {
    let mut p = Vec::new();
    p.extend([
        ld(NR),
        jmp(JEQ_K, g::__NR_mmap, 4, 0), //           if nr == mmap: goto mmap
        jmp(JGE_K, g::__NR_io_uring_setup, 1, 0), // if nr < setup:
        ret(ALLOW),                     //             allow
        jmp(JGT_K, g::__NR_io_uring_register, 0, 13), // if nr <= register: goto caller
        ret(ALLOW),
        // mmap: a = high half of the offset, must be 0
        ld(arg_high(5)),
        jmp(JEQ_K, 0, 0, 9),
        ld(arg_low(5)),
        jmp(JSET_K, 0x8000_0000, 1, 0), // a buffer ring: any low bits
        jmp(JSET_K, 0x07ff_ffff, 6, 0), // else only the bits that select a region
        ld(arg_low(3)),
        jmp(JSET_K, g::MAP_SHARED, 0, 4), // flags: MAP_SHARED or MAP_SHARED_VALIDATE
        ld(arg_low(4)),
        jmp(JSET_K, 0x8000_0000, 2, 0), // fd < 0
        ld(arg_high(4)),
        jmp(JEQ_K, MAGIC, 0, 1), // a call of our own
        ret(ALLOW),
        // caller: another architecture's numbers mean other calls
        ld(ARCH),
        jmp(JEQ_K, ARCH_X86_64, 1, 0),
        ret(ALLOW),
    ]);
    // The pointer is that of the instruction after the syscall: lo < ip <= hi.
    for range in ranges.iter().flat_map(|r| split(Range { lo: r.lo + 1, hi: r.hi + 1 })) {
        p.extend([
            ld(IP_HIGH),
            jmp(JEQ_K, (range.lo >> 32) as u32, 0, 4),
            ld(IP_LOW),
            jmp(JGE_K, range.lo as u32, 0, 2),
            jmp(JGT_K, (range.hi - 1) as u32, 1, 0),
            ret(TRAP),
        ]);
    }
    p.push(ret(ALLOW));
    if ranges.is_empty() || p.len() > MAX_LEN { Vec::new() } else { p }
}

/// The parts of a range that lie within one 4 GiB of addresses: BPF compares 32 bits at a time.
fn split(r: Range) -> impl Iterator<Item = Range> {
    const STEP: u64 = 1 << 32;
    let mut lo = r.lo;
    core::iter::from_fn(move || {
        let hi = r.hi.min((lo / STEP + 1) * STEP);
        let part = Range { lo, hi };
        lo = hi;
        (part.lo < part.hi).then_some(part)
    })
}

/// What installing a filter cost the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// Nothing: the process may filter itself.
    Privileged,
    /// `PR_SET_NO_NEW_PRIVS`: setuid programs that it starts stay without privileges.
    NoNewPrivs,
}

/// `struct sock_fprog`.
#[repr(C)]
struct Prog {
    len: u16,
    filter: *const Insn,
}

/// Installs the program on all threads of the process.
///
/// # Errors
/// `EINVAL`, `ENOMEM` as seccomp(2); `EACCES`, `ENOSYS` where filters are refused.
pub fn install(program: &[Insn]) -> Result<Installed, Errno> {
    match load(program) {
        Err(Errno::EACCES) => {}
        other => return other.map(|()| Installed::Privileged),
    }
    // Without CAP_SYS_ADMIN the kernel wants the promise first.
    const PR_SET_NO_NEW_PRIVS: u32 = 38;
    // SAFETY: the option takes integers and touches no memory.
    unsafe { raw::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }?;
    load(program).map(|()| Installed::NoNewPrivs)
}

fn load(program: &[Insn]) -> Result<(), Errno> {
    const SET_MODE_FILTER: usize = 1;
    // TSYNC: threads that were there before us. SPEC_ALLOW: a filter for ourselves is no reason
    // to switch the processor's speculation off.
    const FLAGS: usize = 1 | 4;
    let prog = Prog { len: program.len() as u16, filter: program.as_ptr() };
    let call = |flags| {
        let args = [SET_MODE_FILTER, flags, &raw const prog as usize];
        // SAFETY: the kernel reads `len` instructions at `filter`, which `program` owns.
        unsafe { raw::syscall3(g::__NR_seccomp, args[0], args[1], args[2]) }
    };
    match Errno::demux(call(FLAGS))? {
        0 => Ok(()),
        // The id of a thread whose filters differ: at least this thread and its children.
        _ => Errno::demux(call(FLAGS & !1)).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::{Call, check, run};
    use std::vec::Vec;

    const LIB: Range = Range { lo: 0x7f12_3456_7000, hi: 0x7f12_3457_0000 };
    const EXE: Range = Range { lo: 0x5555_ffff_f000, hi: 0x5556_0000_2000 };
    const INSIDE: u64 = LIB.lo + 2;

    fn call(nr: u32, ip: u64) -> Call {
        Call { nr, arch: ARCH_X86_64, ip, args: [0; 6] }
    }

    fn mmap(flags: u64, fd: u64, offset: u64) -> Call {
        let nr = g::__NR_mmap;
        Call { args: [0, 4096, 3, flags, fd, offset], ..call(nr, INSIDE) }
    }

    fn answer(c: Call) -> u32 {
        run(&program(&[LIB, EXE]), &c).0
    }

    /// Addresses around the borders of a range, and whether an instruction that ends there is in it.
    fn borders(r: Range) -> [(u64, bool); 7] {
        [
            (r.lo, false),
            (r.lo + 1, true),
            (r.lo + 2, true),
            (r.hi - 1, true),
            (r.hi, true),
            (r.hi + 1, false),
            (r.lo ^ 1 << 40, false),
        ]
    }

    #[test]
    fn the_three_calls_trap_in_our_ranges_only() {
        let places = || [LIB, EXE].into_iter().flat_map(borders);
        for (nr, (ip, inside)) in (420..432).flat_map(|nr| places().map(move |p| (nr, p))) {
            let want = if inside && (425..=427).contains(&nr) { TRAP } else { ALLOW };
            assert_eq!(answer(call(nr, ip)), want, "nr {nr} ip {ip:#x}");
        }
    }

    #[test]
    fn a_range_across_four_gigabytes_is_whole() {
        for ip in [EXE.lo + 1, 0x5555_ffff_ffff, 0x5556_0000_0000, 0x5556_0000_0001, EXE.hi] {
            assert_eq!(answer(call(426, ip)), TRAP, "{ip:#x}");
        }
        assert_eq!(split(EXE).collect::<Vec<_>>().len(), 2);
    }

    #[test]
    fn another_architecture_passes() {
        for nr in [425, 426, 427] {
            assert_eq!(answer(Call { arch: 0x4000_0003, ..call(nr, INSIDE) }), ALLOW);
        }
    }

    #[test]
    fn ring_offsets_trap_and_file_offsets_pass() {
        for region in 0..32u64 {
            assert_eq!(answer(mmap(1, 5, region << 27)), TRAP, "region {region}");
        }
        for bgid in [0u64, 1, 77, 0x7fff] {
            assert_eq!(answer(mmap(1, 5, 0x8000_0000 | bgid << 16)), TRAP, "bgid {bgid}");
        }
        for offset in [4096u64, 0x0800_1000, 0x1_0000_0000, 0x1_1000_0000] {
            assert_eq!(answer(mmap(1, 5, offset)), ALLOW, "offset {offset:#x}");
        }
    }

    #[test]
    fn private_anonymous_and_our_own_mappings_pass() {
        assert_eq!(answer(mmap(2, 5, 0)), ALLOW, "MAP_PRIVATE");
        assert_eq!(answer(mmap(0x21, u64::MAX, 0)), ALLOW, "anonymous, fd -1");
        assert_eq!(answer(mmap(0x21, 0xffff_ffff, 0)), ALLOW, "anonymous, fd -1 as an int");
        assert_eq!(answer(mmap(1, 5 | raw::MMAP_MAGIC, 0)), ALLOW, "magic");
        assert_eq!(answer(mmap(0x8001, 5, 0)), TRAP, "MAP_SHARED|MAP_POPULATE");
        assert_eq!(answer(mmap(3, 5, 0)), TRAP, "MAP_SHARED_VALIDATE");
        assert_eq!(answer(Call { ip: LIB.hi + 9, ..mmap(1, 5, 0) }), ALLOW, "not from our ranges");
    }

    #[test]
    fn other_calls_are_through_after_four_steps() {
        let program = program(&[LIB, EXE]);
        for nr in (0..425).filter(|&nr| nr != 9) {
            assert_eq!(run(&program, &call(nr, INSIDE)), (ALLOW, 4), "nr {nr}");
        }
    }

    #[test]
    fn no_ranges_and_too_many_make_no_program() {
        assert!(program(&[]).is_empty());
        assert!(program(&[LIB; 1000]).is_empty());
        assert_eq!(check(&program(&[LIB; 500])), Ok(()));
    }
}
