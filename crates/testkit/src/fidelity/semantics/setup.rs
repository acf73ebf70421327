//! Section 3.1: setup, sizes, the descriptor and the ring's memory.

use super::kit::*;
use crate::programs::lifetime;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.1",
        entries_round_up_and_the_cq_is_twice_as_large,
        "The SQ has the next power of two of entries, the CQ twice as many."
    ),
    claim!(
        "3.1",
        no_entries_and_too_many_are_refused,
        "No entries, or more than 32768, are EINVAL."
    ),
    claim!("3.1", clamp_limits_both_queues, "With CLAMP too many entries become 32768 and 65536."),
    claim!(
        "3.1",
        a_cq_size_is_rounded_before_it_is_compared,
        "With CQSIZE the CQ's size is rounded up and must then be the SQ's at least: 5 and 5 make 8 and 8."
    ),
    claim!(
        "3.1",
        reserved_parameters_must_be_zero,
        "A reserved word of the parameters that is not 0 is EINVAL."
    ),
    claim!(
        "3.1",
        output_fields_are_not_read,
        "Values in features, sq_entries and the offsets are ignored."
    ),
    claim!(
        "3.1",
        an_argument_error_leaves_the_parameters_alone,
        "After an argument error the parameters are as they were."
    ),
    claim!(
        "3.1",
        user_addresses_are_zero_without_no_mmap,
        "The user_addr fields come back as 0 without NO_MMAP."
    ),
    claim!(
        "3.1",
        the_descriptor_is_open_for_both_and_close_on_exec,
        "A ring's descriptor is O_RDWR and close-on-exec."
    ),
    claim!(
        "3.1",
        the_descriptor_is_an_anonymous_inode,
        "A ring's descriptor shows as anon_inode:[io_uring], mode 0600.",
        needs "RING_INODE"
    ),
    claim!(
        "3.1",
        the_descriptor_is_no_file_to_read_or_write,
        "ftruncate and fsync of a ring are EINVAL, lseek and pread ESPIPE, an ioctl ENOTTY, recv ENOTSOCK."
    ),
    claim!(
        "3.1",
        a_ring_is_not_read_or_written,
        "read and write of a ring are EINVAL.",
        needs "RING_INODE"
    ),
    claim!(
        "3.1",
        a_duplicate_is_the_same_ring,
        "A ring can be entered through a duplicate of its descriptor."
    ),
    claim!(
        "3.1",
        a_ring_does_not_travel_through_a_socket,
        "sendmsg with a ring's descriptor beside it is EINVAL."
    ),
    claim!("3.1", a_ring_is_no_fixed_file, "Registering a ring as a file is EBADF."),
    claim!("3.1", a_ring_is_not_closed_by_a_request, "CLOSE of a ring's descriptor is EBADF."),
    claim!(
        "3.1",
        the_offsets_are_the_known_ones,
        "Heads, tails, masks and counters lie where they always did, the CQEs at 64."
    ),
    claim!(
        "3.1",
        the_index_array_follows_the_cqes,
        "The index array lies behind the CQEs, aligned to 64; with NO_SQARRAY its offset is 0."
    ),
    claim!(
        "3.1",
        both_ring_offsets_map_the_same_memory,
        "Offsets 0 and 0x8000000 map the same memory."
    ),
    claim!(
        "3.1",
        low_bits_of_a_mapping_offset_are_ignored,
        "Only the top five bits of a mapping's offset select: 4096 maps the rings."
    ),
    claim!("3.1", a_mapping_takes_no_hint, "mmap of a ring with an address hint is EINVAL."),
    claim!(
        "3.1",
        an_unknown_mapping_offset_is_enomem,
        "mmap of a ring at an unknown offset is ENOMEM."
    ),
    claim!("3.1", a_ring_is_not_mapped_executable, "mmap of a ring with PROT_EXEC is EPERM."),
    claim!(
        "3.1",
        a_mapping_may_be_longer_than_the_region,
        "mmap of more than the rings' memory succeeds."
    ),
    claim!(
        "3.1",
        a_mapping_of_the_entries_is_whole,
        "mmap of fewer pages than the SQEs have is EFAULT, of fewer than the rings have succeeds."
    ),
    claim!("3.1", a_private_mapping_is_accepted, "mmap of a ring with MAP_PRIVATE succeeds."),
    claim!(
        "3.1",
        a_mapping_does_not_grow,
        "mremap to more than a mapping of a ring is EFAULT.",
        needs "RING_MREMAP"
    ),
    claim!("3.1", a_mapping_can_be_kept_from_children, "MADV_DONTFORK works on ring memory."),
    claim!(
        "3.1",
        a_new_ring_is_zeroed,
        "Heads, tails, counters, SQEs and the index array start as zeros, masks and sizes are filled in."
    ),
];

