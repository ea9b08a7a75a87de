//! The form of the input that `aggregate --input` names, compared with how the input begins.
//!
//! Decoding does not need it, since it detects the form of each record. The comparison stops a script that was handed the wrong file
//! before anything is counted. Only the first value of an input is examined, so the comparison costs next to nothing.

use anyhow::bail;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::input::{self, Source};

/// The form that each input must begin with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum InputForm {
    /// Any of these forms, also mixed
    #[default]
    Auto,
    /// SES events, raw or in envelopes of EventBridge, SNS or Firehose
    Ses,
    /// Batches with which a Kinesis stream invokes a Lambda function
    KinesisLambda,
    /// Batches with which Kafka invokes a Lambda function
    KafkaLambda,
}

/// The fields that tell batches of Lambda triggers apart from everything else.
#[derive(Deserialize)]
struct BatchFields<'a> {
    #[serde(rename = "Records", borrow)]
    records: Option<&'a RawValue>,
    /// Partitions of Kafka, or the records of a Firehose transformation.
    #[serde(rename = "records", borrow)]
    partitions: Option<&'a RawValue>,
    kinesis: Option<IgnoredAny>,
}

impl InputForm {
    /// Compares the form with the first block of an input.
    ///
    /// # Errors
    /// An input that begins with another form, or a table. One that begins with anything else than JSON passes: the decoder knows
    /// other forms, and what it cannot read is reported as unreadable.
    pub(super) fn check(self, source: &Source, first_block: &[u8]) -> anyhow::Result<()> {
        input::refuse_table(source, first_block)?;
        let Some(found) = Self::of(first_block).filter(|found| self != Self::Auto && *found != self) else {
            return Ok(());
        };
        bail!(
            "{source} begins with {}, not with {} as --input says: name the right file, or leave --input out",
            found.content(),
            self.content()
        )
    }

    /// The form of the first value in a block; `None` if that is not JSON.
    fn of(block: &[u8]) -> Option<Self> {
        const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
        let start = block.strip_prefix(BYTE_ORDER_MARK).unwrap_or(block).trim_ascii_start();
        // An array is of the form of its elements. A large one arrives without its bracket, as does a large batch without its wrapper.
        let start = start.strip_prefix(b"[").unwrap_or(start);
        let mut values = serde_json::Deserializer::from_slice(start).into_iter::<BatchFields<'_>>();
        let BatchFields { records, partitions, kinesis } = values.next()?.ok()?;
        let is_kinesis =
            kinesis.is_some() || records.is_some_and(|records| records.get().contains("\"kinesis\""));
        // In a Kafka batch, records are an object with a list for each partition; in a Firehose transformation, they are a list.
        let is_kafka = partitions.is_some_and(|partitions| partitions.get().starts_with('{'));
        Some(match (is_kinesis, is_kafka) {
            (true, _) => Self::KinesisLambda,
            (false, true) => Self::KafkaLambda,
            (false, false) => Self::Ses,
        })
    }

    const fn content(self) -> &'static str {
        match self {
            Self::Auto => "records of any form",
            Self::Ses => "SES events",
            Self::KinesisLambda => "a Kinesis batch",
            Self::KafkaLambda => "a Kafka batch",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_refused_with_a_hint() {
        let table = b"time,tenant,sends\n2025-11-13T02:00:00Z,shop,5\n";
        let error = InputForm::Auto.check(&Source::File("counts.csv".into()), table).unwrap_err().to_string();
        assert!(
            error.starts_with("counts.csv is a table (CSV)") && error.contains("backtest --counts"),
            "{error}"
        );
    }

    #[test]
    fn form_is_that_of_the_first_value() {
        let batch = r#"{"Records":[{"eventID":"shardId-0:5","kinesis":{"data":"e30="}}]}"#;
        for (block, expected) in [
            (r#"{"eventType":"Send","mail":{}}"#, Some(InputForm::Ses)),
            ("\u{feff} [{\"eventType\":\"Send\"}]", Some(InputForm::Ses)),
            (r#"{"Type":"Notification","Message":"{\"kinesis\":1}"}"#, Some(InputForm::Ses)),
            (r#"{"Records":[{"Sns":{"Message":"{\"kinesis\":1}"}}]}"#, Some(InputForm::Ses)),
            (r#"{"invocationId":"1","records":[{"data":"e30="}]}"#, Some(InputForm::Ses)),
            (batch, Some(InputForm::KinesisLambda)),
            (&format!("[{batch},{batch}]"), Some(InputForm::KinesisLambda)),
            // The elements of a batch that is too large for one block.
            (r#"{"kinesis":{"data":"e30="}},{"kinesis":{"data":"e30="}}"#, Some(InputForm::KinesisLambda)),
            (r#"{"records":{"events-0":[{"value":"e30="}]}}"#, Some(InputForm::KafkaLambda)),
            ("email,status\n", None),
            ("", None),
        ] {
            assert_eq!(InputForm::of(block.as_bytes()), expected, "{block}");
        }
    }
}
