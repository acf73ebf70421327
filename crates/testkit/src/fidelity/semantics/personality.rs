//! Section 3.19: personalities, the rights that entries may name.
//!
//! Those that change users need root to begin with and say so (`skip:`) without.

use super::kit::*;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;

pub(super) const CLAIMS: &[Claim] = &[
    claim!(
        "3.19",
        a_personality_is_a_number,
        "REGISTER_PERSONALITY answers an id that entries may name; unknown ones are EINVAL.",
        needs "REGISTER_PERSONALITY"
    ),
    claim!(
        "3.19",
        personalities_are_numbered_in_turn,
        "Numbers begin at 1 and go on; one that was given back is not taken again at once; 0 and unknown ones are EINVAL.",
        needs "REGISTER_PERSONALITY"
    ),
    claim!(
        "3.19",
        a_personality_keeps_the_rights_it_was_registered_with,
        "An OPENAT that names a personality of root's succeeds when the user has changed since, on workers too; without it is EACCES.",
        needs "REGISTER_PERSONALITY"
    ),
    claim!(
        "3.19",
        a_personality_may_have_fewer_rights,
        "An OPENAT of root's that names a personality of an ordinary user is EACCES where that user may not.",
        needs "REGISTER_PERSONALITY"
    ),
    claim!(
        "3.19",
        a_personality_keeps_groups_and_capabilities,
        "Supplementary groups and capabilities that were dropped since are a personality's still.",
        needs "REGISTER_PERSONALITY"
    ),
    claim!(
        "3.19",
        a_personality_is_outside_a_domain_entered_later,
        "A Landlock domain entered after the registration does not hold for entries that name the personality.",
        needs "REGISTER_PERSONALITY"
    ),
    claim!(
        "3.19",
        each_member_of_a_chain_has_its_own_rights,
        "In a chain some members of which name a personality each runs with its own rights.",
        needs "REGISTER_PERSONALITY"
    ),
    claim!(
        "3.19",
        what_follows_a_message_has_its_own_rights,
        "A message to another ring between members of a chain leaves each its own rights.",
        needs "REGISTER_PERSONALITY", "MSG_RING"
    ),
    claim!(
        "3.19",
        what_a_drain_held_back_keeps_its_rights,
        "Requests behind a drain that names a personality run with their own rights.",
        needs "REGISTER_PERSONALITY"
    ),
    claim!(
        "3.19",
        a_personality_is_unregistered_while_in_use,
        "Requests under way keep a personality that is unregistered; new ones are EINVAL.",
        needs "REGISTER_PERSONALITY", "UNREGISTER_PERSONALITY"
    ),
    claim!(
        "3.19",
        a_personality_outlives_its_thread,
        "A personality of a thread that has ended is as good as any.",
        needs "REGISTER_PERSONALITY"
    ),
    claim!(
        "3.19",
        a_personality_holds_for_a_submission_thread,
        "Entries that a submission thread takes run with its rights, or with those of the personality they name.",
        needs "REGISTER_PERSONALITY"
    ),
    claim!(
        "3.19",
        personalities_block_beside_each_other,
        "Two requests of one personality may wait for each other.",
        needs "REGISTER_PERSONALITY"
    ),
    claim!(
        "3.19",
        what_waits_with_a_personality_ends_as_any,
        "A receive that names another's rights waits, is cancelled, and ends with the bytes that come; so does a fixed read.",
        needs "REGISTER_PERSONALITY"
    ),
];

fn a_personality_is_a_number() -> Outcome {
    let mut ring = ring()?;
    let id = must("PERSONALITY", ring.register(9, 0, 0))?;
    let named = |personality| Sqe { personality, ..nop(1) };
    res(&mut ring, named(id as u16), 0)?;
    res(&mut ring, named(id as u16 + 1), -EINVAL)?;
    expect("unregister", ring.register(10, 0, id as u32), Ok(0))?;
    res(&mut ring, named(id as u16), -EINVAL)
}