fn sizes(entries: u32, flags: u32, cq: u32) -> Sys<(u32, u32)> {
    let mut p = Params { flags, cq_entries: cq, ..Params::default() };
    let fd = setup_call(entries, &mut p)?;
    os::close(fd)?;
    Ok((p.sq_entries, p.cq_entries))
}

const CQSIZE: u32 = Setup::CQSIZE.bits();
const CLAMP: u32 = Setup::CLAMP.bits();

fn entries_round_up_and_the_cq_is_twice_as_large() -> Outcome {
    for (asked, sq) in [(1, 1), (2, 2), (3, 4), (5, 8), (100, 128)] {
        expect("sizes", sizes(asked, 0, 0), Ok((sq, 2 * sq)))?;
    }
    Ok(())
}

fn no_entries_and_too_many_are_refused() -> Outcome {
    fails("none", sizes(0, 0, 0), EINVAL)?;
    fails("none, clamped", sizes(0, CLAMP, 0), EINVAL)?;
    fails("too many", sizes(32_769, 0, 0), EINVAL)
}

fn clamp_limits_both_queues() -> Outcome {
    if os::raw(libc::SYS_geteuid, [0; 3]) != Ok(0) {
        return Err("skip: needs root, or much locked memory".to_owned());
    }
    expect("sizes", sizes(40_000, CLAMP, 0), Ok((32_768, 65_536)))?;
    expect("sizes", sizes(8, CLAMP | CQSIZE, 100_000), Ok((8, 65_536)))
}

fn a_cq_size_is_rounded_before_it_is_compared() -> Outcome {
    expect("5 and 5", sizes(5, CQSIZE, 5), Ok((8, 8)))?;
    expect("8 and 9", sizes(8, CQSIZE, 9), Ok((8, 16)))?;
    fails("8 and 4", sizes(8, CQSIZE, 4), EINVAL)?;
    fails("8 and 0", sizes(8, CQSIZE, 0), EINVAL)?;
    fails("8 and 65537", sizes(8, CQSIZE, 65_537), EINVAL)
}

fn reserved_parameters_must_be_zero() -> Outcome {
    for at in 0..3 {
        let mut p = Params::default();
        p.resv[at] = 1;
        fails("a reserved word", setup_call(8, &mut p), EINVAL)?;
    }
    Ok(())
}

fn output_fields_are_not_read() -> Outcome {
    let mut p = Params { features: 77, sq_entries: 5, cq_entries: 3, ..Params::default() };
    p.sq_off.head = 99;
    p.cq_off.tail = 98;
    close(must("setup", setup_call(8, &mut p))?)?;
    expect("sizes", (p.sq_entries, p.cq_entries), (8, 16))?;
    expect("offsets", (p.sq_off.head, p.cq_off.tail), (0, 12))
}

fn an_argument_error_leaves_the_parameters_alone() -> Outcome {
    let asked = Params { flags: 1 << 31, features: 77, sq_entries: 5, ..Params::default() };
    let mut p = asked;
    fails("an unknown flag", setup_call(8, &mut p), EINVAL)?;
    expect("the parameters", p, asked)
}

fn user_addresses_are_zero_without_no_mmap() -> Outcome {
    let mut p = Params::default();
    p.sq_off.user_addr = 4096;
    p.cq_off.user_addr = 4096;
    close(must("setup", setup_call(8, &mut p))?)?;
    expect("addresses", (p.sq_off.user_addr, p.cq_off.user_addr), (0, 0))
}

