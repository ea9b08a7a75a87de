//! `GET` and `PUT /v1/rules`, `POST /v1/rules/backtest`: what is alerted on, seen and set by whom it concerns.
//!
//! An operator has the rules of all; a tenant, or an operator who names one, what that tenant has set for itself beside what holds.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use cells::query::{Scope, moment};
use detection::{Change, Limits, Rules};
use event::{Minute, TenantId};
use pipeline::directory::rules::OwnRules;
use serde::{Deserialize, Serialize};

use super::parameters::{Parameters, invalid, read_request};
use crate::auth::{Reader, Setter};
use crate::backend::Backend;
use crate::problem::Problem;
use crate::router::Web;

/// A thousand overrides fit.
const RULES_BODY_BYTES: usize = 256 * 1024;
const EXAMPLE: &str = r#"{"limits":{"bounce_rate":0.03}}"#;
const TRIAL_EXAMPLE: &str = r#"{"rules":{"limits":{"bounce_rate":0.03}},"from":"-7d"}"#;
/// As long as history is kept by the minute, less a margin.
const MAX_BACKTEST_DAYS: u32 = 29;

/// Rules as they are shown: the operator's, or a tenant's.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Shown {
    /// All of them.
    Operator(Box<Rules>),
    /// A tenant's.
    Tenant {
        /// The limits that hold.
        limits: Limits,
        /// What the tenant has set for itself.
        own: Box<OwnRules>,
    },
}

/// `GET /v1/rules`.
pub(crate) async fn get<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    reader: Reader,
    parameters: Parameters,
) -> Result<Json<Shown>, Problem> {
    parameters.finish("none")?;
    shown(&web, &reader.scope).await.map(Json)
}

/// `PUT /v1/rules`: in place of those there are; what is left out is as by default.
pub(crate) async fn put<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    Setter(reader): Setter,
    request: Request,
) -> Result<Json<Shown>, Problem> {
    match &reader.scope {
        Scope::All => {
            let rules: Rules = read_request(request, RULES_BODY_BYTES, EXAMPLE).await?;
            right(rules.mistake())?;
            web.backend.note(&reader.name, "rules.set", "*").await?;
            web.backend.set_rules(rules).await?;
        }
        Scope::Tenant(tenant) => {
            let rules: OwnRules = read_request(request, RULES_BODY_BYTES, EXAMPLE).await?;
            right(rules.mistake())?;
            web.backend.note(&reader.name, "rules.set", tenant.as_str()).await?;
            web.backend.set_own_rules(tenant, rules).await?;
        }
    }
    shown(&web, &reader.scope).await.map(Json)
}

async fn shown<B: Backend>(web: &Web<B>, scope: &Scope) -> Result<Shown, Problem> {
    let mut rules = web.backend.rules().await?;
    let Scope::Tenant(tenant) = scope else { return Ok(Shown::Operator(Box::new(rules))) };
    let own = web.backend.own_rules(tenant).await?;
    own.put_into(&mut rules, tenant.as_str());
    Ok(Shown::Tenant { limits: rules.limits_of(tenant.as_str()), own: Box::new(own) })
}

/// What is to be tried.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Trial {
    /// A tenant's own rules; those that hold if left out.
    rules: Option<OwnRules>,
    from: String,
    #[serde(default = "now")]
    to: String,
}

fn now() -> String {
    "now".to_owned()
}

/// The reply of `POST /v1/rules/backtest`.
#[derive(Serialize)]
pub(crate) struct Tried {
    /// Each change as it would have been told.
    changes: Vec<Change>,
}

/// `POST /v1/rules/backtest`: what would have been told of a tenant.
pub(crate) async fn backtest<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    reader: Reader,
    request: Request,
) -> Result<Json<Tried>, Problem> {
    let trial: Trial = read_request(request, RULES_BODY_BYTES, TRIAL_EXAMPLE).await?;
    let Scope::Tenant(tenant) = &reader.scope else {
        return Err(invalid("X-Mailgauge-Tenant", "is missing; rules are tried on one tenant's mail")
            .allowed("a tenant's name")
            .example("acme"));
    };
    let range = range(&trial, web.backend.now())?;
    let rules = rules_of(&web, tenant, trial.rules).await?;
    let replayed = web.backend.backtest(tenant, rules, range);
    let changes = web.within(replayed, "no answer in time; try a shorter range").await?;
    Ok(Json(Tried { changes }))
}

async fn rules_of<B: Backend>(
    web: &Web<B>,
    tenant: &TenantId,
    own: Option<OwnRules>,
) -> Result<Rules, Problem> {
    let mut rules = web.backend.rules().await?;
    let own = match own {
        Some(own) => {
            right(own.mistake())?;
            own
        }
        None => web.backend.own_rules(tenant).await?,
    };
    own.put_into(&mut rules, tenant.as_str());
    Ok(rules)
}

fn range(trial: &Trial, now: event::Timestamp) -> Result<(Minute, Minute), Problem> {
    // Whole buckets of five minutes.
    let at = |name: &str, text: &str| moment(name, text, now).map(|at| Minute(at.minute().0 / 5 * 5));
    let (from, to) = (at("from", &trial.from)?, at("to", &trial.to)?);
    if from >= to || to.0 - from.0 > MAX_BACKTEST_DAYS * 24 * 60 {
        return Err(invalid("from", "is not before to, or too long before")
            .allowed(format!("up to {MAX_BACKTEST_DAYS} days before to"))
            .example("-7d"));
    }
    Ok((from, to))
}

fn right(mistake: Option<String>) -> Result<(), Problem> {
    mistake.map_or(Ok(()), |mistake| {
        let (field, allowed) = mistake.split_once(": ").unwrap_or(("body", &mistake));
        Err(invalid(field, "is out of range").allowed(allowed))
    })
}
