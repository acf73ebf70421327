use super::*;
use crate::raw::testing::in_child;
use crate::thread::{Name, Spec, Table};
use std::collections::HashMap;
use std::sync::{Condvar, Mutex, OnceLock};

/// A ring and the memory that its engine has.
struct Both {
    pages: LinuxPages,
    ring: LinuxRing,
}

impl Both {
    fn new(spec: &RingSpec) -> SysResult<Self> {
        create(spec).map(|(ring, pages)| Self { pages, ring })
    }

    fn rings(&self) -> &Map {
        self.pages.rings()
    }

    fn sqes(&self) -> &Map {
        self.pages.sqes()
    }
}

impl std::ops::Deref for Both {
    type Target = LinuxRing;

    fn deref(&self) -> &LinuxRing {
        &self.ring
    }
}

/// Rings by id, and the ids that ended, in order.
#[derive(Default)]
struct World {
    rings: HashMap<u64, Arc<Both>>,
    ended: Vec<u64>,
    asked: HashMap<u64, u32>,
}

static WORLD: OnceLock<(Mutex<World>, Condvar)> = OnceLock::new();

fn world() -> &'static (Mutex<World>, Condvar) {
    WORLD.get_or_init(Default::default)
}

/// What the engine does when a ring's last descriptor went.
fn tell(id: RingId) -> bool {
    let ring = world().0.lock().unwrap().rings.get(&id.0).map(Arc::clone);
    let ended = ring.is_none_or(|ring| !ring.still_mapped());
    let mut w = world().0.lock().unwrap();
    *w.asked.entry(id.0).or_default() += 1;
    if ended {
        w.rings.remove(&id.0);
        w.ended.push(id.0);
    }
    world().1.notify_all();
    ended
}

fn wait_for(what: impl Fn(&World) -> bool) {
    let (lock, changed) = world();
    let mut w = lock.lock().unwrap();
    while !what(&w) {
        w = changed.wait(w).unwrap();
    }
}

fn ended(id: RingId) -> bool {
    world().0.lock().unwrap().ended.contains(&id.0)
}

fn geometry() -> Geometry {
    Geometry::new(8, 16, false, false, true)
}

fn new_ring(user_memory: Option<(u64, u64)>) -> SysResult<(Arc<Both>, RingId)> {
    static NEXT: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(1);
    keeper::on_ring_closed(tell);
    let id = RingId(NEXT.fetch_add(1, Relaxed));
    let ring = Arc::new(Both::new(&RingSpec { id, geometry: geometry(), user_memory })?);
    world().0.lock().unwrap().rings.insert(id.0, Arc::clone(&ring));
    Ok((ring, id))
}

/// For a forked child, where locks of the test's other threads may be held for ever.
fn plain(id: u64) -> Both {
    Both::new(&RingSpec { id: RingId(id), geometry: geometry(), user_memory: None }).unwrap()
}

fn installed() -> (Arc<Both>, RingId, i32) {
    let (ring, id) = new_ring(None).unwrap();
    let fd = install(&ring).unwrap();
    (ring, id, fd)
}

/// As the interposed close.
fn close(fd: i32) {
    fdtable::closed(fd);
    raw::close(fd).unwrap();
}

const SHARED: MmapArgs = MmapArgs {
    addr: 0,
    len: 4096,
    prot: g::PROT_READ | g::PROT_WRITE,
    flags: g::MAP_SHARED,
    offset: 0,
};

fn readable(fd: i32) -> i16 {
    let mut fds = [g::pollfd { fd, events: 0x45, revents: 0 }];
    raw::poll(&mut fds, 0).unwrap();
    fds[0].revents
}

const IN: i16 = 0x41;
const OUT: i16 = 4;

fn post(ring: &Both) {
    let announced = ring.announce();
    let tail = ring.rings().w32(geometry().cq_offsets().tail as usize);
    tail.fetch_add(1, Release);
    ring.signal(announced);
}

fn reap_all(ring: &Both) {
    let at = geometry().cq_offsets();
    let tail = ring.rings().w32(at.tail as usize).load(Relaxed);
    ring.rings().w32(at.head as usize).store(tail, Release);
}

#[test]
fn the_descriptor_takes_the_lowest_number_and_looks_idle() {
    assert_eq!(
        in_child(|| {
            let lowest = raw::eventfd(0, 0).unwrap();
            raw::close(lowest).unwrap();
            let ring = plain(1 << 29);
            let Ok(fd) = install(&ring) else { return 2 };
            let cloexec = raw::fcntl(fd, g::F_GETFD, 0) == Ok(g::FD_CLOEXEC as i32);
            let mode = raw::fcntl(fd, g::F_GETFL, 0).unwrap().cast_unsigned() & g::O_ACCMODE;
            i32::from(!(fd == lowest && cloexec && mode == g::O_RDWR && readable(fd) == OUT))
        }),
        0
    );
}

