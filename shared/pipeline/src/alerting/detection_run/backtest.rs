//! Back-tests: evaluates the past as live detection would have, without storing or notifying anything.

use detection::{Change, Detector};
use event::{Minute, TenantId, Timestamp};

use super::counts::{CountsReader, Width};
use super::{DetectionError, MINUTES_AT_ONCE, observe_bucket};
use crate::history::compaction;
use crate::history::snapshot::CountingProgress;
use crate::ports::Store;

/// A back-test over the stored counts of some tenants.
#[derive(Debug)]
pub struct BacktestRun<'a, S> {
    /// The store whose counts are evaluated. Nothing is written to it.
    pub store: &'a S,
    /// How long history is kept at which resolution.
    pub history: &'a compaction::CompactionSettings,
    /// The tenants to evaluate.
    pub tenants: &'a [TenantId],
    /// First minute of the first bucket.
    pub from: Minute,
    /// First minute after the last bucket.
    pub to: Minute,
    /// The width of the buckets.
    pub width: Width,
    /// The current time, which decides what is still kept by the minute.
    pub now: Timestamp,
}

impl<S: Store> BacktestRun<'_, S> {
    /// Shows the detector all buckets in order and returns each change as it would have been notified.
    ///
    /// # Errors
    /// [`DetectionError`] if the counts cannot be read, or are not kept as finely as the buckets.
    pub async fn run(&self, detector: &mut Detector) -> Result<Vec<Change>, DetectionError> {
        let progress = CountingProgress::read(self.store).await?;
        let minutes_kept_from = self.history.first_day_of_hours(self.now).first_hour();
        let reader =
            CountsReader { store: self.store, progress: &progress, width: self.width, minutes_kept_from };
        let bucket = self.width.minutes();
        let mut changes = Vec::new();
        let mut next = self.from;
        while next < self.to {
            let end = Minute(next.0.saturating_add(MINUTES_AT_ONCE * bucket).min(self.to.0));
            // Unlike live detection, an unreadable tenant is an error: somebody looks at the result and would take it
            // for complete.
            let mut rows = reader.read(self.tenants, &(next..end)).await?;
            // Buckets without mail too, since silence is what some monitors look for.
            for start in (next.0..end.0).step_by(bucket as usize) {
                changes.extend(observe_bucket(detector, Minute(start), &mut rows));
            }
            next = end;
        }
        Ok(changes)
    }
}
