use super::*;
use crate::raw::testing::in_child;
use crate::thread::{self, Name, Spec, Table};
use core::ffi::CStr;

/// Runs claims in a child of their own, because they are about the process: its locks, its limits,
/// how many numbers it has.
fn alone(claims: fn()) {
    let code = in_child(|| {
        claims();
        0
    });
    assert_eq!(code, 0, "see stderr");
}

/// A regular file without a name.
fn temporary() -> i32 {
    let flags = g::O_RDWR | g::O_TMPFILE | g::O_CLOEXEC;
    raw::openat(g::AT_FDCWD, c"/tmp", flags, 0o600).unwrap()
}

const F_SETLK: u32 = 6;
const F_OFD_GETLK: u32 = 36;

/// `struct flock` of a write lock on the whole file.
#[repr(C)]
struct Flock {
    kind: i16,
    whence: i16,
    start: i64,
    len: i64,
    pid: i32,
}

impl Flock {
    fn call(fd: i32, cmd: u32) -> Self {
        let mut lock = Self { kind: 1, whence: 0, start: 0, len: 0, pid: 0 };
        raw::fcntl(fd, cmd, &raw mut lock as usize).unwrap();
        lock
    }
}

/// As the application does, with the interposer in between.
fn lock(fd: i32) {
    posixlock::before_posix_lock();
    Flock::call(fd, F_SETLK);
}

/// Asks as a lock of an open file would: the process's own POSIX lock is in its way.
fn locked(fd: i32) -> bool {
    Flock::call(fd, F_OFD_GETLK).kind != 2
}

/// Numbers in the table of this process, or of one of its threads; the listing's own not counted.
fn numbers(task: u32) -> usize {
    std::fs::read_dir(std::format!("/proc/self/task/{task}/fd")).unwrap().count()
}

fn here() -> usize {
    numbers(thread::tid()) - 1
}

fn at_home() -> usize {
    keeper::get().unwrap().shelf_tids().into_iter().map(numbers).sum()
}

/// Reads one byte in a thread with its own table.
fn borrowed_byte(file: &LinuxFile) -> SysResult<u8> {
    let keep = keeper::private_keep();
    let spec = Spec { name: Name::new("t"), table: Table::Private(keep.as_slice()), cpu: None };
    let answer = Arc::new(ForkMutex::new(Err(Errno::ESRCH)));
    let (file, to) = (file.clone(), Arc::clone(&answer));
    let body = move || {
        let _own = keeper::own_table();
        let read = borrow(&file).and_then(|fd| {
            let mut byte = [0];
            let n = raw::read(fd, &mut byte);
            give_back(fd);
            n.map(|_| byte[0])
        });
        *to.lock() = read;
    };
    thread::spawn(spec, std::boxed::Box::new(body))?.join();
    *answer.lock()
}

fn file_with(byte: u8) -> i32 {
    let fd = raw::memfd_create(c"file", g::MFD_CLOEXEC).unwrap();
    raw::write(fd, &[byte]).unwrap();
    rewind(fd);
    fd
}

fn rewind(fd: i32) {
    // SAFETY: touches no memory.
    let at = unsafe { raw::syscall3(g::__NR_lseek, raw::fd_arg(fd), 0, 0) };
    assert_eq!(at, 0);
}

#[test]
fn the_oracle_sees_a_close_drop_a_lock() {
    alone(|| {
        let fd = temporary();
        lock(fd);
        assert!(locked(fd));
        let dup = raw::fcntl(fd, g::F_DUPFD_CLOEXEC, 0).unwrap();
        raw::close(dup).unwrap();
        assert!(!locked(fd));
    });
}

#[test]
fn a_posix_lock_survives_register_and_unregister() {
    alone(|| {
        let fd = temporary();
        lock(fd);
        let files = adopt(&[fd, fd]).unwrap();
        assert_eq!(files[0].number(), None);
        release(files);
        assert!(locked(fd));
    });
}

#[test]
fn a_posix_lock_survives_a_waiting_request() {
    alone(|| {
        let fd = temporary();
        lock(fd);
        let file = hold(fd).unwrap();
        let clone = file.clone();
        drop(file);
        drop(clone);
        // The home goes soon; whatever comes after it in the keeper sees it gone.
        drop(adopt(&[fd]).unwrap());
        assert!(locked(fd));
    });
}

