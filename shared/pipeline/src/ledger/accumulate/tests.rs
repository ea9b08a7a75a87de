//! Records to blocks: every count ends in one outcome, and hostile records are bounded.

use event::attribution::Settings;
use event::{SequenceNumber, ShardId};

use super::*;
use crate::testing::counting::Turned;

const ARRIVED: i64 = 1_763_000_000_000;

fn send(tenant: &str, message: &str, at: &str, recipients: &[&str]) -> String {
    let destination = recipients.join("\",\"");
    format!(
        r#"{{"eventType":"Send","mail":{{"timestamp":"{at}","messageId":"{message}","source":"a@news.example","destination":["{destination}"],"tags":{{"tenant":["{tenant}"]}}}},"send":{{}}}}"#
    )
}

fn fold(payloads: &[&[u8]], memory: &Memory) -> Folded {
    let attribution = Attribution::new(Settings::default()).unwrap();
    let mut fold = EventFold::new(attribution, HashKey::new([7; 16]), Turned);
    let records: Vec<Record<'_>> = payloads
        .iter()
        .zip(1_u64..)
        .map(|(data, number)| Record {
            sequence: SequenceNumber::from(number),
            arrived_at: Timestamp::from_millis(ARRIVED),
            data,
        })
        .collect();
    fold.fold(&records, memory)
}

fn block_of(folded: &Folded, tenant: &str) -> Block {
    let delta = folded.deltas.iter().find(|delta| delta.tenant.as_str() == tenant).unwrap();
    Block::merge_all(delta.parts.iter().map(|part| Block::decode(part).unwrap())).unwrap()
}

#[test]
fn an_event_counts_once_for_each_recipient_and_tenants_are_kept_apart() {
    let acme = send("acme", "m-1", "2025-11-13T02:13:00Z", &["a@gmail.com", "b@gmail.com", "c@web.de"]);
    let other = send("other", "m-2", "2025-11-13T02:13:00Z", &["a@gmail.com"]);
    let folded = fold(&[acme.as_bytes(), other.as_bytes()], &Memory::default());
    assert_eq!((folded.records, folded.totals.events, folded.totals.aggregated), (2, 4, 4));
    assert_eq!(block_of(&folded, "acme").events(), 3);
    assert_eq!(block_of(&folded, "other").events(), 1);
    assert_eq!(folded.identities.len(), 4);
}

#[test]
fn an_upstream_duplicate_is_dropped_inside_the_batch_and_against_the_memory() {
    let event = send("acme", "m-1", "2025-11-13T02:13:00Z", &["a@gmail.com"]);
    let mut memory = Memory::default();
    let first = fold(&[event.as_bytes(), event.as_bytes()], &memory);
    assert_eq!((first.totals.events, first.totals.duplicates, first.totals.aggregated), (2, 1, 1));
    memory.remember(&first.identities, None);
    let second = fold(&[event.as_bytes()], &memory);
    assert_eq!((second.totals.events, second.totals.duplicates, second.totals.aggregated), (1, 1, 0));
    let ledger = block_of(&second, "acme");
    let entry = ledger.ledger().values().next().unwrap();
    assert_eq!((entry.events, entry.duplicates, ledger.events()), (1, 1, 0));
}

#[test]
fn a_late_event_lands_in_its_own_minute() {
    let event = send("acme", "m-1", "2025-11-10T08:30:10Z", &["a@gmail.com"]);
    let folded = fold(&[event.as_bytes()], &Memory::default());
    assert_eq!((folded.totals.late, folded.totals.aggregated), (1, 1));
    let hours = block_of(&folded, "acme").split(|minute| minute.0);
    let minute = hours.iter().find(|(_, block)| block.events() == 1).map(|(minute, _)| *minute).unwrap();
    assert_eq!(event::Minute(minute).start().to_string(), "2025-11-10T08:30:00Z");
}

#[test]
fn an_event_from_the_future_counts_when_it_came() {
    let event = send("acme", "m-1", "2031-01-01T00:00:00Z", &["a@gmail.com"]);
    let folded = fold(&[event.as_bytes()], &Memory::default());
    assert_eq!((folded.totals.late, folded.totals.aggregated), (1, 1));
    assert_eq!(folded.newest_event, Some(Timestamp::from_millis(ARRIVED)));
}

#[test]
fn what_cannot_be_read_is_sealed_with_its_reason_and_costs_nothing_else() {
    let event = send("acme", "m-1", "2025-11-13T02:13:00Z", &["a@gmail.com"]);
    let torn = br#"{"to":"someone@example.com""#;
    let folded = fold(&[torn, event.as_bytes()], &Memory::default());
    assert_eq!((folded.totals.quarantined, folded.totals.aggregated), (1, 1));
    let quarantined = &folded.quarantined[0];
    assert!(!quarantined.sealed.windows(7).any(|part| part == b"someone"));
    assert!(!quarantined.reason.contains("someone"), "{}", quarantined.reason);
    assert_eq!(quarantined.open(&Turned).unwrap(), torn);
    let shard = ShardId::new("s").unwrap();
    let items = quarantine::items(&folded.quarantined, &shard, &quarantined.sequence, quarantined.arrived_at);
    assert_eq!(quarantine::decode(&items[0].body).unwrap(), folded.quarantined);
}

#[test]
fn a_flood_of_garbage_is_counted_but_not_kept() {
    let garbage = "x\n".repeat(MAX_QUARANTINED + 500);
    let folded = fold(&[garbage.as_bytes(), b"y"], &Memory::default());
    assert_eq!(folded.records, 1);
    assert!(folded.quarantined.len() <= MAX_QUARANTINED);
    assert!(folded.totals.quarantined >= 1);
}

#[test]
fn a_commit_takes_no_further_record_once_it_has_enough_tenants() {
    let events: Vec<String> = (0..ENOUGH_TENANTS + 5)
        .map(|number| send(&format!("t-{number}"), "m", "2025-11-13T02:13:00Z", &["a@gmail.com"]))
        .collect();
    let payloads: Vec<&[u8]> = events.iter().map(String::as_bytes).collect();
    assert_eq!(fold(&payloads, &Memory::default()).records, ENOUGH_TENANTS);
    let all = events.join("\n");
    assert_eq!(fold(&[all.as_bytes()], &Memory::default()).deltas.len(), ENOUGH_TENANTS + 5);
}

#[test]
fn tenants_beyond_the_limit_of_one_record_are_counted_for_nobody() {
    let events: Vec<String> = (0..MAX_TENANTS + 7)
        .map(|number| {
            send(&format!("t-{number}"), &format!("m-{number}"), "2025-11-13T02:13:00Z", &["a@gmail.com"])
        })
        .collect();
    let folded = fold(&[events.join("\n").as_bytes()], &Memory::default());
    assert_eq!(folded.deltas.len(), MAX_TENANTS + 1);
    assert_eq!(block_of(&folded, TenantId::UNASSIGNED).events(), 7);
    assert_eq!((folded.totals.conflicts, folded.totals.aggregated), (7, MAX_TENANTS as u64 + 7));
}
