//! Alerts as they are kept: the last change of each, and how it came to that.
//!
//! An alert lies under its tenant's prefix, one over tenants apart from all; an index by id leads operators to all of them. Ids sort by
//! the minute in which an alert began. Writing a change again changes nothing.

use cells::query::Scope;
use detection::{Change, Severity, State};
use event::{Minute, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::layout;
use crate::ports::{Expected, Item, Key, Order, PutError, Range, Store, StoreError};

/// Alerts are kept so long after their last change.
const LIFE_MS: i64 = 400 * 24 * 60 * 60 * 1000;
/// Changes kept of one alert; of a longer life the first ones and the last.
const MAX_HISTORY: usize = 50;
/// An alert that began so long before a range may still be open in it, in minutes.
const LONGEST_MINUTES: u32 = 30 * 24 * 60;
/// Tries of a write that others are in the way of.
const TRIES: usize = 4;

/// An alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Its last change.
    #[serde(flatten)]
    pub change: Change,
    /// Who looks after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledged>,
    /// All changes, the first one first.
    pub history: Vec<Past>,
}

/// One change in an alert's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// Its number.
    pub sequence: u32,
    /// What changed.
    pub state: State,
    /// Whether its severity had risen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub escalated: bool,
    /// Whether it fired again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recurred: bool,
    /// How bad it was.
    pub severity: Severity,
    /// What the metric was.
    pub value: f64,
    /// When, RFC 3339.
    pub at: String,
}

/// That somebody looks after an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// The name of their key.
    pub by: String,
    /// When, RFC 3339.
    pub at: String,
}

/// Which alerts are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Those that fire, or those that are resolved; both if absent.
    pub is_open: Option<bool>,
    /// Not those resolved before.
    pub from: Minute,
    /// Not those that fired later.
    pub to: Minute,
    /// At most so many, the newest first.
    pub limit: usize,
}

/// Alerts cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum AlertsError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored alert is not what this program writes.
    #[error("alert {key} cannot be read: restore it or upgrade mailgauge")]
    Damaged {
        /// Where it lies.
        key: Key,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Others wrote it each time.
    #[error("alert {0} is changed all the time: try again")]
    Conflict(Key),
}

impl Alert {
    /// Whether it fires.
    pub fn is_open(&self) -> bool {
        self.change.state != State::Resolved
    }

    /// Adds a change; false if it is known.
    fn add(&mut self, change: &Change) -> bool {
        if change.sequence <= self.change.sequence {
            return false;
        }
        // Whoever acknowledged it did so for this trouble, even if it gets worse, but not for the next one.
        if change.state == State::Firing && !change.escalated {
            self.acknowledged = None;
        }
        if self.history.len() == MAX_HISTORY {
            self.history.remove(MAX_HISTORY / 2);
        }
        self.history.push(past(change));
        self.change = change.clone();
        true
    }
}

fn past(change: &Change) -> Past {
    let Change { sequence, state, escalated, recurred, severity, value, .. } = *change;
    Past { sequence, state, escalated, recurred, severity, value, at: change.updated_at.clone() }
}

/// The tenant of an alert; none for one over tenants.
fn tenant(name: &str) -> Option<TenantId> {
    TenantId::new(name).ok().filter(|tenant| tenant.as_str() != "*")
}

fn key(tenant: Option<&TenantId>, id: &str) -> Key {
    Key { partition: layout::alerts(tenant), sort: id.to_owned() }
}

/// Puts a change into the registry. Doing so again changes nothing.
pub(crate) async fn record<S: Store>(store: &S, change: &Change, now: Timestamp) -> Result<(), AlertsError> {
    let tenant = tenant(&change.tenant);
    let key = key(tenant.as_ref(), &change.id);
    update(store, &key, now, |alert| match alert {
        Some(mut alert) => alert.add(change).then_some(alert),
        None => Some(Alert { change: change.clone(), acknowledged: None, history: vec![past(change)] }),
    })
    .await?;
    let index = Item {
        key: Key { partition: layout::ALERT_INDEX.to_owned(), sort: change.id.clone() },
        body: change.tenant.clone().into_bytes(),
        version: 0,
        expires_at: Some(now.plus_millis(LIFE_MS)),
    };
    Ok(store.put(vec![index]).await?)
}

