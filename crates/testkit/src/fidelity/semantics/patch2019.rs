//! Section 5: the file set registration of 2019 against today's.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "5.1",
        a_second_set_is_ebusy,
        "Registering while a set exists is EBUSY, with nr 0 too, NULL is EFAULT first."
    ),
    claim!("5.1", no_files_are_einval, "nr 0 is EINVAL with a pointer, EFAULT with NULL."),
    claim!("5.1", no_array_is_efault, "A NULL array is EFAULT."),
    claim!(
        "5.1",
        the_limit_is_that_of_open_files,
        "More than the soft RLIMIT_NOFILE is EMFILE, before the pointer is looked at."
    ),
    claim!(
        "5.1",
        an_unreadable_array_is_efault,
        "An array that runs into a hole is EFAULT, and nothing is registered."
    ),
    claim!(
        "5.1",
        bad_numbers_are_ebadf,
        "A closed descriptor, -2 or less is EBADF; -1 is an empty slot."
    ),
    claim!(
        "5.1",
        unregistering_nothing_is_enxio,
        "Unregistering without a set, or twice, is ENXIO."
    ),
    claim!(
        "5.1",
        unregistering_takes_no_argument,
        "Unregistering with an argument or a count is EINVAL, without a set too."
    ),
    claim!(
        "5.1",
        a_bad_index_is_ebadf,
        "An index beyond the set, negative or of an empty slot is EBADF, and the batch goes on."
    ),
    claim!("5.1", the_last_flag_bit_is_refused, "Bit 7 of an entry's flags is EINVAL."),
    claim!(
        "5.1",
        a_set_works_on_every_kind_of_ring,
        "SQPOLL, IOPOLL and R_DISABLED rings take a set."
    ),
    claim!(
        "5.2",
        a_failed_registration_drops_its_references,
        "A registration that fails midway keeps no file open."
    ),
    claim!(
        "5.2",
        registering_does_not_wait,
        "Registering files with a request in flight does not wait for it."
    ),
    claim!(
        "5.2",
        unregistering_does_not_wait_on_a_deferred_ring,
        "Unregistering on a DEFER_TASKRUN ring with a read pending returns at once."
    ),
    claim!(
        "5.2",
        the_end_of_a_ring_drops_its_set,
        "A registered pipe end is closed some time after the ring's last reference."
    ),
];

const UNREGISTER: u32 = reg::UNREGISTER_FILES;

fn a_second_set_is_ebusy() -> Outcome {
    let (ring, f) = (ring()?, file(b"a")?);
    must("register", ring.register_files(&[f]))?;
    fails("again", ring.register_files(&[f]), EBUSY)?;
    fails("a bad one", ring.register_files(&[-7]), EBUSY)?;
    fails("none", ring.register(reg::FILES, i32s(&[f]).addr(), 0), EBUSY)?;
    fails("NULL", ring.register(reg::FILES, 0, 1), EFAULT)
}

fn no_files_are_einval() -> Outcome {
    let ring = ring()?;
    fails("a pointer", ring.register(reg::FILES, i32s(&[0]).addr(), 0), EINVAL)?;
    fails("NULL", ring.register(reg::FILES, 0, 0), EFAULT)
}

fn no_array_is_efault() -> Outcome {
    fails("NULL", ring()?.register(reg::FILES, 0, 2), EFAULT)
}

fn the_limit_is_that_of_open_files() -> Outcome {
    let (ring, f) = (ring()?, file(b"a")?);
    must("limit", os::limit(libc::RLIMIT_NOFILE, 64))?;
    fails("65", ring.register_files(&[f; 65]), EMFILE)?;
    fails("very many, a bad pointer", ring.register(reg::FILES, 8, u32::MAX), EMFILE)?;
    expect("64", ring.register_files(&[f; 64]), Ok(0))
}

fn an_unreadable_array_is_efault() -> Outcome {
    let (ring, f) = (ring()?, file(b"a")?);
    let page = Buf::new(8192);
    page.put(4092, &f.to_ne_bytes());
    let hole = Buf::adopt(page.addr() + 4096, 4096);
    must("protect", hole.protect(libc::PROT_NONE))?;
    hole.leak();
    fails("a hole", ring.register(reg::FILES, page.addr() + 4092, 2), EFAULT)?;
    fails("unregister", ring.register(UNREGISTER, 0, 0), ENXIO)
}

