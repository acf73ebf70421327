//! Section 3.10: registered buffers.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.10",
        an_empty_vector_is_an_empty_slot,
        "{NULL, 0} registers an empty slot, whose use is EFAULT."
    ),
    claim!(
        "3.10",
        bad_vectors_are_refused,
        "NULL with a length, a length of 0, more than a GiB, unmapped and read-only memory are EFAULT."
    ),
    claim!(
        "3.10",
        the_first_bad_vector_says_why,
        "Vectors are checked one after the other: the first bad one's error is told, EINVAL for a negative length."
    ),
    claim!(
        "3.10",
        a_buffer_that_wraps_is_eoverflow,
        "A vector whose end wraps around is EOVERFLOW."
    ),
    claim!(
        "3.10",
        a_shared_file_mapping_is_refused,
        "A shared mapping of a file on a disk is EFAULT, a private one is fine."
    ),
    claim!("3.10", odd_alignment_is_fine, "A buffer may start and end anywhere."),
    claim!("3.10", so_many_buffers_and_no_more, "0 buffers are EINVAL, more than 16384 too."),
    claim!("3.10", buffers_are_all_or_nothing, "After an error no table exists."),
    claim!(
        "3.10",
        a_fixed_request_must_lie_inside,
        "A fixed read outside its buffer, of an empty slot or beyond the table is EFAULT."
    ),
    claim!(
        "3.10",
        registered_pages_are_pinned,
        "After a new mapping over a registered buffer WRITE_FIXED still sends the old bytes.",
        needs "PINNED_BUFFERS"
    ),
    claim!("3.10", locked_memory_is_limited, "Beyond RLIMIT_MEMLOCK a user's buffers are ENOMEM."),
    claim!(
        "3.10",
        an_update_replaces_a_buffer,
        "BUFFERS_UPDATE replaces a slot and posts its tag."
    ),
    claim!(
        "3.10",
        a_request_in_flight_keeps_its_buffer,
        "UNREGISTER_BUFFERS does not wait: a request in flight keeps its buffer, the tag comes behind it."
    ),
    claim!(
        "3.10",
        buffers_unregister_once,
        "UNREGISTER_BUFFERS without a table is ENXIO, registering twice EBUSY."
    ),
];

pub(super) fn register(ring: &Ring, iovs: &[u64]) -> Sys<u64> {
    let iovs_in = u64s(iovs);
    ring.register(reg::BUFFERS, iovs_in.addr(), (iovs.len() / 2) as u32)
}

pub(super) fn register_tagged(ring: &Ring, iovs: &[u64], tags: &[u64]) -> Sys<u64> {
    let (iovs, tags, nr) = (u64s(iovs), u64s(tags), tags.len() as u64);
    let arg = u64s(&[nr, 0, iovs.addr(), tags.addr()]);
    ring.register(reg::BUFFERS2, arg.addr(), 32)
}

pub(super) fn read_fixed(fd: i32, buf_index: u16, addr: u64, len: u32, ud: u64) -> Sqe {
    Sqe { buf_index, ..rw(op::READ_FIXED, fd, addr, len, 0, ud) }
}

fn an_empty_vector_is_an_empty_slot() -> Outcome {
    let mut ring = ring()?;
    let (f, buf) = (file(b"abcd")?, Buf::new(4096));
    must("register", register(&ring, &[0, 0, buf.addr(), 4096]))?;
    res(&mut ring, read_fixed(f, 0, buf.addr(), 4, 1), -EFAULT)?;
    res(&mut ring, read_fixed(f, 1, buf.addr(), 4, 2), 4)
}

fn bad_vectors_are_refused() -> Outcome {
    let ring = ring()?;
    let buf = Buf::new(8192);
    let hole = Buf::adopt(buf.addr() + 4096, 4096);
    must("protect", hole.protect(libc::PROT_NONE))?;
    fails("NULL with a length", register(&ring, &[0, 4096]), EFAULT)?;
    fails("no length", register(&ring, &[buf.addr(), 0]), EFAULT)?;
    fails("too long", register(&ring, &[buf.addr(), (1 << 30) + 1]), EFAULT)?;
    fails("partly unmapped", register(&ring, &[buf.addr(), 8192]), EFAULT)?;
    must("protect", hole.protect(libc::PROT_READ))?;
    fails("read-only", register(&ring, &[hole.addr(), 4096]), EFAULT)?;
    hole.leak();
    fails("unmapped", register(&ring, &[4096, 4096]), EFAULT)
}

fn the_first_bad_vector_says_why() -> Outcome {
    let (ring, page) = (ring()?, Buf::new(4096));
    let (negative, none) = ([page.addr(), u64::MAX], [page.addr(), 0]);
    let both = |a: [u64; 2], b: [u64; 2]| register(&ring, &[a[0], a[1], b[0], b[1]]);
    fails("nothing first", both(none, negative), EFAULT)?;
    fails("negative first", both(negative, none), EINVAL)
}

fn a_buffer_that_wraps_is_eoverflow() -> Outcome {
    fails("register", register(&ring()?, &[u64::MAX - 100, 4096]), EOVERFLOW)
}

fn a_shared_file_mapping_is_refused() -> Outcome {
    let ring = ring()?;
    // TMPDIR may be a tmpfs, whose pages may be registered.
    let dir = std::env::current_exe().map_err(|e| e.to_string())?;
    let dir = dir.parent().ok_or("no folder")?.to_string_lossy().into_owned();
    let Ok(f) = os::open(&dir, libc::O_TMPFILE | libc::O_RDWR) else {
        return Err("skip: the program's folder is not writable".to_owned());
    };
    put(f, &[7; 4096])?;
    let shared = must("mmap", Buf::map(4096, libc::MAP_SHARED, f, 0))?;
    let private = must("mmap", Buf::map(4096, libc::MAP_PRIVATE, f, 0))?;
    let r = register(&ring, &[shared.addr(), 4096]);
    if r.is_ok() {
        return Err("skip: the program's folder is no disk file system".to_owned());
    }
    fails("shared", r, EFAULT)?;
    expect("private", register(&ring, &[private.addr(), 4096]), Ok(0))
}

