//! A validated query: typed, within limits, its times resolved to buckets.
//!
//! [`QueryBuilder`](super::QueryBuilder) is the only way to make one, and it cannot be started without a [`Scope`]: a query without a
//! tenant cannot be written.

use event::attribution::Dimension;
use event::{Minute, TenantId};
use jiff::tz::TimeZone;

use super::calendar::{self, Compare, Granularity};
use super::columns::MetricColumns;
use super::dimension::{GroupColumn, QueryDimension};
use super::error::{QueryError, QueryErrorKind};
use super::filter::Filter;
use super::metrics::{Metric, Needs};
use super::order::RowOrder;
use crate::block::{AgeClass, Projection};

/// The tenants that a caller may read. The credential decides, never the query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The numbers of this tenant only.
    Tenant(TenantId),
    /// The numbers of all tenants, for operators only.
    All,
}

/// The time that decides in which bucket an event counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Basis {
    /// When the event happened.
    Event,
    /// When its message was sent.
    Send,
}

impl Basis {
    /// All of them, in the order in which errors list them.
    pub const ALL: [Self; 2] = [Self::Event, Self::Send];

    /// The name in queries.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Send => "send",
        }
    }
}

/// How a bucket in which nothing was counted appears in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fill {
    /// A row of zeros.
    Zero,
    /// No row: the bucket is missing from the answer.
    None,
}

impl Fill {
    /// All of them, in the order in which errors list them.
    pub const ALL: [Self; 2] = [Self::Zero, Self::None];

    /// The name in queries.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zero => "zero",
            Self::None => "none",
        }
    }
}

/// The finest buckets of a query by send cohort, in minutes: outcomes that come late are kept by the quarter hour of sending.
pub(super) const COHORT_MINUTES: u32 = 15;

/// A query that can be planned and executed.
#[derive(Clone, Debug)]
pub struct Query {
    pub(super) scope: Scope,
    pub(super) metrics: MetricColumns,
    pub(super) basis: Basis,
    /// Only outcomes of this age class or a younger one count; all if `None`. Only with [`Basis::Send`].
    pub(super) max_age: Option<AgeClass>,
    pub(super) granularity: Granularity,
    /// Where buckets begin and, last, where the last one ends: at least two, rising.
    pub(super) edges: Vec<Minute>,
    /// Decides where days, weeks and months begin.
    pub(super) zone: TimeZone,
    pub(super) group_by: Vec<GroupColumn>,
    pub(super) filter: Filter,
    pub(super) order_by: Vec<RowOrder>,
    pub(super) limit: usize,
    /// How many groups or rows earlier pages had.
    pub(super) skip: usize,
    pub(super) compare: Option<Compare>,
    pub(super) fill: Fill,
    /// What a cursor is bound to: everything the user asked but the cursor itself.
    pub(super) fingerprint: u64,
    /// Whether this is the range that another query is compared with.
    pub(super) is_earlier: bool,
}

impl Query {
    /// The most buckets of a range; a bound on work and memory. 34 days by the minute, 5 years by the hour.
    pub const MAX_BUCKETS: usize = 50_000;
    /// The most groups of a page, and the default.
    pub const MAX_LIMIT: usize = 10_000;
    /// The most rows of a page: a reply stays at about ten megabytes.
    pub const MAX_ROWS: usize = 50_000;
    /// The most metrics of a query; a bound on the width of rows.
    pub const MAX_METRICS: usize = 40;
    /// The most dimensions to group by.
    pub const MAX_GROUP_BY: usize = 4;
    /// The most keys of an order.
    pub const MAX_ORDER_BY: usize = 8;

    /// The tenants that are read.
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The same query about one tenant.
    #[must_use]
    pub fn for_tenant(&self, tenant: &TenantId) -> Self {
        Self { scope: Scope::Tenant(tenant.clone()), ..self.clone() }
    }

    /// The columns; at least one, none of them twice.
    pub fn metrics(&self) -> &[Metric] {
        self.metrics.as_slice()
    }

    /// The time that decides in which bucket an event counts.
    pub const fn basis(&self) -> Basis {
        self.basis
    }

    /// The oldest class of outcomes that count; `None` if all do.
    pub const fn max_age(&self) -> Option<AgeClass> {
        self.max_age
    }

    /// The width of the buckets.
    pub const fn granularity(&self) -> Granularity {
        self.granularity
    }

    /// The dimensions that rows are grouped by, in the order of the reply.
    pub fn group_by(&self) -> &[GroupColumn] {
        &self.group_by
    }

    /// The condition that rows must meet to be counted.
    pub const fn filter(&self) -> &Filter {
        &self.filter
    }

