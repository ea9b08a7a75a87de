//! SES's wire shapes with their oddities, and the events they become.

use super::*;
use crate::decode::{Decoded, Decoder};

/// Checks the events that an SES event of type `event_type` with `body` becomes, each reduced by `read`.
fn check<T: PartialEq + std::fmt::Debug>(
    event_type: &str,
    body: &str,
    read: impl Fn(&EmailEvent<'_>) -> T,
    expected: &[T],
) {
    let mail = r#""mail":{"timestamp":"2025-11-13T02:15:23.456Z","messageId":"m","destination":["a@example.com","b@example.com"]}"#;
    let text = format!("{{\"eventType\":\"{event_type}\",{mail},{body}}}");
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
fn recipients_are_those_that_the_event_names() {
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
fn message_without_recipients_is_counted_once() {
    let text = br#"{"eventType":"Send","mail":{"timestamp":"2025-11-13T02:15:23.456Z","messageId":"m"}}"#;
    Decoder::new().decode(text, &mut |decoded| match decoded {
        Decoded::Event(event) => {
            assert_eq!((event.recipients.as_slice(), event.destination_count), (&["".into()][..], 0));
        }
        other => panic!("{other:?}"),
    });
}

#[test]
fn event_of_too_many_recipients_is_unreadable_and_an_open_of_their_message_is_not() {
    let list = |count: usize| vec!["\"a@b.co\""; count].join(",");
    let mail = |count: usize| {
        format!(
            r#""mail":{{"timestamp":"2025-11-13T02:15:23.456Z","messageId":"m","destination":[{}]}}"#,
            list(count)
        )
    };
    let delivery = |count: usize| {
        format!(
            r#"{{"eventType":"Delivery",{},"delivery":{{{TIME},"recipients":[{}]}}}}"#,
            mail(1),
            list(count)
        )
    };
    let send = |count| format!(r#"{{"eventType":"Send",{}}}"#, mail(count));
    let open = |count| format!(r#"{{"eventType":"Open",{},"open":{{{TIME}}}}}"#, mail(count));
    for (text, is_counted) in [
        (send(MAX_RECIPIENTS), true),
        (send(MAX_RECIPIENTS + 1), false),
        (delivery(MAX_RECIPIENTS), true),
        (delivery(MAX_RECIPIENTS + 2), false),
        (open(MAX_RECIPIENTS + 2), true),
    ] {
        Decoder::new().decode(text.as_bytes(), &mut |decoded| match decoded {
            Decoded::Event(_) => assert!(is_counted),
            Decoded::Unreadable { reason: Unreadable::TooManyRecipients { limit }, .. } => {
                assert!(!is_counted && limit == MAX_RECIPIENTS);
            }
            other => panic!("{other:?}"),
        });
    }
}

#[test]
fn large_event_counts_all_its_recipients_and_a_part_of_its_tags() {
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
                (1001, 50, 1001)
            );
            let tags = event.tags.list();
            let value = |name: &str| tags.get(name).map(AsRef::as_ref);
            assert_eq!((tags.len(), value("bare"), value("t3")), (64, Some("b"), Some("v")));
        }
        other => panic!("{other:?}"),
    });
}

#[test]
fn bounce_becomes_one_event_per_class_of_its_recipients() {
    let recipient = |name: &str, status: &str| format!(r#"{{"emailAddress":"{name}","status":"{status}"}}"#);
    let list = [recipient("a", "5.1.1"), recipient("b", "5.2.2"), recipient("c", "5.1.1")].join(",");
    let body = format!(
        r#""bounce":{{{TIME},"bounceType":"Permanent","bounceSubType":"General","feedbackId":"f","bouncedRecipients":[{list}]}}"#
    );
    check("Bounce", &body, recipients, &["a c".to_owned(), "b".to_owned()]);
}

#[test]
fn bounce_after_acceptance_is_reported_by_a_host_outside_ses() {
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
        let after = |event: &EmailEvent<'_>| matches!(&event.event_type, EventType::Bounce(bounce) if bounce.after_acceptance);
        check("Bounce", &body, after, &[expected]);
    }
}

#[test]
fn complaint_counts_unless_it_is_not_spam_or_suppressed() {
    for (more, expected) in [
        ("", true),
        (r#","complaintSubType":null,"complaintFeedbackType":"abuse""#, true),
        (r#","complaintFeedbackType":"Not-Spam""#, false),
        (r#","complaintSubType":"OnAccountSuppressionList""#, false),
    ] {
        let counts =
            |event: &EmailEvent<'_>| matches!(event.event_type, EventType::Complaint { counts: true, .. });
        check("Complaint", &format!("\"complaint\":{{{TIME}{more}}}"), counts, &[expected]);
    }
}

#[test]
fn unsubscribe_is_a_change_from_subscribed_to_unsubscribed() {
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
            |event: &EmailEvent<'_>| event.event_type == EventType::Subscription { unsubscribed: true };
        check("Subscription", &body, unsubscribed, &[expected]);
    }
}

#[test]
fn optional_fields_of_a_wrong_type_count_as_absent() {
    for (text, expected) in [
        ("940", Some(940)),
        ("\"940\"", Some(940)),
        ("940.7", Some(940)),
        ("-1", None),
        ("{}", None),
        ("1e99", None),
    ] {
        let body = format!("\"delivery\":{{{TIME},\"smtpResponse\":[],\"processingTimeMillis\":{text}}}");
        let millis = |event: &EmailEvent<'_>| match event.event_type {
            EventType::Delivery { processing_ms } => processing_ms,
            _ => panic!("{:?}", event.event_type),
        };
        check("Delivery", &body, millis, &[expected]);
    }
}

#[test]
fn only_a_click_has_a_link() {
    let body = |key: &str| {
        format!(
            "\"{key}\":{{{TIME},\"link\":\"https://example.com\",\"linkTags\":{{\"position\":[\"header\"]}},\"ipAddress\":\"::1\"}}"
        )
    };
    let link = |event: &EmailEvent<'_>| match &event.event_type {
        EventType::Open(interaction) | EventType::Click(interaction) => {
            let position = interaction.link_tags.list().get("position").map(ToString::to_string);
            interaction.link.as_deref().map(str::to_owned).zip(position)
        }
        other => panic!("{other:?}"),
    };
    check("Open", &body("open"), link, &[None]);
    check("Click", &body("click"), link, &[Some(("https://example.com".to_owned(), "header".to_owned()))]);
}

#[test]
fn outcome_without_recipients_concerns_the_only_recipient_of_the_message() {
    let seen = |destinations: &str| {
        let text = format!(
            r#"{{"eventType":"Bounce","mail":{{"timestamp":"2025-11-13T02:15:23.456Z","messageId":"m","destination":[{destinations}]}},"bounce":{{{TIME},"bounceType":"Permanent"}}}}"#
        );
        let mut seen = Vec::new();
        Decoder::new().decode(text.as_bytes(), &mut |decoded| match decoded {
            Decoded::Event(event) => seen.push(recipients(event)),
            other => panic!("{other:?}"),
        });
        seen
    };
    assert_eq!(seen(r#""a@example.com""#), ["a@example.com"]);
    assert_eq!(seen(r#""a@example.com","b@example.com""#), [""]);
    assert_eq!(seen(""), [""]);
}

#[test]
fn gauge_needs_a_depth_and_has_no_recipients() {
    let depth = |event: &EmailEvent<'_>| match event.event_type {
        EventType::QueueDepth { depth } => (depth, event.recipients.len(), event.counts()),
        ref other => panic!("{other:?}"),
    };
    check("QueueDepth", r#""queueDepth":{"depth":0}"#, depth, &[(0, 0, 1)]);
    check("QueueDepth", r#""queueDepth":{"depth":"7"}"#, depth, &[(7, 0, 1)]);
    for body in [r#""queueDepth":{}"#, r#""queueDepth":{"depth":-1}"#, r#""x":0"#] {
        let text = format!(
            r#"{{"eventType":"QueueDepth","mail":{{"timestamp":"2025-11-13T02:15:23.456Z","messageId":"m"}},{body}}}"#
        );
        Decoder::new().decode(text.as_bytes(), &mut |decoded| match decoded {
            Decoded::Unreadable { reason, .. } => {
                assert_eq!(reason, Unreadable::MissingField("queueDepth.depth"), "{body}");
            }
            other => panic!("{other:?}"),
        });
    }
}

#[test]
fn last_of_two_bodies_counts_wherever_the_type_is() {
    let bodies = format!(
        r#""delivery":{{{TIME},"processingTimeMillis":1}},"delivery":{{{TIME},"processingTimeMillis":2}}"#
    );
    let millis = |event: &EmailEvent<'_>| match event.event_type {
        EventType::Delivery { processing_ms } => processing_ms,
        _ => panic!("{:?}", event.event_type),
    };
    check("Delivery", &bodies, millis, &[Some(2)]);
    let text = format!(
        r#"{{{bodies},"mail":{{"timestamp":"2025-11-13T02:15:23.456Z","messageId":"m"}},"eventType":"Delivery"}}"#
    );
    Decoder::new().decode(text.as_bytes(), &mut |decoded| match decoded {
        Decoded::Event(event) => assert_eq!(millis(event), Some(2)),
        other => panic!("{other:?}"),
    });
}

#[test]
fn event_type_is_read_in_any_spelling() {
    let failure = r#""failure":{"errorMessage":"x"}"#;
    for name in [
        "RenderingFailure",
        "Rendering Failure",
        "RENDERING_FAILURE",
        "rendering-failure",
        "Email Rendering Failed",
    ] {
        check(name, failure, |event| event.event_type == EventType::RenderingFailure, &[true]);
    }
    let body = |key: &str| format!("\"{key}\":{{{TIME}}}");
    for name in
        ["Delivery Delay", "DELIVERY_DELAY", "deliverydelay", "DeliveryDelayed", "Email Delivery Delayed"]
    {
        let is_delay = |event: &EmailEvent<'_>| matches!(event.event_type, EventType::Delay { .. });
        check(name, &body("deliveryDelay"), is_delay, &[true]);
    }
    for name in ["bounce", "BOUNCE", "Bounced", "Email Bounced"] {
        let is_bounce = |event: &EmailEvent<'_>| matches!(event.event_type, EventType::Bounce(_));
        check(name, &body("bounce"), is_bounce, &[true]);
    }
    for (names, key) in [
        (["SEND", "Sent", "Email Sent"], "send"),
        (["delivery", "Delivered", "Email Delivered"], "delivery"),
        (["COMPLAINT", "Complained", "Email Complaint Received"], "complaint"),
        (["reject", "Rejected", "Email Rejected"], "reject"),
        (["OPEN", "Opened", "Email Opened"], "open"),
        (["click", "Clicked", "Email Clicked"], "click"),
        (["subscription", "Subscribed", "Email Subscribed"], "subscription"),
    ] {
        for name in names {
            check(name, &body(key), |event| type_name(&event.event_type), &[key]);
        }
    }
}

fn type_name(event_type: &EventType<'_>) -> &'static str {
    match event_type {
        EventType::Send => "send",
        EventType::Delivery { .. } => "delivery",
        EventType::Complaint { .. } => "complaint",
        EventType::Reject => "reject",
        EventType::Open(_) => "open",
        EventType::Click(_) => "click",
        EventType::Subscription { .. } => "subscription",
        other => panic!("{other:?}"),
    }
}

#[test]
fn event_without_a_time_of_sending_has_its_own_time() {
    let read = |mail_time: &str, event_type: &str, body: &str| {
        let text = format!(
            r#"{{"eventType":"{event_type}","mail":{{{mail_time}"messageId":"m","destination":["a@example.com"]}},{body}}}"#
        );
        let mut seen = Vec::new();
        Decoder::new().decode(text.as_bytes(), &mut |decoded| {
            seen.push(match decoded {
                Decoded::Event(event) => Ok((event.at.to_string(), event.sent_at)),
                Decoded::Unreadable { reason, .. } => Err(reason),
                Decoded::Ignored(ignored) => panic!("{ignored:?}"),
            });
        });
        seen.remove(0)
    };
    let own = Ok(("2025-11-13T02:15:24Z".to_owned(), None));
    for (event_type, key) in
        [("Bounce", "bounce"), ("Delivery", "delivery"), ("Open", "open"), ("Click", "click")]
    {
        let body = format!("\"{key}\":{{{TIME}}}");
        assert_eq!(read("", event_type, &body), own, "{key}");
        assert_eq!(read("\"timestamp\":null,", event_type, &body), own, "{key}");
    }
    let sent = "\"timestamp\":\"2025-11-13T02:15:23Z\",";
    for (mail_time, event_type, body, reason) in [
        ("", "Bounce", "\"bounce\":{}", Unreadable::NoTime("bounce.timestamp")),
        (sent, "Bounce", "\"bounce\":{}", Unreadable::MissingField("bounce.timestamp")),
        ("", "Send", "\"send\":{}", Unreadable::MissingField("mail.timestamp")),
        ("\"timestamp\":5,", "Open", "\"open\":{}", Unreadable::WrongType("mail.timestamp")),
        ("", "Open", "\"open\":{\"timestamp\":5}", Unreadable::WrongType("open.timestamp")),
    ] {
        assert_eq!(read(mail_time, event_type, body), Err(reason));
    }
    // No rule that looks at the time since sending applies.
    let body = r#""click":{"timestamp":"2025-11-13T02:15:24.000Z","ipAddress":"192.0.2.1","userAgent":"Mozilla/5.0 (X11; Linux x86_64)"}"#;
    let text = format!(r#"{{"eventType":"Click","mail":{{"messageId":"m"}},{body}}}"#);
    Decoder::new().decode(text.as_bytes(), &mut |decoded| match decoded {
        Decoded::Event(EmailEvent { event_type: EventType::Click(click), .. }) => {
            assert!(!click.requester.is_machine());
        }
        other => panic!("{other:?}"),
    });
}
