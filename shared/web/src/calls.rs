//! All calls of the API: route, handler, and what is said of each in `/openapi.json`.

use std::sync::Arc;

use axum::http::Method;
use axum::routing::post;
use serde_json::json;

use crate::backend::Backend;
use crate::fetch::Fetch;
use crate::ingest::sns::{self, Sns};
use crate::ingest::{eventbridge, firehose, ses};
use crate::openapi::{Calls, Operation, Who, answers, replies, says};
use crate::router::Web;
use crate::routes::{
    alerts, attribution, audit, catalogue, dimensions, health, look_back, overview, query, reconcile, rules,
    tenants, whoami,
};

const NUMBERS: &str = "Numbers";
const TROUBLE: &str = "Trouble";
const TENANTS: &str = "Tenants and keys";
const EVENTS: &str = "Events";
const HEALTH: &str = "Health";

/// Every call over this backend.
pub(crate) fn all<B: Backend, F: Fetch>(sns: Arc<Sns<B, F>>) -> Calls<Arc<Web<B>>> {
    let calls = trouble::<B>(numbers::<B>(Calls::new()));
    let calls = overview::<B>(mappings::<B>(administration::<B>(calls)));
    health::<B>(events(calls, sns))
}

fn numbers<B: Backend>(calls: Calls<Arc<Web<B>>>) -> Calls<Arc<Web<B>>> {
    let example = json!({
        "metrics": ["sends", "delivery_rate"], "from": "-24h", "granularity": "1h", "group_by": ["provider"]
    });
    let query = answers(NUMBERS, "Ask for counts and rates, by bucket and group.")
        .body("Query", example)
        .also(&[422]);
    calls
        .add(&Method::POST, "/v1/query", query::post::<B>, query)
        .add(&Method::GET, "/v1/metrics", query::get::<B>, metrics())
        .add(
            &Method::GET,
            "/v1/metrics/catalogue",
            catalogue::catalogue::<B>,
            replies(
                NUMBERS,
                "Every metric: label, unit, formula, direction, and the limit that applies to the caller.",
                "Catalogue",
            ),
        )
        .add(
            &Method::GET,
            "/v1/dimensions",
            dimensions::list::<B>,
            replies(NUMBERS, "What can be grouped and filtered by.", "Dimensions"),
        )
        .add(
            &Method::GET,
            "/v1/dimensions/{name}",
            dimensions::values::<B>,
            replies(NUMBERS, "The values seen of a dimension in the last 30 days.", "Values")
                .at("name", "A dimension.")
                .takes("prefix", "What values begin with.", &json!({ "type": "string" }))
                .takes("limit", "At most so many.", &number(1, 1000))
                .also(&[404]),
        )
        .add(
            &Method::GET,
            "/v1/reconcile",
            reconcile::reconcile::<B>,
            replies(NUMBERS, "The proof of counting over whole hours.", "Reconciliation")
                .needs("from", "RFC 3339, now, or so long ago as -7d.", &moment("-7d"))
                .takes("to", "Not included. Default now.", &moment("now")),
        )
        .add(
            &Method::GET,
            "/v1/trends",
            look_back::trends::<B>,
            replies(NUMBERS, "Slope, steps and seasons of a metric over weeks, in a sentence too.", "Trend")
                .needs("metric", "By name.", &json!({ "type": "string", "example": "bounce_rate" }))
                .takes("weeks", "So far back. Default 12.", &number(3, 56))
                .takes("filter", "A dimension and its value, as provider:gmail; may be repeated.", &list())
                .also(&[422]),
        )
        .add(
            &Method::GET,
            "/v1/budget",
            look_back::budget::<B>,
            replies(NUMBERS, "How far the lines are at which SES reviews an account or pauses it.", "Budget"),
        )
        .add(&Method::GET, "/v1/whoami", whoami::whoami::<B>, replies(NUMBERS, "Who the key is.", "Whoami"))
}

/// The same as a query, in the query string.
fn metrics() -> Operation {
    let text = || json!({ "type": "string" });
    answers(NUMBERS, "The same as a query, as a link.")
        .needs(
            "metrics",
            "Counts and rates by name, separated by commas.",
            &json!({ "type": "string", "example": "sends,delivery_rate" }),
        )
        .takes("from", "RFC 3339, a date, now, or so long ago as -24h. Default -24h.", &moment("-24h"))
        .takes("to", "Not included. Default now.", &moment("now"))
        .takes(
            "granularity",
            "Width of buckets.",
            &json!({ "type": "string", "enum": ["total", "1m", "5m", "15m", "1h", "1d", "1w", "1mo"] }),
        )
        .takes(
            "group_by",
            "Dimensions, separated by commas.",
            &json!({ "type": "string", "example": "provider" }),
        )
        .takes("filter", "A dimension and its value, as provider:gmail; may be repeated.", &list())
        .takes(
            "basis",
            "By the event's own time, or by the time of sending.",
            &json!({ "type": "string", "enum": ["event", "send"] }),
        )
        .takes("timezone", "IANA, for days and longer.", &text())
        .takes(
            "order_by",
            "A metric, group or time, with :asc or :desc; a rate also with :worst or :best.",
            &text(),
        )
        .takes("limit", "At most so many groups, or rows without groups.", &number(1, 10_000))
        .takes("cursor", "meta.next_cursor of the page before.", &text())
        .takes(
            "compare",
            "Beside each row.",
            &json!({ "type": "string", "enum": ["previous_period", "previous_year"] }),
        )
        .takes(
            "fill",
            "What stands for empty buckets.",
            &json!({ "type": "string", "enum": ["zero", "none"] }),
        )
        .tagged()
        .also(&[422])
}

