//! The alert registry: the latest change of each alert, its history, and who acknowledged it.
//!
//! An alert is stored under its tenant's prefix, an alert of the platform apart from all tenants; an index by id leads operators to all
//! of them. Ids are sorted by the minute in which an alert began. Recording a change twice changes nothing. Callers pass the scope of
//! the request, and no call returns an alert outside of it.

use cells::query::Scope;
use detection::{AlertState, Change, Severity};
use event::{Minute, TenantId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::StoredRecord;
use crate::directory::alert_index;
use crate::layout;
use crate::ports::{Item, Key, Range, ScanOrder, Store, StoreError};
use crate::stored::{self, ChangeError, ReadError};

/// How long an alert is kept after its last change: 400 days.
const LIFE_MS: i64 = 400 * 24 * 60 * 60 * 1000;
/// Maximum number of changes kept of one alert. Of a longer history, the first and the latest changes are kept.
const MAX_HISTORY: usize = 50;
/// An alert that is still open in a range began at most this long before it: 30 days, in minutes.
const LONGEST_MINUTES: u32 = 30 * 24 * 60;

/// An alert as of its latest change, with its history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Alert")]
pub struct RegisteredAlert {
    /// The latest change, which says what the alert is about and what state it is in.
    #[serde(flatten)]
    pub change: Change,
    /// Who acknowledged the alert; absent if nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledgement>,
    /// The changes of the alert, oldest first. Of more than 50, the first and the latest are kept.
    pub history: Vec<HistoryEntry>,
}

/// One change in the history of an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AlertHistoryEntry")]
pub struct HistoryEntry {
    /// The sequence number of the change.
    pub sequence: u32,
    /// The state of the alert since the change.
    pub state: AlertState,
    /// True if the severity of an alert that fired before had risen; absent otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub escalated: bool,
    /// True if the alert fired again after it had been resolved; absent otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recurred: bool,
    /// The severity since the change.
    pub severity: Severity,
    /// The value of the metric at the change.
    pub value: f64,
    /// The time of the change.
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
}

/// States that somebody takes care of an alert, so that it sends no reminders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AlertAcknowledgement")]
pub struct Acknowledgement {
    /// The name of the key or the subject of the token that acknowledged it.
    pub by: String,
    /// The time of the acknowledgement.
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
}

/// The item of an alert. The alert has the serde form of the API, which leaves out absent fields and is therefore stored as JSON.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct StoredAlert {
    #[serde(with = "crate::codec::json")]
    alert: RegisteredAlert,
}

impl StoredRecord for StoredAlert {
    const NAME: &'static str = "alert";
    const FORMAT: u8 = 3;
}

/// Which alerts to list.
#[derive(Clone, Copy, Debug)]
pub struct AlertFilter {
    /// Only firing alerts (true), only resolved ones (false), or both.
    pub is_open: Option<bool>,
    /// Leaves out alerts that were resolved before this minute.
    pub from: Minute,
    /// Leaves out alerts that fired in or after this minute.
    pub to: Minute,
    /// Maximum number of alerts. The newest are listed.
    pub limit: usize,
}

impl AlertFilter {
    fn matches(&self, alert: &RegisteredAlert) -> bool {
        // RFC 3339 texts of UTC times sort as the times do.
        self.is_open.is_none_or(|open| open == alert.is_open())
            && (alert.is_open() || alert.change.updated_at >= self.from.start().to_string())
            && alert.change.fired_at < self.to.start().to_string()
    }

    /// The ids of the alerts that may match. An id is `al_` and the minute in which the alert began, in 8 hexadecimal digits.
    fn ids(&self, partition: String) -> Range {
        let first_id = |minute: u32| format!("al_{minute:08x}");
        Range {
            // Ids sort by the minute in which the alert began, so an alert that is still open may lie before the
            // range.
            from: first_id(self.from.0.saturating_sub(LONGEST_MINUTES)),
            to: Some(first_id(self.to.0)),
            order: ScanOrder::Backwards,
            ..layout::whole(partition)
        }
    }
}

