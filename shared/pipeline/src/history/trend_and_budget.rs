//! The trend of a metric over the last weeks, and the distance to the reputation thresholds of SES and Gmail (the budget), both from
//! stored counts. [`detection::trend`] and [`detection::budget`] do the statistics; this module asks the queries for them.

use std::num::NonZeroUsize;

use cells::query::metrics::{
    COMPLAINTS, DELIVERIES, Formula, HARD_BOUNCES, QUEUE_DEPTH, SENDS, Unit as MetricUnit,
};
use cells::query::{
    Answer, AnswerRow, Filter, Granularity, Metric, MetricRegistry, Query, QueryBuilder, QueryError,
    QueryErrorKind, QueryTime, Scope,
};
use detection::budget::{self, Proportion, ThresholdStatus};
use detection::trend::{self, HourlyCount, Trend, TrendUnit};
use event::Timestamp;

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
    /// The store whose blocks and deltas are read.
    pub store: &'a S,
    /// How long blocks are kept.
    pub settings: &'a CompactionSettings,
    /// The moment up to which counts are read.
    pub now: Timestamp,
    /// The most threads for one query.
    pub threads: NonZeroUsize,
}

impl<S: Store> StoredCounts<'_, S> {
    async fn answer(&self, query: QueryBuilder) -> Result<Answer, AnswerError> {
        let query = query.build(self.now)?;
        answering::answer(self.store, &query, self.settings, self.now, self.threads).await
    }

    /// The trend of a metric over the last `weeks` (at most [`MAX_WEEKS`]), of mail that passes the filter. `None` with less than two weeks
    /// of mail.
    ///
    /// # Errors
    /// [`AnswerError`] if the counts cannot be read.
    pub async fn trend(
        &self,
        scope: &Scope,
        metric: Metric,
        weeks: u32,
        filter: Filter,
    ) -> Result<Option<Trend>, AnswerError> {
        let query = Query::builder(scope.clone())
            // Deliveries weight delivery times: see `hour`.
            .metrics([metric, DELIVERIES])
            .range(QueryTime::days_ago(weeks.min(MAX_WEEKS) * 7), QueryTime::Now)
            .granularity(Granularity::Hour)
            .filter(filter);
        let answer = self.answer(query).await?;
        let unit = unit(metric);
        // The current hour is incomplete and would look like a drop.
        let current = self.now.minute().hour();
        let hours: Vec<HourlyCount> = answer
            .rows()
            .filter_map(|row| hour(row, metric, unit))
            .filter(|hour| hour.hour < current)
            .collect();
        Ok(trend::look_back(metric.name(), unit, &hours))
    }

    /// The distance to each reputation threshold, over a representative volume of the newest mail and over the last day.
    ///
    /// # Errors
    /// [`AnswerError`] if the counts cannot be read.
    pub async fn budget(&self, scope: &Scope) -> Result<Vec<ThresholdStatus>, AnswerError> {
        let query = Query::builder(scope.clone())
            .metrics([SENDS, HARD_BOUNCES, DELIVERIES, COMPLAINTS])
            .range(QueryTime::days_ago(VOLUME_DAYS), QueryTime::Now)
            .granularity(Granularity::Hour);
        let answer = self.answer(query).await?;
        let day_ago = self.now.plus_millis(-24 * 60 * 60 * 1000).minute();
        // One query for both: the last day is a part of the days that are searched.
        let (mut volume, mut last_day) = (ReputationCounts::default(), ReputationCounts::default());
        // Newest first: mail older than the representative volume says nothing about the present.
        for row in answer.rows().rev() {
            let is_of_last_day = row.time().is_some_and(|time| time >= day_ago);
            // The last day counts whole, even if it has more mail than a representative volume.
            if volume.is_representative() && !is_of_last_day {
                break;
            }
            let counts = [SENDS, HARD_BOUNCES, DELIVERIES, COMPLAINTS].map(|metric| row.count(metric) as f64);
            volume.add(counts);
            if is_of_last_day {
                last_day.add(counts);
            }
        }
        let standing = |line: &budget::ReputationThreshold| match line.metric {
            // There are two kinds of thresholds: of hard bounces, and of complaints.
            "hard_bounce_rate" => budget::threshold_status(line, volume.bounces, last_day.bounces),
            _ => budget::threshold_status(line, volume.complaints, last_day.complaints),
        };
        Ok(budget::REPUTATION_THRESHOLDS.iter().map(standing).collect())
    }
}

/// The rates that have a reputation threshold, summed over some hours.
#[derive(Clone, Copy, Default)]
struct ReputationCounts {
    bounces: Proportion,
    complaints: Proportion,
}

