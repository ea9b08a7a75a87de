//! The backend over any store: what both homes answer with, the process and the API function.
//!
//! They differ in the store, the clock and the way in alone; a number asked of one is the number asked of the other.

use std::error::Error;
use std::fmt::Write as _;
use std::future::Future;
use std::num::NonZeroUsize;

use axum::body::Bytes;
use cells::query::{Answer, Locale, Metric, Query, Scope};
use detection::budget::Standing;
use detection::trend::Trend;
use detection::{Change, Detector, Rules};
use event::attribution::{Dimension, TenantMaps};
use event::{Hour, Minute, TenantId, Timestamp};
use pipeline::alerting::detection_run::counts::Width;
use pipeline::alerting::detection_run::{self, WatchError};
use pipeline::alerting::registry::{self, Alert, Asked};
use pipeline::directory::audit::{self, Entry};
use pipeline::directory::credentials::{self, ApiKey, Credential, CredentialError, Grant};
use pipeline::directory::erasure;
use pipeline::directory::mappings::{self, Packed};
use pipeline::directory::rules::{self, OwnRules};
use pipeline::directory::tenants::{self, Details};
use pipeline::history::answering::{self, AnswerError};
use pipeline::history::compaction;
use pipeline::history::look_back::Source;
use pipeline::history::snapshot::{Progress, SnapshotError};
use pipeline::ledger::reconcile;
use pipeline::ports::{Clock, Store};
use pipeline::stored::{ReadError, Versioned};

use crate::backend::{
    Access, Backend, Caller, IngestError, Ingested, NotReady, Reconciliation, Refusal, Tenant, Unavailable,
    Values,
};

mod uses;

pub use uses::Uses;

/// How far back values of dimensions are looked for.
const VALUES_FROM: &str = "-30d";

/// The way in, where there is one.
pub trait Intake: Send + Sync + 'static {
    /// Counts the payloads; returns when that is committed.
    fn count(&self, payloads: Vec<Bytes>) -> impl Future<Output = Result<Ingested, IngestError>> + Send;

    /// When the oldest delta came that no block holds yet, if that is known.
    fn oldest_unmerged(&self) -> Option<Timestamp>;

    /// Why nothing can be stored at the moment, such as a full disk; `None` if writes work. Callers without a key may see it.
    fn fault(&self) -> Option<String>;
}

/// A home's store, clock and settings.
#[derive(Debug)]
pub struct Home<S, C, I> {
    /// Where everything is kept.
    pub store: S,
    /// The time.
    pub clock: C,
    /// How long history is kept at which resolution.
    pub history: compaction::Settings,
    /// The names of the declared tags.
    pub tags: Vec<String>,
    /// The way in.
    pub intake: I,
    /// How many cores one answer may use.
    pub threads: NonZeroUsize,
    /// When keys were used.
    pub uses: Uses,
}

fn shown(id: &TenantId, details: Details) -> Tenant {
    let Details { name, suspended, timezone, tag_names, queues, added_at: _ } = details;
    Tenant {
        id: id.to_string(),
        name: name.unwrap_or_else(|| id.to_string()),
        suspended,
        timezone,
        tag_names,
        queues,
    }
}

/// Told with its causes where it becomes an answer.
fn unavailable(operation: &'static str) -> impl FnOnce(Box<dyn Error + Send + Sync>) -> Unavailable {
    move |source| Unavailable { operation, source }
}

fn refusal(error: AnswerError, operation: &'static str) -> Refusal {
    match error {
        AnswerError::Query(error) => Refusal::Query(error),
        error @ AnswerError::Numbers(_) => unavailable(operation)(error.into()).into(),
    }
}

impl<S: Store, C: Clock, I: Intake> Home<S, C, I> {
    async fn details(&self, tenant: &TenantId) -> Result<Details, Unavailable> {
        let details = tenants::details(&self.store, std::slice::from_ref(tenant)).await;
        let details = details.map_err(|error| unavailable("reading a tenant")(error.into()))?;
        Ok(details.into_iter().next().unwrap_or_default())
    }

    /// Notes that a key is used, once in a while: a use more or less is not worth a write, nor a refusal.
    async fn note_use(&self, id: &str) {
        let now = self.now();
        if self.uses.is_due(id, now)
            && let Err(error) = credentials::note_use(&self.store, id, now).await
        {
            tracing::warn!(%error, "the use of a key was not noted");
        }
    }

    fn source(&self) -> Source<'_, S> {
        Source { store: &self.store, history: &self.history, now: self.clock.now(), threads: self.threads }
    }

    async fn answer(&self, query: &Query) -> Result<Answer, AnswerError> {
        answering::answer(&self.store, query, &self.history, self.clock.now(), self.threads).await
    }
}