/// Alerts cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The store failed or a stored alert cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Other processes changed the alert during each attempt to update it.
    #[error("alert {0} is being changed by other processes: try again")]
    Conflict(Key),
}

impl From<ChangeError> for RegistryError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Read(error) => Self::Read(error),
            ChangeError::Contended(key) => Self::Conflict(key),
        }
    }
}

impl From<StoreError> for RegistryError {
    fn from(error: StoreError) -> Self {
        Self::Read(error.into())
    }
}

impl RegisteredAlert {
    /// Whether it is not resolved.
    pub fn is_open(&self) -> bool {
        self.change.state != AlertState::Resolved
    }

    /// The alert with the change added; `None` if it already has the change.
    fn with(mut self, change: &Change) -> Option<Self> {
        // By the sequence: a notification whose outcome was lost is recorded again, possibly behind a later change.
        if change.sequence <= self.change.sequence {
            return None;
        }
        // An acknowledgement is valid for this incident, even if it gets worse, but not for the next one.
        if change.state == AlertState::Firing && !change.escalated {
            self.acknowledged = None;
        }
        // From the middle: how an alert began and what it did last explain it better than what came in between.
        if self.history.len() == MAX_HISTORY {
            self.history.remove(MAX_HISTORY / 2);
        }
        self.history.push(history_entry(change));
        self.change = change.clone();
        Some(self)
    }
}

fn history_entry(change: &Change) -> HistoryEntry {
    let Change { sequence, state, escalated, recurred, severity, value, .. } = *change;
    HistoryEntry { sequence, state, escalated, recurred, severity, value, at: change.updated_at.clone() }
}

/// Records a change. Recording it again changes nothing.
pub(crate) async fn record<S: Store>(
    store: &S,
    change: &Change,
    now: Timestamp,
) -> Result<(), RegistryError> {
    let tenant = change.tenant.tenant();
    // The alert before its index entry: an entry must never lead to an alert that is not there.
    let key = layout::alert(tenant, &change.id);
    update(store, &key, now, |alert| match alert {
        Some(alert) => alert.with(change),
        None => Some(RegisteredAlert {
            change: change.clone(),
            acknowledged: None,
            history: vec![history_entry(change)],
        }),
    })
    .await?;
    // Also if nothing was updated: an earlier call may have been interrupted before this.
    let entry = alert_index::item(&change.id, tenant, now.plus_millis(LIFE_MS));
    Ok(store.put(vec![entry]).await?)
}

/// Updates the alert at `key` with what `change` returns, and returns the updated alert. If `change` returns `None`, nothing is written
/// and the alert is returned as it is.
async fn update<S: Store>(
    store: &S,
    key: &Key,
    now: Timestamp,
    change: impl Fn(Option<RegisteredAlert>) -> Option<RegisteredAlert>,
) -> Result<Option<RegisteredAlert>, RegistryError> {
    let update = |found: Option<&StoredAlert>| {
        let alert = change(found.map(|stored| stored.alert.clone()))?;
        Some(StoredAlert { alert })
    };
    let updated = stored::change(store, key, Some(now.plus_millis(LIFE_MS)), update).await?;
    Ok(updated.map(|stored| stored.alert))
}

fn decode(item: &Item) -> Result<RegisteredAlert, ReadError> {
    Ok(stored::decode::<StoredAlert>(item)?.alert)
}

/// Lists the alerts within the scope of the request that match the filter, newest first.
pub async fn list<S: Store>(
    store: &S,
    scope: &Scope,
    filter: &AlertFilter,
) -> Result<Vec<RegisteredAlert>, RegistryError> {
    let partition = match scope {
        Scope::All => layout::ALERT_INDEX.to_owned(),
        Scope::Tenant(tenant) => layout::alerts(Some(tenant)),
    };
    let mut rest = Some(filter.ids(partition));
    let mut alerts = Vec::new();
    while let Some(range) = rest.take() {
        let page = store.range(range).await?;
        rest = page.rest;
        let items = match scope {
            Scope::All => indexed(store, &page.items).await?,
            Scope::Tenant(_) => page.items,
        };
        for item in &items {
            // Counted before the push, so that a limit of 0 lists nothing.
            if alerts.len() == filter.limit {
                return Ok(alerts);
            }
            let alert = decode(item)?;
            if filter.matches(&alert) {
                alerts.push(alert);
            }
        }
    }
    Ok(alerts)
}

