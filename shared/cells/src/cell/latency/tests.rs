//! Quantiles against sorted lists, merging against recording everything at once.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "of numbers that the tests chose"
)]

use proptest::prelude::*;

use super::*;

fn recorded(values: &[u64]) -> Latency {
    let mut latency = Latency::default();
    for value in values {
        latency.record(*value);
    }
    latency
}

fn merged(a: &Latency, b: &Latency) -> Latency {
    let mut sum = a.clone();
    sum.merge(b);
    sum
}

fn exact_quantile(values: &[u64], q: f64) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = ((q * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len());
    sorted[rank - 1]
}

/// Delivery times from milliseconds to days, with every power of two equally likely.
fn millis() -> impl Strategy<Value = u64> {
    (0_u32..32, any::<u64>()).prop_map(|(bits, value)| (value >> (63 - bits)).min(Latency::MAX_MILLIS))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn quantiles_are_within_one_part_in_128(values in prop::collection::vec(millis(), 1..200), q in 0.0..=1.0_f64) {
        let exact = exact_quantile(&values, q);
        let found = recorded(&values).quantile(q).unwrap();
        prop_assert!(found.abs_diff(exact) as f64 <= exact as f64 * Latency::RELATIVE_ERROR, "{found} for {exact}");
    }

    #[test]
    fn merging_in_any_order_equals_recording_all(
        a in prop::collection::vec(millis(), 0..60),
        b in prop::collection::vec(millis(), 0..60),
        c in prop::collection::vec(millis(), 0..60),
    ) {
        let (x, y, z) = (recorded(&a), recorded(&b), recorded(&c));
        let all = recorded(&[a, b, c].concat());
        prop_assert_eq!(&merged(&merged(&x, &y), &z), &all);
        prop_assert_eq!(&merged(&z, &merged(&y, &x)), &all);
    }

    #[test]
    fn bucket_contains_its_middle(value in millis()) {
        prop_assert_eq!(bucket_of(middle_of(bucket_of(value))), bucket_of(value));
    }
}

#[test]
fn times_below_128_ms_are_exact() {
    for value in 0..128 {
        assert_eq!(recorded(&[value]).quantile(0.5), Some(value));
    }
}

#[test]
fn buckets_are_consecutive() {
    let edges = (0..Latency::BUCKETS).map(|bucket| bucket_of(middle_of(bucket)));
    assert!(edges.eq(0..Latency::BUCKETS));
    for value in 1..100_000_u64 {
        let step = bucket_of(value) - bucket_of(value - 1);
        assert!(step <= 1, "{value}");
    }
}

#[test]
fn empty_histogram_has_no_quantile() {
    assert_eq!(Latency::default().quantile(0.5), None);
}

#[test]
fn times_above_the_longest_count_as_the_longest() {
    let longest = recorded(&[Latency::MAX_MILLIS]);
    assert_eq!(recorded(&[u64::MAX]), longest);
    assert_ne!(recorded(&[Latency::MAX_MILLIS / 2]), longest);
}

#[test]
fn counts_saturate_at_48_bits() {
    let mut latency = Latency::default();
    latency.add(7, COUNT_MASK);
    latency.add(7, 5);
    latency.add(3, u64::MAX);
    assert!(latency.iter().eq([(3, COUNT_MASK), (7, COUNT_MASK)]));
}

#[test]
fn quantiles_outside_0_to_1_are_the_smallest_and_largest() {
    let latency = recorded(&[10, 20, 30]);
    assert_eq!(latency.quantile(-1.0), Some(10));
    assert_eq!(latency.quantile(2.0), Some(30));
    assert_eq!(latency.quantile(f64::NAN), Some(10));
}

#[test]
fn nearest_rank_at_the_edges_of_a_small_sample() {
    let cases: [(&[u64], f64, u64); 7] = [
        (&[7], 0.0, 7),
        (&[7], 1.0, 7),
        (&[10, 20], 0.5, 10),
        (&[10, 20], 0.51, 20),
        (&[10, 20, 30, 40], 0.25, 10),
        (&[10, 20, 30, 40], 0.26, 20),
        (&[0, 0, 0, 99], 0.99, 99),
    ];
    for (values, q, expected) in cases {
        assert_eq!(recorded(values).quantile(q), Some(expected), "{q} of {values:?}");
    }
}

#[test]
fn cleared_histogram_is_empty_whatever_it_held() {
    for values in [&[][..], &[5], &[5, 5], &[5, 6, 700]] {
        let mut latency = recorded(values);
        assert_eq!(latency.count(), values.len() as u64);
        latency.clear();
        assert!(latency.is_empty());
        assert_eq!(latency, Latency::default());
        latency.record(9);
        assert_eq!(latency, recorded(&[9]));
    }
}
