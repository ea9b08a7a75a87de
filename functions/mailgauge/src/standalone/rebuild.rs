//! Replaces stored numbers with counts of an archive, using the state of the local process.

use adapters::system_clock::SystemClock;
use anyhow::Context as _;
use event::TenantId;
use event::attribution::Attribution;
use pipeline::directory::mappings::CurrentAttribution;
use pipeline::history::archive::{ArchiveCounter, ArchiveCounts, RebuildRange};
use pipeline::history::compaction::rebuild::{Rebuild, RebuildStart, RebuildSummary};
use pipeline::ports::Clock as _;

use super::{Standalone, attempt};

/// How long one attempt for one tenant may take, in milliseconds; the settings of compaction limit how long it may write.
const REBUILD_MS: i64 = 60 * 60_000;

impl Standalone {
    /// Where the streams are now. Must be read before the archive.
    pub async fn start_of_rebuild(&self) -> anyhow::Result<RebuildStart> {
        Ok(RebuildStart::read(&self.store, &SystemClock).await?)
    }

    /// Counts an archive under `deployed` and the mappings that operators have set.
    pub async fn archive_counter(
        &self,
        range: RebuildRange,
        deployed: Attribution,
    ) -> anyhow::Result<ArchiveCounter> {
        let now = SystemClock.now();
        let current = CurrentAttribution::new(deployed.clone()).refresh(&self.store, now).await?;
        Ok(ArchiveCounter::new(range, current.unwrap_or(deployed), self.hash_key, now))
    }

    /// Replaces the numbers of one tenant.
    pub async fn rebuild(
        &self,
        tenant: &TenantId,
        range: RebuildRange,
        start: &RebuildStart,
        archive: &ArchiveCounts,
    ) -> anyhow::Result<RebuildSummary> {
        let rebuild = Rebuild {
            store: &self.store,
            clock: &SystemClock,
            settings: &self.history,
            range,
            start,
            archive,
        };
        let first = attempt(SystemClock.now(), REBUILD_MS)?;
        // Fails only without random numbers, which the system has just given. A repeated id would be found by the compaction itself.
        let next = || attempt(SystemClock.now(), REBUILD_MS).unwrap_or(first);
        let replaced = rebuild.replace(tenant, next).await;
        replaced.with_context(|| format!("could not replace the numbers of tenant {tenant}"))
    }
}