const NOBODY: u32 = 65_534;
const EACCES: i32 = libc::EACCES;

/// A folder that everybody may enter, and a ring.
struct Scene {
    ring: Ring,
    dir: PathBuf,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = os::seteuid(0);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn io<T>(r: std::io::Result<T>) -> Res<T> {
    r.map_err(|e| e.to_string())
}

impl Scene {
    fn new(flags: u32) -> Res<Self> {
        if os::raw(libc::SYS_geteuid, [0; 3]) != Ok(0) {
            return Err("skip: needs root".to_owned());
        }
        let dir = std::env::temp_dir().join(format!("personality.{}", os::pid()));
        io(std::fs::create_dir(&dir))?;
        io(std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)))?;
        Ok(Self { ring: with(16, flags)?, dir })
    }

    /// A new file with that mode and group; its path.
    fn file(&self, name: &str, mode: u32, group: u32) -> Res<Buf> {
        let path = self.dir.join(name);
        io(std::fs::write(&path, name))?;
        io(chown(&path, Some(0), Some(group)))?;
        io(std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)))?;
        Ok(Buf::of(format!("{}\0", path.display()).as_bytes()))
    }

    fn register(&self) -> Res<u16> {
        must("PERSONALITY", self.ring.register(9, 0, 0)).map(|id| id as u16)
    }

    /// What OPENAT says, inline and on a worker: 0 for a descriptor.
    fn opens(&mut self, path: &Buf, personality: u16, want: i32) -> Outcome {
        for flags in [0, ASYNC] {
            let res =
                must("OPENAT", self.ring.one(flagged(open(path, personality, 1), flags)))?.res;
            if res >= 0 {
                close(res)?;
            }
            expect(&format!("OPENAT with {personality}, flags {flags:#x}"), res.min(0), want)?;
        }
        Ok(())
    }

    /// The next completions are these: user_data, and 0 for any success.
    fn ends(&self, want: &[(u64, i32)]) -> Outcome {
        each(&self.ring, want, |c| (c.user_data, c.res.min(0)))
    }
}

fn open(path: &Buf, personality: u16, ud: u64) -> Sqe {
    let sqe = rw(op::OPENAT, libc::AT_FDCWD, path.addr(), 0, 0, ud);
    Sqe { personality, op_flags: libc::O_CLOEXEC as u32, ..sqe }
}

/// The effective user from here on.
fn become_user(uid: u32) -> Outcome {
    must("seteuid", os::seteuid(uid)).map(drop)
}

fn personalities_are_numbered_in_turn() -> Outcome {
    let mut ring = ring()?;
    for id in 1..4 {
        expect("a number", ring.register(9, 0, 0), Ok(id))?;
    }
    expect("given back", ring.register(10, 0, 2), Ok(0))?;
    fails("again", ring.register(10, 0, 2), EINVAL)?;
    fails("none", ring.register(10, 0, 0), EINVAL)?;
    fails("beyond all", ring.register(10, 0, 65_536 + 1), EINVAL)?;
    expect("the next", ring.register(9, 0, 0), Ok(4))?;
    let named = |personality| Sqe { personality, ..nop(1) };
    for (id, want) in [(1, 0), (2, -EINVAL), (4, 0), (5, -EINVAL), (u16::MAX, -EINVAL)] {
        res(&mut ring, named(id), want)?;
    }
    fails("an argument", ring.register(9, 1, 0), EINVAL)?;
    fails("another ring's", super::kit::ring()?.register(10, 0, 1), EINVAL)
}