    /// The most groups of a page, or rows if there are no groups.
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// The range that this one is compared with, if it is.
    pub const fn compare(&self) -> Option<Compare> {
        self.compare
    }

    /// How a bucket in which nothing was counted appears in the answer.
    pub const fn fill(&self) -> Fill {
        self.fill
    }

    /// The first minute of the range, and the first one after it.
    pub fn range(&self) -> (Minute, Minute) {
        if let [from, .., to] = self.edges.as_slice() {
            return (*from, *to);
        }
        event::invariant::broken("a query has fewer than two edges");
        (Minute(0), Minute(0))
    }

    /// Where buckets begin and, last, where the last one ends.
    pub fn edges(&self) -> &[Minute] {
        &self.edges
    }

    /// How many buckets there are.
    pub(super) fn bucket_count(&self) -> usize {
        self.edges.len() - 1
    }

    /// The beginning of a bucket in RFC 3339: in the time zone for days and longer, otherwise in UTC.
    pub fn rfc3339(&self, minute: Minute) -> String {
        let zone = if self.granularity.is_calendar() { &self.zone } else { &TimeZone::UTC };
        calendar::rfc3339(minute, zone)
    }

    /// The parts of each row that must be read.
    pub fn projection(&self) -> Projection {
        self.needs().projection
    }

    /// Whether the answer depends on the providers of domains, so that a reader must know them.
    pub fn reads_providers(&self) -> bool {
        let reads = |dimension: &QueryDimension| dimension.stored() == Some(Dimension::Provider);
        self.group_by.iter().any(|group| reads(&group.dimension))
            || self.filter.dimensions().iter().any(reads)
            || !self.needs().reporting.is_empty()
    }

    pub(super) fn needs(&self) -> Needs {
        // The union over all metrics, so that a row is read once however many of them want it.
        let mut needs = Needs::default();
        for metric in self.metrics.as_slice() {
            metric.add_needs(&mut needs, self.basis);
        }
        needs
    }

    /// Whether `tenant` can have rows in the answer. If not, its blocks need not be fetched.
    pub fn reads(&self, tenant: &TenantId) -> bool {
        let in_scope = match &self.scope {
            Scope::Tenant(own) => own == tenant,
            Scope::All => true,
        };
        let known = |dimension| match dimension {
            QueryDimension::Tenant => Some(tenant.as_str()),
            QueryDimension::Mail(_) | QueryDimension::ProviderGroup => None,
        };
        // Unknown passes: the filter may depend on dimensions whose values are only known once the tenant's blocks are read.
        in_scope && self.filter.evaluate(&known) != Some(false)
    }

    /// The same query about the range to compare with, to be planned and executed like this one.
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
        // Without `compare`, or it would be compared with a range of its own.
        let earlier = Self { edges, compare: None, is_earlier: true, ..self.clone() };
        earlier.check_basis()?;
        Ok(Some(earlier))
    }

    /// Refuses a query by send cohort that needs more than is kept: campaign, provider and the quarter hour of sending. By event time every
    /// dimension and minute can be asked for.
    pub(super) fn check_basis(&self) -> Result<(), QueryError> {
        if self.basis() == Basis::Event {
            return match self.max_age {
                // By event time, what happened to a bucket's mail is in other buckets.
                Some(_) => {
                    Err(QueryError::malformed("max_age", "it needs basis send", "basis=send", "basis=send"))
                }
                None => Ok(()),
            };
        }
        let is_kept = |dimension: &QueryDimension| {
            matches!(
                dimension,
                QueryDimension::Tenant
                    | QueryDimension::ProviderGroup
                    | QueryDimension::Mail(Dimension::Campaign | Dimension::Provider)
            )
        };
        let refusal = |parameter: &str| {
            let problem = "send cohorts are kept by campaign and provider only";
            QueryError::malformed(parameter, problem, "campaign, provider; or basis event", "provider")
        };
        if !self.group_by().iter().all(|group| is_kept(&group.dimension)) {
            return Err(refusal("group_by"));
        }
        if !self.filter().dimensions().iter().all(is_kept) {
            return Err(refusal("filter"));
        }
        // Outcomes of the first hours are kept by the minute, but an answer must hold all of them.
        if self.edges().iter().all(|edge| edge.0.is_multiple_of(COHORT_MINUTES)) {
            return Ok(());
        }
        let problem = "send cohorts are kept by the quarter hour";
        Err(if self.granularity().is_calendar() {
            QueryError::malformed(
                "timezone",
                problem,
                "a zone whole quarter hours from UTC; or basis event",
                "UTC",
            )
        } else {
            QueryError::malformed("granularity", problem, "total 15m 1h 1d 1w 1mo; or basis event", "1h")
        })
    }
}
