//! Turns the payload of an invocation into records for the stream and the reply that the invoker expects.
//!
//! Events are not checked here: unreadable ones end in quarantine, with the reason.

use adapters::aws::kinesis::{Outgoing, PartitionKeys};
use aws_lambda_events::firehose::KinesisFirehoseEvent;
use aws_lambda_events::sns::SnsEvent;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// An invocation of this function.
#[derive(Debug, PartialEq)]
pub struct Invocation {
    /// The records for the stream, in the order of the payload.
    pub records: Vec<Outgoing>,
    /// The reply to the invoker, once the records are on the stream.
    pub reply: Value,
}

/// A payload that is not JSON. Nothing of it was forwarded.
#[derive(Debug, thiserror::Error)]
#[error(
    "the invocation is neither an SNS event, nor a Firehose transformation, nor an event or a list of events in JSON"
)]
pub struct InvalidInvocation(#[from] serde_json::Error);

/// The fields that distinguish the kinds of invocations.
#[derive(Deserialize)]
struct Probe<'a> {
    #[serde(borrow, rename = "Records")]
    sns: Option<&'a RawValue>,
    #[serde(rename = "deliveryStreamArn")]
    firehose: Option<String>,
}

impl Invocation {
    /// Reads a payload.
    ///
    /// # Errors
    /// A payload that is not valid JSON, or not what its distinguishing fields promise.
    pub fn read(payload: &str) -> Result<Self, InvalidInvocation> {
        if let Ok(probe) = serde_json::from_str::<Probe<'_>>(payload) {
            if probe.firehose.is_some() {
                return Self::firehose(payload);
            }
            // Records of other services have the same field. A search is enough here, since the payload is parsed in full next.
            if probe.sns.is_some_and(|records| records.get().contains("\"Sns\"")) {
                return Self::sns(payload);
            }
        }
        // A direct invocation, with one event or a list of them.
        let events: Vec<&RawValue> = match serde_json::from_str::<Vec<&RawValue>>(payload) {
            Ok(events) => events,
            Err(_) => vec![serde_json::from_str(payload)?],
        };
        let mut keys = PartitionKeys::default();
        let records: Vec<Outgoing> =
            events.iter().map(|event| keys.assign(event.get().as_bytes().to_vec())).collect();
        let reply = json!({ "forwarded": records.len() });
        Ok(Self { records, reply })
    }

    fn sns(payload: &str) -> Result<Self, InvalidInvocation> {
        let event: SnsEvent = serde_json::from_str(payload)?;
        let mut keys = PartitionKeys::default();
        let messages = event.records.into_iter().map(|record| record.sns.message.into_bytes());
        let records: Vec<Outgoing> = messages.map(|message| keys.assign(message)).collect();
        let reply = json!({ "forwarded": records.len() });
        Ok(Self { records, reply })
    }

    fn firehose(payload: &str) -> Result<Self, InvalidInvocation> {
        let event: KinesisFirehoseEvent = serde_json::from_str(payload)?;
        let mut keys = PartitionKeys::default();
        let (mut records, mut returned) = (Vec::new(), Vec::new());
        for record in event.records {
            let data = record.data.0;
            returned.push(
                json!({ "recordId": record.record_id, "result": "Ok", "data": STANDARD.encode(&data) }),
            );
            records.push(keys.assign(data));
        }
        Ok(Self { records, reply: json!({ "records": returned }) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "the samples are files")]
    fn sample(name: &str) -> String {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events").join(name);
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn sns_message_goes_to_the_shard_of_its_mail() {
        let invocation = Invocation::read(&sample("sns-lambda.json")).unwrap();
        assert_eq!(invocation.records.len(), 3);
        for record in &invocation.records {
            let text = String::from_utf8_lossy(&record.data);
            assert!(!text.contains("\"Sns\""), "the message alone is forwarded");
            // One of them is the confirmation that SES found the topic, which belongs to no mail.
            assert!(record.partition_key.starts_with("01") || text.starts_with("Successfully"), "{text}");
        }
        assert_eq!(invocation.reply, json!({ "forwarded": invocation.records.len() }));
    }

    #[test]
    fn firehose_gets_each_record_back_unchanged() {
        let payload = sample("firehose-transform.json");
        let invocation = Invocation::read(&payload).unwrap();
        let event: Value = serde_json::from_str(&payload).unwrap();
        let sent = event["records"].as_array().unwrap();
        let returned = invocation.reply["records"].as_array().unwrap();
        assert_eq!((sent.len(), returned.len()), (invocation.records.len(), invocation.records.len()));
        for (sent, returned) in sent.iter().zip(returned) {
            assert_eq!((&sent["recordId"], &sent["data"]), (&returned["recordId"], &returned["data"]));
            assert_eq!(returned["result"], "Ok");
        }
    }

    #[test]
    fn direct_invocation_holds_one_event_or_a_list() {
        let event = sample("ses-send.json");
        let one = Invocation::read(&event).unwrap();
        let two = Invocation::read(&format!("[{event},{event}]")).unwrap();
        assert_eq!((one.records.len(), two.records.len()), (1, 2));
        assert_eq!(one.records[0].partition_key, two.records[1].partition_key);
        let unknown = Invocation::read(r#"{"hello":1}"#).unwrap();
        assert_eq!(unknown.records.len(), 1);
        assert!(Invocation::read("no JSON").is_err());
    }
}
