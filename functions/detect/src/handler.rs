//! One look at all tenants: read, judge, keep, tell.
//!
//! A change is kept before it is told, and marked as told after: a crash in between tells it again under the same id and sequence, and
//! never loses it. Of two looks at once, one finds the kept alerts changed and leaves that tenant to the other.

use std::collections::BTreeMap;
use std::future::Future;
use std::num::NonZeroUsize;

use cells::query::{DimensionNames, Query, QueryError, Scope, Value};
use event::{TenantId, Timestamp};
use pipeline::answer::{self, AnswerError};
use pipeline::ports::{Expected, Item, Key, PutError, Store, StoreError};
use pipeline::{compact, tenants};
use serde::{Deserialize, Serialize};

use crate::alert::Alert;
use crate::limits::{Limit, Proportion};

/// Mail gets so long to be delivered before it is looked for.
const SETTLED: (&str, &str) = ("-70m", "-10m");
const LAST_HOUR: (&str, &str) = ("-60m", "now");
/// Tenants of one page of an answer.
const PAGE: &str = "10000";

/// Where alerts are told.
pub trait Announce {
    /// Tells a change.
    fn announce(&self, alert: &Alert) -> impl Future<Output = Result<(), AnnounceError>> + Send;
}

/// An alert was not told; it will be at the next look.
pub type AnnounceError = Box<dyn std::error::Error + Send + Sync>;

/// Why a look came to nothing, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The counts could not be read.
    #[error("the counts of the last hour could not be read")]
    Answer(#[from] AnswerError),
    /// The question was refused, which is a mistake of this program.
    #[error("the question for the last hour was refused")]
    Query(#[from] QueryError),
    /// The store failed.
    #[error("the alerts could not be read or kept")]
    Store(#[from] StoreError),
    /// What is kept is not as it was written.
    #[error("the alerts of tenant {tenant} cannot be read: upgrade mailgauge or remove the item")]
    Kept {
        /// Whose.
        tenant: TenantId,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Alerts could not be told.
    #[error("{count} changes of alerts were not told and will be at the next look")]
    Announce {
        /// How many.
        count: usize,
        /// Why the first was not.
        #[source]
        source: AnnounceError,
    },
}

/// What a look found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Tenants looked at.
    pub tenants: usize,
    /// Changes told.
    pub told: usize,
}

/// An alert and whether its last change was told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    alert: Alert,
    is_told: bool,
}

type Alerts = BTreeMap<String, Kept>;
type Counts = BTreeMap<TenantId, [u64; 4]>;

/// Looks at all tenants once.
pub async fn look<S: Store, A: Announce>(
    store: &S,
    topic: &A,
    dashboard: &str,
    now: Timestamp,
) -> Result<Looked, DetectError> {
    let tenants = tenants::list(store).await?;
    let settled = counts(store, "send", SETTLED, now).await?;
    let recent = counts(store, "event", LAST_HOUR, now).await?;
    let held = store.get(tenants.iter().map(key).collect()).await?;
    let mut looked = Looked { tenants: tenants.len(), told: 0 };
    let mut untold: (usize, Option<AnnounceError>) = (0, None);
    for (tenant, item) in tenants.into_iter().zip(held) {
        let (mut alerts, version) = read(&tenant, item)?;
        let [sends, deliveries, ..] = settled.get(&tenant).copied().unwrap_or_default();
        let [sent, delivered, bounces, complaints] = recent.get(&tenant).copied().unwrap_or_default();
        for limit in Limit::ALL {
            let found = match limit {
                Limit::Delivery => Proportion { bad: sends.saturating_sub(deliveries), all: sends },
                Limit::Bounce => Proportion { bad: bounces.min(sent), all: sent },
                Limit::Complaint => Proportion { bad: complaints.min(delivered), all: delivered },
            };
            let before = alerts.get(limit.metric()).map(|kept| &kept.alert);
            if let Some(alert) = Alert::next(before, &tenant, limit, found, now, dashboard) {
                alerts.insert(limit.metric().to_owned(), Kept { alert, is_told: false });
            }
        }
        if alerts.values().all(|kept| kept.is_told) {
            continue;
        }
        let Some(version) = keep(store, &tenant, &alerts, version).await? else { continue };
        for kept in alerts.values_mut().filter(|kept| !kept.is_told) {
            match topic.announce(&kept.alert).await {
                Ok(()) => {
                    kept.is_told = true;
                    looked.told += 1;
                }
                Err(error) => {
                    untold.0 += 1;
                    untold.1.get_or_insert(error);
                }
            }
        }
        keep(store, &tenant, &alerts, Some(version)).await?;
    }
    match untold {
        (count, Some(source)) => Err(DetectError::Announce { count, source }),
        (_, None) => Ok(looked),
    }
}

/// Sends, deliveries, bounces and complaints of all tenants.
async fn counts<S: Store>(
    store: &S,
    basis: &str,
    (from, to): (&str, &str),
    now: Timestamp,
) -> Result<Counts, DetectError> {
    let mut found = Counts::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut pairs = vec![
            ("metrics", "sends,deliveries,bounces,complaints"),
            ("from", from),
            ("to", to),
            ("granularity", "total"),
            ("group_by", "tenant"),
            ("basis", basis),
            ("limit", PAGE),
        ];
        pairs.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let query = Query::from_pairs(pairs, Scope::All, &DimensionNames::default(), now)?;
        let answer =
            answer::answer(store, &query, &compact::Settings::default(), now, NonZeroUsize::MIN).await?;
        for row in answer.rows() {
            // The row of all tenants on other pages is none of theirs.
            let Some(Ok(tenant)) = row.group.first().map(|name| TenantId::new(name)) else { continue };
            let mut values = row.metrics.iter().map(|value| match value {
                Value::Count(count) => *count,
                Value::Number(_) | Value::Missing => 0,
            });
            found.insert(tenant, std::array::from_fn(|_| values.next().unwrap_or_default()));
        }
        match answer.next_cursor() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(found),
        }
    }
}

fn key(tenant: &TenantId) -> Key {
    Key { partition: format!("t#{tenant}#a"), sort: "limits".to_owned() }
}

fn read(tenant: &TenantId, item: Option<Item>) -> Result<(Alerts, Option<u64>), DetectError> {
    let Some(item) = item else { return Ok((Alerts::new(), None)) };
    let alerts = serde_json::from_slice(&item.body)
        .map_err(|source| DetectError::Kept { tenant: tenant.clone(), source })?;
    Ok((alerts, Some(item.version)))
}

/// Keeps a tenant's alerts; the new version, or nothing if somebody else has changed them.
async fn keep<S: Store>(
    store: &S,
    tenant: &TenantId,
    alerts: &Alerts,
    version: Option<u64>,
) -> Result<Option<u64>, DetectError> {
    let body =
        serde_json::to_vec(alerts).map_err(|source| DetectError::Kept { tenant: tenant.clone(), source })?;
    let next = version.map_or(1, |version| version + 1);
    let item = Item { key: key(tenant), body, version: next, expires_at: None };
    match store.put_if(item, version.map_or(Expected::Absent, Expected::Version)).await {
        Ok(()) => Ok(Some(next)),
        Err(PutError::Conflict) => Ok(None),
        Err(PutError::Store(error)) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
