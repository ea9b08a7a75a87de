//! SNS messages, genuine and forged.
//!
//! The messages in `tests/sns` were signed once with a key that was then deleted: `openssl dgst -sha1 -sign` (version
//! 1) and `-sha256` (version 2) over the text that AWS documents. `certificate.pem` and `expired.pem` belong to that key, `stranger.pem` to another.

use serde_json::json;

use super::*;

const V1: &str = include_str!("sns/notification-v1.json");
const V2: &str = include_str!("sns/notification-v2.json");
const CONFIRMATION: &str = include_str!("sns/confirmation.json");
const CONFIRMATION_ELSEWHERE: &str = include_str!("sns/confirmation-elsewhere.json");
const UNSUBSCRIBED: &str = include_str!("sns/unsubscribed.json");

async fn post(world: &World, body: impl Into<Body>) -> Reply {
    let request = Request::post("/v1/ingest/sns").header("content-type", "text/plain; charset=UTF-8");
    world.send(request.body(body.into()).unwrap()).await
}

/// The message with one member changed.
fn with(message: &str, member: &str, value: &str) -> String {
    let mut message: Value = serde_json::from_str(message).unwrap();
    message[member] = json!(value);
    message.to_string()
}

async fn is_refused(world: &World, body: String) {
    let reply = post(world, body.clone()).await;
    assert_eq!((reply.status, reply.problem()), (StatusCode::FORBIDDEN, "forbidden".to_owned()), "{body}");
    assert!(world.payloads().is_empty() && world.sns.confirmed.lock().unwrap().is_empty(), "{body}");
}

#[tokio::test]
async fn signed_message_is_counted_in_both_signature_versions() {
    let world = World::new();
    // Both messages hold the same event.
    for (message, outcome) in [
        (V1, json!({"events": 1, "duplicates": 0, "ignored": 0, "quarantined": 0})),
        (V2, json!({"events": 0, "duplicates": 1, "ignored": 0, "quarantined": 0})),
    ] {
        let reply = post(&world, message).await;
        assert_eq!((reply.status, reply.json()), (StatusCode::OK, outcome));
    }
    let payloads = world.payloads();
    assert_eq!(payloads.len(), 2);
    assert!(
        payloads
            .iter()
            .all(|payload| payload.starts_with(b"{\"eventType\":\"Send\"") && payload.ends_with(b"}\n"))
    );
    assert_eq!(world.sns.visits.load(Ordering::Relaxed), 1, "the certificate is cached");
}

#[tokio::test]
async fn message_with_any_changed_member_is_refused() {
    let world = World::new();
    for message in [V1, V2] {
        for (member, value) in [
            ("Message", "{}"),
            ("MessageId", "other"),
            ("Subject", "other"),
            ("Timestamp", "2026-11-25T12:00:00Z"),
            ("Type", "UnsubscribeConfirmation"),
            ("SignatureVersion", "3"),
            ("SignatureVersion", ""),
            ("Signature", ""),
            ("Signature", "AAAA"),
            ("Signature", "not base64!"),
        ] {
            is_refused(&world, with(message, member, value)).await;
        }
    }
    is_refused(&world, with(V1, "SignatureVersion", "2")).await;
    is_refused(&world, with(V2, "SignatureVersion", "1")).await;
    for (member, value) in [
        ("Token", "other"),
        ("SubscribeURL", "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=1"),
    ] {
        is_refused(&world, with(CONFIRMATION, member, value)).await;
    }
}

#[tokio::test]
async fn certificate_that_is_foreign_expired_or_malformed_is_refused() {
    is_refused(&World::with(Mode::Counting, Some(include_str!("sns/stranger.pem"))), V2.to_owned()).await;
    // The same key, but the certificate expired a minute before the message was published.
    is_refused(&World::with(Mode::Counting, Some(include_str!("sns/expired.pem"))), V2.to_owned()).await;
    is_refused(&World::with(Mode::Counting, Some("<html>not found</html>")), V2.to_owned()).await;
    is_refused(&World::with(Mode::Counting, Some("")), V2.to_owned()).await;
}

