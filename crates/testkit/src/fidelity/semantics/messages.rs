//! SENDMSG and RECVMSG: what is copied when, what a receive tells, descriptors that travel along.

use super::kit::*;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "1.1",
        a_messages_header_is_copied_at_submission,
        "Header, iovecs and destination may change once SENDMSG or RECVMSG was submitted."
    ),
    claim!(
        "1.1",
        a_received_message_is_told_in_its_header,
        "RECVMSG writes the name and its length, MSG_TRUNC and the length of control data."
    ),
    claim!(
        "1.1",
        the_room_for_a_name_is_read_at_the_end,
        "How much of a name there is room for is read when the message is there; if negative, EINVAL."
    ),
    claim!(
        "1.1",
        a_message_that_cannot_be_told_is_gone,
        "A RECVMSG whose name cannot be written is EFAULT, and the message is taken."
    ),
    claim!(
        "1.1",
        descriptors_travel_in_control_data,
        "SCM_RIGHTS goes through SENDMSG and RECVMSG, with MSG_CMSG_CLOEXEC too.",
        needs "SENDMSG", "RECVMSG"
    ),
    claim!(
        "1.1",
        control_data_is_read_when_it_is_sent,
        "Control data is not copied at submission."
    ),
    claim!(
        "1.1",
        a_ring_is_not_sent_in_a_message,
        "A ring in SCM_RIGHTS is EINVAL over AF_UNIX; UDP does not look at it."
    ),
    claim!(
        "1.1",
        a_message_is_received_whole,
        "RECVMSG with MSG_WAITALL over a stream fills all its buffers; with control data it takes what is there."
    ),
    claim!(
        "1.1",
        a_message_is_sent_whole,
        "SENDMSG with MSG_WAITALL over a stream goes on until all of it is sent."
    ),
    claim!(
        "3.6",
        a_cut_message_breaks_its_chain,
        "With MSG_WAITALL a short RECVMSG and MSG_TRUNC break a link, without it they do not."
    ),
    claim!(
        "1.1",
        a_receive_of_errors_ends_when_bytes_come,
        "RECVMSG with MSG_ERRQUEUE waits, and is EAGAIN when bytes arrive."
    ),
    claim!(
        "1.1",
        an_error_is_received_from_its_queue,
        "RECVMSG with MSG_ERRQUEUE that waits takes the error that came."
    ),
    claim!(
        "1.1",
        too_many_buffers_are_emsgsize,
        "Over 1024 buffers are EMSGSIZE, of SENDMSG behind a bad name, before a bad array."
    ),
    claim!(
        "1.1",
        a_message_of_no_socket_is_refused_before_it_waits,
        "SENDMSG and RECVMSG of a pipe are ENOTSOCK with POLL_FIRST too."
    ),
    claim!(
        "1.1",
        a_header_of_32_bits_is_told_if_asked,
        "RECVMSG with MSG_CMSG_COMPAT writes a header of 32-bit fields."
    ),
    claim!(
        "2.6",
        a_recvmsg_that_waited_says_whether_bytes_are_left,
        "RECVMSG sets SOCK_NONEMPTY as RECV does."
    ),
    claim!("1.1", a_send_goes_to_an_address, "SEND with addr2 sends there, and copies it."),
    claim!(
        "2.7",
        a_vector_is_sent,
        "SEND with SEND_VECTORIZED sends its iovecs, which it copied; SENDMSG takes the flag.",
        needs "SEND_VECTORIZED"
    ),
];

/// `IORING_OP_RECVMSG`.
const RECVMSG: u8 = 10;
const LEFT: u32 = 4;
const WAITALL: u32 = libc::MSG_WAITALL as u32;
const DONTWAIT: u32 = libc::MSG_DONTWAIT as u32;
const POLL_FIRST: u16 = 1;
const VECTORIZED: u16 = 32;
/// Places in a [`Msg`]'s memory.
const IOVS: usize = 64;
const CONTROL: usize = 256;
const NAME: usize = 512;
const DATA: usize = 1024;

/// A `struct msghdr` with all it points to.
struct Msg(Buf);

