//! What an invocation brings, as records for the stream, and what the invoker is answered.
//!
//! Records are not judged here: what cannot be read ends in quarantine, with its reason.

use adapters::aws::kinesis::{Outgoing, PartitionKeys};
use aws_lambda_events::firehose::KinesisFirehoseEvent;
use aws_lambda_events::sns::SnsEvent;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Records for the stream, and the answer once they are on it.
#[derive(Debug, PartialEq)]
pub struct Parcel {
    /// The records, in the order they came.
    pub records: Vec<Outgoing>,
    /// What the invoker expects.
    pub answer: Value,
}

/// An invocation that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the invocation is neither an SNS event, nor a Firehose transformation, nor JSON of events")]
pub struct Unreadable(#[from] serde_json::Error);

/// By which field an invocation is told.
#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(borrow, rename = "Records")]
    sns: Option<&'a RawValue>,
    #[serde(rename = "deliveryStreamArn")]
    firehose: Option<String>,
}

impl Parcel {
    /// Reads an invocation's payload.
    pub fn read(payload: &str) -> Result<Self, Unreadable> {
        if let Ok(shape) = serde_json::from_str::<Shape<'_>>(payload) {
            if shape.firehose.is_some() {
                return Self::firehose(payload);
            }
            if shape.sns.is_some_and(|records| records.get().contains("\"Sns\"")) {
                return Self::sns(payload);
            }
        }
        // Events of an own sender: one, or a list of them.
        let events: Vec<&RawValue> = match serde_json::from_str::<Vec<&RawValue>>(payload) {
            Ok(events) => events,
            Err(_) => vec![serde_json::from_str(payload)?],
        };
        let mut keys = PartitionKeys::default();
        let records: Vec<Outgoing> =
            events.iter().map(|event| keys.address(event.get().as_bytes().to_vec())).collect();
        let answer = json!({ "forwarded": records.len() });
        Ok(Self { records, answer })
    }

    fn sns(payload: &str) -> Result<Self, Unreadable> {
        let event: SnsEvent = serde_json::from_str(payload)?;
        let mut keys = PartitionKeys::default();
        let messages = event.records.into_iter().map(|record| record.sns.message.into_bytes());
        let records: Vec<Outgoing> = messages.map(|message| keys.address(message)).collect();
        let answer = json!({ "forwarded": records.len() });
        Ok(Self { records, answer })
    }

    fn firehose(payload: &str) -> Result<Self, Unreadable> {
        let event: KinesisFirehoseEvent = serde_json::from_str(payload)?;
        let mut keys = PartitionKeys::default();
        let (mut records, mut returned) = (Vec::new(), Vec::new());
        for record in event.records {
            let data = record.data.0;
            returned.push(
                json!({ "recordId": record.record_id, "result": "Ok", "data": STANDARD.encode(&data) }),
            );
            records.push(keys.address(data));
        }
        Ok(Self { records, answer: json!({ "records": returned }) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str) -> String {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events").join(name);
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn the_message_of_an_sns_record_goes_to_the_shard_of_its_mail() {
        let parcel = Parcel::read(&sample("sns-lambda.json")).unwrap();
        assert_eq!(parcel.records.len(), 3);
        for record in &parcel.records {
            let text = String::from_utf8_lossy(&record.data);
            assert!(!text.contains("\"Sns\""), "the message alone is forwarded");
            // One of them is SES's word that it found the topic, which is about no message.
            assert!(record.partition_key.starts_with("01") || text.starts_with("Successfully"), "{text}");
        }
        assert_eq!(parcel.answer, json!({ "forwarded": parcel.records.len() }));
    }

    #[test]
    fn firehose_gets_each_record_back_as_it_was() {
        let payload = sample("firehose-transform.json");
        let parcel = Parcel::read(&payload).unwrap();
        let event: Value = serde_json::from_str(&payload).unwrap();
        let sent = event["records"].as_array().unwrap();
        let returned = parcel.answer["records"].as_array().unwrap();
        assert_eq!((sent.len(), returned.len()), (parcel.records.len(), parcel.records.len()));
        for (sent, returned) in sent.iter().zip(returned) {
            assert_eq!((&sent["recordId"], &sent["data"]), (&returned["recordId"], &returned["data"]));
            assert_eq!(returned["result"], "Ok");
        }
    }

    #[test]
    fn events_of_an_own_sender_come_one_by_one_or_in_a_list() {
        let event = sample("ses-send.json");
        let one = Parcel::read(&event).unwrap();
        let two = Parcel::read(&format!("[{event},{event}]")).unwrap();
        assert_eq!((one.records.len(), two.records.len()), (1, 2));
        assert_eq!(one.records[0].partition_key, two.records[1].partition_key);
        let strange = Parcel::read(r#"{"hello":1}"#).unwrap();
        assert_eq!(strange.records.len(), 1);
        assert!(Parcel::read("no JSON").is_err());
    }
}
