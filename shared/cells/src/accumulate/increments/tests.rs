//! Every event type and every variant that counts differently, with the counters it increments.

use std::borrow::Cow;

use event::{BounceClass, Requester, Tags, Timestamp};
use smallvec::SmallVec;

use super::*;

pub(in crate::accumulate) const SENT: Timestamp = Timestamp::from_seconds(1_760_000_000);

/// An event about mail that was sent at [`SENT`].
pub(in crate::accumulate) fn event(kind: EventType<'static>, minutes_later: i64) -> EmailEvent<'static> {
    EmailEvent {
        event_type: kind,
        at: SENT.plus_millis(minutes_later * 60_000),
        sent_at: Some(SENT),
        message_id: Cow::Borrowed("m"),
        recipients: SmallVec::new(),
        destinations: SmallVec::new(),
        destination_count: 1,
        source: Cow::Borrowed(""),
        sending_account: None,
        source_arn: None,
        evidence: event::provider::evidence::ProviderEvidence::Absent,
        tags: Tags::default(),
    }
}

/// All events of [`cases`].
pub(in crate::accumulate) fn event_kinds() -> Vec<EventType<'static>> {
    cases().into_iter().map(|(kind, _)| kind).collect()
}

fn interaction(requester: Requester) -> Interaction<'static> {
    Interaction {
        link: None,
        link_tags: Tags::default(),
        user_agent: Cow::Borrowed(""),
        ip_address: Cow::Borrowed(""),
        requester,
    }
}

fn bounce(
    bounce_type: BounceType,
    suppression: Option<Suppression>,
    after_acceptance: bool,
) -> EventType<'static> {
    let feedback_id = Cow::Borrowed("");
    EventType::Bounce(Bounce {
        bounce_type,
        class: BounceClass::MailboxFull,
        suppression,
        after_acceptance,
        feedback_id,
    })
}

fn complaint(counts: bool) -> EventType<'static> {
    EventType::Complaint { counts, feedback_id: Cow::Borrowed("") }
}

/// The counters and their counts after one event.
type Increments = Vec<(CounterId, u64)>;

fn cases() -> Vec<(EventType<'static>, Increments)> {
    use BounceType::{AutoReply, Permanent, Transient, Undetermined};
    use Counter as C;
    let of = |counters: &[C]| -> Increments { counters.iter().map(|&counter| (counter.into(), 1)).collect() };
    let bounced =
        |counters: &[C]| [of(counters), vec![(CounterId::bounces_for(BounceClass::MailboxFull), 1)]].concat();
    let delayed = vec![(C::Delays.into(), 1), (CounterId::delays_for(BounceClass::RateLimit), 1)];
    let timed =
        vec![(C::Deliveries.into(), 1), (C::DeliveriesTimed.into(), 1), (C::DeliveryMillis.into(), 1234)];
    let queue = vec![(C::QueueReadings.into(), 1), (C::QueueDepth.into(), 700)];
    vec![
        (EventType::Send, of(&[C::Sends])),
        (EventType::Delivery { processing_ms: None }, of(&[C::Deliveries])),
        (EventType::Delivery { processing_ms: Some(1234) }, timed),
        (bounce(Permanent, None, false), bounced(&[C::BouncesPermanent])),
        (
            bounce(Permanent, Some(Suppression::OutsideReputation), false),
            bounced(&[C::BouncesPermanent, C::Suppressed, C::SuppressedOutsideReputation]),
        ),
        (
            bounce(Permanent, Some(Suppression::GlobalList), false),
            bounced(&[C::BouncesPermanent, C::Suppressed]),
        ),
        // Only permanent bounces are suppressions.
        (bounce(Transient, Some(Suppression::GlobalList), false), bounced(&[C::BouncesTransient])),
        (bounce(Transient, None, true), bounced(&[C::BouncesTransient, C::BouncesAfterAcceptance])),
        (bounce(Undetermined, None, false), bounced(&[C::BouncesUndetermined])),
        (bounce(AutoReply, None, true), of(&[C::AutoReplies])),
        (complaint(true), of(&[C::Complaints])),
        (complaint(false), of(&[C::ComplaintsNotCounted])),
        (EventType::Reject, of(&[C::Rejects])),
        (EventType::RenderingFailure, of(&[C::RenderingFailures])),
        (EventType::Delay { class: BounceClass::RateLimit }, delayed),
        (EventType::Open(interaction(Requester::Person)), of(&[C::Opens])),
        (EventType::Open(interaction(Requester::Machine("proxy"))), of(&[C::Opens, C::OpensMachine])),
        (EventType::Click(interaction(Requester::Person)), of(&[C::Clicks])),
        (EventType::Click(interaction(Requester::Machine("scanner"))), of(&[C::Clicks, C::ClicksBot])),
        (EventType::Subscription { unsubscribed: true }, of(&[C::Unsubscribes])),
        (EventType::Subscription { unsubscribed: false }, of(&[C::SubscriptionsOther])),
        (EventType::QueueDepth { depth: 700 }, queue),
    ]
}