impl Msg {
    /// Without name and control data; buffers of these lengths.
    fn new(lens: &[u64]) -> Self {
        let m = Self(Buf::new(4096));
        let mut at = m.at(DATA);
        for (i, len) in lens.iter().enumerate() {
            m.0.put64(IOVS + 16 * i, at);
            m.0.put64(IOVS + 16 * i + 8, *len);
            at += len;
        }
        m.0.put64(16, m.at(IOVS));
        m.0.put64(24, lens.len() as u64);
        m.0.put(DATA, b"abcdefghijklmnop");
        m
    }

    fn at(&self, off: usize) -> u64 {
        self.0.addr() + off as u64
    }

    /// Room for a name, or one.
    fn named(self, name: &[u8], len: u32) -> Self {
        self.0.put(NAME, name);
        self.0.put64(0, self.at(NAME));
        self.0.store(8, len);
        self
    }

    /// Control data, or room for it.
    fn with_control(self, control: &[u64], len: u64) -> Self {
        for (i, word) in control.iter().enumerate() {
            self.0.put64(CONTROL + 8 * i, *word);
        }
        self.0.put64(32, self.at(CONTROL));
        self.0.put64(40, len);
        self
    }

    fn send(&self, fd: i32, ud: u64) -> Sqe {
        rw(op::SENDMSG, fd, self.0.addr(), 1, 0, ud)
    }

    fn recv(&self, fd: i32, ud: u64) -> Sqe {
        rw(RECVMSG, fd, self.0.addr(), 1, 0, ud)
    }

    fn data(&self, len: usize) -> Vec<u8> {
        self.0.get(DATA, len)
    }

    /// (length of the name, of control data, flags).
    fn told(&self) -> (u32, u64, u32) {
        (self.0.load(8), self.0.get64(40), self.0.load(48))
    }
}

/// `SCM_RIGHTS` of one descriptor, which takes 24 bytes.
fn rights(fd: i32) -> [u64; 3] {
    [20, 1 | 1 << 32, u64::from(fd.cast_unsigned())]
}

fn with_flags(sqe: Sqe, op_flags: u32) -> Sqe {
    Sqe { op_flags, ..sqe }
}

fn udp() -> Res<(i32, i32)> {
    must("udp", os::state::udp_pair())
}

/// A UDP socket that is not connected, and the port of one that is bound.
fn apart() -> Res<(i32, i32, Buf)> {
    let call = |nr, fd: i32, a: u64, b: u64| os::raw(nr, [i64::from(fd).cast_unsigned(), a, b]);
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    let to = must("socket", os::socket(libc::AF_INET, kind))?;
    let addr = Buf::of(&os::loopback(0));
    must("bind", call(libc::SYS_bind, to, addr.addr(), 16))?;
    let len = i32s(&[16]);
    must("name", call(libc::SYS_getsockname, to, addr.addr(), len.addr()))?;
    Ok((must("socket", os::socket(libc::AF_INET, kind))?, to, addr))
}

fn a_messages_header_is_copied_at_submission() -> Outcome {
    let (mut ring, (r, w)) = (ring()?, pipe()?);
    let (a, b) = pair()?;
    let m = Msg::new(&[2, 3]);
    submit(&mut ring, &[m.recv(a, 1)])?;
    pending(&ring)?;
    m.0.put64(16, 0);
    m.0.put64(IOVS, 0);
    put(b, b"12345")?;
    ends(&ring, &[(1, 5)])?;
    expect("the buffers from before", m.data(6), b"12345f".to_vec())?;
    // A destination, too; it starts when the pipe is read.
    let (from, to, addr) = apart()?;
    let m = Msg::new(&[4, 4]).named(&addr.get(0, 16), 16);
    let byte = Buf::new(8);
    let head = flagged(read(r, byte.addr(), 1, 0, 2), LINK);
    submit(&mut ring, &[head, m.send(from, 3)])?;
    m.0.put(NAME, &[0; 16]);
    m.0.put64(IOVS + 24, 1);
    m.0.put64(24, 0);
    put(w, b"x")?;
    ends(&ring, &[(2, 1), (3, 8)])?;
    expect("arrives", get(to)?, b"abcdefgh".to_vec())
}

