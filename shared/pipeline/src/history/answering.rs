//! Answers a query from the store: the blocks that the planner chose, and the deltas beside them, at one instant.
//!
//! Tenants are read concurrently, with one call per kind of item. Only those parts of a block are read that the query needs.

use std::num::NonZeroUsize;
use std::panic::resume_unwind;

use cells::BlockReader;
use cells::query::{
    self, Answer, BlockCatalogue, BlockRef, ExecuteError, Execution, Freshness, HistoryNotes, Month, Query,
    QueryError, Scope,
};
use event::provider::learned::LearnedProviders;
use event::{Day, Hour, TenantId, Timestamp};
use futures::stream::{self, StreamExt as _};

use crate::block_id::{BlockId, Level};
use crate::directory::{learned_providers, tenants};
use crate::history::compaction::CompactionSettings;
use crate::history::manifest::{BlockParts, LiveBlock, Manifest};
use crate::history::snapshot::{self, CountingProgress, ReadAttempt, Snapshot, SnapshotError};
use crate::ports::{CONCURRENT_CALLS, Item, Store};
use crate::stored::ReadError;

mod links;

pub use links::{LinkAnswer, LinkQuery, clicks_by_link};

/// The least number of encoded bytes for one thread: fewer are counted sooner than a thread starts.
pub(crate) const MIN_BYTES_PER_THREAD: usize = 32 * 1024;

/// The most bytes of a tenant's blocks for one query: some seconds of one core, and a bound on the memory that the items need.
pub const MAX_BYTES_READ: u64 = 256 << 20;

/// Tenants whose items [`answer_each`] holds in memory at a time.
const TENANTS_PER_CHUNK: usize = 64;

/// Why a query was not answered.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The query asks for more than history holds, or for too much at once.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The numbers cannot be read.
    #[error(transparent)]
    Numbers(#[from] SnapshotError),
}

impl AnswerError {
    /// Whether stored numbers of one tenant are damaged or lost, so that other tenants can still be answered.
    fn concerns_one_tenant(&self) -> bool {
        match self {
            // A store that fails would fail for the next tenant too, and a query that asks for too much does so for
            // all.
            Self::Query(_) | Self::Numbers(SnapshotError::Read(ReadError::Store(_))) => false,
            Self::Numbers(_) => true,
        }
    }
}

impl From<ReadError> for AnswerError {
    fn from(error: ReadError) -> Self {
        Self::Numbers(error.into())
    }
}

/// Answers a query as of `now`. What was read is counted on at most `threads` threads, which exist for that time only.
pub async fn answer<S: Store>(
    store: &S,
    query: &Query,
    settings: &CompactionSettings,
    now: Timestamp,
    threads: NonZeroUsize,
) -> Result<Answer, AnswerError> {
    // Before anything is read: a range that cannot be compared is refused at once.
    let comparison = query.earlier()?;
    let (all, freshness) = read_tenants(store, query, comparison.as_ref(), settings, now).await?;
    execute(query, comparison.as_ref(), &all, freshness, threads)
}

/// Reads what a query, and the range it is compared with, need of every tenant in its scope, as of one instant.
async fn read_tenants<S: Store>(
    store: &S,
    query: &Query,
    comparison: Option<&Query>,
    settings: &CompactionSettings,
    now: Timestamp,
) -> Result<(Vec<TenantItems>, Freshness), AnswerError> {
    let tenants = match query.scope() {
        Scope::Tenant(tenant) => vec![tenant.clone()],
        Scope::All => {
            let tenants = tenants::list(store).await.map_err(ReadError::from)?;
            tenants.into_iter().filter(|tenant| query.reads(tenant)).collect()
        }
    };
    let kept_from = KeptFrom::new(settings, now);
    snapshot::read_consistently(async || {
        let progress = CountingProgress::read(store).await?;
        let reader = HistoryReader { store, progress: &progress, kept_from, max_bytes: MAX_BYTES_READ };
        // Collected by a loop: with a closure over borrowed tenants the compiler cannot see that the futures are `Send`.
        let mut reads = Vec::with_capacity(tenants.len());
        for tenant in &tenants {
            reads.push(reader.read(tenant, query, comparison));
        }
        // In order, so that the answer does not depend on which call is answered first.
        let mut reads = stream::iter(reads).buffered(CONCURRENT_CALLS);
        let mut all = Vec::with_capacity(tenants.len());
        while let Some(read) = reads.next().await {
            match read? {
                ReadAttempt::Complete(items) => all.push(items),
                // Everything is read again, not only this tenant: all numbers of an answer are of one instant.
                ReadAttempt::Incomplete(missing) => return Ok(ReadAttempt::Incomplete(missing)),
            }
        }
        let tenant = match query.scope() {
            Scope::Tenant(tenant) => Some(tenant),
            Scope::All => None,
        };
        let freshness = Freshness {
            complete_until: progress.complete_until(),
            newest_event: progress.newest_event(),
            deduplicated_since: progress.deduplicated_since(tenant),
        };
        Ok(ReadAttempt::Complete((all, freshness)))
    })
    .await
}

