//! From SES's wire shapes to the one shape of [`EmailEvent`]: what an event means for counting.
//!
//! One wire event becomes one [`EmailEvent`] per distinct class of its recipients: a bounce names a status for each of
//! them. It decides nothing by the order in which events arrive, and refuses only what cannot be counted.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::classify::{self, BounceFields};
use crate::decode::{Ignored, Unreadable};
use crate::event::{Bounce, BounceType, EmailEvent, EventKind, Interaction, Reason, Suppression};
use crate::machine::{self, Signs};
use ses::{Body, Preferences, Recipient, WireKind};

pub(crate) use ses::{Wire, WireField};

mod ses;
mod time;

/// Why a wire event is not counted.
#[derive(Debug)]
pub(crate) enum NotCounted {
    /// It is no event of sent mail.
    Ignored(Ignored),
    /// It lacks something.
    Unreadable(Unreadable),
}

impl From<Unreadable> for NotCounted {
    fn from(reason: Unreadable) -> Self {
        Self::Unreadable(reason)
    }
}

type Recipients<'a> = SmallVec<[Cow<'a, str>; 1]>;
type Each<'e> = &'e mut dyn FnMut(&EmailEvent<'_>);

/// Gives the events that `wire` stands for, at least one, to `each`.
pub(crate) fn events(wire: &mut Wire<'_>, each: Each<'_>) -> Result<(), NotCounted> {
    let kind = match wire.kind()? {
        Ok(kind) => kind,
        Err("Received") => return Err(NotCounted::Ignored(Ignored::InboundMail)),
        Err("AmazonSnsSubscriptionSucceeded") => return Err(NotCounted::Ignored(Ignored::SnsValidation)),
        Err(name) => return Err(NotCounted::Ignored(Ignored::unknown_event_type(name))),
    };
    wire.complete();
    let Wire { mail, body, .. } = wire;
    let sent_at = time::parse(mail.timestamp.get("mail.timestamp")?, "mail.timestamp")?;
    let at = match kind.time_field() {
        Some(field) => time::parse(body.timestamp.get(field)?, field)?,
        None => sent_at,
    };
    let mut event = EmailEvent {
        kind: EventKind::Send,
        at,
        sent_at,
        message_id: mail.message_id.take("mail.messageId")?,
        recipients: SmallVec::new(),
        destinations: std::mem::take(&mut mail.destinations),
        destination_count: mail.destination_count,
        source: mail.source.take().unwrap_or_default(),
        sending_account: mail.sending_account.take(),
        source_arn: mail.source_arn.take(),
        tags: mail.tags,
    };
    let event = &mut event;
    let recipients = std::mem::take(&mut body.recipients);
    match kind {
        WireKind::Send => of_the_message(event, EventKind::Send, each),
        WireKind::Reject => of_the_message(event, EventKind::Reject, each),
        WireKind::RenderingFailure => of_the_message(event, EventKind::RenderingFailure, each),
        WireKind::Subscription => {
            let unsubscribed = unsubscribes(&body.old_preferences, &body.new_preferences);
            of_the_message(event, EventKind::Subscription { unsubscribed }, each);
        }
        WireKind::QueueDepth => {
            let depth = body.depth.ok_or(Unreadable::MissingField("queueDepth.depth"))?;
            emit(event, EventKind::QueueDepth { depth }, Recipients::new(), each);
        }
        WireKind::Open | WireKind::Click => {
            let interaction = interaction(body, kind == WireKind::Click, at.millis_since(sent_at));
            let kind = match kind {
                WireKind::Click => EventKind::Click(interaction),
                _ => EventKind::Open(interaction),
            };
            emit(event, kind, Recipients::new(), each);
        }
        WireKind::Delivery => {
            let kind = EventKind::Delivery { processing_ms: body.processing_ms };
            per_class(event, recipients, |_| (), |()| kind.clone(), each);
        }
        WireKind::Complaint => {
            let kind = complaint(body);
            per_class(event, recipients, |_| (), |()| kind.clone(), each);
        }
        WireKind::Bounce => {
            per_class(
                event,
                recipients,
                |recipient| class_of(body, recipient),
                |class| bounce(body, class),
                each,
            );
        }
        WireKind::DeliveryDelay => {
            let delay_type = body.delay_type.as_deref().unwrap_or_default();
            let reason_for = |recipient: &Recipient<'_>| {
                classify::delay(delay_type, recipient.status.as_deref(), recipient.diagnostic.as_deref())
            };
            per_class(event, recipients, reason_for, |reason| EventKind::Delay { reason }, each);
        }
    }
    Ok(())
}

fn emit<'a>(event: &mut EmailEvent<'a>, kind: EventKind<'a>, recipients: Recipients<'a>, each: Each<'_>) {
    event.kind = kind;
    event.recipients = recipients;
    event.destinations.truncate(EmailEvent::DESTINATIONS_KEPT);
    each(event);
}

