//! All calls of the API: path, handler, and description in `/openapi.json`.

use std::sync::Arc;

use axum::http::Method;
use axum::routing::post;
use pipeline::ports::{Clock, Store};
use serde_json::json;

use crate::fetch::Fetch;
use crate::ingest::sns::{self, Sns};
use crate::ingest::{eventbridge, firehose, ses};
use crate::openapi::{Calls, Operation, Who, answers, replies, says};
use crate::router::Shared;
use crate::routes::{
    alerts, attribution, audit, catalogue, dimensions, health, keys, look_back, overview, query, reconcile,
    rules, tenants, whoami,
};
use crate::service::Intake;

const METRICS: &str = "Metrics";
const ALERTS: &str = "Alerts and rules";
const TENANTS: &str = "Tenants and keys";
const EVENTS: &str = "Event ingestion";
const HEALTH: &str = "Health";

/// Every call of the API.
pub(crate) fn all<S: Store, C: Clock, I: Intake, F: Fetch>(
    sns: Arc<Sns<S, C, I, F>>,
) -> Calls<Shared<S, C, I>> {
    let calls = alerts::<S, C, I>(metrics::<S, C, I>(Calls::new()));
    let calls = overview::<S, C, I>(mappings::<S, C, I>(keys::<S, C, I>(tenants::<S, C, I>(calls))));
    health::<S, C, I>(events(calls, sns))
}

fn metrics<S: Store, C: Clock, I: Intake>(calls: Calls<Shared<S, C, I>>) -> Calls<Shared<S, C, I>> {
    let example = json!({
        "metrics": ["sends", "delivery_rate"], "from": "-24h", "granularity": "1h", "group_by": ["provider"]
    });
    let query = answers(METRICS, "Query counts and rates by time bucket and group.")
        .body("Query", example)
        .also(&[422]);
    calls
        .add(&Method::POST, "/v1/query", query::post::<S, C, I>, query)
        .add(&Method::GET, "/v1/metrics", query::get::<S, C, I>, query_string())
        .add(
            &Method::GET,
            "/v1/metrics/catalogue",
            catalogue::catalogue::<S, C, I>,
            replies(
                METRICS,
                "Every metric with its label, unit, formula and direction, and the limit that applies to the caller.",
                "Catalogue",
            ),
        )
        .add(
            &Method::GET,
            "/v1/dimensions",
            dimensions::list::<S, C, I>,
            replies(METRICS, "Dimensions to group and filter by.", "Dimensions"),
        )
        .add(
            &Method::GET,
            "/v1/dimensions/{name}",
            dimensions::values::<S, C, I>,
            replies(METRICS, "Values of a dimension seen in the last 30 days.", "Values")
                .at("name", "The name of a dimension.")
                .takes("prefix", "Only values that begin with this text.", &json!({ "type": "string" }))
                .takes("limit", "The most values to return. Default 100.", &number(1, 1000))
                .also(&[404]),
        )
        .add(
            &Method::GET,
            "/v1/reconcile",
            reconcile::reconcile::<S, C, I>,
            replies(METRICS, "The proof of counting: events read, dropped and counted over whole hours.", "Reconciliation")
                .needs("from", "Start: RFC 3339, now, or a time ago such as -7d.", &time("-7d"))
                .takes("to", "End (exclusive). Default now.", &time("now")),
        )
        .add(
            &Method::GET,
            "/v1/trends",
            look_back::trends::<S, C, I>,
            replies(METRICS, "The trend of a metric over weeks: slope, change points and seasons, and a sentence that sums it up.", "Trend")
                .needs("metric", "The name of a metric.", &json!({ "type": "string", "example": "bounce_rate" }))
                .takes("weeks", "How many weeks to look back. Default 12.", &number(3, 56))
                .takes("filter", "A dimension and a value, such as provider:gmail. May be repeated.", &list())
                .also(&[422]),
        )
        .add(
            &Method::GET,
            "/v1/budget",
            look_back::budget::<S, C, I>,
            replies(METRICS, "Distance to the thresholds at which SES reviews or pauses an account, and to those of Gmail.", "Budget"),
        )
        .add(&Method::GET, "/v1/whoami", whoami::whoami::<S, C, I>, replies(METRICS, "The holder of the key and what it allows.", "Whoami"))
}

