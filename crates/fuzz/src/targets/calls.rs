//! The three calls with any arguments, in any order, around requests in flight.
//!
//! What must hold: no panic, no wait that a signal does not end; a registration of files that
//! fails holds no file; once every ring is closed nothing is held. What it does not do: judge an
//! errno (the fidelity tier does).

use crate::pages::{RawRing, setup as s};
use crate::scene::{ARENA, MS, Scene};
use arbitrary::{Result, Unstructured};
use ringer_uapi::Params;

const RINGS_MAX: usize = 4;
const STEPS_MAX: usize = 48;
/// Rings of this many entries and less are made in numbers: simulated pages are never freed.
const SMALL: u32 = 64;
/// `IORING_REGISTER_FILES`, `IORING_REGISTER_FILES2`.
const REGISTER_FILES: [u32; 2] = [2, 13];

pub(crate) fn calls(data: &[u8]) {
    // Whatever is missing reads as zero: there is no error to tell.
    let _ = play(&mut Unstructured::new(data));
}

fn play(u: &mut Unstructured<'_>) -> Result<()> {
    let scene = Scene::new(u)?;
    let mut rings: Vec<RawRing> = Vec::new();
    for _ in 0..STEPS_MAX {
        if u.is_empty() {
            break;
        }
        match u.arbitrary::<u8>()? % 16 {
            0 | 1 => setup(&scene, &mut rings, u)?,
            2..=5 => register(&scene, &rings, u)?,
            6..=8 => enter(&scene, &rings, u)?,
            9..=11 => {
                let sqe = scene.sqe(u)?;
                if let Some(ring) = pick(&mut rings, u)? {
                    ring.push(&sqe);
                }
            }
            12 | 13 => {
                let at = scene.arena + u.int_in_range(0..=ARENA / 2)?;
                scene.sim.write(at, &u.arbitrary::<[u8; 16]>()?);
            }
            14 => scene.stir(u)?,
            _ => {
                if !rings.is_empty() {
                    let gone = rings.swap_remove(u.choose_index(rings.len())?);
                    scene.sim.close_ring(gone.fd);
                }
            }
        }
    }
    for ring in rings {
        scene.sim.close_ring(ring.fd);
    }
    scene.sim.sleep(20 * MS);
    assert_eq!(scene.sim.held(), 0, "files were left over");
    Ok(())
}

fn pick<'a>(rings: &'a mut [RawRing], u: &mut Unstructured<'_>) -> Result<Option<&'a mut RawRing>> {
    if rings.is_empty() {
        return Ok(None);
    }
    let at = u.choose_index(rings.len())?;
    Ok(rings.get_mut(at))
}

/// A ring's descriptor, or any other.
fn descriptor(scene: &Scene, rings: &[RawRing], u: &mut Unstructured<'_>) -> Result<i32> {
    let wild = u.arbitrary::<u8>()? > 230;
    if wild || rings.is_empty() { scene.fd(u) } else { Ok(u.choose(rings)?.fd) }
}

fn setup(scene: &Scene, rings: &mut Vec<RawRing>, u: &mut Unstructured<'_>) -> Result<()> {
    let wild = u.arbitrary::<u8>()?;
    let mut params = Params { flags: u.arbitrary()?, ..Params::default() };
    if wild & 1 == 0 {
        // Most flags exclude others: a few at a time.
        params.flags = 1 << (params.flags % 20) | 1 << (params.flags >> 8 & 15);
    }
    if wild & 2 != 0 {
        params = Params { flags: params.flags, ..Params::from_bytes(&u.arbitrary()?) };
    }
    if wild & 4 != 0 {
        params.wq_fd = descriptor(scene, rings, u)? as u32;
    }
    let entries = small(u.arbitrary()?, params.flags);
    params.cq_entries = small(params.cq_entries, params.flags);
    let before = scene.sim.held();
    let bad = (wild & 0x38 == 0x38).then(|| scene.addr(u)).transpose()?;
    if let Some(at) = bad {
        // Zeros, most likely, or what lies in the arena: no ring of these is kept.
        if let Ok(fd) = scene.sim.engine.setup(entries.min(SMALL), at) {
            scene.sim.close_ring(fd as i32);
        }
        return Ok(());
    }
    if rings.len() < RINGS_MAX {
        match RawRing::make(scene, entries, &params) {
            Ok(ring) => rings.push(ring),
            Err(_) => assert_eq!(scene.sim.held(), before, "a failed setup holds a file"),
        }
    }
    Ok(())
}

/// A count that makes a small ring, or none.
fn small(n: u32, flags: u32) -> u32 {
    let makes_a_big_one = n > SMALL && (n <= 1 << 16 || flags & s::CLAMP != 0);
    if makes_a_big_one { n % (SMALL + 1) } else { n }
}

fn register(scene: &Scene, rings: &[RawRing], u: &mut Unstructured<'_>) -> Result<()> {
    let fd = descriptor(scene, rings, u)?;
    let wild = u.arbitrary::<u8>()?;
    let op = if wild & 0x80 != 0 { u.arbitrary()? } else { u32::from(wild % 40) };
    let arg = scene.addr(u)?;
    let nr = match u.arbitrary::<u8>()? {
        n @ 0..=200 => *u.choose(&[0, 1, 2, 4, 32, u32::from(n)])?,
        _ => u.arbitrary()?,
    };
    let before = scene.sim.held();
    let done = scene.sim.register(fd, op, arg, nr);
    if done.is_err() && REGISTER_FILES.contains(&op) {
        // Less is possible: a request may have ended meanwhile.
        assert!(scene.sim.held() <= before, "a failed registration holds files");
    }
    Ok(())
}

fn enter(scene: &Scene, rings: &[RawRing], u: &mut Unstructured<'_>) -> Result<()> {
    let fd = descriptor(scene, rings, u)?;
    let wild = u.arbitrary::<u8>()?;
    let submit = if wild & 1 != 0 { u.arbitrary()? } else { u32::from(wild >> 4) };
    let min = if wild & 2 != 0 { u.arbitrary()? } else { u32::from(wild >> 6) };
    let flags = if wild & 4 != 0 { u.arbitrary()? } else { u32::from(u.arbitrary::<u8>()?) };
    let arg = scene.addr(u)?;
    let size = *u.choose(&[0, 8, 24, 23, 64, u64::MAX])?;
    // Whoever waits for nothing is interrupted.
    for ms in [1, 3, 10, 100] {
        scene.sim.signal_later(ms * MS);
    }
    let done = scene.sim.engine.enter(fd, submit, min, flags, arg, size);
    assert!(done.is_err() || done.is_ok_and(|n| n <= submit as usize), "more than was asked for");
    Ok(())
}
