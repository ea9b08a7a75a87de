//! Sparse counts against a plain array, and the edges between inline slots and the heap.

use proptest::prelude::*;

use super::*;

fn number() -> impl Strategy<Value = u8> {
    // Few numbers, so that they meet, and all of them, so that every bit is used.
    prop_oneof![0..12_u8, any::<u8>()]
}

fn pairs() -> impl Strategy<Value = Vec<(u8, u64)>> {
    prop::collection::vec((number(), prop_oneof![0..1000_u64, any::<u64>()]), 0..20)
}

fn counters(pairs: &[(u8, u64)]) -> Counters {
    let mut counters = Counters::new();
    for &(number, count) in pairs {
        counters.add(CounterId(number), count);
    }
    counters
}

fn merged(a: &Counters, b: &Counters) -> Counters {
    let mut sum = a.clone();
    sum.merge(b);
    sum
}

proptest! {
    #[test]
    fn merging_is_associative_and_commutative(a in pairs(), b in pairs(), c in pairs()) {
        let (a, b, c) = (counters(&a), counters(&b), counters(&c));
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
    }

    #[test]
    fn each_count_is_the_sum_of_what_was_added(pairs in pairs()) {
        let mut expected = [0_u64; CounterId::COUNT];
        for &(number, count) in &pairs {
            let sum = &mut expected[usize::from(number)];
            *sum = sum.saturating_add(count);
        }
        let counters = counters(&pairs);
        for (number, &count) in (0..=u8::MAX).zip(&expected) {
            prop_assert_eq!(counters.get(CounterId(number)), count);
        }
        let listed: Vec<(u8, u64)> = counters.iter().map(|(counter, count)| (counter.0, count)).collect();
        let all = (0..=u8::MAX).zip(expected).filter(|(_, count)| *count > 0);
        prop_assert_eq!(listed, all.collect::<Vec<_>>());
    }

    #[test]
    fn pushing_in_order_is_adding(pairs in pairs()) {
        let added = counters(&pairs);
        let mut pushed = Counters::new();
        for (counter, count) in added.iter() {
            pushed.push(counter, count);
        }
        prop_assert_eq!(pushed, added);
    }
}

/// Whether the counts lie inside the value.
fn is_inline(counters: &Counters) -> bool {
    matches!(counters.0, Storage::Inline { .. })
}

#[test]
fn counts_stay_inline_up_to_six_and_below_33_bits() {
    let first = |many: u8| (0..many).map(|number| (number * 3, 7)).collect::<Vec<_>>();
    let small = u64::from(u32::MAX);
    let cases = [
        (vec![], true),
        (vec![(0, 1)], true),
        (vec![(255, 1)], true),
        (first(6), true),
        (first(7), false),
        (first(200 / 3), false),
        (vec![(4, small)], true),
        (vec![(4, small + 1)], false),
        (vec![(4, small), (4, 1)], false),
        (vec![(4, small - 1), (4, 1)], true),
        // The seventh addition is to a counter that is held already.
        ([first(6), vec![(0, 1)]].concat(), true),
    ];
    for (pairs, inline) in cases {
        let counters = counters(&pairs);
        assert_eq!(is_inline(&counters), inline, "{pairs:?}");
        let sum: u64 = pairs.iter().map(|(_, count)| count).sum();
        assert_eq!(counters.iter().map(|(_, count)| count).sum::<u64>(), sum, "{pairs:?}");
    }
}

#[test]
fn equal_counts_are_equal_inline_and_on_the_heap() {
    let mut moved = counters(&[(3, 5), (200, 9)]);
    moved.add_on_heap(CounterId(3), 1);
    assert!(!is_inline(&moved));
    assert_eq!(moved, counters(&[(3, 6), (200, 9)]));
    assert_ne!(moved, counters(&[(3, 6), (201, 9)]));
}

#[test]
fn sum_above_64_bits_stays_at_the_largest() {
    let counters = counters(&[(9, u64::MAX), (9, 5)]);
    assert_eq!(counters.get(CounterId(9)), u64::MAX);
}

#[test]
fn adding_nothing_holds_nothing() {
    let mut counters = counters(&[(1, 0), (2, 0)]);
    assert!(counters.is_empty());
    counters.add(Counter::Sends, 1);
    assert!(!counters.is_empty());
    counters.clear();
    assert_eq!(counters, Counters::new());
    assert_eq!(counters.get(Counter::Sends), 0);
}

#[test]
fn events_are_the_primary_counters_and_the_simulators() {
    let mut counters = Counters::new();
    for counter in Counter::PRIMARY {
        counters.add(counter, 2);
    }
    counters.add(Counter::Simulator, 3);
    // Parts of other counters, and sums that are no number of events.
    for counter in [Counter::OpensMachine, Counter::Suppressed, Counter::DeliveryMillis, Counter::QueueDepth]
    {
        counters.add(counter, 1000);
    }
    assert_eq!(counters.events(), 2 * 16 + 3);
}

#[test]
fn counters_are_as_small_as_before_there_was_room_for_256() {
    assert_eq!(size_of::<Counters>(), 32);
}
