//! Turns SES's wire shapes into the one shape of [`EmailEvent`]: decides what an event means for counting.
//!
//! One wire event becomes one [`EmailEvent`] per distinct classification of its recipients, because a bounce has a status for
//! each of them. Nothing here depends on the order in which events arrive, and an event is refused only if it cannot be counted.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::attribution;
use crate::classify::{self, BounceClassification, BounceFields};
use crate::event::{Bounce, EmailEvent, EventType, Interaction};
use crate::machine::{self, AgentCache, InteractionFields};
use crate::outcome::{Ignored, Unreadable};
use crate::provider::evidence::{ProviderEvidence, recognise};
use crate::tags::Tags;
use crate::units::Timestamp;
use ses::{MAX_RECIPIENTS, Preferences, Recipient, SesBody, SesEventType, SesMail, StatedEventType};

pub(crate) use ses::{SesEvent, SesField};
pub(crate) use time::parse as parse_time;

mod ses;
mod time;

/// The reason why an event is not counted.
#[derive(Debug)]
pub(crate) enum NotCounted {
    /// It is not an event of sent mail.
    Ignored(Ignored),
    /// A field that counting needs is missing or wrong.
    Unreadable(Unreadable),
}

impl From<Unreadable> for NotCounted {
    fn from(reason: Unreadable) -> Self {
        Self::Unreadable(reason)
    }
}

/// Stands for an optional text that an event does not have. SES leaves fields out in some event types and has added others over time.
const ABSENT: Cow<'static, str> = Cow::Borrowed("");

type Recipients<'a> = SmallVec<[Cow<'a, str>; 1]>;
type OnEvent<'e> = &'e mut dyn FnMut(&EmailEvent<'_>);

/// Passes the [`EmailEvent`]s of `ses_event` to `on_event`: at least one, unless it fails.
pub(crate) fn events(
    ses_event: &mut SesEvent<'_>,
    agents: &mut AgentCache,
    on_event: OnEvent<'_>,
) -> Result<(), NotCounted> {
    let event_type = match ses_event.event_type()? {
        StatedEventType::Known(event_type) => event_type,
        // The same topics may also carry these notifications, which have no counts.
        StatedEventType::Unknown(name) if name.eq_ignore_ascii_case("Received") => {
            return Err(NotCounted::Ignored(Ignored::InboundMail));
        }
        StatedEventType::Unknown("AmazonSnsSubscriptionSucceeded") => {
            return Err(NotCounted::Ignored(Ignored::SnsValidation));
        }
        StatedEventType::Unknown(name) => return Err(NotCounted::Ignored(Ignored::unknown_event_type(name))),
    };
    // Only now, because the type decides which of the bodies is read.
    ses_event.read_postponed_body();
    let SesEvent { mail, body, .. } = ses_event;
    // Opens and clicks are of one recipient at most, so it does not matter how many their message has.
    let listed = if event_type.is_for_message() { mail.destinations.len() } else { body.recipients.len() };
    if listed > MAX_RECIPIENTS {
        return Err(Unreadable::TooManyRecipients { limit: MAX_RECIPIENTS }.into());
    }
    let (at, sent_at) = times(event_type, mail, body)?;
    let mut event = EmailEvent {
        // Replaced below, before the event is passed on.
        event_type: EventType::Send,
        at,
        sent_at,
        message_id: mail.message_id.take("mail.messageId")?,
        recipients: SmallVec::new(),
        destinations: std::mem::take(&mut mail.destinations),
        destination_count: mail.destination_count,
        // An event without a sender still counts; it has no sending domain then.
        source: mail.source.take().unwrap_or(ABSENT),
        sending_account: mail.sending_account.take(),
        source_arn: mail.source_arn.take(),
        tags: mail.tags,
        evidence: ProviderEvidence::Absent,
    };
    let event = &mut event;
    let recipients = std::mem::take(&mut body.recipients);
    match event_type {
        SesEventType::Send => emit_for_message(event, EventType::Send, on_event),
        SesEventType::Reject => emit_for_message(event, EventType::Reject, on_event),
        SesEventType::RenderingFailure => emit_for_message(event, EventType::RenderingFailure, on_event),
        SesEventType::Subscription => {
            let unsubscribed = unsubscribes(&body.old_preferences, &body.new_preferences);
            emit_for_message(event, EventType::Subscription { unsubscribed }, on_event);
        }
        SesEventType::QueueDepth => {
            // A reading of a queue without its depth is useless, so it is refused.
            let depth = body.depth.ok_or(Unreadable::MissingField("queueDepth.depth"))?;
            emit(event, EventType::QueueDepth { depth }, Recipients::new(), on_event);
        }
        SesEventType::Open => {
            let open = EventType::Open(interaction(body, agents, false, millis_between(sent_at, at)));
            emit(event, open, Recipients::new(), on_event);
        }
        SesEventType::Click => {
            let click = EventType::Click(interaction(body, agents, true, millis_between(sent_at, at)));
            emit(event, click, Recipients::new(), on_event);
        }
        SesEventType::Delivery => {
            // One message may have several of these, each for some of its recipients.
            let delivery = EventType::Delivery { processing_ms: body.processing_ms };
            event.evidence = ProviderEvidence::Answer {
                text: body.smtp_response.take().unwrap_or(ABSENT),
                address: body.remote_mta_ip.take().unwrap_or(ABSENT),
            };
            emit_by_class(
                event,
                recipients,
                |_| Outcome { class: (), provider: None },
                |()| delivery.clone(),
                on_event,
            );
        }
        SesEventType::Complaint => {
            // The provider hides who complained, so SES lists every recipient there who may have complained. All of them share one feedback id.
            let complaint = complaint(body);
            emit_by_class(
                event,
                recipients,
                |_| Outcome { class: (), provider: None },
                |()| complaint.clone(),
                on_event,
            );
        }
        SesEventType::Bounce => {
            let outcome_of = |recipient: &Recipient<'_>| Outcome {
                class: classify_bounce(body, recipient),
                provider: provider_evidence(body, recipient),
            };
            emit_by_class(event, recipients, outcome_of, |class| bounce(body, class), on_event);
        }
        SesEventType::DeliveryDelay => {
            // Without a delay type, status and diagnostic decide.
            let delay_type = body.delay_type.as_deref().unwrap_or("");
            let outcome_of = |recipient: &Recipient<'_>| {
                let class =
                    classify::delay(delay_type, recipient.status.as_deref(), recipient.diagnostic.as_deref());
                Outcome { class, provider: provider_evidence(body, recipient) }
            };
            emit_by_class(event, recipients, outcome_of, |class| EventType::Delay { class }, on_event);
        }
    }
    Ok(())
}