impl ReputationCounts {
    fn add(&mut self, [sends, bounces, deliveries, complaints]: [f64; 4]) {
        self.bounces.events += bounces;
        // Each rate over its own denominator: bounces over what was sent, complaints over what was delivered.
        self.bounces.mail += sends;
        self.complaints.events += complaints;
        self.complaints.mail += deliveries;
    }

    fn is_representative(self) -> bool {
        self.bounces.mail >= budget::VOLUME && self.complaints.mail >= budget::VOLUME
    }
}

fn unit(metric: Metric) -> TrendUnit {
    match (metric.formula(), metric.unit()) {
        (Formula::Ratio(_), _) => TrendUnit::Share,
        (Formula::DeliveryTimePercentile(_), _) | (Formula::Mean { .. }, MetricUnit::Milliseconds) => {
            TrendUnit::Milliseconds
        }
        (Formula::Mean { .. }, _) => TrendUnit::Level,
        (
            Formula::Counters(_) | Formula::UniqueOpens | Formula::UniqueOpensTracked | Formula::UniqueClicks,
            _,
        ) => TrendUnit::Total,
    }
}

/// The values of one hour of a query. A rate has its two counts; a delivery time is weighted by the number of deliveries. `None` if the
/// hour has no value.
fn hour(row: AnswerRow<'_>, metric: Metric, unit: TrendUnit) -> Option<HourlyCount> {
    let hour = row.time()?.hour();
    let (part, whole) = match unit {
        TrendUnit::Share => {
            let counts = row.ratio(metric)?;
            (counts.numerator as f64, counts.denominator as f64)
        }
        TrendUnit::Milliseconds => {
            let weight = row.count(DELIVERIES) as f64;
            // A mean of hours by their deliveries, or a quiet night would weigh as much as a busy noon.
            (row.number(metric)? * weight, weight)
        }
        // An hour without a value has had none of it.
        TrendUnit::Total | TrendUnit::Level => (row.number(metric).unwrap_or(0.0), 0.0),
    };
    Some(HourlyCount { hour, part, whole })
}

/// Parses the name of a metric that can have a trend, which is every one but the queue depth.
///
/// # Errors
/// [`QueryError`] about the parameter `metric`, with the names that are allowed.
pub fn metric(name: &str, registry: &MetricRegistry) -> Result<Metric, QueryError> {
    let has_trend = |metric: &Metric| *metric != QUEUE_DEPTH;
    let known = registry.get(name);
    known.filter(has_trend).ok_or_else(|| {
        let allowed: Vec<&str> = registry.iter().filter(has_trend).map(Metric::name).collect();
        QueryError {
            kind: QueryErrorKind::Malformed,
            parameter: "metric".to_owned(),
            problem: match known {
                Some(_) => "a reported depth has no trend".to_owned(),
                None => "it is not a metric".to_owned(),
            },
            allowed: allowed.join(", ").into(),
            example: "bounce_rate".into(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_but_the_queue_depth_has_a_trend_in_a_unit_of_its_own() {
        let registry = MetricRegistry::builtin();
        for known in registry.iter() {
            assert_eq!(
                metric(known.name(), &registry).ok(),
                Some(known).filter(|known| *known != QUEUE_DEPTH)
            );
        }
        for (name, expected) in [
            ("sends", TrendUnit::Total),
            ("unique_opens", TrendUnit::Total),
            ("bounce_rate", TrendUnit::Share),
            ("delivery_ms_p95", TrendUnit::Milliseconds),
        ] {
            assert_eq!(unit(metric(name, &registry).unwrap()), expected, "{name}");
        }
        let refused = metric("bounces_rate", &registry).unwrap_err();
        assert_eq!(refused.parameter, "metric");
        assert!(refused.allowed.contains("bounce_rate"), "{refused:?}");
        for name in ["bounces_rate", "queue_depth"] {
            let refused = metric(name, &registry).unwrap_err();
            assert!(!refused.allowed.contains("queue_depth"), "{refused:?}");
        }
    }

    #[test]
    fn volume_is_representative_only_if_both_rates_have_enough_mail() {
        for (sends, deliveries, expected) in [
            (budget::VOLUME, budget::VOLUME, true),
            (budget::VOLUME - 1.0, budget::VOLUME, false),
            (budget::VOLUME, budget::VOLUME - 1.0, false),
        ] {
            let mut counts = ReputationCounts::default();
            counts.add([sends / 2.0, 1.0, deliveries / 4.0, 2.0]);
            assert!(!counts.is_representative());
            counts.add([sends / 2.0, 3.0, deliveries * 0.75, 4.0]);
            assert_eq!(counts.is_representative(), expected, "{sends} {deliveries}");
            assert_eq!((counts.bounces.events, counts.complaints.events), (4.0, 6.0));
        }
    }
}
