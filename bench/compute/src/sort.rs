//! A merge sort, bottom up: runs of one number are merged into runs of two, then into runs of four, and so on, from one
//! buffer into another and back.

/// Sorts numbers, with a buffer of the same length beside them.
pub fn merge_sort(numbers: &mut Vec<u64>) {
    let mut merged = vec![0; numbers.len()];
    let mut run = 1;
    while run < numbers.len() {
        let pairs = numbers.chunks(run * 2).zip(merged.chunks_mut(run * 2));
        for (pair, place) in pairs {
            let (left, right) = pair.split_at(run.min(pair.len()));
            merge(left, right, place);
        }
        std::mem::swap(numbers, &mut merged);
        run *= 2;
    }
}

/// Merges two sorted runs into a place as long as both.
fn merge(left: &[u64], right: &[u64], place: &mut [u64]) {
    let (mut l, mut r) = (0, 0);
    for next in place.iter_mut() {
        let takes_left = r >= right.len() || (l < left.len() && left[l] <= right[r]);
        if takes_left {
            *next = left[l];
            l += 1;
        } else {
            *next = right[r];
            r += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_sorts_as_the_library_does(numbers in vec(any::<u64>(), 0..600)) {
            let (mut ours, mut expected) = (numbers.clone(), numbers);
            merge_sort(&mut ours);
            expected.sort_unstable();
            prop_assert_eq!(ours, expected);
        }

        #[test]
        fn equal_numbers_are_all_kept(numbers in vec(0..4_u64, 0..600)) {
            let (mut ours, mut expected) = (numbers.clone(), numbers);
            merge_sort(&mut ours);
            expected.sort_unstable();
            prop_assert_eq!(ours, expected);
        }
    }

    #[test]
    fn every_length_about_a_power_of_two_is_sorted() {
        for length in [0, 1, 2, 3, 4, 5, 31, 32, 33, 1023, 1024, 1025] {
            let mut numbers: Vec<u64> = (0..length).rev().collect();
            merge_sort(&mut numbers);
            assert!(numbers.iter().copied().eq(0..length), "{length}");
        }
    }
}
