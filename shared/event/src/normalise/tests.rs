//! SES's shapes, with the oddities of the field, to the one shape.

use super::*;
use crate::decode::{Decoded, Decoder};

/// What an event of type `kind` with `body` comes to, read by `field`.
fn check<T: PartialEq + std::fmt::Debug>(
    kind: &str,
    body: &str,
    read: impl Fn(&EmailEvent<'_>) -> T,
    expected: &[T],
) {
    let mail = r#""mail":{"timestamp":"2025-11-13T02:15:23.456Z","messageId":"m","destination":["a@example.com","b@example.com"]}"#;
    let text = format!("{{\"eventType\":\"{kind}\",{mail},{body}}}");
    let mut seen = Vec::new();
    Decoder::new().decode(text.as_bytes(), &mut |decoded| match decoded {
        Decoded::Event(event) => seen.push(read(event)),
        other => panic!("{other:?} from {text}"),
    });
    assert_eq!(seen, expected, "{text}");
}

fn recipients(event: &EmailEvent<'_>) -> String {
    event.recipients.join(" ")
}

const TIME: &str = r#""timestamp":"2025-11-13T02:15:24.000Z""#;

#[test]
fn recipients_are_those_the_event_names() {
    check("Send", r#""send":{}"#, recipients, &["a@example.com b@example.com".to_owned()]);
    let delivery = |more: &str| format!("\"delivery\":{{{TIME}{more}}}");
    check(
        "Delivery",
        &delivery(r#","recipients":["b@example.com"]"#),
        recipients,
        &["b@example.com".to_owned()],
    );
    check(
        "Delivery",
        &delivery(r#","recipients":"c@example.com""#),
        recipients,
        &["c@example.com".to_owned()],
    );
    check("Delivery", &delivery(r#","recipients":null"#), recipients, &[String::new()]);
    check("Open", &format!("\"open\":{{{TIME}}}"), |event| event.recipients.len(), &[0]);
    let delay = |list: &str| format!("\"deliveryDelay\":{{{TIME},\"delayedRecipients\":{list}}}");
    check(
        "DeliveryDelay",
        &delay(r#"{"emailAddress":"x@example.com"}"#),
        recipients,
        &["x@example.com".to_owned()],
    );
    check(
        "DeliveryDelay",
        &delay(r#"[{"emailAddress":"x@example.com"},{}]"#),
        recipients,
        &["x@example.com ".to_owned()],
    );
}

#[test]
fn a_message_to_nobody_known_is_counted_once() {
    let text = br#"{"eventType":"Send","mail":{"timestamp":"2025-11-13T02:15:23.456Z","messageId":"m"}}"#;
    Decoder::new().decode(text, &mut |decoded| match decoded {
        Decoded::Event(event) => {
            assert_eq!((event.recipients.as_slice(), event.destination_count), (&["".into()][..], 0));
        }
        other => panic!("{other:?}"),
    });
}

#[test]
fn recipients_and_tags_end_at_their_limits() {
    let addresses = vec!["\"a@example.com\""; 1001].join(",");
    let tags: Vec<String> = (0..65).map(|n| format!("\"t{n}\":[\"v\",\"w\"]")).collect();
    let text = format!(
        r#"{{"eventType":"Send","mail":{{"timestamp":"2025-11-13T02:15:23.456Z","messageId":"m","destination":[{addresses}],"tags":{{"none":[],"bare":"b",{}}}}}}}"#,
        tags.join(",")
    );
    Decoder::new().decode(text.as_bytes(), &mut |decoded| match decoded {
        Decoded::Event(event) => {
            assert_eq!(
                (event.recipients.len(), event.destinations.len(), event.destination_count),
                (1000, 50, 1001)
            );
            let tags = event.tags.list();
            let value = |name: &str| tags.get(name).map(AsRef::as_ref);
            assert_eq!((tags.len(), value("bare"), value("t3")), (64, Some("b"), Some("v")));
        }
        other => panic!("{other:?}"),
    });
}

#[test]
fn a_bounce_is_one_event_per_class_of_its_recipients() {
    let recipient = |name: &str, status: &str| format!(r#"{{"emailAddress":"{name}","status":"{status}"}}"#);
    let list = [recipient("a", "5.1.1"), recipient("b", "5.2.2"), recipient("c", "5.1.1")].join(",");
    let body = format!(
        r#""bounce":{{{TIME},"bounceType":"Permanent","bounceSubType":"General","feedbackId":"f","bouncedRecipients":[{list}]}}"#
    );
    check("Bounce", &body, recipients, &["a c".to_owned(), "b".to_owned()]);
}

#[test]
fn a_bounce_after_acceptance_is_reported_by_another_host() {
    for (mta, expected) in [
        ("dsn; a8-21.smtp-out.amazonses.com", false),
        ("dns; A8-21.SMTP-OUT.AmazonSES.com.", false),
        ("dns; amazonses.com", false),
        ("a8-21.smtp-out.amazonses.com", false),
        ("dsn; mx.example.com", true),
        ("dns; notamazonses.com", true),
        ("", false),
        ("dns; ", false),
    ] {
        let body = format!(r#""bounce":{{{TIME},"bounceType":"Permanent","reportingMTA":"{mta}"}}"#);
        let after = |event: &EmailEvent<'_>| matches!(&event.kind, EventKind::Bounce(bounce) if bounce.after_acceptance);
        check("Bounce", &body, after, &[expected]);
    }
}

#[test]
fn a_complaint_counts_unless_it_is_none() {
    for (more, expected) in [
        ("", true),
        (r#","complaintSubType":null,"complaintFeedbackType":"abuse""#, true),
        (r#","complaintFeedbackType":"Not-Spam""#, false),
        (r#","complaintSubType":"OnAccountSuppressionList""#, false),
    ] {
        let counts = |event: &EmailEvent<'_>| matches!(event.kind, EventKind::Complaint { counts: true, .. });
        check("Complaint", &format!("\"complaint\":{{{TIME}{more}}}"), counts, &[expected]);
    }
}

#[test]
fn an_unsubscribe_is_a_change_away() {
    let all = |all: bool| format!("{{\"unsubscribeAll\":{all}}}");
    let topic = |status: &str| {
        format!(
            r#"{{"unsubscribeAll":false,"topicSubscriptionStatus":[{{"topicName":"t","subscriptionStatus":"{status}"}}]}}"#
        )
    };
    for (old, new, expected) in [
        (all(false), all(true), true),
        (all(true), all(true), false),
        (all(true), all(false), false),
        (topic("OptIn"), topic("OptOut"), true),
        (topic("OptOut"), topic("OptOut"), false),
        (topic("OptOut"), topic("OptIn"), false),
        ("null".to_owned(), topic("OptOut"), true),
    ] {
        let body =
            format!(r#""subscription":{{{TIME},"newTopicPreferences":{new},"oldTopicPreferences":{old}}}"#);
        let unsubscribed =
            |event: &EmailEvent<'_>| event.kind == EventKind::Subscription { unsubscribed: true };
        check("Subscription", &body, unsubscribed, &[expected]);
    }
}

#[test]
fn optional_fields_of_a_wrong_type_are_as_good_as_absent() {
    for (text, expected) in [
        ("940", Some(940)),
        ("\"940\"", Some(940)),
        ("940.7", Some(940)),
        ("-1", None),
        ("{}", None),
        ("1e99", None),
    ] {
        let body = format!("\"delivery\":{{{TIME},\"smtpResponse\":[],\"processingTimeMillis\":{text}}}");
        let millis = |event: &EmailEvent<'_>| match event.kind {
            EventKind::Delivery { processing_ms } => processing_ms,
            _ => panic!("{:?}", event.kind),
        };
        check("Delivery", &body, millis, &[expected]);
    }
}

#[test]
fn an_open_carries_no_link_and_a_click_does() {
    let body = |key: &str| {
        format!(
            "\"{key}\":{{{TIME},\"link\":\"https://example.com\",\"linkTags\":null,\"ipAddress\":\"::1\"}}"
        )
    };
    let link = |event: &EmailEvent<'_>| match &event.kind {
        EventKind::Open(act) | EventKind::Click(act) => act.link.as_deref().map(str::to_owned),
        other => panic!("{other:?}"),
    };
    check("Open", &body("open"), link, &[None]);
    check("Click", &body("click"), link, &[Some("https://example.com".to_owned())]);
}