#[test]
fn the_last_close_is_told_not_an_earlier_one() {
    let (_ring, id, fd) = installed();
    let dup = raw::fcntl(fd, g::F_DUPFD_CLOEXEC, 0).unwrap();
    close(fd);
    assert!(!ended(id));
    assert_eq!(fdtable::ring_of(dup), Ok(id));
    close(dup);
    wait_for(|w| w.ended.contains(&id.0));
    assert!(find(id).is_some(), "the engine still has it");
}

#[test]
fn a_forked_childs_copy_keeps_the_ring_until_it_goes() {
    let (_ring, id, fd) = installed();
    let (theirs, ours) = raw::pipe2(g::O_CLOEXEC).unwrap();
    // SAFETY: the child makes raw calls only.
    let pid = unsafe { raw::syscall0(g::__NR_fork) };
    if pid == 0 {
        let _ = raw::close(ours);
        // Until the parent closes its end.
        let _ = raw::read(theirs, &mut [0]);
        raw::exit_group(0);
    }
    close(fd);
    raw::close(theirs).unwrap();
    // The janitor is not asked while the child lives: nothing to wait for but the other order.
    assert!(!ended(id));
    raw::close(ours).unwrap();
    // SAFETY: waits for the child.
    unsafe { raw::syscall4(g::__NR_wait4, pid.cast_unsigned(), 0, 0, 0) };
    wait_for(|w| w.ended.contains(&id.0));
}

#[test]
fn a_mapping_keeps_the_ring_alive_after_the_last_close() {
    let (ring, id, fd) = installed();
    let at = ring_mmap(fd, SHARED).unwrap().unwrap();
    ring.rings().w32(24).store(77, Relaxed);
    close(fd);
    // Asked at least twice, each time finding the mapping, with the memory intact in between.
    wait_for(|w| w.asked.get(&id.0).is_some_and(|n| *n >= 2));
    assert!(!ended(id));
    let word: *const u32 = core::ptr::with_exposed_provenance(at + 24);
    // SAFETY: our mapping of the ring.
    assert_eq!(unsafe { word.read_volatile() }, 77);
    assert_eq!(ring.rings().w32(24).load(Relaxed), 77);
    // SAFETY: our mapping.
    unsafe { raw::munmap(at, 4096) }.unwrap();
    keeper::poke();
    wait_for(|w| w.ended.contains(&id.0));
}

#[test]
fn both_ring_offsets_show_one_memory_and_the_sqes_another() {
    let (ring, _, fd) = installed();
    let map = |offset| ring_mmap(fd, MmapArgs { offset, ..SHARED }).unwrap().unwrap();
    let (sq, cq, sqes) = (map(0), map(0x800_0000), map(0x1000_0000));
    ring.rings().w32(100).store(1, Relaxed);
    ring.sqes().w32(100).store(2, Relaxed);
    // SAFETY: our mappings of the ring.
    let word =
        |at: usize| unsafe { core::ptr::with_exposed_provenance::<u32>(at + 100).read_volatile() };
    assert_eq!((word(sq), word(cq), word(sqes)), (1, 1, 2));
    close(fd);
}

/// What 6.18 answers to each of these for a ring of its own.
#[test]
fn mmap_refuses_what_the_kernel_refuses_and_in_its_order() {
    let (_ring, _, fd) = installed();
    let rwx = g::PROT_READ | g::PROT_WRITE | g::PROT_EXEC;
    let hint = 0x100_0000_0000;
    let bad = 0x1800_0000;
    let fixed = g::MAP_FIXED_NOREPLACE;
    let validate = g::MAP_SHARED_VALIDATE | 1 << 25;
    let cases = [
        (MmapArgs { len: 0, ..SHARED }, Err(Errno::EINVAL)),
        (MmapArgs { offset: 5, ..SHARED }, Err(Errno::EINVAL)),
        (MmapArgs { offset: bad, ..SHARED }, Err(Errno::ENOMEM)),
        (MmapArgs { addr: hint, ..SHARED }, Err(Errno::EINVAL)),
        (MmapArgs { addr: hint, offset: bad, ..SHARED }, Err(Errno::EINVAL)),
        (MmapArgs { prot: rwx, ..SHARED }, Err(Errno::EPERM)),
        (MmapArgs { prot: rwx, offset: bad, ..SHARED }, Err(Errno::ENOMEM)),
        (MmapArgs { prot: rwx, addr: hint, ..SHARED }, Err(Errno::EINVAL)),
        (MmapArgs { prot: rwx, flags: g::MAP_PRIVATE, ..SHARED }, Err(Errno::EPERM)),
        (MmapArgs { offset: 0x8000_0000, ..SHARED }, Err(Errno::ENOMEM)),
        (MmapArgs { flags: 0, ..SHARED }, Err(Errno::EINVAL)),
        (MmapArgs { flags: 0, offset: bad, ..SHARED }, Err(Errno::ENOMEM)),
        (MmapArgs { len: 1 << 47, ..SHARED }, Err(Errno::ENOMEM)),
        (MmapArgs { len: u64::MAX, addr: hint, ..SHARED }, Err(Errno::ENOMEM)),
        (MmapArgs { addr: 5, flags: g::MAP_SHARED | fixed, ..SHARED }, Err(Errno::EINVAL)),
        (MmapArgs { prot: rwx, flags: 0, ..SHARED }, Err(Errno::EINVAL)),
        (MmapArgs { prot: rwx, flags: validate, ..SHARED }, Err(Errno::EOPNOTSUPP)),
        (MmapArgs { flags: validate, offset: bad, ..SHARED }, Err(Errno::ENOMEM)),
        (MmapArgs { flags: g::MAP_SHARED_VALIDATE, ..SHARED }, Ok(())),
        (MmapArgs { prot: 0x13, ..SHARED }, Ok(())),
        (MmapArgs { len: 1 << 20, offset: 0x1000_0000, ..SHARED }, Ok(())),
        (MmapArgs { offset: 0x1_0000_0000, ..SHARED }, Ok(())),
        (MmapArgs { addr: 5, ..SHARED }, Ok(())),
        (MmapArgs { prot: 0, ..SHARED }, Ok(())),
        (MmapArgs { flags: g::MAP_PRIVATE, ..SHARED }, Ok(())),
        (MmapArgs { offset: 4096, ..SHARED }, Ok(())),
    ];
    for (args, want) in cases {
        assert_eq!(ring_mmap(fd, args).unwrap().map(drop), want, "{args:?}");
    }
    close(fd);
}