/// A query in a query string.
fn query_string() -> Operation {
    let text = || json!({ "type": "string" });
    answers(METRICS, "Query counts and rates with a query string.")
        .needs(
            "metrics",
            "Names of metrics, separated by commas.",
            &json!({ "type": "string", "example": "sends,delivery_rate" }),
        )
        .takes(
            "from",
            "Start: RFC 3339, a date, now, or a time ago such as -24h. Default -24h.",
            &time("-24h"),
        )
        .takes("to", "End (exclusive). Default now.", &time("now"))
        .takes(
            "granularity",
            "Width of the time buckets. Default total.",
            &json!({ "type": "string", "enum": ["total", "1m", "5m", "15m", "1h", "1d", "1w", "1mo"] }),
        )
        .takes(
            "group_by",
            "Names of dimensions, separated by commas; at most four.",
            &json!({ "type": "string", "example": "provider" }),
        )
        .takes("filter", "A dimension and a value, such as provider:gmail. May be repeated.", &list())
        .takes(
            "basis",
            "Whether events count at their own time or at the time their message was sent. Default event.",
            &json!({ "type": "string", "enum": ["event", "send"] }),
        )
        .takes("timezone", "IANA time zone, for buckets of a day and longer.", &text())
        .takes(
            "order_by",
            "A metric, a dimension or time, with :asc or :desc; a rate also with :worst or :best.",
            &text(),
        )
        .takes("limit", "The most groups to return; without group_by, the most rows.", &number(1, 10_000))
        .takes("cursor", "meta.next_cursor of the previous page.", &text())
        .takes(
            "compare",
            "Adds the values of an earlier range to each row.",
            &json!({ "type": "string", "enum": ["previous_period", "previous_year"] }),
        )
        .takes(
            "fill",
            "Whether buckets without events are returned with zeros. Default none.",
            &json!({ "type": "string", "enum": ["zero", "none"] }),
        )
        .tagged()
        .also(&[422])
}

fn alerts<S: Store, C: Clock, I: Intake>(calls: Calls<Shared<S, C, I>>) -> Calls<Shared<S, C, I>> {
    calls
        .add(
            &Method::GET,
            "/v1/alerts",
            alerts::list::<S, C, I>,
            replies(ALERTS, "Alerts, newest first.", "Alerts")
                .takes(
                    "state",
                    "Alerts by state: `firing` or `resolved`. Both by default.",
                    &json!({ "type": "string", "enum": ["firing", "resolved"] }),
                )
                .takes("from", "Excludes alerts resolved before this time. Default -7d.", &time("-7d"))
                .takes("to", "Excludes alerts that fired at or after this time. Default now.", &time("now"))
                .takes("limit", "The most entries to return. Default 100.", &number(1, 1000)),
        )
        .add(
            &Method::GET,
            "/v1/alerts/{id}",
            alerts::one::<S, C, I>,
            replies(ALERTS, "One alert with its history.", "Alert")
                .at("id", "The id of an alert.")
                .also(&[404]),
        )
        .add(
            &Method::POST,
            "/v1/alerts/{id}/acknowledge",
            alerts::acknowledge::<S, C, I>,
            replies(ALERTS, "Acknowledge an alert, which stops its reminders until it is resolved.", "Alert")
                .at("id", "The id of an alert.")
                .empty_body()
                .of(Who::Setters)
                .also(&[404, 409]),
        )
        .add(
            &Method::GET,
            "/v1/rules",
            rules::get::<S, C, I>,
            replies(ALERTS, "The alert rules.", "RulesShown"),
        )
        .add(
            &Method::PUT,
            "/v1/rules",
            rules::put::<S, C, I>,
            replies(ALERTS, "Replace the alert rules.", "RulesShown")
                .body("RulesSet", json!({ "limits": { "bounce_rate": 0.03 } }))
                .of(Who::Setters),
        )
        .add(
            &Method::POST,
            "/v1/rules/backtest",
            rules::backtest::<S, C, I>,
            replies(
                ALERTS,
                "Back-test rules on a tenant's past: every alert change that they would have notified.",
                "Tried",
            )
            .body("Trial", json!({ "rules": { "limits": { "bounce_rate": 0.03 } }, "from": "-7d" }))
            .also(&[422]),
        )
}

