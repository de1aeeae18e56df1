//! Giving back the memory of hash tables that were large once.

use core::hash::{BuildHasher, Hash};
use hashbrown::HashMap;

/// A table that takes less memory than this is left as it is.
const BYTES_MIN: usize = 4096;

/// A table of which less than this part is in use is made anew.
const USED_PART: usize = 8;

/// Gives back the room that a table has and hardly uses. Nothing fails: without memory for the small
/// table the large one stays. What that costs is spread over the removals that have emptied it.
pub(crate) fn shrink<K: Eq + Hash, V, S: BuildHasher + Clone>(table: &mut HashMap<K, V, S>) {
    // Not the capacity: it does not count places whose entries were removed.
    let all_bytes = table.allocation_size();
    let used_bytes = table.len() * size_of::<(K, V)>();
    if all_bytes < BYTES_MIN || used_bytes > all_bytes / USED_PART {
        return;
    }
    let mut small = HashMap::with_hasher(table.hasher().clone());
    if small.try_reserve(table.len()).is_ok() {
        small.extend(table.drain());
        *table = small;
    }
}

#[cfg(test)]
mod tests {
    use super::shrink;
    use hashbrown::HashMap;

    #[test]
    fn a_table_that_is_nearly_empty_becomes_small() {
        let mut table: HashMap<u32, u32> = (0..10_000).map(|n| (n, 2 * n)).collect();
        let large = table.allocation_size();
        table.retain(|n, _| n % 2 == 0);
        shrink(&mut table);
        assert_eq!(table.allocation_size(), large, "half of it is in use");
        table.retain(|n, _| n % 100 == 0);
        shrink(&mut table);
        assert!(table.allocation_size() < large / 8);
        assert_eq!(table.len(), 100);
        assert_eq!(table.get(&500), Some(&1000));
    }
}
