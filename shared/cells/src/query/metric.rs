//! What can be asked for: counts, rates and delivery times, their names, what they are computed from, and how.
//!
//! The names are a promise to users. A metric is computed from one merged cell and nothing else, so it means the same at
//! every granularity and grouping.

use event::Reason;

use super::count::Count;
use super::rates::{self, Rate};
use super::request::Basis;
use crate::block::Projection;
use crate::cell::{Cell, Latency};
use crate::counter::Counter;

/// A column of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// A whole number.
    Count(Count),
    /// A fraction of two counts.
    Rate(Rate),
    /// So many percent of the timed deliveries took at most so many milliseconds from send to delivery.
    DeliveryMs(u8),
    /// The mean of the milliseconds from send to delivery.
    DeliveryMsMean,
    /// Mail waiting at the sender: the mean of what gauges said.
    QueueDepth,
}

/// All metrics but those by reason, whose names are `bounces_` or `delays_` and the reason.
const NAMED: [(&str, Metric); 38] = [
    ("sends", Metric::Count(Count::Sends)),
    ("deliveries", Metric::Count(Count::Deliveries)),
    ("bounces", Metric::Count(Count::Bounces)),
    ("bounces_permanent", Metric::Count(Count::BouncesPermanent)),
    ("bounces_transient", Metric::Count(Count::BouncesTransient)),
    ("bounces_undetermined", Metric::Count(Count::BouncesUndetermined)),
    ("hard_bounces", Metric::Count(Count::HardBounces)),
    ("suppressed", Metric::Count(Count::Suppressed)),
    ("auto_replies", Metric::Count(Count::AutoReplies)),
    ("complaints", Metric::Count(Count::Complaints)),
    ("rejects", Metric::Count(Count::Rejects)),
    ("rendering_failures", Metric::Count(Count::RenderingFailures)),
    ("delays", Metric::Count(Count::Delays)),
    ("opens", Metric::Count(Count::Opens)),
    ("opens_machine", Metric::Count(Count::OpensMachine)),
    ("clicks", Metric::Count(Count::Clicks)),
    ("clicks_bot", Metric::Count(Count::ClicksBot)),
    ("unsubscribes", Metric::Count(Count::Unsubscribes)),
    ("unique_opens", Metric::Count(Count::UniqueOpens)),
    ("unique_clicks", Metric::Count(Count::UniqueClicks)),
    ("in_flight", Metric::Count(Count::InFlight)),
    ("queue_depth", Metric::QueueDepth),
    ("delivered_net", Metric::Count(Count::DeliveredNet)),
    ("simulator", Metric::Count(Count::Simulator)),
    ("delivery_rate", Metric::Rate(Rate::Delivery)),
    ("bounce_rate", Metric::Rate(Rate::Bounce)),
    ("hard_bounce_rate", Metric::Rate(Rate::HardBounce)),
    ("complaint_rate", Metric::Rate(Rate::Complaint)),
    ("open_rate", Metric::Rate(Rate::Open)),
    ("click_rate", Metric::Rate(Rate::Click)),
    ("click_to_open_rate", Metric::Rate(Rate::ClickToOpen)),
    ("delay_rate", Metric::Rate(Rate::Delay)),
    ("unsubscribe_rate", Metric::Rate(Rate::Unsubscribe)),
    ("delivery_ms_p50", Metric::DeliveryMs(50)),
    ("delivery_ms_p90", Metric::DeliveryMs(90)),
    ("delivery_ms_p95", Metric::DeliveryMs(95)),
    ("delivery_ms_p99", Metric::DeliveryMs(99)),
    ("delivery_ms_mean", Metric::DeliveryMsMean),
];