impl<S: Store, C: Clock, I: Intake> Backend for Home<S, C, I> {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn authenticate(&self, key: &str) -> Result<Option<Caller>, Unavailable> {
        let Ok(key) = ApiKey::parse(key) else { return Ok(None) };
        match credentials::verify(&self.store, &key, self.now()).await {
            Ok(credential) => {
                let sets_rules = matches!(credential.grant, Grant::Tenant(_));
                let access = match credential.grant {
                    Grant::Operator => Access::Operator,
                    Grant::Ingest => Access::Ingest,
                    Grant::Tenant(tenant) | Grant::Reader(tenant) => {
                        let suspended = self.details(&tenant).await?.suspended;
                        if suspended { Access::Suspended } else { Access::Tenant { tenant, sets_rules } }
                    }
                };
                self.note_use(&credential.id).await;
                Ok(Some(Caller { name: credential.name, access }))
            }
            Err(
                CredentialError::Malformed
                | CredentialError::Unknown
                | CredentialError::Expired(_)
                | CredentialError::Revoked(_)
                | CredentialError::Conflict,
            ) => Ok(None),
            Err(error @ CredentialError::Read(_)) => Err(unavailable("checking a key")(error.into())),
        }
    }

    async fn locale(&self, scope: &Scope) -> Result<Locale, Unavailable> {
        let own = match scope {
            Scope::Tenant(tenant) => self.details(tenant).await?,
            Scope::All => Details::default(),
        };
        Ok(own.locale(&self.tags))
    }

    async fn query(&self, query: Query) -> Result<Answer, Refusal> {
        self.answer(&query).await.map_err(|error| refusal(error, "a query"))
    }

    async fn values(
        &self,
        scope: &Scope,
        dimension: Dimension,
        prefix: &str,
        limit: usize,
    ) -> Result<Values, Unavailable> {
        let order = format!("{}:asc", dimension.name());
        let pairs = [
            ("metrics", "sends"),
            ("from", VALUES_FROM),
            ("to", "now"),
            ("granularity", "total"),
            ("group_by", dimension.name()),
            ("order_by", &order),
        ];
        let operation = "listing values";
        let query = Query::from_pairs(pairs, scope.clone(), &Locale::default(), self.now())
            .map_err(|error| unavailable(operation)(error.into()))?;
        let answer = self.answer(&query).await.map_err(|error| unavailable(operation)(error.into()))?;
        let mut values: Vec<String> = answer
            .rows()
            .iter()
            .filter_map(|row| row.group.first())
            .filter(|value| value.starts_with(prefix))
            .map(ToString::to_string)
            .collect();
        values.sort();
        let truncated = values.len() > limit || answer.next_cursor().is_some();
        values.truncate(limit);
        Ok(Values { values, truncated })
    }

    async fn tenants(&self, after: Option<&TenantId>, limit: usize) -> Result<Vec<Tenant>, Unavailable> {
        let failed = "listing tenants";
        let mut ids = tenants::list(&self.store).await.map_err(|error| unavailable(failed)(error.into()))?;
        ids.retain(|id| after.is_none_or(|after| id > after));
        ids.truncate(limit);
        let details =
            tenants::details(&self.store, &ids).await.map_err(|error| unavailable(failed)(error.into()))?;
        Ok(ids.iter().zip(details).map(|(id, details)| shown(id, details)).collect())
    }

    async fn tenant(&self, id: &TenantId) -> Result<Option<Tenant>, Unavailable> {
        let is_known = tenants::is_known(&self.store, id)
            .await
            .map_err(|error| unavailable("reading a tenant")(error.into()))?;
        Ok(if is_known { Some(shown(id, self.details(id).await?)) } else { None })
    }

    async fn describe(&self, id: &TenantId, tenant: Tenant) -> Result<(), Unavailable> {
        let before = self.details(id).await?;
        let added_at = before.added_at.or(Some(self.now().millis()));
        let Tenant { id: _, name, suspended, timezone, tag_names, queues } = tenant;
        let name = Some(name).filter(|name| name != id.as_str());
        let details = Details { name, suspended, timezone, tag_names, queues, added_at };
        tenants::describe(&self.store, id, &details)
            .await
            .map_err(|error| unavailable("describing a tenant")(error.into()))
    }

    async fn mappings(&self) -> Result<Versioned<TenantMaps>, Unavailable> {
        mappings::read(&self.store).await.map_err(|error| unavailable("reading mappings")(error.into()))
    }