fn a_personality_keeps_the_rights_it_was_registered_with() -> Outcome {
    let mut s = Scene::new(0)?;
    let secret = s.file("secret", 0o600, 0)?;
    let root = s.register()?;
    s.opens(&secret, root, 0)?;
    become_user(NOBODY)?;
    s.opens(&secret, 0, -EACCES)?;
    s.opens(&secret, root, 0)?;
    let nobody = s.register()?;
    s.opens(&secret, nobody, -EACCES)?;
    become_user(0)?;
    s.opens(&secret, nobody, -EACCES)?;
    s.opens(&secret, root, 0)?;
    s.opens(&secret, 0, 0)?;
    // By the call itself, for this thread alone.
    let set = |uid: u32| os::raw(libc::SYS_setresuid, [u64::MAX, uid.into(), u64::MAX]);
    must("setresuid", set(NOBODY))?;
    s.opens(&secret, 0, -EACCES)?;
    s.opens(&secret, root, 0)?;
    must("setresuid", set(0)).map(drop)
}

fn a_personality_may_have_fewer_rights() -> Outcome {
    let mut s = Scene::new(0)?;
    let (secret, open) = (s.file("secret", 0o600, 0)?, s.file("open", 0o644, 0)?);
    become_user(NOBODY)?;
    let nobody = s.register()?;
    become_user(0)?;
    s.opens(&secret, nobody, -EACCES)?;
    s.opens(&open, nobody, 0)?;
    s.opens(&secret, 0, 0)
}

fn set_groups(groups: &[u32]) -> Outcome {
    let of = |g: &u32| i32::from_ne_bytes(g.to_ne_bytes());
    let all = i32s(&groups.iter().map(of).collect::<Vec<_>>());
    must("setgroups", os::raw(libc::SYS_setgroups, [groups.len() as u64, all.addr(), 0])).map(drop)
}

fn a_personality_keeps_groups_and_capabilities() -> Outcome {
    const GROUP: u32 = 4242;
    let mut s = Scene::new(0)?;
    let (theirs, nobodys) = (s.file("group", 0o040, GROUP)?, s.file("nobody", 0o000, 0)?);
    set_groups(&[GROUP])?;
    become_user(NOBODY)?;
    let member = s.register()?;
    become_user(0)?;
    set_groups(&[])?;
    become_user(NOBODY)?;
    s.opens(&theirs, 0, -EACCES)?;
    s.opens(&theirs, member, 0)?;
    become_user(0)?;
    let capable = s.register()?;
    // Version 3, no process; effective, permitted and inheritable, low and high.
    let header = u64s(&[0x2008_0522]);
    let caps = Buf::new(24);
    let call = |nr| os::raw(nr, [header.addr(), caps.addr(), 0]);
    must("capget", call(libc::SYS_capget))?;
    // CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
    caps.store(0, caps.load(0) & !(1 << 1 | 1 << 2));
    must("capset", call(libc::SYS_capset))?;
    s.opens(&nobodys, 0, -EACCES)?;
    s.opens(&nobodys, capable, 0)
}

fn each_member_of_a_chain_has_its_own_rights() -> Outcome {
    let mut s = Scene::new(0)?;
    let secret = s.file("secret", 0o600, 0)?;
    let root = s.register()?;
    become_user(NOBODY)?;
    let nobody = s.register()?;
    for more in [0, ASYNC] {
        let hard = |sqe| flagged(sqe, HARDLINK | more);
        let chain = [
            hard(open(&secret, 0, 1)),
            hard(open(&secret, root, 2)),
            hard(open(&secret, 0, 3)),
            hard(open(&secret, root, 4)),
            hard(open(&secret, nobody, 5)),
            hard(Sqe { personality: root, ..nop(6) }),
            hard(open(&secret, 0, 7)),
            flagged(open(&secret, root, 8), more),
        ];
        submit(&mut s.ring, &chain)?;
        let no = -EACCES;
        s.ends(&[(1, no), (2, 0), (3, no), (4, 0), (5, no), (6, 0), (7, no), (8, 0)])?;
        let breaks = [flagged(open(&secret, root, 1), LINK | more), open(&secret, 0, 2)];
        submit(&mut s.ring, &breaks)?;
        s.ends(&[(1, 0), (2, no)])?;
        let broken = [flagged(open(&secret, 0, 1), LINK | more), open(&secret, root, 2)];
        submit(&mut s.ring, &broken)?;
        s.ends(&[(1, no), (2, -ECANCELED)])?;
    }
    Ok(())
}