fn a_received_message_is_told_in_its_header() -> Outcome {
    let (mut ring, (to, from)) = (ring()?, udp()?);
    let m = Msg::new(&[2, 2]).named(&[0; 16], 100).with_control(&[], 64);
    put(to, b"123456")?;
    res(&mut ring, m.recv(from, 1), 4)?;
    expect("length of the name, of control data, flags", m.told(), (16, 0, 0x20))?;
    expect("family", m.0.get(NAME, 2), vec![2, 0])?;
    expect("data", m.data(5), b"1234e".to_vec())?;
    // Nobody asked for a name: its length stays.
    m.0.put64(0, 0);
    m.0.store(8, 77);
    put(to, b"12")?;
    res(&mut ring, m.recv(from, 2), 2)?;
    expect("told", m.told(), (77, 0, 0))?;
    // A stream has none.
    let (to, from) = pair()?;
    let m = Msg::new(&[8]).named(&[7; 16], 16);
    put(to, b"12")?;
    res(&mut ring, m.recv(from, 3), 2)?;
    expect("told", (m.told(), m.0.get(NAME, 2)), ((0, 0, 0), vec![7, 7]))
}

fn the_room_for_a_name_is_read_at_the_end() -> Outcome {
    let (mut ring, (to, from)) = (ring()?, udp()?);
    let m = Msg::new(&[8]).named(&[7; 16], 16);
    submit(&mut ring, &[m.recv(from, 1)])?;
    pending(&ring)?;
    m.0.store(8, 3);
    put(to, b"12")?;
    ends(&ring, &[(1, 2)])?;
    expect("the whole length", m.told().0, 16)?;
    let name = m.0.get(NAME, 5);
    expect("three bytes of it", (name[0], name[3], name[4]), (2, 7, 7))?;
    submit(&mut ring, &[m.recv(from, 2)])?;
    pending(&ring)?;
    m.0.store(8, u32::MAX);
    put(to, b"12")?;
    ends(&ring, &[(2, -EINVAL)])?;
    expect("not told", m.told().0, u32::MAX)?;
    // At submission it is refused, but only of a name.
    res(&mut ring, m.recv(from, 3), -EINVAL)?;
    m.0.put64(0, 0);
    put(to, b"123")?;
    res(&mut ring, m.recv(from, 4), 3)
}

fn a_message_that_cannot_be_told_is_gone() -> Outcome {
    let (mut ring, (to, from)) = (ring()?, udp()?);
    let m = Msg::new(&[8]).named(&[], 16);
    m.0.put64(0, 0x1000);
    put(to, b"12")?;
    res(&mut ring, m.recv(from, 1), -EFAULT)?;
    m.0.put64(0, 0);
    res(&mut ring, with_flags(m.recv(from, 2), DONTWAIT), -libc::EAGAIN)
}

fn descriptors_travel_in_control_data() -> Outcome {
    let (mut ring, (a, b)) = (ring()?, pair()?);
    for (flags, cloexec) in [(0, 0), (libc::MSG_CMSG_CLOEXEC as u32, libc::FD_CLOEXEC)] {
        let (r, w) = pipe()?;
        let out = Msg::new(&[1]).with_control(&rights(w), 24);
        let m = Msg::new(&[8]).with_control(&[], 64);
        submit(&mut ring, &[with_flags(m.recv(b, 1), flags)])?;
        pending(&ring)?;
        res_of(&mut ring, out.send(a, 2), &[(2, 1), (1, 1)])?;
        expect("length of control data, flags", (m.told().1, m.told().2), (24, flags))?;
        let fd = m.0.load(CONTROL + 16).cast_signed();
        expect("close-on-exec", os::fcntl(fd, libc::F_GETFD, 0), Ok(cloexec))?;
        close(w)?;
        put(fd, b"through")?;
        expect("the same pipe", get(r)?, b"through".to_vec())?;
        close(fd)?;
    }
    // Without room they are dropped.
    let out = Msg::new(&[1]).with_control(&rights(a), 24);
    res(&mut ring, out.send(a, 3), 1)?;
    let m = Msg::new(&[8]);
    res(&mut ring, m.recv(b, 4), 1)?;
    expect("MSG_CTRUNC", m.told(), (0, 0, 8))
}

