//! What detection looks at: counts by tenant, provider and campaign in each bucket, from the stored numbers.
//!
//! The same for live mail and for the past. By the minute for as long as hours are kept by the minute, by the hour beyond; a bucket
//! finer than what is kept is refused by the planner, by name.

use std::collections::BTreeMap;

use cells::query::{Answer, Locale, Query, QueryError, Scope, Value};
use detection::{Counts, Row, Spread};
use event::attribution::Dimension;
use event::{Hour, Minute, TenantId, Timestamp};

use crate::history::answering::{self, AnswerError};
use crate::history::snapshot::Progress;
use crate::ports::Store;

/// In the order of [`counts`].
const METRICS: &str = "sends,deliveries,bounces_permanent,hard_bounces,bounces_transient,bounces_undetermined,delays,complaints,opens,clicks,delivery_ms_p50,delivery_ms_p95,queue_depth";

/// The width of buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// One minute.
    Minute,
    /// Five minutes.
    FiveMinutes,
    /// One hour.
    Hour,
    /// One day, UTC.
    Day,
}

impl Width {
    /// In minutes.
    pub const fn minutes(self) -> u32 {
        match self {
            Self::Minute => 1,
            Self::FiveMinutes => 5,
            Self::Hour => 60,
            Self::Day => 24 * 60,
        }
    }

    const fn granularity(self) -> &'static str {
        match self {
            Self::Minute => "1m",
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
            Self::Day => "1d",
        }
    }
}

/// Counts of one tenant at a provider in a campaign; empty names where mail has none, or none of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Whose.
    pub tenant: TenantId,
    /// The mailbox provider.
    pub provider: String,
    /// The campaign.
    pub campaign: String,
    /// The counts.
    pub counts: Counts,
    /// How the delivery times spread.
    pub times: Option<Spread>,
}

impl Line {
    /// As the detector takes it.
    pub fn row(&self) -> Row<'_> {
        let Self { tenant, provider, campaign, counts, times } = self;
        Row { tenant: tenant.as_str(), provider, campaign, counts: *counts, times: *times }
    }
}

/// Lines by the first minute of their bucket; buckets without events are left out.
pub type Lines = BTreeMap<Minute, Vec<Line>>;

/// The lines of some tenants in `[from, to)`, whole buckets.
///
/// # Errors
/// [`AnswerError`] if the numbers cannot be read, or are not kept as finely as asked.
pub async fn read<S: Store>(
    store: &S,
    progress: &Progress,
    tenants: &[TenantId],
    range: (Minute, Minute),
    width: Width,
    kept_from: Hour,
) -> Result<Lines, AnswerError> {
    read_each(store, progress, tenants, range, width, kept_from, |_, error| Err(error)).await
}

/// As [`read`], but without the lines of tenants whose numbers are damaged or lost: others' mail is evaluated all the same.
pub(super) async fn read_readable<S: Store>(
    store: &S,
    progress: &Progress,
    tenants: &[TenantId],
    range: (Minute, Minute),
    width: Width,
    kept_from: Hour,
) -> Result<Lines, AnswerError> {
    let leave_out = |tenant: &TenantId, error| {
        let error: &dyn std::error::Error = &error;
        tracing::error!(tenant.id = %tenant, error, "a tenant's mail cannot be evaluated");
        Ok(())
    };
    read_each(store, progress, tenants, range, width, kept_from, leave_out).await
}

async fn read_each<S: Store>(
    store: &S,
    progress: &Progress,
    tenants: &[TenantId],
    (from, to): (Minute, Minute),
    width: Width,
    kept_from: Hour,
    mut unreadable: impl FnMut(&TenantId, AnswerError) -> Result<(), AnswerError>,
) -> Result<Lines, AnswerError> {
    let mut lines = Lines::new();
    if from >= to || tenants.is_empty() {
        return Ok(lines);
    }
    let query = query((from, to), width)?;
    answering::answer_each(store, progress, &query, tenants, kept_from, |tenant, answer| {
        match answer {
            Ok(answer) => add(tenant, &answer, &mut lines),
            Err(error) => unreadable(tenant, error)?,
        }
        Ok(())
    })
    .await?;
    Ok(lines)
}

fn query((from, to): (Minute, Minute), width: Width) -> Result<Query, QueryError> {
    let (from, to) = (from.start().to_string(), to.start().to_string());
    let pairs = [
        ("metrics", METRICS),
        ("from", &from),
        ("to", &to),
        ("granularity", width.granularity()),
        ("group_by", "provider,campaign"),
    ];
    // Nothing here is relative to now.
    Query::from_pairs(pairs, Scope::All, &Locale::default(), Timestamp::from_millis(0))
}

fn add(tenant: &TenantId, answer: &Answer, lines: &mut Lines) {
    for row in answer.rows() {
        let Some(time) = row.time else { continue };
        // What is folded together is nobody's in particular.
        let name = |place: usize| {
            row.group.get(place).filter(|name| *name != Dimension::OTHER).map(ToString::to_string)
        };
        let (counts, times) = counts(&row.metrics);
        lines.entry(time).or_default().push(Line {
            tenant: tenant.clone(),
            provider: name(0).unwrap_or_default(),
            campaign: name(1).unwrap_or_default(),
            counts,
            times,
        });
    }
}

fn counts(values: &[Value]) -> (Counts, Option<Spread>) {
    let mut values = values.iter().map(|value| value.as_number());
    let mut known = || values.next().flatten();
    let mut next = || known().unwrap_or_default();
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
    counts.queue_depth = known();
    counts.note_latency(p50, counts.deliveries);
    (counts, Spread::new(Some(p50), Some(p95)))
}