fn tenants<S: Store, C: Clock, I: Intake>(calls: Calls<Shared<S, C, I>>) -> Calls<Shared<S, C, I>> {
    let of_operators = |summary, shape| replies(TENANTS, summary, shape).of(Who::Operators);
    let with_id = |summary, shape| of_operators(summary, shape).at("id", "The id of a tenant.").also(&[404]);
    calls
        .add(
            &Method::GET,
            "/v1/tenants",
            tenants::list::<S, C, I>,
            of_operators("Tenants, sorted by id.", "Tenants")
                .takes("limit", "The most tenants to return. Default 10000.", &number(1, 10_000))
                .takes("cursor", "next_cursor of the previous page.", &json!({ "type": "string" })),
        )
        .add(
            &Method::POST,
            "/v1/tenants",
            tenants::add::<S, C, I>,
            of_operators("Add a tenant before its first event, for instance to make keys for it.", "Tenant")
                .body("NewTenant", json!({ "id": "acme", "name": "Acme" }))
                .also(&[409]),
        )
        .add(&Method::GET, "/v1/tenants/{id}", tenants::get::<S, C, I>, with_id("One tenant.", "Tenant"))
        .add(
            &Method::PATCH,
            "/v1/tenants/{id}",
            tenants::change::<S, C, I>,
            with_id("Rename or suspend a tenant, or change its settings.", "Tenant")
                .body("TenantChange", json!({ "suspended": false })),
        )
        .add(
            &Method::DELETE,
            "/v1/tenants/{id}",
            tenants::erase::<S, C, I>,
            with_id("Erase a tenant with its numbers, rules, alerts and keys.", "Erased").also(&[404, 413]),
        )
}

fn keys<S: Store, C: Clock, I: Intake>(calls: Calls<Shared<S, C, I>>) -> Calls<Shared<S, C, I>> {
    let with_id = |summary, shape| {
        let operation = replies(TENANTS, summary, shape).of(Who::Operators);
        operation.at("id", "The id of a tenant.").also(&[404])
    };
    let with_key = |summary| with_id(summary, "Key").at("key", "The id of a key.");
    calls
        .add(
            &Method::GET,
            "/v1/tenants/{id}/keys",
            keys::list::<S, C, I>,
            with_id("The keys of a tenant, including expired and revoked ones.", "Keys"),
        )
        .add(
            &Method::POST,
            "/v1/tenants/{id}/keys",
            keys::add::<S, C, I>,
            with_id("Make a key. Only this reply shows it. Not possible for (unassigned).", "Key")
                .body("NewKey", json!({ "name": "dashboard", "scopes": ["read"], "expires_in_days": 90 })),
        )
        .add(
            &Method::POST,
            "/v1/tenants/{id}/keys/{key}/rotate",
            keys::rotate::<S, C, I>,
            with_key("Replace a key: makes a new one like it, and lets the old one expire after an overlap.")
                .body("Rotation", json!({ "overlap_hours": 24 }))
                .also(&[404, 409]),
        )
        .add(
            &Method::DELETE,
            "/v1/tenants/{id}/keys/{key}",
            keys::revoke::<S, C, I>,
            with_key("Revoke a key at once.").also(&[404, 409, 413]),
        )
}

fn overview<S: Store, C: Clock, I: Intake>(calls: Calls<Shared<S, C, I>>) -> Calls<Shared<S, C, I>> {
    let of_operators = |summary, shape| replies(TENANTS, summary, shape).of(Who::Operators);
    calls
        .add(
            &Method::GET,
            "/v1/overview",
            overview::overview::<S, C, I>,
            of_operators(
                "Per-tenant health overview, with each tenant's share of the account's sends, hard bounces and complaints.",
                "Overview",
            )
            .takes("from", "Start: RFC 3339, a date, now, or a time ago such as -24h. Default -24h.", &time("-24h"))
            .takes("to", "End (exclusive). Default now.", &time("now")),
        )
        .add(
            &Method::GET,
            "/v1/audit",
            audit::list::<S, C, I>,
            of_operators("The audit trail, newest first: who set out to change what.", "Trail")
                .takes("from", "Start: RFC 3339, a date, now, or a time ago such as -7d. Default -30d.", &time("-30d"))
                .takes("to", "End (exclusive). Default now.", &time("now"))
                .takes("limit", "The most entries to return. Default 100.", &number(1, 1000)),
        )
}