/// Answers a query for each of `tenants` separately, all up to the same `progress`, on the caller's thread. The query's scope is
/// ignored. Items of some tenants only are in memory at a time.
///
/// `each` is called with the answer of every tenant that has any numbers. If the numbers of one tenant are damaged or lost, it is called
/// with the error instead, and decides by its result whether to go on.
pub async fn answer_each<S: Store>(
    store: &S,
    progress: &CountingProgress,
    query: &Query,
    tenants: &[TenantId],
    hours_kept_from: Hour,
    mut each: impl FnMut(&TenantId, Result<Answer, AnswerError>) -> Result<(), AnswerError>,
) -> Result<(), AnswerError> {
    // Detection asks for no history that is older than blocks of days.
    let kept_from = KeptFrom { hours: hours_kept_from, days: Day(0) };
    // Its ranges are short and are nobody's request.
    let reader = HistoryReader { store, progress, kept_from, max_bytes: u64::MAX };
    for chunk in tenants.chunks(TENANTS_PER_CHUNK) {
        // A query names its scope, so each tenant gets one of its own.
        let queries: Vec<Query> = chunk.iter().map(|tenant| query.for_tenant(tenant)).collect();
        let mut reads = Vec::with_capacity(chunk.len());
        for (tenant, query) in chunk.iter().zip(&queries) {
            reads.push(reader.read_consistently(tenant, query));
        }
        let mut reads = stream::iter(reads).buffered(CONCURRENT_CALLS);
        for (tenant, query) in chunk.iter().zip(&queries) {
            let Some(read) = reads.next().await else { break };
            let items = match read {
                Ok(items) => items,
                Err(error) if error.concerns_one_tenant() => {
                    each(tenant, Err(error))?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let items: Vec<ScannedItem<'_>> = items.scanned().collect();
            // A tenant without numbers has no answer: with thousands of idle tenants, empty answers would be most of
            // the work.
            if !items.is_empty() {
                let counted = Executions::run(query, None, &items);
                each(tenant, counted.map(|counted| counted.query.finish(None, Freshness::default())))?;
            }
        }
    }
    Ok(())
}

/// Reads tenants' items up to one progress.
struct HistoryReader<'a, S> {
    store: &'a S,
    progress: &'a CountingProgress,
    kept_from: KeptFrom,
    /// The most bytes of blocks that a query may read of one tenant.
    max_bytes: u64,
}

/// From when on each level is kept.
#[derive(Clone, Copy)]
struct KeptFrom {
    /// The first hour of the blocks of hours.
    hours: Hour,
    /// The first day of the blocks of days.
    days: Day,
}

impl KeptFrom {
    fn new(settings: &CompactionSettings, now: Timestamp) -> Self {
        Self { hours: settings.first_day_of_hours(now).first_hour(), days: settings.first_day_of_days(now) }
    }
}

/// The items of one tenant that a query needs.
struct TenantItems {
    tenant: TenantId,
    deltas: Vec<Item>,
    /// Who runs the domains of its mail; empty if the query does not depend on it.
    providers: LearnedProviders,
    /// Items of blocks, for the query and for the range it is compared with.
    blocks: Vec<(BlockId, Item)>,
    /// The blocks of the query, sorted.
    query: Vec<BlockId>,
    /// The blocks of the range it is compared with, sorted.
    comparison: Vec<BlockId>,
    /// What the answer says about the tenant's history.
    notes: HistoryNotes,
}

impl<S: Store> HistoryReader<'_, S> {
    /// Reads what a query, and the range it is compared with, need of one tenant.
    async fn read(
        &self,
        tenant: &TenantId,
        query: &Query,
        comparison: Option<&Query>,
    ) -> Result<ReadAttempt<TenantItems>, AnswerError> {
        // The manifest comes before the plan, since the planner may choose only among live blocks.
        let snapshot = Snapshot::read(self.store, self.progress, tenant).await?;
        let catalogue = catalogue(&snapshot.manifest, self.kept_from);
        let plan = |query: &Query| -> Result<Vec<BlockId>, QueryError> {
            let mut ids: Vec<BlockId> = query::plan(query, &catalogue)?.into_iter().map(block_id).collect();
            ids.sort_unstable();
            Ok(ids)
        };
        // By the manifest alone: what is too much must not be read first.
        query.check_cost(self.max_bytes, |query| {
            let mut ids = plan(query)?;
            if let Some(earlier) = query.earlier()? {
                ids.extend(plan(&earlier)?);
            }
            ids.sort_unstable();
            ids.dedup();
            let live = ids.iter().filter_map(|id| snapshot.manifest.blocks.get(id));
            Ok(live.map(|block| block.bytes_of(query.projection().has_sketches())).sum())
        })?;
        let planned = plan(query)?;
        let (from, to) = query.range();
        let zone_changes = catalogue.local_days.changes(from, to).collect();
        let notes = HistoryNotes { zone_changes, ..HistoryNotes::default() };
        let comparison = match comparison {
            Some(comparison) => plan(comparison)?,
            None => Vec::new(),
        };
        let mut needed: Vec<BlockId> = planned.iter().chain(&comparison).copied().collect();
        // A block that both ranges need is read once.
        needed.sort_unstable();
        needed.dedup();
        // The planner may name a period that has no block: then the tenant has no rows in it.
        let live = needed.into_iter().filter_map(|id| Some((id, *snapshot.manifest.blocks.get(&id)?)));
        let live: Vec<(BlockId, LiveBlock)> = live.collect();
        // Sketches are most of the bytes of a block, so they are read only for metrics that need them.
        let parts = if query.projection().has_sketches() {
            BlockParts::CountsAndSketches
        } else {
            BlockParts::Counts
        };
        let blocks = snapshot::read_blocks(self.store, tenant, live, parts).await.map_err(ReadError::from)?;
        let providers = if query.reads_providers() {
            let learned = learned_providers::read(self.store, tenant).await?;
            // The newest evidence is still in the deltas: without it, a new domain would wait for the next compaction.
            learned_providers::with_evidence_of(
                learned,
                snapshot.deltas.iter().map(|item| item.body.as_slice()),
            )
        } else {
            LearnedProviders::default()
        };
        Ok(blocks.map(|blocks| TenantItems {
            tenant: tenant.clone(),
            deltas: snapshot.deltas,
            providers,
            blocks,
            query: planned,
            comparison,
            notes,
        }))
    }

    async fn read_consistently(&self, tenant: &TenantId, query: &Query) -> Result<TenantItems, AnswerError> {
        snapshot::read_consistently(async || self.read(tenant, query, None).await).await
    }
}

