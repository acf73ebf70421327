//! The user-memory accessor in a real process: any address, any length, and no fault.
//!
//! ```text
//!  pages  rw | ro | none | rw    a memfd: one page that is there, one beyond its end (SIGBUS)
//! ```
//! In these pages the answer is known: `EFAULT` if any byte of the range cannot be accessed, else
//! exactly the bytes. Elsewhere only reads are tried, and only that they come back.

use arbitrary::{Result, Unstructured};
use ringer_sys::usermem;
use ringer_testkit::os::{self, Buf};
use ringer_uapi::Errno;
use std::sync::{Mutex, OnceLock, PoisonError};

const PAGE: usize = 4096;
/// End of user space.
const TASK_SIZE: u64 = (1 << 47) - 4096;

/// What may be done to a page.
#[derive(Clone, Copy, PartialEq)]
enum Access {
    None,
    Read,
    Write,
}

struct Region {
    memory: Buf,
    pages: Vec<Access>,
}

struct Regions([Region; 2]);

fn regions() -> &'static Mutex<Regions> {
    static REGIONS: OnceLock<Mutex<Regions>> = OnceLock::new();
    REGIONS.get_or_init(|| {
        ringer_sys::signals::install();
        let memory = Buf::new(4 * PAGE);
        memory.put(PAGE, b"cannot be written");
        for (page, prot) in [(1, libc::PROT_READ), (2, libc::PROT_NONE)] {
            let part = Buf::adopt(memory.addr() + (page * PAGE) as u64, PAGE);
            part.protect(prot).expect("mprotect");
            part.leak();
        }
        let file = os::memfd(&[7; PAGE]).expect("memfd");
        let file = Buf::map(2 * PAGE, libc::MAP_SHARED, file, 0).expect("mmap");
        use Access::{None, Read, Write};
        Mutex::new(Regions([
            Region { memory, pages: vec![Write, Read, None, Write] },
            Region { memory: file, pages: vec![Write, None] },
        ]))
    })
}

impl Region {
    /// The answer to an access of `len` bytes at `off`.
    fn answer(&self, off: usize, len: usize, write: bool) -> std::result::Result<(), Errno> {
        let touched = off / PAGE..(off + len).div_ceil(PAGE);
        let fine = |a: &Access| *a == Access::Write || *a == Access::Read && !write;
        let all = len == 0 || touched.into_iter().all(|p| self.pages.get(p).is_some_and(fine));
        if all { Ok(()) } else { Err(Errno::EFAULT) }
    }
}

pub(crate) fn user_memory(data: &[u8]) {
    let regions = regions().lock().unwrap_or_else(PoisonError::into_inner);
    let mut u = Unstructured::new(data);
    for _ in 0..32 {
        // Whatever is missing reads as zero: there is no error to tell.
        if u.is_empty() || access(&regions, &mut u).is_err() {
            break;
        }
    }
}

fn access(regions: &Regions, u: &mut Unstructured<'_>) -> Result<()> {
    let wild: u8 = u.arbitrary()?;
    if wild & 7 == 7 {
        return elsewhere(u);
    }
    let region = &regions.0[usize::from(wild & 1)];
    let most = region.memory.len();
    // Often near the border of a page.
    let page = u.choose_index(region.pages.len() + 1)? * PAGE;
    let off = (page + u.int_in_range(0..=64)?).saturating_sub(32);
    let off = if wild & 8 != 0 { u.int_in_range(0..=most)? } else { off }.min(most);
    let len = u.int_in_range(0..=if wild & 16 != 0 { most } else { 40 })?.min(most - off);
    // What lies behind the last page is not ours to know.
    let off = if matches!(wild >> 5, 4 | 5) { off.min(most - 8) } else { off };
    let addr = region.memory.addr() + off as u64;
    match wild >> 5 {
        0 | 1 => {
            let mut to = vec![0xa5; len];
            let got = usermem::copy_in(addr, &mut to);
            assert_eq!(got, region.answer(off, len, false), "copy_in at {off}, {len} bytes");
            assert!(got.is_err() || to == region.memory.get(off, len), "other bytes at {off}");
        }
        2 | 3 => {
            let from: Vec<u8> = (0..len).map(|i| wild ^ i as u8).collect();
            let got = usermem::copy_out(addr, &from);
            assert_eq!(got, region.answer(off, len, true), "copy_out at {off}, {len} bytes");
            assert!(got.is_err() || from == region.memory.get(off, len), "other bytes at {off}");
        }
        4 => {
            let want = region.answer(off, 8, false);
            assert_eq!(usermem::load64(addr).map(drop), want, "load64 at {off}");
            let want = region.answer(off, 4, false);
            assert_eq!(usermem::load32(addr).map(drop), want, "load32 at {off}");
        }
        5 => {
            let want = region.answer(off, 8, true);
            assert_eq!(usermem::store64(addr, 0x0102_0304), want, "store64 at {off}");
            let want = region.answer(off, 4, true);
            assert_eq!(usermem::store32(addr, 9), want, "store32 at {off}");
        }
        6 => {
            let want = region.answer(off, len, true);
            assert_eq!(usermem::touch(addr, len as u64), want, "touch at {off}, {len} bytes");
        }
        _ => drop(usermem::copy_text(addr, 4096)),
    }
    Ok(())
}

/// Reads at any address at all.
fn elsewhere(u: &mut Unstructured<'_>) -> Result<()> {
    let near = [0, TASK_SIZE, 1 << 47, 1 << 63, u64::MAX];
    let wild: u8 = u.arbitrary()?;
    let base = if wild & 1 == 0 { *u.choose(&near)? } else { u.arbitrary()? };
    let addr = base.wrapping_add(u64::from(wild)).wrapping_sub(64);
    let mut to = vec![0; usize::from(u.arbitrary::<u16>()?)];
    let end = addr.checked_add(to.len() as u64);
    let got = usermem::copy_in(addr, &mut to);
    if end.is_none_or(|e| e > 1 << 47) {
        assert_eq!(got, Err(Errno::EFAULT), "beyond user space: {addr:#x}");
    }
    let _ = (usermem::load32(addr), usermem::load64(addr), usermem::copy_text(addr, 4096));
    Ok(())
}
