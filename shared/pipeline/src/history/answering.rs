//! A query, answered from the store: blocks as the planner says, deltas besides, at one instant.
//!
//! Tenants are read side by side, each with one call per kind of item; of blocks only the parts that the question needs.

use std::num::NonZeroUsize;
use std::panic::resume_unwind;

use cells::BlockReader;
use cells::query::{
    self, Answer, BlockRef, Catalogue, ExecuteError, Execution, Freshness, Month, Query, QueryError, Scope,
};
use event::{Day, Hour, TenantId, Timestamp};

use crate::block_id::{BlockId, Level};
use crate::directory::tenants;
use crate::history::compaction;
use crate::history::manifest::{Extent, Live, Manifest};
use crate::history::snapshot::{self, Gone, Progress, Snapshot, SnapshotError};
use crate::parallel;
use crate::ports::{Item, Store};
use crate::stored::ReadError;

/// Fewer encoded bytes are counted sooner than a thread begins.
pub(crate) const LEAST_SHARE_BYTES: usize = 32 * 1024;

/// Tenants read together where each is answered alone.
const TENANTS_AT_ONCE: usize = 64;

/// Why a query was not answered.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The query asks what history cannot tell any more, or too much at once.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The numbers cannot be read.
    #[error(transparent)]
    Numbers(#[from] SnapshotError),
}

