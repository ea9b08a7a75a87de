//! `POST /v1/ingest/firehose`: the HTTP endpoint destination of Amazon Data Firehose.
//!
//! Every reply, success or error, must repeat the request's id and hold a time; otherwise Firehose retries the batch and finally writes
//! it to its error bucket. A record that is not base64 is passed on as it is and ends in quarantine; it never fails the batch.
//! Source: <https://docs.aws.amazon.com/firehose/latest/dev/httpdeliveryrequestresponse.html>

use std::borrow::Cow;
use std::fmt;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pipeline::ports::{Clock, Store};
use schemars::JsonSchema;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::auth::{key_in, may_ingest};
use crate::limits::{Reserved, UNPACKED_BODY_BYTES, read_events};
use crate::problem::{Problem, ProblemType};
use crate::router::{Shared, Web};
use crate::service::Intake;

const ACCESS_KEY: HeaderName = HeaderName::from_static("x-amz-firehose-access-key");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-firehose-request-id");
/// Firehose's request ids are UUIDs.
const MAX_REQUEST_ID_BYTES: usize = 128;
/// More than 64 MiB of SES events, which have at least 1 KB each. Without a limit, empty records would take far more memory than their text.
const MAX_RECORDS: usize = 100_000;

/// The body of a request.
#[derive(Deserialize)]
struct FirehoseDelivery {
    #[serde(deserialize_with = "payloads")]
    records: Vec<Bytes>,
}

/// A reply in the protocol of Amazon Data Firehose.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FirehoseReply {
    /// The id of the request, repeated.
    request_id: String,
    /// The time of the reply, in milliseconds since 1970.
    timestamp: i64,
    /// Why the delivery failed; absent if it succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
}

/// Counts the records of a delivery, and replies in Firehose's form whatever happens.
pub(crate) async fn ingest<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    request: Request,
) -> Response {
    let request_id = request_id(request.headers());
    let outcome = count_delivery(&web, request).await;
    // Taken after counting: Firehose expects the time at which the server processed the request.
    let timestamp = web.service.now().millis();
    match outcome {
        Ok(()) => Json(FirehoseReply { request_id, timestamp, error_message: None }).into_response(),
        Err(problem) => {
            let error_message = Some(problem.detail().to_owned());
            let receipt = Json(FirehoseReply { request_id, timestamp, error_message });
            let mut response = (problem.status(), receipt).into_response();
            problem.add_headers(&mut response);
            response
        }
    }
}

async fn count_delivery<S: Store, C: Clock, I: Intake>(
    web: &Web<S, C, I>,
    request: Request,
) -> Result<(), Problem> {
    let key = key_in(request.headers(), &ACCESS_KEY)?.ok_or_else(|| {
        Problem::new(
            ProblemType::MissingCredential,
            "set the access key of the Firehose destination to an ingest key",
        )
    })?;
    may_ingest(web, key).await?;
    let Reserved { body, reservation: _held } =
        read_events(request, &web.budget, UNPACKED_BODY_BYTES).await?;
    let delivery: FirehoseDelivery = serde_json::from_slice(&body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let detail = format!(
            "the body is not a Firehose delivery of at most {MAX_RECORDS} records: line {line}, column {column}"
        );
        Problem::new(ProblemType::InvalidBody, detail)
    })?;
    drop(body);
    if !delivery.records.is_empty() {
        web.service.intake.count(delivery.records).await?;
    }
    Ok(())
}

/// The request's id, which the reply must repeat; empty if the request has none that can be repeated.
fn request_id(headers: &HeaderMap) -> String {
    let id = headers.get(&REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    if id.len() <= MAX_REQUEST_ID_BYTES { id.to_owned() } else { String::new() }
}

/// Decodes each record while the list is parsed, so that the records are never in memory as text and as bytes at once.
fn payloads<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Bytes>, D::Error> {
    #[derive(Deserialize)]
    struct FirehoseRecord<'a> {
        #[serde(borrow)]
        data: Cow<'a, str>,
    }

    struct RecordsVisitor;

    impl<'de> Visitor<'de> for RecordsVisitor {
        type Value = Vec<Bytes>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of records")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut records: A) -> Result<Self::Value, A::Error> {
            let mut payloads = Vec::new();
            while let Some(record) = records.next_element::<FirehoseRecord<'de>>()? {
                if payloads.len() == MAX_RECORDS {
                    return Err(A::Error::custom("too many records"));
                }
                let text = record.data.as_bytes();
                payloads.push(STANDARD.decode(text).unwrap_or_else(|_| text.to_vec()).into());
            }
            Ok(payloads)
        }
    }

    deserializer.deserialize_seq(RecordsVisitor)
}
