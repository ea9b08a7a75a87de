//! The outcome of a run: statistics of what was exercised, or the violation that was found.

/// What happened in a run. Tests check that everything happened at least once, since a run without a fault proves little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunStatistics {
    /// Batches that were handled.
    pub batches: u64,
    /// Attempts, compactions and reads that failed.
    pub failed: u64,
    /// Processes that crashed.
    pub crashes: u64,
    /// Writes that took effect late.
    pub landed_late: u64,
    /// Compactions that merged deltas.
    pub compactions: u64,
    /// Compactions that lost a race for the manifest.
    pub lost: u64,
    /// Reads that were compared with the model.
    pub reads: u64,
    /// Times that a day or more passed at once.
    pub jumps: u64,
}

impl RunStatistics {
    /// Adds the statistics of another run.
    pub fn add(&mut self, other: &Self) {
        self.batches += other.batches;
        self.failed += other.failed;
        self.crashes += other.crashes;
        self.landed_late += other.landed_late;
        self.compactions += other.compactions;
        self.lost += other.lost;
        self.reads += other.reads;
        self.jumps += other.jumps;
    }
}

/// A run in which the protocol broke its promise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}, step {step}: {finding}")]
pub struct Violation {
    /// The seed that reproduces the run.
    pub seed: u64,
    /// The step at which the violation was noticed.
    pub step: usize,
    /// What was noticed.
    pub finding: String,
}