#[test]
fn what_is_no_ring_is_left_to_the_real_mmap() {
    let (_ring, _, fd) = installed();
    let file = raw::memfd_create(c"other", g::MFD_CLOEXEC).unwrap();
    let (pipe, other) = raw::pipe2(g::O_CLOEXEC).unwrap();
    assert!(ring_mmap(file, SHARED).is_none());
    assert!(ring_mmap(pipe, SHARED).is_none());
    assert!(ring_mmap(-1, SHARED).is_none());
    assert!(ring_mmap(fd, MmapArgs { flags: g::MAP_ANONYMOUS | 1, ..SHARED }).is_none());
    [file, pipe, other, fd].into_iter().for_each(close);
}

#[test]
fn a_file_that_took_a_rings_number_unseen_is_mapped_as_that_file() {
    let (_ring, id, fd) = installed();
    // Keeps the ring, and with it the stale entry.
    let dup = raw::fcntl(fd, g::F_DUPFD_CLOEXEC, 0).unwrap();
    let file = raw::memfd_create(c"other", g::MFD_CLOEXEC).unwrap();
    raw::dup3(file, fd, g::O_CLOEXEC).unwrap();
    assert_eq!(fdtable::ring_of_known(fd), Some(id), "the interposer saw nothing");
    assert!(ring_mmap(fd, SHARED).is_none());
    assert_eq!(fdtable::ring_of_now(fd), Err(Errno::EOPNOTSUPP));
    [fd, dup, file].into_iter().for_each(close);
}

#[test]
fn ring_of_knows_dups_and_forgets_reused_numbers() {
    let (_ring, id, fd) = installed();
    assert_eq!(fdtable::ring_of_known(fd), Some(id));
    let dup = raw::fcntl(fd, g::F_DUPFD_CLOEXEC, 0).unwrap();
    assert_eq!(fdtable::ring_of_known(dup), None);
    assert_eq!(fdtable::ring_of(dup), Ok(id));
    assert_eq!(fdtable::ring_of_known(dup), Some(id));
    let file = raw::memfd_create(c"other", g::MFD_CLOEXEC).unwrap();
    fdtable::closed(dup);
    raw::dup3(file, dup, g::O_CLOEXEC).unwrap();
    fdtable::duplicated(file, dup);
    assert_eq!(fdtable::ring_of(dup), Err(Errno::EOPNOTSUPP));
    let path = raw::openat(g::AT_FDCWD, c"/", g::O_PATH | g::O_CLOEXEC, 0).unwrap();
    assert_eq!(fdtable::ring_of(path), Err(Errno::EBADF));
    assert_eq!(fdtable::ring_of(-1), Err(Errno::EBADF));
    assert_eq!(fdtable::ring_of(1 << 21), Err(Errno::EBADF));
    [fd, dup, file, path].into_iter().for_each(close);
}

#[test]
fn a_ring_forgotten_is_no_ring() {
    let (ring, id, fd) = installed();
    world().0.lock().unwrap().rings.remove(&id.0);
    drop(ring);
    assert_eq!(fdtable::ring_of(fd), Err(Errno::EOPNOTSUPP));
    close(fd);
}