/// Changes one alert; what it is then, or as it was if `change` gives nothing.
async fn update<S: Store>(
    store: &S,
    key: &Key,
    now: Timestamp,
    change: impl Fn(Option<Alert>) -> Option<Alert>,
) -> Result<Option<Alert>, AlertsError> {
    for _ in 0..TRIES {
        let found = store.get(vec![key.clone()]).await?.into_iter().flatten().next();
        let version = found.as_ref().map(|item| item.version);
        let before = found.as_ref().map(read).transpose()?;
        let Some(alert) = change(before.clone()) else { return Ok(before) };
        let body =
            serde_json::to_vec(&alert).map_err(|source| AlertsError::Damaged { key: key.clone(), source })?;
        let item = Item {
            key: key.clone(),
            body,
            version: version.map_or(1, |version| version + 1),
            expires_at: Some(now.plus_millis(LIFE_MS)),
        };
        match store.put_if(item, version.map_or(Expected::Absent, Expected::Version)).await {
            Ok(()) => return Ok(Some(alert)),
            Err(PutError::Conflict) => {}
            Err(PutError::Store(error)) => return Err(error.into()),
        }
    }
    Err(AlertsError::Conflict(key.clone()))
}

fn read(item: &Item) -> Result<Alert, AlertsError> {
    serde_json::from_slice(&item.body)
        .map_err(|source| AlertsError::Damaged { key: item.key.clone(), source })
}

/// The alerts asked for, the newest first. A tenant's scope never meets another tenant's alerts, nor those over tenants.
pub async fn list<S: Store>(store: &S, scope: &Scope, asked: &Asked) -> Result<Vec<Alert>, AlertsError> {
    let partition = match scope {
        Scope::All => layout::ALERT_INDEX.to_owned(),
        Scope::Tenant(tenant) => layout::alerts(Some(tenant)),
    };
    let first = |minute: u32| format!("al_{minute:08x}");
    let mut rest = Some(Range {
        from: first(asked.from.0.saturating_sub(LONGEST_MINUTES)),
        to: Some(first(asked.to.0)),
        order: Order::Backwards,
        ..layout::whole(partition)
    });
    let (from, to) = (asked.from.start().to_string(), asked.to.start().to_string());
    let mut alerts = Vec::new();
    while let Some(range) = rest.take() {
        let page = store.range(range).await?;
        rest = page.rest;
        let items = match scope {
            Scope::All => indexed(store, &page.items).await?,
            Scope::Tenant(_) => page.items,
        };
        for item in &items {
            let alert = read(item)?;
            let is_wanted = asked.is_open.is_none_or(|open| open == alert.is_open())
                && (alert.is_open() || alert.change.updated_at >= from)
                && alert.change.fired_at < to;
            if is_wanted {
                alerts.push(alert);
            }
            if alerts.len() == asked.limit {
                return Ok(alerts);
            }
        }
    }
    Ok(alerts)
}

/// The alerts that entries of the index lead to.
async fn indexed<S: Store>(store: &S, entries: &[Item]) -> Result<Vec<Item>, StoreError> {
    let place = |entry: &Item| {
        let name = String::from_utf8_lossy(&entry.body);
        key(tenant(&name).as_ref(), &entry.key.sort)
    };
    let found = store.get(entries.iter().map(place).collect()).await?;
    Ok(found.into_iter().flatten().collect())
}

/// One alert, if there is one within the scope.
pub async fn get<S: Store>(store: &S, scope: &Scope, id: &str) -> Result<Option<Alert>, AlertsError> {
    match place(store, scope, id).await? {
        Some(key) => store.get(vec![key]).await?.iter().flatten().next().map(read).transpose(),
        None => Ok(None),
    }
}

async fn place<S: Store>(store: &S, scope: &Scope, id: &str) -> Result<Option<Key>, StoreError> {
    match scope {
        Scope::Tenant(tenant) => Ok(Some(key(Some(tenant), id))),
        Scope::All => {
            let index = Key { partition: layout::ALERT_INDEX.to_owned(), sort: id.to_owned() };
            let entry = store.get(vec![index]).await?.into_iter().flatten().next();
            Ok(entry.map(|entry| key(tenant(&String::from_utf8_lossy(&entry.body)).as_ref(), id)))
        }
    }
}

/// Somebody looks after an alert: it reminds nobody until it is resolved. What it is then; nothing if there is none within the scope.
pub async fn acknowledge<S: Store>(
    store: &S,
    scope: &Scope,
    id: &str,
    by: &str,
    now: Timestamp,
) -> Result<Option<Alert>, AlertsError> {
    let Some(key) = place(store, scope, id).await? else { return Ok(None) };
    let alert = update(store, &key, now, |alert| {
        let mut alert = alert.filter(|alert| alert.is_open() && alert.acknowledged.is_none())?;
        alert.acknowledged = Some(Acknowledged { by: by.to_owned(), at: now.minute().start().to_string() });
        Some(alert)
    })
    .await?;
    if alert.as_ref().is_some_and(Alert::is_open) {
        let told = Item { key: layout::acknowledgement(id), body: Vec::new(), version: 0, expires_at: None };
        store.put(vec![told]).await?;
    }
    Ok(alert)
}