#[test]
fn a_posix_lock_taken_while_files_are_held_survives_them() {
    alone(|| {
        assert!(!posixlock::may_hold());
        let fd = temporary();
        let files = adopt(&[fd]).unwrap();
        let held = hold(fd).unwrap();
        let (a, b) = (files[0].number().unwrap(), held.number().unwrap());
        lock(fd);
        assert_eq!((files[0].number(), held.number()), (None, None));
        // A thread that still has the number is refused, and the number is nobody else's.
        assert_eq!(raw::read(a, &mut [0]), Err(Errno::EBADF));
        assert!(fdtable::is_ours(a) && fdtable::is_ours(b));
        release(files);
        release(std::vec![held]);
        assert!(locked(fd));
        assert!(raw::fstat(a).is_err() && raw::fstat(b).is_err());
    });
}

#[test]
fn a_withdrawn_file_is_still_the_same_open_file() {
    alone(|| {
        let fd = file_with(b'x');
        let held = hold(fd).unwrap();
        lock(fd);
        raw::close(fd).unwrap();
        assert_eq!(borrowed_byte(&held), Ok(b'x'));
        // The position is shared: that was the file's only byte.
        assert_eq!(borrowed_byte(&held), Ok(0));
    });
}

#[test]
fn a_lock_from_before_exec_is_found() {
    alone(|| {
        let fd = temporary();
        // Not through the interposer, as if another image had done it.
        Flock::call(fd, F_SETLK);
        assert!(posixlock::may_hold());
        assert_eq!(hold(fd).unwrap().number(), None);
        assert!(locked(fd));
    });
}

fn fill_table(limit: u64) -> Vec<i32> {
    ringobj::tests::set_nofile(limit).unwrap();
    let mut fds = Vec::new();
    for n in 0u8.. {
        // Leave one for `file_with` itself to fail at.
        match raw::memfd_create(c"file", g::MFD_CLOEXEC) {
            Ok(fd) => {
                raw::write(fd, &[n]).unwrap();
                rewind(fd);
                fds.push(fd);
            }
            Err(e) => {
                assert_eq!(e, Errno::EMFILE);
                break;
            }
        }
    }
    fds
}

#[test]
fn a_full_table_of_64_can_be_registered_64_times_over() {
    alone(|| {
        keeper::get().unwrap();
        let fds = fill_table(64);
        assert!(fds.len() > 30);
        // Looking takes a number.
        raw::close(fds[0]).unwrap();
        let before = (here(), at_home());
        assert_eq!(raw::memfd_create(c"file", g::MFD_CLOEXEC), Ok(fds[0]));
        let sixty_four: Vec<i32> = fds.iter().copied().cycle().take(64).collect();
        let files: Vec<_> = (0..3).map(|_| adopt(&sixty_four).unwrap()).collect();
        files.into_iter().for_each(release);
        raw::close(fds[0]).unwrap();
        assert_eq!((here(), at_home()), before);
    });
}

#[test]
fn files_of_a_full_table_stay_open_when_the_application_closes_them() {
    alone(|| {
        keeper::get().unwrap();
        let fds = fill_table(64);
        let files = adopt(&fds).unwrap();
        fds.iter().for_each(|fd| raw::close(*fd).unwrap());
        for (n, file) in files.iter().enumerate() {
            assert_eq!(borrowed_byte(file), Ok(n as u8), "file {n}");
        }
    });
}

#[test]
fn files_can_be_registered_although_no_number_was_ever_free() {
    alone(|| {
        let fds = fill_table(64);
        let (read_end, write_end) = (fds[0], fds[1]);
        raw::close(read_end).unwrap();
        raw::close(write_end).unwrap();
        assert_eq!(raw::pipe2(g::O_NONBLOCK), Ok((read_end, write_end)));
        let files = adopt(&fds[1..]).unwrap();
        fds[1..].iter().for_each(|fd| raw::close(*fd).unwrap());
        assert_eq!(raw::read(read_end, &mut [0]), Err(Errno::EAGAIN), "still open somewhere");
        release(files);
        assert_eq!(raw::read(read_end, &mut [0]), Ok(0), "closed on return");
    });
}

#[test]
fn more_files_than_one_shelf_holds_are_reached_on_the_others() {
    alone(|| {
        ringobj::tests::set_nofile(64).unwrap();
        let mut files = Vec::new();
        // One at a time, closed at once: the application needs few numbers, the keeper many.
        for n in 0..150u8 {
            let fd = file_with(n);
            files.extend(adopt(&[fd]).unwrap());
            raw::close(fd).unwrap();
            files[usize::from(n)].0.give_up_number();
        }
        assert!(keeper::get().unwrap().shelf_tids().len() > 2);
        for n in [0u8, 63, 64, 149] {
            assert_eq!(borrowed_byte(&files[usize::from(n)]), Ok(n), "file {n}");
        }
        release(files);
        assert_eq!(keeper::get().unwrap().shelf_tids().len(), 1, "the others have ended");
    });
}

