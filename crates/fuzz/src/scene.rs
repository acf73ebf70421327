//! The world of the simulated targets: one of each kind of file, and an arena of memory.
//!
//! ```text
//!  arena  0 iovecs  64 timespec  80 "a"  88 "b"  96 fds  128 EXT_ARG  160 register  192 update
//!         4096.. data                               everything in it may be overwritten
//!  short  a timespec of 1 ms that nothing points to by chance
//! ```
//!
//! Values are drawn so that most of an input's bits reach past the first check: a field is tame
//! unless the input says otherwise. What it does not do: judge.

use arbitrary::{Result, Unstructured};
use ringer_engine::host::Host;
use ringer_engine::opcode::OPDEFS;
use ringer_sim::{BASE, NOWHERE, Options, SIZE, Sim};
use ringer_uapi::Sqe;

/// Size of the arena \[bytes\].
pub(crate) const ARENA: u64 = 8192;
/// Offsets in the arena at which something is prepared.
const PREPARED: [u64; 10] = [0, 64, 80, 88, 96, 128, 160, 192, 2048, 4096];
/// Where the engine's own numbers begin in the simulated table: a program cannot guess them.
const HELD: i32 = 1 << 20;

/// One millisecond on the virtual clock \[ns\].
pub(crate) const MS: u64 = 1_000_000;

/// See the module's doc.
pub(crate) struct Scene {
    pub(crate) sim: Sim,
    pub(crate) arena: u64,
    pub(crate) short: u64,
    pub(crate) fds: Vec<i32>,
    opcodes: Vec<u8>,
}

impl Scene {
    /// A world as unkind as the input's first byte says; 0 is kind.
    pub(crate) fn new(u: &mut Unstructured<'_>) -> Result<Self> {
        let seed = u64::from(u.arbitrary::<u8>()?);
        Ok(Self::of(if seed == 0 { Sim::default() } else { Sim::nasty(seed) }))
    }

    /// A world in which anybody may go on at any host call.
    pub(crate) fn preemptive(seed: u64) -> Self {
        Self::of(Sim::new(Options { seed: Some(seed), preempt: 2, ..Options::default() }))
    }

    fn of(sim: Sim) -> Self {
        let data: Vec<u8> = (0..700).map(|i| i as u8).collect();
        let file = sim.file(&data, 300);
        let ((r, w), (a, b)) = (sim.pipe(), sim.socketpair());
        let event = sim.eventfd();
        sim.named("a", b"content of a");
        let fds = vec![file, r, w, a, b, event];
        let (arena, short) = (sim.alloc(ARENA as usize), sim.timespec(MS));
        let ops = OPDEFS.iter().enumerate().filter(|(_, def)| def.support.is_there());
        let opcodes = ops.map(|(i, _)| i as u8).collect();
        let scene = Self { sim, arena, short, fds, opcodes };
        scene.prepare();
        scene
    }

    fn prepare(&self) {
        let at = |off: u64| self.arena + off;
        let words = |off, words: &[u64]| {
            let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
            self.sim.write(at(off), &bytes);
        };
        words(0, &[at(4096), 16, at(5000), 100, NOWHERE, 8, at(8000), 0]);
        words(64, &[0, 2 * MS]);
        words(80, &[u64::from(b'a'), u64::from(b'b')]);
        let fds: Vec<u8> = self.fds.iter().chain(&[-1, -2]).flat_map(|f| f.to_ne_bytes()).collect();
        self.sim.write(at(96), &fds);
        words(128, &[0, 0, at(64), 0]);
        words(160, &[4, 0, at(96), 0]);
        words(192, &[0, at(96), 0, 2]);
    }

    /// Registers four files and a buffer.
    pub(crate) fn register(&self, fd: i32) {
        self.sim.register(fd, 2, self.arena + 96, 4).expect("files");
        let iov = self.sim.words(&[self.arena + 4096, 4096]);
        self.sim.register(fd, 0, iov, 1).expect("buffers");
    }

