//! Section 1.1: extended attributes.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "1.1",
        an_attribute_is_set_and_read,
        "FSETXATTR sets an attribute, FGETXATTR answers its length and copies the value, without room the length alone.",
        needs "FSETXATTR", "FGETXATTR"
    ),
    claim!(
        "1.1",
        an_attribute_is_set_and_read_by_path,
        "SETXATTR and GETXATTR take a path in addr3, which starts where the thread is; a slot is EBADF there.",
        needs "SETXATTR", "GETXATTR"
    ),
    claim!(
        "1.1",
        an_attribute_is_made_or_replaced,
        "XATTR_CREATE of one that is there is EEXIST, XATTR_REPLACE of one that is not is ENODATA, as is reading it.",
        needs "FSETXATTR", "FGETXATTR"
    ),
    claim!(
        "1.1",
        an_attribute_of_a_slot_is_set,
        "FSETXATTR and FGETXATTR take a slot.",
        needs "FSETXATTR", "FGETXATTR"
    ),
    claim!(
        "1.1",
        an_attributes_name_and_value_are_taken_at_submission,
        "What FSETXATTR sets is what its memory held when it was submitted.",
        needs "FSETXATTR", "FGETXATTR"
    ),
    claim!(
        "1.1",
        a_failed_attribute_does_not_break_its_chain,
        "FSETXATTR, SETXATTR, FGETXATTR and GETXATTR that fail in their call do not cancel what is linked to them; without a file they do.",
        needs "FSETXATTR", "SETXATTR", "FGETXATTR", "GETXATTR"
    ),
    claim!(
        "1.1",
        an_attribute_of_no_path_is_refused_with_its_chain,
        "SETXATTR and GETXATTR of the empty path are ENOENT at submission: nothing of their chain runs.",
        needs "SETXATTR", "GETXATTR"
    ),
];

/// A name, a value, and room for one.
struct Memory {
    name: Buf,
    value: Buf,
    room: Buf,
}

impl Memory {
    fn new() -> Self {
        Self { name: Buf::of(b"user.one\0"), value: Buf::of(b"value"), room: Buf::new(64) }
    }

    fn set(&self, fd: i32, ud: u64) -> Sqe {
        rw(op::FSETXATTR, fd, self.name.addr(), 5, self.value.addr(), ud)
    }

    fn get(&self, fd: i32, len: u32, ud: u64) -> Sqe {
        rw(op::FGETXATTR, fd, self.name.addr(), len, self.room.addr(), ud)
    }
}

/// The same of a path.
fn of_path(sqe: Sqe, path: &Buf) -> Sqe {
    Sqe { opcode: sqe.opcode + 1, fd: -1, addr3: path.addr(), ..sqe }
}

fn an_attribute_is_set_and_read() -> Outcome {
    let (mut ring, f, m) = (ring()?, file(b"x")?, Memory::new());
    res(&mut ring, m.set(f, 1), 0)?;
    res(&mut ring, m.get(f, 0, 2), 5)?;
    expect("untouched", m.room.get(0, 5), vec![0; 5])?;
    res(&mut ring, m.get(f, 4, 3), -libc::ERANGE)?;
    res(&mut ring, m.get(f, 64, 4), 5)?;
    expect("the value", m.room.get(0, 6), b"value\0".to_vec())
}

fn an_attribute_is_set_and_read_by_path() -> Outcome {
    let (mut ring, m) = (ring()?, Memory::new());
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let named = folder.path().join("file");
    std::fs::write(&named, b"x").map_err(|e| e.to_string())?;
    let path = Buf::of(format!("{}\0", named.display()).as_bytes());
    res(&mut ring, of_path(m.set(0, 1), &path), 0)?;
    res(&mut ring, of_path(m.get(0, 64, 2), &path), 5)?;
    expect("the value", m.room.get(0, 5), b"value".to_vec())?;
    for sqe in [m.set(0, 3), m.get(0, 64, 3)] {
        res(&mut ring, flagged(of_path(sqe, &path), FIXED), -EBADF)?;
    }
    Ok(())
}