fn trouble<B: Backend>(calls: Calls<Arc<Web<B>>>) -> Calls<Arc<Web<B>>> {
    calls
        .add(
            &Method::GET,
            "/v1/alerts",
            alerts::list::<B>,
            replies(TROUBLE, "Alerts, the newest first.", "Alerts")
                .takes(
                    "state",
                    "Those that fire, or those that are over.",
                    &json!({ "type": "string", "enum": ["firing", "resolved"] }),
                )
                .takes("from", "Not those that were over before. Default -7d.", &moment("-7d"))
                .takes("to", "Not those that fired later. Default now.", &moment("now"))
                .takes("limit", "At most so many. Default 100.", &number(1, 1000)),
        )
        .add(
            &Method::GET,
            "/v1/alerts/{id}",
            alerts::one::<B>,
            replies(TROUBLE, "One alert, with its history.", "Alert").at("id", "The alert.").also(&[404]),
        )
        .add(
            &Method::POST,
            "/v1/alerts/{id}/acknowledge",
            alerts::acknowledge::<B>,
            replies(TROUBLE, "Say that you look after an alert: no reminders until it is resolved.", "Alert")
                .at("id", "The alert.")
                .empty_body()
                .of(Who::Setters)
                .also(&[404]),
        )
        .add(
            &Method::GET,
            "/v1/rules",
            rules::get::<B>,
            replies(TROUBLE, "What is alerted on.", "RulesShown"),
        )
        .add(
            &Method::PUT,
            "/v1/rules",
            rules::put::<B>,
            replies(TROUBLE, "Set rules in place of those there are.", "RulesShown")
                .body("RulesSet", json!({ "limits": { "bounce_rate": 0.03 } }))
                .of(Who::Setters),
        )
        .add(
            &Method::POST,
            "/v1/rules/backtest",
            rules::backtest::<B>,
            replies(
                TROUBLE,
                "Try a tenant's rules on its past: each change as it would have been told.",
                "Tried",
            )
            .body("Trial", json!({ "rules": { "limits": { "bounce_rate": 0.03 } }, "from": "-7d" }))
            .also(&[422]),
        )
}

fn administration<B: Backend>(calls: Calls<Arc<Web<B>>>) -> Calls<Arc<Web<B>>> {
    let of_operators = |summary, shape| replies(TENANTS, summary, shape).of(Who::Operators);
    let with_id = |summary, shape| of_operators(summary, shape).at("id", "The tenant.").also(&[404]);
    let with_key = |summary| with_id(summary, "Key").at("key", "The key's id.");
    calls
        .add(
            &Method::GET,
            "/v1/tenants",
            tenants::list::<B>,
            of_operators("Tenants, sorted by id.", "Tenants")
                .takes("limit", "At most so many.", &number(1, 10_000))
                .takes("cursor", "next_cursor of the page before.", &json!({ "type": "string" })),
        )
        .add(
            &Method::POST,
            "/v1/tenants",
            tenants::add::<B>,
            of_operators("Add a tenant before its first event, to make it keys.", "Tenant")
                .body("NewTenant", json!({ "id": "acme", "name": "Acme" }))
                .also(&[409]),
        )
        .add(&Method::GET, "/v1/tenants/{id}", tenants::get::<B>, with_id("One tenant.", "Tenant"))
        .add(
            &Method::PATCH,
            "/v1/tenants/{id}",
            tenants::change::<B>,
            with_id("Rename or suspend a tenant, or change its settings.", "Tenant")
                .body("TenantChange", json!({ "suspended": false })),
        )
        .add(
            &Method::DELETE,
            "/v1/tenants/{id}",
            tenants::erase::<B>,
            with_id("Erase a tenant: its numbers, rules, alerts and keys.", "Erased").also(&[404, 413]),
        )
        .add(
            &Method::GET,
            "/v1/tenants/{id}/keys",
            tenants::keys::<B>,
            with_id("The keys of a tenant, those that are over too.", "Keys"),
        )
        .add(
            &Method::POST,
            "/v1/tenants/{id}/keys",
            tenants::add_key::<B>,
            with_id("Make a key, which is shown only in this reply. Not for (unassigned).", "Key")
                .body("NewKey", json!({ "name": "dashboard", "scopes": ["read"], "expires_in_days": 90 })),
        )
        .add(
            &Method::POST,
            "/v1/tenants/{id}/keys/{key}/rotate",
            tenants::rotate::<B>,
            with_key("Make a new key like this one, which ends after an overlap.")
                .body("Rotation", json!({ "overlap_hours": 24 }))
                .also(&[404, 409]),
        )
        .add(
            &Method::DELETE,
            "/v1/tenants/{id}/keys/{key}",
            tenants::revoke::<B>,
            with_key("Revoke a key.").also(&[404, 413]),
        )
}