/// When the event happened, and when its message was sent, which some exports leave out. The time of sending is also that of the
/// event for the types that have none of their own.
fn times(
    event_type: SesEventType,
    mail: &SesMail<'_>,
    body: &SesBody<'_>,
) -> Result<(Timestamp, Option<Timestamp>), Unreadable> {
    const SENT: &str = "mail.timestamp";
    let Some(field) = event_type.time_field() else {
        let sent_at = time::parse(mail.timestamp.get(SENT)?, SENT)?;
        return Ok((sent_at, Some(sent_at)));
    };
    let sent_at = mail.timestamp.optional(SENT)?;
    let at = match body.timestamp.optional(field)? {
        Some(at) => time::parse(at, field)?,
        // Named by what would have helped: with a time of sending only its own is missing.
        None if sent_at.is_some() => return Err(Unreadable::MissingField(field)),
        None => return Err(Unreadable::NoTime(field)),
    };
    Ok((at, sent_at.map(|sent_at| time::parse(sent_at, SENT)).transpose()?))
}

/// Milliseconds from sending to the event; without a time of sending more than any rule looks at.
fn millis_between(sent_at: Option<Timestamp>, at: Timestamp) -> i64 {
    sent_at.map_or(i64::MAX, |sent_at| at.millis_since(sent_at))
}

fn emit<'a>(
    event: &mut EmailEvent<'a>,
    event_type: EventType<'a>,
    recipients: Recipients<'a>,
    on_event: OnEvent<'_>,
) {
    event.event_type = event_type;
    event.recipients = recipients;
    event.destinations.truncate(EmailEvent::DESTINATIONS_KEPT);
    on_event(event);
}

/// The event applies to all recipients of the message. If the message lists none, count it once for an unknown recipient.
fn emit_for_message<'a>(event: &mut EmailEvent<'a>, event_type: EventType<'a>, on_event: OnEvent<'_>) {
    // Counted per recipient like every outcome, so that rates compare the same unit.
    let mut recipients = event.destinations.clone();
    if recipients.is_empty() {
        recipients.push(Cow::Borrowed(""));
    }
    emit(event, event_type, recipients, on_event);
}

/// What an event says about one recipient.
#[derive(Clone, Copy, PartialEq)]
struct Outcome<C> {
    class: C,
    /// The mailbox provider that the answer about the recipient names.
    provider: Option<&'static str>,
}