#[test]
fn a_forked_child_sees_its_parents_ring_as_that_and_can_make_its_own() {
    let (_ring, _, fd) = installed();
    let dup = raw::fcntl(fd, g::F_DUPFD_CLOEXEC, 0).unwrap();
    let code = in_child(|| {
        let parents = [fd, dup].iter().all(|fd| fdtable::ring_of(*fd) == Err(Errno::EOWNERDEAD));
        let unmappable = ring_mmap(fd, SHARED).map(|r| r.map(drop)) == Some(Err(Errno::ENOMEM));
        let id = RingId(1 << 30);
        let own = plain(id.0);
        let Ok(own_fd) = install(&own) else { return 3 };
        let works = fdtable::ring_of(own_fd) == Ok(id)
            && ring_mmap(own_fd, SHARED).is_some_and(|r| r.is_ok());
        i32::from(!(parents && unmappable && works))
    });
    assert_eq!(code, 0);
    [fd, dup].into_iter().for_each(close);
}

#[test]
fn after_fork_the_child_holds_none_of_the_engines_numbers() {
    let (ring, _, fd) = installed();
    polled(fd);
    let bell = ring.0.doorbell.load(Relaxed);
    assert!(fdtable::is_ours(bell));
    let code = in_child(|| {
        fdtable::after_fork_in_child();
        i32::from(!(raw::fstat(bell).is_err() && raw::fstat(fd).is_ok()))
    });
    assert_eq!(code, 0);
    assert!(fdtable::is_ours(bell));
    assert!(raw::fstat(bell).is_ok());
    close(fd);
}

#[test]
fn a_ring_is_readable_exactly_while_it_has_cqes_once_somebody_polls() {
    // In a process where nobody else's wait looks at this ring.
    let code = in_child(|| {
        let (ring, _, fd) = installed();
        post(&ring);
        assert_eq!(readable(fd), OUT, "nobody polls yet: no byte");
        polled(fd);
        assert_eq!(readable(fd), OUT | IN, "posted before the first poll");
        reap_all(&ring);
        polled(fd);
        assert_eq!(readable(fd), OUT);
        post(&ring);
        post(&ring);
        assert_eq!(readable(fd), OUT | IN);
        ring.drain();
        assert_eq!(readable(fd), OUT | IN, "CQEs are left");
        reap_all(&ring);
        ring.drain();
        assert_eq!(readable(fd), OUT);
        let flags = ring.rings().w32(geometry().sq_offsets().flags as usize);
        flags.store(SqRing::CQ_OVERFLOW.bits(), Relaxed);
        polled(fd);
        assert_eq!(readable(fd), OUT | IN, "a backlog is something to see");
        flags.store(0, Relaxed);
        ring.drain();
        assert_eq!(readable(fd), OUT);
        post(&ring);
        reap_all(&ring);
        before_wait();
        assert_eq!(readable(fd), OUT, "reaped in memory");
        close(fd);
        0
    });
    assert_eq!(code, 0);
}

#[test]
fn a_wait_does_not_look_into_a_ring_whose_pages_are_gone() {
    let ring = plain(0xeadb);
    let fd = install(&ring).unwrap();
    polled(fd);
    post(&ring);
    assert_eq!(readable(fd), OUT | IN);
    close(fd);
    assert!(!ring.still_mapped());
    before_wait();
}

#[test]
fn the_last_close_of_a_ring_that_is_being_drained_is_seen_too() {
    let (ring, id, fd) = installed();
    polled(fd);
    post(&ring);
    reap_all(&ring);
    ring.drain();
    assert!(ring.0.reader.lock().number.is_some_and(fdtable::is_ours));
    close(fd);
    wait_for(|w| w.ended.contains(&id.0));
    assert!(ring.0.reader.lock().number.is_none());
}

#[test]
fn a_byte_never_goes_into_a_file_that_took_the_doorbells_number() {
    let (ring, _, fd) = installed();
    polled(fd);
    let bell = ring.0.doorbell.load(Relaxed);
    let file = raw::memfd_create(c"theirs", g::MFD_CLOEXEC).unwrap();
    // As an inline dup2 would, past the interposer.
    raw::dup3(file, bell, g::O_CLOEXEC).unwrap();
    post(&ring);
    let mut fds = [g::pollfd { fd, events: 1, revents: 0 }];
    assert_eq!(raw::poll(&mut fds, -1), Ok(1), "by the keeper instead");
    assert_eq!(raw::fstat(file).unwrap().st_size, 0);
    [fd, file].into_iter().for_each(close);
}

#[test]
fn every_batch_is_an_edge() {
    let (ring, _, fd) = installed();
    let epoll = raw::epoll_create().unwrap();
    raw::epoll_ctl(epoll, g::EPOLL_CTL_ADD, fd, Some((g::EPOLLIN | g::EPOLLET, 0))).unwrap();
    polled(fd);
    let edges = || {
        let mut events = [g::epoll_event { events: 0, data: 0 }; 4];
        raw::epoll_pwait(epoll, &mut events, 0, None).unwrap()
    };
    assert_eq!(edges(), 0);
    for _ in 0..3 {
        post(&ring);
        assert_eq!(edges(), 1, "unread CQEs are no excuse");
        assert_eq!(edges(), 0);
    }
    [fd, epoll].into_iter().for_each(close);
}

