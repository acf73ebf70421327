//! A slab whose keys carry a generation, so that a stale key finds nothing.
//!
//! Not thread-safe and never shrinking: it lives under its ring's lock and is as large as the most
//! requests that ever waited at once.

use alloc::vec::Vec;

/// Names an entry: index in the low half, generation in the high half but for its top bit. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(u64);

impl Key {
    /// The key as an opaque number, for a poller's token.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The inverse of [`Key::bits`]; a made-up number finds nothing.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    fn new(index: usize, generation: u32) -> Self {
        Self(index as u64 & 0xffff_ffff | u64::from(generation) << 32)
    }

    /// The entry's place, which others have after it.
    pub const fn place(self) -> u32 {
        self.0 as u32
    }

    fn index(self) -> usize {
        self.place() as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// The top bit of a key is free for whoever stores it.
const GENERATION_MAX: u32 = u32::MAX >> 1;

#[derive(Debug)]
struct Cell<T> {
    generation: u32,
    value: Option<T>,
}

/// See the module's doc.
#[derive(Debug)]
pub struct Slab<T> {
    cells: Vec<Cell<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { cells: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Stores a value.
    #[inline(always)]
    pub fn insert(&mut self, value: T) -> Key {
        if let Some(i) = self.free.pop()
            && let Some(cell) = self.cells.get_mut(i as usize)
        {
            cell.value = Some(value);
            return Key::new(i as usize, cell.generation);
        }
        self.cells.push(Cell { generation: 1, value: Some(value) });
        Key::new(self.cells.len() - 1, 1)
    }

    /// The entry, unless it is gone.
    pub fn get(&self, key: Key) -> Option<&T> {
        let cell = self.cells.get(key.index())?;
        if cell.generation == key.generation() { cell.value.as_ref() } else { None }
    }

    /// The entry, unless it is gone.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let cell = self.cells.get_mut(key.index())?;
        if cell.generation == key.generation() { cell.value.as_mut() } else { None }
    }

    /// The entry at a place, with its key.
    pub fn at(&self, place: u32) -> Option<(Key, &T)> {
        let cell = self.cells.get(place as usize)?;
        cell.value.as_ref().map(|v| (Key::new(place as usize, cell.generation), v))
    }

    /// The entry at a place.
    pub fn at_mut(&mut self, place: u32) -> Option<&mut T> {
        self.cells.get_mut(place as usize)?.value.as_mut()
    }

    /// Takes the entry out; its key finds nothing from here on.
    #[inline(always)]
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let cell = self.cells.get_mut(key.index())?;
        if cell.generation != key.generation() {
            return None;
        }
        let value = cell.value.take()?;
        cell.generation = ((cell.generation + 1) & GENERATION_MAX).max(1);
        self.free.push(key.index() as u32);
        Some(value)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.cells.len() - self.free.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All entries, in index order.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.cells
            .iter()
            .enumerate()
            .filter_map(|(i, c)| c.value.as_ref().map(|v| (Key::new(i, c.generation), v)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing_after_reuse() {
        let mut s = Slab::default();
        let a = s.insert(1);
        assert_eq!(s.remove(a), Some(1));
        let b = s.insert(2);
        assert_ne!(a, b);
        assert_eq!(s.get(a), None);
        assert_eq!(s.remove(a), None);
        assert_eq!(s.get(b), Some(&2));
        assert_eq!(s.len(), 1);
    }
}
