//! A query, answered from the store: blocks as the planner says, deltas besides, at one instant.
//!
//! Tenants are read side by side, each with one call per kind of item; of blocks only the parts that the question needs.

use cells::BlockReader;
use cells::query::{
    self, Answer, BlockRef, Catalogue, ExecuteError, Execution, Freshness, Month, Query, QueryError, Scope,
};
use event::{Day, Hour, TenantId, Timestamp};

use crate::compact;
use crate::manifest::{BlockId, Extent, Level, Live, Manifest};
use crate::parallel;
use crate::ports::{Item, Store};
use crate::snapshot::{self, Gone, Progress, Snapshot, SnapshotError};
use crate::stored::ReadError;
use crate::tenants;

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

/// Answers a query as of now.
pub async fn answer<S: Store>(
    store: &S,
    query: &Query,
    settings: &compact::Settings,
    now: Timestamp,
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
        Ok(Ok(execute(query, earlier.as_ref(), &all, freshness)?))
    })
    .await
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

fn execute(
    query: &Query,
    earlier: Option<&Query>,
    found: &[Found],
    freshness: Freshness,
) -> Result<Answer, AnswerError> {
    let mut execution = Execution::new(query);
    let mut before = earlier.map(Execution::new);
    for found in found {
        for item in &found.deltas {
            let reader = open(item)?;
            add(&mut execution, found, item, &reader)?;
            if let Some(before) = &mut before {
                add(before, found, item, &reader)?;
            }
        }
        for (id, item) in &found.blocks {
            let reader = open(item)?;
            if found.now.binary_search(id).is_ok() {
                add(&mut execution, found, item, &reader)?;
            }
            if let Some(before) = before.as_mut().filter(|_| found.earlier.binary_search(id).is_ok()) {
                add(before, found, item, &reader)?;
            }
        }
    }
    Ok(execution.finish(before, freshness))
}

fn open(item: &Item) -> Result<BlockReader<'_>, AnswerError> {
    Ok(BlockReader::open(&item.body)
        .map_err(|source| SnapshotError::Block { key: item.key.clone(), source })?)
}

fn add(
    execution: &mut Execution,
    found: &Found,
    item: &Item,
    rows: &BlockReader<'_>,
) -> Result<(), AnswerError> {
    execution.add(&found.tenant, rows).map_err(|error| match error {
        ExecuteError::Block(source) => SnapshotError::Block { key: item.key.clone(), source }.into(),
        ExecuteError::TooLarge(refusal) => AnswerError::Query(refusal),
    })
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