fn bad_numbers_are_ebadf() -> Outcome {
    let (ring, f) = (ring()?, file(b"a")?);
    for bad in [999, -2, -3, -5] {
        fails("a bad one", ring.register_files(&[f, bad]), EBADF)?;
    }
    expect("an empty slot", ring.register_files(&[f, -1]), Ok(0))
}

fn unregistering_nothing_is_enxio() -> Outcome {
    let ring = ring()?;
    fails("none", ring.register(UNREGISTER, 0, 0), ENXIO)?;
    must("register", ring.register_files(&[-1]))?;
    must("unregister", ring.register(UNREGISTER, 0, 0))?;
    fails("twice", ring.register(UNREGISTER, 0, 0), ENXIO)
}

fn unregistering_takes_no_argument() -> Outcome {
    let ring = ring()?;
    for round in 0..2 {
        fails("an argument", ring.register(UNREGISTER, 8, 0), EINVAL)?;
        fails("a count", ring.register(UNREGISTER, 0, 1), EINVAL)?;
        if round == 0 {
            must("register", ring.register_files(&[-1]))?;
        }
    }
    Ok(())
}

fn a_bad_index_is_ebadf() -> Outcome {
    let (mut ring, f, buf) = (ring()?, file(b"a")?, Buf::new(8));
    must("register", ring.register_files(&[f, -1]))?;
    for index in [1, 2, -1, i32::MAX, i32::MIN] {
        submit(&mut ring, &[flagged(read(index, buf.addr(), 1, 0, 1), FIXED), nop(2)])?;
        ends_all(&ring, &[(1, -EBADF), (2, 0)])?;
    }
    Ok(())
}

fn the_last_flag_bit_is_refused() -> Outcome {
    res(&mut ring()?, flagged(nop(1), 0x80), -EINVAL)
}

fn a_set_works_on_every_kind_of_ring() -> Outcome {
    let f = file(b"a")?;
    for flags in [Setup::SQPOLL, Setup::IOPOLL, Setup::R_DISABLED] {
        let ring = with(8, flags.bits())?;
        expect("register", ring.register_files(&[f, f]), Ok(0))?;
        expect("unregister", ring.register(UNREGISTER, 0, 0), Ok(0))?;
    }
    Ok(())
}

fn a_failed_registration_drops_its_references() -> Outcome {
    let ring = ring()?;
    let (r, w) = pipe()?;
    fails("register", ring.register_files(&[w, 999]), EBADF)?;
    close(w)?;
    expect("hung up", hung_up(r)?, true)
}

fn registering_does_not_wait() -> Outcome {
    let mut ring = ring()?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    submit(&mut ring, &[read(r, buf.addr(), 8, 0, 1)])?;
    expect("register", ring.register_files(&[r]), Ok(0))?;
    pending(&ring)?;
    put(w, b"x")?;
    ends(&ring, &[(1, 1)])
}

fn unregistering_does_not_wait_on_a_deferred_ring() -> Outcome {
    let mut ring = with(8, (Setup::SINGLE_ISSUER | Setup::DEFER_TASKRUN).bits())?;
    let ((r, w), buf) = (pipe()?, Buf::new(8));
    must("register", ring.register_files(&[r]))?;
    submit(&mut ring, &[flagged(read(0, buf.addr(), 8, 0, 1), FIXED)])?;
    expect("unregister", ring.register(UNREGISTER, 0, 0), Ok(0))?;
    put(w, b"x")?;
    ends(&ring, &[(1, 1)])
}

fn the_end_of_a_ring_drops_its_set() -> Outcome {
    rings_end()?;
    let ring = ring()?;
    let (r, w) = pipe()?;
    must("register", ring.register_files(&[w]))?;
    close(w)?;
    drop(ring);
    // Blocks until the set is gone; the deadline ends a leak.
    expect("the reader sees the end", os::read(r, &mut [0]), Ok(0))
}