fn odd_alignment_is_fine() -> Outcome {
    let mut ring = ring()?;
    let (f, buf) = (file(b"abcd")?, Buf::new(8192));
    must("register", register(&ring, &[buf.addr() + 4093, 7]))?;
    res(&mut ring, read_fixed(f, 0, buf.addr() + 4094, 4, 1), 4)?;
    expect("the bytes", buf.get(4094, 4), b"abcd".to_vec())
}

fn so_many_buffers_and_no_more() -> Outcome {
    let ring = ring()?;
    let iov = u64s(&vec![0; 2 * 16_385]);
    fails("none", ring.register(reg::BUFFERS, iov.addr(), 0), EINVAL)?;
    fails("too many", ring.register(reg::BUFFERS, iov.addr(), 16_385), EINVAL)?;
    expect("as many as may be", ring.register(reg::BUFFERS, iov.addr(), 16_384), Ok(0))
}

fn buffers_are_all_or_nothing() -> Outcome {
    let mut ring = ring()?;
    let buf = Buf::new(4096);
    let iovs = [buf.addr(), 4096, 8, 4096];
    fails("register", register_tagged(&ring, &iovs, &[1, 2]), EFAULT)?;
    fails("unregister", ring.register(reg::UNREGISTER_BUFFERS, 0, 0), ENXIO)?;
    no_more(&mut ring)
}

fn a_fixed_request_must_lie_inside() -> Outcome {
    let mut ring = ring()?;
    let (f, buf) = (file(&[1; 100])?, Buf::new(8192));
    must("register", register(&ring, &[buf.addr() + 100, 1000]))?;
    res(&mut ring, read_fixed(f, 0, buf.addr() + 99, 4, 1), -EFAULT)?;
    res(&mut ring, read_fixed(f, 0, buf.addr() + 1097, 4, 2), -EFAULT)?;
    res(&mut ring, read_fixed(f, 1, buf.addr() + 100, 4, 3), -EFAULT)?;
    res(&mut ring, read_fixed(f, 0, buf.addr() + 1096, 4, 4), 4)
}

fn registered_pages_are_pinned() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::of(b"old"));
    must("register", register(&ring, &[buf.addr(), 4096]))?;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED) as u64;
    let prot = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let over = [buf.addr(), 4096, prot, flags, u64::MAX, 0];
    must("mmap", crate::call::sys(os::MMAP, over))?;
    buf.put(0, b"new");
    res(&mut ring, rw(op::WRITE_FIXED, w, buf.addr(), 3, 0, 1), 3)?;
    expect("the bytes", get(r)?, b"old".to_vec())
}

fn locked_memory_is_limited() -> Outcome {
    if os::raw(libc::SYS_geteuid, [0; 3]) != Ok(0) {
        return Err("skip: changes its user".to_owned());
    }
    must("limit", os::limit(libc::RLIMIT_MEMLOCK, 64 << 10))?;
    // A user of its own: rings that have not ended yet count as well.
    must("setuid", os::setuid(100_000 + os::pid().cast_unsigned()))?;
    let (ring, buf) = (with(4, 0)?, Buf::new(1 << 20));
    buf.fill(1);
    fails("a MiB", register(&ring, &[buf.addr(), 1 << 20]), ENOMEM)?;
    expect("a page", register(&ring, &[buf.addr(), 4096]), Ok(0))
}

fn an_update_replaces_a_buffer() -> Outcome {
    let mut ring = ring()?;
    let (f, a, b) = (file(b"abcd")?, Buf::new(4096), Buf::new(4096));
    must("register", register_tagged(&ring, &[a.addr(), 4096], &[11]))?;
    let (iov, tag) = (u64s(&[b.addr(), 4096]), u64s(&[12]));
    let arg = u64s(&[0, iov.addr(), tag.addr(), 1]);
    expect("update", ring.register(16, arg.addr(), 32), Ok(1))?;
    ends(&ring, &[(11, 0)])?;
    res(&mut ring, read_fixed(f, 0, a.addr(), 4, 1), -EFAULT)?;
    res(&mut ring, read_fixed(f, 0, b.addr(), 4, 2), 4)?;
    must("unregister", ring.register(reg::UNREGISTER_BUFFERS, 0, 0))?;
    ends(&ring, &[(12, 0)])
}

fn a_request_in_flight_keeps_its_buffer() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(4096));
    must("register", register_tagged(&ring, &[buf.addr(), 4096], &[11]))?;
    submit(&mut ring, &[read_fixed(r, 0, buf.addr(), 8, 1)])?;
    expect("unregister", ring.register(reg::UNREGISTER_BUFFERS, 0, 0), Ok(0))?;
    pending(&ring)?;
    put(w, b"abc")?;
    ends(&ring, &[(1, 3), (11, 0)])?;
    expect("the bytes", buf.get(0, 3), b"abc".to_vec())
}

fn buffers_unregister_once() -> Outcome {
    let (ring, buf) = (ring()?, Buf::new(4096));
    fails("none", ring.register(reg::UNREGISTER_BUFFERS, 0, 0), ENXIO)?;
    must("register", register(&ring, &[buf.addr(), 4096]))?;
    fails("again", register(&ring, &[buf.addr(), 4096]), EBUSY)?;
    expect("unregister", ring.register(reg::UNREGISTER_BUFFERS, 0, 0), Ok(0))
}
