use super::*;
use crate::raw::testing::in_child;

#[test]
fn jobs_of_a_clerk_are_done_in_order_and_a_call_after_them() {
    let clerk = Arc::new(Clerk::default());
    let body = Arc::clone(&clerk);
    let server = std::thread::spawn(move || body.serve());
    let done = Arc::new(ForkMutex::new(Vec::new()));
    for n in 0..1000 {
        let done = Arc::clone(&done);
        clerk.post(Box::new(move || done.lock().push(n)));
    }
    let seen = Arc::clone(&done);
    assert_eq!(clerk.call(move || seen.lock().len()), 1000);
    assert!(done.lock().is_sorted());
    clerk.stop();
    server.join().unwrap();
}

#[test]
fn callers_from_many_threads_get_their_own_answers() {
    let shelf = get().unwrap().shelf_for(1).unwrap();
    let ask = |n: u32| (0..500).all(|i| shelf.call(move || n * 1000 + i) == n * 1000 + i);
    std::thread::scope(|s| {
        let all: Vec<_> = (0..4).map(|n| s.spawn(move || ask(n))).collect();
        assert!(all.into_iter().all(|t| t.join().unwrap()));
    });
    shelf.unpromise(1);
}

#[test]
fn a_shelf_has_a_table_of_its_own_and_the_caller_the_applications() {
    let shelf = get().unwrap().shelf_for(1).unwrap();
    assert!(in_app_table());
    assert!(!shelf.call(in_app_table));
    let fd = raw::eventfd(0, g::O_CLOEXEC).unwrap();
    let high = fdtable::move_high(fd);
    // The number may be something else's there.
    let mine = Facts::of(high).unwrap();
    assert_ne!(shelf.call(move || Facts::of(high)), Ok(mine));
    fdtable::close_ours(high);
    shelf.unpromise(1);
}

#[test]
fn an_idle_keeper_does_not_run() {
    let code = in_child(|| {
        let Ok(keeper) = get() else { return 2 };
        let switches = |tid: u32| {
            let status = std::fs::read_to_string(std::format!("/proc/self/task/{tid}/status"));
            status
                .unwrap()
                .lines()
                .filter(|l| l.contains("ctxt_switches"))
                .collect::<std::string::String>()
        };
        let tids = keeper.shelf_tids();
        // Asleep once its wait channel says so; from then on nothing happens by itself.
        let asleep = |tid: &u32| {
            std::fs::read_to_string(std::format!("/proc/self/task/{tid}/stat"))
                .unwrap()
                .contains(") S ")
        };
        while !tids.iter().all(asleep) {
            std::thread::yield_now();
        }
        let before: Vec<_> = tids.iter().copied().map(switches).collect();
        (0..10_000).for_each(|_| std::thread::yield_now());
        i32::from(before != tids.iter().copied().map(switches).collect::<Vec<_>>())
    });
    assert_eq!(code, 0);
}

#[test]
fn closing_everything_in_the_application_leaves_the_keeper_alone() {
    let code = in_child(|| {
        let (read_end, write_end) = raw::pipe2(g::O_CLOEXEC | g::O_NONBLOCK).unwrap();
        let files = crate::file::adopt(&[write_end]).unwrap();
        // As an inline closefrom(3) would, past every interposer.
        let kept = raw::fcntl(read_end, g::F_DUPFD_CLOEXEC, 0).unwrap();
        for (lo, hi) in [(3, kept - 1), (kept + 1, i32::MAX)] {
            raw::close_range(lo.cast_unsigned(), hi.cast_unsigned(), 0).unwrap();
        }
        let open = raw::read(kept, &mut [0]) == Err(Errno::EAGAIN);
        crate::file::release(files);
        let closed = raw::read(kept, &mut [0]) == Ok(0);
        let again = crate::file::adopt(&[kept]).is_ok();
        i32::from(!(open && closed && again))
    });
    assert_eq!(code, 0);
}
