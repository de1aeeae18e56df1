//! How often the kernel knows each inode.

use bento_api::Ino;
use parking_lot::Mutex;
use std::collections::HashMap;

/// Counts the pins that the kernel holds. It needn't end them before it unmounts.
#[derive(Default)]
pub(crate) struct Pins(Mutex<HashMap<Ino, u64>>);

impl Pins {
    pub(crate) fn add(&self, ino: Ino) {
        *self.0.lock().entry(ino).or_default() += 1;
    }

    /// Takes up to `count` pins away and returns how many there were.
    pub(crate) fn remove(&self, ino: Ino, count: u64) -> u64 {
        let mut pins = self.0.lock();
        let Some(held) = pins.get_mut(&ino) else {
            return 0;
        };
        let removed = count.min(*held);
        *held -= removed;
        if *held == 0 {
            pins.remove(&ino);
        }
        removed
    }

    /// Whether the kernel knows an inode.
    pub(crate) fn holds(&self, ino: Ino) -> bool {
        self.0.lock().contains_key(&ino)
    }

    /// Calls `forget` once for each pin left.
    pub(crate) fn drain(&self, mut forget: impl FnMut(Ino)) {
        for (ino, count) in std::mem::take(&mut *self.0.lock()) {
            (0..count).for_each(|_| forget(ino));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_added_is_removed() {
        let pins = Pins::default();
        pins.add(Ino(5));
        pins.add(Ino(5));
        pins.add(Ino(6));
        assert_eq!([pins.remove(Ino(5), 1), pins.remove(Ino(7), 1)], [1, 0]);
        assert!(pins.holds(Ino(5)));
        assert_eq!(pins.remove(Ino(5), 9), 1);
        assert!(!pins.holds(Ino(5)));
        let mut left = Vec::new();
        pins.drain(|ino| left.push(ino));
        assert_eq!(left, [Ino(6)]);
    }
}
