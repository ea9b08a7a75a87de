//! Every event type, parsed back and compared with SES's documentation.

use serde_json::{Value, json};

use super::*;
use crate::mailboxes::Mailboxes;
use crate::smtp_replies::{GMAIL, SUPPRESSED, UNDETERMINED};
use crate::user_agents::{APPLE_PROXY, BROWSERS};
use crate::world::{CAMPAIGNS, tenants};

const SENT_AT_MS: i64 = 1_786_060_800_123;

fn write(detail: EventDetail, at_ms: i64) -> Value {
    let mailboxes = Mailboxes::new(None);
    let template = Template::new(&tenants(1)[0], &CAMPAIGNS[1], 0);
    let message = SimulatedMessage { sent_at_ms: SENT_AT_MS, serial: 7, person: 42, mailbox: 0, stream: 1 };
    let event = Event { at_ms, message, detail, template: &template, mailbox: mailboxes.get(0).unwrap() };
    let mut out = Vec::new();
    Writer::new().write(&mut out, &event);
    assert_eq!(out.pop(), Some(b'\n'));
    assert!(!out.contains(&b'\n'));
    serde_json::from_slice(&out).unwrap()
}

fn every_detail() -> [EventDetail; 14] {
    [
        EventDetail::Send,
        EventDetail::Delivery { processing_ms: 731 },
        EventDetail::Bounce { reply: &GMAIL.unknown_recipient[0], after_acceptance: false },
        EventDetail::Bounce { reply: &GMAIL.unknown_recipient[0], after_acceptance: true },
        EventDetail::Bounce { reply: &UNDETERMINED, after_acceptance: false },
        EventDetail::Suppressed(&SUPPRESSED[0]),
        EventDetail::AutoReply,
        EventDetail::Complaint,
        EventDetail::Reject,
        EventDetail::RenderingFailure,
        EventDetail::Delay(&GMAIL.deferred[0]),
        EventDetail::Open(&APPLE_PROXY),
        EventDetail::Click { agent: &BROWSERS[0], link: 0 },
        EventDetail::Unsubscribe,
    ]
}

#[test]
fn every_type_has_its_own_body_and_the_common_mail_object() {
    for detail in every_detail() {
        let event = write(detail, SENT_AT_MS + 1_000);
        let (event_type, body) = (event["eventType"].as_str().unwrap(), body_key(detail));
        assert!(event[body].is_object(), "{event_type}");
        assert_eq!(event.as_object().unwrap().len(), 3, "{event_type}");
        let mail = &event["mail"];
        assert_eq!(mail["timestamp"], "2026-08-07T00:00:00.123Z");
        assert_eq!(mail["messageId"].as_str().unwrap().len(), 60);
        assert_eq!(mail["destination"].as_array().unwrap().len(), 1);
        assert_eq!(mail["source"], "acme <hello@news.acme.example>");
        assert_eq!(mail["sendingAccountId"].as_str().unwrap().len(), 12);
        for tag in
            ["tenant", "campaign", "segment", "ses:configuration-set", "ses:from-domain", "ses:operation"]
        {
            assert_eq!(mail["tags"][tag].as_array().unwrap().len(), 1, "{event_type} {tag}");
        }
    }
}

fn body_key(detail: EventDetail) -> &'static str {
    match detail {
        EventDetail::Send => "send",
        EventDetail::Delivery { .. } => "delivery",
        EventDetail::Bounce { .. } | EventDetail::Suppressed(_) | EventDetail::AutoReply => "bounce",
        EventDetail::Complaint => "complaint",
        EventDetail::Reject => "reject",
        EventDetail::RenderingFailure => "failure",
        EventDetail::Delay(_) => "deliveryDelay",
        EventDetail::Open(_) => "open",
        EventDetail::Click { .. } => "click",
        EventDetail::Unsubscribe => "subscription",
    }
}

#[test]
fn optional_fields_appear_only_where_ses_writes_them() {
    for detail in every_detail() {
        let event = write(detail, SENT_AT_MS + 1_000);
        let (event_type, mail) = (event["eventType"].as_str().unwrap(), &event["mail"]);
        let has = |field: &str| mail.get(field).is_some();
        assert_eq!(has("sourceArn"), !["Open", "Click"].contains(&event_type), "{event_type}");
        assert_eq!(mail["tags"].get("ses:outgoing-ip").is_some(), event_type == "Delivery", "{event_type}");
        let with_headers = !["DeliveryDelay", "Rendering Failure"].contains(&event_type);
        for field in ["headers", "commonHeaders", "headersTruncated"] {
            assert_eq!(has(field), with_headers, "{event_type} {field}");
        }
        if with_headers {
            assert_eq!(mail["commonHeaders"]["messageId"], mail["messageId"]);
            assert_eq!(mail["commonHeaders"]["date"], "Fri, 7 Aug 2026 00:00:00 +0000");
        }
        let without_time = ["Send", "Reject", "Rendering Failure"].contains(&event_type);
        assert_eq!(event[body_key(detail)].get("timestamp").is_none(), without_time, "{event_type}");
    }
}

#[test]
fn bounces_name_their_reporting_mta() {
    let bounce = |detail| write(detail, SENT_AT_MS + 1_000)["bounce"].clone();
    let refused = bounce(EventDetail::Bounce { reply: &GMAIL.unknown_recipient[0], after_acceptance: false });
    assert_eq!(refused["bounceType"], "Permanent");
    assert_eq!(refused["bouncedRecipients"][0]["status"], "5.1.1");
    assert_eq!(refused["reportingMTA"], "dns; a8-21.smtp-out.amazonses.com");
    let later = bounce(EventDetail::Bounce { reply: &GMAIL.unknown_recipient[0], after_acceptance: true });
    assert_eq!(later["reportingMTA"], "dns; gmail-smtp-in.l.google.com");
    let reply = bounce(EventDetail::AutoReply);
    assert_eq!((&reply["bounceType"], &reply["bounceSubType"]), (&json!("Transient"), &json!("General")));
    for field in ["status", "diagnosticCode", "action"] {
        assert!(reply["bouncedRecipients"][0].get(field).is_none(), "{field}");
    }
    assert!(reply.get("reportingMTA").is_none());
}

#[test]
fn bot_flag_is_written_from_its_introduction_on() {
    let flag = |at_ms| write(EventDetail::Open(&APPLE_PROXY), at_ms)["open"].get("isBotEvent").cloned();
    assert_eq!(flag(1_786_060_799_999), None);
    assert_eq!(flag(1_786_060_800_000), Some(json!("Unlikely")));
}
