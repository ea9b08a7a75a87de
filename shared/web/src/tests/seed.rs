//! What every test finds in the store: counted mail, alerts from a real detection run, tenants and keys. Made once, then copied.
//!
//! - `acme` has three weeks of history that end a week ago, a mailing with a burst of bounces on the morning of [`NOW`], and one very old
//!   message, of which only the hour is still known.
//! - `hooli` has such a burst too. Nothing of it may ever reach a key of `acme`.
//! - `initech` is suspended.

use std::sync::{Arc, LazyLock};

use axum::body::Bytes;
use cells::Block;
use cells::query::Scope;
use detection::Change;
use event::{TenantId, Timestamp};
use pipeline::alerting::detection_run::{self, Notifier, NotifyError};
use pipeline::alerting::registry::{self, AlertFilter};
use pipeline::directory::api_keys::{self, ApiKey, Grant};
use pipeline::directory::tenants::{self, TenantSettings};
use pipeline::history::compaction::{self, schedule};
use pipeline::ledger::aggregate::Attempt;
use pipeline::ports::Item;
use serde_json::json;

use super::intake::{Mode, TestClock, TestIntake};
use super::store::TestStore;
use super::{ACME, INGEST, NOW, OPERATOR, READER, SUSPENDED, at};
use crate::{Ingested, Intake as _};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// The start of the mailing.
const MAILING: &str = "2026-11-25T11:20:00Z";
/// Recipients of the mailing of each tenant.
pub(super) const MAILED: u64 = 200;
/// Of these, how many addresses do not exist.
pub(super) const BOUNCED: u64 = 100;
/// Messages before the mailing: one every four hours, the last one eight days before it.
pub(super) const MESSAGES_OF_HISTORY: u64 = 21 * 6;
/// One message in this many bounced.
pub(super) const HISTORY_PER_BOUNCE: u64 = 10;
/// Within the time of which history is kept by the hour, but not by the minute.
pub(super) const OLD_MESSAGE: &str = "2026-09-20T10:30:00Z";

/// The store's items before a test, and the ids of some of them.
pub(super) struct Seed {
    pub(super) items: Vec<Item>,
    /// A firing alert of `acme`.
    pub(super) alert: String,
    /// A firing alert of `hooli`.
    pub(super) other_alert: String,
    /// A key of `acme` that no test sends.
    pub(super) spare_key: String,
    /// The id of the key [`INGEST`].
    pub(super) feed_key: String,
}

/// The seed. Made on a thread of its own, since tests run inside a runtime.
pub(super) fn seed() -> &'static Seed {
    static SEED: LazyLock<Seed> = LazyLock::new(|| {
        let make = || tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(make());
        std::thread::spawn(make).join().unwrap()
    });
    &SEED
}

async fn make() -> Seed {
    let store = Arc::new(TestStore::new(Vec::new()).await);
    let clock = TestClock::at(at(MAILING).plus_millis(10 * MINUTE_MS));
    let intake = TestIntake::new(Arc::clone(&store), clock.clone(), "seed", Mode::Counting);
    // On time: the mailings. One event arrives twice, and one record cannot be read.
    let mut lines = mailing("acme", "spring", "gmail.com") + &mailing("hooli", "hooli-launch", "outlook.com");
    let again = lines.lines().next().unwrap().to_owned();
    lines += &again;
    lines += "\n{\"eventType\":";
    let counted = intake.count(vec![Bytes::from(lines)]).await.unwrap();
    let events = 2 * (MAILED + BOUNCED);
    assert_eq!(counted, Ingested { events, duplicates: 1, quarantined: 1, ..Ingested::default() });
    detect(&store, &clock).await;
    // Late, so that detection has not had to evaluate three weeks minute by minute.
    clock.set(at(NOW));
    let history: String = (1..=MESSAGES_OF_HISTORY).map(message_of_history).collect();
    intake.count(vec![history.into()]).await.unwrap();
    let old =
        Mail { tenant: "acme", campaign: "autumn", id: "old", domain: "gmail.com", at: at(OLD_MESSAGE) };
    intake.count(vec![old.send().into()]).await.unwrap();
    compact(&store, &clock).await;
    let (spare_key, feed_key) = directory(&store).await;
    let [alert, other_alert] = [alert_of(&store, "acme").await, alert_of(&store, "hooli").await];
    Seed { items: store.items().await, alert, other_alert, spare_key, feed_key }
}

/// Runs detection up to the clock's time. Nobody is notified.
async fn detect(store: &Arc<TestStore>, clock: &TestClock) {
    struct NoChannel;

    impl Notifier for NoChannel {
        fn channels(&self, _: &Change) -> Vec<String> {
            Vec::new()
        }

        async fn notify(&self, _: &str, _: &Change) -> Result<(), NotifyError> {
            Ok(())
        }
    }

    let settings = detection_run::DetectionSettings::default();
    let run = detection_run::DetectionRun {
        store,
        clock,
        notifier: &NoChannel,
        readers: &(),
        settings: &settings,
        attempt: attempt(1),
    };
    run.run(&mut detection_run::DetectionCache::default()).await.unwrap();
}

async fn compact(store: &Arc<TestStore>, clock: &TestClock) {
    let mut id = 1000;
    let next = || {
        id += 1;
        attempt(id)
    };
    let settings = compaction::CompactionSettings::default();
    schedule::compact_due::<Block, _, _>(store, clock, &settings, next).await.unwrap();
}

