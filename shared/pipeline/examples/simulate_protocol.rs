//! Runs the simulation of the commit protocol many times: `simulate_protocol [RUNS] [FIRST SEED] [THREADS]`.
//!
//! Stops at the first violation and prints the seed that reproduces it.

#![expect(clippy::print_stdout, reason = "a program that prints its result")]

use pipeline::testing::simulation::{self, RunStatistics, Violation};

fn main() -> Result<(), Violation> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let mut argument = |default| arguments.next().and_then(Result::ok).unwrap_or(default);
    let (runs, first, threads) = (argument(1_000_000), argument(1), argument(2).max(1));
    let share = |thread: u64| {
        let mut statistics = RunStatistics::default();
        for seed in (first..first + runs).filter(|seed| seed % threads == thread) {
            statistics.add(&simulation::run(seed, None)?);
        }
        Ok(statistics)
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..threads).map(|thread| scope.spawn(move || share(thread))).collect();
        started.into_iter().flat_map(std::thread::ScopedJoinHandle::join).collect()
    });
    let mut statistics = RunStatistics::default();
    for result in results {
        statistics.add(&result?);
    }
    println!("{runs} runs from seed {first}: no violation, {statistics:#?}");
    Ok(())
}