/// Submits it; these completions, in whatever order.
fn res_of(ring: &mut Ring, sqe: Sqe, want: &[(u64, i32)]) -> Outcome {
    submit(ring, &[sqe])?;
    ends_all(ring, want)
}

fn control_data_is_read_when_it_is_sent() -> Outcome {
    let (mut ring, (a, b), (r, w)) = (ring()?, pair()?, pipe()?);
    let m = Msg::new(&[1]).with_control(&rights(999), 24);
    let byte = Buf::new(8);
    submit(&mut ring, &[flagged(read(r, byte.addr(), 1, 0, 1), LINK), m.send(a, 2)])?;
    m.0.store(CONTROL + 16, w.cast_unsigned());
    put(w, b"x")?;
    ends(&ring, &[(1, 1), (2, 1)])?;
    let m = Msg::new(&[8]).with_control(&[], 64);
    res(&mut ring, m.recv(b, 3), 1)?;
    put(m.0.load(CONTROL + 16).cast_signed(), b"y")?;
    expect("the pipe", get(r)?, b"y".to_vec())
}

fn a_ring_is_not_sent_in_a_message() -> Outcome {
    let (mut ring, (a, _b), (u, _v)) = (ring()?, pair()?, udp()?);
    let m = Msg::new(&[1]).with_control(&rights(ring.fd), 24);
    res(&mut ring, m.send(a, 1), -EINVAL)?;
    res(&mut ring, m.send(u, 2), 1)?;
    res(&mut ring, m.send(999, 3), -EBADF)?;
    let (_r, w) = pipe()?;
    res(&mut ring, m.send(w, 4), -ENOTSOCK)
}

fn a_message_is_received_whole() -> Outcome {
    for (to, from) in [tcp()?, pair()?] {
        let mut ring = ring()?;
        let m = Msg::new(&[2, 0, 5]);
        submit(&mut ring, &[with_flags(m.recv(from, 1), WAITALL)])?;
        for piece in [b"1", b"2", b"3"] {
            pending(&ring)?;
            put(to, piece)?;
        }
        waits(&ring)?;
        put(to, b"45678")?;
        ends(&ring, &[(1, 7)])?;
        expect("in order", m.data(8), b"1234567h".to_vec())?;
        expect("the rest", get(from)?, b"8".to_vec())?;
        let m = m.with_control(&[], 64);
        put(to, b"12")?;
        res(&mut ring, with_flags(m.recv(from, 2), WAITALL), 2)?;
    }
    Ok(())
}

fn a_message_is_sent_whole() -> Outcome {
    const ALL: u64 = 3 << 20;
    let (mut ring, (to, from)) = (ring()?, pair()?);
    let big = Buf::new(ALL as usize);
    let m = Msg::new(&[1, 1]);
    m.0.put64(IOVS, big.addr());
    m.0.put64(IOVS + 8, 1 << 20);
    m.0.put64(IOVS + 16, big.addr());
    m.0.put64(IOVS + 24, ALL - (1 << 20));
    submit(&mut ring, &[with_flags(m.send(to, 1), WAITALL)])?;
    pending(&ring)?;
    let mut buf = vec![0; 1 << 16];
    let mut left = ALL as usize;
    while left > 0 {
        left -= must("read", os::read(from, &mut buf))?;
    }
    ends(&ring, &[(1, ALL as i32)])
}

fn a_cut_message_breaks_its_chain() -> Outcome {
    let mut ring = ring()?;
    let (to, from) = udp()?;
    for (flags, next) in [(0, 0), (WAITALL, -ECANCELED)] {
        put(to, b"12345678")?;
        let m = Msg::new(&[4]);
        let recv = flagged(with_flags(m.recv(from, 1), flags), LINK);
        runs(&mut ring, &[recv, nop(2)], &[(1, 4), (2, next)])?;
    }
    for (control, next) in [(0, -ECANCELED), (64, 0)] {
        let (to, from) = pair()?;
        put(to, b"12")?;
        close(to)?;
        let m = Msg::new(&[4]).with_control(&[], control);
        let recv = flagged(with_flags(m.recv(from, 1), WAITALL), LINK);
        runs(&mut ring, &[recv, nop(2)], &[(1, 2), (2, next)])?;
    }
    Ok(())
}

