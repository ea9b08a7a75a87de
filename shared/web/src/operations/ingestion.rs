//! The operations through which events arrive over HTTP.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use axum::routing::post;
use pipeline::ports::{Clock, Store};
use serde_json::{Value, json};

use crate::fetch::Fetch;
use crate::ingest::sns::{self, Sns, SnsMessage};
use crate::ingest::{eventbridge, firehose, ses};
use crate::openapi::{ApiBuilder, Callers, Operation, OperationGroup};
use crate::router::Shared;
use crate::service::{Ingested, Intake};

const EVENTS: OperationGroup = OperationGroup {
    name: "Event ingestion",
    description: "Sends SES events in. A reply comes once the events are counted, and sending a batch again counts nothing twice. \
        Deployments that read events from a Kinesis stream reply with 404.",
};

/// Adds the operations of the group.
pub(super) fn add<S: Store, C: Clock, I: Intake, F: Fetch>(
    api: ApiBuilder<Shared<S, C, I>>,
    sns: Arc<Sns<S, C, I, F>>,
) -> ApiBuilder<Shared<S, C, I>> {
    let events = |id, summary| {
        let operation = Operation::json::<Ingested>(EVENTS, id, summary).callers(Callers::EventSenders);
        operation.statuses(&[StatusCode::NOT_FOUND])
    };
    api.add(
        &Method::POST,
        "/v1/ingest/ses",
        ses::ingest::<S, C, I>,
        events("ingestSesEvents", "Ingest SES events in any form")
            .description("One event, NDJSON or an array, in any envelope or container of AWS that the command line reads, plain or compressed.")
            .bytes("SES events."),
    )
    .add_route(
        &Method::POST,
        "/v1/ingest/sns",
        post(sns::ingest::<S, C, I, F>).with_state(sns),
        Operation::json::<Ingested>(EVENTS, "ingestSnsMessage", "Receive a message of an SNS topic")
            .description(
                "The endpoint of an HTTPS subscription. Only messages of configured topics with a valid signature of SNS are accepted; \
                 the signature takes the place of a key. Subscriptions are confirmed automatically. Raw message delivery is refused \
                 because it has no signature.",
            )
            .body::<SnsMessage>(sns_message())
            .callers(Callers::Everybody)
            .statuses(&[StatusCode::FORBIDDEN, StatusCode::NOT_FOUND]),
    )
    .add(
        &Method::POST,
        "/v1/ingest/firehose",
        firehose::ingest::<S, C, I>,
        Operation::foreign::<firehose::FirehoseReply>(
            EVENTS,
            "ingestFirehoseDelivery",
            "Receive a delivery of Amazon Data Firehose",
        )
        .description(
            "The HTTP endpoint destination of a Firehose stream. Set the access key of the destination to an ingest key.",
        )
        .bytes("A delivery in the protocol of Firehose.")
        .callers(Callers::EventSenders)
        .statuses(&[StatusCode::NOT_FOUND]),
    )
    .add(
        &Method::POST,
        "/v1/ingest/eventbridge",
        eventbridge::ingest::<S, C, I>,
        events("ingestEventBridgeEvent", "Receive an event of Amazon EventBridge")
            .description("The endpoint of an API destination. Its connection sends an ingest key as `Authorization` or `x-api-key`.")
            .bytes("An EventBridge event."),
    )
}

fn sns_message() -> Value {
    json!({
        "Type": "Notification",
        "MessageId": "5e0d4f2a-1c3b-5a6d-8e7f-9a0b1c2d3e4f",
        "TopicArn": "arn:aws:sns:us-east-1:123456789012:mail-events",
        "Message": "{\"eventType\":\"Send\"}",
        "Timestamp": "2025-11-13T02:15:27.456Z",
        "SignatureVersion": "1",
        "Signature": "base64",
        "SigningCertURL": "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-a.pem",
    })
}
