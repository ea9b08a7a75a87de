//! The proof of counting over a range of hours: what was read against what is counted.

use cells::query::Scope;
use event::{TenantId, Timestamp};
use pipeline::directory::tenants;
use pipeline::history::reconciliation;
use pipeline::history::snapshot::{CountingProgress, SnapshotError};
use pipeline::ledger::reconcile;
use pipeline::ports::Store;
use pipeline::stored::ReadError;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

/// Events read and events counted over a range of whole hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReconciliationReport {
    /// Start of the range, rounded down to a whole hour.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub from: Timestamp,
    /// End of the range (exclusive), rounded up to a whole hour.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub to: Timestamp,
    /// Events read, one per recipient.
    pub events_read: u64,
    /// Events dropped because they had been counted before.
    pub duplicates: u64,
    /// The part of `aggregated` that arrived more than an hour after it happened.
    pub late: u64,
    /// Parts of records that could not be read. They have no tenant and no time, so this is the total since the beginning for the
    /// operator, and 0 for a tenant.
    pub quarantined: u64,
    /// Events counted, one per recipient.
    pub aggregated: u64,
    /// Duplicates of events that arrived later than this are recognised; of older ones they may have been counted again, which is no
    /// drift. Null if no counted event was forgotten.
    #[serde(serialize_with = "optional_rfc3339")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub deduplicated_since: Option<Timestamp>,
    /// Events read whose outcome is not recorded, or (negative) counted without having been read. Must be 0.
    pub drift: i64,
}

/// The proof of counting over the hours that `[from, to)` touches.
///
/// # Errors
/// [`SnapshotError`] if the numbers cannot be read.
pub async fn proof<S: Store>(
    store: &S,
    scope: &Scope,
    from: Timestamp,
    to: Timestamp,
) -> Result<ReconciliationReport, SnapshotError> {
    let first = from.minute().hour();
    // The end is excluded: a range that ends on a whole hour must not include the hour after it.
    let end = to.plus_millis(-1).minute().hour().plus(1).max(first);
    let tenants: Vec<TenantId> = match scope {
        Scope::Tenant(tenant) => vec![tenant.clone()],
        Scope::All => tenants::list(store).await.map_err(ReadError::from)?,
    };
    let mut sum = reconcile::Reconciliation::default();
    for tenant in &tenants {
        sum.add(&reconciliation::reconcile(store, tenant, first, end).await?);
    }
    let progress = CountingProgress::read(store).await?;
    let (tenant, quarantined) = match scope {
        Scope::Tenant(tenant) => (Some(tenant), 0),
        Scope::All => (None, progress.totals().quarantined),
    };
    Ok(ReconciliationReport {
        from: first.start(),
        to: end.start(),
        events_read: sum.events,
        duplicates: sum.duplicates,
        late: sum.late,
        quarantined,
        aggregated: sum.aggregated,
        deduplicated_since: progress.deduplicated_since(tenant),
        drift: sum.drift(),
    })
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn optional_rfc3339<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.to_string()).serialize(serializer)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn rfc3339<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}
