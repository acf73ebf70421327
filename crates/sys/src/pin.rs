//! Could the kernel pin this memory as a registered buffer?
//!
//! ringer pins nothing: requests hand the address to the kernel each time. Registration still has
//! to refuse what the kernel's refuses (observed on 6.18): memory that is not there or cannot be
//! written, shared mappings of files on a disk, and more than RLIMIT_MEMLOCK for those it binds.
//! What it does not do: add up several buffers against the limit.

use ringer_uapi::{Errno, bytes};

use crate::raw::{self, PAGE, SysResult, TASK_SIZE, general as g};
use crate::usermem;

/// Largest registered buffer \[bytes\] (6.18 io_uring/rsrc.c `io_buffer_validate`).
const BUFFER_MAX: u64 = 1 << 30;

/// Whether `addr..addr+len` could be pinned.
///
/// # Errors
/// `EFAULT`: not mapped, not writable, longer than 1 GiB, or a shared mapping of a disk file.
/// `EOVERFLOW`: it wraps. `ENOMEM`: more than RLIMIT_MEMLOCK.
pub fn check(addr: u64, len: u64) -> SysResult<()> {
    if addr == 0 || len == 0 || len > BUFFER_MAX {
        return Err(Errno::EFAULT);
    }
    let end = addr.checked_add(len).ok_or(Errno::EOVERFLOW)?;
    if end > TASK_SIZE {
        return Err(Errno::EFAULT);
    }
    let page = PAGE as u64;
    let (first, last) = (addr / page * page, end.next_multiple_of(page));
    if last - first > memlock() {
        return Err(Errno::ENOMEM);
    }
    populate(first, last)?;
    if has_disk_file(first, last) { Err(Errno::EFAULT) } else { Ok(()) }
}

/// `CAP_IPC_LOCK`.
const CAP_IPC_LOCK: u32 = 14;

/// The user that memory locked by the calling thread counts for (6.18 io_uring.c `io_uring_create`:
/// `ctx->user`), the real one; `None` where it counts for nobody.
pub(crate) fn memory_user() -> Option<u32> {
    // SAFETY: takes no memory, and cannot fail.
    let uid = || unsafe { raw::syscall0(g::__NR_getuid) } as u32;
    (!has_capability(CAP_IPC_LOCK)).then(uid)
}

/// RLIMIT_MEMLOCK as far as it binds the calling thread \[bytes\].
pub(crate) fn memlock() -> u64 {
    let limit = raw::rlimit(g::RLIMIT_MEMLOCK).map_or(u64::MAX, |(soft, _)| soft);
    if limit == u64::MAX || has_capability(CAP_IPC_LOCK) { u64::MAX } else { limit }
}

/// Whether the calling thread has a capability in effect.
fn has_capability(cap: u32) -> bool {
    /// `_LINUX_CAPABILITY_VERSION_3`.
    const VERSION: u32 = 0x2008_0522;
    let header = [VERSION, 0];
    // Two of (effective, permitted, inheritable).
    let mut data = [0u32; 6];
    // SAFETY: the kernel reads the header and writes six words.
    let ret = unsafe {
        raw::syscall2(g::__NR_capget, header.as_ptr() as usize, data.as_mut_ptr() as usize)
    };
    let [low, _, _, high, ..] = data;
    let word = if cap < 32 { low } else { high };
    ret == 0 && word >> (cap % 32) & 1 != 0
}

/// Faults every page in for writing, as pinning would.
fn populate(first: u64, last: u64) -> SysResult<()> {
    const MADV_POPULATE_WRITE: u32 = 23;
    loop {
        let len = (last - first) as usize;
        // SAFETY: the advice changes no contents.
        match unsafe { raw::madvise(first as usize, len, MADV_POPULATE_WRITE) } {
            Ok(()) => return Ok(()),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // Before 5.14, or a mapping that cannot be populated: trying tells.
            Err(Errno::EINVAL | Errno::ENOSYS | Errno::EPERM) => {
                return usermem::touch(first, last - first);
            }
            Err(_) => return Err(Errno::EFAULT),
        }
    }
}

/// The mapping that `PROCMAP_QUERY` (since 6.11) answers.
#[derive(Default)]
#[repr(C)]
struct Query {
    size: u64,
    flags: u64,
    addr: u64,
    vma_start: u64,
    vma_end: u64,
    vma_flags: u64,
    vma_page_size: u64,
    vma_offset: u64,
    inode: u64,
    dev_major: u32,
    dev_minor: u32,
    name_size: u32,
    build_id_size: u32,
    name_addr: u64,
    build_id_addr: u64,
}
const _: () = assert!(size_of::<Query>() == 104);

/// Whether a shared file mapping whose writes the file system tracks lies in `first..last`
/// (writable_file_mapping_allowed() in 6.18 mm/gup.c). Unknown counts as no: before 6.11, or
/// without /proc, such memory is accepted.
fn has_disk_file(first: u64, last: u64) -> bool {
    let flags = g::O_RDONLY | g::O_CLOEXEC;
    let Ok(maps) = raw::openat(g::AT_FDCWD, c"/proc/self/maps", flags, 0) else { return false };
    let found = look_for_disk_file(maps, first, last);
    let _ = raw::close(maps);
    found
}