#[test]
fn a_thread_with_its_own_table_signals_through_the_keeper() {
    let (ring, _, fd) = installed();
    polled(fd);
    let other = Arc::clone(&ring);
    let spec = Spec { name: Name::new("t"), table: Table::Private(&[]), cpu: None };
    let body = move || {
        let _own = keeper::own_table();
        assert!(!keeper::in_app_table());
        post(&other);
    };
    crate::thread::spawn(spec, Box::new(body)).unwrap().join();
    let mut fds = [g::pollfd { fd, events: 1, revents: 0 }];
    assert_eq!(raw::poll(&mut fds, -1), Ok(1));
    close(fd);
}

fn user_pages(flags: u32, prot: u32) -> u64 {
    // SAFETY: new memory.
    unsafe { raw::mmap(0, 8192, prot, flags | g::MAP_ANONYMOUS, -1, 0) }.unwrap() as u64
}

const RW: u32 = g::PROT_READ | g::PROT_WRITE;

#[test]
fn shared_memory_of_the_caller_is_aliased_and_survives_its_munmap() {
    let at = user_pages(g::MAP_SHARED, RW);
    let (ring, _) = new_ring(Some((at, at + 4096))).unwrap();
    assert_ne!(ring.rings().addr() as u64, at);
    ring.rings().w32(8).store(5, Relaxed);
    ring.sqes().w32(8).store(6, Relaxed);
    assert_eq!(crate::usermem::load32(at + 8), Ok(5));
    assert_eq!(crate::usermem::load32(at + 4096 + 8), Ok(6));
    assert!(!owns_user_ring(at as usize));
    // SAFETY: our test memory.
    unsafe { raw::munmap(at as usize, 8192) }.unwrap();
    assert_eq!(ring.rings().w32(8).load(Relaxed), 5);
    let fd = install(&ring).unwrap();
    assert_eq!(ring_mmap(fd, SHARED), Some(Err(Errno::ENOMEM)));
    assert!(!ring.still_mapped());
    close(fd);
}

#[test]
fn private_memory_of_the_caller_is_used_in_place_and_known_to_the_fault_handler() {
    let at = user_pages(g::MAP_PRIVATE, RW);
    let (ring, id) = new_ring(Some((at, at + 4096))).unwrap();
    assert_eq!(ring.rings().addr() as u64, at);
    assert!(owns_user_ring(at as usize) && owns_user_ring(at as usize + 8191));
    assert!(!owns_user_ring(at as usize + 8192));
    world().0.lock().unwrap().rings.remove(&id.0);
    drop(ring);
    assert!(!owns_user_ring(at as usize));
}

/// Private memory where the kernel puts nothing by itself: once unmapped, the place stays free.
fn remote_pages() -> u64 {
    let flags = g::MAP_PRIVATE | g::MAP_ANONYMOUS | g::MAP_FIXED_NOREPLACE;
    // SAFETY: replaces nothing.
    unsafe { raw::mmap(1 << 36, 8192, RW, flags, -1, 0) }.unwrap() as u64
}

/// Whether something is mapped at an address.
fn is_mapped(at: u64) -> bool {
    // SAFETY: changes nothing; ENOMEM where nothing is.
    unsafe { raw::madvise(at as usize, 4096, 0) }.is_ok()
}

#[test]
fn memory_that_the_caller_unmapped_is_free_again_when_the_ring_is_gone() {
    let code = in_child(|| {
        crate::signals::set_user_rings(owns_user_ring);
        crate::signals::install();
        let at = remote_pages();
        let spec = RingSpec { id: RingId(1 << 30), geometry: geometry(), user_memory: None };
        let spec = RingSpec { user_memory: Some((at, at + 4096)), ..spec };
        let ring = Both::new(&spec).unwrap();
        // SAFETY: what is used of it comes back by the handler under test.
        unsafe { raw::munmap(at as usize, 8192) }.unwrap();
        ring.rings().w32(8).store(1, Relaxed);
        ring.sqes().w32(8).store(2, Relaxed);
        assert!(is_mapped(at) && is_mapped(at + 4096), "the ring goes on");
        // The program has a new use for one of the two.
        let flags = g::MAP_PRIVATE | g::MAP_ANONYMOUS | g::MAP_FIXED;
        // SAFETY: a page that the engine's stand-in has.
        unsafe { raw::mmap(at as usize + 4096, 4096, RW, flags, -1, 0) }.unwrap();
        drop(ring);
        assert!(!is_mapped(at), "the stand-in went with the ring");
        assert!(is_mapped(at + 4096), "the program's own page stays");
        assert_eq!(crate::usermem::load64(at + 4096), Ok(0), "untouched");
        0
    });
    assert_eq!(code, 0);
}

