//! The query for the counts that detection evaluates, and the conversion of its answer.

use cells::query::metrics::{
    BOUNCES_AFTER_ACCEPTANCE, BOUNCES_PERMANENT, BOUNCES_TRANSIENT, BOUNCES_UNDETERMINED, CLICKS, COMPLAINTS,
    DELAYED, DELIVERIES, DELIVERY_MS_P50, DELIVERY_MS_P95, HARD_BOUNCES, OPENS, QUEUE_DEPTH, SENDS,
};
use cells::query::{Answer, AnswerRow, Granularity, Metric, Query, QueryError, Scope};
use detection::{Counts, DeliveryTimePercentiles};
use event::attribution::Dimension;
use event::{TenantId, Timestamp};

use super::counts::{CountsByMinute, MinuteRange, OwnedCountsRow, Width};

/// The metrics that [`counts`] reads.
const METRICS: [Metric; 14] = [
    SENDS,
    DELIVERIES,
    BOUNCES_PERMANENT,
    HARD_BOUNCES,
    BOUNCES_TRANSIENT,
    BOUNCES_UNDETERMINED,
    BOUNCES_AFTER_ACCEPTANCE,
    DELAYED,
    COMPLAINTS,
    OPENS,
    CLICKS,
    DELIVERY_MS_P50,
    DELIVERY_MS_P95,
    QUEUE_DEPTH,
];

/// The query for a range of whole buckets.
pub(super) fn query(range: &MinuteRange, width: Width) -> Result<Query, QueryError> {
    let granularity = match width {
        Width::Minute => Granularity::Minute,
        Width::FiveMinutes => Granularity::FiveMinutes,
        Width::Hour => Granularity::Hour,
        Width::Day => Granularity::Day,
    };
    Query::builder(Scope::All)
        .metrics(METRICS)
        .range(range.start, range.end)
        .granularity(granularity)
        // All that detection tells apart: other dimensions would only make more rows.
        .group_by([Dimension::Provider, Dimension::Campaign])
        // Both times are absolute, so the current time does not matter.
        .build(Timestamp::from_millis(0))
}

/// Adds the rows of one tenant's answer to `rows`.
pub(super) fn add(tenant: &TenantId, answer: &Answer, rows: &mut CountsByMinute) {
    for row in answer.rows() {
        // Only answers without a granularity have rows without a time.
        let Some(minute) = row.time() else { continue };
        // The overflow row is not one provider's or campaign's, so its name is left out.
        let name = |dimension: Dimension| {
            let name = row.group(dimension);
            if name == Dimension::OTHER { String::new() } else { name.to_owned() }
        };
        let (counts, times) = counts(row);
        rows.entry(minute).or_default().push(OwnedCountsRow {
            tenant: tenant.clone(),
            provider: name(Dimension::Provider),
            campaign: name(Dimension::Campaign),
            counts,
            times,
        });
    }
}

fn counts(row: AnswerRow<'_>) -> (Counts, Option<DeliveryTimePercentiles>) {
    let count = |metric| row.count(metric) as f64;
    let (bounces_permanent, hard_bounces) = (count(BOUNCES_PERMANENT), count(HARD_BOUNCES));
    let mut counts = Counts {
        sends: count(SENDS),
        deliveries: count(DELIVERIES),
        bounces_permanent,
        outside_reputation: bounces_permanent - hard_bounces,
        bounces_transient: count(BOUNCES_TRANSIENT) + count(BOUNCES_UNDETERMINED),
        after_acceptance: count(BOUNCES_AFTER_ACCEPTANCE),
        delays: count(DELAYED),
        complaints: count(COMPLAINTS),
        opens: count(OPENS),
        clicks: count(CLICKS),
        // Unlike a count, a gauge may be unknown.
        queue_depth: row.number(QUEUE_DEPTH),
        ..Counts::default()
    };
    let (p50, p95) = (row.number(DELIVERY_MS_P50), row.number(DELIVERY_MS_P95));
    if let Some(p50) = p50 {
        counts.note_latency(p50, counts.deliveries);
    }
    (counts, DeliveryTimePercentiles::new(p50, p95))
}