    async fn set_mappings(&self, packed: Packed, version: Option<u64>) -> Result<bool, Unavailable> {
        mappings::set(&self.store, packed, version)
            .await
            .map_err(|error| unavailable("setting mappings")(error.into()))
    }

    async fn erase(&self, id: &TenantId) -> Result<(), Unavailable> {
        let erased = erasure::erase(&self.store, id).await;
        erased.map(|_| ()).map_err(|error| unavailable("erasing a tenant")(error.into()))
    }

    async fn keys(&self, tenant: &TenantId) -> Result<Vec<(Credential, Option<Timestamp>)>, Unavailable> {
        let failed = |error: CredentialError| unavailable("listing keys")(error.into());
        let mut keys = credentials::list(&self.store).await.map_err(failed)?;
        keys.retain(|key| key.grant.tenant() == Some(tenant));
        let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
        let uses = credentials::uses(&self.store, &ids).await.map_err(failed)?;
        Ok(keys.into_iter().zip(uses).collect())
    }

    async fn note(&self, who: &str, action: &'static str, subject: &str) -> Result<(), Unavailable> {
        let failed = "noting who does what";
        let mut number = [0; 8];
        getrandom::fill(&mut number).map_err(|error| unavailable(failed)(error.into()))?;
        audit::note(&self.store, (who, action, subject), self.now(), u64::from_be_bytes(number))
            .await
            .map_err(|error| unavailable(failed)(error.into()))
    }

    async fn audit(&self, from: Timestamp, to: Timestamp, limit: usize) -> Result<Vec<Entry>, Unavailable> {
        audit::list(&self.store, from, to, limit)
            .await
            .map_err(|error| unavailable("listing who did what")(error.into()))
    }

    async fn add_key(
        &self,
        grant: Grant,
        name: &str,
        expires_at: Option<Timestamp>,
    ) -> Result<(String, Credential), Unavailable> {
        let failed = "making a key";
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|error| unavailable(failed)(error.into()))?;
        let key = ApiKey::from_random(random);
        let added = credentials::add(&self.store, &key, grant, name, self.now(), expires_at).await;
        let credential = added.map_err(|error| unavailable(failed)(error.into()))?;
        Ok((key.reveal().to_owned(), credential))
    }

    async fn end_key(&self, id: &str, at: Option<Timestamp>) -> Result<Option<Credential>, Unavailable> {
        let ended = match at {
            Some(at) => credentials::expire(&self.store, id, at).await,
            None => credentials::revoke(&self.store, id, self.now()).await,
        };
        match ended {
            Ok(credential) => Ok(Some(credential)),
            Err(CredentialError::Unknown) => Ok(None),
            Err(error) => Err(unavailable("ending a key")(error.into())),
        }
    }

    async fn reconcile(
        &self,
        scope: &Scope,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Reconciliation, Refusal> {
        proof(&self.store, scope, from, to)
            .await
            .map_err(|error| unavailable("reconciling")(error.into()).into())
    }

    async fn alerts(&self, scope: &Scope, asked: Asked) -> Result<Vec<Alert>, Unavailable> {
        registry::list(&self.store, scope, &asked)
            .await
            .map_err(|error| unavailable("listing alerts")(error.into()))
    }

    async fn alert(&self, scope: &Scope, id: &str) -> Result<Option<Alert>, Unavailable> {
        registry::get(&self.store, scope, id)
            .await
            .map_err(|error| unavailable("reading an alert")(error.into()))
    }

    async fn acknowledge(&self, scope: &Scope, id: &str, by: &str) -> Result<Option<Alert>, Unavailable> {
        registry::acknowledge(&self.store, scope, id, by, self.now())
            .await
            .map_err(|error| unavailable("acknowledging an alert")(error.into()))
    }

    async fn rules(&self) -> Result<Rules, Unavailable> {
        rules::of_operator(&self.store).await.map_err(|error| unavailable("reading rules")(error.into()))
    }

    async fn set_rules(&self, rules: Rules) -> Result<(), Unavailable> {
        rules::set_of_operator(&self.store, &rules)
            .await
            .map_err(|error| unavailable("setting rules")(error.into()))
    }

    async fn own_rules(&self, tenant: &TenantId) -> Result<OwnRules, Unavailable> {
        rules::of_tenant(&self.store, tenant)
            .await
            .map_err(|error| unavailable("reading rules")(error.into()))
    }

    async fn set_own_rules(&self, tenant: &TenantId, rules: OwnRules) -> Result<(), Unavailable> {
        rules::set_of_tenant(&self.store, tenant, &rules)
            .await
            .map_err(|error| unavailable("setting rules")(error.into()))
    }

    async fn backtest(
        &self,
        tenant: &TenantId,
        rules: Rules,
        range: (Minute, Minute),
    ) -> Result<Vec<Change>, Refusal> {
        let mut detector = Detector::new(Width::FiveMinutes.minutes(), rules);
        let tenants = [tenant.clone()];
        let replayed = detection_run::backtest(
            &self.store,
            &self.history,
            &tenants,
            range,
            Width::FiveMinutes,
            &mut detector,
            self.now(),
        );
        match replayed.await {
            Ok(changes) => Ok(changes),
            Err(WatchError::Answer(AnswerError::Query(error))) => Err(error.into()),
            Err(error) => Err(unavailable("a backtest")(error.into()).into()),
        }
    }

    async fn trend(
        &self,
        scope: &Scope,
        metric: Metric,
        weeks: u32,
        filters: &[String],
    ) -> Result<Option<Trend>, Refusal> {
        let locale = self.locale(scope).await?;
        let trend = self.source().trend(scope, &locale, metric, weeks, filters).await;
        trend.map_err(|error| refusal(error, "a trend"))
    }

    async fn budget(&self, scope: &Scope) -> Result<Vec<Standing>, Refusal> {
        self.source().budget(scope).await.map_err(|error| refusal(error, "a budget"))
    }

    async fn ingest(&self, payloads: Vec<Bytes>) -> Result<Ingested, IngestError> {
        self.intake.count(payloads).await
    }

    async fn ready(&self) -> Result<(), NotReady> {
        if let Some(reason) = self.intake.fault() {
            return Err(NotReady::Fault(reason));
        }
        Progress::read(&self.store)
            .await
            .map(|_| ())
            .map_err(|error| NotReady::Unavailable(unavailable("reading the store")(error.into())))
    }

    async fn metrics(&self) -> Result<String, Unavailable> {
        let progress = Progress::read(&self.store)
            .await
            .map_err(|error| unavailable("reading the store")(error.into()))?;
        Ok(prometheus(&progress, self.intake.oldest_unmerged(), self.now()))
    }
}