impl Metric {
    /// The metric of that name, if it is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|metric| metric.name() == name)
    }

    /// All metrics, in the order they are documented in.
    pub fn all() -> impl Iterator<Item = Self> {
        let bounces = Reason::ALL.into_iter().map(|reason| Self::Count(Count::BouncesFor(reason)));
        let delays = Reason::ALL.into_iter().map(|reason| Self::Count(Count::DelaysFor(reason)));
        NAMED.into_iter().map(|(_, metric)| metric).chain(bounces).chain(delays)
    }

    /// Its name in queries and replies.
    pub fn name(self) -> String {
        match self {
            Self::Count(Count::BouncesFor(reason)) => format!("bounces_{}", reason.name()),
            Self::Count(Count::DelaysFor(reason)) => format!("delays_{}", reason.name()),
            _ => NAMED
                .iter()
                .find(|(_, metric)| *metric == self)
                .map_or_else(String::new, |(name, _)| (*name).into()),
        }
    }

    /// Asks blocks for what it is computed from.
    pub fn want(self, wanted: &mut Projection) {
        match self {
            Self::Count(count) => count.want(wanted),
            Self::Rate(rate) => {
                let (numerator, denominator) = rate.parts();
                numerator.want(wanted);
                denominator.want(wanted);
            }
            Self::DeliveryMs(_) => wanted.latency = true,
            Self::DeliveryMsMean => {
                wanted.counters.insert(Counter::DeliveryMillis.into());
                wanted.counters.insert(Counter::DeliveriesTimed.into());
            }
            Self::QueueDepth => {
                wanted.counters.insert(Counter::QueueDepth.into());
                wanted.counters.insert(Counter::QueueReadings.into());
            }
        }
    }

    /// Its value in one merged cell.
    pub fn value(self, cell: &Cell, basis: Basis) -> Value {
        match self {
            Self::Count(count) => Value::Count(count.value(cell)),
            Self::Rate(_) => {
                let fraction =
                    self.counts(cell).and_then(|(part, whole)| rates::fraction(part, whole, basis));
                fraction.map_or(Value::Missing, Value::Number)
            }
            Self::DeliveryMs(percent) => {
                cell.latency.quantile(f64::from(percent) / 100.0).map_or(Value::Missing, Value::Count)
            }
            Self::DeliveryMsMean => mean(cell, Counter::DeliveryMillis, Counter::DeliveriesTimed),
            Self::QueueDepth => mean(cell, Counter::QueueDepth, Counter::QueueReadings),
        }
    }

    /// Numerator and denominator in one merged cell, if it is a rate.
    pub fn counts(self, cell: &Cell) -> Option<(u64, u64)> {
        match self {
            Self::Rate(rate) => {
                let (numerator, denominator) = rate.parts();
                Some((numerator.value(cell), denominator.value(cell)))
            }
            Self::Count(_) | Self::DeliveryMs(_) | Self::DeliveryMsMean | Self::QueueDepth => None,
        }
    }

    /// The error of its value in `cell`, relative to it, if the value is an estimate: the standard error for unique counts and
    /// their rates, the greatest error for percentiles.
    pub fn error(self, cell: &Cell) -> Option<f64> {
        let error = match self {
            Self::Count(count) => count.error(cell),
            Self::Rate(rate) => {
                let (numerator, denominator) = rate.parts();
                numerator.error(cell).hypot(denominator.error(cell))
            }
            Self::DeliveryMs(_) if !cell.latency.is_empty() => Latency::RELATIVE_ERROR,
            Self::DeliveryMs(_) | Self::DeliveryMsMean | Self::QueueDepth => 0.0,
        };
        (error > 0.0).then_some(error)
    }
}

fn mean(cell: &Cell, sum: Counter, of: Counter) -> Value {
    match cell.counters.get(of) {
        0 => Value::Missing,
        count => Value::Number(cell.counters.get(sum) as f64 / count as f64),
    }
}

/// The value of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Count(u64),
    /// A fraction or a mean.
    Number(f64),
    /// There is none: a rate of nothing, a time of no delivery.
    Missing,
}

