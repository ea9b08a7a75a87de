//! Clicks by link, from the same blocks and deltas, and as of one instant like every answer.

use cells::BlockReader;
use cells::query::metrics::CLICKS;
use cells::query::{Freshness, LinkTotal, LinkTotals, Query, QueryError, QueryTime, Scope};
use event::{Minute, Timestamp};

use super::{AnswerError, TenantItems, read_tenants};
use crate::history::compaction::CompactionSettings;
use crate::history::snapshot::SnapshotError;
use crate::ports::Store;

/// Asks for the clicks of a range by link.
#[derive(Clone, Debug)]
pub struct LinkQuery {
    /// Chooses the blocks: clicks are in the same ones as the clicks of any query.
    query: Query,
    /// The only campaign, or all of them.
    campaign: Option<String>,
}

/// Clicks by link.
#[derive(Clone, Debug)]
pub struct LinkAnswer {
    /// Those with the most clicks first; see [`LinkTotals::finish`].
    pub rows: Vec<LinkTotal>,
    /// Up to when events are counted.
    pub freshness: Freshness,
}

impl LinkQuery {
    /// Clicks from one time up to another, as asked at `now`, of one campaign or of all.
    ///
    /// # Errors
    /// [`QueryError`] if the range is refused.
    pub fn new(
        scope: Scope,
        campaign: Option<String>,
        from: QueryTime,
        to: QueryTime,
        now: Timestamp,
    ) -> Result<Self, QueryError> {
        let query = Query::builder(scope).metrics([CLICKS]).range(from, to).build(now)?;
        Ok(Self { query, campaign })
    }

    /// The first minute of the range, and the first one after it.
    pub fn range(&self) -> (Minute, Minute) {
        self.query.range()
    }

    fn add(&self, totals: &mut LinkTotals, items: &TenantItems) -> Result<(), AnswerError> {
        let (from, to) = self.query.range();
        for scanned in items.scanned() {
            let mut room = Ok(());
            let scan = BlockReader::open(&scanned.item.body).and_then(|rows| {
                rows.scan_links(from, to, &mut |row| {
                    let is_asked_for = self.campaign.as_ref().is_none_or(|campaign| campaign == row.campaign);
                    if is_asked_for && room.is_ok() {
                        room = totals.add(scanned.tenant.as_str(), &row);
                    }
                })
            });
            scan.map_err(|source| SnapshotError::Block { key: scanned.item.key.clone(), source })?;
            room?;
        }
        Ok(())
    }
}

/// Answers as of `now`, on the caller's thread: few rows of a block are of links.
pub async fn clicks_by_link<S: Store>(
    store: &S,
    query: &LinkQuery,
    settings: &CompactionSettings,
    now: Timestamp,
) -> Result<LinkAnswer, AnswerError> {
    let (tenants, freshness) = read_tenants(store, &query.query, None, settings, now).await?;
    let mut totals = LinkTotals::default();
    for items in &tenants {
        query.add(&mut totals, items)?;
    }
    Ok(LinkAnswer { rows: totals.finish(), freshness })
}