fn the_descriptor_is_open_for_both_and_close_on_exec() -> Outcome {
    let ring = ring()?;
    let mode = must("F_GETFL", os::fcntl(ring.fd, libc::F_GETFL, 0))? & libc::O_ACCMODE;
    expect("access mode", mode, libc::O_RDWR)?;
    expect("F_GETFD", os::fcntl(ring.fd, libc::F_GETFD, 0), Ok(libc::FD_CLOEXEC))
}

fn the_descriptor_is_an_anonymous_inode() -> Outcome {
    use std::os::unix::fs::MetadataExt as _;
    let ring = ring()?;
    let path = format!("/proc/self/fd/{}", ring.fd);
    let link = std::fs::read_link(&path).map_err(|e| e.to_string())?;
    expect("the link", link.to_str(), Some("anon_inode:[io_uring]"))?;
    let meta = std::fs::metadata(&path).map_err(|e| e.to_string())?;
    expect("the mode", meta.mode() & 0o7777, 0o600)
}

fn the_descriptor_is_no_file_to_read_or_write() -> Outcome {
    let ring = ring()?;
    let fd = i64::from(ring.fd).cast_unsigned();
    let b = Buf::new(64);
    let sys = |nr, a: [u64; 3]| crate::call::sys(nr, [fd, a[0], a[1], a[2], 0, 0]);
    fails("ftruncate", sys(libc::SYS_ftruncate, [0; 3]), EINVAL)?;
    fails("fsync", sys(libc::SYS_fsync, [0; 3]), EINVAL)?;
    fails("lseek", sys(libc::SYS_lseek, [0; 3]), ESPIPE)?;
    fails("pread", sys(libc::SYS_pread64, [b.addr(), 8, 0]), ESPIPE)?;
    fails("ioctl", sys(libc::SYS_ioctl, [0x1234, 0, 0]), ENOTTY)?;
    fails("recv", sys(libc::SYS_recvfrom, [b.addr(), 8, 0]), ENOTSOCK)
}

fn a_ring_is_not_read_or_written() -> Outcome {
    let ring = ring()?;
    fails("read", os::read(ring.fd, &mut [0; 8]), EINVAL)?;
    fails("write", os::write(ring.fd, &[0; 8]), EINVAL)
}

fn a_duplicate_is_the_same_ring() -> Outcome {
    let mut ring = ring()?;
    let copy = must("dup", os::dup(ring.fd))?;
    ring.push(nop(7));
    expect("enter", enter_fd(copy, 1, 1, GETEVENTS), Ok(1))?;
    ends(&ring, &[(7, 0)])
}

fn a_ring_does_not_travel_through_a_socket() -> Outcome {
    lifetime::scm_ring("")
}

fn a_ring_is_no_fixed_file() -> Outcome {
    let (a, b) = (ring()?, ring()?);
    fails("itself", a.register_files(&[a.fd]), EBADF)?;
    fails("another", a.register_files(&[b.fd]), EBADF)
}

fn a_ring_is_not_closed_by_a_request() -> Outcome {
    let (mut a, b) = (ring()?, ring()?);
    let own = a.fd;
    res(&mut a, of_fd(op::CLOSE, own, 1), -EBADF)?;
    res(&mut a, of_fd(op::CLOSE, b.fd, 2), -EBADF)
}

fn the_offsets_are_the_known_ones() -> Outcome {
    let ring = ring()?;
    let (s, c) = (ring.params.sq_off, ring.params.cq_off);
    let sq = [s.head, s.tail, s.ring_mask, s.ring_entries, s.dropped, s.flags];
    expect("of the SQ", sq, [0, 4, 16, 24, 32, 36])?;
    let cq = [c.head, c.tail, c.ring_mask, c.ring_entries, c.flags, c.overflow, c.cqes];
    expect("of the CQ", cq, [8, 12, 20, 28, 40, 44, 64])
}

fn the_index_array_follows_the_cqes() -> Outcome {
    for (entries, cq) in [(1, 2), (8, 16), (64, 128)] {
        let ring = with(entries, 0)?;
        expect("the array", ring.params.sq_off.array, (64_u32 + 16 * cq).next_multiple_of(64))?;
    }
    expect("none", with(8, Setup::NO_SQARRAY.bits())?.params.sq_off.array, 0)
}