impl Value {
    /// As a number, to order by.
    pub fn as_number(self) -> Option<f64> {
        match self {
            Self::Count(count) => Some(count as f64),
            Self::Number(number) => Some(number),
            Self::Missing => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use event::RecipientHash;

    use super::*;
    use crate::cell::Uniques;
    use crate::counter::CounterId;

    fn cell(counts: &[(Counter, u64)]) -> Cell {
        let mut cell = Cell::default();
        for &(counter, count) in counts {
            cell.counters.add(counter, count);
        }
        cell
    }

    #[test]
    fn every_metric_is_found_by_its_name_and_no_two_share_one() {
        let mut names = BTreeSet::new();
        for metric in Metric::all() {
            assert_eq!(Metric::from_name(&metric.name()), Some(metric));
            assert!(names.insert(metric.name()), "{}", metric.name());
        }
        assert_eq!(names.len(), NAMED.len() + 2 * Reason::ALL.len());
        assert_eq!(Metric::from_name("opened"), None);
        assert_eq!(Metric::from_name(""), None);
    }

    #[test]
    fn a_metric_needs_nothing_it_does_not_ask_for() {
        let mut full = Cell::default();
        for counter in (0..=u8::MAX).map(CounterId::from_number) {
            full.counters.add(counter, 1 << (counter.number() % 7));
        }
        for metric in Metric::all() {
            let mut wanted = Projection::default();
            metric.want(&mut wanted);
            let mut asked = Cell::default();
            for (counter, count) in full.counters.iter() {
                if wanted.counters.contains(counter) {
                    asked.counters.add(counter, count);
                }
            }
            assert_eq!(
                metric.value(&full, Basis::Event),
                metric.value(&asked, Basis::Event),
                "{}",
                metric.name()
            );
        }
    }

    #[test]
    fn metrics_are_computed_from_the_counters_of_the_table() {
        use Counter as C;
        let cell = cell(&[
            (C::Sends, 1000),
            (C::Deliveries, 900),
            (C::BouncesPermanent, 30),
            (C::BouncesTransient, 20),
            (C::BouncesUndetermined, 10),
            (C::SuppressedOutsideReputation, 5),
            (C::BouncesAfterAcceptance, 4),
            (C::Rejects, 3),
            (C::RenderingFailures, 2),
            (C::Complaints, 9),
            (C::Delays, 50),
            (C::Unsubscribes, 18),
            (C::DeliveryMillis, 3_000),
            (C::DeliveriesTimed, 8),
            (C::QueueDepth, 700),
            (C::QueueReadings, 2),
        ]);
        let check = |name: &str, expected: Value| {
            assert_eq!(Metric::from_name(name).unwrap().value(&cell, Basis::Event), expected, "{name}");
        };
        check("bounces", Value::Count(60));
        check("hard_bounces", Value::Count(25));
        check("delivered_net", Value::Count(896));
        check("in_flight", Value::Count(1000 + 4 - 900 - 60 - 3 - 2));
        check("delivery_rate", Value::Number(0.9));
        check("bounce_rate", Value::Number(0.06));
        check("hard_bounce_rate", Value::Number(0.025));
        check("complaint_rate", Value::Number(0.01));
        check("delay_rate", Value::Number(0.05));
        check("unsubscribe_rate", Value::Number(0.02));
        check("open_rate", Value::Number(0.0));
        check("click_to_open_rate", Value::Missing);
        check("delivery_ms_mean", Value::Number(375.0));
        check("delivery_ms_p95", Value::Missing);
        check("queue_depth", Value::Number(350.0));
    }

    #[test]
    fn more_outcomes_than_sends_leave_nothing_in_flight() {
        let late = cell(&[(Counter::Sends, 1), (Counter::Deliveries, 5)]);
        assert_eq!(Count::InFlight.value(&late), 0);
    }

    #[test]
    fn unique_counts_say_when_they_are_estimates() {
        let mut cell = cell(&[(Counter::Deliveries, 10_000)]);
        let open_rate = Metric::Rate(Rate::Open);
        assert_eq!(open_rate.error(&cell), None);
        for hash in 0..5_000_u64 {
            let spread = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            cell.opens.insert(RecipientHash(spread));
            cell.clicks.insert(RecipientHash(spread));
        }
        assert_eq!(open_rate.error(&cell), Some(Uniques::STANDARD_ERROR));
        let both = Metric::Rate(Rate::ClickToOpen).error(&cell).unwrap();
        assert!((both / Uniques::STANDARD_ERROR - 2_f64.sqrt()).abs() < 1e-9);
        assert_eq!(Metric::Count(Count::Opens).error(&cell), None);
    }
}
