//! The order of groups and of rows.
//!
//! Groups are ranked by their numbers over the whole range, so that a chart keeps its series from bucket to bucket. What has no
//! value comes last in either direction, and so does the long tail. Ties are broken by name: the same data give the same order.

use std::cmp::Ordering;

use compact_str::CompactString;

use super::answer::{MetricCounts, MetricValues, Row};
use super::metric::{Metric, Value};
use super::rates;
use super::request::{By, Order, Query, Standing};

/// A group to be ranked, with its values and its metrics over the whole range.
pub(super) struct Candidate<'a, M> {
    pub member: M,
    pub values: &'a [CompactString],
    pub metrics: MetricValues,
    pub counts: MetricCounts,
}

/// Members in the order of their rank: by the order asked for, else by the first metric, largest first.
pub(super) fn groups<'a, M>(query: &Query, candidates: impl Iterator<Item = Candidate<'a, M>>) -> Vec<M> {
    let mut orders: Vec<Order> =
        query.order_by.iter().copied().filter(|order| order.by != By::Time).collect();
    if orders.is_empty() {
        orders.push(Order { by: By::Metric(0), descending: true });
    }
    let mut candidates: Vec<_> = candidates.collect();
    candidates.sort_by(|a, b| {
        let by_orders = orders.iter().map(|order| match order.by {
            By::Time => Ordering::Equal,
            By::Metric(place) => by_metric(order, &a.metrics, &b.metrics, place),
            By::Proven(place, standing) => {
                by_proof(query, standing, (&a.metrics, &a.counts), (&b.metrics, &b.counts), place)
            }
            By::Group(place) => by_name(order, a.values, b.values, place),
        });
        by_orders.fold(Ordering::Equal, Ordering::then).then_with(|| a.values.cmp(b.values))
    });
    candidates.into_iter().map(|candidate| candidate.member).collect()
}

/// The order of two rows of a page.
pub(super) fn rows(query: &Query, a: &Row, b: &Row) -> Ordering {
    for order in &query.order_by {
        let tail_last = (a.rank == usize::MAX).cmp(&(b.rank == usize::MAX));
        let ordering = match order.by {
            By::Time => direct(order, a.time.cmp(&b.time)),
            By::Metric(place) => tail_last.then_with(|| by_metric(order, &a.metrics, &b.metrics, place)),
            By::Proven(place, standing) => tail_last.then_with(|| {
                by_proof(query, standing, (&a.metrics, &a.counts), (&b.metrics, &b.counts), place)
            }),
            By::Group(place) => tail_last.then_with(|| by_name(order, &a.group, &b.group, place)),
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
    a.time.cmp(&b.time).then(a.rank.cmp(&b.rank))
}

fn by_metric(order: &Order, a: &[Value], b: &[Value], place: usize) -> Ordering {
    let number = |values: &[Value]| values.get(place).and_then(|value| value.as_number());
    match (number(a), number(b)) {
        (Some(a), Some(b)) => direct(order, a.total_cmp(&b)),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

/// The values of a row's metrics, and numerator and denominator of those that are rates.
type Measured<'a> = (&'a [Value], &'a [Option<(u64, u64)>]);

/// Orders by the share that is proven to be bad or good, then by the rate itself. Groups without a rate come last.
fn by_proof(query: &Query, standing: Standing, a: Measured<'_>, b: Measured<'_>, place: usize) -> Ordering {
    let Some(Metric::Rate(rate)) = query.metrics.get(place) else { return Ordering::Equal };
    let counts_numerator = rate.is_better_high() == (standing == Standing::Best);
    let proof = |(values, counts): Measured<'_>| {
        let value = values.get(place)?.as_number()?;
        let (part, whole) = counts.get(place).copied().flatten()?;
        let part = if counts_numerator { part } else { whole.saturating_sub(part) };
        Some((rates::proven(part, whole), if counts_numerator { value } else { -value }))
    };
    match (proof(a), proof(b)) {
        (Some(a), Some(b)) => b.0.total_cmp(&a.0).then_with(|| b.1.total_cmp(&a.1)),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

fn by_name(order: &Order, a: &[CompactString], b: &[CompactString], place: usize) -> Ordering {
    direct(order, a.get(place).cmp(&b.get(place)))
}

fn direct(order: &Order, ordering: Ordering) -> Ordering {
    if order.descending { ordering.reverse() } else { ordering }
}
