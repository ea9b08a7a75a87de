//! Every event type and every variant that counts differently, with the counters it increments.

use std::borrow::Cow;

use event::{Reason, Tags, Timestamp, Verdict};
use smallvec::SmallVec;

use super::*;

pub(in crate::accumulate) const SENT: Timestamp = Timestamp::from_seconds(1_760_000_000);

/// An event about mail that was sent at [`SENT`].
pub(in crate::accumulate) fn event(kind: EventKind<'static>, minutes_later: i64) -> EmailEvent<'static> {
    EmailEvent {
        kind,
        at: SENT.plus_millis(minutes_later * 60_000),
        sent_at: SENT,
        message_id: Cow::Borrowed("m"),
        recipients: SmallVec::new(),
        destinations: SmallVec::new(),
        destination_count: 1,
        source: Cow::Borrowed(""),
        sending_account: None,
        source_arn: None,
        tags: Tags::default(),
    }
}

/// All events of [`cases`].
pub(in crate::accumulate) fn event_kinds() -> Vec<EventKind<'static>> {
    cases().into_iter().map(|(kind, _)| kind).collect()
}

fn interaction(verdict: Verdict) -> Interaction<'static> {
    Interaction { link: None, user_agent: Cow::Borrowed(""), ip_address: Cow::Borrowed(""), verdict }
}

fn bounce(
    bounce_type: BounceType,
    suppression: Option<Suppression>,
    after_acceptance: bool,
) -> EventKind<'static> {
    let feedback_id = Cow::Borrowed("");
    EventKind::Bounce(Bounce {
        bounce_type,
        reason: Reason::MailboxFull,
        suppression,
        after_acceptance,
        feedback_id,
    })
}

fn complaint(counts: bool) -> EventKind<'static> {
    EventKind::Complaint { counts, feedback_id: Cow::Borrowed("") }
}

/// The counters and their counts after one event.
type Increments = Vec<(CounterId, u64)>;

fn cases() -> Vec<(EventKind<'static>, Increments)> {
    use BounceType::{AutoReply, Permanent, Transient, Undetermined};
    use Counter as C;
    let of = |counters: &[C]| -> Increments { counters.iter().map(|&counter| (counter.into(), 1)).collect() };
    let bounced =
        |counters: &[C]| [of(counters), vec![(CounterId::bounces_for(Reason::MailboxFull), 1)]].concat();
    let delayed = vec![(C::Delays.into(), 1), (CounterId::delays_for(Reason::RateLimit), 1)];
    let timed =
        vec![(C::Deliveries.into(), 1), (C::DeliveriesTimed.into(), 1), (C::DeliveryMillis.into(), 1234)];
    let queue = vec![(C::QueueReadings.into(), 1), (C::QueueDepth.into(), 700)];
    vec![
        (EventKind::Send, of(&[C::Sends])),
        (EventKind::Delivery { processing_ms: None }, of(&[C::Deliveries])),
        (EventKind::Delivery { processing_ms: Some(1234) }, timed),
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
        (EventKind::Reject, of(&[C::Rejects])),
        (EventKind::RenderingFailure, of(&[C::RenderingFailures])),
        (EventKind::Delay { reason: Reason::RateLimit }, delayed),
        (EventKind::Open(interaction(Verdict::Person)), of(&[C::Opens])),
        (EventKind::Open(interaction(Verdict::Machine("proxy"))), of(&[C::Opens, C::OpensMachine])),
        (EventKind::Click(interaction(Verdict::Person)), of(&[C::Clicks])),
        (EventKind::Click(interaction(Verdict::Machine("scanner"))), of(&[C::Clicks, C::ClicksBot])),
        (EventKind::Subscription { unsubscribed: true }, of(&[C::Unsubscribes])),
        (EventKind::Subscription { unsubscribed: false }, of(&[C::SubscriptionsOther])),
        (EventKind::QueueDepth { depth: 700 }, queue),
    ]
}

fn incremented(kind: EventKind<'static>, simulator: bool) -> Cell {
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
        let person = |open: &Interaction<'_>| !open.verdict.is_machine();
        assert_eq!(!cell.opens.is_empty(), matches!(&kind, EventKind::Open(open) if person(open)));
        assert_eq!(!cell.clicks.is_empty(), matches!(&kind, EventKind::Click(click) if person(click)));
        let timed = matches!(kind, EventKind::Delivery { processing_ms: Some(_) });
        assert_eq!(cell.latency.count(), u64::from(timed));
    }
}

#[test]
fn delays_of_every_class_have_a_counter_of_their_own() {
    for class in Reason::ALL {
        let cell = incremented(EventKind::Delay { reason: class }, false);
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
        let cell = incremented(EventKind::Delivery { processing_ms: Some(millis) }, false);
        assert_eq!(cell.counters.get(Counter::DeliveryMillis), counted, "{millis}");
        assert_eq!(cell.counters.get(Counter::DeliveriesTimed), 1, "{millis}");
        assert_eq!(cell.latency.count(), 1, "{millis}");
    }
}