#[test]
fn memory_that_the_caller_unmaps_stays_the_rings_until_it_is_gone() {
    let code = in_child(|| {
        let at = remote_pages();
        let spec = RingSpec { id: RingId(1 << 30), geometry: geometry(), user_memory: None };
        // The second region of the ring, the first with something behind it.
        let ring = Both::new(&RingSpec { user_memory: Some((at + 4096, at)), ..spec }).unwrap();
        assert_eq!(unmap_around(at as usize + 8192, 4096), None, "no ring's");
        ring.rings().w32(8).store(7, Relaxed);
        ring.sqes().w32(8).store(9, Relaxed);
        assert_eq!(unmap_around(at as usize, 4096), Some(Ok(())));
        assert_eq!(unmap_around(at as usize, 8192), Some(Ok(())));
        let seen = (ring.rings().w32(8).load(Relaxed), ring.sqes().w32(8).load(Relaxed));
        assert_eq!(seen, (7, 9), "the ring has its memory");
        let flags = g::MAP_PRIVATE | g::MAP_ANONYMOUS | g::MAP_FIXED_NOREPLACE;
        for page in [at, at + 4096] {
            // SAFETY: replaces nothing.
            let other = unsafe { raw::mmap(page as usize, 4096, RW, flags, -1, 0) };
            assert_eq!(other, Err(Errno::EEXIST), "and nobody else has the address");
        }
        drop(ring);
        assert!(!is_mapped(at) && !is_mapped(at + 4096), "it went with the ring");
        0
    });
    assert_eq!(code, 0);
}

#[test]
fn memory_that_is_unmapped_while_its_ring_goes_is_free_again() {
    let code = in_child(|| {
        for round in 0..2_000 {
            let at = remote_pages();
            let spec = RingSpec { id: RingId(1 << 30), geometry: geometry(), user_memory: None };
            let ring = Both::new(&RingSpec { user_memory: Some((at, at + 4096)), ..spec }).unwrap();
            let together = std::sync::Barrier::new(2);
            std::thread::scope(|s| {
                s.spawn(|| {
                    together.wait();
                    drop(ring);
                });
                together.wait();
                match unmap_around(at as usize, 8192) {
                    Some(done) => done.unwrap(),
                    // SAFETY: our test memory, and no ring's any more.
                    None => unsafe { raw::munmap(at as usize, 8192) }.unwrap(),
                }
            });
            assert!(!is_mapped(at) && !is_mapped(at + 4096), "round {round}");
        }
        0
    });
    assert_eq!(code, 0);
}

#[test]
fn memory_that_cannot_be_written_is_efault() {
    let read_only = user_pages(g::MAP_PRIVATE, g::PROT_READ);
    let none = user_pages(g::MAP_SHARED, 0);
    let fine = user_pages(g::MAP_PRIVATE, RW);
    for pair in [(read_only, fine), (fine, none), (0, fine), (fine, 4096), (fine, 1 << 47)] {
        assert_eq!(new_ring(Some(pair)).map(drop), Err(Errno::EFAULT), "{pair:x?}");
    }
    assert!(!owns_user_ring(fine as usize));
}

/// Memory of twice the size in the place of the ring's.
fn resized(ring: &Both, user: Option<(u64, u64)>) -> SysResult<LinuxPages> {
    let pages = ring.remake(&Geometry::new(16, 32, false, false, true), user, |_| Ok(()))?;
    ring.show(&pages);
    Ok(pages)
}

#[test]
fn a_descriptor_shows_what_took_the_place_of_its_memory() {
    // In a process where nobody else takes addresses that become free.
    let code = in_child(|| {
        let id = (1 << 30) + 7;
        let Both { pages: old, ring } = plain(id);
        let fd = install(&ring).unwrap();
        let map = |offset| ring_mmap(fd, MmapArgs { offset, ..SHARED }).unwrap().unwrap();
        let (before, before_sqes) = (map(0), map(0x1000_0000));
        old.rings().w32(100).store(1, Relaxed);
        let ring = Both { pages: old, ring };
        let new = resized(&ring, None).unwrap();
        new.rings().w32(100).store(2, Relaxed);
        let (after, after_sqes) = (map(0), map(0x1000_0000));
        let Both { pages: old, ring } = ring;
        let views = [old.rings().addr() as u64, old.sqes().addr() as u64];
        drop(old);
        ring.0.home().unwrap().shelf.call(|| ());
        assert!(views.iter().all(|at| !is_mapped(*at)), "our views of it are gone");
        // SAFETY: our mappings of the ring.
        let word = |at: usize| unsafe {
            core::ptr::with_exposed_provenance::<u32>(at + 100).read_volatile()
        };
        assert_eq!((word(before), word(before_sqes)), (1, 0), "the program's are not");
        assert_eq!((word(after), word(after_sqes)), (2, 0));
        for at in [before, before_sqes, after, after_sqes] {
            // SAFETY: our mappings.
            unsafe { raw::munmap(at, 4096) }.unwrap();
        }
        close(fd);
        assert!(!ring.still_mapped(), "the old mapping would not count");
        0
    });
    assert_eq!(code, 0);
}