/// mmap of a ring: hint, length, protection, flags, offset.
fn map(ring: &Ring, hint: u64, len: u64, prot: i32, flags: i32, off: u64) -> Sys<Buf> {
    let (prot, flags) = (prot as u64, flags as u64);
    let fd = i64::from(ring.fd).cast_unsigned();
    let base = crate::call::sys(os::MMAP, [hint, len, prot, flags, fd, off])?;
    Ok(Buf::adopt(base, len as usize))
}

const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;
const SHARED: i32 = libc::MAP_SHARED;

fn both_ring_offsets_map_the_same_memory() -> Outcome {
    let mut ring = ring()?;
    let one = must("mmap", map(&ring, 0, 4096, RW, SHARED, 0))?;
    let two = must("mmap", map(&ring, 0, 4096, RW, SHARED, 0x800_0000))?;
    submit(&mut ring, &[nop(1)])?;
    for b in [one, two] {
        expect(
            "SQ head and tail, CQ head and tail",
            [0, 4, 8, 12].map(|o| b.load(o)),
            [1, 1, 0, 1],
        )?;
    }
    Ok(())
}

fn low_bits_of_a_mapping_offset_are_ignored() -> Outcome {
    let ring = ring()?;
    let b = must("mmap", Buf::map(4096, SHARED, ring.fd, 4096))?;
    expect("SQ and CQ entries", (b.load(24), b.load(28)), (16, 32))
}

fn a_mapping_takes_no_hint() -> Outcome {
    let ring = ring()?;
    let free = Buf::new(4096);
    let hint = free.addr();
    drop(free);
    fails("mmap", map(&ring, hint, 4096, RW, SHARED, 0), EINVAL)
}

fn an_unknown_mapping_offset_is_enomem() -> Outcome {
    let ring = ring()?;
    for off in [0x1800_0000, 0x4000_0000] {
        fails("mmap", map(&ring, 0, 4096, RW, SHARED, off), ENOMEM)?;
    }
    Ok(())
}

fn a_ring_is_not_mapped_executable() -> Outcome {
    fails("mmap", map(&ring()?, 0, 4096, RW | libc::PROT_EXEC, SHARED, 0), EPERM)
}

fn a_mapping_may_be_longer_than_the_region() -> Outcome {
    let b = must("mmap", map(&ring()?, 0, 1 << 20, RW, SHARED, 0))?;
    expect("SQ entries", b.load(24), 16)
}

fn a_mapping_of_the_entries_is_whole() -> Outcome {
    let ring = with(256, 0)?;
    fails("entries", map(&ring, 0, 4096, RW, SHARED, ringer_uapi::OFF_SQES), EFAULT)?;
    must("rings", map(&ring, 0, 4096, RW, SHARED, 0)).map(drop)
}

fn a_private_mapping_is_accepted() -> Outcome {
    let ring = ring()?;
    let b = must("mmap", Buf::map(4096, libc::MAP_PRIVATE, ring.fd, 0))?;
    expect("SQ entries", b.load(24), 16)
}

fn a_mapping_does_not_grow() -> Outcome {
    let ring = ring()?;
    let b = must("mmap", map(&ring, 0, 4096, RW, SHARED, 0))?;
    let grow = [b.addr(), 4096, 1 << 20, libc::MREMAP_MAYMOVE as u64, 0, 0];
    fails("mremap", crate::call::sys(libc::SYS_mremap, grow), EFAULT)
}

fn a_mapping_can_be_kept_from_children() -> Outcome {
    let ring = ring()?;
    let b = must("mmap", map(&ring, 0, 4096, RW, SHARED, 0))?;
    let advise = [b.addr(), 4096, libc::MADV_DONTFORK as u64];
    expect("madvise", os::raw(libc::SYS_madvise, advise), Ok(0))
}

fn a_new_ring_is_zeroed() -> Outcome {
    let ring = ring()?;
    let words: Vec<u32> = (0..12).map(|i| ring.sq.load(4 * i)).collect();
    expect("the header", words, vec![0, 0, 0, 0, 15, 31, 16, 32, 0, 0, 0, 0])?;
    let array = ring.params.sq_off.array as usize;
    expect("the index array", ring.sq.get(array, 64), vec![0; 64])?;
    expect("the SQEs", ring.sqes.get(0, 16 * 64), vec![0; 16 * 64])
}
