//! The backend over any store: what both homes answer with, the process and the API function.
//!
//! They differ in the store, the clock and the way in alone; a number asked of one is the number asked of the other.

use std::error::Error;
use std::fmt::Write as _;
use std::future::Future;
use std::num::NonZeroUsize;

use axum::body::Bytes;
use cells::query::{Answer, DimensionNames, Query, Scope};
use event::attribution::Dimension;
use event::{Hour, TenantId, Timestamp};
use pipeline::answer::{self, AnswerError};
use pipeline::compact;
use pipeline::credentials::{self, ApiKey, CredentialError, Grant};
use pipeline::ports::{Clock, Store};
use pipeline::reconcile;
use pipeline::snapshot::{Progress, SnapshotError};
use pipeline::stored::ReadError;
use pipeline::tenants;

use crate::backend::{
    Access, Backend, Caller, IngestError, Ingested, Reconciliation, Refusal, Tenant, Unavailable, Values,
};

/// How far back values of dimensions are looked for.
const VALUES_FROM: &str = "-30d";

/// The way in, where there is one.
pub trait Intake: Send + Sync + 'static {
    /// Counts the payloads; returns when that is committed.
    fn count(&self, payloads: Vec<Bytes>) -> impl Future<Output = Result<Ingested, IngestError>> + Send;

    /// When the oldest delta came that no block holds yet, if that is known.
    fn oldest_unmerged(&self) -> Option<Timestamp>;
}

/// A home's store, clock and settings.
#[derive(Debug)]
pub struct Home<S, C, I> {
    /// Where everything is kept.
    pub store: S,
    /// The time.
    pub clock: C,
    /// How long history is kept at which resolution.
    pub history: compact::Settings,
    /// The names of the declared tags.
    pub tags: Vec<String>,
    /// The way in.
    pub intake: I,
    /// How many cores one answer may use.
    pub threads: NonZeroUsize,
}

/// Told with its causes where it becomes an answer.
fn unavailable(operation: &'static str) -> impl FnOnce(Box<dyn Error + Send + Sync>) -> Unavailable {
    move |source| Unavailable { operation, source }
}

impl<S: Store, C: Clock, I: Intake> Home<S, C, I> {
    async fn answer(&self, query: &Query) -> Result<Answer, AnswerError> {
        answer::answer(&self.store, query, &self.history, self.clock.now(), self.threads).await
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
                let access = match credential.grant {
                    Grant::Operator => Access::Operator,
                    Grant::Tenant(tenant) => Access::Tenant(tenant),
                    Grant::Ingest => Access::Ingest,
                };
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

    async fn dimension_names(&self, _: &Scope) -> Result<DimensionNames, Unavailable> {
        let mut tags = self.tags.iter().cloned();
        Ok(DimensionNames { tags: std::array::from_fn(|_| tags.next()) })
    }

    async fn query(&self, query: Query) -> Result<Answer, Refusal> {
        match self.answer(&query).await {
            Ok(answer) => Ok(answer),
            Err(AnswerError::Query(error)) => Err(Refusal::Query(error)),
            Err(error) => Err(unavailable("a query")(error.into()).into()),
        }
    }

    async fn values(
        &self,
        scope: &Scope,
        dimension: Dimension,
        prefix: &str,
        limit: usize,
    ) -> Result<Values, Unavailable> {
        let order = format!("{}:asc", dimension.name());
        let most = Query::MAX_ROWS.to_string();
        let pairs = [
            ("metrics", "sends"),
            ("from", VALUES_FROM),
            ("to", "now"),
            ("granularity", "total"),
            ("group_by", dimension.name()),
            ("order_by", &order),
            ("limit", &most),
        ];
        let operation = "listing values";
        let query = Query::from_pairs(pairs, scope.clone(), &DimensionNames::default(), self.now())
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

    async fn tenants(&self) -> Result<Vec<Tenant>, Unavailable> {
        let tenants =
            tenants::list(&self.store).await.map_err(|error| unavailable("listing tenants")(error.into()))?;
        Ok(tenants.into_iter().map(|id| Tenant { id: id.to_string(), name: id.to_string() }).collect())
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

    async fn ingest(&self, payloads: Vec<Bytes>) -> Result<Ingested, IngestError> {
        self.intake.count(payloads).await
    }

    async fn ready(&self) -> Result<(), Unavailable> {
        Progress::read(&self.store)
            .await
            .map(|_| ())
            .map_err(|error| unavailable("reading the store")(error.into()))
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