#[test]
fn a_descriptor_is_mapped_and_looked_at_while_its_memory_changes() {
    let (ring, _, fd) = installed();
    polled(fd);
    let over = core::sync::atomic::AtomicBool::new(false);
    let (over, ring) = (&over, &ring);
    std::thread::scope(|s| {
        s.spawn(move || {
            let mut last = None;
            for n in 0..500u32 {
                let pages = ring.remake(&geometry(), None, |_| Ok(())).unwrap();
                pages.rings().w32(100).store(n, Relaxed);
                ring.show(&pages);
                last = Some(pages);
            }
            over.store(true, Relaxed);
            drop(last);
        });
        let mut seen = 0;
        while !over.load(Relaxed) {
            let at = ring_mmap(fd, SHARED).unwrap().unwrap();
            let word: *const u32 = core::ptr::with_exposed_provenance(at + 100);
            // SAFETY: our mapping of the ring.
            let n = unsafe { word.read_volatile() };
            assert!(n >= seen, "{n} after {seen}: older memory is shown again");
            seen = n;
            before_wait();
            assert_eq!(readable(fd), OUT);
            // SAFETY: our mapping.
            unsafe { raw::munmap(at, 4096) }.unwrap();
        }
    });
    close(fd);
}

#[test]
fn memory_of_other_sizes_comes_and_goes_without_a_trace() {
    let count = |dir: &str| std::fs::read_dir(dir).unwrap().count();
    let code = in_child(|| {
        let mut ring = plain(1 << 31);
        let shelf = std::format!("/proc/self/task/{}/fd", ring.0.home().unwrap().shelf.tid());
        let before = (count("/proc/self/map_files"), count(&shelf));
        for n in 0..200 {
            if n % 3 == 0 {
                // One that is not shown.
                let none = ring.remake(&geometry(), None, |_| Err(Errno::EFAULT));
                assert_eq!(none.map(drop), Err(Errno::EFAULT));
            }
            ring.pages = resized(&ring, None).unwrap();
        }
        ring.0.home().unwrap().shelf.call(|| ());
        let after = (count("/proc/self/map_files"), count(&shelf));
        i32::from(after.1 != before.1 || after.0 > before.0 + 8)
    });
    assert_eq!(code, 0);
}

#[test]
fn a_ring_is_given_the_private_memory_that_it_has() {
    let code = in_child(|| {
        let at = remote_pages();
        let spec = RingSpec { id: RingId(1 << 30), geometry: geometry(), user_memory: None };
        let place = Some((at, at + 4096));
        let mut ring = Both::new(&RingSpec { user_memory: place, ..spec }).unwrap();
        ring.rings().w32(8).store(7, Relaxed);
        ring.pages = resized(&ring, place).unwrap();
        assert_eq!(ring.rings().w32(8).load(Relaxed), 7, "it is the same");
        assert_eq!(unmap_around(at as usize, 8192), Some(Ok(())), "and still the ring's");
        assert!(is_mapped(at) && is_mapped(at + 4096));
        assert_eq!(ring.rings().w32(8).load(Relaxed), 7);
        drop(ring);
        assert!(!is_mapped(at) && !is_mapped(at + 4096), "it went with the ring");
        0
    });
    assert_eq!(code, 0);
}

#[test]
fn rings_come_and_go_without_a_trace() {
    let count = |dir: &str| std::fs::read_dir(dir).unwrap().count();
    let code = in_child(|| {
        let first = plain(1 << 31);
        let shelf = std::format!("/proc/self/task/{}/fd", first.0.home().unwrap().shelf.tid());
        let before = (count("/proc/self/fd"), count(&shelf));
        for n in 0..500 {
            // Names that no ring of another test has, which a child may find in the list and not in its memory.
            let ring = plain((1 << 40) + n);
            let Ok(fd) = install(&ring) else { return 4 };
            polled(fd);
            close(fd);
            drop(ring);
        }
        first.0.home().unwrap().shelf.call(|| ());
        let watcher = 1;
        let after = (count("/proc/self/fd"), count(&shelf));
        i32::from(after.0 != before.0 || after.1 > before.1 + watcher)
    });
    assert_eq!(code, 0);
}

fn is_young(ring: &LinuxRing) -> bool {
    matches!(ring.0.ends.lock().write_end, WriteEnd::Young(..))
}

