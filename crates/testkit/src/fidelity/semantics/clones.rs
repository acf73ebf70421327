//! Section 3.10: registered buffers of one ring for another.

use super::buffers::{read_fixed, register, register_tagged};
use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.10",
        a_clone_outlives_its_source,
        "CLONE_BUFFERS copies a table that works when the source's is gone.",
        needs "REGISTER_CLONE_BUFFERS"
    ),
    claim!(
        "3.10",
        a_clone_checks_its_ends,
        "CLONE_BUFFERS without a source table is ENXIO, onto a table without REPLACE EBUSY.",
        needs "REGISTER_CLONE_BUFFERS"
    ),
    claim!(
        "3.10",
        a_clone_takes_a_range,
        "CLONE_BUFFERS of a range leaves empty slots before it and copies those of the source.",
        needs "REGISTER_CLONE_BUFFERS"
    ),
    claim!(
        "3.10",
        a_clone_replaces_a_range,
        "With DST_REPLACE slots outside the range stay, with their tags; replaced tags come from the last slot on.",
        needs "REGISTER_CLONE_BUFFERS", "REGISTER_DST_REPLACE"
    ),
    claim!(
        "3.10",
        a_clone_may_be_of_itself,
        "A ring clones its own buffers with DST_REPLACE, and its table grows.",
        needs "REGISTER_CLONE_BUFFERS", "REGISTER_DST_REPLACE"
    ),
    claim!(
        "3.10",
        a_clone_has_no_tag,
        "A clone has no tag; the source's comes when the source's slot goes.",
        needs "REGISTER_CLONE_BUFFERS"
    ),
    claim!(
        "3.10",
        a_clone_waits_for_no_request,
        "A request in flight keeps the buffer that a clone replaces, the tag comes behind it.",
        needs "REGISTER_CLONE_BUFFERS", "REGISTER_DST_REPLACE"
    ),
    claim!(
        "3.10",
        a_clone_checks_in_order,
        "Flags, a table there, the pad, the source, its owner, offsets without a number, the ranges: in that order.",
        needs "REGISTER_CLONE_BUFFERS", "REGISTER_DST_REPLACE"
    ),
    claim!(
        "3.10",
        two_rings_clone_each_other,
        "Two threads whose rings clone each other's buffers get on.",
        needs "REGISTER_CLONE_BUFFERS", "REGISTER_DST_REPLACE"
    ),
    claim!(
        "3.10",
        a_clone_of_a_registered_ring_needs_one,
        "With SRC_REGISTERED an index without a ring is EBADF, one beyond the table EINVAL.",
        needs "REGISTER_CLONE_BUFFERS", "REGISTER_SRC_REGISTERED"
    ),
    claim!(
        "3.10",
        a_clone_is_of_a_registered_ring,
        "With SRC_REGISTERED the source is the ring at an index, also when its descriptor is closed.",
        needs "REGISTER_CLONE_BUFFERS", "REGISTER_SRC_REGISTERED"
    ),
    claim!(
        "3.10",
        a_clone_is_of_a_ring_of_the_same_user,
        "CLONE_BUFFERS from a ring whose memory counts for another user is EINVAL, behind the other checks.",
        needs "REGISTER_CLONE_BUFFERS"
    ),
];

/// `IORING_REGISTER_SRC_REGISTERED`.
const SRC_REGISTERED: u64 = 1;
/// `IORING_REGISTER_DST_REPLACE`.
const REPLACE: u64 = 2;

/// `struct io_uring_clone_buffers`: source, flags, first slots there and here, how many.
fn range(to: i32, from: i32, flags: u64, (src, dst): (u64, u64), nr: u64) -> Sys<u64> {
    let arg = u64s(&[u64::from(from.cast_unsigned()) | flags << 32, src | dst << 32, nr, 0]);
    register_fd(to, 30, arg.addr(), 1)
}

/// All of the source's.
fn clone(to: &Ring, from: &Ring) -> Sys<u64> {
    range(to.fd, from.fd, 0, (0, 0), 0)
}

