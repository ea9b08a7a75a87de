//! The containers that the tools around SES put events in: queues, logs, failed deliveries, HTTP requests, exports, emails.

use serde_json::{Value, json};

use super::*;

fn parsed(n: usize) -> Value {
    serde_json::from_str(&event(n)).unwrap()
}

fn check_json(payload: &Value, expected: &[&str]) {
    check(payload.to_string(), expected);
    // As the tools of the command line print it.
    check(serde_json::to_string_pretty(payload).unwrap(), expected);
}

#[test]
fn json_string_that_holds_an_event_is_decoded() {
    let string = |n: usize| Value::from(event(n)).to_string();
    check(format!("{}\n{}\n", string(1), string(2)), &["m1", "m2"]);
    check(format!("[{},\n{}]", string(1), string(2)), &["m1", "m2"]);
    check(Value::from(string(1)).to_string(), &["m1"]);
    check(Value::from(format!(" {}\n", event(1))).to_string(), &["m1"]);
    check(format!("\"text\"\n{}", string(1)), &["NotAnEvent \"text\"", "m1"]);
    check("\"\"", &["NotAnEvent \"\""]);
}

#[test]
fn entries_of_cloudwatch_logs_are_decoded() {
    let entry = |message: &str| json!({ "id": "1", "timestamp": 1_763_000_000_000_u64, "message": message });
    let subscription = json!({
        "messageType": "DATA_MESSAGE", "owner": "123456789012", "logGroup": "/mail", "logStream": "s",
        "subscriptionFilters": ["all"], "logEvents": [entry(&event(1)), entry("START RequestId: 1"), entry(&event(2))],
    });
    let expected = ["m1", "InvalidJson { at: 0 } START Reques", "m2"];
    check_json(&subscription, &expected);
    let data = STANDARD.encode(gzip(subscription.to_string().as_bytes()));
    check_json(&json!({ "awslogs": { "data": data } }), &expected);
    check_json(&json!({ "Records": [{ "kinesis": { "data": data } }] }), &expected);
    let search = json!({ "events": [entry(&event(1)), { "message": parsed(2) }], "searchedLogStreams": [] });
    check_json(&search, &["m1", "m2"]);
    check_json(&json!({ "events": [], "nextForwardToken": "f/1" }), &["Empty"]);
    let control = "CWL CONTROL MESSAGE: Checking health of destination Firehose.";
    check_json(
        &json!({ "messageType": "CONTROL_MESSAGE", "logEvents": [entry(control)] }),
        &["LogsControlMessage"],
    );
}

#[test]
fn lines_of_log_shippers_and_exported_documents_are_decoded() {
    check_json(&json!({ "date": 1_763_000_000.5, "log": event(1) }), &["m1"]);
    check_json(
        &json!({ "log": event(1) + "\n", "stream": "stdout", "time": "2025-11-13T02:15:26Z" }),
        &["m1"],
    );
    check_json(
        &json!({ "@timestamp": "2025-11-13T02:15:26Z", "@version": "1", "message": event(1) }),
        &["m1"],
    );
    let document = |n| json!({ "_index": "mail", "_id": "x", "_score": null, "_source": parsed(n) });
    check(format!("{}\n{}\n", document(1), document(2)), &["m1", "m2"]);
}

#[test]
fn lines_of_cloudwatch_logs_are_decoded() {
    let (one, two) = (event(1), event(2));
    check(format!("2025-11-13T02:15:26.000Z {one}\n2025-11-13T02:15:27.123Z {two}\n"), &["m1", "m2"]);
    check(format!("2025-11-13T02:15:26.000000+00:00 a/stream {one}\n{two}"), &["m1", "m2"]);
    check(format!("2025-11-13T02:15:26.000Z\t1f0c\tINFO\t{one}\n"), &["m1"]);
    check(
        format!("2025-11-13T02:15:26.000Z END RequestId: 1\n2025-11-13T02:15:26.000Z {one}"),
        &["NotAnEvent 2025-11-13T0", "m1"],
    );
}

#[test]
fn record_that_firehose_gave_up_is_decoded() {
    let record = |n: usize| {
        json!({
            "attemptsMade": 4, "arrivalTimestamp": 1_763_000_000_000_u64, "errorCode": "Lambda.FunctionError",
            "errorMessage": "The Lambda function returned an error.", "attemptEndingTimestamp": 1_763_000_060_000_u64,
            "rawData": STANDARD.encode(format!("{}\n", event(n))), "lambdaArn": "arn:aws:lambda:us-east-1:1:function:f",
        })
    };
    check(format!("{}\n{}\n", record(1), record(2)), &["m1", "m2"]);
}

