//! Every type of event, read back and compared with what SES documents.

use serde_json::{Value, json};

use super::*;
use crate::agents::{APPLE_PROXY, BROWSERS};
use crate::answers::{GMAIL, SUPPRESSED, UNDETERMINED};
use crate::mailboxes::Mailboxes;
use crate::world::{CAMPAIGNS, tenants};

const SENT_AT_MS: i64 = 1_786_060_800_123;

fn write(what: What, at_ms: i64) -> Value {
    let mailboxes = Mailboxes::new();
    let template = Template::new(&tenants(1)[0], &CAMPAIGNS[1], 0);
    let message = Message { sent_at_ms: SENT_AT_MS, serial: 7, person: 42, mailbox: 0, stream: 1 };
    let event = Event { at_ms, message, what, template: &template, mailbox: mailboxes.get(0).unwrap() };
    let mut out = Vec::new();
    Writer::new().write(&mut out, &event);
    assert_eq!(out.pop(), Some(b'\n'));
    assert!(!out.contains(&b'\n'));
    serde_json::from_slice(&out).unwrap()
}

fn every_what() -> [What; 14] {
    [
        What::Send,
        What::Delivery { processing_ms: 731 },
        What::Bounce { answer: &GMAIL.gone[0], after_acceptance: false },
        What::Bounce { answer: &GMAIL.gone[0], after_acceptance: true },
        What::Bounce { answer: &UNDETERMINED, after_acceptance: false },
        What::Suppressed(&SUPPRESSED[0]),
        What::AutoReply,
        What::Complaint,
        What::Reject,
        What::RenderingFailure,
        What::Delay(&GMAIL.later[0]),
        What::Open(&APPLE_PROXY),
        What::Click { agent: &BROWSERS[0], link: 0 },
        What::Unsubscribe,
    ]
}

#[test]
fn every_type_has_its_body_and_the_common_mail() {
    for what in every_what() {
        let event = write(what, SENT_AT_MS + 1_000);
        let (event_type, body) = (event["eventType"].as_str().unwrap(), body_key(what));
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

fn body_key(what: What) -> &'static str {
    match what {
        What::Send => "send",
        What::Delivery { .. } => "delivery",
        What::Bounce { .. } | What::Suppressed(_) | What::AutoReply => "bounce",
        What::Complaint => "complaint",
        What::Reject => "reject",
        What::RenderingFailure => "failure",
        What::Delay(_) => "deliveryDelay",
        What::Open(_) => "open",
        What::Click { .. } => "click",
        What::Unsubscribe => "subscription",
    }
}

#[test]
fn fields_are_where_ses_has_them_and_nowhere_else() {
    for what in every_what() {
        let event = write(what, SENT_AT_MS + 1_000);
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
        assert_eq!(event[body_key(what)].get("timestamp").is_none(), without_time, "{event_type}");
    }
}

#[test]
fn bounces_say_who_reports_them() {
    let bounce = |what| write(what, SENT_AT_MS + 1_000)["bounce"].clone();
    let refused = bounce(What::Bounce { answer: &GMAIL.gone[0], after_acceptance: false });
    assert_eq!(refused["bounceType"], "Permanent");
    assert_eq!(refused["bouncedRecipients"][0]["status"], "5.1.1");
    assert_eq!(refused["reportingMTA"], "dns; a8-21.smtp-out.amazonses.com");
    let later = bounce(What::Bounce { answer: &GMAIL.gone[0], after_acceptance: true });
    assert_eq!(later["reportingMTA"], "dns; gmail-smtp-in.l.google.com");
    let reply = bounce(What::AutoReply);
    assert_eq!((&reply["bounceType"], &reply["bounceSubType"]), (&json!("Transient"), &json!("General")));
    for field in ["status", "diagnosticCode", "action"] {
        assert!(reply["bouncedRecipients"][0].get(field).is_none(), "{field}");
    }
    assert!(reply.get("reportingMTA").is_none());
}

#[test]
fn the_bot_flag_is_there_from_its_first_day_on() {
    let flag = |at_ms| write(What::Open(&APPLE_PROXY), at_ms)["open"].get("isBotEvent").cloned();
    assert_eq!(flag(1_786_060_799_999), None);
    assert_eq!(flag(1_786_060_800_000), Some(json!("Unlikely")));
}