fn attempt(id: u64) -> Attempt {
    Attempt { id, deadline: at(NOW).plus_millis(24 * HOUR_MS) }
}

/// Tenants and keys; the ids of the spare key and of the key for sending events.
async fn directory(store: &TestStore) -> (String, String) {
    let [acme, initech] = ["acme", "initech"].map(|id| TenantId::new(id).unwrap());
    let settings = TenantSettings { name: Some("Acme".to_owned()), ..TenantSettings::default() };
    tenants::save_settings(store, &acme, &settings).await.unwrap();
    let suspended = TenantSettings { suspended: true, ..TenantSettings::default() };
    tenants::save_settings(store, &initech, &suspended).await.unwrap();
    let add = async |number: u8, name: &str, grant: Grant| {
        let key = ApiKey::from_random([number; 32]);
        let stored = api_keys::add(store, &key, grant, name, at(NOW), None).await.unwrap();
        (key.reveal().to_owned(), stored.id)
    };
    let mut feed_key = String::new();
    for (number, expected, name, grant) in [
        (1, OPERATOR, "operator key", Grant::Operator),
        (2, ACME, "acme key", Grant::Tenant(acme.clone())),
        (3, READER, "reader key", Grant::Reader(acme.clone())),
        (4, SUSPENDED, "suspended key", Grant::Tenant(initech)),
        (5, INGEST, "ingest key", Grant::Ingest),
    ] {
        let (key, id) = add(number, name, grant).await;
        assert_eq!(key, expected, "{name}");
        // The one for sending events comes last.
        feed_key = id;
    }
    (add(6, "spare key", Grant::Tenant(acme)).await.1, feed_key)
}

async fn alert_of(store: &TestStore, tenant: &str) -> String {
    let scope = Scope::Tenant(TenantId::new(tenant).unwrap());
    let (from, to) = (at(MAILING).minute(), at(NOW).minute());
    let asked = AlertFilter { is_open: Some(true), from, to, limit: 10 };
    let alerts = registry::list(store, &scope, &asked).await.unwrap();
    assert!(!alerts.is_empty(), "{tenant} has an alert");
    alerts.into_iter().next().unwrap().change.id
}

/// One message to one recipient.
pub(super) struct Mail<'a> {
    pub(super) tenant: &'a str,
    pub(super) campaign: &'a str,
    pub(super) id: &'a str,
    pub(super) domain: &'a str,
    pub(super) at: Timestamp,
}

impl Mail<'_> {
    fn mail(&self) -> serde_json::Value {
        let Self { tenant, campaign, id, domain, at } = self;
        json!({
            "timestamp": at.to_string(),
            "messageId": format!("{tenant}-{campaign}-{id}"),
            "source": format!("news@{tenant}.example"),
            "destination": [format!("{id}@{domain}")],
            "tags": { "tenant": [tenant], "campaign": [campaign], "brand": [format!("{tenant}-brand")] },
        })
    }

    /// A line with the event that SES accepted it.
    pub(super) fn send(&self) -> String {
        json!({ "eventType": "Send", "mail": self.mail(), "send": {} }).to_string() + "\n"
    }

    /// A line with the event that a browser followed a link.
    pub(super) fn click(&self, link: &str, at: Timestamp) -> String {
        let click = json!({
            "timestamp": at.to_string(),
            "ipAddress": "192.0.2.9",
            "userAgent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "link": link,
            "linkTags": null,
        });
        json!({ "eventType": "Click", "mail": self.mail(), "click": click }).to_string() + "\n"
    }

    /// A line with the event that the recipient's address does not exist.
    pub(super) fn bounce(&self) -> String {
        let bounce = json!({
            "bounceType": "Permanent",
            "bounceSubType": "General",
            "bouncedRecipients": [{ "emailAddress": format!("{}@{}", self.id, self.domain) }],
            "timestamp": self.at.to_string(),
            "feedbackId": format!("feedback-{}", self.id),
        });
        json!({ "eventType": "Bounce", "mail": self.mail(), "bounce": bounce }).to_string() + "\n"
    }
}

fn mailing(tenant: &str, campaign: &str, domain: &str) -> String {
    let mut lines = String::new();
    for number in 0..MAILED {
        let mail = Mail {
            tenant,
            campaign,
            id: &number.to_string(),
            domain,
            // One message a second.
            at: at(MAILING).plus_millis(i64::try_from(number).unwrap() * 1000),
        };
        lines += &mail.send();
        if number < BOUNCED {
            lines += &mail.bounce();
        }
    }
    lines
}

/// A message of `acme`, the first one the newest.
fn message_of_history(number: u64) -> String {
    let hours_ago = 8 * 24 + 4 * i64::try_from(number).unwrap();
    let at = at(MAILING).plus_millis(-hours_ago * HOUR_MS);
    let campaign = if number.is_multiple_of(2) { "sp/even" } else { "sp/odd" };
    let id = format!("h{number}");
    let mail = Mail { tenant: "acme", campaign, id: &id, domain: "yahoo.com", at };
    let bounce = if number.is_multiple_of(HISTORY_PER_BOUNCE) { mail.bounce() } else { String::new() };
    mail.send() + &bounce
}
