//! The query for the counts that detection evaluates, and its answer. The only place that knows how the query is written and in which
//! order its metrics are answered.

use cells::query::{Answer, Locale, Query, QueryError, Scope, Value};
use detection::{Counts, Spread};
use event::attribution::Dimension;
use event::{TenantId, Timestamp};

use super::counts::{CountsByMinute, CountsRow, MinuteRange, Width};

/// In the order in which [`counts`] reads them.
const METRICS: &str = "sends,deliveries,bounces_permanent,hard_bounces,bounces_transient,bounces_undetermined,delays,complaints,opens,clicks,delivery_ms_p50,delivery_ms_p95,queue_depth";

/// The query for a range of whole buckets.
pub(super) fn query(range: &MinuteRange, width: Width) -> Result<Query, QueryError> {
    let (from, to) = (range.start.start().to_string(), range.end.start().to_string());
    let granularity = match width {
        Width::Minute => "1m",
        Width::FiveMinutes => "5m",
        Width::Hour => "1h",
        Width::Day => "1d",
    };
    let pairs = [
        ("metrics", METRICS),
        ("from", &from),
        ("to", &to),
        ("granularity", granularity),
        ("group_by", "provider,campaign"),
    ];
    // Both times are absolute, so the current time does not matter.
    Query::from_pairs(pairs, Scope::All, &Locale::default(), Timestamp::from_millis(0))
}

/// Adds the rows of one tenant's answer to `rows`.
pub(super) fn add(tenant: &TenantId, answer: &Answer, rows: &mut CountsByMinute) {
    for row in answer.rows() {
        // Only answers without a granularity have rows without a time.
        let Some(minute) = row.time else { continue };
        // The overflow row is not one provider's or campaign's, so its name is left out.
        let name = |number: usize| match row.group.get(number) {
            Some(name) if name != Dimension::OTHER => name.to_string(),
            _ => String::new(),
        };
        let (counts, times) = counts(&row.metrics);
        let row = CountsRow { tenant: tenant.clone(), provider: name(0), campaign: name(1), counts, times };
        rows.entry(minute).or_default().push(row);
    }
}

fn counts(values: &[Value]) -> (Counts, Option<Spread>) {
    let mut values = values.iter().map(|value| value.as_number());
    let mut known = || values.next().flatten();
    // A count that is null is a count of nothing.
    let mut next = || known().unwrap_or(0.0);
    let (sends, deliveries, bounces_permanent, hard_bounces) = (next(), next(), next(), next());
    let mut counts = Counts {
        sends,
        deliveries,
        bounces_permanent,
        outside_reputation: bounces_permanent - hard_bounces,
        bounces_transient: next() + next(),
        delays: next(),
        complaints: next(),
        opens: next(),
        clicks: next(),
        ..Counts::default()
    };
    let (p50, p95) = (next(), next());
    // Unlike a count, a gauge may be unknown.
    counts.queue_depth = known();
    counts.note_latency(p50, counts.deliveries);
    (counts, Spread::new(Some(p50), Some(p95)))
}