fn what_follows_a_message_has_its_own_rights() -> Outcome {
    let mut s = Scene::new(0)?;
    let secret = s.file("secret", 0o600, 0)?;
    let root = s.register()?;
    let other = ring()?;
    become_user(NOBODY)?;
    for more in [0, ASYNC] {
        let hard = |sqe| flagged(sqe, HARDLINK | more);
        let message = |ud| rw(40, other.fd, 0, 7, ud, ud);
        let chain = [
            hard(open(&secret, root, 1)),
            hard(message(2)),
            hard(open(&secret, 0, 3)),
            hard(message(4)),
            open(&secret, root, 5),
        ];
        submit(&mut s.ring, &chain)?;
        s.ends(&[(1, 0), (2, 0), (3, -EACCES), (4, 0), (5, 0)])?;
        ends(&other, &[(2, 7), (4, 7)])?;
    }
    Ok(())
}

fn what_a_drain_held_back_keeps_its_rights() -> Outcome {
    let mut s = Scene::new(0)?;
    let secret = s.file("secret", 0o600, 0)?;
    let root = s.register()?;
    become_user(NOBODY)?;
    let (r, w) = pipe()?;
    let b = Buf::new(8);
    let waits = Sqe { personality: root, ..read(r, b.addr(), 8, 0, 1) };
    let drains = flagged(open(&secret, root, 2), DRAIN);
    submit(&mut s.ring, &[waits, drains, open(&secret, 0, 3), open(&secret, root, 4)])?;
    pending(&s.ring)?;
    put(w, b"x")?;
    s.ends(&[(1, 0), (2, 0)])?;
    let mut last: Vec<_> =
        wait_for(&s.ring, 2)?.iter().map(|c| (c.user_data, c.res.min(0))).collect();
    last.sort_unstable();
    expect("the rest", last, vec![(3, -EACCES), (4, 0)])
}

fn a_personality_is_unregistered_while_in_use() -> Outcome {
    let mut s = Scene::new(0)?;
    let secret = s.file("secret", 0o600, 0)?;
    let root = s.register()?;
    become_user(NOBODY)?;
    let (r, w) = pipe()?;
    let b = Buf::new(8);
    submit(&mut s.ring, &[flagged(read(r, b.addr(), 8, 0, 1), LINK), open(&secret, root, 2)])?;
    expect("unregister", s.ring.register(10, 0, root.into()), Ok(0))?;
    submit(&mut s.ring, &[open(&secret, root, 3)])?;
    s.ends(&[(3, -EINVAL)])?;
    put(w, b"12345678")?;
    s.ends(&[(1, 0), (2, 0)])
}

fn a_personality_outlives_its_thread() -> Outcome {
    let mut s = Scene::new(0)?;
    let secret = s.file("secret", 0o600, 0)?;
    let fd = s.ring.fd;
    let root = on_thread(move || register_fd(fd, 9, 0, 0))?.map_err(|e| format!("{e:?}"))? as u16;
    become_user(NOBODY)?;
    s.opens(&secret, 0, -EACCES)?;
    s.opens(&secret, root, 0)
}

fn a_personality_holds_for_a_submission_thread() -> Outcome {
    let mut s = Scene::new(Setup::SQPOLL.bits())?;
    let secret = s.file("secret", 0o600, 0)?;
    let root = s.register()?;
    become_user(NOBODY)?;
    let nobody = s.register()?;
    let want = [
        (open(&secret, 0, 1), 0),
        (open(&secret, root, 2), 0),
        (open(&secret, nobody, 3), -EACCES),
    ];
    for (sqe, res) in want {
        s.ring.push(sqe);
        must("enter", s.ring.enter(1, 1, GETEVENTS | SQ_WAKEUP, 0, 0))?;
        s.ends(&[(sqe.user_data, res)])?;
    }
    Ok(())
}

