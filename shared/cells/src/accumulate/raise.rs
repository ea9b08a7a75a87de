//! Which counters an event raises: the one place that says so.
//!
//! Each count raises exactly one of [`Counter::PRIMARY`] or [`Counter::Simulator`], so that what goes in can be proved to
//! come out. Never one that is not in this match.

use event::{Bounce, BounceType, EmailEvent, EventKind, Interaction, RecipientHash, Suppression};

use crate::cell::{Cell, Latency, Uniques};
use crate::counter::{Counter, CounterId, Counters};

/// Counts one event for one recipient.
pub(super) fn raise(cell: &mut Cell, event: &EmailEvent<'_>, simulator: bool, recipient: RecipientHash) {
    let Cell { counters, latency, opens, clicks } = cell;
    if simulator {
        counters.add(Counter::Simulator, 1);
        return;
    }
    match &event.kind {
        EventKind::Send => counters.add(Counter::Sends, 1),
        EventKind::Delivery { processing_ms } => {
            counters.add(Counter::Deliveries, 1);
            if let Some(millis) = processing_ms {
                let millis = (*millis).min(Latency::MAX_MILLIS);
                counters.add(Counter::DeliveryMillis, millis);
                counters.add(Counter::DeliveriesTimed, 1);
                latency.record(millis);
            }
        }
        EventKind::Bounce(bounce) => raise_bounce(counters, bounce),
        EventKind::Complaint { counts: true, .. } => counters.add(Counter::Complaints, 1),
        EventKind::Complaint { counts: false, .. } => counters.add(Counter::ComplaintsNotCounted, 1),
        EventKind::Reject => counters.add(Counter::Rejects, 1),
        EventKind::RenderingFailure => counters.add(Counter::RenderingFailures, 1),
        EventKind::Delay { reason } => {
            counters.add(Counter::Delays, 1);
            counters.add(CounterId::delays_for(*reason), 1);
        }
        EventKind::Open(open) => {
            counters.add(Counter::Opens, 1);
            raise_interaction(counters, opens, open, Counter::OpensMachine, recipient);
        }
        EventKind::Click(click) => {
            counters.add(Counter::Clicks, 1);
            raise_interaction(counters, clicks, click, Counter::ClicksBot, recipient);
        }
        EventKind::Subscription { unsubscribed: true } => counters.add(Counter::Unsubscribes, 1),
        EventKind::Subscription { unsubscribed: false } => counters.add(Counter::SubscriptionsOther, 1),
        EventKind::QueueDepth { depth } => {
            counters.add(Counter::QueueReadings, 1);
            counters.add(Counter::QueueDepth, *depth);
        }
    }
}

fn raise_bounce(counters: &mut Counters, bounce: &Bounce<'_>) {
    let kind = match bounce.bounce_type {
        BounceType::Permanent => Counter::BouncesPermanent,
        BounceType::Transient => Counter::BouncesTransient,
        BounceType::Undetermined => Counter::BouncesUndetermined,
        // The mail was delivered; nothing else of a bounce is true of it.
        BounceType::AutoReply => return counters.add(Counter::AutoReplies, 1),
    };
    counters.add(kind, 1);
    counters.add(CounterId::bounces_for(bounce.reason), 1);
    if bounce.after_acceptance {
        counters.add(Counter::BouncesAfterAcceptance, 1);
    }
    // Both are parts of the permanent bounces; SES publishes what it never tries as those.
    if bounce.bounce_type == BounceType::Permanent
        && let Some(suppression) = bounce.suppression
    {
        counters.add(Counter::Suppressed, 1);
        match suppression {
            Suppression::OutsideReputation => counters.add(Counter::SuppressedOutsideReputation, 1),
            Suppression::GlobalList => {}
        }
    }
}

fn raise_interaction(
    counters: &mut Counters,
    people: &mut Uniques,
    interaction: &Interaction<'_>,
    machines: Counter,
    recipient: RecipientHash,
) {
    if interaction.verdict.is_machine() {
        counters.add(machines, 1);
    } else {
        people.insert(recipient);
    }
}

/// An event's type as it is spelt in `eventType`.
pub(super) const fn kind_name(kind: &EventKind<'_>) -> &'static str {
    match kind {
        EventKind::Send => "Send",
        EventKind::Delivery { .. } => "Delivery",
        EventKind::Bounce(_) => "Bounce",
        EventKind::Complaint { .. } => "Complaint",
        EventKind::Reject => "Reject",
        EventKind::RenderingFailure => "Rendering Failure",
        EventKind::Delay { .. } => "DeliveryDelay",
        EventKind::Open(_) => "Open",
        EventKind::Click(_) => "Click",
        EventKind::Subscription { .. } => "Subscription",
        EventKind::QueueDepth { .. } => "QueueDepth",
    }
}