fn an_attribute_is_made_or_replaced() -> Outcome {
    let (mut ring, f, m) = (ring()?, file(b"x")?, Memory::new());
    let with = |op_flags, ud| Sqe { op_flags, ..m.set(f, ud) };
    res(&mut ring, with(2, 1), -libc::ENODATA)?;
    res(&mut ring, m.get(f, 64, 2), -libc::ENODATA)?;
    res(&mut ring, with(1, 3), 0)?;
    res(&mut ring, with(1, 4), -EEXIST)?;
    res(&mut ring, with(2, 5), 0)?;
    res(&mut ring, with(4, 6), -EINVAL)
}

fn an_attribute_of_a_slot_is_set() -> Outcome {
    let (mut ring, f, m) = (ring()?, file(b"x")?, Memory::new());
    must("register", ring.register_files(&[f]))?;
    res(&mut ring, flagged(m.set(0, 1), FIXED), 0)?;
    res(&mut ring, flagged(m.get(0, 64, 2), FIXED), 5)?;
    res(&mut ring, flagged(m.get(1, 64, 3), FIXED), -EBADF)
}

fn an_attributes_name_and_value_are_taken_at_submission() -> Outcome {
    let (mut ring, f, m, (r, w)) = (ring()?, file(b"x")?, Memory::new(), pipe()?);
    let buf = Buf::new(8);
    let first = flagged(read(r, buf.addr(), 1, 0, 1), LINK);
    submit(&mut ring, &[first, m.set(f, 2)])?;
    m.value.put(0, b"other");
    m.name.put(0, b"user.two\0");
    put(w, b"x")?;
    ends(&ring, &[(1, 1), (2, 0)])?;
    res(&mut ring, m.get(f, 64, 3), -libc::ENODATA)?;
    m.name.put(0, b"user.one\0");
    res(&mut ring, m.get(f, 64, 4), 5)?;
    expect("the value", m.room.get(0, 5), b"value".to_vec())
}

/// What a link does behind a request that ends with this.
fn leads_to(ring: &mut Ring, sqe: Sqe, want: [i32; 2]) -> Outcome {
    submit(ring, &[flagged(sqe, LINK), nop(2)])?;
    let what = format!("opcode {} and what follows", sqe.opcode);
    let ended = wait_for(ring, 2)?;
    let of = |ud| ended.iter().find(|c| c.user_data == ud).map(|c| c.res);
    expect(&what, [of(1), of(2)], want.map(Some))
}

fn a_failed_attribute_does_not_break_its_chain() -> Outcome {
    let (mut ring, f, m) = (ring()?, file(b"x")?, Memory::new());
    let nowhere = Buf::of(b"/nowhere/at/all\0");
    leads_to(&mut ring, m.get(f, 64, 1), [-libc::ENODATA, 0])?;
    leads_to(&mut ring, Sqe { op_flags: 2, ..m.set(f, 1) }, [-libc::ENODATA, 0])?;
    for sqe in [m.set(0, 1), m.get(0, 64, 1)] {
        leads_to(&mut ring, of_path(sqe, &nowhere), [-ENOENT, 0])?;
    }
    for sqe in [m.set(999, 1), m.get(999, 64, 1)] {
        leads_to(&mut ring, sqe, [-EBADF, -ECANCELED])?;
    }
    Ok(())
}

fn an_attribute_of_no_path_is_refused_with_its_chain() -> Outcome {
    let (mut ring, m, empty) = (ring()?, Memory::new(), Buf::of(b"\0"));
    for sqe in [m.set(0, 1), m.get(0, 64, 1)] {
        let sqe = of_path(sqe, &empty);
        // Whether it was prepared is seen by what its chain does: a failed call does not break it.
        leads_to(&mut ring, sqe, [-ENOENT, -ECANCELED])?;
    }
    Ok(())
}