/// Four pages, and a ring that has them registered with tags from 10 on; the third slot is empty.
fn source() -> Res<(Ring, Buf)> {
    let (ring, buf) = (ring()?, Buf::new(4 << 12));
    let at = |i: u64| buf.addr() + (i << 12);
    let iovs = [at(0), 4096, at(1), 4096, 0, 0, at(3), 4096];
    must("register", register_tagged(&ring, &iovs, &[10, 11, 0, 13]))?;
    Ok((ring, buf))
}

/// What slots hold: each by the page that a read through it may go to, of four pages at `at`.
fn holds(ring: &mut Ring, f: i32, at: u64, want: &[Option<u64>]) -> Outcome {
    for (slot, want) in want.iter().enumerate() {
        let reads = |page: &u64| {
            let sqe = read_fixed(f, slot as u16, at + (page << 12), 4, 1);
            ring.one(sqe).is_ok_and(|c| c.res == 4)
        };
        let got: Vec<u64> = (0..4).filter(reads).collect();
        let want: Vec<u64> = want.iter().copied().collect();
        expect(&format!("slot {slot}"), got, want)?;
    }
    Ok(())
}

fn a_clone_outlives_its_source() -> Outcome {
    let (from, mut to) = (ring()?, ring()?);
    let (f, buf) = (file(b"abcd")?, Buf::new(4096));
    must("register", register(&from, &[buf.addr(), 4096]))?;
    expect("clone", clone(&to, &from), Ok(0))?;
    must("unregister", from.register(reg::UNREGISTER_BUFFERS, 0, 0))?;
    res(&mut to, read_fixed(f, 0, buf.addr(), 4, 1), 4)
}

fn a_clone_checks_its_ends() -> Outcome {
    let (from, to, buf) = (ring()?, ring()?, Buf::new(4096));
    fails("no table", clone(&to, &from), ENXIO)?;
    must("register", register(&from, &[buf.addr(), 4096]))?;
    must("register", register(&to, &[buf.addr(), 4096]))?;
    fails("a table there", clone(&to, &from), EBUSY)
}

fn a_clone_takes_a_range() -> Outcome {
    let ((from, buf), mut to, f) = (source()?, ring()?, file(b"abcd")?);
    expect("clone", range(to.fd, from.fd, 0, (1, 2), 3), Ok(0))?;
    let want = [None, None, Some(1), None, Some(3), None];
    holds(&mut to, f, buf.addr(), &want)
}

fn a_clone_replaces_a_range() -> Outcome {
    let ((from, buf), mut to, f) = (source()?, ring()?, file(b"abcd")?);
    let page = |i: u64| buf.addr() + (i << 12);
    let iovs = [page(2), 4096, page(2), 4096, page(2), 4096, page(2), 4096, page(2), 4096];
    must("register", register_tagged(&to, &iovs, &[20, 21, 22, 23, 24]))?;
    expect("clone", range(to.fd, from.fd, REPLACE, (0, 1), 2), Ok(0))?;
    ends(&to, &[(22, 0), (21, 0)])?;
    pending(&to)?;
    let want = [Some(2), Some(0), Some(1), Some(2), Some(2), None];
    holds(&mut to, f, buf.addr(), &want)?;
    // Beyond the end, and with a hole in it.
    expect("clone", range(to.fd, from.fd, REPLACE, (1, 4), 3), Ok(0))?;
    ends(&to, &[(24, 0)])?;
    let want = [Some(2), Some(0), Some(1), Some(2), Some(1), None, Some(3), None];
    holds(&mut to, f, buf.addr(), &want)?;
    must("unregister", to.register(reg::UNREGISTER_BUFFERS, 0, 0))?;
    ends(&to, &[(23, 0), (20, 0)])?;
    pending(&to)?;
    pending(&from)
}