impl AnswerError {
    /// Whether it is stored numbers that are damaged or lost, rather than the store or the query.
    fn is_of_one_tenant(&self) -> bool {
        match self {
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

/// What was read of one tenant.
struct Found {
    tenant: TenantId,
    deltas: Vec<Item>,
    /// Parts of blocks, for the query and for the range it is compared with.
    blocks: Vec<(BlockId, Item)>,
    now: Vec<BlockId>,
    earlier: Vec<BlockId>,
}

/// Answers a query as of now. What was read is counted on up to so many `threads`, which only exist for that time.
pub async fn answer<S: Store>(
    store: &S,
    query: &Query,
    settings: &compaction::Settings,
    now: Timestamp,
    threads: NonZeroUsize,
) -> Result<Answer, AnswerError> {
    let earlier = query.earlier()?;
    let tenants = match &query.scope {
        Scope::Tenant(tenant) => vec![tenant.clone()],
        Scope::All => {
            let tenants = tenants::list(store).await.map_err(ReadError::from)?;
            tenants.into_iter().filter(|tenant| query.reads(tenant)).collect()
        }
    };
    let kept_from = settings.first_day_of_hours(now).first_hour();
    snapshot::steadily(async || {
        let progress = Progress::read(store).await?;
        // A loop, since a closure over borrowed tenants would hide from the compiler that the futures may change threads.
        let mut reads = Vec::with_capacity(tenants.len());
        for tenant in &tenants {
            reads.push(find(store, &progress, tenant, query, earlier.as_ref(), kept_from));
        }
        let mut all = Vec::with_capacity(tenants.len());
        for found in parallel::all(reads).await {
            match found? {
                Ok(found) => all.push(found),
                Err(gone) => return Ok(Err(gone)),
            }
        }
        let freshness =
            Freshness { complete_until: progress.complete_until(), newest_event: progress.newest_event() };
        Ok(Ok(execute(query, earlier.as_ref(), &all, freshness, threads)?))
    })
    .await
}

/// Answers a query for one tenant after the other, all up to the same numbers, on the caller's thread: each tenant's rows are its own, and
/// no more than some tenants' are in memory. The query's own scope is of no matter. `each` is given the error instead of an answer where
/// it is this tenant's numbers that cannot be read; it decides whether that ends the reading.
pub async fn answer_each<S: Store>(
    store: &S,
    progress: &Progress,
    query: &Query,
    tenants: &[TenantId],
    kept_from: Hour,
    mut each: impl FnMut(&TenantId, Result<Answer, AnswerError>) -> Result<(), AnswerError>,
) -> Result<(), AnswerError> {
    for some in tenants.chunks(TENANTS_AT_ONCE) {
        let one = |tenant: &TenantId| {
            let mut query = query.clone();
            query.scope = Scope::Tenant(tenant.clone());
            query
        };
        let queries: Vec<Query> = some.iter().map(one).collect();
        let mut reads = Vec::with_capacity(some.len());
        for (tenant, query) in some.iter().zip(&queries) {
            reads.push(find_steadily(store, progress, tenant, query, kept_from));
        }
        let all = parallel::all(reads).await;
        for ((tenant, query), found) in some.iter().zip(&queries).zip(all) {
            let found = match found {
                Ok(found) => found,
                Err(error) if error.is_of_one_tenant() => {
                    each(tenant, Err(error))?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let parts: Vec<Part<'_>> = found.parts().collect();
            if !parts.is_empty() {
                let counted = Counted::of(query, None, &parts);
                each(tenant, counted.map(|counted| counted.now.finish(None, Freshness::default())))?;
            }
        }
    }
    Ok(())
}

async fn find_steadily<S: Store>(
    store: &S,
    progress: &Progress,
    tenant: &TenantId,
    query: &Query,
    kept_from: Hour,
) -> Result<Found, AnswerError> {
    snapshot::steadily(async || find(store, progress, tenant, query, None, kept_from).await).await
}

/// Reads what the query needs of one tenant.
async fn find<S: Store>(
    store: &S,
    progress: &Progress,
    tenant: &TenantId,
    query: &Query,
    earlier: Option<&Query>,
    kept_from: Hour,
) -> Result<Result<Found, Gone>, AnswerError> {
    let snapshot = Snapshot::read(store, progress, tenant).await?;
    let catalogue = catalogue(&snapshot.manifest, kept_from);
    let plan = |query: &Query| -> Result<Vec<BlockId>, QueryError> {
        let mut ids: Vec<BlockId> = query::plan(query, &catalogue)?.into_iter().map(block_id).collect();
        ids.sort_unstable();
        Ok(ids)
    };
    let now = plan(query)?;
    let earlier = earlier.map(plan).transpose()?.unwrap_or_default();
    let mut wanted: Vec<BlockId> = now.iter().chain(&earlier).copied().collect();
    wanted.sort_unstable();
    wanted.dedup();
    let live = wanted.into_iter().filter_map(|id| Some((id, *snapshot.manifest.blocks.get(&id)?)));
    let live: Vec<(BlockId, Live)> = live.collect();
    let extent = if query.wanted().has_sketches() { Extent::Whole } else { Extent::Counts };
    let blocks = snapshot::blocks(store, tenant, live, extent).await.map_err(ReadError::from)?;
    Ok(blocks.map(|blocks| Found { tenant: tenant.clone(), deltas: snapshot.deltas, blocks, now, earlier }))
}

/// One part to be counted.
#[derive(Clone, Copy)]
struct Part<'a> {
    tenant: &'a TenantId,
    item: &'a Item,
    /// For the query.
    now: bool,
    /// For the range it is compared with.
    earlier: bool,
}

impl Found {
    fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let deltas = self.deltas.iter().map(|item| (item, true, true));
        let blocks = self.blocks.iter().map(|(id, item)| {
            (item, self.now.binary_search(id).is_ok(), self.earlier.binary_search(id).is_ok())
        });
        let part = |(item, now, earlier)| Part { tenant: &self.tenant, item, now, earlier };
        deltas.chain(blocks).map(part)
    }
}

/// Counts all parts, on several threads if there is enough to do.
fn execute(
    query: &Query,
    earlier: Option<&Query>,
    found: &[Found],
    freshness: Freshness,
    threads: NonZeroUsize,
) -> Result<Answer, AnswerError> {
    let parts: Vec<Part<'_>> = found.iter().flat_map(Found::parts).collect();
    let shares = shares(&parts, threads);
    let (first, others) = shares.split_first().map_or((&[][..], &[][..]), |(first, others)| (*first, others));
    std::thread::scope(|scope| {
        let count = |share| move || Counted::of(query, earlier, share);
        let others: Vec<_> = others.iter().map(|share| scope.spawn(count(share))).collect();
        let mut sum = Counted::of(query, earlier, first)?;
        for other in others {
            sum.merge(&other.join().unwrap_or_else(|panic| resume_unwind(panic))?)?;
        }
        Ok(sum.now.finish(sum.earlier, freshness))
    })
}

/// Runs of parts of about the same size, one for each thread; fewer if there is little to do.
fn shares<'p, 'a>(parts: &'p [Part<'a>], threads: NonZeroUsize) -> Vec<&'p [Part<'a>]> {
    let total: usize = parts.iter().map(|part| part.item.body.len()).sum();
    let most = total.div_ceil(threads.get()).max(LEAST_SHARE_BYTES);
    let mut shares = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (place, part) in parts.iter().enumerate() {
        bytes += part.item.body.len();
        if bytes >= most {
            shares.extend(parts.get(start..=place));
            (start, bytes) = (place + 1, 0);
        }
    }
    shares.extend(parts.get(start..).filter(|rest| !rest.is_empty()));
    shares
}

/// What some parts add up to.
struct Counted {
    now: Execution,
    earlier: Option<Execution>,
}

impl Counted {
    fn of(query: &Query, earlier: Option<&Query>, parts: &[Part<'_>]) -> Result<Self, AnswerError> {
        let mut counted = Self { now: Execution::new(query), earlier: earlier.map(Execution::new) };
        for part in parts {
            counted.add(part).map_err(|error| match error {
                ExecuteError::Block(source) => {
                    SnapshotError::Block { key: part.item.key.clone(), source }.into()
                }
                ExecuteError::TooLarge(refusal) => AnswerError::Query(refusal),
            })?;
        }
        Ok(counted)
    }

    fn add(&mut self, part: &Part<'_>) -> Result<(), ExecuteError> {
        let rows = BlockReader::open(&part.item.body)?;
        if part.now {
            self.now.add_stored(part.tenant, &rows)?;
        }
        if let Some(earlier) = self.earlier.as_mut().filter(|_| part.earlier) {
            earlier.add_stored(part.tenant, &rows)?;
        }
        Ok(())
    }

    fn merge(&mut self, other: &Self) -> Result<(), QueryError> {
        self.now.merge(&other.now)?;
        if let (Some(ours), Some(theirs)) = (&mut self.earlier, &other.earlier) {
            ours.merge(theirs)?;
        }
        Ok(())
    }
}

/// What the planner is told of a tenant's blocks.
fn catalogue(manifest: &Manifest, hours_kept_from: Hour) -> Catalogue {
    let mut catalogue = Catalogue { hours_kept_from, ..Catalogue::default() };
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
    fn every_part_is_in_one_share_and_there_are_no_more_shares_than_threads() {
        let tenant = TenantId::unassigned();
        for (bytes, threads, expected) in [
            (vec![], 2, vec![]),
            (vec![0], 2, vec![1]),
            (vec![LEAST_SHARE_BYTES - 1, 1], 2, vec![2]),
            (vec![LEAST_SHARE_BYTES, 1], 2, vec![1, 1]),
            (vec![LEAST_SHARE_BYTES; 5], 1, vec![5]),
            (vec![LEAST_SHARE_BYTES; 5], 2, vec![3, 2]),
            (vec![LEAST_SHARE_BYTES; 5], 9, vec![1; 5]),
        ] {
            let item = |bytes: &usize| Item {
                key: Key { partition: String::new(), sort: String::new() },
                body: vec![0; *bytes],
                version: 0,
                expires_at: None,
            };
            let items: Vec<Item> = bytes.iter().map(item).collect();
            let part = |item| Part { tenant: &tenant, item, now: true, earlier: false };
            let parts: Vec<Part<'_>> = items.iter().map(part).collect();
            let shares = shares(&parts, NonZeroUsize::new(threads).unwrap());
            assert_eq!(shares.iter().map(|share| share.len()).collect::<Vec<_>>(), expected, "{bytes:?}");
            assert!(shares.concat().iter().map(|part| part.item.body.len()).eq(bytes), "in order");
        }
    }
}