/// Emits one event per class of recipients and provider that their servers named, in the order in which these first occur. Without a
/// provider, the evidence that the event has already stays.
fn emit_by_class<'a, C: Copy + PartialEq>(
    event: &mut EmailEvent<'a>,
    mut recipients: SmallVec<[Recipient<'a>; 1]>,
    outcome_of: impl Fn(&Recipient<'a>) -> Outcome<C>,
    event_type_of: impl Fn(C) -> EventType<'a>,
    on_event: OnEvent<'_>,
) {
    if recipients.is_empty() {
        // An outcome without recipients concerns the only recipient of the message. If there are several, which one is unknown.
        let address = match event.destinations.as_slice() {
            [only] => only.clone(),
            _ => Cow::Borrowed(""),
        };
        recipients.push(Recipient { address, ..Recipient::default() });
    }
    event.destinations.truncate(EmailEvent::DESTINATIONS_KEPT);
    // Quadratic in the number of classes, which is 1 or 2. One `EmailEvent` is reused for all calls, because copying it for each
    // class would cost more than classifying.
    let mut rest: SmallVec<[(Outcome<C>, Cow<'a, str>); 1]> =
        recipients.into_iter().map(|recipient| (outcome_of(&recipient), recipient.address)).collect();
    while let Some(&(outcome, _)) = rest.first() {
        event.event_type = event_type_of(outcome.class);
        if let Some(provider) = outcome.provider {
            event.evidence = ProviderEvidence::Provider(provider);
        } else if matches!(event.evidence, ProviderEvidence::Provider(_)) {
            event.evidence = ProviderEvidence::Absent;
        }
        event.recipients.clear();
        rest.retain(|(other, address)| {
            let is_same = *other == outcome;
            if is_same {
                event.recipients.push(std::mem::take(address));
            }
            !is_same
        });
        on_event(event);
    }
}

fn classify_bounce(body: &SesBody<'_>, recipient: &Recipient<'_>) -> BounceClassification {
    classify::bounce(&BounceFields {
        // Absent fields are classified like unknown ones.
        bounce_type: body.bounce_type.as_deref().unwrap_or(""),
        sub_type: body.bounce_sub_type.as_deref().unwrap_or(""),
        status: recipient.status.as_deref(),
        diagnostic: recipient.diagnostic.as_deref(),
        has_reporting_mta: body.reporting_mta.is_some(),
    })
}

/// The provider that the answer about a recipient names, or the host that reported a bounce. Not examined for recipients whose domain
/// has a fixed provider, since it decides nothing there.
fn provider_evidence(body: &SesBody<'_>, recipient: &Recipient<'_>) -> Option<&'static str> {
    if attribution::has_fixed_provider(&recipient.address) {
        return None;
    }
    let texts = [recipient.diagnostic.as_deref().unwrap_or(""), body.reporting_mta.as_deref().unwrap_or("")];
    recognise(&texts, body.remote_mta_ip.as_deref().unwrap_or(""))
}

fn bounce<'a>(body: &SesBody<'a>, classification: BounceClassification) -> EventType<'a> {
    let BounceClassification { bounce_type, class, suppression } = classification;
    EventType::Bounce(Bounce {
        bounce_type,
        class,
        suppression,
        after_acceptance: body.reporting_mta.as_deref().is_some_and(is_receiving_mta),
        // Cloned, because every class of recipients gets a bounce of its own with the same id.
        feedback_id: body.feedback_id.clone().unwrap_or(ABSENT),
    })
}

/// Whether a reporting MTA belongs to the receiving side. Written `dsn; host` in old events and `dns; host` in newer ones; SES's
/// own hosts are below `amazonses.com`.
fn is_receiving_mta(reporting_mta: &str) -> bool {
    let host = reporting_mta.rsplit_once(';').map_or(reporting_mta, |(_, host)| host);
    let host = host.trim().trim_end_matches('.').to_ascii_lowercase();
    // With the dot, so that `notamazonses.com` is not taken for SES.
    !host.is_empty() && host != "amazonses.com" && !host.ends_with(".amazonses.com")
}

/// `not-spam` is the opposite of a complaint. A sub-type says that SES did not send the message because of an earlier complaint:
/// <https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html>
fn complaint<'a>(body: &mut SesBody<'a>) -> EventType<'a> {
    let feedback_type = body.complaint_feedback_type.as_deref();
    let is_not_spam = feedback_type.is_some_and(|name| name.eq_ignore_ascii_case("not-spam"));
    let counts = body.complaint_sub_type.is_none() && !is_not_spam;
    EventType::Complaint { counts, feedback_id: body.feedback_id.take().unwrap_or(ABSENT) }
}

fn interaction<'a>(
    body: &mut SesBody<'a>,
    agents: &mut AgentCache,
    is_click: bool,
    millis_after_send: i64,
) -> Interaction<'a> {
    // Archives may omit these two for privacy.
    let user_agent = body.user_agent.take().unwrap_or(ABSENT);
    let ip_address = body.ip_address.take().unwrap_or(ABSENT);
    let fields = InteractionFields {
        user_agent: &user_agent,
        ip_address: &ip_address,
        is_bot_event: body.is_bot_event.as_deref(),
        millis_after_send,
        is_click,
    };
    let requester = machine::classify(&fields, agents);
    // Bodies share one struct, so a `link` that does not belong to an open is dropped here.
    let (link, link_tags) =
        if is_click { (body.link.take(), body.link_tags) } else { (None, Tags::default()) };
    Interaction { link, link_tags, user_agent, ip_address, requester }
}

/// Whether a change unsubscribed the contact from everything, or from a topic it had not opted out of before.
fn unsubscribes(old: &Preferences<'_>, new: &Preferences<'_>) -> bool {
    // SES publishes opt-ins and opt-outs by the same event type, each with the whole state before and after.
    let from_all = new.unsubscribe_all && !old.unsubscribe_all;
    from_all || new.opted_out.iter().any(|topic| !old.opted_out.contains(topic))
}

#[cfg(test)]
mod tests;
