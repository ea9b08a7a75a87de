//! What the router needs from the rest of the program: who a key is, what a query answers, where events go.
//!
//! The router decides who may ask; a backend decides nothing about rights, but gets the scope with every call (it is part
//! of a query) and must never answer beyond it.

use std::collections::BTreeMap;
use std::future::Future;

use axum::body::Bytes;
use cells::query::{Answer, Locale, Metric, Query, QueryError, Scope};
use detection::budget::Standing;
use detection::trend::Trend;
use detection::{Change, Rules};
use event::attribution::{Dimension, TenantMaps};
use event::{Minute, TenantId, Timestamp};
use pipeline::alerting::queues::QueueUrl;
use pipeline::alerting::registry::{Alert, Asked};
use pipeline::directory::audit::Entry;
use pipeline::directory::credentials::{Credential, Grant};
use pipeline::directory::mappings::Packed;
use pipeline::directory::rules::OwnRules;
use pipeline::stored::Versioned;
use serde::{Serialize, Serializer};

/// The program behind the router.
///
/// Futures may be dropped at any await when a client goes away: what must run to its end belongs in a task of its own.
pub trait Backend: Send + Sync + 'static {
    /// The time.
    fn now(&self) -> Timestamp;

    /// Who holds this key; `None` if nobody does, or it is expired or revoked.
    fn authenticate(&self, key: &str) -> impl Future<Output = Result<Option<Caller>, Unavailable>> + Send;

    /// How those within `scope` speak of their mail.
    fn locale(&self, scope: &Scope) -> impl Future<Output = Result<Locale, Unavailable>> + Send;

    /// Answers a query.
    fn query(&self, query: Query) -> impl Future<Output = Result<Answer, Refusal>> + Send;

    /// The values seen of one dimension that begin with `prefix`, at most `limit`, sorted.
    fn values(
        &self,
        scope: &Scope,
        dimension: Dimension,
        prefix: &str,
        limit: usize,
    ) -> impl Future<Output = Result<Values, Unavailable>> + Send;

    /// The first `limit` tenants behind `after`, sorted by id. Only asked for operators.
    fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Tenant>, Unavailable>> + Send;

    /// One tenant, if there is one.
    fn tenant(&self, id: &TenantId) -> impl Future<Output = Result<Option<Tenant>, Unavailable>> + Send;

    /// Adds a tenant, or says something else of one. One whose name is its id has no other.
    fn describe(&self, id: &TenantId, tenant: Tenant)
    -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// What tells whose mail without a tag is, and the number of the last change.
    fn mappings(&self) -> impl Future<Output = Result<Versioned<TenantMaps>, Unavailable>> + Send;

    /// Sets mappings in place of those that had that number; false if somebody else was first.
    fn set_mappings(
        &self,
        packed: Packed,
        version: Option<u64>,
    ) -> impl Future<Output = Result<bool, Unavailable>> + Send;

    /// Erases a tenant, its numbers and its keys.
    fn erase(&self, id: &TenantId) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// The keys of a tenant, expired and revoked ones too, and when each was used last.
    fn keys(
        &self,
        tenant: &TenantId,
    ) -> impl Future<Output = Result<Vec<(Credential, Option<Timestamp>)>, Unavailable>> + Send;

    /// Keeps that somebody sets out to change something; nothing is changed if that fails.
    fn note(
        &self,
        who: &str,
        action: &'static str,
        subject: &str,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Who set out to change what in `[from, to)`, the newest first, at most `limit`.
    fn audit(
        &self,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Entry>, Unavailable>> + Send;

    /// Makes a key; the key in clear, which is nowhere else, and what is stored of it.
    fn add_key(
        &self,
        grant: Grant,
        name: &str,
        expires_at: Option<Timestamp>,
    ) -> impl Future<Output = Result<(String, Credential), Unavailable>> + Send;

    /// Lets a key expire at a moment if it does not sooner, or revokes it now if there is none.
    fn end_key(
        &self,
        id: &str,
        at: Option<Timestamp>,
    ) -> impl Future<Output = Result<Option<Credential>, Unavailable>> + Send;

    /// The proof of counting over `[from, to)`.
    fn reconcile(
        &self,
        scope: &Scope,
        from: Timestamp,
        to: Timestamp,
    ) -> impl Future<Output = Result<Reconciliation, Refusal>> + Send;

    /// The alerts asked for within `scope`, the newest first.
    fn alerts(
        &self,
        scope: &Scope,
        asked: Asked,
    ) -> impl Future<Output = Result<Vec<Alert>, Unavailable>> + Send;

    /// One alert, if there is one within `scope`.
    fn alert(
        &self,
        scope: &Scope,
        id: &str,
    ) -> impl Future<Output = Result<Option<Alert>, Unavailable>> + Send;

    /// Notes that `by` looks after an alert; the alert, if there is one within `scope`.
    fn acknowledge(
        &self,
        scope: &Scope,
        id: &str,
        by: &str,
    ) -> impl Future<Output = Result<Option<Alert>, Unavailable>> + Send;

    /// The operator's rules.
    fn rules(&self) -> impl Future<Output = Result<Rules, Unavailable>> + Send;

    /// Sets the operator's rules, which were checked.
    fn set_rules(&self, rules: Rules) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// What a tenant has set for itself.
    fn own_rules(&self, tenant: &TenantId) -> impl Future<Output = Result<OwnRules, Unavailable>> + Send;

    /// Sets a tenant's own rules, which were checked.
    fn set_own_rules(
        &self,
        tenant: &TenantId,
        rules: OwnRules,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// What would have been told of a tenant in `[from, to)` under these rules.
    fn backtest(
        &self,
        tenant: &TenantId,
        rules: Rules,
        range: (Minute, Minute),
    ) -> impl Future<Output = Result<Vec<Change>, Refusal>> + Send;

    /// The trend of a metric over the last weeks; none with less than two weeks of it.
    fn trend(
        &self,
        scope: &Scope,
        metric: Metric,
        weeks: u32,
        filters: &[String],
    ) -> impl Future<Output = Result<Option<Trend>, Refusal>> + Send;

    /// How far the lines of SES and Gmail are.
    fn budget(&self, scope: &Scope) -> impl Future<Output = Result<Vec<Standing>, Refusal>> + Send;

    /// Counts what the payloads hold and returns once that is committed. A payload is one event or a container of events
    /// in any form the decoder reads; what cannot be read is quarantined and is no error.
    fn ingest(&self, payloads: Vec<Bytes>) -> impl Future<Output = Result<Ingested, IngestError>> + Send;

    /// Whether queries can be answered and events be counted.
    fn ready(&self) -> impl Future<Output = Result<(), NotReady>> + Send;

    /// The program's own metrics as Prometheus text.
    fn metrics(&self) -> impl Future<Output = Result<String, Unavailable>> + Send;
}

/// Who asks: the holder of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The key's name, given by whoever made it.
    pub name: String,
    /// What the key opens.
    pub access: Access,
}

/// What a key opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything, of all tenants.
    Operator,
    /// Reading, of one tenant.
    Tenant {
        /// Which.
        tenant: TenantId,
        /// Whether its rules may be set and alerts taken up.
        sets_rules: bool,
    },
    /// What a suspended tenant's key opens: nothing.
    Suspended,
    /// Sending events in, and nothing else. A tenant's key may not: an event names its own tenant.
    Ingest,
}

