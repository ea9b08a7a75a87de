//! A query, answered from the store: blocks as the planner says, deltas besides, at one instant.
//!
//! Tenants are read side by side, each with one call per kind of item. If a compaction sweeps a block between the manifest and the
//! block, everything is read anew: a number put together from two instants might count an event twice.

use cells::query::{
    self, Answer, BlockRef, Catalogue, ExecuteError, Execution, Freshness, Month, Query, QueryError, Scope,
};
use cells::{BlockError, BlockReader};
use event::{Day, Hour, TenantId, Timestamp};

use crate::compact;
use crate::manifest::{BlockId, Extent, Level, Live, Manifest};
use crate::parallel;
use crate::ports::{Item, Key, Store, StoreError};
use crate::snapshot::{self, Progress, Snapshot};
use crate::stored::ReadError;
use crate::tenants;

/// How often a reading begins anew before it gives up; a sweep comes minutes after the manifest has moved.
const READS: usize = 4;

/// Why a query was not answered.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The query asks what history cannot tell any more, or too much at once.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The store failed or a stored record cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A block cannot be read.
    #[error("block {key} cannot be read: restore it or upgrade mailgauge")]
    Block {
        /// Where it lies.
        key: Key,
        /// What is wrong with it.
        #[source]
        source: BlockError,
    },
    /// Blocks were gone each time.
    #[error(
        "blocks of tenant {tenant} were replaced during each reading, or are lost: try again, then run mailgauge doctor"
    )]
    Unsteady {
        /// Whose.
        tenant: TenantId,
    },
}

impl From<StoreError> for AnswerError {
    fn from(error: StoreError) -> Self {
        Self::Read(ReadError::Store(error))
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
        Scope::All => tenants::list(store).await?.into_iter().filter(|tenant| query.reads(tenant)).collect(),
    };
    let kept_from = settings.first_day_of_hours(now).first_hour();
    for _ in 0..READS {
        let progress = Progress::read(store).await?;
        // A loop, since a closure over borrowed tenants would hide from the compiler that the futures may change threads.
        let mut reads = Vec::with_capacity(tenants.len());
        for tenant in &tenants {
            reads.push(find(store, &progress, tenant, query, earlier.as_ref(), kept_from));
        }
        let found: Result<Vec<Option<Found>>, AnswerError> = parallel::all(reads).await.into_iter().collect();
        let Some(found) = found?.into_iter().collect::<Option<Vec<Found>>>() else { continue };
        let freshness =
            Freshness { complete_until: progress.complete_until(), newest_event: progress.newest_event() };
        return execute(query, earlier.as_ref(), &found, freshness);
    }
    let tenant = tenants.into_iter().next().unwrap_or(TenantId::unassigned());
    Err(AnswerError::Unsteady { tenant })
}

/// Reads what the query needs of one tenant; `None` if a block is gone.
async fn find<S: Store>(
    store: &S,
    progress: &Progress,
    tenant: &TenantId,
    query: &Query,
    earlier: Option<&Query>,
    kept_from: Hour,
) -> Result<Option<Found>, AnswerError> {
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
    let Some(blocks) = snapshot::blocks(store, tenant, live, extent).await? else { return Ok(None) };
    Ok(Some(Found { tenant: tenant.clone(), deltas: snapshot.deltas, blocks, now, earlier }))
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
    BlockReader::open(&item.body).map_err(|source| AnswerError::Block { key: item.key.clone(), source })
}

fn add(
    execution: &mut Execution,
    found: &Found,
    item: &Item,
    rows: &BlockReader<'_>,
) -> Result<(), AnswerError> {
    execution.add(&found.tenant, rows).map_err(|error| match error {
        ExecuteError::Block(source) => AnswerError::Block { key: item.key.clone(), source },
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