#[tokio::test]
async fn message_of_another_topic_is_refused_before_anything_is_fetched() {
    let world = World::new();
    for topic in [
        "arn:aws:sns:eu-west-1:999999999999:ses-events",
        "",
        "arn:aws:sns:eu-west-1:123456789012:ses-events2",
    ] {
        is_refused(&world, with(V2, "TopicArn", topic)).await;
    }
    assert_eq!(world.sns.visits.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn certificate_of_another_host_is_not_fetched() {
    let world = World::new();
    for url in [
        "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-01.pem",
        "https://sns.eu-west-1.amazonaws.com.evil.com/SimpleNotificationService-01.pem",
        "https://sns.eu-west-1.amazonaws.com@evil.com/SimpleNotificationService-01.pem",
        "https://sns.eu-west-1.amazonaws.com/other.pem",
        "https://evil-bucket.s3.amazonaws.com/SimpleNotificationService-01.pem",
        "file:///etc/passwd",
        "",
    ] {
        is_refused(&world, with(V2, "SigningCertURL", url)).await;
    }
    assert_eq!(world.sns.visits.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn message_older_than_an_hour_is_refused() {
    let world = World::new();
    for (now, taken) in [
        ("2026-11-25T13:00:00Z", true),
        ("2026-11-25T13:00:00.001Z", false),
        ("2026-11-25T11:55:00Z", true),
        ("2026-11-25T11:54:59.999Z", false),
    ] {
        world.clock.set(at(now));
        let expected = if taken { StatusCode::OK } else { StatusCode::FORBIDDEN };
        assert_eq!(post(&world, V2).await.status, expected, "{now}");
    }
    is_refused(&World::new(), with(V2, "Timestamp", "noon")).await;
}

#[tokio::test]
async fn subscription_is_confirmed_at_the_signed_url() {
    let world = World::new();
    assert_eq!(post(&world, CONFIRMATION).await.json()["ignored"], 1);
    let confirmed = world.sns.confirmed.lock().unwrap().clone();
    let url = format!(
        "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37fb"
    );
    assert_eq!(confirmed, [url]);
    assert!(world.payloads().is_empty());
}

#[tokio::test]
async fn subscription_is_not_confirmed_at_another_host_even_if_signed() {
    is_refused(&World::new(), CONFIRMATION_ELSEWHERE.to_owned()).await;
}

#[tokio::test]
async fn end_of_a_subscription_is_accepted() {
    let world = World::new();
    assert_eq!(post(&world, UNSUBSCRIBED).await.status, StatusCode::OK);
    assert!(world.payloads().is_empty() && world.sns.confirmed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn sns_retries_when_its_certificate_cannot_be_fetched_or_the_queue_is_full() {
    let unreachable = post(&World::with(Mode::Counting, None), V2).await;
    assert_eq!(
        (unreachable.status, unreachable.header("retry-after")),
        (StatusCode::SERVICE_UNAVAILABLE, "5")
    );
    let busy = post(&World::busy(), V2).await;
    assert_eq!(busy.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn raw_delivery_is_refused_with_advice() {
    let request = Request::post("/v1/ingest/sns").header("x-amz-sns-rawdelivery", "true");
    let reply = World::new().send(request.body(r#"{"eventType":"Send"}"#.into()).unwrap()).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert!(reply.json()["detail"].as_str().unwrap().contains("switch raw message delivery off"));
}

#[tokio::test]
async fn body_that_is_not_an_sns_message_is_refused() {
    let world = World::new();
    let bodies = ["", "null", "[]", "{}", "\u{0}", "{\"Type\":\"Notification\"}"];
    for body in bodies.into_iter().map(str::to_owned).chain(["[".repeat(100_000), with(V2, "Type", "Other")])
    {
        let reply = post(&world, body).await;
        assert_eq!((reply.status, reply.problem()), (StatusCode::BAD_REQUEST, "invalid-body".to_owned()));
    }
}

#[tokio::test]
async fn route_does_not_exist_where_no_topic_is_configured() {
    let world = World::new();
    let app = router(Arc::clone(&world.service), Arc::clone(&world.sns), RouterSettings::default());
    let request = Request::post("/v1/ingest/sns").body(Body::from(V2)).unwrap();
    assert_eq!(app.oneshot(request).await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(world.sns.visits.load(Ordering::Relaxed), 0);
}
