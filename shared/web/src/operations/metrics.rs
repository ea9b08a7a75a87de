//! The operations that read numbers: queries, the catalogue, dimensions, trends, budgets and the reconciliation.

use axum::http::{Method, StatusCode};
use pipeline::history::trend_and_budget::MAX_WEEKS;
use pipeline::ports::{Clock, Store};
use serde_json::json;

use super::{number, text, time};
use crate::openapi::query_language::{Answer, Query};
use crate::openapi::schemas::filters;
use crate::openapi::{ApiBuilder, Callers, Operation, OperationGroup};
use crate::router::Shared;
use crate::routes::{catalogue, dimensions, links, look_back, query, reconcile, whoami};
use crate::service::{Intake, ReconciliationReport};

const METRICS: OperationGroup = OperationGroup {
    name: "Metrics",
    description: "Counts and rates of mail, by time and by dimension, and what follows from them.",
};

const UNANSWERABLE: &[StatusCode] = &[StatusCode::UNPROCESSABLE_ENTITY];

/// Adds the operations of the group.
pub(super) fn add<S: Store, C: Clock, I: Intake>(
    api: ApiBuilder<Shared<S, C, I>>,
) -> ApiBuilder<Shared<S, C, I>> {
    look_back::<S, C, I>(links::<S, C, I>(dimensions::<S, C, I>(queries::<S, C, I>(api))))
}

fn links<S: Store, C: Clock, I: Intake>(api: ApiBuilder<Shared<S, C, I>>) -> ApiBuilder<Shared<S, C, I>> {
    api.add(
        &Method::GET,
        "/v1/links",
        links::links::<S, C, I>,
        Operation::rows::<links::LinkReport>(METRICS, "getClicksByLink", "Get clicks by link")
            .description(
                "The 200 most clicked links of each campaign, with all clicks and those of machines; the others are counted together, \
                 as `(other)`. Links are named by their tags or by host and path if the operator allows it, otherwise by a hash. \
                 The header `Accept` selects JSON (the default), CSV (`text/csv`) or NDJSON (`application/x-ndjson`). CSV and NDJSON hold \
                 the rows only.",
            )
            .query_parameter("campaign", "The name of a campaign. Defaults to all.", &text())
            .query_parameter(
                "from",
                "Start: an RFC 3339 time, a date, `now`, or a time before now such as `-7d`. Defaults to `-24h`.",
                &time("-7d"),
            )
            .query_parameter("to", "End (exclusive), in the same forms. Defaults to `now`.", &time("now"))
            .query_parameter(
                "limit",
                "Maximum number of rows to return.",
                &number(1..=links::MAX_ROWS, Some(links::DEFAULT_ROWS)),
            )
            .statuses(UNANSWERABLE),
    )
}

fn queries<S: Store, C: Clock, I: Intake>(api: ApiBuilder<Shared<S, C, I>>) -> ApiBuilder<Shared<S, C, I>> {
    let example = json!({
        "metrics": ["sends", "delivery_rate"], "from": "-24h", "granularity": "1h", "group_by": ["provider"]
    });
    api.add(
        &Method::POST,
        "/v1/query",
        query::post::<S, C, I>,
        Operation::rows::<Answer>(METRICS, "query", "Query counts and rates by time bucket and group")
            .description(
                "The header `Accept` selects JSON (the default), CSV (`text/csv`) or NDJSON (`application/x-ndjson`). CSV and NDJSON \
                 hold the rows only.",
            )
            .body::<Query>(example)
            .statuses(UNANSWERABLE),
    )
    .add(
        &Method::GET,
        "/v1/metrics",
        query::get::<S, C, I>,
        Operation::rows::<Answer>(METRICS, "getMetrics", "Query counts and rates with a query string")
            .description(
                "The same query as `POST /v1/query`. Names in a list are separated by commas. A reply about a range that ended more than \
                 an hour ago may be reused for a minute; any other reply can be revalidated with its `ETag`.",
            )
            .query_parameters_of::<Query>()
            .with_etag()
            .statuses(UNANSWERABLE),
    )
    .add(
        &Method::GET,
        "/v1/metrics/catalogue",
        catalogue::catalogue::<S, C, I>,
        Operation::json::<catalogue::MetricCatalogue>(METRICS, "getMetricCatalogue", "List all metrics")
            .description(
                "Each metric with its label, unit, formula and the direction that is better, and the limit that detection applies to the \
                 mail of the caller.",
            ),
    )
    .add(
        &Method::GET,
        "/v1/whoami",
        whoami::whoami::<S, C, I>,
        Operation::json::<whoami::KeyHolder>(METRICS, "getKeyHolder", "Get the holder of the key and what it allows")
            .callers(Callers::AnyKey),
    )
}