#[test]
fn payload_of_a_failed_invocation_is_decoded() {
    let failed = |payload: Value| {
        json!({
            "version": "1.0", "timestamp": "2025-11-13T02:15:26.000Z",
            "requestContext": { "condition": "RetriesExhausted", "approximateInvokeCount": 3 },
            "requestPayload": payload, "responseContext": { "statusCode": 200 },
        })
    };
    check_json(&failed(parsed(1)), &["m1"]);
    check_json(&failed(json!({ "Records": [{ "Sns": { "Message": event(1) } }] })), &["m1"]);
    check_json(&failed(Value::from(event(1))), &["m1"]);
    check_json(&json!({ "Messages": [{ "Body": failed(parsed(1)).to_string() }] }), &["m1"]);
}

#[test]
fn payload_may_be_written_as_json_where_a_string_is_usual() {
    for payload in [parsed(1), json!([parsed(1)]), json!({ "detail": parsed(1) })] {
        check_json(&json!({ "Type": "Notification", "MessageId": "1", "Message": payload }), &["m1"]);
        check_json(&json!({ "schema": { "type": "struct" }, "payload": payload }), &["m1"]);
        check_json(&json!({ "payload": payload, "schema": null }), &["m1"]);
        check_json(&json!({ "Records": [{ "body": payload }] }), &["m1"]);
        check_json(&json!({ "Records": [{ "kinesis": { "data": payload } }] }), &["m1"]);
    }
    check_json(&json!({ "schema": { "type": "string" }, "payload": event(1) }), &["m1"]);
    check_json(&json!({ "topic": "mail", "partition": 0, "value": event(1) }), &["m1"]);
    // An event that a sender put more into is still that event, once.
    let mut extended = parsed(1);
    extended["payload"] = parsed(2);
    extended["events"] = json!([parsed(3)]);
    check_json(&extended, &["m1"]);
}

