//! Schemas of queries and answers. `cells` reads and writes these itself, for errors that name the field and for speed, so the types here
//! exist for their schemas only. Tests hold them against what `cells` accepts and writes.

#![expect(dead_code, reason = "the types are described, never constructed")]

use std::borrow::Cow;
use std::collections::BTreeMap;

use cells::AgeClass;
use cells::query::{Basis, Compare, Fill, Granularity, Query as CellsQuery, QueryDimension};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::schemas::one_of;

/// The name of the schema to which the names of the metric registry are added.
pub(super) const METRIC_NAME: &str = "MetricName";

/// The name of a metric.
pub(crate) struct MetricName;

impl JsonSchema for MetricName {
    fn schema_name() -> Cow<'static, str> {
        METRIC_NAME.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "The name of a metric. `GET /v1/metrics/catalogue` describes each." })
    }
}

/// The name of a dimension.
struct DimensionName;

impl JsonSchema for DimensionName {
    fn schema_name() -> Cow<'static, str> {
        "DimensionName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mail: Vec<String> =
            QueryDimension::of_mail().map(|dimension| format!("`{}`", dimension.name())).collect();
        let description = format!(
            "The name of a dimension: {}, or the name of a declared tag; for operators also `{}`.",
            mail.join(", "),
            QueryDimension::Tenant.name()
        );
        json_schema!({ "type": "string", "description": description })
    }
}

one_of!(GranularityName, Granularity::ALL.map(Granularity::name));
one_of!(BasisName, Basis::ALL.map(Basis::name));
one_of!(AgeName, AgeClass::BOUNDED.map(AgeClass::name));
one_of!(ComparisonName, Compare::ALL.map(Compare::name));
one_of!(FillName, Fill::ALL.map(Fill::name));
one_of!(FilterOperator, ["eq", "ne", "in", "prefix", "contains"]);
one_of!(AbsenceReason, cells::query::Absence::ALL.map(cells::query::Absence::name));

/// A query of counts and rates.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Query {
    /// Metrics to return: counts and rates.
    #[schemars(length(min = 1, max = CellsQuery::MAX_METRICS), extend("example" = ["sends", "delivery_rate"]))]
    metrics: Vec<MetricName>,
    /// Start of the range: an RFC 3339 time, a date, `now`, or a time before now such as `-24h`. Defaults to `-24h`.
    #[schemars(extend("example" = "-24h"))]
    from: Option<String>,
    /// End of the range (exclusive), in the same forms. Defaults to `now`.
    #[schemars(extend("example" = "now"))]
    to: Option<String>,
    /// Width of the time buckets; `total` is one bucket for the whole range. Defaults to `total`.
    granularity: Option<GranularityName>,
    /// Dimensions to group by, at most four. Defaults to none.
    #[schemars(length(max = CellsQuery::MAX_GROUP_BY), extend("example" = ["provider"]))]
    group_by: Option<Vec<DimensionName>>,
    /// Which mail is counted. Defaults to all. In a query string: a dimension and a value such as `provider:gmail`, repeated for
    /// alternatives and for further dimensions.
    filter: Option<Filter>,
    /// The time by which an event counts: `event` is when it happened, `send` is when its message was sent, so that rates compare mail
    /// with its own outcomes. Defaults to `event`.
    basis: Option<BasisName>,
    /// Only outcomes within this age of their message count, so that the rates of different mail compare at an equal age. Mail younger than
    /// that is not complete yet. Makes `basis` `send`. Defaults to outcomes of any age.
    max_age: Option<AgeName>,
    /// IANA time zone in which days, weeks and months begin. Defaults to the tenant's, otherwise UTC.
    #[schemars(extend("example" = "Europe/Berlin"))]
    timezone: Option<String>,
    /// Order of the rows: metrics, dimensions or `time`, each with `:asc` or `:desc`. A rate also takes `:worst` and `:best`, which rank by
    /// the confidence bound of the rate, so that one bounce of one message does not come first.
    #[schemars(length(max = CellsQuery::MAX_ORDER_BY), extend("example" = ["sends:desc"]))]
    order_by: Option<Vec<String>>,
    /// Maximum number of groups per page; without `group_by`, of rows. Defaults to 10000.
    #[schemars(range(min = 1, max = CellsQuery::MAX_LIMIT))]
    limit: Option<u32>,
    /// `meta.next_cursor`, `meta.previous_cursor` or `meta.last_cursor` of an earlier answer. The rest of the query must be the same.
    cursor: Option<String>,
    /// Adds the values of an earlier range to each row, as `previous`. Defaults to none.
    compare: Option<ComparisonName>,
    /// Whether buckets without events have a row of zeros (`zero`) or no row (`none`). Defaults to `none`.
    fill: Option<FillName>,
}

