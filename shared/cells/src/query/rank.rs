//! The order of groups and of rows.
//!
//! Groups are ranked by their numbers over the whole range, so that a chart keeps its series from bucket to bucket. Groups and rows
//! without a value come last in either direction, and so does the `(other)` row. Ties are broken by name: the same data give the same
//! order.

use std::cmp::Ordering;

use compact_str::CompactString;

use super::answer_rows::{OTHER_RANK, RowData};
use super::columns::{MetricColumn, PerMetric};
use super::metrics::{Direction, Measurement};
use super::order::{RateEnd, RowOrder, RowOrderKey};
use super::proportion;
use super::request::Query;

/// A group to be ranked, with its values and its metrics over the whole range.
pub(super) struct RankedGroup<'a, G> {
    pub group: G,
    pub values: &'a [CompactString],
    pub metrics: PerMetric<Measurement>,
}

/// Groups in the order of their rank: by the order asked for, otherwise by the first metric, largest first.
pub(super) fn groups<'a, G>(query: &Query, groups: impl Iterator<Item = RankedGroup<'a, G>>) -> Vec<G> {
    // A group has no time: an order by time is one of its rows.
    let mut orders: Vec<RowOrder> =
        query.order_by.iter().copied().filter(|order| order.key != RowOrderKey::Time).collect();
    if orders.is_empty() {
        let first = query.metrics.first().map(RowOrderKey::Metric);
        orders.extend(first.map(|key| RowOrder { key, descending: true }));
    }
    let mut groups: Vec<_> = groups.collect();
    groups.sort_by(|a, b| {
        let by_orders = orders.iter().map(|order| match order.key {
            RowOrderKey::Time => Ordering::Equal,
            RowOrderKey::Metric(column) => by_metric(query, order, &a.metrics, &b.metrics, column),
            RowOrderKey::Rate(column, end) => by_rate(query, end, &a.metrics, &b.metrics, column),
            RowOrderKey::Group(position) => by_name(order, a.values, b.values, position),
        });
        by_orders.fold(Ordering::Equal, Ordering::then).then_with(|| a.values.cmp(b.values))
    });
    groups.into_iter().map(|ranked| ranked.group).collect()
}

/// The order of two rows of a page.
pub(super) fn rows(query: &Query, a: &RowData, b: &RowData) -> Ordering {
    for order in &query.order_by {
        // In either direction: the tail is what is left, however large its sum.
        let other_last = (a.rank == OTHER_RANK).cmp(&(b.rank == OTHER_RANK));
        let ordering = match order.key {
            RowOrderKey::Time => directed(order, a.time.cmp(&b.time)),
            RowOrderKey::Metric(column) => {
                other_last.then_with(|| by_metric(query, order, &a.metrics, &b.metrics, column))
            }
            RowOrderKey::Rate(column, end) => {
                other_last.then_with(|| by_rate(query, end, &a.metrics, &b.metrics, column))
            }
            RowOrderKey::Group(position) => {
                other_last.then_with(|| by_name(order, &a.group, &b.group, position))
            }
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
    a.time.cmp(&b.time).then(a.rank.cmp(&b.rank))
}

fn by_metric(
    query: &Query,
    order: &RowOrder,
    a: &PerMetric<Measurement>,
    b: &PerMetric<Measurement>,
    column: MetricColumn,
) -> Ordering {
    let number = |metrics: &PerMetric<Measurement>| metrics[column].value(query.basis).as_number();
    match (number(a), number(b)) {
        // `total_cmp`, because a sort needs an order of all numbers and `<` gives none for NaN.
        (Some(a), Some(b)) => directed(order, a.total_cmp(&b)),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

/// Orders by the lower bound of the share that is bad or good, then by the rate itself. Groups without a rate come last.
fn by_rate(
    query: &Query,
    end: RateEnd,
    a: &PerMetric<Measurement>,
    b: &PerMetric<Measurement>,
    column: MetricColumn,
) -> Ordering {
    let is_better_high = query.metrics[column].direction() == Direction::HigherIsBetter;
    // The worst delivery rate is that of the most mail without a delivery, the worst bounce rate that of the most bounces.
    let by_numerator = is_better_high == (end == RateEnd::Best);
    let bound = |metrics: &PerMetric<Measurement>| {
        let value = metrics[column].value(query.basis).as_number()?;
        let counts = metrics[column].counts()?;
        let whole = counts.denominator;
        let part = if by_numerator { counts.numerator } else { whole.saturating_sub(counts.numerator) };
        Some((proportion::lower_bound(part, whole), if by_numerator { value } else { -value }))
    };
    match (bound(a), bound(b)) {
        (Some(a), Some(b)) => b.0.total_cmp(&a.0).then_with(|| b.1.total_cmp(&a.1)),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

fn by_name(order: &RowOrder, a: &[CompactString], b: &[CompactString], position: usize) -> Ordering {
    // The position was found among the groups of the same query, and each of them has a value.
    directed(order, a[position].cmp(&b[position]))
}

fn directed(order: &RowOrder, ordering: Ordering) -> Ordering {
    if order.descending { ordering.reverse() } else { ordering }
}
