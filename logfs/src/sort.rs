//! Sorting with the stack that a thread of the kernel has: 16 KiB for all of its callers together. The
//! standard library's sorts recurse with room for dozens of elements in each frame, and overwrite what
//! is below the stack.

/// Sorts by a key, without memory of its own, in any order of equal keys. Heapsort (Williams, Floyd:
/// Communications of the ACM, 1964), which takes as long for every order; what is sorted stays.
pub(crate) fn sort_by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    if items.is_sorted_by_key(&key) {
        return;
    }
    for root in (0..items.len() / 2).rev() {
        sift_down(items, root, &key);
    }
    for end in (1..items.len()).rev() {
        items.swap(0, end);
        if let Some(heap) = items.get_mut(..end) {
            sift_down(heap, 0, &key);
        }
    }
}

/// Makes a heap of what is one already but for its root at `place`.
fn sift_down<T, K: Ord>(heap: &mut [T], mut place: usize, key: &impl Fn(&T) -> K) {
    let key_at = |heap: &[T], at: usize| heap.get(at).map(key);
    loop {
        let (left, right) = (2 * place + 1, 2 * place + 2);
        let (left_key, right_key) = (key_at(heap, left), key_at(heap, right));
        // What is not there is less than any key.
        let (child, child_key) = match right_key > left_key {
            true => (right, right_key),
            false => (left, left_key),
        };
        if child_key <= key_at(heap, place) {
            return;
        }
        heap.swap(place, child);
        place = child;
    }
}

#[cfg(test)]
mod tests {
    use super::sort_by_key;
    use alloc::vec::Vec;

    #[test]
    fn all_orders_of_few_are_sorted() {
        for code in 0..5_u32.pow(5) {
            let items: Vec<_> = (0..5).map(|place| code / 5_u32.pow(place) % 5).collect();
            for len in 0..=5 {
                let (mut ours, mut theirs) = (items[..len].to_vec(), items[..len].to_vec());
                sort_by_key(&mut ours, |&item| item);
                theirs.sort_unstable();
                assert_eq!(ours, theirs);
            }
        }
    }

    #[test]
    fn many_are_sorted_and_none_is_lost() {
        let mixed = |at: u64| at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50;
        let mut ours: Vec<_> = (0..100_000).map(|at| (mixed(at), at)).collect();
        let mut theirs = ours.clone();
        sort_by_key(&mut ours, |item| item.0);
        assert!(ours.is_sorted_by_key(|item| item.0));
        ours.sort_unstable();
        theirs.sort_unstable();
        assert_eq!(ours, theirs);
    }
}
