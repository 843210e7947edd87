//! Where labels stand that must not overlap.

/// Places as close as can be to the wanted ones (least squares), in the same order and at least `gap` apart, between `from` and
/// `to` as long as there is room.
#[must_use]
pub(crate) fn spread(wanted: &[f64], gap: f64, from: f64, to: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|&a, &b| wanted[a].total_cmp(&wanted[b]));
    // With each place moved back by the gaps before it, the places need only rise: blocks of places that would
    // fall stand together at their mean.
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for (rank, &index) in order.iter().enumerate() {
        let mut block = (wanted[index] - rank as f64 * gap, 1);
        while let Some(before) = blocks.pop_if(|before| mean(*before) >= mean(block)) {
            block = (before.0 + block.0, before.1 + block.1);
        }
        blocks.push(block);
    }
    let last = (to - gap * wanted.len().saturating_sub(1) as f64).max(from);
    let mut places = vec![0.0; wanted.len()];
    let mut rank = 0;
    for block in blocks {
        for _ in 0..block.1 {
            places[order[rank]] = mean(block).clamp(from, last) + rank as f64 * gap;
            rank += 1;
        }
    }
    places
}

fn mean(block: (f64, usize)) -> f64 {
    block.0 / block.1 as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_with_room_stay_where_they_are() {
        assert_eq!(spread(&[50.0, 10.0, 30.0], 14.0, 0.0, 100.0), [50.0, 10.0, 30.0]);
        assert!(spread(&[], 14.0, 0.0, 100.0).is_empty());
    }

    #[test]
    fn labels_on_one_place_are_pushed_apart_evenly() {
        assert_eq!(spread(&[50.0, 50.0, 50.0], 10.0, 0.0, 100.0), [40.0, 50.0, 60.0]);
        assert_eq!(spread(&[100.0, 99.0], 10.0, 0.0, 100.0), [100.0, 90.0]);
        assert_eq!(spread(&[-5.0, 2.0], 10.0, 0.0, 100.0), [0.0, 10.0]);
    }

    proptest! {
        #[test]
        fn labels_never_overlap_nor_change_order_nor_leave(wanted in prop::collection::vec(-50.0..350.0, 0..20)) {
            let places = spread(&wanted, 14.0, 0.0, 300.0);
            let mut pairs: Vec<_> = wanted.iter().zip(&places).collect();
            pairs.sort_by(|a, b| a.0.total_cmp(b.0));
            for two in pairs.windows(2) {
                prop_assert!(two[0].0 == two[1].0 || two[1].1 - two[0].1 >= 14.0 - 1e-6, "{wanted:?} -> {places:?}");
            }
            let mut sorted = places.clone();
            sorted.sort_by(f64::total_cmp);
            prop_assert!(sorted.windows(2).all(|two| two[1] - two[0] >= 14.0 - 1e-6));
            prop_assert!(sorted.iter().all(|place| (-1e-6..=300.0 + 1e-6).contains(place)));
        }
    }
}