    /// An address: mostly in the arena.
    pub(crate) fn addr(&self, u: &mut Unstructured<'_>) -> Result<u64> {
        let pick: u16 = u.arbitrary()?;
        let more = u64::from(pick >> 3);
        Ok(match pick & 7 {
            0..=2 => self.arena + *u.choose(&PREPARED)?,
            3..=5 => self.arena + more % ARENA,
            6 => *u.choose(&[0, NOWHERE, BASE + SIZE as u64 - 4, u64::MAX, u64::MAX - 8])?,
            _ => u.arbitrary()?,
        })
    }

    /// A descriptor or a slot.
    pub(crate) fn fd(&self, u: &mut Unstructured<'_>) -> Result<i32> {
        let pick: u8 = u.arbitrary()?;
        Ok(match pick {
            0..=199 => self.fds[pick as usize % self.fds.len()],
            200..=231 => i32::from(pick) - 202,
            _ => match u.arbitrary::<i32>()? {
                held if held >= HELD => held & (HELD - 1),
                fd => fd,
            },
        })
    }

    /// An entry, user_data 0.
    pub(crate) fn sqe(&self, u: &mut Unstructured<'_>) -> Result<Sqe> {
        let wild: u16 = u.arbitrary()?;
        let is_wild = |bit: u32| wild >> bit & 1 == 1;
        let mut sqe = Sqe { opcode: u.arbitrary()?, flags: u.arbitrary()?, ..Sqe::default() };
        if !is_wild(0) {
            sqe.opcode = self.opcodes[sqe.opcode as usize % self.opcodes.len()];
        }
        if !is_wild(1) {
            sqe.flags &= 0x5f;
        }
        (sqe.fd, sqe.addr) = (self.fd(u)?, self.addr(u)?);
        sqe.ioprio = if is_wild(2) { u.arbitrary()? } else { 0 };
        sqe.len = if is_wild(3) { u.arbitrary()? } else { u32::from(u.arbitrary::<u8>()?) };
        sqe.off = if is_wild(4) { u.arbitrary()? } else { *u.choose(&[0, u64::MAX, 1, 300])? };
        sqe.op_flags = if is_wild(5) { u.arbitrary()? } else { *u.choose(&[0, 1, 2, 4, 5])? };
        sqe.buf_index = if is_wild(6) { u.arbitrary()? } else { 0 };
        sqe.personality = if is_wild(7) { u.arbitrary()? } else { 0 };
        sqe.file_index = if is_wild(8) { *u.choose(&[1, 3, 4, u32::MAX, 77])? } else { 0 };
        sqe.addr3 = if is_wild(9) { u.arbitrary()? } else { 0 };
        sqe.pad2 = if is_wild(10) { u.arbitrary()? } else { 0 };
        if is_wild(11) {
            sqe.off = self.addr(u)?;
        }
        Ok(sqe)
    }

    /// Something happens at the far end of a pipe, a socket or the eventfd.
    pub(crate) fn stir(&self, u: &mut Unstructured<'_>) -> Result<()> {
        let (at, n) = (u.int_in_range(1..=self.fds.len() - 1)?, u.arbitrary::<u8>()?);
        let fd = self.fds[at];
        // The number may have been closed by a request and given to something else.
        let (readable, writable) = self.sim.streams(fd);
        match n {
            0..=127 if at == 1 && readable => drop(self.sim.eat(fd, n as usize)),
            0..=127 if at >= 3 && readable => drop(self.sim.eat(fd, 9)),
            0..=191 if at == 2 && writable => self.sim.feed(fd, &[n; 40]),
            0..=191 if at >= 3 && writable => self.sim.feed(fd, &[n; 7]),
            192..=255 => drop(self.sim.engine.host().close(fd)),
            _ => self.sim.sleep(u64::from(n) * MS / 16),
        }
        Ok(())
    }

    /// Everything that a request may wait for happens: ends close, what fills them is taken.
    pub(crate) fn calm(&self) {
        let [_, r, w, a, b, event] = self.fds[..] else { return };
        for fd in [r, a, b] {
            if self.sim.streams(fd).0 {
                self.sim.eat(fd, 1 << 16);
            }
        }
        // One that is closed already is no news.
        for fd in [w, b, a] {
            let _ = self.sim.engine.host().close(fd);
        }
        if self.sim.engine.host().check_eventfd(event).is_ok() {
            self.sim.feed(event, &[]);
        }
        self.sim.sleep(2 * MS);
    }
}