fn incremented(kind: EventType<'static>, simulator: bool) -> Cell {
    let mut cell = Cell::default();
    increment(&mut cell, &event(kind, 0), simulator, RecipientHash(u64::MAX / 3));
    cell
}

fn counters(expected: &[(CounterId, u64)]) -> Counters {
    let mut counters = Counters::new();
    for (counter, count) in expected {
        counters.add(*counter, *count);
    }
    counters
}

#[test]
fn each_event_increments_its_counters() {
    for (kind, expected) in cases() {
        assert_eq!(incremented(kind.clone(), false).counters, counters(&expected), "{kind:?}");
    }
}

#[test]
fn each_event_increments_one_primary_counter_and_simulator_mail_only_its_own() {
    for kind in event_kinds() {
        assert_eq!(incremented(kind.clone(), false).counters.events(), 1, "{kind:?}");
        let cell = incremented(kind, true);
        assert_eq!(cell.counters, counters(&[(Counter::Simulator.into(), 1)]));
        assert!(cell.latency.is_empty() && cell.opens.is_empty() && cell.clicks.is_empty());
    }
}

#[test]
fn people_are_counted_once_and_timed_deliveries_are_recorded() {
    for kind in event_kinds() {
        let cell = incremented(kind.clone(), false);
        let person = |open: &Interaction<'_>| !open.requester.is_machine();
        assert_eq!(!cell.opens.is_empty(), matches!(&kind, EventType::Open(open) if person(open)));
        assert_eq!(!cell.clicks.is_empty(), matches!(&kind, EventType::Click(click) if person(click)));
        let timed = matches!(kind, EventType::Delivery { processing_ms: Some(_) });
        assert_eq!(cell.latency.count(), u64::from(timed));
    }
}

#[test]
fn delays_of_every_class_have_a_counter_of_their_own() {
    for class in BounceClass::ALL {
        let cell = incremented(EventType::Delay { class }, false);
        assert_eq!(cell.counters.get(CounterId::delays_for(class)), 1, "{class:?}");
        assert_eq!(cell.counters.iter().count(), 2, "{class:?}");
    }
}

#[test]
fn delivery_times_at_the_edges_of_their_range() {
    for (millis, counted) in [
        (0, 0),
        (1, 1),
        (Latency::MAX_MILLIS - 1, Latency::MAX_MILLIS - 1),
        (Latency::MAX_MILLIS, Latency::MAX_MILLIS),
        (Latency::MAX_MILLIS + 1, Latency::MAX_MILLIS),
        (u64::MAX, Latency::MAX_MILLIS),
    ] {
        let cell = incremented(EventType::Delivery { processing_ms: Some(millis) }, false);
        assert_eq!(cell.counters.get(Counter::DeliveryMillis), counted, "{millis}");
        assert_eq!(cell.counters.get(Counter::DeliveriesTimed), 1, "{millis}");
        assert_eq!(cell.latency.count(), 1, "{millis}");
    }
}