#[test]
fn body_of_an_http_request_is_decoded() {
    let sns = json!({ "Type": "Notification", "Message": event(1) }).to_string();
    let v2 = |body: &str, is_base64: bool| {
        json!({
            "version": "2.0", "routeKey": "POST /mail", "rawPath": "/mail", "headers": { "content-type": "text/plain" },
            "requestContext": { "http": { "method": "POST", "path": "/mail" } }, "body": body, "isBase64Encoded": is_base64,
        })
    };
    check_json(&v2(&sns, false), &["m1"]);
    check_json(&v2(&STANDARD.encode(&sns), true), &["m1"]);
    check_json(&v2(&STANDARD.encode(gzip(sns.as_bytes())), true), &["m1"]);
    let v1 = json!({
        "isBase64Encoded": true, "resource": "/mail", "path": "/mail", "httpMethod": "POST",
        "requestContext": { "stage": "prod" }, "body": STANDARD.encode(&sns),
    });
    check_json(&v1, &["m1"]);
    check(r#"{"requestContext":{},"body":null}"#, &["NotAnEvent {\"requestCon"]);
}

#[test]
fn records_read_from_a_stream_are_decoded() {
    let record = |n: usize| json!({ "SequenceNumber": "495900000000", "Data": STANDARD.encode(event(n)), "PartitionKey": "p" });
    let read =
        json!({ "Records": [record(1), record(2)], "NextShardIterator": "AAAA", "MillisBehindLatest": 0 });
    check_json(&read, &["m1", "m2"]);
}

#[test]
fn data_that_was_encoded_twice_is_decoded() {
    let once = STANDARD.encode(event(1));
    check_json(&json!({ "Records": [{ "kinesis": { "data": STANDARD.encode(&once) } }] }), &["m1"]);
    check(format!("{once}\n{}\n", STANDARD.encode(gzip(event(2).as_bytes()))), &["m1", "m2"]);
    check(Value::from(once).to_string(), &["m1"]);
    // A word of the right letters is not base64 of anything.
    let word = "a".repeat(40);
    check(format!("{word}\n{}", event(1)), &["InvalidJson { at: 0 } aaaaaaaaaaaa", "m1"]);
}

#[test]
fn notification_by_email_is_unfolded() {
    let footer = "\r\n\r\n--\r\nIf you wish to stop receiving notifications from this topic, please click or visit the link below to \
        unsubscribe:\r\nhttps://sns.us-east-1.amazonaws.com/unsubscribe.html?SubscriptionArn=a\r\n\r\nPlease do not reply directly to \
        this email. If you have any questions, please contact us at https://aws.amazon.com/support\r\n";
    let (one, two) = (event(1), event(2));
    check(format!("{one}{footer}{two}"), &["m1", "EmailFooter", "m2"]);
    for fold in ["\r\n ", "\n", "!\n "] {
        for at in [11, 40, 80, 120] {
            let folded = format!("{}{fold}{}", &one[..at], &one[at..]);
            check(format!("{folded}{footer}{folded}\n{two}"), &["m1", "EmailFooter", "m1", "m2"]);
        }
        let sns = json!({ "Type": "Notification", "Message": event(1), "Timestamp": "t" });
        let sns = serde_json::to_string_pretty(&sns).unwrap();
        let at = sns.find("messageId").unwrap();
        check(format!("{}{fold}{}{footer}", &sns[..at], &sns[at..]), &["m1", "EmailFooter"]);
    }
    check("--\n{}", &["InvalidJson { at: 1 } --", "NotAnEvent {}"]);
}

#[test]
fn broken_value_with_a_line_break_in_a_string_gives_up_one_line() {
    check(format!("{{\"a\":\"b\n\n{}", event(1)), &["InvalidJson { at: 7 } {\"a\":\"b", "m1"]);
    check(format!("{{\"a\":\"b\n{}\n", event(1)), &["InvalidJson { at: 7 } {\"a\":\"b", "m1"]);
}

#[test]
fn table_is_refused_by_name() {
    for table in [
        "time,tenant,provider,sends\n2025-11-13T00:00:00Z,a,gmail,5\n",
        "\"a\",\"b\",\"c\"\r\n\"1\",\"2\",\"3\"",
    ] {
        let outcomes = outcomes(table.as_bytes());
        assert!(outcomes.len() == 1 && outcomes[0].starts_with("Table"), "{outcomes:?}");
    }
    assert_eq!(outcomes(format!("a,b,c\n{}", event(1)).as_bytes()).last().map(String::as_str), Some("m1"));
}

#[test]
fn containers_may_be_inside_each_other_within_the_limit() {
    let sns = json!({ "Type": "Notification", "Message": event(1) }).to_string();
    let queue = json!({ "Messages": [{ "Body": sns }] });
    let log = json!({ "logEvents": [{ "message": queue.to_string() }] });
    check_json(&json!({ "awslogs": { "data": STANDARD.encode(gzip(log.to_string().as_bytes())) } }), &["m1"]);
    let mut deep = event(1);
    for _ in 1..MAX_LAYERS {
        deep = Value::from(deep).to_string();
    }
    check(&deep, &["m1"]);
    let deeper = Value::from(deep).to_string();
    assert!(outcomes(deeper.as_bytes())[0].starts_with("TooManyLayers"));
    let mut inline = parsed(1);
    for _ in 1..MAX_LAYERS {
        inline = json!({ "payload": inline });
    }
    check(inline.to_string(), &["m1"]);
    assert!(outcomes(json!({ "payload": inline }).to_string().as_bytes())[0].starts_with("TooManyLayers"));
}

#[test]
fn event_about_an_account_is_read_in_any_container() {
    let status = json!({
        "version": "0", "id": "1", "detail-type": "Sending Status Disabled", "source": "aws.ses", "account": "123456789012",
        "time": "2025-11-13T02:15:26Z", "resources": ["arn:aws:ses:us-east-1:123456789012:configuration-set/news"],
        "detail": { "version": "1.0.0", "data": { "record": { "status": "DISABLED", "cause": "High bounce rate" } } },
    });
    for payload in [
        status.clone(),
        json!({ "Records": [{ "kinesis": { "data": STANDARD.encode(status.to_string()) } }] }),
        json!({ "Type": "Notification", "Message": status.to_string() }),
    ] {
        let outcomes = outcomes(payload.to_string().as_bytes());
        assert!(
            outcomes.len() == 1 && outcomes[0].starts_with("AccountEvent(AccountEvent {"),
            "{outcomes:?}"
        );
        assert!(outcomes[0].contains("ConfigurationSet(\"news\")"), "{outcomes:?}");
    }
    let mut without_time = status;
    without_time.as_object_mut().unwrap().remove("time");
    assert!(outcomes(without_time.to_string().as_bytes())[0].starts_with("MissingField(\"time\")"));
}