fn a_clone_may_be_of_itself() -> Outcome {
    let ((mut own, buf), f) = (source()?, file(b"abcd")?);
    fails("without REPLACE", range(own.fd, own.fd, 0, (0, 0), 0), EBUSY)?;
    expect("clone", range(own.fd, own.fd, REPLACE, (0, 3), 2), Ok(0))?;
    ends(&own, &[(13, 0)])?;
    holds(&mut own, f, buf.addr(), &[Some(0), Some(1), None, Some(0), Some(1), None])?;
    expect("all of it", range(own.fd, own.fd, REPLACE, (0, 0), 0), Ok(0))?;
    ends(&own, &[(11, 0), (10, 0)])?;
    holds(&mut own, f, buf.addr(), &[Some(0), Some(1), None, Some(0), Some(1), None])
}

fn a_clone_has_no_tag() -> Outcome {
    let ((from, _buf), to) = (source()?, ring()?);
    expect("clone", clone(&to, &from), Ok(0))?;
    must("unregister", to.register(reg::UNREGISTER_BUFFERS, 0, 0))?;
    pending(&to)?;
    expect("clone", clone(&to, &from), Ok(0))?;
    pending(&from)?;
    must("unregister", from.register(reg::UNREGISTER_BUFFERS, 0, 0))?;
    ends(&from, &[(13, 0), (11, 0), (10, 0)])
}

fn a_clone_waits_for_no_request() -> Outcome {
    let ((from, buf), mut to, (r, w)) = (source()?, ring()?, pipe()?);
    let mine = Buf::new(4096);
    must("register", register_tagged(&to, &[mine.addr(), 4096], &[20]))?;
    submit(&mut to, &[read_fixed(r, 0, mine.addr(), 8, 1)])?;
    expect("clone", range(to.fd, from.fd, REPLACE, (0, 0), 1), Ok(0))?;
    pending(&to)?;
    put(w, b"abc")?;
    ends(&to, &[(1, 3), (20, 0)])?;
    expect("the bytes", mine.get(0, 3), b"abc".to_vec())?;
    let f = file(b"abcd")?;
    holds(&mut to, f, buf.addr(), &[Some(0), None])
}

fn a_clone_checks_in_order() -> Outcome {
    let ((from, _buf), to, bare) = (source()?, ring()?, ring()?);
    let f = file(b"x")?;
    let call = |to: &Ring, words: [u64; 4]| {
        let arg = u64s(&words);
        to.register(30, arg.addr(), 1)
    };
    let word = |fd: i32, flags: u64| u64::from(fd.cast_unsigned()) | flags << 32;
    // The whole of it wrong, and then less and less.
    fails("flags", call(&from, [word(999, 4), 1 << 32, 0, 1 << 32]), EINVAL)?;
    fails("a table", call(&from, [word(999, 0), 1 << 32, 0, 1 << 32]), EBUSY)?;
    fails("the pad", call(&to, [word(999, 0), 1 << 32, 0, 1 << 32]), EINVAL)?;
    fails("the source", call(&to, [word(999, 0), 1 << 32, 0, 0]), EBADF)?;
    fails("the source", call(&to, [word(f, 0), 1 << 32, 0, 0]), EOPNOTSUPP)?;
    fails("offsets", call(&to, [word(bare.fd, 0), 1 << 32, 0, 0]), EINVAL)?;
    fails("no buffers", call(&to, [word(bare.fd, 0), 0, 9, 0]), ENXIO)?;
    fails("too many", call(&to, [word(from.fd, 0), 0xffff_ffff << 32, 5, 0]), EINVAL)?;
    fails("beyond", call(&to, [word(from.fd, 0), 2 | 0xffff_ffff << 32, 3, 0]), EOVERFLOW)?;
    fails("beyond", call(&to, [word(from.fd, 0), 0xffff_ffff, 3, 0]), EOVERFLOW)?;
    fails("wrapped", call(&to, [word(from.fd, 0), 0xffff_ffff << 32, 3, 0]), EOVERFLOW)?;
    fails("too far", call(&to, [word(from.fd, 0), 16_382 << 32, 3, 0]), EINVAL)?;
    expect("just so far", call(&to, [word(from.fd, 0), 16_381 << 32, 3, 0]), Ok(0))?;
    let issuer = with(8, Setup::SINGLE_ISSUER.bits())?;
    let (to, from) = (bare.fd, issuer.fd);
    let other = on_thread(move || range(to, from, 0, (1, 1), 0))?;
    fails("another thread's source", other, EEXIST)?;
    fails("one's own", range(to, from, 0, (1, 1), 0), EINVAL)
}