/// Reads the alerts that entries of the index name. An alert that has expired before its entry is left out.
async fn indexed<S: Store>(store: &S, entries: &[Item]) -> Result<Vec<Item>, ReadError> {
    let mut keys = Vec::with_capacity(entries.len());
    for entry in entries {
        keys.push(layout::alert(alert_index::tenant_of(entry)?.as_ref(), &entry.key.sort));
    }
    Ok(store.get(keys).await?.into_iter().flatten().collect())
}

/// Reads one alert; `None` if there is none within the scope of the request.
pub async fn get<S: Store>(
    store: &S,
    scope: &Scope,
    id: &str,
) -> Result<Option<RegisteredAlert>, RegistryError> {
    match key_of(store, scope, id).await? {
        Some(key) => Ok(store.get(vec![key]).await?.iter().flatten().next().map(decode).transpose()?),
        None => Ok(None),
    }
}

/// The key that an alert has if it is within the scope; `None` if the index does not know it.
async fn key_of<S: Store>(store: &S, scope: &Scope, id: &str) -> Result<Option<Key>, ReadError> {
    let tenant: Option<TenantId> = match scope {
        // The index is not asked: the key of another tenant's alert cannot be made from this scope.
        Scope::Tenant(tenant) => Some(tenant.clone()),
        Scope::All => {
            let entry = store.get(vec![layout::alert_index_entry(id)]).await?.into_iter().flatten().next();
            let Some(entry) = entry else { return Ok(None) };
            alert_index::tenant_of(&entry)?
        }
    };
    Ok(Some(layout::alert(tenant.as_ref(), id)))
}

