//! `GET` and `PUT /v1/rules`, `POST /v1/rules/backtest`: the alert rules.
//!
//! An operator reads and sets the rules for everybody. A tenant, or an operator who names one, reads the limits that apply to the tenant
//! and sets the tenant's own rules, which come before the operator's.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use cells::query::{QueryError, Scope, parse_time};
use detection::{AlertRules, Change, Limits};
use event::{AlertScope, Minute, Timestamp};
use pipeline::directory::alert_rules::{self, TenantRules};
use pipeline::ports::{Clock, Store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::parameters::{QueryParameters, invalid, read_request};
use crate::auth::{Reader, RulesWriter};
use crate::problem::Problem;
use crate::router::{Shared, Web};
use crate::service::{During as _, Intake};

/// A thousand overrides fit.
const RULES_BODY_BYTES: usize = 256 * 1024;
const EXAMPLE: &str = r#"{"limits":{"bounce_rate":0.03}}"#;
const BACKTEST_EXAMPLE: &str = r#"{"rules":{"limits":{"bounce_rate":0.03}},"from":"-7d"}"#;
/// History is kept by the minute for 30 days; the oldest of them is being dropped.
const MAX_BACKTEST_DAYS: u32 = 29;
/// Back-tests evaluate whole buckets of this width.
const BUCKET_MINUTES: u32 = 5;

/// The rules of the caller's scope: `OperatorRules` for an operator, otherwise those of one tenant.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum EffectiveRules {
    /// The rules of all tenants, for an operator.
    Operator(Box<AlertRules>),
    /// The rules of one tenant.
    Tenant {
        /// The limits that apply to the tenant, from its own rules and the operator's.
        limits: Limits,
        /// The rules that the tenant set.
        own: Box<TenantRules>,
    },
}

/// `OperatorRules` from an operator, `TenantRules` from a tenant or from an operator who names one.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(
    dead_code,
    reason = "the caller decides which of the two a body is read as, so only the schema is used"
)]
pub(crate) enum RulesUpdate {
    Operator(AlertRules),
    Tenant(TenantRules),
}

/// Returns the rules of the caller's scope.
pub(crate) async fn get<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    reader: Reader,
    parameters: QueryParameters,
) -> Result<Json<EffectiveRules>, Problem> {
    parameters.finish("none")?;
    reply(&web, &reader.scope).await
}

/// `PUT /v1/rules`: replaces all rules within the scope; fields that are left out get their defaults.
pub(crate) async fn put<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    RulesWriter(reader): RulesWriter,
    request: Request,
) -> Result<Json<EffectiveRules>, Problem> {
    const OPERATION: &str = "setting rules";
    let store = &web.service.store;
    match &reader.scope {
        Scope::All => {
            let rules: AlertRules = read_request(request, RULES_BODY_BYTES, EXAMPLE).await?;
            check(rules.mistake())?;
            web.service.record_audit(&reader.name, "rules.set", AlertScope::PLATFORM).await?;
            alert_rules::write_operator(store, &rules).await.during(OPERATION)?;
        }
        Scope::Tenant(tenant) => {
            let own: TenantRules = read_request(request, RULES_BODY_BYTES, EXAMPLE).await?;
            check(own.mistake())?;
            web.service.record_audit(&reader.name, "rules.set", tenant.as_str()).await?;
            alert_rules::write_tenant(store, tenant, &own).await.during(OPERATION)?;
        }
    }
    reply(&web, &reader.scope).await
}

async fn reply<S: Store, C: Clock, I: Intake>(
    web: &Web<S, C, I>,
    scope: &Scope,
) -> Result<Json<EffectiveRules>, Problem> {
    let Scope::Tenant(tenant) = scope else {
        return Ok(Json(EffectiveRules::Operator(Box::new(web.service.operator_rules().await?))));
    };
    let own = web.service.own_rules(tenant).await?;
    let limits = web.service.rules_with(tenant, &own).await?.limits_of(tenant.as_str());
    Ok(Json(EffectiveRules::Tenant { limits, own: Box::new(own) }))
}

