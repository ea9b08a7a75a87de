//! What a run of the simulation tells: what was tried in it, or how the promise was broken.

/// What happened in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Happened {
    /// Batches that were handled.
    pub batches: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Processes that crashed.
    pub crashes: u64,
    /// Writes that landed late.
    pub landed_late: u64,
    /// Compactions that moved a manifest.
    pub compactions: u64,
    /// Compactions that lost a race.
    pub lost: u64,
    /// Readings compared with the model.
    pub readings: u64,
    /// Times that days or more passed.
    pub jumps: u64,
}

impl Happened {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        self.batches += other.batches;
        self.failed += other.failed;
        self.crashes += other.crashes;
        self.landed_late += other.landed_late;
        self.compactions += other.compactions;
        self.lost += other.lost;
        self.readings += other.readings;
        self.jumps += other.jumps;
    }
}

/// A run that broke the promise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}, step {step}: {what}")]
pub struct Violation {
    /// Reproduces the run.
    pub seed: u64,
    /// When it was noticed.
    pub step: usize,
    /// What was noticed.
    pub what: String,
}
