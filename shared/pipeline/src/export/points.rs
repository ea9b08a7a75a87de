//! A delta as points of a time-series store: one point per minute and dimension key.
//!
//! The dimensions of a point are the tenant and [`Dimension::ALL`] (campaign, segment, provider and so on), named as in the API; a
//! dimension that the mail does not have is left out. In Timestream they become the dimensions of a record, in InfluxDB tags.
//!
//! The measures are named like the API's metrics. They are counts that may be added up, so a sum over any points is a true count. Unique
//! counts, percentiles and rates do not add up; they are only in the API. Send cohorts are left out too, because their time is that of
//! sending, which a point does not have.

use std::sync::LazyLock;

use cells::query::MetricRegistry;
use cells::query::metrics::CounterFormula;
use cells::{BlockError, BlockReader, Counter, CounterSet, Projection, RowSource as _};
use event::attribution::Dimension;
use event::invariant::or_broken;
use event::{Minute, SequenceNumber, ShardId, TenantId, provider};
use sha2::{Digest as _, Sha256};

use crate::ports::Point;

const MINUTE_NS: u64 = 60_000_000_000;

/// The measures that are metrics of the API, with their names.
static COUNTS: LazyLock<Vec<(&str, CounterFormula)>> = LazyLock::new(|| {
    MetricRegistry::builtin().additive().map(|(metric, formula)| (metric.name(), formula)).collect()
});

/// Measures whose quotients are means: the delivery time, and the queue depth.
const SUMS: [(&str, Counter); 4] = [
    ("delivery_ms_sum", Counter::DeliveryMillis),
    ("delivery_ms_count", Counter::DeliveriesTimed),
    ("queue_depth_sum", Counter::QueueDepth),
    ("queue_depth_count", Counter::QueueReadings),
];

/// The position within its minute, in nanoseconds, of the points of the batch that begins at `first`.
///
/// It never changes, so a batch that is written again replaces its own points. Of n batches with events in one minute, two share an
/// offset with a probability of n^2 / 1.2e11, and would replace each other where they share a series.
pub(super) fn offset_ns(shard: &ShardId, first: &SequenceNumber) -> u64 {
    let hash = Sha256::digest(format!("{shard}#{first}"));
    let bytes = or_broken(hash.first_chunk().copied(), [0; 8], "a SHA-256 hash of less than 8 bytes");
    u64::from_le_bytes(bytes) % MINUTE_NS
}

/// Adds the points of an item of a delta to `points`.
pub(super) fn add_delta(
    tenant: &TenantId,
    block: &[u8],
    offset_ns: u64,
    points: &mut Vec<Point>,
) -> Result<(), BlockError> {
    let reader = BlockReader::open(block)?;
    let projection = Projection::of_counters(CounterSet::ALL);
    reader.scan_cells(&projection, Minute(0), Minute(u32::MAX), &mut |row| {
        let counts = COUNTS.iter().map(|(name, formula)| (*name, formula.value(row.counters)));
        let sums = SUMS.into_iter().map(|(name, counter)| (name, row.counters.get(counter)));
        let counts: Vec<_> = counts.chain(sums).filter(|(_, count)| *count > 0).collect();
        // Time-series stores refuse a point without a measure.
        if counts.is_empty() {
            return;
        }
        let value = |dimension: Dimension| {
            let value = reader.key_value(row.key, dimension);
            // A company's domain stays at the provider for unknown domains: what is learned later would give the same batch other points
            // when it is exported again, and its counts would be there twice.
            let is_marker = provider::unresolved_domain(value).is_some();
            (dimension.name(), if is_marker { provider::OTHER } else { value })
        };
        let dimensions = Dimension::ALL.into_iter().map(value);
        // Neither store accepts an empty value, and `(none)` says nothing that leaving it out does not.
        let dimensions = dimensions.filter(|(_, value)| !value.is_empty() && *value != Dimension::NONE);
        points.push(Point {
            tenant: tenant.clone(),
            time_ns: (u64::from(row.bucket.0) * MINUTE_NS + offset_ns).cast_signed(),
            dimensions: dimensions.map(|(name, value)| (name, value.to_owned())).collect(),
            counts,
        });
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_of_a_batch_never_changes_and_is_within_a_minute() {
        // Points that are written again years later must replace themselves.
        let shard = ShardId::new("shard-1").unwrap();
        assert_eq!(offset_ns(&shard, &SequenceNumber::from(1)), 52_938_188_993);
        for first in 0..1_000 {
            assert!(offset_ns(&shard, &SequenceNumber::from(first)) < MINUTE_NS);
        }
    }

    #[test]
    fn measures_add_up_and_have_distinct_names() {
        let mut names: Vec<&str> = COUNTS.iter().map(|(name, _)| *name).collect();
        assert!(names.contains(&"sends") && names.contains(&"bounces_permanent"));
        assert!(!names.iter().any(|name| name.starts_with("unique") || name.ends_with("_rate")), "{names:?}");
        names.extend(SUMS.map(|(name, _)| name));
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