fn mappings<S: Store, C: Clock, I: Intake>(calls: Calls<Shared<S, C, I>>) -> Calls<Shared<S, C, I>> {
    let of_operators = |summary| replies(TENANTS, summary, "Attribution").of(Who::Operators);
    let example = || json!({ "by_sending_domain": { "mail.acme.example": "acme" } });
    calls
        .add(
            &Method::GET,
            "/v1/attribution",
            attribution::get::<S, C, I>,
            of_operators("Which tenant owns mail without a tenant tag, by configuration set, sending domain and account."),
        )
        .add(
            &Method::PUT,
            "/v1/attribution",
            attribution::put::<S, C, I>,
            of_operators("Replace all mappings. They apply within a minute.")
                .body("Attribution", example())
                .also(&[409]),
        )
        .add(
            &Method::PATCH,
            "/v1/attribution",
            attribution::patch::<S, C, I>,
            of_operators("Set some mappings, and remove those that are null.")
                .body("AttributionChange", example())
                .also(&[409]),
        )
}

fn events<S: Store, C: Clock, I: Intake, F: Fetch>(
    calls: Calls<Shared<S, C, I>>,
    sns: Arc<Sns<S, C, I, F>>,
) -> Calls<Shared<S, C, I>> {
    let counted = |summary| replies(EVENTS, summary, "Ingested").of(Who::Senders).also(&[404]);
    calls
        .add(
            &Method::POST,
            "/v1/ingest/ses",
            ses::ingest::<S, C, I>,
            counted("SES events in any form: one event, NDJSON or an array, in envelopes or not, plain or gzip. The reply comes once they are counted.")
                .bytes("SES events."),
        )
        .route(
            &Method::POST,
            "/v1/ingest/sns",
            post(sns::ingest::<S, C, I, F>).with_state(sns),
            replies(EVENTS, "HTTPS subscription of an SNS topic that this server is configured for. SNS's signature takes the place of a key.", "Ingested")
                .body("SnsMessage", sns_message())
                .of(Who::All)
                .also(&[403, 404]),
        )
        .add(
            &Method::POST,
            "/v1/ingest/firehose",
            firehose::ingest::<S, C, I>,
            says(EVENTS, "HTTP endpoint destination of Amazon Data Firehose. Its access key is an ingest key.")
                .by_another_protocol()
            .bytes("A delivery in Firehose's protocol.")
                .of(Who::Senders)
                .also(&[404]),
        )
        .add(
            &Method::POST,
            "/v1/ingest/eventbridge",
            eventbridge::ingest::<S, C, I>,
            counted("API destination of EventBridge. x-api-key is an ingest key.").bytes("An EventBridge event."),
        )
}

fn sns_message() -> serde_json::Value {
    json!({
        "Type": "Notification",
        "MessageId": "5e0d4f2a-1c3b-5a6d-8e7f-9a0b1c2d3e4f",
        "TopicArn": "arn:aws:sns:us-east-1:123456789012:mail-events",
        "Message": "{\"eventType\":\"Send\"}",
        "Timestamp": "2025-11-13T02:15:27.456Z",
        "SignatureVersion": "1",
        "Signature": "base64",
        "SigningCertURL": "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-a.pem",
    })
}

fn health<S: Store, C: Clock, I: Intake>(calls: Calls<Shared<S, C, I>>) -> Calls<Shared<S, C, I>> {
    calls
        .add(
            &Method::GET,
            "/healthz",
            health::healthz,
            says(HEALTH, "Whether the process runs.").of(Who::All),
        )
        .add(
            &Method::GET,
            "/readyz",
            health::readyz::<S, C, I>,
            says(HEALTH, "Whether the process can store events and answer queries, and if not, why.")
                .of(Who::All),
        )
        .add(
            &Method::GET,
            "/metrics",
            health::metrics::<S, C, I>,
            says(HEALTH, "The process's own metrics in the Prometheus text format.")
                .of(Who::OperatorsOrLocal),
        )
}

fn number(least: u32, most: u32) -> serde_json::Value {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}

fn time(example: &str) -> serde_json::Value {
    json!({ "type": "string", "example": example })
}

fn list() -> serde_json::Value {
    json!({ "type": "array", "items": { "type": "string", "pattern": "^[a-z_0-9]+:.+$" } })
}