#[test]
fn a_ring_is_given_a_home_without_being_asked_for_anything() {
    let code = in_child(|| {
        let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        // What stays for good comes with the first.
        let Ok(_) = keeper::get() else { return 1 };
        let before = count();
        let ring = plain(1 << 33);
        assert!(is_young(&ring), "nobody waits for a shelf here");
        let fd = install(&ring).unwrap();
        while is_young(&ring) {
            std::thread::yield_now();
        }
        assert_eq!(count(), before + 1, "the application's table has the descriptor only");
        assert_eq!(readable(fd), OUT);
        0
    });
    assert_eq!(code, 0);
}

#[test]
fn the_lowest_free_number_stays_the_applications_while_rings_get_their_homes() {
    let code = in_child(|| {
        keeper::on_ring_closed(|_| true);
        let free = || raw::eventfd(0, g::O_CLOEXEC).unwrap();
        let (first, second) = (free(), free());
        [first, second].iter().for_each(|fd| raw::close(*fd).unwrap());
        for n in 0..60 {
            let ring = plain(n);
            assert_eq!(install(&ring), Ok(first));
            while is_young(&ring) {
                let fd = free();
                assert_eq!(fd, second);
                raw::close(fd).unwrap();
            }
            close(first);
        }
        0
    });
    assert_eq!(code, 0);
}

#[test]
fn a_ring_that_is_kept_before_it_has_a_descriptor_lives_as_long() {
    let code = in_child(|| {
        static CLOSED: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);
        keeper::on_ring_closed(|id| {
            CLOSED.store(id.0, Relaxed);
            true
        });
        let ring = plain(1 << 35);
        ring.keep().unwrap();
        assert!(!is_young(&ring));
        let Home { shelf, write_end } = ring.0.home().unwrap();
        assert!(!shelf.call(move || has_no_reader(write_end)));
        ring.let_go();
        while CLOSED.load(Relaxed) != 1 << 35 {
            std::thread::yield_now();
        }
        0
    });
    assert_eq!(code, 0);
}

#[test]
fn a_ring_that_is_closed_before_it_has_a_home_ends_without_one() {
    let code = in_child(|| {
        let ring = plain(1 << 34);
        // As `install` does it, but that nobody tells the janitor.
        let WriteEnd::Young(number, _) = ring.0.ends.lock().write_end else { return 1 };
        let fd = raw::openat(g::AT_FDCWD, &own_path(number), INSTALLED, 0).unwrap();
        let dup = raw::fcntl(fd, g::F_DUPFD_CLOEXEC, 0).unwrap();
        close(fd);
        assert!(!has_no_reader(number), "it has a second one");
        close(dup);
        assert_eq!(give_home(ring.0.id), Housed::Closed);
        assert!(is_young(&ring));
        assert!(!ring.still_mapped(), "its memory is looked at where it is");
        drop(ring);
        assert!(raw::fstat(number).is_err(), "its numbers go with it");
        0
    });
    assert_eq!(code, 0);
}

#[test]
fn rings_fit_where_few_numbers_are_left() {
    let code = in_child(|| {
        if set_nofile(64).is_err() {
            return 2;
        }
        let mut rings = Vec::new();
        for n in 0.. {
            let ring = plain(n);
            match install(&ring) {
                Ok(_) => rings.push(ring),
                Err(Errno::EMFILE) => break,
                Err(_) => return 4,
            }
        }
        // 0, 1, 2 and the keeper's socket; the test harness may have some of its own.
        i32::from(rings.len() < 40)
    });
    assert_eq!(code, 0);
}

#[test]
fn rings_refused_for_want_of_numbers_leave_no_thread() {
    let code = in_child(|| {
        let Ok(keeper) = keeper::get() else { return 1 };
        let before = keeper.shelf_tids().len();
        // Room for one ring in a table of its own, again and again.
        if set_nofile(14).is_err() {
            return 2;
        }
        for n in 0..20 {
            let ring = plain(n);
            let shelf = ring.0.home().unwrap().shelf;
            drop(ring);
            shelf.call(|| ());
        }
        let one_more = keeper.shelf_tids().len();
        if one_more > before + 1 {
            return 3;
        }
        // And for none.
        if set_nofile(3).is_err() {
            return 4;
        }
        for n in 0..20 {
            let spec = RingSpec { id: RingId(n), geometry: geometry(), user_memory: None };
            if Both::new(&spec).err() != Some(Errno::EMFILE) {
                return 5;
            }
        }
        i32::from(keeper.shelf_tids().len() > one_more) * 6
    });
    assert_eq!(code, 0);
}

pub(crate) fn set_nofile(limit: u64) -> SysResult<()> {
    let new = [limit, limit];
    // SAFETY: the kernel reads one rlimit64 from `new`.
    let ret = unsafe {
        raw::syscall4(g::__NR_prlimit64, 0, g::RLIMIT_NOFILE as usize, new.as_ptr() as usize, 0)
    };
    Errno::demux(ret).map(drop)
}
