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

/// Each seed repeats a failure of the past if its fix is undone.
///
/// - 3: a month's block was built from its days and missed a day that had blocks of hours but no block of its own, because the day was
///   past its retention before any compaction built it. Undo the fix by ignoring `has_hours` in `history/compaction/rollup.rs`.
/// - 202161: short jumps of time added up to the retention of quarantined records, which the store removed and the model still expected.
///   Undo the fix by removing every expired item of a quarantine in `settle.rs`.
///
/// A seed repeats its failure only as long as the simulation makes the same choices in the same order. After a change to them, undo each
/// fix for a moment and search for a seed that fails: about one in ten does for the first; the second took a search of 200,000 seeds.
#[test]
fn runs_that_failed_once_succeed() {
    for seed in [3, 202_161] {
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