/// Acknowledges an alert, which stops its reminders until it is resolved. An alert that is resolved or was acknowledged before is not
/// changed. Returns the alert as it is then; `None` if there is none within the scope of the request.
pub async fn acknowledge<S: Store>(
    store: &S,
    scope: &Scope,
    id: &str,
    by: &str,
    now: Timestamp,
) -> Result<Option<RegisteredAlert>, RegistryError> {
    let Some(key) = key_of(store, scope, id).await? else { return Ok(None) };
    let alert = update(store, &key, now, |alert| {
        // The first acknowledgement stays: it says who takes care, and when that began.
        let mut alert = alert.filter(|alert| alert.is_open() && alert.acknowledged.is_none())?;
        // To the minute, as all other times of an alert.
        let at = now.minute().start().to_string();
        alert.acknowledged = Some(Acknowledgement { by: by.to_owned(), at });
        Some(alert)
    })
    .await?;
    if alert.as_ref().is_some_and(RegisteredAlert::is_open) {
        // Detection keeps its own state of alerts. The next run reads this item, and then removes it.
        let key = layout::acknowledgement(id);
        store.put(vec![Item { key, body: Vec::new(), version: 0, expires_at: None }]).await?;
    }
    Ok(alert)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;
    use crate::testing::contended::ContendedStore;

    const BEGIN: u32 = 29_383_333;

    /// A change of the alert that began `minute` minutes after [`BEGIN`]; later changes come one minute apart.
    fn change(tenant: &str, minute: u32, sequence: u32, state: &str) -> Change {
        let at = |minute: u32| Minute(BEGIN + minute).start().to_string();
        let id = format!("al_{:08x}_1", BEGIN + minute);
        let (fired, updated) = (at(minute), at(minute + sequence - 1));
        serde_json::from_str(&format!(
            r#"{{"id":"{id}","sequence":{sequence},"tenant":"{tenant}","severity":"info","kind":"limit","metric":"m","state":"{state}","scope":{{}},"value":1.0,"numerator":1.0,"denominator":1.0,"started_at":"{fired}","fired_at":"{fired}","updated_at":"{updated}","window":"","cause":[],"summary":"","dedup_key":""}}"#
        ))
        .unwrap()
    }

    fn alert(minute: u32, sequence: u32, state: &str) -> RegisteredAlert {
        let change = change("acme", minute, sequence, state);
        RegisteredAlert { history: vec![history_entry(&change)], change, acknowledged: None }
    }

    fn now() -> Timestamp {
        Minute(BEGIN + 100).start()
    }

    fn acme() -> Scope {
        Scope::Tenant(TenantId::new("acme").unwrap())
    }

    fn everything() -> AlertFilter {
        AlertFilter { is_open: None, from: Minute(BEGIN), to: Minute(BEGIN + 100), limit: 10 }
    }

    #[test]
    fn filter_leaves_out_other_states_and_alerts_outside_of_its_range() {
        let filter = |is_open, from, to| AlertFilter {
            is_open,
            from: Minute(BEGIN + from),
            to: Minute(BEGIN + to),
            limit: 1,
        };
        let open = alert(10, 1, "firing");
        let resolved = alert(10, 6, "resolved");
        for (filter, alert, expected) in [
            (filter(None, 0, 100), &open, true),
            (filter(Some(true), 0, 100), &open, true),
            (filter(Some(false), 0, 100), &open, false),
            (filter(Some(true), 0, 100), &resolved, false),
            (filter(Some(false), 0, 100), &resolved, true),
            // An open alert is listed however long ago it began.
            (filter(None, 50, 100), &open, true),
            (filter(None, 15, 100), &resolved, true),
            (filter(None, 16, 100), &resolved, false),
            (filter(None, 0, 11), &open, true),
            (filter(None, 0, 10), &open, false),
        ] {
            assert_eq!(filter.matches(alert), expected, "{filter:?} {:?}", alert.change.state);
            if expected {
                let ids = filter.ids(String::new());
                assert!(
                    alert.change.id >= ids.from && Some(&alert.change.id) < ids.to.as_ref(),
                    "{filter:?}"
                );
            }
        }
    }

    #[test]
    fn a_known_change_is_not_added_again_and_a_long_history_keeps_its_ends() {
        assert_eq!(alert(0, 3, "firing").with(&change("acme", 0, 3, "firing")), None);
        assert_eq!(alert(0, 3, "firing").with(&change("acme", 0, 2, "firing")), None);
        let mut long = alert(0, 1, "firing");
        for sequence in 2..=200 {
            long = long.with(&change("acme", 0, sequence, "reminder")).unwrap();
        }
        let sequences: Vec<u32> = long.history.iter().map(|entry| entry.sequence).collect();
        assert_eq!(sequences.len(), MAX_HISTORY);
        assert_eq!((sequences[0], sequences[1], sequences[MAX_HISTORY - 1]), (1, 2, 200));
        assert!(sequences.is_sorted());
    }

    #[tokio::test]
    async fn acknowledgement_and_change_that_meet_are_both_kept() {
        let store = ContendedStore::new(0);
        let fired = change("acme", 1, 1, "firing");
        record(&store, &fired, now()).await.unwrap();
        store.lose(2);
        acknowledge(&store, &acme(), &fired.id, "Ann", now()).await.unwrap();
        store.lose(2);
        record(&store, &change("acme", 1, 2, "reminder"), now()).await.unwrap();
        let alert = get(&store, &acme(), &fired.id).await.unwrap().unwrap();
        assert_eq!(alert.acknowledged.map(|acknowledgement| acknowledgement.by).as_deref(), Some("Ann"));
        assert_eq!(alert.history.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [1, 2]);
        store.lose(usize::MAX);
        let refused = record(&store, &change("acme", 1, 3, "resolved"), now()).await;
        assert!(matches!(refused, Err(RegistryError::Conflict(_))), "{refused:?}");
    }

    #[test]
    fn an_acknowledgement_ends_when_the_alert_fires_again_and_not_when_it_escalates() {
        let acknowledgement = Acknowledgement { by: "Ann".to_owned(), at: String::new() };
        let acknowledged = RegisteredAlert { acknowledged: Some(acknowledgement), ..alert(0, 1, "firing") };
        let escalated = Change { escalated: true, ..change("acme", 0, 2, "firing") };
        assert!(acknowledged.clone().with(&escalated).unwrap().acknowledged.is_some());
        assert!(acknowledged.clone().with(&change("acme", 0, 2, "resolved")).unwrap().acknowledged.is_some());
        assert!(acknowledged.with(&change("acme", 0, 2, "firing")).unwrap().acknowledged.is_none());
    }

    #[tokio::test]
    async fn alerts_of_the_platform_and_of_tenants_are_listed_newest_first_within_their_scope() {
        let store = MemoryStore::new();
        for change in
            [change("acme", 1, 1, "firing"), change("*", 2, 1, "firing"), change("globex", 3, 1, "firing")]
        {
            record(&store, &change, now()).await.unwrap();
            record(&store, &change, now()).await.unwrap();
        }
        let tenants = async |scope: &Scope, filter: &AlertFilter| -> Vec<String> {
            list(&store, scope, filter)
                .await
                .unwrap()
                .into_iter()
                .map(|alert| alert.change.tenant.to_string())
                .collect()
        };
        assert_eq!(tenants(&Scope::All, &everything()).await, ["globex", "*", "acme"]);
        assert_eq!(tenants(&acme(), &everything()).await, ["acme"]);
        assert_eq!(tenants(&Scope::All, &AlertFilter { limit: 2, ..everything() }).await, ["globex", "*"]);
        assert_eq!(tenants(&Scope::All, &AlertFilter { limit: 0, ..everything() }).await, [""; 0]);
        let id = change("globex", 3, 1, "firing").id;
        assert!(get(&store, &Scope::All, &id).await.unwrap().is_some());
        assert_eq!(get(&store, &acme(), &id).await.unwrap(), None);
        assert_eq!(acknowledge(&store, &acme(), &id, "Ann", now()).await.unwrap(), None);
        assert_eq!(acknowledge(&store, &Scope::All, "al_nothing", "Ann", now()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn the_first_acknowledgement_of_an_open_alert_is_kept() {
        let store = MemoryStore::new();
        let fired = change("acme", 1, 1, "firing");
        record(&store, &fired, now()).await.unwrap();
        for name in ["Ann", "Bob"] {
            let alert = acknowledge(&store, &acme(), &fired.id, name, now()).await.unwrap().unwrap();
            assert_eq!(alert.acknowledged.unwrap().by, "Ann");
        }
        let waiting = stored::range(&store, layout::acknowledgements()).await.unwrap();
        assert_eq!(waiting.len(), 1);
        assert_eq!(layout::acknowledged_alert(&waiting[0].key), Some(fired.id.as_str()));
        store.delete(vec![waiting[0].key.clone()]).await.unwrap();
        record(&store, &change("acme", 1, 2, "resolved"), now()).await.unwrap();
        let resolved = acknowledge(&store, &acme(), &fired.id, "Bob", now()).await.unwrap().unwrap();
        assert_eq!(resolved.acknowledged.unwrap().by, "Ann");
        assert!(stored::range(&store, layout::acknowledgements()).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_damaged_alert_is_an_error_that_names_its_key() {
        let store = MemoryStore::new();
        let fired = change("acme", 1, 1, "firing");
        record(&store, &fired, now()).await.unwrap();
        let key = layout::alert(Some(&TenantId::new("acme").unwrap()), &fired.id);
        store
            .put(vec![Item { key: key.clone(), body: b"{}".to_vec(), version: 1, expires_at: None }])
            .await
            .unwrap();
        let error = get(&store, &acme(), &fired.id).await.unwrap_err();
        assert!(matches!(&error, RegistryError::Read(ReadError::Record { key: named, .. }) if *named == key));
    }

    #[test]
    fn stored_alert_of_this_format_is_read() {
        let record = StoredAlert { alert: alert(0, 1, "firing") };
        let bytes = record.encode();
        assert_eq!(StoredAlert::decode(&bytes), Ok(record));
        // The contents are the JSON of the API, whose sample is that of the alerts API.
        assert_eq!(bytes[0], StoredAlert::FORMAT);
        assert!(bytes.windows(9).any(|window| window == br#""id":"al_"#));
    }
}