/// An event about everybody the message went to; one nobody if that is not said, so that it is counted all the same.
fn of_the_message<'a>(event: &mut EmailEvent<'a>, kind: EventKind<'a>, each: Each<'_>) {
    let mut recipients = event.destinations.clone();
    if recipients.is_empty() {
        recipients.push(Cow::Borrowed(""));
    }
    emit(event, kind, recipients, each);
}

/// One event per class of its recipients, in the order in which the classes first occur.
fn per_class<'a, C: Copy + PartialEq>(
    event: &mut EmailEvent<'a>,
    mut recipients: SmallVec<[Recipient<'a>; 1]>,
    class_of: impl Fn(&Recipient<'a>) -> C,
    kind_of: impl Fn(C) -> EventKind<'a>,
    each: Each<'_>,
) {
    if recipients.is_empty() {
        // The message's only recipient, else one whose name is not known.
        let address = match event.destinations.as_slice() {
            [only] => only.clone(),
            _ => Cow::Borrowed(""),
        };
        recipients.push(Recipient { address, ..Recipient::default() });
    }
    event.destinations.truncate(EmailEvent::DESTINATIONS_KEPT);
    let mut rest: SmallVec<[(C, Cow<'a, str>); 1]> =
        recipients.into_iter().map(|recipient| (class_of(&recipient), recipient.address)).collect();
    while let Some(&(class, _)) = rest.first() {
        event.kind = kind_of(class);
        event.recipients.clear();
        rest.retain(|(other, address)| {
            let is_same = *other == class;
            if is_same {
                event.recipients.push(std::mem::take(address));
            }
            !is_same
        });
        each(event);
    }
}

type BounceClass = (BounceType, Reason, Option<Suppression>);

fn class_of(body: &Body<'_>, recipient: &Recipient<'_>) -> BounceClass {
    let classified = classify::bounce(&BounceFields {
        bounce_type: body.bounce_type.as_deref().unwrap_or_default(),
        sub_type: body.bounce_sub_type.as_deref().unwrap_or_default(),
        status: recipient.status.as_deref(),
        diagnostic: recipient.diagnostic.as_deref(),
        has_reporting_mta: body.reporting_mta.is_some(),
    });
    (classified.bounce_type, classified.reason, classified.suppression)
}

fn bounce<'a>(body: &Body<'a>, (bounce_type, reason, suppression): BounceClass) -> EventKind<'a> {
    EventKind::Bounce(Bounce {
        bounce_type,
        reason,
        suppression,
        after_acceptance: body.reporting_mta.as_deref().is_some_and(is_not_of_ses),
        feedback_id: body.feedback_id.clone().unwrap_or_default(),
    })
}

/// Whether a reporting MTA (`dsn; host` in old events, `dns; host` in newer ones) is the receiving side's.
fn is_not_of_ses(reporting_mta: &str) -> bool {
    let host = reporting_mta
        .rsplit(';')
        .next()
        .unwrap_or_default()
        .trim()
        .trim_end_matches('.')
        .to_ascii_lowercase();
    !host.is_empty() && host != "amazonses.com" && !host.ends_with(".amazonses.com")
}

/// `not-spam` is the opposite of a complaint; with a sub-type SES did not send, because of an earlier complaint.
fn complaint<'a>(body: &mut Body<'a>) -> EventKind<'a> {
    let feedback_type = body.complaint_feedback_type.as_deref();
    let is_not_spam = feedback_type.is_some_and(|kind| kind.eq_ignore_ascii_case("not-spam"));
    let counts = body.complaint_sub_type.is_none() && !is_not_spam;
    EventKind::Complaint { counts, feedback_id: body.feedback_id.take().unwrap_or_default() }
}

fn interaction<'a>(body: &mut Body<'a>, click: bool, millis_after_send: i64) -> Interaction<'a> {
    let user_agent = body.user_agent.take().unwrap_or_default();
    let ip_address = body.ip_address.take().unwrap_or_default();
    let verdict = machine::judge(&Signs {
        user_agent: &user_agent,
        ip_address: &ip_address,
        is_bot_event: body.is_bot_event.as_deref(),
        millis_after_send,
        click,
    });
    Interaction { link: body.link.take().filter(|_| click), user_agent, ip_address, verdict }
}

/// From everything, or from a topic that was not opted out of before.
fn unsubscribes(old: &Preferences<'_>, new: &Preferences<'_>) -> bool {
    let from_all = new.unsubscribe_all && !old.unsubscribe_all;
    from_all || new.opted_out.iter().any(|topic| !old.opted_out.contains(topic))
}

#[cfg(test)]
mod tests;