#[test]
fn the_peer_sees_the_close_when_release_returns() {
    let (read_end, write_end) = raw::pipe2(g::O_NONBLOCK | g::O_CLOEXEC).unwrap();
    let files = adopt(&[write_end]).unwrap();
    let other = files.clone();
    raw::close(write_end).unwrap();
    assert_eq!(raw::read(read_end, &mut [0]), Err(Errno::EAGAIN));
    release(files);
    assert_eq!(raw::read(read_end, &mut [0]), Err(Errno::EAGAIN), "a request still has it");
    release(other);
    assert_eq!(raw::read(read_end, &mut [0]), Ok(0));
    raw::close(read_end).unwrap();
}

#[test]
fn a_socket_whose_queue_holds_its_own_end_is_let_go() {
    let (a, b) = raw::socketpair(1, 5 | g::O_CLOEXEC | g::O_NONBLOCK).unwrap();
    let files = adopt(&[a]).unwrap();
    // b's queue holds a.
    keeper::send_for_test(a, &[a]);
    raw::close(a).unwrap();
    release(files);
    raw::close(b).unwrap();
    // Nothing to see but the descriptor counts, which other tests assert.
}

#[test]
fn what_may_not_be_registered_is_refused_and_nothing_stays() {
    alone(|| {
        let (read_end, write_end) = raw::pipe2(g::O_NONBLOCK).unwrap();
        let path = raw::openat(g::AT_FDCWD, c"/", g::O_PATH, 0).unwrap();
        let first = adopt(&[read_end]).unwrap();
        let ours = first[0].number().unwrap();
        let before = (here(), at_home());
        for bad in [path, 999, -1, -2, ours] {
            assert_eq!(adopt(&[write_end, bad]).map(drop), Err(Errno::EBADF), "{bad}");
            assert_eq!((here(), at_home()), before);
        }
        assert_eq!(hold(999).map(drop), Err(Errno::EBADF));
        assert_eq!(hold(ours).map(drop), Err(Errno::EBADF));
    });
}

#[test]
fn thousands_of_registrations_leave_nothing() {
    alone(|| {
        let (socket, peer) = raw::socketpair(1, 1).unwrap();
        let fds = [socket, temporary(), peer, file_with(0)];
        release(adopt(&fds).unwrap());
        let before = (here(), at_home());
        for n in 0..10_000 {
            match n % 4 {
                0 => release(adopt(&fds).unwrap()),
                1 => drop(adopt(&fds[..2]).unwrap()),
                2 => drop(hold(fds[n % 3]).unwrap()),
                _ => {
                    let dup = raw::fcntl(fds[n % 3], g::F_DUPFD_CLOEXEC, 0).unwrap();
                    drop(take(dup).unwrap());
                }
            }
        }
        release(adopt(&fds).unwrap());
        assert_eq!((here(), at_home()), before);
    });
}

#[test]
fn sockets_and_pipes_have_a_number_and_regular_files_until_the_first_lock() {
    alone(|| {
        let (socket, _peer) = raw::socketpair(1, 1).unwrap();
        let file = temporary();
        let numbers = |want: bool| {
            let held = [hold(socket).unwrap(), hold(file).unwrap()];
            let fixed = adopt(&[socket, file]).unwrap();
            for pair in [&held[..], &fixed[..]] {
                assert!(pair[0].number().is_some_and(fdtable::is_ours));
                assert_eq!(pair[1].number().is_some(), want);
            }
        };
        numbers(true);
        posixlock::before_posix_lock();
        numbers(false);
    });
}

#[test]
fn take_frees_the_number_also_when_it_fails() {
    alone(|| {
        let fd = file_with(b'y');
        let file = take(fd).unwrap();
        assert!(raw::fstat(fd).is_err());
        assert_eq!(file.kind(), FileKind::Regular);
        assert_eq!(borrowed_byte(&file), Ok(b'y'));
        let path = raw::openat(g::AT_FDCWD, c"/", g::O_PATH, 0).unwrap();
        let place = take(path).unwrap();
        assert!(raw::fstat(path).is_err());
        assert_eq!(place.kind(), FileKind::Other);
        assert_eq!(raw::read(place.number().unwrap(), &mut [0]), Err(Errno::EBADF));
        let socket = raw::socketpair(1, 1).unwrap().0;
        assert!(take(socket).unwrap().number().is_some());
        assert!(raw::fstat(socket).is_err());
    });
}

