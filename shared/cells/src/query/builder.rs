//! Builds a query from typed parts, and validates it: every limit and every rule about a parameter is here or below, and nowhere else.
//!
//! The text parser in `parse.rs` is one client of the builder; code in other crates builds its queries directly.

use std::fmt::Write as _;

use event::Timestamp;
use jiff::tz::TimeZone;
use rapidhash::v3::rapidhash_v3;

use super::calendar::{Compare, Granularity};
use super::columns::MetricColumns;
use super::cursor::Cursor;
use super::dimension::{GroupColumn, QueryDimension};
use super::error::{EXAMPLE_BODY, QueryError, QueryErrorKind, quoted};
use super::filter::Filter;
use super::metrics::Metric;
use super::order::{OrderBy, RowOrder};
use super::range::{RangeContext, edges, range};
use super::request::{Basis, Fill, Query, Scope};
use super::time::QueryTime;
use crate::block::AgeClass;

/// A query in the making. Nothing is checked before [`QueryBuilder::build`].
#[derive(Clone, Debug)]
#[must_use]
pub struct QueryBuilder {
    scope: Scope,
    metrics: Vec<Metric>,
    from: QueryTime,
    to: QueryTime,
    granularity: Granularity,
    group_by: Vec<GroupColumn>,
    filter: Filter,
    basis: Basis,
    max_age: Option<AgeClass>,
    zone: TimeZone,
    order_by: Vec<OrderBy>,
    limit: usize,
    cursor: Option<String>,
    compare: Option<Compare>,
    fill: Fill,
}

impl Query {
    /// Starts a query about the last 24 hours in one bucket, in UTC and by event time, with all groups and without a filter.
    pub const fn builder(scope: Scope) -> QueryBuilder {
        QueryBuilder {
            scope,
            metrics: Vec::new(),
            from: QueryTime::hours_ago(24),
            to: QueryTime::Now,
            granularity: Granularity::Total,
            group_by: Vec::new(),
            filter: Filter::everything(),
            basis: Basis::Event,
            max_age: None,
            zone: TimeZone::UTC,
            order_by: Vec::new(),
            limit: Self::MAX_LIMIT,
            cursor: None,
            compare: None,
            fill: Fill::None,
        }
    }
}

impl QueryBuilder {
    /// The columns, in this order; repeated ones are dropped.
    pub fn metrics(mut self, metrics: impl IntoIterator<Item = Metric>) -> Self {
        self.metrics = metrics.into_iter().collect();
        self
    }

    /// The range, from the first time up to but without the second. Its ends are widened to whole buckets.
    pub fn range(mut self, from: impl Into<QueryTime>, to: impl Into<QueryTime>) -> Self {
        (self.from, self.to) = (from.into(), to.into());
        self
    }

    /// The range, with the default for an end that is not given.
    pub(super) fn range_or_default(mut self, from: Option<QueryTime>, to: Option<QueryTime>) -> Self {
        self.from = from.unwrap_or(self.from);
        self.to = to.unwrap_or(self.to);
        self
    }

    /// The width of the buckets; [`Granularity::Total`] if not given.
    pub const fn granularity(mut self, granularity: Granularity) -> Self {
        self.granularity = granularity;
        self
    }

    /// The dimensions that rows are grouped by, in the order of the reply; none if not given.
    pub fn group_by(mut self, groups: impl IntoIterator<Item = impl Into<GroupColumn>>) -> Self {
        self.group_by = groups.into_iter().map(Into::into).collect();
        self
    }

    /// The condition that rows must meet to be counted; every row meets it if none is given.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// The time that decides in which bucket an event counts; [`Basis::Event`] if not given.
    pub const fn basis(mut self, basis: Basis) -> Self {
        self.basis = basis;
        self
    }

    /// Leaves out outcomes of older classes, so that mail can be compared at an equal age; none are left out if not given. Needs
    /// [`Basis::Send`]. Outcomes whose age is not known are left out too, with the sends of their mail.
    pub const fn max_age(mut self, age: AgeClass) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Decides where days, weeks and months begin; UTC if not given.
    pub fn zone(mut self, zone: TimeZone) -> Self {
        self.zone = zone;
        self
    }

    /// The order of rows. Without one, groups come by their first metric, largest first, and rows by time.
    pub fn order_by(mut self, orders: impl IntoIterator<Item = OrderBy>) -> Self {
        self.order_by = orders.into_iter().collect();
        self
    }

