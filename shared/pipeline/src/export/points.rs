//! A delta's block as points: one per minute and set of dimensions.
//!
//! Names are those of the API. Only counts that may be added up are given, so that a sum over any points is a true count: unique
//! counts and percentiles are asked of the API. Cohorts stay out: their time is that of sending, which points do not have. A dimension
//! that the mail does not have is left out.

use std::sync::LazyLock;

use cells::query::{Count, Metric};
use cells::{BlockError, BlockReader, Counter, Rows as _, Wanted};
use event::attribution::Dimension;
use event::{Minute, SequenceNumber, ShardId, TenantId};
use sha2::{Digest as _, Sha256};

use crate::ports::Point;

const MINUTE_NS: u64 = 60_000_000_000;

/// The counts given, by the names of the API's metrics.
static COUNTS: LazyLock<Vec<(String, Count)>> = LazyLock::new(|| {
    let counted = |metric: Metric| match metric {
        Metric::Count(count) if count.adds_up() => Some((metric.name(), count)),
        _ => None,
    };
    Metric::all().filter_map(counted).collect()
});

/// Where in its minute the batch of a shard that begins at `first` lies: always the same place, and hardly ever another batch's.
pub(super) fn offset_ns(shard: &ShardId, first: &SequenceNumber) -> u64 {
    let hash = Sha256::digest(format!("{shard}#{first}"));
    let bytes = hash.first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(bytes) % MINUTE_NS
}

/// Adds the points of a delta.
pub(super) fn of_delta(
    tenant: &TenantId,
    block: &[u8],
    offset_ns: u64,
    points: &mut Vec<Point>,
) -> Result<(), BlockError> {
    let reader = BlockReader::open(block)?;
    let wanted = Wanted { counters: u64::MAX, ..Wanted::default() };
    reader.scan_cells(&wanted, Minute(0), Minute(u32::MAX), &mut |row| {
        let counts = COUNTS.iter().map(|(name, count)| (name.as_str(), count.in_counters(row.counters)));
        // Their quotients are the mean time of delivery and the mean of what waits.
        let means = [
            ("delivery_ms_sum", row.counters.get(Counter::DeliveryMillis)),
            ("delivery_ms_count", row.counters.get(Counter::DeliveriesTimed)),
            ("queue_depth_sum", row.counters.get(Counter::QueueDepth)),
            ("queue_depth_count", row.counters.get(Counter::QueueReadings)),
        ];
        let counts: Vec<_> = counts.chain(means).filter(|(_, count)| *count > 0).collect();
        if counts.is_empty() {
            return;
        }
        let value = |dimension: Dimension| (dimension.name(), reader.key_value(row.key, dimension));
        let dimensions = Dimension::ALL.into_iter().map(value);
        let dimensions = dimensions.filter(|(_, value)| !value.is_empty() && *value != Dimension::NONE);
        points.push(Point {
            tenant: tenant.clone(),
            time_ns: (u64::from(row.bucket.0) * MINUTE_NS + offset_ns).cast_signed(),
            dimensions: dimensions.map(|(name, value)| (name, value.to_owned())).collect(),
            counts,
        });
    })
}
