//! Requests to Timestream and its replies, against an HTTP client that answers in place of AWS.

use std::fmt;
use std::sync::{Arc, Mutex as Lock};

use aws_config::{BehaviorVersion, Region};
use aws_sdk_timestreamwrite::config::http::{HttpRequest, HttpResponse};
use aws_sdk_timestreamwrite::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use event::TenantId;
use serde_json::{Value, json};

use super::*;

/// Host, operation and body of each call.
type Calls = Arc<Lock<Vec<(String, String, Value)>>>;

/// Returns status and body for a request.
type Answer = dyn Fn(&HttpRequest) -> (u16, String) + Send + Sync;

/// An HTTP client that answers in place of AWS.
struct Answering(Arc<Answer>);

impl fmt::Debug for Answering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answering")
    }
}

impl HttpConnector for Answering {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (status, body) = (self.0)(&request);
        let response = HttpResponse::new(status.try_into().unwrap(), body.into());
        HttpConnectorFuture::ready(Ok(response))
    }
}

/// A sink whose replies are computed by `answer` from host, operation and the number of the call.
fn timestream(
    has_configured_endpoint: bool,
    answer: impl Fn(&str, &str, usize) -> (u16, Value) + Send + Sync + 'static,
) -> (Timestream, Calls) {
    let calls = Calls::default();
    let seen = Arc::clone(&calls);
    let answer = Arc::new(move |request: &HttpRequest| {
        let host = request.uri().split('/').nth(2).unwrap().to_owned();
        let target = request.headers().get("x-amz-target").unwrap();
        let operation = target.rsplit('.').next().unwrap().to_owned();
        let body = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        let mut seen = seen.lock().unwrap();
        let (status, answer) = answer(&host, &operation, seen.len());
        seen.push((host, operation, body));
        (status, answer.to_string())
    });
    let client = http_client_fn(move |_, _| SharedHttpConnector::new(Answering(answer.clone())));
    let credentials = Credentials::new("key", "secret", None, None, "test");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .retry_config(aws_config::retry::RetryConfig::disabled())
        .http_client(client)
        .build();
    (Timestream::new(&config, has_configured_endpoint, "mail".to_owned(), "events".to_owned()), calls)
}

fn endpoint(address: &str, minutes: i64) -> Value {
    json!({ "Endpoints": [{ "Address": address, "CachePeriodInMinutes": minutes }] })
}

fn points(count: i64) -> Vec<Point> {
    let point = |number| Point {
        tenant: TenantId::new("acme").unwrap(),
        time_ns: 1_763_000_000_000_000_000 + number,
        dimensions: vec![("campaign", "spring".to_owned()), ("segment", String::new())],
        counts: vec![("sends", 3), ("opens", u64::MAX)],
    };
    (0..count).map(point).collect()
}

#[tokio::test]
async fn points_become_multi_measure_records_a_hundred_per_call() {
    let (sink, calls) = timestream(true, |_, _, _| (200, json!({})));
    assert_eq!(sink.write(&points(1_050)).await.unwrap(), Written::default());
    let calls = calls.lock().unwrap();
    let sizes: Vec<_> = calls.iter().map(|(_, _, body)| body["Records"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 50]);
    let (host, operation, body) = &calls[0];
    assert_eq!(
        (host.as_str(), operation.as_str()),
        ("ingest.timestream.eu-west-1.amazonaws.com", "WriteRecords")
    );
    assert_eq!((&body["DatabaseName"], &body["TableName"]), (&json!("mail"), &json!("events")));
    assert_eq!(
        body["CommonAttributes"],
        json!({ "MeasureName": "events", "MeasureValueType": "MULTI", "TimeUnit": "NANOSECONDS" })
    );
    let expected = json!({
        "Time": "1763000000000000000",
        "Dimensions": [{ "Name": "tenant", "Value": "acme" }, { "Name": "campaign", "Value": "spring" }],
        "MeasureValues": [
            { "Name": "sends", "Value": "3", "Type": "BIGINT" },
            { "Name": "opens", "Value": "9223372036854775807", "Type": "BIGINT" },
        ],
    });
    assert_eq!(body["Records"][0], expected);
}

#[tokio::test]
async fn an_endpoint_is_asked_for_once_until_its_time_is_over_or_a_call_fails() {
    for (minutes, fails_at, expected) in [
        (10, None, "ask write write write"),
        (0, None, "ask write ask write ask write"),
        (10, Some(2), "ask write write ask write"),
    ] {
        let (sink, calls) = timestream(false, move |host, operation, number| match operation {
            "DescribeEndpoints" => (200, endpoint("ingest-cell1.example", minutes)),
            _ if fails_at == Some(number) => (400, json!({ "__type": "InvalidEndpointException" })),
            _ => (if host == "ingest-cell1.example" { 200 } else { 500 }, json!({})),
        });
        for call in 0..3 {
            assert_eq!(sink.write(&points(1)).await.is_err(), fails_at.is_some() && call == 1);
        }
        let calls = calls.lock().unwrap();
        let short = |operation: &str| if operation == "WriteRecords" { "write" } else { "ask" };
        let made: Vec<_> = calls.iter().map(|(_, operation, _)| short(operation)).collect();
        assert_eq!(made.join(" "), expected);
    }
}

#[tokio::test]
async fn no_endpoint_is_an_error_and_no_panic() {
    let (sink, _) = timestream(false, |_, _, _| (200, json!({ "Endpoints": [] })));
    let told = format!("{:?}", sink.write(&points(1)).await.unwrap_err());
    assert!(told.contains("NoEndpoint"), "{told}");
}

#[tokio::test]
async fn records_refused_for_good_are_counted_with_their_reason_and_the_rest_is_stored() {
    let (sink, calls) = timestream(true, |_, _, number| {
        let rejected = json!({ "__type": "RejectedRecordsException", "Message": "no",
            "RejectedRecords": [{ "RecordIndex": 1, "Reason": "too old" }, { "RecordIndex": 2, "Reason": "too old" }] });
        if number == 0 { (419, rejected) } else { (200, json!({})) }
    });
    let written = sink.write(&points(250)).await.unwrap();
    assert_eq!(written, Written { rejected: 2, reason: Some("too old".to_owned()) });
    assert_eq!(calls.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_throttled_call_is_an_error() {
    let (sink, _) = timestream(true, |_, _, _| (429, json!({ "__type": "ThrottlingException" })));
    assert_eq!(sink.write(&points(1)).await.unwrap_err().sink, "timestream");
}

#[test]
fn dimensions_fit_a_record() {
    let mut point = points(1).remove(0);
    point.dimensions =
        vec![("campaign", "ä".repeat(700)), ("segment", "x".repeat(5_000)), ("tag1", "y".repeat(9))];
    let record = record(&point).unwrap();
    let bytes: usize = record.dimensions().iter().map(|one| one.name.len() + one.value.len()).sum();
    assert_eq!(bytes, MAX_DIMENSION_BYTES);
    assert_eq!(record.dimensions().len(), 3);
    assert!(record.dimensions().iter().all(|one| !one.value.is_empty()));
}