fn a_receive_of_errors_ends_when_bytes_come() -> Outcome {
    for (to, from) in [udp()?, tcp()?] {
        let mut ring = ring()?;
        let m = Msg::new(&[8]);
        let errors = with_flags(m.recv(from, 1), libc::MSG_ERRQUEUE as u32);
        submit(&mut ring, &[errors])?;
        waits(&ring)?;
        put(to, b"12")?;
        ends(&ring, &[(1, -libc::EAGAIN)])?;
        res(&mut ring, errors, -libc::EAGAIN)?;
    }
    Ok(())
}

fn an_error_is_received_from_its_queue() -> Outcome {
    const IP_RECVERR: u64 = 11;
    let mut ring = ring()?;
    let (nobody, port) = must("port", os::state::closed_port())?;
    let fd = must("socket", os::socket(libc::AF_INET, libc::SOCK_DGRAM))?;
    let one = i32s(&[1]);
    let number = i64::from(fd).cast_unsigned();
    let set = [number, 0, IP_RECVERR, one.addr(), 4, 0];
    must("IP_RECVERR", crate::call::sys(libc::SYS_setsockopt, set))?;
    must("connect", os::state::connect(fd, port))?;
    let m = Msg::new(&[8]).with_control(&[], 128);
    submit(&mut ring, &[with_flags(m.recv(fd, 1), libc::MSG_ERRQUEUE as u32)])?;
    pending(&ring)?;
    put(fd, b"12")?;
    ends(&ring, &[(1, 2)])?;
    expect("MSG_ERRQUEUE", m.told().2, libc::MSG_ERRQUEUE as u32)?;
    close(nobody)
}

fn too_many_buffers_are_emsgsize() -> Outcome {
    let (mut ring, (a, b)) = (ring()?, udp()?);
    let m = Msg::new(&[1]);
    m.0.put64(16, 0x1000);
    m.0.put64(24, 1025);
    res(&mut ring, m.send(a, 1), -libc::EMSGSIZE)?;
    res(&mut ring, m.recv(b, 2), -libc::EMSGSIZE)?;
    let m = m.named(&[], 16);
    m.0.put64(0, 0x1000);
    res(&mut ring, m.send(a, 3), -EFAULT)?;
    res(&mut ring, m.recv(b, 4), -libc::EMSGSIZE)?;
    m.0.put64(0, 0);
    m.0.put64(24, 1024);
    res(&mut ring, m.send(a, 5), -EFAULT)?;
    // A negative length in the array, before a buffer that nobody has.
    let m = Msg::new(&[1, 1]);
    m.0.put64(IOVS, u64::MAX);
    res(&mut ring, m.send(a, 6), -EFAULT)?;
    m.0.put64(IOVS + 24, 1 << 63);
    res(&mut ring, m.send(a, 7), -EINVAL)?;
    res(&mut ring, m.recv(b, 8), -EINVAL)
}

fn a_message_of_no_socket_is_refused_before_it_waits() -> Outcome {
    let (mut ring, (r, w)) = (ring()?, pipe()?);
    let m = Msg::new(&[1]);
    for ioprio in [0, POLL_FIRST] {
        res(&mut ring, Sqe { ioprio, ..m.send(w, 1) }, -ENOTSOCK)?;
        res(&mut ring, Sqe { ioprio, ..m.recv(r, 2) }, -ENOTSOCK)?;
        res(&mut ring, Sqe { ioprio, ..m.recv(999, 3) }, -EBADF)?;
    }
    Ok(())
}

