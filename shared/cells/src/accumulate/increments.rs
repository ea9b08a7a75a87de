//! Which counters an event increments: the one place that decides it.
//!
//! Each count increments exactly one of [`Counter::PRIMARY`] or [`Counter::Simulator`], so the sum of these proves that every event
//! read was counted. All other increments mark parts of a primary counter or add up a quantity.

use event::{Bounce, BounceType, EmailEvent, EventType, Interaction, RecipientHash, Suppression};

use crate::cell::{Cell, Latency, Uniques};
use crate::counter::{Counter, CounterId, Counters};

/// Counts one event for one recipient. `simulator` says that the recipient is SES's mailbox simulator.
pub(super) fn increment(cell: &mut Cell, event: &EmailEvent<'_>, simulator: bool, recipient: RecipientHash) {
    let Cell { counters, latency, opens, clicks } = cell;
    // Before the event type: test mail must not reach any count or sketch that a rate is made of.
    if simulator {
        counters.add(Counter::Simulator, 1);
        return;
    }
    match &event.event_type {
        EventType::Send => counters.add(Counter::Sends, 1),
        EventType::Delivery { processing_ms } => {
            counters.add(Counter::Deliveries, 1);
            // The time is counted apart from the delivery, because not every delivery states it: the mean divides by those that do.
            if let Some(millis) = processing_ms {
                // The sum uses the same bound as the quantiles, so that an absurd time cannot spoil the mean.
                let millis = (*millis).min(Latency::MAX_MILLIS);
                counters.add(Counter::DeliveryMillis, millis);
                counters.add(Counter::DeliveriesTimed, 1);
                latency.record(millis);
            }
        }
        EventType::Bounce(bounce) => increment_bounce(counters, bounce),
        EventType::Complaint { counts: true, .. } => counters.add(Counter::Complaints, 1),
        EventType::Complaint { counts: false, .. } => counters.add(Counter::ComplaintsNotCounted, 1),
        EventType::Reject => counters.add(Counter::Rejects, 1),
        EventType::RenderingFailure => counters.add(Counter::RenderingFailures, 1),
        EventType::Delay { class } => {
            counters.add(Counter::Delays, 1);
            counters.add(CounterId::delays_for(*class), 1);
        }
        EventType::Open(open) => {
            counters.add(Counter::Opens, 1);
            increment_interaction(counters, opens, open, Counter::OpensMachine, recipient);
        }
        EventType::Click(click) => {
            counters.add(Counter::Clicks, 1);
            increment_interaction(counters, clicks, click, Counter::ClicksBot, recipient);
        }
        EventType::Subscription { unsubscribed: true } => counters.add(Counter::Unsubscribes, 1),
        EventType::Subscription { unsubscribed: false } => counters.add(Counter::SubscriptionsOther, 1),
        EventType::QueueDepth { depth } => {
            // A gauge cannot be summed over time. Kept as sum and number of readings, it can be merged and gives the mean.
            counters.add(Counter::QueueReadings, 1);
            counters.add(Counter::QueueDepth, *depth);
        }
    }
}

/// Marks a delay, which [`increment`] has counted, as one that is not the first of its mail.
pub(super) fn mark_repeated_delay(cell: &mut Cell, simulator: bool) {
    // Test mail is in no count that the mark could be taken off.
    if !simulator {
        cell.counters.add(Counter::DelaysRepeated, 1);
    }
}

fn increment_bounce(counters: &mut Counters, bounce: &Bounce<'_>) {
    let primary = match bounce.bounce_type {
        BounceType::Permanent => Counter::BouncesPermanent,
        BounceType::Transient => Counter::BouncesTransient,
        BounceType::Undetermined => Counter::BouncesUndetermined,
        // The message was delivered, so neither its bounce class nor its suppression means anything.
        BounceType::AutoReply => return counters.add(Counter::AutoReplies, 1),
    };
    counters.add(primary, 1);
    counters.add(CounterId::bounces_for(bounce.class), 1);
    if bounce.after_acceptance {
        counters.add(Counter::BouncesAfterAcceptance, 1);
    }
    // SES publishes a recipient that it never tries as a permanent bounce, so both counters are parts of those.
    if bounce.bounce_type == BounceType::Permanent
        && let Some(suppression) = bounce.suppression
    {
        counters.add(Counter::Suppressed, 1);
        match suppression {
            Suppression::OutsideReputation => counters.add(Counter::SuppressedOutsideReputation, 1),
            // SES counts its global suppression list in the sender's bounce rate.
            Suppression::GlobalList => {}
        }
    }
}

/// Counts an open or click as a machine's, or its recipient as a person who opened or clicked.
fn increment_interaction(
    counters: &mut Counters,
    people: &mut Uniques,
    interaction: &Interaction<'_>,
    machines: Counter,
    recipient: RecipientHash,
) {
    // The caller has counted the open or click itself. A machine's says nothing about a person, so no sketch gets it.
    if interaction.requester.is_machine() {
        counters.add(machines, 1);
    } else {
        people.insert(recipient);
    }
}

/// Counts who made a click that was counted before.
pub(super) fn decide_click(cell: &mut Cell, is_machine: bool, recipient: RecipientHash) {
    if is_machine {
        cell.counters.add(Counter::ClicksBot, 1);
    } else {
        cell.clicks.insert(recipient);
    }
}

/// The name of an event's type as SES spells it in `eventType`.
pub(super) const fn event_type_name(kind: &EventType<'_>) -> &'static str {
    match kind {
        EventType::Send => "Send",
        EventType::Delivery { .. } => "Delivery",
        EventType::Bounce(_) => "Bounce",
        EventType::Complaint { .. } => "Complaint",
        EventType::Reject => "Reject",
        EventType::RenderingFailure => "Rendering Failure",
        EventType::Delay { .. } => "DeliveryDelay",
        EventType::Open(_) => "Open",
        EventType::Click(_) => "Click",
        EventType::Subscription { .. } => "Subscription",
        // Not an event type of SES: a gauge that senders put on the stream.
        EventType::QueueDepth { .. } => "QueueDepth",
    }
}

#[cfg(test)]
pub(super) mod tests;