/// One item to be counted.
#[derive(Clone, Copy)]
struct ScannedItem<'a> {
    tenant: &'a TenantId,
    providers: &'a LearnedProviders,
    item: &'a Item,
    /// Whether it is counted for the query.
    in_query: bool,
    /// Whether it is counted for the range that the query is compared with.
    in_comparison: bool,
}

impl TenantItems {
    fn scanned(&self) -> impl Iterator<Item = ScannedItem<'_>> {
        // Deltas are in no block yet, so both ranges look at each of them.
        let deltas = self.deltas.iter().map(|item| (item, true, true));
        let blocks = self.blocks.iter().map(|(id, item)| {
            (item, self.query.binary_search(id).is_ok(), self.comparison.binary_search(id).is_ok())
        });
        let scanned = |(item, in_query, in_comparison)| ScannedItem {
            tenant: &self.tenant,
            providers: &self.providers,
            item,
            in_query,
            in_comparison,
        };
        deltas.chain(blocks).map(scanned)
    }
}

/// Counts all items, on several threads if there is enough to do.
fn execute(
    query: &Query,
    comparison: Option<&Query>,
    tenants: &[TenantItems],
    freshness: Freshness,
    threads: NonZeroUsize,
) -> Result<Answer, AnswerError> {
    let items: Vec<ScannedItem<'_>> = tenants.iter().flat_map(TenantItems::scanned).collect();
    let shares = shares(&items, threads);
    // Nothing to count still makes an answer, with zeros.
    let (first, others) = shares.split_first().map_or((&[][..], &[][..]), |(first, others)| (*first, others));
    std::thread::scope(|scope| {
        let count = |share| move || Executions::run(query, comparison, share);
        let others: Vec<_> = others.iter().map(|share| scope.spawn(count(share))).collect();
        let mut sum = Executions::run(query, comparison, first)?;
        for other in others {
            // Merged in the order of the shares, whichever thread is ready first, so that the answer is the same
            // every time.
            sum.merge(&other.join().unwrap_or_else(|panic| resume_unwind(panic))?)?;
        }
        // Over many tenants, each of which may have changed its zone, the list would say little.
        if let (Scope::Tenant(_), [tenant]) = (query.scope(), tenants) {
            sum.query.note(tenant.notes.clone());
        }
        Ok(sum.query.finish(sum.comparison, freshness))
    })
}

