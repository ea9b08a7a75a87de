//! The protocol keeps its promise for many seeds, and each deliberate bug is noticed.

use super::*;

#[test]
fn every_event_is_counted_once_whatever_fails() {
    let base = 20_251_113;
    let mut statistics = RunStatistics::default();
    for seed in base..base + 1_500 {
        match run(seed, None) {
            Ok(run) => statistics.add(&run),
            Err(violation) => panic!("{violation}"),
        }
    }
    println!("base seed {base}: {statistics:?}");
    assert!(statistics.batches > 0 && statistics.crashes > 0 && statistics.landed_late > 0);
    assert!(
        statistics.compactions > 0 && statistics.lost > 0 && statistics.reads > 0 && statistics.jumps > 0
    );
}

/// Seeds of runs that failed once: 5028074, because short jumps of time added up and let quarantined records expire, which the model did not
/// expect; 1, because the block of a month, built from days, missed the hours of days that had no block for more than a year. They were
/// found with an earlier generator of random numbers, so today these seeds make other runs.
#[test]
fn runs_that_failed_once_succeed() {
    for seed in [1, 5_028_074] {
        assert_eq!(run(seed, None).err(), None);
    }
}

#[test]
fn seed_reproduces_its_run() {
    for seed in 0..20 {
        assert_eq!(run(seed, None), run(seed, None));
    }
}

/// A simulation that cannot fail proves nothing.
#[test]
fn every_deliberate_bug_is_noticed() {
    const SEEDS: u64 = 20_000;
    let mut unnoticed = Vec::new();
    for bug in ProtocolBug::ALL {
        match (0..SEEDS).find_map(|seed| run(seed, Some(bug)).err()) {
            Some(violation) => {
                assert_eq!(run(violation.seed, None).err(), None, "fails without {bug:?} too");
                println!("{bug:?}: {violation}");
            }
            None => unnoticed.push(bug),
        }
    }
    assert_eq!(unnoticed, []);
}