fn two_rings_clone_each_other() -> Outcome {
    let ((a, _one), (b, _two)) = (source()?, source()?);
    let many = |to: i32, from: i32| {
        (0..500).find_map(|_| range(to, from, REPLACE, (0, 0), 0).err()).map_or(Ok(0), Err)
    };
    let (x, y) = (a.fd, b.fd);
    let other = std::thread::spawn(move || many(y, x));
    expect("the one's", many(x, y), Ok(0))?;
    expect("the other's", other.join().map_err(|_| "the thread panicked")?, Ok(0))
}

fn a_clone_is_of_a_registered_ring() -> Outcome {
    let ((mut from, buf), mut to, f) = (source()?, ring()?, file(b"abcd")?);
    // `struct io_uring_rsrc_update`: any index, and the descriptor.
    let arg = u64s(&[0xffff_ffff, u64::from(from.fd.cast_unsigned())]);
    expect("REGISTER_RING_FDS", from.register(20, arg.addr(), 1), Ok(1))?;
    let index = arg.get64(0) as u32 as i32;
    close(from.fd)?;
    from.fd = -1;
    expect("clone", range(to.fd, index, SRC_REGISTERED, (0, 0), 0), Ok(0))?;
    holds(&mut to, f, buf.addr(), &[Some(0), Some(1), None, Some(3)])?;
    let arg = u64s(&[index as u64, 0]);
    expect("UNREGISTER_RING_FDS", to.register(21, arg.addr(), 1), Ok(1))
}

fn a_clone_of_a_registered_ring_needs_one() -> Outcome {
    let to = ring()?;
    fails("none", range(to.fd, 0, SRC_REGISTERED, (0, 0), 0), EBADF)?;
    fails("none", range(to.fd, 15, SRC_REGISTERED, (0, 0), 0), EBADF)?;
    fails("beyond", range(to.fd, 16, SRC_REGISTERED, (0, 0), 0), EINVAL)?;
    fails("beyond", range(to.fd, -1, SRC_REGISTERED, (0, 0), 0), EINVAL)
}

fn a_clone_is_of_a_ring_of_the_same_user() -> Outcome {
    const NOBODY: u64 = 65_534;
    if os::raw(libc::SYS_geteuid, [0; 3]) != Ok(0) {
        return Err("skip: needs root".to_owned());
    }
    let ((roots, _one), bare) = (source()?, ring()?);
    let fd = roots.fd;
    let bare = bare.fd;
    // Root's memory counts for nobody, but for root without its capabilities it does.
    let as_nobody = move || -> Outcome {
        must("setresuid", os::raw(libc::SYS_setresuid, [u64::MAX, NOBODY, u64::MAX]))?;
        let ((theirs, _two), other, own) =
            (source()?, ring()?, with(8, Setup::SINGLE_ISSUER.bits())?);
        fails("root's", range(other.fd, fd, 0, (0, 0), 0), EINVAL)?;
        fails("root's, and none there", range(other.fd, bare, 0, (0, 0), 0), EINVAL)?;
        fails("root's, and a table here", range(theirs.fd, fd, 0, (0, 0), 0), EBUSY)?;
        fails("theirs for root", range(bare, theirs.fd, 0, (0, 0), 0), EINVAL)?;
        expect("its own", range(other.fd, theirs.fd, 0, (0, 0), 0), Ok(0))?;
        expect("once more", range(own.fd, theirs.fd, 0, (0, 0), 0), Ok(0))
    };
    on_thread(as_nobody)?
}