/// Rules to evaluate on the past of a tenant.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BacktestRequest {
    /// The tenant's rules to evaluate, together with the operator's. Defaults to the rules that are set.
    rules: Option<TenantRules>,
    /// Start: an RFC 3339 time, a date, `now`, or a time before now such as `-7d`; at most 29 days before `to`.
    #[schemars(extend("example" = "-7d"))]
    from: String,
    /// End (exclusive), in the same forms. Defaults to `now`.
    #[schemars(extend("example" = "now"))]
    to: Option<String>,
}

/// What the rules would have caused.
#[derive(Serialize, JsonSchema)]
pub(crate) struct BacktestResult {
    /// Each change of an alert, as its notification would have been, oldest first.
    changes: Vec<Change>,
}

/// `POST /v1/rules/backtest`: the alerts that a tenant would have had under other rules.
pub(crate) async fn backtest<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    reader: Reader,
    request: Request,
) -> Result<Json<BacktestResult>, Problem> {
    let backtest: BacktestRequest = read_request(request, RULES_BODY_BYTES, BACKTEST_EXAMPLE).await?;
    let Scope::Tenant(tenant) = &reader.scope else {
        return Err(invalid("X-Mailgauge-Tenant", "is missing; a back-test runs over one tenant's mail")
            .allowed("a tenant's name")
            .example("acme"));
    };
    let range = backtest.range(web.service.now())?;
    // Rules of the request are tried together with the operator's, as detection would apply them.
    let own = match backtest.rules {
        Some(own) => {
            check(own.mistake())?;
            own
        }
        None => web.service.own_rules(tenant).await?,
    };
    let rules = web.service.rules_with(tenant, &own).await?;
    let (service, tenant) = (Arc::clone(&web.service), tenant.clone());
    let changes = async move { service.backtest(&tenant, rules, range).await };
    let changes = web.within_time(&reader, changes, "no answer in time; try a shorter range").await?;
    Ok(Json(BacktestResult { changes }))
}

impl BacktestRequest {
    /// The range, in whole buckets.
    fn range(&self, now: Timestamp) -> Result<(Minute, Minute), Problem> {
        let bucket_at = |name: &str, text: &str| -> Result<Minute, QueryError> {
            let Minute(minute) = parse_time(name, text, now)?.minute();
            Ok(Minute(minute / BUCKET_MINUTES * BUCKET_MINUTES))
        };
        let from = bucket_at("from", &self.from)?;
        let to = bucket_at("to", self.to.as_deref().unwrap_or("now"))?;
        if from >= to || to.0 - from.0 > MAX_BACKTEST_DAYS * 24 * 60 {
            return Err(invalid("from", "is not before to, or too long before it")
                .allowed(format!("up to {MAX_BACKTEST_DAYS} days before to"))
                .example("-7d"));
        }
        Ok((from, to))
    }
}

/// Turns a mistake in rules, `field: what is allowed`, into a problem.
fn check(mistake: Option<String>) -> Result<(), Problem> {
    let Some(mistake) = mistake else { return Ok(()) };
    let (field, allowed) = mistake.split_once(": ").unwrap_or(("body", &mistake));
    Err(invalid(field, "is not valid").allowed(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_of_a_backtest_is_in_whole_buckets_and_at_most_29_days_long() {
        // A minute after a bucket's end.
        let now = Timestamp::from_millis(1_763_000_000_000 / 300_000 * 300_000 + 60_000);
        let end = now.minute().0 / BUCKET_MINUTES * BUCKET_MINUTES;
        for (from, to, minutes) in [
            ("-10m", None, Some(10)),
            ("-29d", None, Some(29 * 24 * 60)),
            ("-29d", Some("now"), Some(29 * 24 * 60)),
            ("-30d", None, None),
            ("now", None, None),
            ("-1h", Some("-2h"), None),
            ("-1m", Some("now"), None),
        ] {
            let backtest = BacktestRequest { rules: None, from: from.to_owned(), to: to.map(str::to_owned) };
            let range = backtest.range(now).ok();
            let expected = minutes.map(|minutes| (Minute(end - minutes), Minute(end)));
            assert_eq!(range, expected, "{from} {to:?}");
        }
    }
}