/// The proof of counting over the hours that `[from, to)` touches.
pub async fn proof<S: Store>(
    store: &S,
    scope: &Scope,
    from: Timestamp,
    to: Timestamp,
) -> Result<Reconciliation, SnapshotError> {
    let first = from.minute().hour();
    let last = Hour(to.plus_millis(-1).minute().hour().0.saturating_add(1)).max(first);
    let tenants: Vec<TenantId> = match scope {
        Scope::Tenant(tenant) => vec![tenant.clone()],
        Scope::All => tenants::list(store).await.map_err(ReadError::from)?,
    };
    let mut sum = reconcile::Reconciliation::default();
    for tenant in &tenants {
        sum.add(&reconcile::reconcile(store, tenant, first, last).await?);
    }
    // What cannot be read has no tenant and no time of its own: it stands in the totals of all.
    let quarantined = match scope {
        Scope::Tenant(_) => 0,
        Scope::All => reconcile::totals(&Progress::read(store).await?).quarantined,
    };
    Ok(Reconciliation {
        from: first.start(),
        to: last.start(),
        events_read: sum.events,
        duplicates: sum.duplicates,
        late: sum.late,
        quarantined,
        aggregated: sum.aggregated,
        drift: sum.drift(),
    })
}

fn prometheus(progress: &Progress, oldest_unmerged: Option<Timestamp>, now: Timestamp) -> String {
    let totals = reconcile::totals(progress);
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "# HELP mailgauge_{name} {help}\n# TYPE mailgauge_{name} {kind}\nmailgauge_{name} {value}"
        );
    };
    for (name, help, value) in [
        ("records_total", "Records taken in.", totals.records),
        ("events_total", "Counts of events read, one per recipient.", totals.events),
        ("duplicates_total", "Counts dropped because the same event was counted before.", totals.duplicates),
        ("late_total", "Counts that came more than an hour after they happened.", totals.late),
        ("quarantined_total", "Parts of records that cannot be read.", totals.quarantined),
        ("ignored_total", "Parts of records that are no events of mail by design.", totals.ignored),
        ("conflicts_total", "Counts whose tenant was in doubt.", totals.conflicts),
    ] {
        metric(name, "counter", help, value.to_string());
    }
    let age =
        |at: Option<Timestamp>| at.map_or(0.0, |at| now.millis_since(at).max(0) as f64 / 1000.0).to_string();
    metric(
        "newest_event_age_seconds",
        "gauge",
        "Age of the newest event counted.",
        age(progress.newest_event()),
    );
    metric(
        "oldest_unmerged_seconds",
        "gauge",
        "Age of the oldest delta no block holds.",
        age(oldest_unmerged),
    );
    text
}