/// Values of one dimension.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Values {
    /// The values, sorted.
    pub values: Vec<String>,
    /// Whether there are more than were asked for.
    pub truncated: bool,
}

/// One tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tenant {
    /// What storage keys, the header and filters call it.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Whether its keys open nothing.
    pub suspended: bool,
    /// The zone its days begin in where a question names none; UTC if nothing is said.
    pub timezone: Option<String>,
    /// What it calls declared tags, by `tag1` to `tag4`.
    pub tag_names: BTreeMap<String, String>,
    /// The SQS queues its mail waits in before it is sent.
    pub queues: Vec<QueueUrl>,
}

/// The proof of counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reconciliation {
    /// First moment of the range, rounded down to what can be proved.
    #[serde(serialize_with = "rfc3339")]
    pub from: Timestamp,
    /// First moment after the range.
    #[serde(serialize_with = "rfc3339")]
    pub to: Timestamp,
    /// Events read.
    pub events_read: u64,
    /// Events dropped because they had been counted.
    pub duplicates: u64,
    /// Of the aggregated: those that came long after they happened.
    pub late: u64,
    /// Parts of records that could not be read.
    pub quarantined: u64,
    /// Events in the counts.
    pub aggregated: u64,
    /// Events read of which nothing says what became of them (negative: counted, but never read): 0.
    pub drift: i64,
}

/// What became of the records of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ingested {
    /// Events counted.
    pub events: u64,
    /// Events dropped because they had been counted.
    pub duplicates: u64,
    /// Parts that are no sending events, such as a confirmation's text.
    pub ignored: u64,
    /// Parts that could not be read and were kept with the reason.
    pub quarantined: u64,
}

/// Why a batch was not committed. Sending it again is always safe.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// More is waiting than may wait.
    #[error("too much is waiting to be counted; send again in {retry_after_s} s")]
    Busy {
        /// When to try again.
        retry_after_s: u32,
    },
    /// Events do not come in here.
    #[error(
        "events come in by the stream here: send them to SES's configuration set, or put them on the stream"
    )]
    Elsewhere,
    /// The platform failed.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The question cannot be answered as it is asked.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The platform failed.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why the process should not receive requests.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// Nothing can be stored, for the reason that the operating system gave. Callers without a key may see it.
    #[error("events cannot be stored: {0}")]
    Fault(String),
    /// The store cannot be read.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The platform's own failure: worth another try later. What a client is told says nothing of the cause.
#[derive(Debug, thiserror::Error)]
#[error("{operation} failed")]
pub struct Unavailable {
    /// What was being done.
    pub operation: &'static str,
    /// Why it failed.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn rfc3339<S: Serializer>(moment: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(moment)
}
