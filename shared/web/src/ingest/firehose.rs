//! `POST /v1/ingest/firehose`: the HTTP endpoint destination of Amazon Data Firehose.
//!
//! Every reply, good or bad, repeats the request's id and has a time; otherwise Firehose sends the batch again, and at
//! last to its error bucket. A record that is no base64 goes on as it is and is quarantined; it never fails the batch.
//! Source: <https://docs.aws.amazon.com/firehose/latest/dev/httpdeliveryrequestresponse.html>

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::auth::{key_in, may_ingest};
use crate::backend::Backend;
use crate::limits::{Reserved, UNPACKED_BODY_BYTES, read_events};
use crate::problem::{Kind, Problem};
use crate::router::Web;

const ACCESS_KEY: HeaderName = HeaderName::from_static("x-amz-firehose-access-key");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-firehose-request-id");
/// Firehose's ids are UUIDs.
const MAX_REQUEST_ID_BYTES: usize = 128;
/// 64 MiB of SES events of 1 KB and more are fewer; empty records would cost far more memory than their text.
const MAX_RECORDS: usize = 100_000;

/// The body of a request.
#[derive(Deserialize)]
struct Delivery {
    #[serde(deserialize_with = "payloads")]
    records: Vec<Bytes>,
}

/// The body of a reply.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Receipt {
    request_id: String,
    /// Milliseconds since the Unix epoch.
    timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
}

/// `POST /v1/ingest/firehose`.
pub(crate) async fn ingest<B: Backend>(State(web): State<Arc<Web<B>>>, request: Request) -> Response {
    let request_id = request_id(request.headers());
    let outcome = take_in(&web, request).await;
    let timestamp = web.backend.now().millis();
    match outcome {
        Ok(()) => Json(Receipt { request_id, timestamp, error_message: None }).into_response(),
        Err(problem) => {
            let error_message = Some(problem.detail().to_owned());
            let receipt = Json(Receipt { request_id, timestamp, error_message });
            let mut response = (problem.status(), receipt).into_response();
            problem.add_headers(&mut response);
            response
        }
    }
}

async fn take_in<B: Backend>(web: &Web<B>, request: Request) -> Result<(), Problem> {
    let key = key_in(request.headers(), &ACCESS_KEY)?.ok_or_else(|| {
        Problem::new(
            Kind::MissingCredential,
            "set the access key of the Firehose destination to an ingest key",
        )
    })?;
    may_ingest(web, key).await?;
    let Reserved { body, reservation: _held } =
        read_events(request, &web.budget, UNPACKED_BODY_BYTES).await?;
    let delivery: Delivery = serde_json::from_slice(&body).map_err(|error| {
        let place = format!("line {} column {}", error.line(), error.column());
        Problem::new(
            Kind::InvalidBody,
            format!("no Firehose delivery of at most {MAX_RECORDS} records, at {place}"),
        )
    })?;
    drop(body);
    if !delivery.records.is_empty() {
        web.backend.ingest(delivery.records).await?;
    }
    Ok(())
}

/// The request's id, which the reply must repeat; nothing if it is none.
fn request_id(headers: &HeaderMap) -> String {
    let id = headers.get(&REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    if id.len() <= MAX_REQUEST_ID_BYTES { id.to_owned() } else { String::new() }
}

/// Decodes each record as it is met: an escaped or endless list never becomes a second list of texts.
fn payloads<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Bytes>, D::Error> {
    #[derive(Deserialize)]
    struct Record<'a> {
        #[serde(borrow)]
        data: Cow<'a, str>,
    }

    struct Records;

    impl<'de> Visitor<'de> for Records {
        type Value = Vec<Bytes>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of records")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut records: A) -> Result<Self::Value, A::Error> {
            let mut payloads = Vec::new();
            while let Some(record) = records.next_element::<Record<'de>>()? {
                if payloads.len() == MAX_RECORDS {
                    return Err(A::Error::custom("too many records"));
                }
                let text = record.data.as_bytes();
                payloads.push(STANDARD.decode(text).unwrap_or_else(|_| text.to_vec()).into());
            }
            Ok(payloads)
        }
    }

    deserializer.deserialize_seq(Records)
}
