//! The envelopes in which events arrive: none, EventBridge's, SNS's, or the payload of a Lambda function that reads from Kinesis.
//!
//! Shapes: <https://docs.aws.amazon.com/eventbridge/latest/ref/events-ref-ses.html>,
//! <https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html>. The signatures in SNS envelopes have the right form but are not valid.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::formatting::{push_decimal, push_hex, push_zero_padded};
use crate::message::EventDetail;
use crate::random::mix;
use crate::write::{Event, Writer, push_uuid};

/// The most records in one Lambda payload from Kinesis.
pub const MAX_RECORDS_PER_PAYLOAD: u32 = 10_000;

/// The envelope of events. Each line of output is one event or one payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputEnvelope {
    /// As SES publishes them to Firehose.
    Raw,
    /// As EventBridge delivers them.
    EventBridge,
    /// As SNS posts them over HTTPS.
    Sns,
    /// As Lambda receives them from a Kinesis stream: payloads of at most this many records with one event each, from 1 to
    /// [`MAX_RECORDS_PER_PAYLOAD`]. A payload never holds events of two minutes.
    KinesisLambda(u32),
}

/// Wraps events, and keeps counters that continue from one envelope to the next.
#[derive(Debug)]
pub(crate) struct EnvelopeWriter {
    envelope: OutputEnvelope,
    event: Vec<u8>,
    written: u64,
    in_payload: u32,
}

impl EnvelopeWriter {
    pub(crate) const fn new(envelope: OutputEnvelope) -> Self {
        Self { envelope, event: Vec::new(), written: 0, in_payload: 0 }
    }

