//! Sets against sorted lists, estimates against the truth over many seeds.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "of numbers that the tests chose"
)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// The n-th hash of a seed: the finaliser of `SplitMix64`, whose bits are good.
fn hash(seed: u64, n: u64) -> RecipientHash {
    let mut z = seed.wrapping_mul(0xD1B5_4A32_D192_ED03).wrapping_add(n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    RecipientHash(z ^ (z >> 31))
}

fn set(seed: u64, numbers: impl IntoIterator<Item = u64>) -> Uniques {
    let mut uniques = Uniques::default();
    for number in numbers {
        uniques.insert(hash(seed, number));
    }
    uniques
}

fn merged(a: &Uniques, b: &Uniques) -> Uniques {
    let mut sum = a.clone();
    sum.merge(b);
    sum
}

/// Ranges whose unions are below or above the limit.
fn range() -> impl Strategy<Value = std::ops::Range<u64>> {
    (0..900_u64, prop_oneof![0..3_u64, 3..300_u64, 900..1300_u64])
        .prop_map(|(start, length)| start..start + length)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn representation_depends_only_on_the_set(a in range(), b in range(), c in range(), seed: u64) {
        let (x, y, z) = (set(seed, a.clone()), set(seed, b.clone()), set(seed, c.clone()));
        let union: BTreeSet<u64> = a.chain(b).chain(c).collect();
        let all = set(seed, union.iter().rev().copied());
        prop_assert_eq!(&merged(&merged(&x, &y), &z), &all);
        prop_assert_eq!(&merged(&x, &merged(&z, &y)), &all);
        prop_assert_eq!(&merged(&all, &z), &all);
        let estimate = all.estimate();
        prop_assert_eq!(estimate.exact, union.len() <= Uniques::EXACT_LIMIT);
        if estimate.exact {
            prop_assert_eq!(estimate.value, union.len() as u64);
        }
    }

    #[test]
    fn union_is_estimated_without_merging_and_never_below_a_part(a in range(), b in range(), seed: u64) {
        let (x, y) = (set(seed, a.clone()), set(seed, b.clone()));
        let union = x.union_estimate(&y);
        prop_assert_eq!(union, y.union_estimate(&x));
        prop_assert_eq!(union.exact, x.is_exact() && y.is_exact());
        prop_assert!(union.value >= x.estimate().value && union.value >= y.estimate().value);
        let truth = a.chain(b).collect::<BTreeSet<u64>>().len() as u64;
        if union.exact {
            prop_assert_eq!(union.value, truth);
        } else {
            let merged = merged(&x, &y).estimate().value;
            let larger = x.estimate().value.max(y.estimate().value);
            prop_assert_eq!(union.value, merged.max(larger));
        }
    }
}

#[test]
fn union_of_two_large_sets_is_that_of_the_merged_set() {
    let (a, b) = (set(5, 0..30_000), set(5, 20_000..60_000));
    assert_eq!(a.union_estimate(&b), merged(&a, &b).estimate());
    // A subset adds nothing, and an exact one can exceed the estimate of the set it is in.
    assert_eq!(a.union_estimate(&set(5, 0..2_000)), a.estimate());
    for seed in 0..300 {
        let (all, part) = (set(seed, 0..1_025), set(seed, 0..1_024));
        assert!(part.union_estimate(&all).value >= 1_024, "{seed}");
    }
}

#[test]
fn counts_up_to_1024_are_exact_and_the_next_is_estimated() {
    let limit = Uniques::EXACT_LIMIT as u64;
    assert_eq!(set(1, 0..limit).estimate(), Estimate { value: limit, exact: true });
    let above = set(1, 0..=limit).estimate();
    assert!(!above.exact);
    assert!(above.value.abs_diff(limit) < 50, "{above:?}");
}

#[test]
fn repeated_recipients_count_once() {
    for count in [1, 2, 200, 1024] {
        let numbers = (0..count).chain(0..count);
        assert_eq!(set(3, numbers).estimate(), Estimate { value: count, exact: true });
    }
}

/// Over many seeds, the root mean square error stays near the stated standard error, and the mean error near 0.
///
/// For 99.7 % of all choices of 200 seeds, the root mean square error of a correct estimator is within 15 % of its standard error.
/// The seeds are fixed, so the test cannot be flaky.
#[test]
fn estimates_have_the_stated_standard_error() {
    const SEEDS: u64 = 200;
    let checkpoints = [1_100_u64, 3_000, 10_000, 30_000, 60_000];
    let mut squares = [0.0; 5];
    let mut sums = [0.0; 5];
    for seed in 0..SEEDS {
        let mut uniques = Uniques::default();
        let mut inserted = 0;
        for (checkpoint, &count) in checkpoints.iter().enumerate() {
            (inserted..count).for_each(|number| uniques.insert(hash(seed, number)));
            inserted = count;
            let error = uniques.estimate().value as f64 / count as f64 - 1.0;
            squares[checkpoint] += error * error;
            sums[checkpoint] += error;
        }
    }
    for (checkpoint, count) in checkpoints.iter().enumerate() {
        let rms = (squares[checkpoint] / SEEDS as f64).sqrt();
        let bias = sums[checkpoint] / SEEDS as f64;
        assert!(rms <= Uniques::STANDARD_ERROR * 1.15, "{count}: rms {rms}");
        assert!(bias.abs() <= Uniques::STANDARD_ERROR / 4.0, "{count}: bias {bias}");
    }
}

/// Inserting billions of hashes would take too long, so the registers are drawn from the distribution they would have.
#[test]
fn estimates_hold_for_billions() {
    let count = 5.0e9_f64;
    let mut ranks = [0_u8; 1 << 14];
    for (number, rank) in (0_u64..).zip(&mut ranks) {
        let uniform = (hash(9, number).0 >> 11) as f64 / (1_u64 << 53) as f64;
        // P(rank <= k) = exp(-count / m / 2^k) for a Poisson number of hashes in the register.
        let exact = (count / f64::from(1 << 14) / -uniform.ln()).log2().ceil();
        *rank = exact.clamp(0.0, f64::from(Registers::MAX_RANK)) as u8;
    }
    let uniques = Uniques::from_registers(Registers::from_bytes(&ranks).unwrap());
    let error = uniques.estimate().value as f64 / count - 1.0;
    assert!(error.abs() < 3.0 * Uniques::STANDARD_ERROR, "{error}");
}

#[test]
fn registers_above_the_largest_rank_are_rejected() {
    let mut ranks = [0_u8; 1 << 14];
    ranks[7] = Registers::MAX_RANK;
    assert!(Registers::from_bytes(&ranks).is_some());
    ranks[7] += 1;
    assert!(Registers::from_bytes(&ranks).is_none());
}

#[test]
fn full_registers_give_a_finite_estimate() {
    let uniques = Uniques::from_registers(Registers::from_bytes(&[Registers::MAX_RANK; 1 << 14]).unwrap());
    assert!(uniques.estimate().value > 1 << 40);
}

#[test]
fn merging_at_the_edge_of_the_limit_equals_inserting() {
    let limit = Uniques::EXACT_LIMIT as u64;
    // Sizes of the two sets, and how many recipients they share.
    for (ours, theirs, shared) in [
        (0, 0, 0),
        (0, 1, 0),
        (1, 0, 0),
        (1, 1, 1),
        (1, 1, 0),
        (limit - 1, 1, 0),
        (limit, 1, 1),
        (limit, 1, 0),
        (1, limit, 0),
        (limit / 2, limit / 2, 0),
        (limit / 2, limit / 2 + 1, 0),
        (limit + 1, 1, 0),
        (1, limit + 1, 1),
        (limit + 1, limit + 1, 1),
    ] {
        let mut sum = set(5, 0..ours);
        sum.merge(&set(5, ours - shared..ours - shared + theirs));
        let expected = set(5, 0..ours + theirs - shared);
        assert!(sum == expected, "{ours} and {theirs} that share {shared}");
        assert_eq!(sum.estimate().exact, ours + theirs - shared <= limit);
        assert_eq!(sum.is_empty(), ours + theirs == 0);
    }
}

#[test]
fn empty_registers_of_a_crafted_block_estimate_nothing() {
    let uniques = Uniques::from_registers(Registers::from_bytes(&[0; 1 << 14]).unwrap());
    assert_eq!(uniques.estimate(), Estimate { value: 0, exact: false });
}
