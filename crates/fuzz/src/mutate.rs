//! A seeded mutator: the same seed and corpus, the same inputs, on every machine.
//!
//! Without coverage nothing says which mutation was a good one, so each input is a few steps away
//! from one of the corpus, or fresh. What it does not do: learn (libFuzzer does; see `fuzz/`).

use ringer_sim::Rng;

/// Values at which code changes its mind.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    7,
    8,
    0x10,
    0x7f,
    0xff,
    0x1000,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 47,
    i64::MAX as u64,
    u64::MAX,
];

/// See the module's doc.
#[derive(Debug)]
pub struct Mutator {
    rng: Rng,
    corpus: Vec<Vec<u8>>,
    len_max: usize,
}

impl Mutator {
    /// Inputs of at most `len_max` bytes, near those of `corpus`.
    pub fn new(seed: u64, corpus: Vec<Vec<u8>>, len_max: usize) -> Self {
        Self { rng: Rng::new(seed), corpus, len_max }
    }

    /// The next input.
    pub fn input(&mut self) -> Vec<u8> {
        let mut bytes = if self.corpus.is_empty() || self.rng.one_in(16) {
            let len = self.rng.below(self.len_max + 1);
            self.fresh(len)
        } else {
            self.pick()
        };
        for _ in 0..=self.rng.below(5) {
            self.step(&mut bytes);
        }
        bytes.truncate(self.len_max);
        bytes
    }

    fn fresh(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.rng.bits() as u8).collect()
    }

    fn pick(&mut self) -> Vec<u8> {
        let at = self.rng.below(self.corpus.len());
        self.corpus.get(at).cloned().unwrap_or_default()
    }

    /// A part of `bytes`, perhaps an empty one.
    fn part(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let from = self.rng.below(bytes.len() + 1);
        let most = (bytes.len() - from).min(1 << self.rng.below(8));
        from..from + self.rng.below(most + 1)
    }

    fn step(&mut self, bytes: &mut Vec<u8>) {
        let at = self.rng.below(bytes.len());
        let kind = if bytes.is_empty() { 5 } else { self.rng.below(10) };
        match kind {
            0 => bytes[at] ^= 1 << self.rng.below(8),
            1 => bytes[at] = self.rng.bits() as u8,
            2 => bytes[at] = bytes[at].wrapping_add(self.rng.below(33) as u8).wrapping_sub(16),
            3 | 4 => {
                let edge = EDGES[self.rng.below(EDGES.len())].to_le_bytes();
                let width = 1 << self.rng.below(4);
                bytes.iter_mut().skip(at).zip(&edge[..width]).for_each(|(to, from)| *to = *from);
            }
            5 => {
                let len = 1 + self.rng.below(16);
                let more = self.fresh(len);
                bytes.splice(at..at, more);
            }
            6 => {
                let gone = self.part(bytes);
                bytes.drain(gone);
            }
            7 => {
                let part = self.part(bytes);
                let copy = bytes[part].to_vec();
                bytes.splice(at..at, copy);
            }
            8 => {
                let other = self.pick();
                let part = self.part(&other);
                bytes.splice(at..at, other[part].iter().copied());
            }
            _ => {
                let other = self.pick();
                let from = self.rng.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
}
