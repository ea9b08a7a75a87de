//! Decodes every file in `events/` and records one outcome per line, so that the effect of a change on any of them shows in
//! review.

#![expect(clippy::disallowed_methods, reason = "the samples are files")]

use std::fmt::Write as _;
use std::path::Path;

use super::*;
use crate::event::{BounceType, EventType, Requester};

/// One outcome as one line.
pub(super) fn line(decoded: &Decoded<'_, '_>) -> String {
    match decoded {
        Decoded::Event(event) => event_line(event),
        Decoded::Ignored(ignored) => format!("ignored: {ignored:?}"),
        Decoded::Unreadable { reason, bytes } => format!("unreadable: {reason} ({} bytes)", bytes.len()),
    }
}

fn event_line(event: &EmailEvent<'_>) -> String {
    let what = match &event.event_type {
        EventType::Send => "send".to_owned(),
        EventType::Delivery { processing_ms } => format!("delivery in {processing_ms:?} ms"),
        EventType::Bounce(bounce) => {
            let name = match bounce.bounce_type {
                BounceType::Permanent => "permanent bounce",
                BounceType::Transient => "transient bounce",
                BounceType::Undetermined => "undetermined bounce",
                BounceType::AutoReply => "automatic reply",
            };
            let late = if bounce.after_acceptance { ", after acceptance" } else { "" };
            format!("{name} ({}, suppression {:?}{late})", bounce.class.name(), bounce.suppression)
        }
        EventType::Complaint { counts, .. } => format!("complaint, counts: {counts}"),
        EventType::Reject => "reject".to_owned(),
        EventType::RenderingFailure => "rendering failure".to_owned(),
        EventType::Delay { class } => format!("delay ({})", class.name()),
        EventType::Open(open) => format!("open by {}", who(open.requester)),
        EventType::Click(click) => {
            format!("click by {} on {}", who(click.requester), click.link.as_deref().unwrap_or("?"))
        }
        EventType::Subscription { unsubscribed } => format!("subscription, unsubscribed: {unsubscribed}"),
        EventType::QueueDepth { depth } => format!("queue of {depth}"),
    };
    let id: String = event.message_id.chars().take(16).collect();
    let sent_at =
        event.sent_at.map_or_else(|| "at an unknown time".to_owned(), |sent_at| sent_at.to_string());
    let mut line = format!("{what} | {id} sent {sent_at} | {}", event.at);
    write!(line, " | for {:?} of {:?}", event.recipients.join(" "), event.destinations.join(" ")).unwrap();
    let tags = event.tags.list();
    let campaign = tags.get("campaign").map_or("none", AsRef::as_ref);
    write!(line, " | from {} | {} tags, campaign {campaign}", event.source, tags.len()).unwrap();
    line
}

fn who(requester: Requester) -> &'static str {
    match requester {
        Requester::Person => "a person",
        Requester::ConfirmedPerson => "a person, says SES",
        Requester::Machine(rule) => rule,
    }
}

#[test]
fn samples_decode_as_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events");
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() > 40, "samples are missing");
    let mut decoder = Decoder::new();
    let mut report = String::new();
    for name in names {
        writeln!(report, "{name}").unwrap();
        let payload = std::fs::read(folder.join(&name)).unwrap();
        decoder.decode(&payload, &mut |decoded| writeln!(report, "  {}", line(&decoded)).unwrap());
    }
    insta::assert_snapshot!(report);
}