    /// The most groups of a page, or rows if there are no groups; [`Query::MAX_LIMIT`] if not given.
    pub const fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Where the page begins: a cursor from the reply to the same query. It fixes the range.
    pub fn cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }

    /// The range that this one is compared with; none if not given.
    pub const fn compare(mut self, compare: Compare) -> Self {
        self.compare = Some(compare);
        self
    }

    /// How a bucket in which nothing was counted appears in the answer; [`Fill::None`] if not given.
    pub const fn fill(mut self, fill: Fill) -> Self {
        self.fill = fill;
        self
    }

    /// Validates the query, as asked at `now`.
    ///
    /// # Errors
    /// [`QueryError`] naming the first parameter that is wrong.
    pub fn build(self, now: Timestamp) -> Result<Query, QueryError> {
        // Parameters before the cursor: it is bound to a query, so it can only be checked against one that is sound.
        let metrics = self.checked_metrics()?;
        self.check_groups()?;
        self.filter.check(&|parameter, dimension| self.check_access(parameter, dimension))?;
        let order_by = self.checked_order(&metrics)?;
        if !(1..=Query::MAX_LIMIT).contains(&self.limit) {
            return Err(limit_refusal());
        }
        let fingerprint = self.fingerprint();
        let cursor = self.cursor.as_deref().map(|text| Cursor::decode(text, fingerprint)).transpose()?;
        let Self { granularity, basis, compare, .. } = self;
        // A cursor has the range of its first page, so that `now` does not move between pages.
        let (from, to) = if let Some(cursor) = cursor {
            (cursor.from, cursor.to)
        } else {
            let context = RangeContext { granularity, basis, compare, zone: &self.zone, now };
            range(self.from, self.to, &context)?
        };
        let query = Query {
            edges: edges(granularity, &self.zone, from, to)?,
            scope: self.scope,
            metrics,
            basis,
            max_age: self.max_age,
            granularity,
            zone: self.zone,
            group_by: self.group_by,
            filter: self.filter,
            order_by,
            limit: self.limit,
            skip: cursor.map_or(0, |cursor| cursor.skip as usize),
            compare,
            fill: self.fill,
            fingerprint,
            is_earlier: false,
        };
        // Last, because it depends on the edges of the buckets.
        query.check_basis()?;
        Ok(query)
    }

    fn checked_metrics(&self) -> Result<MetricColumns, QueryError> {
        check_length("metrics", self.metrics.len(), Query::MAX_METRICS)?;
        if self.metrics.is_empty() {
            let allowed = "a list of metrics, by the names that GET /v1/metrics/catalogue gives";
            return Err(QueryError::malformed("metrics", "there is none", allowed, "sends"));
        }
        Ok(MetricColumns::new(&self.metrics))
    }

    fn check_groups(&self) -> Result<(), QueryError> {
        check_length("group_by", self.group_by.len(), Query::MAX_GROUP_BY)?;
        for (nth, group) in self.group_by.iter().enumerate() {
            self.check_access("group_by", group.dimension)?;
            // By dimension and not by name: a declared tag can be given under two names.
            if self.group_by.iter().take(nth).any(|earlier| earlier.dimension == group.dimension) {
                let problem = format!("{} is given twice", quoted(&group.name));
                let allowed = "each dimension once";
                return Err(QueryError::malformed("group_by", problem, allowed, "provider,campaign"));
            }
        }
        Ok(())
    }

    /// Whether the caller may group and filter by a dimension.
    fn check_access(&self, parameter: &str, dimension: QueryDimension) -> Result<(), QueryError> {
        match (&self.scope, dimension) {
            // Refused, not ignored: a filter by another tenant must not be answered with this tenant's numbers.
            (Scope::Tenant(_), QueryDimension::Tenant) => Err(QueryError::malformed(
                parameter,
                "tenant is for operators; this key reads its own tenant only",
                QueryDimension::of_mail().map(QueryDimension::name).collect::<Vec<_>>().join(", "),
                "provider",
            )
            .of_kind(QueryErrorKind::Forbidden)),
            (Scope::All, QueryDimension::Tenant)
            | (_, QueryDimension::Mail(_) | QueryDimension::ProviderGroup) => Ok(()),
        }
    }

    fn checked_order(&self, metrics: &MetricColumns) -> Result<Vec<RowOrder>, QueryError> {
        check_length("order_by", self.order_by.len(), Query::MAX_ORDER_BY)?;
        self.order_by.iter().map(|order| order.resolve(metrics, &self.group_by)).collect()
    }

    /// A hash of who asks and of everything asked but the cursor. Texts are quoted, so that no value can imitate another parameter.
    fn fingerprint(&self) -> u64 {
        let Self { metrics, from, to, granularity, group_by, filter, basis, .. } = self;
        let Self { zone, order_by, limit, compare, fill, max_age, .. } = self;
        let tenant = match &self.scope {
            Scope::Tenant(tenant) => Some(tenant.as_str()),
            Scope::All => None,
        };
        let mut text =
            format!("{tenant:?} {metrics:?} {from:?} {to:?} {granularity:?} {group_by:?} {basis:?} ");
        // Writing to a string does not fail. A zone is known by its name: its rules can change without making it another zone.
        let _ = write!(text, "{:?} {order_by:?} {limit} {compare:?} {fill:?} ", zone.iana_name());
        // Only if given, so that it changes no cursor of another query.
        if let Some(age) = max_age {
            let _ = write!(text, "{age:?} ");
        }
        filter.write_identity(&mut text);
        rapidhash_v3(text.as_bytes())
    }
}

/// The refusal of a limit that is not a whole number in range.
pub(super) fn limit_refusal() -> QueryError {
    let allowed = format!("a whole number from 1 to {}", Query::MAX_LIMIT);
    QueryError::malformed("limit", "it is out of range", allowed, "10")
}

fn check_length(parameter: &str, length: usize, most: usize) -> Result<(), QueryError> {
    if length <= most {
        return Ok(());
    }
    let allowed = format!("a list of at most {most} strings");
    Err(QueryError::malformed(parameter, "it is too long", allowed, EXAMPLE_BODY))
}

#[cfg(test)]
mod tests;