/// A filter: a condition on a dimension, or a combination of filters.
#[derive(JsonSchema)]
#[schemars(untagged, deny_unknown_fields)]
enum Filter {
    And {
        /// Filters that must all match.
        #[schemars(length(min = 1))]
        and: Vec<Filter>,
    },
    Or {
        /// Filters of which at least one must match.
        #[schemars(length(min = 1))]
        or: Vec<Filter>,
    },
    Not {
        /// The filter that must not match.
        not: Box<Filter>,
    },
    Condition {
        dimension: DimensionName,
        /// How the value is compared. `contains` ignores case, and `in` takes a list. Defaults to `eq`.
        op: Option<FilterOperator>,
        /// A text, or a list of texts for `in`.
        value: FilterValue,
    },
}

/// What a dimension is compared with.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum FilterValue {
    Text(String),
    Texts(Vec<String>),
}

/// The answer of a query.
#[derive(JsonSchema)]
pub(crate) struct Answer {
    /// The rows of this page, in the order of the query.
    rows: Vec<AnswerRow>,
    /// What the rows cover, and how to get the other pages.
    meta: AnswerMeta,
}

/// The values of one group in one time bucket.
#[derive(JsonSchema)]
#[expect(clippy::zero_sized_map_values, reason = "the reason is a name, and only its schema is used")]
struct AnswerRow {
    /// Start of the time bucket. Absent with the granularity `total`.
    #[schemars(skip_serializing_if = "Option::is_none", extend("format" = "date-time"))]
    time: Option<String>,
    /// Values by dimension; empty without `group_by`.
    group: BTreeMap<String, String>,
    /// Values by metric, each in the unit of the metric. Null where a metric has no value, such as a rate with the denominator 0.
    metrics: BTreeMap<String, Option<f64>>,
    /// By metric, why it has no value although its denominator is not 0: `not_reported` if all the mail is at mailbox providers
    /// that report no complaints to SES, such as Gmail; `denominator_unknown` if more mail has an outcome than was sent (with the basis
    /// `send`), so that sends are missing. Absent if no metric has a reason.
    #[schemars(skip_serializing_if = "Option::is_none")]
    reasons: Option<BTreeMap<String, AbsenceReason>>,
    /// The two counts of each rate, by metric. Absent without rates.
    #[schemars(skip_serializing_if = "Option::is_none")]
    counts: Option<BTreeMap<String, cells::query::RatioCounts>>,
    /// Values of the earlier range, by metric. Absent without `compare`.
    #[schemars(skip_serializing_if = "Option::is_none")]
    previous: Option<BTreeMap<String, Option<f64>>>,
}

/// What an answer covers, and how to get its other pages.
#[derive(JsonSchema)]
struct AnswerMeta {
    /// Every event that arrived before this time is counted. Null before the first event.
    #[schemars(extend("format" = "date-time"))]
    complete_until: Option<String>,
    /// The time of the newest event that is counted. Null before the first event.
    #[schemars(extend("format" = "date-time"))]
    newest_event: Option<String>,
    /// Duplicates of events that arrived later than this are recognised; of older ones they may be counted again. Null if no counted
    /// event was forgotten.
    #[schemars(extend("format" = "date-time"))]
    deduplicated_since: Option<String>,
    /// The relative standard error of each metric that is an estimate: 0.0081 is 0.81 %.
    estimates: BTreeMap<String, f64>,
    /// The `cursor` of the next page; null on the last page.
    next_cursor: Option<String>,
    /// The `cursor` of the previous page; null on the first page.
    previous_cursor: Option<String>,
    /// The `cursor` of the last page; null on the last page.
    last_cursor: Option<String>,
    /// The number of groups on earlier pages; of rows, if the query has no groups.
    offset: u64,
    /// The number of groups on all pages, without `(other)`; of rows, if the query has no groups.
    total: u64,
    /// Start of the first time bucket.
    #[schemars(extend("format" = "date-time"))]
    from: String,
    /// End of the last time bucket (exclusive).
    #[schemars(extend("format" = "date-time"))]
    to: String,
    /// The versions of the rules by which events are classified when they are counted. What was counted under earlier rules stays as
    /// it was.
    rules: cells::query::RuleVersions,
    /// Changes of the tenant's time zone in the range: where old history is kept by the day, it is kept by the days of these zones. Absent
    /// without a change.
    #[schemars(skip_serializing_if = "Option::is_none")]
    zone_changes: Option<Vec<ZoneChange>>,
    /// With `max_age`: outcomes of mail sent before this time are left out, with their sends, because their age was not stored. Absent if
    /// all ages in the range are known.
    #[schemars(skip_serializing_if = "Option::is_none", extend("format" = "date-time"))]
    age_unknown_before: Option<String>,
    /// With `basis` `send` and buckets that begin within an hour: outcomes that came 6 hours after sending or later, of mail sent before
    /// this time, count in the bucket in which the hour of sending begins. Absent if there are none in the range.
    #[schemars(skip_serializing_if = "Option::is_none", extend("format" = "date-time"))]
    late_by_hour_before: Option<String>,
}

/// A change of a tenant's time zone.
#[derive(JsonSchema)]
struct ZoneChange {
    /// From when on history is kept by the days of the new zone: midnight in UTC.
    #[schemars(extend("format" = "date-time"))]
    at: String,
    /// The IANA name of the zone before.
    from: String,
    /// The IANA name of the zone from then on.
    to: String,
}