    /// Appends an event in its envelope.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, writer: &mut Writer, event: &Event<'_>) {
        // The usual case writes straight to the output, without a copy of each event.
        if self.envelope == OutputEnvelope::Raw {
            writer.write(out, event);
            return;
        }
        self.event.clear();
        writer.write(&mut self.event, event);
        self.written += 1;
        match self.envelope {
            OutputEnvelope::Raw => {}
            OutputEnvelope::EventBridge => self.event_bridge(out, writer, event),
            OutputEnvelope::Sns => self.sns(out, writer, event),
            OutputEnvelope::KinesisLambda(records) => {
                self.kinesis_record(out, writer, event);
                if self.in_payload >= records.clamp(1, MAX_RECORDS_PER_PAYLOAD) {
                    self.end_minute(out);
                }
            }
        }
    }

    /// Closes an open payload.
    pub(crate) fn end_minute(&mut self, out: &mut Vec<u8>) {
        if self.in_payload > 0 {
            out.extend_from_slice(b"]}\n");
            self.in_payload = 0;
        }
    }

    /// The event without its line feed.
    fn line(&self) -> &[u8] {
        self.event.strip_suffix(b"\n").unwrap_or(&self.event)
    }

    fn event_bridge(&self, out: &mut Vec<u8>, writer: &mut Writer, event: &Event<'_>) {
        out.extend_from_slice(br#"{"version":"0","id":""#);
        push_uuid(out, mix(self.written), mix(!self.written));
        let template = event.template;
        for part in [
            r#"","detail-type":""#,
            detail_type(event.detail),
            r#"","source":"aws.ses","account":""#,
            &template.account,
            r#"","time":""#,
        ] {
            out.extend_from_slice(part.as_bytes());
        }
        writer.dates().push_iso_seconds(out, event.at_ms);
        let parts = [
            r#"","region":"us-east-1","resources":["arn:aws:ses:us-east-1:"#,
            &template.account,
            ":configuration-set/",
            &template.configuration_set,
            r#""],"detail":"#,
        ];
        for part in parts {
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(self.line());
        out.extend_from_slice(b"}\n");
    }

    fn sns(&self, out: &mut Vec<u8>, writer: &mut Writer, event: &Event<'_>) {
        out.extend_from_slice(br#"{"Type":"Notification","MessageId":""#);
        push_uuid(out, mix(self.written), mix(!self.written));
        let topic = [r#"","TopicArn":"arn:aws:sns:us-east-1:"#, &event.template.account, r#":ses-events","#];
        for part in topic {
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(br#""Subject":"Amazon SES Email Event Notification","Message":""#);
        push_escaped(out, self.line());
        // SES's event publishing ends each SNS message with a line feed.
        out.extend_from_slice(br#"\n","Timestamp":""#);
        writer.dates().push_iso(out, event.at_ms);
        out.extend_from_slice(br#"","SignatureVersion":"1","Signature":""#);
        for part in 0..21 {
            push_hex(out, mix(self.written ^ (part << 40)), 16);
        }
        out.extend_from_slice(br#"AAAAAA==","SigningCertURL":"https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0000000000000000000000.pem","UnsubscribeURL":"https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe&SubscriptionArn=arn:aws:sns:us-east-1:"#);
        out.extend_from_slice(event.template.account.as_bytes());
        out.extend_from_slice(b":ses-events\"}\n");
    }

    fn kinesis_record(&mut self, out: &mut Vec<u8>, writer: &Writer, event: &Event<'_>) {
        out.extend_from_slice(if self.in_payload == 0 { br#"{"Records":["# } else { b"," });
        self.in_payload += 1;
        out.extend_from_slice(br#"{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":""#);
        out.extend_from_slice(writer.message_id());
        out.extend_from_slice(br#"","sequenceNumber":""#);
        self.push_sequence_number(out);
        out.extend_from_slice(br#"","data":""#);
        push_base64(out, &self.event);
        out.extend_from_slice(br#"","approximateArrivalTimestamp":"#);
        push_decimal(out, event.at_ms.unsigned_abs() / 1000);
        out.push(b'.');
        push_zero_padded(out, event.at_ms.unsigned_abs() % 1000, 3);
        out.extend_from_slice(
            br#"},"eventSource":"aws:kinesis","eventVersion":"1.0","eventID":"shardId-000000000000:"#,
        );
        self.push_sequence_number(out);
        out.extend_from_slice(br#"","eventName":"aws:kinesis:record","invokeIdentityArn":"arn:aws:iam::123456789012:role/aggregate","awsRegion":"us-east-1","eventSourceARN":"arn:aws:kinesis:us-east-1:123456789012:stream/ses-events"}"#);
    }

    /// Sequence numbers have 56 digits, as in Kinesis, and grow by one.
    fn push_sequence_number(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"49590338271490256608559692538361571095");
        push_zero_padded(out, self.written, 18);
    }
}

/// Escapes JSON for a JSON string. The input has no control characters.
fn push_escaped(out: &mut Vec<u8>, json: &[u8]) {
    for run in json.split_inclusive(|byte| matches!(byte, b'"' | b'\\')) {
        match run.split_last() {
            Some((last @ (b'"' | b'\\'), plain)) => {
                out.extend_from_slice(plain);
                out.extend_from_slice(&[b'\\', *last]);
            }
            _ => out.extend_from_slice(run),
        }
    }
}

fn push_base64(out: &mut Vec<u8>, data: &[u8]) {
    let start = out.len();
    out.resize(start + data.len().div_ceil(3) * 4, 0);
    let length = out.get_mut(start..).and_then(|space| STANDARD.encode_slice(data, space).ok()).unwrap_or(0);
    out.truncate(start + length);
}

const fn detail_type(detail: EventDetail) -> &'static str {
    match detail {
        EventDetail::Send => "Email Sent",
        EventDetail::Delivery { .. } => "Email Delivered",
        EventDetail::Bounce { .. } | EventDetail::Suppressed(_) | EventDetail::AutoReply => "Email Bounced",
        EventDetail::Complaint => "Email Complaint Received",
        EventDetail::Reject => "Email Rejected",
        EventDetail::RenderingFailure => "Email Rendering Failed",
        EventDetail::Delay(_) => "Email Delivery Delayed",
        EventDetail::Open(_) => "Email Opened",
        EventDetail::Click { .. } => "Email Clicked",
        EventDetail::Unsubscribe => "Email Subscribed",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{Plan, Simulation};

    /// The lines of one small plan in the given envelope.
    fn lines(envelope: OutputEnvelope) -> Vec<Value> {
        let plan = Plan {
            tenants: 2,
            emails_per_minute: 40.0,
            minutes: 3,
            start_ms: 0,
            seed: 1,
            hosted_percent: None,
            incidents: Vec::new(),
        };
        let mut simulation = Simulation::new(plan).unwrap().in_envelopes(envelope);
        let mut out = Vec::new();
        while simulation.next_minute(&mut out).is_some() {}
        let lines = out.split_inclusive(|&byte| byte == b'\n');
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    #[test]
    fn events_are_the_same_in_every_envelope() {
        let raw = lines(OutputEnvelope::Raw);
        assert!(raw.len() > 200);
        let event_bridge = lines(OutputEnvelope::EventBridge);
        let details: Vec<Value> = event_bridge.iter().map(|envelope| envelope["detail"].clone()).collect();
        assert_eq!(details, raw);
        let messages = lines(OutputEnvelope::Sns).into_iter().map(|envelope| {
            let message = envelope["Message"].as_str().unwrap();
            assert!(message.ends_with("}\n"));
            serde_json::from_str(message).unwrap()
        });
        assert_eq!(messages.collect::<Vec<Value>>(), raw);
        let payloads = lines(OutputEnvelope::KinesisLambda(100));
        let records = payloads.iter().flat_map(|payload| payload["Records"].as_array().unwrap());
        let events = records.map(|record| {
            let data = STANDARD.decode(record["kinesis"]["data"].as_str().unwrap()).unwrap();
            serde_json::from_slice(&data).unwrap()
        });
        assert_eq!(events.collect::<Vec<Value>>(), raw);
    }

    #[test]
    fn eventbridge_envelope_has_type_and_configuration_set() {
        let envelope = &lines(OutputEnvelope::EventBridge)[0];
        assert_eq!(envelope["source"], "aws.ses");
        assert_eq!(envelope["detail-type"], "Email Sent");
        let set = envelope["detail"]["mail"]["tags"]["ses:configuration-set"][0].as_str().unwrap();
        assert!(envelope["resources"][0].as_str().unwrap().ends_with(&format!(":configuration-set/{set}")));
        assert_eq!(envelope["account"], envelope["detail"]["mail"]["sendingAccountId"]);
        assert_eq!(envelope["time"].as_str().map(str::len), Some("1970-01-01T00:00:00Z".len()));
    }

    #[test]
    fn kinesis_payloads_are_filled_and_sequence_numbers_grow() {
        let payloads = lines(OutputEnvelope::KinesisLambda(64));
        let mut last = String::new();
        for payload in &payloads {
            let records = payload["Records"].as_array().unwrap();
            assert!((1..=64).contains(&records.len()));
            for record in records {
                let number = record["kinesis"]["sequenceNumber"].as_str().unwrap();
                assert_eq!(number.len(), 56);
                assert!(last.as_str() < number);
                assert_eq!(record["eventID"], format!("shardId-000000000000:{number}"));
                assert!(record["kinesis"]["approximateArrivalTimestamp"].is_f64());
                number.clone_into(&mut last);
            }
        }
        assert!(payloads.iter().any(|payload| payload["Records"].as_array().unwrap().len() == 64));
        assert!(
            lines(OutputEnvelope::KinesisLambda(0)).iter().all(|payload| payload["Records"]
                .as_array()
                .unwrap()
                .len()
                == 1)
        );
    }
}
