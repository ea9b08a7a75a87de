//! Looks over counted events: told once per change, again after a failure, never for a tenant that somebody else looks at.

use std::sync::Mutex;

use adapters::secrets::Secrets;
use event::attribution::Attribution;
use event::{SequenceNumber, ShardId};
use pipeline::aggregate::fold::EventFold;
use pipeline::aggregate::identity::Memory;
use pipeline::aggregate::{self, Attempt, Batch, Record};
use pipeline::memory::MemoryStore;
use pipeline::ports::Clock;

use super::*;
use crate::alert::State;

/// 2025-11-13T02:00:00Z.
const START: Timestamp = Timestamp::from_millis(1_762_999_200_000);

struct Set(Timestamp);

impl Clock for Set {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// Remembers what was told, or is out of order.
#[derive(Default)]
struct Told {
    alerts: Mutex<Vec<Alert>>,
    is_down: bool,
}

impl Announce for Told {
    async fn announce(&self, alert: &Alert) -> Result<(), AnnounceError> {
        if self.is_down {
            return Err("down".into());
        }
        self.alerts.lock().unwrap().push(alert.clone());
        Ok(())
    }
}

fn minutes(minutes: i64) -> Timestamp {
    START.plus_millis(minutes * 60_000)
}

/// Mails of a tenant at a minute, some of which bounced.
fn mails(tenant: &str, minute: i64, sends: usize, bounces: usize) -> Vec<String> {
    let mut events = Vec::new();
    let at = minutes(minute).to_string();
    for number in 0..sends {
        let mail = format!(
            r#""mail":{{"timestamp":"{at}","messageId":"{tenant}-{minute}-{number}","source":"a@sender.example","destination":["b@mail.example"],"tags":{{"tenant":["{tenant}"]}}}}"#
        );
        events.push(format!(r#"{{"eventType":"Send",{mail},"send":{{}}}}"#));
        events.push(if number < bounces {
            format!(
                r#"{{"eventType":"Bounce",{mail},"bounce":{{"bounceType":"Permanent","bounceSubType":"General","bouncedRecipients":[{{"emailAddress":"b@mail.example"}}],"timestamp":"{at}","feedbackId":"f{number}"}}}}"#
            )
        } else {
            format!(
                r#"{{"eventType":"Delivery",{mail},"delivery":{{"timestamp":"{at}","processingTimeMillis":500,"recipients":["b@mail.example"],"smtpResponse":"250 ok"}}}}"#
            )
        });
    }
    events
}

async fn count(store: &MemoryStore, number: u64, events: &[String]) {
    let secrets = Secrets::from_bytes([7; Secrets::BYTES]);
    let mut fold = EventFold::new(Attribution::default(), secrets.hash_key(), secrets.seal());
    let shard = ShardId::new("shard-1").unwrap();
    let data = events.join("\n");
    let records =
        vec![Record { sequence: SequenceNumber::from(number), arrived_at: START, data: data.as_bytes() }];
    let batch = Batch { shard: &shard, records };
    let attempt = Attempt { id: number, deadline: START.plus_millis(60_000) };
    let (settings, mut memory) = (aggregate::Settings::default(), Memory::default());
    let counted =
        aggregate::aggregate(store, &Set(START), &settings, &mut fold, &mut memory, &batch, attempt)
            .await
            .unwrap();
    assert_eq!(counted.totals.aggregated, events.len() as u64, "{:?}", counted.totals);
}

fn changes(told: &Told) -> Vec<(String, String, State, u64)> {
    let alerts = told.alerts.lock().unwrap();
    alerts
        .iter()
        .map(|alert| (alert.tenant.clone(), alert.metric.clone(), alert.state, alert.sequence))
        .collect()
}

fn change(metric: &str, state: State, sequence: u64) -> (String, String, State, u64) {
    ("bad".to_owned(), metric.to_owned(), state, sequence)
}

#[tokio::test]
async fn each_change_is_told_once() {
    let store = MemoryStore::new();
    count(&store, 1, &mails("good", 0, 200, 1)).await;
    count(&store, 2, &mails("bad", 0, 200, 60)).await;
    let told = Told::default();
    let fired = [change("delivery_rate", State::Firing, 1), change("bounce_rate", State::Firing, 1)];
    for (minute, expected) in [(30, 2), (31, 0)] {
        let looked = look(&store, &told, "", minutes(minute)).await.unwrap();
        assert_eq!((looked.tenants, looked.told), (2, expected));
    }
    let mut changes_told = changes(&told);
    changes_told.sort_by(|a, b| b.1.cmp(&a.1));
    assert_eq!(changes_told, fired);
    // Three hours later there is no mail any more: cohorts are by the whole hour.
    look(&store, &told, "", minutes(200)).await.unwrap();
    let after: Vec<_> =
        changes(&told).into_iter().skip(2).map(|(.., state, sequence)| (state, sequence)).collect();
    assert_eq!(after, [(State::Resolved, 2); 2]);
}

#[tokio::test]
async fn what_could_not_be_told_is_told_at_the_next_look() {
    let store = MemoryStore::new();
    count(&store, 1, &mails("bad", 0, 200, 60)).await;
    let down = Told { is_down: true, ..Told::default() };
    let failed = look(&store, &down, "", minutes(30)).await;
    assert!(matches!(failed, Err(DetectError::Announce { count: 2, .. })), "{failed:?}");
    let told = Told::default();
    look(&store, &told, "", minutes(31)).await.unwrap();
    assert_eq!(changes(&told).len(), 2);
    assert!(told.alerts.lock().unwrap().iter().all(|alert| alert.fired_at == minutes(30).to_string()));
    look(&store, &told, "", minutes(32)).await.unwrap();
    assert_eq!(changes(&told).len(), 2);
}

#[tokio::test]
async fn one_of_two_looks_leaves_a_tenant_to_the_other() {
    let store = MemoryStore::new();
    let tenant = TenantId::new("bad").unwrap();
    assert_eq!(keep(&store, &tenant, &Alerts::new(), None).await.unwrap(), Some(1));
    assert_eq!(keep(&store, &tenant, &Alerts::new(), None).await.unwrap(), None);
    assert_eq!(keep(&store, &tenant, &Alerts::new(), Some(1)).await.unwrap(), Some(2));
}

#[tokio::test]
async fn alerts_that_cannot_be_read_are_no_reason_to_forget_them() {
    let store = MemoryStore::new();
    count(&store, 1, &mails("bad", 0, 1, 0)).await;
    let key = key(&TenantId::new("bad").unwrap());
    store.put(vec![Item { key, body: b"{".to_vec(), version: 1, expires_at: None }]).await.unwrap();
    let refused = look(&store, &Told::default(), "", minutes(30)).await;
    assert!(matches!(refused, Err(DetectError::Kept { .. })), "{refused:?}");
}