fn overview<B: Backend>(calls: Calls<Arc<Web<B>>>) -> Calls<Arc<Web<B>>> {
    let of_operators = |summary, shape| replies(TENANTS, summary, shape).of(Who::Operators);
    calls
        .add(
            &Method::GET,
            "/v1/overview",
            overview::overview::<B>,
            of_operators(
                "How each tenant fares, and its part in the account's hard bounces and complaints.",
                "Overview",
            )
            .takes("from", "RFC 3339, a date, now, or so long ago as -24h. Default -24h.", &moment("-24h"))
            .takes("to", "Not included. Default now.", &moment("now")),
        )
        .add(
            &Method::GET,
            "/v1/audit",
            audit::list::<B>,
            of_operators("Who set out to change what, the newest first.", "Trail")
                .takes("from", "RFC 3339, a date, now, or so long ago as -7d. Default -30d.", &moment("-30d"))
                .takes("to", "Not included. Default now.", &moment("now"))
                .takes("limit", "At most so many. Default 100.", &number(1, 1000)),
        )
}

fn mappings<B: Backend>(calls: Calls<Arc<Web<B>>>) -> Calls<Arc<Web<B>>> {
    let of_operators = |summary| replies(TENANTS, summary, "Attribution").of(Who::Operators);
    let example = || json!({ "by_sending_domain": { "mail.acme.example": "acme" } });
    calls
        .add(
            &Method::GET,
            "/v1/attribution",
            attribution::get::<B>,
            of_operators("Whose mail is that names no tenant by a tag."),
        )
        .add(
            &Method::PUT,
            "/v1/attribution",
            attribution::put::<B>,
            of_operators("Say whose mail it is, in place of all that was said; holds within a minute.")
                .body("Attribution", example())
                .also(&[409]),
        )
        .add(
            &Method::PATCH,
            "/v1/attribution",
            attribution::patch::<B>,
            of_operators("Set some entries, and take out those that are null.")
                .body("AttributionChange", example())
                .also(&[409]),
        )
}

fn events<B: Backend, F: Fetch>(calls: Calls<Arc<Web<B>>>, sns: Arc<Sns<B, F>>) -> Calls<Arc<Web<B>>> {
    let counted = |summary| replies(EVENTS, summary, "Ingested").of(Who::Senders).also(&[404]);
    calls
        .add(
            &Method::POST,
            "/v1/ingest/ses",
            ses::ingest::<B>,
            counted("Events in any form: one, NDJSON, an array, in envelopes, gzip. Answered when they are counted.")
                .bytes("Events of SES."),
        )
        .route(
            &Method::POST,
            "/v1/ingest/sns",
            post(sns::ingest::<B, F>).with_state(sns),
            replies(EVENTS, "An HTTPS subscription of a topic that is named to the server; SNS's signature is the key.", "Ingested")
                .body("SnsMessage", sns_message())
                .of(Who::All)
                .also(&[403, 404]),
        )
        .add(
            &Method::POST,
            "/v1/ingest/firehose",
            firehose::ingest::<B>,
            says(EVENTS, "An HTTP endpoint destination of Firehose; the access key is a key that sends events.")
                .by_another_protocol()
            .bytes("By Firehose's protocol.")
                .of(Who::Senders)
                .also(&[404]),
        )
        .add(
            &Method::POST,
            "/v1/ingest/eventbridge",
            eventbridge::ingest::<B>,
            counted("An API destination of EventBridge; x-api-key is a key that sends events.").bytes("An envelope."),
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

fn health<B: Backend>(calls: Calls<Arc<Web<B>>>) -> Calls<Arc<Web<B>>> {
    calls
        .add(&Method::GET, "/healthz", health::healthz, says(HEALTH, "The process lives.").of(Who::All))
        .add(
            &Method::GET,
            "/readyz",
            health::readyz::<B>,
            says(HEALTH, "Whether the process can store events and answer queries; if not, why.")
                .of(Who::All),
        )
        .add(
            &Method::GET,
            "/metrics",
            health::metrics::<B>,
            says(HEALTH, "The program's own metrics as Prometheus text.").of(Who::OperatorsOrLocal),
        )
}

fn number(least: u32, most: u32) -> serde_json::Value {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}

fn moment(example: &str) -> serde_json::Value {
    json!({ "type": "string", "example": example })
}

fn list() -> serde_json::Value {
    json!({ "type": "array", "items": { "type": "string", "pattern": "^[a-z_0-9]+:.+$" } })
}