/// Splits the items into runs of about the same size, at most one per thread.
fn shares<'p, 'a>(items: &'p [ScannedItem<'a>], threads: NonZeroUsize) -> Vec<&'p [ScannedItem<'a>]> {
    let total: usize = items.iter().map(|scanned| scanned.item.body.len()).sum();
    let share_bytes = total.div_ceil(threads.get()).max(MIN_BYTES_PER_THREAD);
    let mut shares = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, scanned) in items.iter().enumerate() {
        bytes += scanned.item.body.len();
        // Cut behind the item that fills the share: an item is never split, and a large one makes a share larger, not
        // smaller.
        if bytes >= share_bytes {
            shares.extend(items.get(start..=index));
            (start, bytes) = (index + 1, 0);
        }
    }
    shares.extend(items.get(start..).filter(|rest| !rest.is_empty()));
    shares
}

/// The sums of some items, for the query and for the range it is compared with.
struct Executions {
    query: Execution,
    comparison: Option<Execution>,
}

impl Executions {
    fn run(
        query: &Query,
        comparison: Option<&Query>,
        items: &[ScannedItem<'_>],
    ) -> Result<Self, AnswerError> {
        let mut sums = Self { query: Execution::new(query), comparison: comparison.map(Execution::new) };
        for scanned in items {
            sums.add(scanned).map_err(|error| match error {
                ExecuteError::Block(source) => {
                    SnapshotError::Block { key: scanned.item.key.clone(), source }.into()
                }
                ExecuteError::TooLarge(refusal) => AnswerError::Query(refusal),
            })?;
        }
        Ok(sums)
    }

    fn add(&mut self, scanned: &ScannedItem<'_>) -> Result<(), ExecuteError> {
        // Opened once for both ranges, since that checks the block and decompresses its names.
        let rows = BlockReader::open(&scanned.item.body)?;
        if scanned.in_query {
            self.query.add_stored(scanned.tenant, scanned.providers, &rows)?;
        }
        if let Some(comparison) = self.comparison.as_mut().filter(|_| scanned.in_comparison) {
            comparison.add_stored(scanned.tenant, scanned.providers, &rows)?;
        }
        Ok(())
    }

    fn merge(&mut self, other: &Self) -> Result<(), QueryError> {
        self.query.merge(&other.query)?;
        if let (Some(ours), Some(theirs)) = (&mut self.comparison, &other.comparison) {
            ours.merge(theirs)?;
        }
        Ok(())
    }
}

/// The blocks of a tenant that the planner may choose from.
fn catalogue(manifest: &Manifest, kept_from: KeptFrom) -> BlockCatalogue {
    let mut catalogue = BlockCatalogue {
        hours_kept_from: kept_from.hours,
        days_kept_from: kept_from.days,
        local_days: manifest.local_days(),
        ..BlockCatalogue::default()
    };
    for id in manifest.blocks.keys() {
        match id.level {
            Level::Hour => _ = catalogue.hours.insert(Hour(id.period)),
            Level::Day => _ = catalogue.days.insert(Day(id.period)),
            Level::Month => _ = catalogue.months.insert(Month(id.period)),
        }
    }
    catalogue
}

fn block_id(block: BlockRef) -> BlockId {
    match block {
        BlockRef::Hour(hour) => BlockId::hour(hour),
        BlockRef::Day(day) => BlockId::day(day),
        BlockRef::Month(month) => BlockId { level: Level::Month, period: month.0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Key;

    #[test]
    fn each_item_is_in_one_share_and_there_are_no_more_shares_than_threads() {
        let tenant = TenantId::unassigned();
        for (bytes, threads, expected) in [
            (vec![], 2, vec![]),
            (vec![0], 2, vec![1]),
            (vec![MIN_BYTES_PER_THREAD - 1, 1], 2, vec![2]),
            (vec![MIN_BYTES_PER_THREAD, 1], 2, vec![1, 1]),
            (vec![MIN_BYTES_PER_THREAD; 5], 1, vec![5]),
            (vec![MIN_BYTES_PER_THREAD; 5], 2, vec![3, 2]),
            (vec![MIN_BYTES_PER_THREAD; 5], 9, vec![1; 5]),
        ] {
            let item = |bytes: &usize| Item {
                key: Key { partition: String::new(), sort: String::new() },
                body: vec![0; *bytes],
                version: 0,
                expires_at: None,
            };
            let items: Vec<Item> = bytes.iter().map(item).collect();
            let providers = LearnedProviders::default();
            let scanned = |item| ScannedItem {
                tenant: &tenant,
                providers: &providers,
                item,
                in_query: true,
                in_comparison: false,
            };
            let scanned: Vec<ScannedItem<'_>> = items.iter().map(scanned).collect();
            let shares = shares(&scanned, NonZeroUsize::new(threads).unwrap());
            assert_eq!(shares.iter().map(|share| share.len()).collect::<Vec<_>>(), expected, "{bytes:?}");
            assert!(shares.concat().iter().map(|scanned| scanned.item.body.len()).eq(bytes), "in order");
        }
    }
}
