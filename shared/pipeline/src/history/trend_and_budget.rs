//! The trend of a metric over the last weeks, and the distance to the reputation thresholds of SES and Gmail (the budget), both from
//! stored counts. [`detection::trend`] and [`detection::budget`] do the statistics; this module asks the queries for them.

use std::num::NonZeroUsize;

use cells::query::{Answer, Locale, Metric, Query, QueryError, QueryErrorKind, Row, Scope, Value};
use detection::budget::{self, Proportion, Standing};
use detection::trend::{self, Hour, Trend, Unit};
use event::{Timestamp, invariant};

use crate::history::answering::{self, AnswerError};
use crate::history::compaction::CompactionSettings;
use crate::ports::Store;

/// The longest trend, in weeks: a year, and four weeks of the year before to compare with.
pub const MAX_WEEKS: u32 = 56;
/// Days searched for a representative volume of mail, [`budget::VOLUME`].
const VOLUME_DAYS: u32 = 30;

/// Stored counts as of a moment.
#[derive(Clone, Copy, Debug)]
pub struct StoredCounts<'a, S> {
    /// The store.
    pub store: &'a S,
    /// How long blocks are kept.
    pub settings: &'a CompactionSettings,
    /// The moment up to which counts are read.
    pub now: Timestamp,
    /// The most threads for one query.
    pub threads: NonZeroUsize,
}

impl<S: Store> StoredCounts<'_, S> {
    async fn answer(
        &self,
        pairs: &[(&str, &str)],
        scope: &Scope,
        locale: &Locale,
    ) -> Result<Answer, AnswerError> {
        let query = Query::from_pairs(pairs.iter().copied(), scope.clone(), locale, self.now)?;
        answering::answer(self.store, &query, self.settings, self.now, self.threads).await
    }

    /// The trend of a metric over the last `weeks` (at most [`MAX_WEEKS`]), of mail that passes all `filters` (`dimension:value`). `None`
    /// with less than two weeks of mail.
    ///
    /// # Errors
    /// [`AnswerError`] if the counts cannot be read, or a filter is malformed.
    pub async fn trend(
        &self,
        scope: &Scope,
        locale: &Locale,
        metric: Metric,
        weeks: u32,
        filters: &[String],
    ) -> Result<Option<Trend>, AnswerError> {
        let (name, from) = (metric.name(), format!("-{}d", weeks.min(MAX_WEEKS) * 7));
        let metrics = format!("{name},deliveries");
        let mut pairs =
            vec![("metrics", metrics.as_str()), ("from", &from), ("to", "now"), ("granularity", "1h")];
        pairs.extend(filters.iter().map(|filter| ("filter", filter.as_str())));
        let answer = self.answer(&pairs, scope, locale).await?;
        let unit = unit(metric);
        // The current hour is incomplete and would look like a drop.
        let current = self.now.minute().hour().0;
        let hours: Vec<Hour> = answer
            .rows()
            .iter()
            .filter_map(|row| hour(row, unit))
            .filter(|hour| hour.hour < current)
            .collect();
        Ok(trend::look_back(&name, unit, &hours))
    }

    /// The distance to each reputation threshold, over a representative volume of the newest mail and over the last day.
    ///
    /// # Errors
    /// [`AnswerError`] if the counts cannot be read.
    pub async fn budget(&self, scope: &Scope) -> Result<Vec<Standing>, AnswerError> {
        let from = format!("-{VOLUME_DAYS}d");
        let pairs = [
            ("metrics", "sends,hard_bounces,deliveries,complaints"),
            ("from", from.as_str()),
            ("to", "now"),
            ("granularity", "1h"),
        ];
        let answer = self.answer(&pairs, scope, &Locale::default()).await?;
        let day_ago = self.now.plus_millis(-24 * 60 * 60 * 1000).minute();
        let (mut volume, mut last_day) = (Sums::default(), Sums::default());
        // Newest first: mail older than the representative volume says nothing about the present.
        for row in answer.rows().iter().rev() {
            let is_of_last_day = row.time.is_some_and(|time| time >= day_ago);
            if volume.is_representative() && !is_of_last_day {
                break;
            }
            let &[sends, bounces, deliveries, complaints] = row.metrics.as_slice() else {
                invariant::broken("a row without the metrics that its query names");
                continue;
            };
            let counts = [sends, bounces, deliveries, complaints].map(|value| number(&value));
            volume.add(counts);
            if is_of_last_day {
                last_day.add(counts);
            }
        }
        let standing = |line: &budget::Line| match line.metric {
            "hard_bounce_rate" => budget::standing(line, volume.bounces, last_day.bounces),
            _ => budget::standing(line, volume.complaints, last_day.complaints),
        };
        Ok(budget::LINES.iter().map(standing).collect())
    }
}

/// The rates that have a reputation threshold, summed over some hours.
#[derive(Clone, Copy, Default)]
struct Sums {
    bounces: Proportion,
    complaints: Proportion,
}

impl Sums {
    fn add(&mut self, [sends, bounces, deliveries, complaints]: [f64; 4]) {
        self.bounces.events += bounces;
        self.bounces.mail += sends;
        self.complaints.events += complaints;
        self.complaints.mail += deliveries;
    }

    fn is_representative(self) -> bool {
        self.bounces.mail >= budget::VOLUME && self.complaints.mail >= budget::VOLUME
    }
}

const fn unit(metric: Metric) -> Unit {
    match metric {
        Metric::Count(_) => Unit::Total,
        Metric::Rate(_) => Unit::Share,
        Metric::DeliveryMs(_) | Metric::DeliveryMsMean => Unit::Milliseconds,
        Metric::QueueDepth => Unit::Level,
    }
}

/// The values of one hour of a query. A rate has its two counts; a delivery time is weighted by the number of deliveries. `None` if the
/// hour has no value.
fn hour(row: &Row, unit: Unit) -> Option<Hour> {
    let hour = row.time?.hour().0;
    let value = row.metrics.first();
    let (part, whole) = match unit {
        Unit::Share => {
            let (part, whole) = row.counts.first().copied().flatten()?;
            (part as f64, whole as f64)
        }
        Unit::Milliseconds => {
            let weight = row.metrics.last().map_or(0.0, number);
            match value {
                Some(Value::Missing) | None => return None,
                Some(value) => (number(value) * weight, weight),
            }
        }
        Unit::Total | Unit::Level => (value.map_or(0.0, number), 0.0),
    };
    Some(Hour { hour, part, whole })
}

fn number(value: &Value) -> f64 {
    match value {
        Value::Count(count) => *count as f64,
        Value::Number(number) => *number,
        Value::Missing => 0.0,
    }
}

/// Parses the name of a metric that can have a trend, which is every one but the queue depth.
///
/// # Errors
/// [`QueryError`] about the parameter `metric`, with the names that are allowed.
pub fn metric(name: &str) -> Result<Metric, QueryError> {
    Metric::from_name(name).filter(|metric| *metric != Metric::QueueDepth).ok_or_else(|| QueryError {
        kind: QueryErrorKind::Malformed,
        parameter: "metric".to_owned(),
        problem: "it is not a metric".to_owned(),
        allowed: Metric::all().map(Metric::name).collect::<Vec<_>>().join(", ").into(),
        example: "bounce_rate".into(),
    })
}
