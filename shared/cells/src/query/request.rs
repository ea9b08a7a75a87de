//! A query after checking: typed, within limits, its times resolved to buckets.
//!
//! It cannot be built without a [`Scope`], so a query without a tenant cannot be written. `parse` makes it from the wire.

use event::attribution::Dimension;
use event::{Minute, TenantId};
use jiff::tz::TimeZone;

use super::calendar::{self, Compare, Granularity};
use super::cohort;
use super::error::{QueryError, QueryErrorKind};
use super::filter::{Facet, Filter};
use super::metric::Metric;
use crate::block::Projection;

/// Whose numbers may be read: decided by the credential, never by the query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One tenant's.
    Tenant(TenantId),
    /// Everyone's: an operator asks.
    All,
}

/// Which clock an event counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Basis {
    /// When it happened.
    Event,
    /// When its message was sent.
    Send,
}

/// What stands for a bucket in which nothing was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fill {
    /// A row of zeros.
    Zero,
    /// No row.
    None,
}

/// One of the things rows are grouped by, under the name the user gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The name in the reply.
    pub name: String,
    /// What it is.
    pub facet: Facet,
}

/// What rows are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The bucket.
    Time,
    /// A metric, by its place in the query's metrics.
    Metric(usize),
    /// The proven part of a rate, by its place in the query's metrics: its lower confidence bound, so that one bounce of one
    /// mail ranks below 900 of 10,000.
    Proven(usize, Standing),
    /// A group's value, by its place in the query's groups.
    Group(usize),
}

/// Which end of a rate comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Most bounces, fewest deliveries.
    Worst,
    /// Fewest bounces, most deliveries.
    Best,
}

/// One key of the order of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// What is compared.
    pub by: By,
    /// Largest first; ignored for [`By::Proven`], whose [`Standing`] is the direction.
    pub descending: bool,
}

/// A name is read in the head of a table.
const MAX_TAG_NAME_BYTES: usize = 64;

/// How those who ask speak of their mail, where they do not say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locale {
    /// The names of the tags kept as `tag1` to `tag4`, beside their own.
    pub tags: [Option<String>; 4],
    /// Where days begin; in UTC if nothing is said.
    pub zone: Option<TimeZone>,
}

impl Locale {
    /// The tags that may have names.
    pub const TAGS: [Dimension; 4] = [Dimension::Tag1, Dimension::Tag2, Dimension::Tag3, Dimension::Tag4];

    /// The dimension of that name. A declared tag never hides a dimension of ours.
    pub fn dimension(&self, name: &str) -> Option<Dimension> {
        Dimension::from_name(name).or_else(|| {
            let declared = self.tags.iter().position(|tag| tag.as_deref() == Some(name))?;
            Self::TAGS.get(declared).copied()
        })
    }

    /// Whether a tag may go by this name: it hides no name of ours and can stand in a query string.
    pub fn may_name(name: &str) -> bool {
        let is_ours = matches!(name, "tenant" | "time") || Dimension::from_name(name).is_some();
        let is_plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.');
        !is_ours && (1..=MAX_TAG_NAME_BYTES).contains(&name.len()) && name.bytes().all(is_plain)
    }

    /// Every name that [`Locale::dimension`] knows.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        let own = Dimension::ALL.iter().map(|dimension| dimension.name());
        own.chain(self.tags.iter().flatten().map(String::as_str))
    }
}

/// A question that can be answered.
#[derive(Clone, Debug)]
pub struct Query {
    /// Whose numbers.
    pub scope: Scope,
    /// The columns; at least one.
    pub metrics: Vec<Metric>,
    /// Which clock.
    pub basis: Basis,
    /// How wide the buckets are.
    pub granularity: Granularity,
    /// Where buckets begin and, last, where the last one ends: at least two, rising.
    pub(super) edges: Vec<Minute>,
    /// Where days begin.
    pub(super) zone: TimeZone,
    /// What rows are grouped by.
    pub group_by: Vec<Group>,
    /// Which rows are counted.
    pub filter: Filter,
    /// The order of rows; may be empty.
    pub order_by: Vec<Order>,
    /// The most groups of a page, or rows if there are no groups.
    pub limit: usize,
    /// How many groups or rows earlier pages had.
    pub(super) skip: usize,
    /// What to compare with.
    pub compare: Option<Compare>,
    /// What stands for an empty bucket.
    pub fill: Fill,
    /// What a cursor is bound to: everything the user asked but the cursor itself.
    pub(super) fingerprint: u64,
    /// Whether this is the range another query is compared with.
    pub(super) is_earlier: bool,
}

impl Query {
    /// Most buckets of a range; a bound on work and memory. 34 days by the minute, 5 years by the hour.
    pub const MAX_BUCKETS: usize = 50_000;
    /// Most groups of a page.
    pub const MAX_LIMIT: usize = 10_000;
    /// Most rows of a page: a reply stays at some ten megabytes.
    pub const MAX_ROWS: usize = 50_000;
    /// Most metrics.
    pub const MAX_METRICS: usize = 40;
    /// Most things to group by.
    pub const MAX_GROUP_BY: usize = 4;
    /// Most keys of an order.
    pub const MAX_ORDER_BY: usize = 8;

    /// The first minute asked for, and the first one after.
    pub fn range(&self) -> (Minute, Minute) {
        let first = self.edges.first().copied().unwrap_or_default();
        (first, self.edges.last().copied().unwrap_or(first))
    }

    /// Where buckets begin and, last, where the last one ends.
    pub fn edges(&self) -> &[Minute] {
        &self.edges
    }

    /// The beginning of a bucket in RFC 3339: of the time zone for days and longer, else of UTC.
    pub fn rfc3339(&self, minute: Minute) -> String {
        let zone = if self.granularity.is_calendar() { &self.zone } else { &TimeZone::UTC };
        calendar::rfc3339(minute, zone)
    }

    /// What must be read of each row.
    pub fn wanted(&self) -> Projection {
        let mut wanted = Projection::default();
        for metric in &self.metrics {
            metric.want(&mut wanted);
        }
        wanted
    }

    /// Whether `tenant` may have rows in the answer: what need not be read, need not be fetched.
    pub fn reads(&self, tenant: &TenantId) -> bool {
        let in_scope = match &self.scope {
            Scope::Tenant(own) => own == tenant,
            Scope::All => true,
        };
        let known = |facet| match facet {
            Facet::Tenant => Some(tenant.as_str()),
            Facet::Dimension(_) => None,
        };
        in_scope && self.filter.judge(&known) != Some(false)
    }

    /// The same question about the range to compare with, to be planned and executed like this one.
    ///
    /// # Errors
    /// [`QueryError`] about `compare` if that range begins before 1970.
    pub fn earlier(&self) -> Result<Option<Self>, QueryError> {
        let Some(compare) = self.compare else { return Ok(None) };
        let Some(edges) = calendar::earlier(compare, self.granularity, &self.zone, &self.edges) else {
            let refusal = QueryError::malformed(
                "compare",
                "the range to compare with begins before 1970",
                "a later from",
                "from=-7d",
            );
            return Err(refusal.of_kind(QueryErrorKind::Unanswerable));
        };
        let earlier = Self { edges, compare: None, is_earlier: true, ..self.clone() };
        cohort::check(&earlier)?;
        Ok(Some(earlier))
    }
}