fn personalities_block_beside_each_other() -> Outcome {
    let mut s = Scene::new(0)?;
    let path = s.dir.join("fifo");
    let name = Buf::of(format!("{}\0", path.display()).as_bytes());
    must("mkfifo", os::raw(libc::SYS_mknod, [name.addr(), u64::from(libc::S_IFIFO | 0o600), 0]))?;
    let root = s.register()?;
    become_user(NOBODY)?;
    let end = |how: i32, ud| flagged(Sqe { op_flags: how as u32, ..open(&name, root, ud) }, ASYNC);
    // On a worker, where an open waits: each waits for the other to be opened.
    submit(&mut s.ring, &[end(libc::O_RDONLY, 1)])?;
    pending(&s.ring)?;
    submit(&mut s.ring, &[end(libc::O_WRONLY, 2)])?;
    let mut both: Vec<_> =
        wait_for(&s.ring, 2)?.iter().map(|c| (c.user_data, c.res.min(0))).collect();
    both.sort_unstable();
    expect("both", both, vec![(1, 0), (2, 0)])
}

fn what_waits_with_a_personality_ends_as_any() -> Outcome {
    let mut s = Scene::new(0)?;
    let root = s.register()?;
    become_user(NOBODY)?;
    let (a, b) = pair()?;
    let mem = Buf::new(64);
    must("FILES", s.ring.register_files(&[a]))?;
    let named = |sqe: Sqe| Sqe { personality: root, ..sqe };
    let recv = named(rw(op::RECV, a, mem.addr(), 8, 0, 1));
    submit(&mut s.ring, &[recv])?;
    pending(&s.ring)?;
    submit(&mut s.ring, &[cancel(1, 0, 2)])?;
    ends_all(&s.ring, &[(1, -ECANCELED), (2, 0)])?;
    for recv in [recv, flagged(Sqe { fd: 0, ..recv }, FIXED)] {
        submit(&mut s.ring, &[recv])?;
        pending(&s.ring)?;
        put(b, b"abc")?;
        ends(&s.ring, &[(1, 3)])?;
    }
    let bufs = u64s(&[mem.addr(), 64]);
    must("BUFFERS", s.ring.register(reg::BUFFERS, bufs.addr(), 1))?;
    let (r, w) = pipe()?;
    submit(&mut s.ring, &[named(rw(op::READ_FIXED, r, mem.addr(), 8, 0, 4))])?;
    must("NO BUFFERS", s.ring.register(reg::UNREGISTER_BUFFERS, 0, 0))?;
    put(w, b"defgh")?;
    ends(&s.ring, &[(4, 5)])?;
    expect("what came", mem.get(0, 5), b"defgh".to_vec())
}

fn a_personality_is_outside_a_domain_entered_later() -> Outcome {
    let mut s = Scene::new(0)?;
    let secret = s.file("secret", 0o600, 0)?;
    let free = s.register()?;
    // handled_access_fs: LANDLOCK_ACCESS_FS_READ_FILE; no rule allows it anywhere.
    let attr = u64s(&[4]);
    let ruleset = os::raw(libc::SYS_landlock_create_ruleset, [attr.addr(), 8, 0]);
    let Ok(ruleset) = ruleset else { return Err("skip: no Landlock here".to_owned()) };
    must("no_new_privs", os::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
    must("restrict", os::raw(libc::SYS_landlock_restrict_self, [ruleset as u64, 0, 0]))?;
    s.opens(&secret, 0, -EACCES)?;
    s.opens(&secret, free, 0)?;
    let bound = s.register()?;
    s.opens(&secret, bound, -EACCES)
}
