//! The seccomp filter and its interpreter.

use arbitrary::{Result, Unstructured};
use ringer_intercept::bpf::{self, Call};
use ringer_intercept::filter::{self, ALLOW, ARCH_X86_64, Insn, TRAP};
use ringer_intercept::scan::Range;
use ringer_sys::raw::MMAP_MAGIC;

/// `BPF_MAXINSNS` of linux/bpf_common.h.
const LEN_MAX: usize = 4096;

pub(crate) fn filter(data: &[u8]) {
    // Whatever is missing reads as zero: there is no error to tell.
    let _ = compare(&mut Unstructured::new(data));
}

fn compare(u: &mut Unstructured<'_>) -> Result<()> {
    let n = u.int_in_range(0..=8)?;
    let ranges = (0..n).map(|_| range(u)).collect::<Result<Vec<_>>>()?;
    let program = filter::program(&ranges);
    if program.is_empty() {
        let parts: u64 = ranges.iter().map(|r| (r.hi >> 32) - (r.lo >> 32) + 2).sum();
        assert!(ranges.is_empty() || parts * 6 > LEN_MAX as u64 / 2, "no program for {ranges:x?}");
        return Ok(());
    }
    bpf::check(&program).expect("the kernel would refuse our own program");
    for _ in 0..16 {
        let call = call(&ranges, u)?;
        let (answer, steps) = bpf::run(&program, &call);
        let want = if traps(&ranges, &call) { TRAP } else { ALLOW };
        assert_eq!(answer, want, "{call:x?} of {ranges:x?}");
        assert!(steps <= program.len(), "{steps} steps");
    }
    Ok(())
}

/// Addresses of user space; a few pages, or across gigabytes.
fn range(u: &mut Unstructured<'_>) -> Result<Range> {
    let lo = u.arbitrary::<u64>()? & ((1 << 47) - 1);
    let bits = u.int_in_range(0..=36)?;
    let len = u.arbitrary::<u64>()? & ((1 << bits) - 1);
    Ok(Range { lo, hi: lo + len })
}

fn call(ranges: &[Range], u: &mut Unstructured<'_>) -> Result<Call> {
    const MMAP: u32 = 9;
    let wild: u8 = u.arbitrary()?;
    let mut args: [u64; 6] = [0, 4096, 3, 1, 5, 0];
    if wild & 1 != 0 {
        args = u.arbitrary()?;
    }
    if wild & 2 != 0 {
        args[5] = *u.choose(&[0, 1 << 27, 1 << 28, 0x8003_0000, 0x1_0000_0000, 4096])?;
    }
    if wild & 4 != 0 {
        args[4] = *u.choose(&[5 | MMAP_MAGIC, u64::MAX, 0xffff_ffff, 0])?;
    }
    let nr = if wild & 8 != 0 { u.arbitrary()? } else { *u.choose(&[425, 426, 427, MMAP])? };
    let arch = if wild & 16 != 0 { u.arbitrary()? } else { ARCH_X86_64 };
    let r = ranges.get(u.choose_index(ranges.len())?).copied();
    let r = r.unwrap_or(Range { lo: 0, hi: 0 });
    let edge = *u.choose(&[r.lo, r.lo + 1, r.hi, r.hi + 1, r.lo / 2 + r.hi / 2])?;
    let ip = if wild & 32 != 0 { u.arbitrary()? } else { edge };
    Ok(Call { nr, arch, ip, args })
}

/// The filter's own documentation, as a predicate.
fn traps(ranges: &[Range], c: &Call) -> bool {
    const MAP_SHARED: u64 = 1;
    let [.., flags, fd, offset] = c.args;
    let of_a_ring = offset >> 32 == 0
        && (offset & 0x8000_0000 != 0 || offset & 0x07ff_ffff == 0)
        && flags & MAP_SHARED != 0
        && fd & 0x8000_0000 == 0
        && fd >> 32 != MMAP_MAGIC >> 32;
    let ours = matches!(c.nr, 425..=427) || c.nr == 9 && of_a_ring;
    ours && c.arch == ARCH_X86_64 && ranges.iter().any(|r| r.lo < c.ip && c.ip <= r.hi)
}

pub(crate) fn interpreter(data: &[u8]) {
    // As above.
    let _ = any_program(&mut Unstructured::new(data));
}

fn any_program(u: &mut Unstructured<'_>) -> Result<()> {
    let call = Call { nr: u.arbitrary()?, arch: ARCH_X86_64, ip: u.arbitrary()?, args: [7; 6] };
    let mut program = Vec::new();
    while !u.is_empty() && program.len() <= LEN_MAX {
        let wild = u.arbitrary::<u8>()?;
        let code = *u.choose(&[0x20, 0x15, 0x25, 0x35, 0x45, 0x06])?;
        let code = if wild & 1 != 0 { u.arbitrary()? } else { code };
        let k = if wild & 2 != 0 { u.arbitrary()? } else { u32::from(wild >> 2 & !3) };
        program.push(Insn::new(code, u.arbitrary()?, u.arbitrary()?, k));
    }
    if bpf::check(&program).is_ok() {
        let (_, steps) = bpf::run(&program, &call);
        assert!((1..=program.len()).contains(&steps), "{steps} steps of {}", program.len());
    }
    Ok(())
}
