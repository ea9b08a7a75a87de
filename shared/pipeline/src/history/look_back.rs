//! Looking back over stored numbers: the trend of a metric over weeks, and how far the lines of SES and Gmail are.

use std::num::NonZeroUsize;

use cells::query::{Answer, Locale, Metric, Query, QueryError, QueryErrorKind, Row, Scope, Value};
use detection::budget::{self, Proportion, Standing};
use detection::trend::{self, Hour, Trend, Unit};
use event::Timestamp;

use crate::history::answering::{self, AnswerError};
use crate::history::compaction;
use crate::ports::Store;

/// Weeks that can be looked back on: as long as history is kept by the hour, and four weeks of the year before are in it.
pub const MAX_WEEKS: u32 = 56;
/// Days that are looked at for mail that says something about an account, [`budget::VOLUME`].
const VOLUME_DAYS: u32 = 30;

/// Where numbers are and as of when.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a, S> {
    /// The store.
    pub store: &'a S,
    /// How long history is kept at which resolution.
    pub history: &'a compaction::Settings,
    /// As of when.
    pub now: Timestamp,
    /// Cores for one answer.
    pub threads: NonZeroUsize,
}

impl<S: Store> Source<'_, S> {
    async fn answer(
        &self,
        pairs: &[(&str, &str)],
        scope: &Scope,
        locale: &Locale,
    ) -> Result<Answer, AnswerError> {
        let query = Query::from_pairs(pairs.iter().copied(), scope.clone(), locale, self.now)?;
        answering::answer(self.store, &query, self.history, self.now, self.threads).await
    }

    /// The trend of a metric over the last weeks, of mail that passes all `filters` (`name:value`). None with less than two weeks of it.
    ///
    /// # Errors
    /// [`AnswerError`] if the numbers cannot be read, or a filter is none.
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
        // The hour that is under way is no whole one.
        let over = self.now.minute().hour().0;
        let hours: Vec<Hour> =
            answer.rows().iter().filter_map(|row| hour(row, unit)).filter(|hour| hour.hour < over).collect();
        Ok(trend::look_back(&name, unit, &hours))
    }

    /// How far each line is.
    ///
    /// # Errors
    /// [`AnswerError`] if the numbers cannot be read.
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
        let (mut volume, mut last_day) = ([Proportion::default(); 2], [Proportion::default(); 2]);
        for row in answer.rows().iter().rev() {
            let of_last_day = row.time.is_some_and(|time| time >= day_ago);
            if volume.iter().all(|volume| volume.mail >= budget::VOLUME) && !of_last_day {
                break;
            }
            let mut counts = row.metrics.iter().map(number);
            let mut next = || counts.next().unwrap_or_default();
            let (sends, bounces, deliveries, complaints) = (next(), next(), next(), next());
            for (place, (events, mail)) in
                [(bounces, sends), (complaints, deliveries)].into_iter().enumerate()
            {
                for (sum, counts) in [(&mut volume, true), (&mut last_day, of_last_day)] {
                    if let Some(sum) = sum.get_mut(place).filter(|_| counts) {
                        sum.events += events;
                        sum.mail += mail;
                    }
                }
            }
        }
        let [bounces, complaints] = volume;
        let [bounces_of_day, complaints_of_day] = last_day;
        let standing = |line: &budget::Line| match line.metric {
            "hard_bounce_rate" => budget::standing(line, bounces, bounces_of_day),
            _ => budget::standing(line, complaints, complaints_of_day),
        };
        Ok(budget::LINES.iter().map(standing).collect())
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

/// What an hour adds: rates by their two counts, delivery times by the deliveries behind them.
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

/// The metric of that name, or what is allowed.
///
/// # Errors
/// [`QueryError`] about `metric`.
pub fn metric(name: &str) -> Result<Metric, QueryError> {
    Metric::from_name(name).filter(|metric| *metric != Metric::QueueDepth).ok_or_else(|| QueryError {
        kind: QueryErrorKind::Malformed,
        parameter: "metric".to_owned(),
        problem: "it is not a metric".to_owned(),
        allowed: Metric::all().map(Metric::name).collect::<Vec<_>>().join(", ").into(),
        example: "bounce_rate".into(),
    })
}