fn look_for_disk_file(maps: i32, first: u64, last: u64) -> bool {
    const PROCMAP_QUERY: u32 = 0xc068_6611;
    // SHARED | COVERING_OR_NEXT_VMA | FILE_BACKED_VMA
    const NEXT_SHARED_FILE: u64 = 0x08 | 0x10 | 0x20;
    let mut addr = first;
    while addr < last {
        let mut name = [0u8; 4096];
        let mut query = Query {
            size: size_of::<Query>() as u64,
            flags: NEXT_SHARED_FILE,
            addr,
            name_size: 4096,
            name_addr: name.as_mut_ptr() as u64,
            ..Query::default()
        };
        // SAFETY: the kernel reads and writes the query, and writes at most `name_size` bytes.
        if unsafe { raw::ioctl(maps, PROCMAP_QUERY, &raw mut query as usize) }.is_err() {
            return false;
        }
        if query.vma_start >= last {
            return false;
        }
        if query.dev_major != 0 || !is_in_memory(&name) {
            return true;
        }
        addr = query.vma_end;
    }
    false
}

/// Whether a mapping's NUL-terminated name is of a file that lives in memory.
fn is_in_memory(name: &[u8]) -> bool {
    // tmpfs, hugetlbfs: f_type of statfs(2).
    const MEMORY: [u64; 2] = [0x0102_1994, 0x9584_58f6];
    let anonymous = [&b"/memfd:"[..], b"/dev/zero", b"/SYSV", b"anon_inode:", b"/dev/shm/", b"["];
    if anonymous.iter().any(|start| name.starts_with(start)) || name.first() == Some(&0) {
        return true;
    }
    let mut statfs = [0u8; 120];
    // SAFETY: the kernel reads a NUL-terminated name and writes one statfs of 120 bytes.
    let ret = unsafe {
        raw::syscall2(g::__NR_statfs, name.as_ptr() as usize, statfs.as_mut_ptr() as usize)
    };
    // A name that is gone: what has no block device is most likely in memory.
    ret != 0 || MEMORY.contains(&bytes::u64_at(&statfs, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals;

    fn map(prot: u32, flags: u32, fd: i32) -> u64 {
        signals::install();
        // SAFETY: a new mapping, wherever the kernel likes.
        unsafe { raw::mmap(0, 2 * PAGE, prot, flags, fd, 0) }.unwrap() as u64
    }

    const RW: u32 = g::PROT_READ | g::PROT_WRITE;

    #[test]
    fn memory_is_judged_as_the_kernel_pins_it() {
        let page = PAGE as u64;
        let private = map(RW, g::MAP_PRIVATE | g::MAP_ANONYMOUS, -1);
        assert_eq!(check(private, 2 * page), Ok(()));
        assert_eq!(check(private + 13, 77), Ok(()), "odd alignment is fine");
        let read_only = map(g::PROT_READ, g::MAP_PRIVATE | g::MAP_ANONYMOUS, -1);
        assert_eq!(check(read_only, page), Err(Errno::EFAULT));
        // SAFETY: our own mapping, used by nobody.
        unsafe { raw::munmap(private as usize + PAGE, PAGE) }.unwrap();
        assert_eq!(check(private, 2 * page), Err(Errno::EFAULT), "partly unmapped");
        assert_eq!(check(0, 8), Err(Errno::EFAULT));
        assert_eq!(check(private, 0), Err(Errno::EFAULT));
        assert_eq!(check(private, BUFFER_MAX + 1), Err(Errno::EFAULT));
        assert_eq!(check(u64::MAX - 4, 8), Err(Errno::EOVERFLOW));
        assert_eq!(check(TASK_SIZE - 8, 16), Err(Errno::EFAULT));
    }

    #[test]
    fn shared_memory_pins_and_a_shared_disk_file_does_not() {
        assert_eq!(check(map(RW, g::MAP_SHARED | g::MAP_ANONYMOUS, -1), 8), Ok(()));
        let fd = raw::memfd_create(c"test", g::MFD_CLOEXEC).unwrap();
        raw::ftruncate(fd, 2 * PAGE as u64).unwrap();
        assert_eq!(check(map(RW, g::MAP_SHARED, fd), 8), Ok(()));
        raw::close(fd).unwrap();

        let name = std::env::temp_dir().join(std::format!("ringer-pin-{}", raw::getpid()));
        std::fs::write(&name, [0u8; 2 * PAGE]).unwrap();
        let path = [name.as_os_str().as_encoded_bytes(), b"\0"].concat();
        let path = core::ffi::CStr::from_bytes_with_nul(&path).unwrap();
        let fd = raw::openat(g::AT_FDCWD, path, g::O_RDWR | g::O_CLOEXEC, 0).unwrap();
        let (shared, private) = (map(RW, g::MAP_SHARED, fd), map(RW, g::MAP_PRIVATE, fd));
        raw::close(fd).unwrap();
        let mut folder = path.to_bytes_with_nul().to_vec();
        folder.resize(4096, 0);
        assert_eq!(check(private, 8), Ok(()));
        // On a disk, unless this machine has its temporary files in memory.
        let expected = if is_in_memory(&folder) { Ok(()) } else { Err(Errno::EFAULT) };
        assert_eq!(check(shared, 8), expected);
        std::fs::remove_file(name).unwrap();
    }
}