fn a_header_of_32_bits_is_told_if_asked() -> Outcome {
    const COMPAT: u32 = 1 << 31;
    let (mut ring, (to, from)) = (ring()?, udp()?);
    let m = Msg::new(&[2]).named(&[0; 16], 16);
    // The room for a name is read there, too.
    m.0.store(4, 16);
    m.0.put64(0, m.at(NAME));
    put(to, b"123")?;
    let recv = with_flags(m.recv(from, 1), COMPAT);
    submit(&mut ring, &[recv])?;
    // What the upper half of the name's address says is no room.
    ends(&ring, &[(1, 2)])?;
    expect(
        "length, of control data, flags",
        (m.0.load(4), m.0.load(20), m.0.load(24)),
        (16, 0, 0x20),
    )
}

fn a_recvmsg_that_waited_says_whether_bytes_are_left() -> Outcome {
    for (to, from) in [tcp()?, pair()?] {
        let mut ring = ring()?;
        for (len, want) in [(3, (3, LEFT)), (7, (1, 0)), (4, (4, 0))] {
            let m = Msg::new(&[1, len - 1]);
            submit(&mut ring, &[m.recv(from, 1)])?;
            if len != 7 {
                pending(&ring)?;
                put(to, b"abcd")?;
            }
            ends_flags(&ring, &[(1, want.0, want.1)])?;
        }
        let m = Msg::new(&[1, 1]);
        put(to, b"ab")?;
        submit(&mut ring, &[with_flags(m.recv(from, 2), libc::MSG_PEEK as u32)])?;
        ends_flags(&ring, &[(2, 2, LEFT)])?;
    }
    Ok(())
}

fn a_send_goes_to_an_address() -> Outcome {
    let (mut ring, (r, w)) = (ring()?, pipe()?);
    let (from, to, addr) = apart()?;
    let data = Buf::of(b"abcd");
    let send =
        |ud| Sqe { off: addr.addr(), file_index: 16, ..rw(op::SEND, from, data.addr(), 4, 0, ud) };
    res(&mut ring, Sqe { off: 0, ..send(1) }, -libc::EDESTADDRREQ)?;
    res(&mut ring, send(2), 4)?;
    expect("arrives", get(to)?, b"abcd".to_vec())?;
    res(&mut ring, Sqe { file_index: 0, ..send(3) }, -EINVAL)?;
    res(&mut ring, Sqe { file_index: 129, ..send(4) }, -EINVAL)?;
    res(&mut ring, Sqe { off: 0x1000, ..send(5) }, -EFAULT)?;
    let byte = Buf::new(8);
    submit(&mut ring, &[flagged(read(r, byte.addr(), 1, 0, 6), LINK), send(7)])?;
    addr.put(0, &[0; 16]);
    put(w, b"x")?;
    ends(&ring, &[(6, 1), (7, 4)])?;
    expect("arrives", get(to)?, b"abcd".to_vec())
}

fn a_vector_is_sent() -> Outcome {
    let (mut ring, (to, from), (r, w)) = (ring()?, pair()?, pipe()?);
    let m = Msg::new(&[3, 0, 4]);
    let send = |ud| Sqe { ioprio: VECTORIZED, ..rw(op::SEND, to, m.at(IOVS), 3, 0, ud) };
    res(&mut ring, send(1), 7)?;
    expect("arrives", get(from)?, b"abcdefg".to_vec())?;
    let byte = Buf::new(8);
    submit(&mut ring, &[flagged(read(r, byte.addr(), 1, 0, 2), LINK), send(3)])?;
    m.0.put64(IOVS, 0);
    put(w, b"x")?;
    ends(&ring, &[(2, 1), (3, 7)])?;
    expect("arrives", get(from)?, b"abcdefg".to_vec())?;
    res(&mut ring, send(4), -EFAULT)?;
    res(&mut ring, Sqe { len: 1025, ..send(5) }, -EINVAL)?;
    res(&mut ring, Sqe { len: 0, ..send(6) }, 0)?;
    let m = Msg::new(&[2]);
    res(&mut ring, Sqe { ioprio: VECTORIZED, ..m.send(to, 7) }, 2)?;
    let recv = rw(op::RECV, from, m.at(DATA), 1, 0, 8);
    res(&mut ring, Sqe { ioprio: VECTORIZED, ..recv }, -EINVAL)
}
