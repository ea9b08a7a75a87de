//! The operations on alerts and the rules that they follow.

use axum::http::{Method, StatusCode};
use pipeline::alerting::registry::RegisteredAlert;
use pipeline::ports::{Clock, Store};
use serde_json::json;

use super::{number, time};
use crate::openapi::{ApiBuilder, Callers, Operation, OperationGroup};
use crate::router::Shared;
use crate::routes::{alerts, rules};
use crate::service::Intake;

const ALERTS: OperationGroup = OperationGroup {
    name: "Alerts and rules",
    description: "Alerts with their evidence and likely cause, and the rules that decide when an alert fires.",
};

/// Adds the operations of the group.
pub(super) fn add<S: Store, C: Clock, I: Intake>(
    api: ApiBuilder<Shared<S, C, I>>,
) -> ApiBuilder<Shared<S, C, I>> {
    rules::<S, C, I>(alerts::<S, C, I>(api))
}

fn alerts<S: Store, C: Clock, I: Intake>(api: ApiBuilder<Shared<S, C, I>>) -> ApiBuilder<Shared<S, C, I>> {
    api.add(
        &Method::GET,
        "/v1/alerts",
        alerts::list::<S, C, I>,
        Operation::json::<alerts::AlertList>(ALERTS, "listAlerts", "List alerts, newest first")
            .query_parameter(
                "state",
                "Alerts by state: `firing` or `resolved`. Defaults to both.",
                &json!({ "type": "string", "enum": alerts::STATES }),
            )
            .query_parameter(
                "from",
                "Excludes alerts that were resolved before this time. Defaults to `-7d`.",
                &time("-7d"),
            )
            .query_parameter(
                "to",
                "Excludes alerts that fired at or after this time. Defaults to `now`.",
                &time("now"),
            )
            .query_parameter(
                "limit",
                "Maximum number of alerts to return.",
                &number(1..=alerts::MAX_LIMIT, Some(alerts::DEFAULT_LIMIT)),
            ),
    )
    .add(
        &Method::GET,
        "/v1/alerts/{id}",
        alerts::one::<S, C, I>,
        Operation::json::<RegisteredAlert>(ALERTS, "getAlert", "Get an alert with its history")
            .path_parameter("id", "The id of an alert.")
            .statuses(&[StatusCode::NOT_FOUND]),
    )
    .add(
        &Method::POST,
        "/v1/alerts/{id}/acknowledge",
        alerts::acknowledge::<S, C, I>,
        Operation::json::<RegisteredAlert>(ALERTS, "acknowledgeAlert", "Acknowledge an alert")
            .description(
                "Stops reminders until the alert is resolved. A rise of the severity is notified all the same.",
            )
            .path_parameter("id", "The id of an alert.")
            .empty_body()
            .callers(Callers::RulesWriters)
            .statuses(&[StatusCode::NOT_FOUND, StatusCode::CONFLICT]),
    )
}

fn rules<S: Store, C: Clock, I: Intake>(api: ApiBuilder<Shared<S, C, I>>) -> ApiBuilder<Shared<S, C, I>> {
    api.add(
        &Method::GET,
        "/v1/rules",
        rules::get::<S, C, I>,
        Operation::json::<rules::EffectiveRules>(ALERTS, "getRules", "Get the alert rules").description(
            "An operator gets the rules of all tenants. A tenant, or an operator who names one, gets the limits that apply to the \
             tenant and the rules that the tenant set.",
        ),
    )
    .add(
        &Method::PUT,
        "/v1/rules",
        rules::put::<S, C, I>,
        Operation::json::<rules::EffectiveRules>(ALERTS, "setRules", "Replace the alert rules")
            .description(
                "Replaces all rules of the caller's scope: the operator's, or those of one tenant. A rule that is left out gets its \
                 default.",
            )
            .body::<rules::RulesUpdate>(json!({ "limits": { "bounce_rate": 0.03 } }))
            .callers(Callers::RulesWriters),
    )
    .add(
        &Method::POST,
        "/v1/rules/backtest",
        rules::backtest::<S, C, I>,
        Operation::json::<rules::BacktestResult>(ALERTS, "backtestRules", "Back-test rules on the past of a tenant")
            .description(
                "Evaluates stored history of up to 29 days and returns every alert change that the rules would have caused. Nobody is \
                 notified. Operators name the tenant in `X-Mailgauge-Tenant`.",
            )
            .body::<rules::BacktestRequest>(json!({ "rules": { "limits": { "bounce_rate": 0.03 } }, "from": "-7d" }))
            .statuses(&[StatusCode::UNPROCESSABLE_ENTITY]),
    )
}