fn dimensions<S: Store, C: Clock, I: Intake>(
    api: ApiBuilder<Shared<S, C, I>>,
) -> ApiBuilder<Shared<S, C, I>> {
    api.add(
        &Method::GET,
        "/v1/dimensions",
        dimensions::list::<S, C, I>,
        Operation::json::<dimensions::DimensionList>(
            METRICS,
            "listDimensions",
            "List the dimensions to group and filter by",
        ),
    )
    .add(
        &Method::GET,
        "/v1/dimensions/{name}",
        dimensions::values::<S, C, I>,
        Operation::json::<dimensions::DimensionValueList>(
            METRICS,
            "listDimensionValues",
            "List the values of a dimension",
        )
        .description("Values that occurred in the last 30 days, sorted.")
        .path_parameter("name", "The name of a dimension.")
        .query_parameter("prefix", "Returns only values that begin with this text. Defaults to all.", &text())
        .query_parameter(
            "limit",
            "Maximum number of values to return.",
            &number(1..=dimensions::MAX_VALUES, Some(dimensions::DEFAULT_VALUES)),
        )
        .statuses(&[StatusCode::NOT_FOUND]),
    )
}

fn look_back<S: Store, C: Clock, I: Intake>(api: ApiBuilder<Shared<S, C, I>>) -> ApiBuilder<Shared<S, C, I>> {
    let weeks = |weeks: u32| usize::try_from(weeks).unwrap_or(usize::MAX);
    api.add(
        &Method::GET,
        "/v1/trends",
        look_back::trends::<S, C, I>,
        Operation::json::<look_back::MetricTrend>(METRICS, "getTrend", "Get the trend of a metric over weeks")
            .description(
                "The slope with its confidence interval, steps of the level, daily and weekly patterns, a comparison with earlier \
                 periods, and one sentence that sums it up.",
            )
            .required_query_parameter(
                "metric",
                "The name of a metric other than `queue_depth`, which has no trend.",
                &json!({ "type": "string", "example": "bounce_rate" }),
            )
            .query_parameter(
                "weeks",
                "How many weeks to look back.",
                &number(weeks(look_back::MIN_WEEKS)..=weeks(MAX_WEEKS), Some(weeks(look_back::DEFAULT_WEEKS))),
            )
            .query_parameter(
                "filter",
                "A dimension and a value, such as provider:gmail. May be repeated. Defaults to all mail.",
                &filters(),
            )
            .statuses(UNANSWERABLE),
    )
    .add(
        &Method::GET,
        "/v1/budget",
        look_back::budget::<S, C, I>,
        Operation::json::<look_back::ReputationBudget>(METRICS, "getBudget", "Get the distance to the reputation thresholds")
            .description(
                "The thresholds at which SES reviews an account or pauses its sending, and Gmail's thresholds for bulk senders.",
            ),
    )
    .add(
        &Method::GET,
        "/v1/reconcile",
        reconcile::reconcile::<S, C, I>,
        Operation::json::<ReconciliationReport>(METRICS, "reconcile", "Compare events read with events counted")
            .description(
                "The range is extended to whole hours. A `drift` of 0 proves that every event was counted exactly once or dropped for a \
                 recorded reason.",
            )
            .required_query_parameter("from", "Start: an RFC 3339 time, `now`, or a time before now such as `-7d`.", &time("-7d"))
            .query_parameter("to", "End (exclusive), in the same forms. Defaults to `now`.", &time("now")),
    )
}