#[test]
fn install_gives_the_lowest_number_with_or_without_cloexec() {
    alone(|| {
        let fd = file_with(b'z');
        let file = adopt(&[fd]).unwrap().remove(0);
        for by_number in [true, false] {
            for cloexec in [true, false] {
                raw::close(fd).ok();
                assert_eq!(install(&file, cloexec), Ok(fd));
                assert_eq!(raw::fcntl(fd, g::F_GETFD, 0), Ok(i32::from(cloexec)));
                assert!(!fdtable::is_ours(fd));
            }
            if by_number {
                file.0.give_up_number();
            }
        }
        let mut byte = [0];
        assert_eq!((raw::read(fd, &mut byte), byte), (Ok(1), *b"z"));
    });
}

#[test]
fn the_same_open_file_is_told_from_another_of_the_same_inode() {
    let open = |path: &CStr| raw::openat(g::AT_FDCWD, path, g::O_RDONLY | g::O_CLOEXEC, 0).unwrap();
    let (one, two) = (open(c"/proc/self/exe"), open(c"/proc/self/exe"));
    let dup = raw::fcntl(one, g::F_DUPFD_CLOEXEC, 0).unwrap();
    let files = adopt(&[one, two, dup]).unwrap();
    let held = hold(dup).unwrap();
    assert!(files[0].same_file(&files[2]));
    assert!(files[0].same_file(&held));
    assert!(!files[0].same_file(&files[1]));
    let (e, f) = (raw::eventfd(0, 0).unwrap(), raw::eventfd(0, 0).unwrap());
    let events = adopt(&[e, f]).unwrap();
    assert!(!events[0].same_file(&events[1]));
    assert!(hold(e).unwrap().same_file(&events[0]));
    [one, two, dup, e, f].into_iter().for_each(|fd| raw::close(fd).unwrap());
}

#[test]
fn an_eventfd_is_signalled_with_and_without_a_number() {
    let fd = raw::eventfd(0, g::O_NONBLOCK | g::O_CLOEXEC).unwrap();
    let file = adopt(&[fd]).unwrap().remove(0);
    file.signal_eventfd();
    file.0.give_up_number();
    file.signal_eventfd();
    let mut count = [0; 8];
    raw::read(fd, &mut count).unwrap();
    assert_eq!(u64::from_ne_bytes(count), 2);
    raw::close(fd).unwrap();
}

#[test]
fn the_socket_closed_behind_our_back_is_made_again() {
    alone(|| {
        let fd = file_with(b's');
        drop(adopt(&[fd]).unwrap());
        let stolen = keeper::private_keep().unwrap();
        raw::close(stolen).unwrap();
        // The number is the application's now.
        let theirs = raw::memfd_create(c"theirs", g::MFD_CLOEXEC).unwrap();
        raw::dup3(theirs, stolen, g::O_CLOEXEC).unwrap();
        let file = adopt(&[fd]).unwrap().remove(0);
        file.0.give_up_number();
        assert_eq!(borrowed_byte(&file), Ok(b's'));
        assert!(raw::fstat(stolen).is_ok());
    });
}

#[test]
fn a_forked_child_drops_its_parents_files_without_touching_them() {
    let fd = file_with(b'p');
    let file = adopt(&[fd]).unwrap().remove(0);
    let clone = file.clone();
    let code = in_child(move || {
        drop(clone);
        let own = adopt(&[fd]).is_ok();
        i32::from(!own)
    });
    assert_eq!(code, 0);
    file.0.give_up_number();
    assert_eq!(borrowed_byte(&file), Ok(b'p'));
    raw::close(fd).unwrap();
}

#[test]
fn a_forked_childs_first_lock_leaves_its_numbers_alone() {
    let fd = file_with(b'q');
    let file = adopt(&[fd]).unwrap().remove(0);
    let number = file.number().unwrap();
    let code = in_child(move || {
        fdtable::after_fork_in_child();
        // The child has its own file there now.
        let own = raw::memfd_create(c"own", g::MFD_CLOEXEC).unwrap();
        raw::dup3(own, number, g::O_CLOEXEC).unwrap();
        lock(own);
        let theirs = Facts::of(number) == Facts::of(own);
        i32::from(!(theirs && locked(own)))
    });
    assert_eq!(code, 0);
    release(std::vec![file]);
    raw::close(fd).unwrap();
}
