//! Recognises a JSON object of any known shape: an SES event, an envelope around one, or a record of a batch.
//!
//! One pass reads the fields of all shapes, because their keys do not collide; the shape is decided at the end of the
//! object, so the order of fields never matters.
//!
//! Shapes: SNS <https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html>, EventBridge
//! <https://docs.aws.amazon.com/eventbridge/latest/ref/events-ref-ses.html>, Lambda's records
//! <https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html> and neighbours, failed invocations
//! <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html>, messages received from SQS
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>, CloudWatch Logs
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/SubscriptionFilters.html> and
//! <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html>, records that Firehose gave up
//! <https://docs.aws.amazon.com/firehose/latest/dev/data-transformation-failure-handling.html>, HTTP requests as Lambda gets them
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>, records read from a stream
//! <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>, lines of log shippers
//! <https://docs.docker.com/engine/logging/drivers/json-file/>, documents of Elasticsearch
//! <https://www.elastic.co/guide/en/elasticsearch/reference/current/mapping-source-field.html>.

use std::borrow::Cow;

use super::Decoded;
use crate::account_event;
use crate::invariant::or_broken;
use crate::json::{KnownKey, RawText, ScanError, Scanner};
use crate::normalise::{SesEvent, SesField};
use crate::outcome::Ignored;

/// A field of an event, of an envelope or of a record.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
    Event(SesField),
    /// EventBridge's `detail`: an SES event.
    Detail,
    DetailType,
    Source,
    /// The nested object that holds the payload: `kinesis`, `Sns` or `awslogs`.
    Wrapper,
    Base64Data,
    Message,
    /// Whether the body of an HTTP request is base64.
    IsBase64Encoded,
    SnsType,
    /// The records of any trigger, or the messages received from SQS.
    Records,
    /// The records under Firehose's and Kafka's name. Kafka's is an object with a list for each partition.
    RecordsOrPartitions,
    /// The event of a failed asynchronous invocation, as Lambda sends it to an on-failure destination: any payload.
    RequestPayload,
    /// The entries of CloudWatch Logs: `logEvents` of a subscription, `events` of a search.
    LogEntries,
    NotUsed,
}

impl Field {
    /// In the order in which they are usually written, for speed: an event's own fields, EventBridge's envelope, Lambda's Kinesis
    /// record, SNS's envelope, then the rest.
    pub(super) const KEYS: [KnownKey<Self>; SesField::KEYS.len() + 50] = {
        let mut keys = [KnownKey::new("", Self::NotUsed); SesField::KEYS.len() + 50];
        let mut index = 0;
        while index < SesField::KEYS.len() {
            keys[index] = SesField::KEYS[index].with_field(Self::Event(SesField::KEYS[index].field()));
            index += 1;
        }
        let others = [
            KnownKey::new("\"version\":", Self::NotUsed),
            KnownKey::new("\"id\":", Self::NotUsed),
            KnownKey::new("\"detail-type\":", Self::DetailType),
            KnownKey::new("\"source\":", Self::Source),
            KnownKey::new("\"account\":", Self::NotUsed),
            KnownKey::new("\"time\":", Self::NotUsed),
            KnownKey::new("\"region\":", Self::NotUsed),
            KnownKey::new("\"resources\":", Self::NotUsed),
            KnownKey::new("\"detail\":", Self::Detail),
            KnownKey::new("\"kinesis\":", Self::Wrapper),
            KnownKey::new("\"eventSource\":", Self::NotUsed),
            KnownKey::new("\"eventVersion\":", Self::NotUsed),
            KnownKey::new("\"eventID\":", Self::NotUsed),
            KnownKey::new("\"eventName\":", Self::NotUsed),
            KnownKey::new("\"invokeIdentityArn\":", Self::NotUsed),
            KnownKey::new("\"awsRegion\":", Self::NotUsed),
            KnownKey::new("\"eventSourceARN\":", Self::NotUsed),
            KnownKey::new("\"kinesisSchemaVersion\":", Self::NotUsed),
            KnownKey::new("\"partitionKey\":", Self::NotUsed),
            KnownKey::new("\"sequenceNumber\":", Self::NotUsed),
            KnownKey::new("\"data\":", Self::Base64Data),
            KnownKey::new("\"approximateArrivalTimestamp\":", Self::NotUsed),
            KnownKey::new("\"value\":", Self::Base64Data),
            KnownKey::new("\"Sns\":", Self::Wrapper),
            KnownKey::new("\"Type\":", Self::SnsType),
            KnownKey::new("\"MessageId\":", Self::NotUsed),
            KnownKey::new("\"TopicArn\":", Self::NotUsed),
            KnownKey::new("\"Subject\":", Self::NotUsed),
            KnownKey::new("\"Message\":", Self::Message),
            KnownKey::new("\"Timestamp\":", Self::NotUsed),
            KnownKey::new("\"SignatureVersion\":", Self::NotUsed),
            KnownKey::new("\"Signature\":", Self::NotUsed),
            KnownKey::new("\"body\":", Self::Message),
            KnownKey::new("\"payload\":", Self::Message),
            KnownKey::new("\"Records\":", Self::Records),
            KnownKey::new("\"records\":", Self::RecordsOrPartitions),
            KnownKey::new("\"Messages\":", Self::Records),
            KnownKey::new("\"Body\":", Self::Message),
            KnownKey::new("\"requestPayload\":", Self::RequestPayload),
            KnownKey::new("\"isBase64Encoded\":", Self::IsBase64Encoded),
            KnownKey::new("\"awslogs\":", Self::Wrapper),
            KnownKey::new("\"logEvents\":", Self::LogEntries),
            KnownKey::new("\"events\":", Self::LogEntries),
            KnownKey::new("\"timestamp\":", Self::NotUsed),
            KnownKey::new("\"message\":", Self::Message),
            KnownKey::new("\"rawData\":", Self::Base64Data),
            KnownKey::new("\"SequenceNumber\":", Self::NotUsed),
            KnownKey::new("\"Data\":", Self::Base64Data),
            KnownKey::new("\"log\":", Self::Message),
            KnownKey::new("\"_source\":", Self::Message),
        ];
        while index < keys.len() {
            keys[index] = others[index - SesField::KEYS.len()];
            index += 1;
        }
        keys
    };
}

/// The fields of one object that say what it is or what is inside it.
#[derive(Default)]
pub(super) struct EnvelopeFields<'a> {
    /// Created with the first field of an event. An `SesEvent` is large, and the records around events never need one.
    event: Option<SesEvent<'a>>,
    /// Kinesis' and Firehose's `data`, Kafka's `value`, the `rawData` of a record that Firehose gave up, the `Data` of one read from a
    /// stream.
    base64: Option<RawText<'a>>,
    /// SNS's `Message`, SQS's `body` (`Body` in the reply of `ReceiveMessage`), the `payload` of a batch in Lambda's failure
    /// destination, the `message` of a log entry (`log` as Fluent Bit and Docker write it), the `body` of an HTTP request, the `_source`
    /// of a document exported from Elasticsearch.
    message: Option<RawText<'a>>,
    /// Whether the message is base64.
    is_base64_encoded: bool,
    /// A payload in one of these fields that was written as JSON instead of as a string, by a tool that parsed it.
    inline: Option<&'a str>,
    sns_type: Option<Cow<'a, str>>,
    source: Option<Cow<'a, str>>,
    has_detail_type: bool,
}

/// What an object contains.
pub(super) enum Content<'e, 'a> {
    Event(&'e mut SesEvent<'a>),
    Base64(RawText<'a>),
    Text(RawText<'a>),
    /// JSON inside the object, not in a string.
    Inline(&'a str),
    /// An EventBridge event from SES that is not about a message.
    AboutNoMessage,
    Ignored(Ignored),
    Unknown,
}

impl<'a> EnvelopeFields<'a> {
    /// Reads the value of `field`; a value of an unexpected type is skipped.
    #[inline]
    pub(super) fn read_field(
        &mut self,
        scanner: &mut Scanner<'a>,
        field: Option<Field>,
    ) -> Result<(), ScanError> {
        match (field, scanner.peek()) {
            (Some(Field::Event(field)), _) => {
                self.event.get_or_insert_default().read_field(scanner, field)?;
            }
            (Some(Field::Detail), Some(b'{')) => {
                let event = self.event.get_or_insert_default();
                scanner.object_with_known_keys(&SesField::KEYS, |scanner, field| match field {
                    Some(field) => event.read_field(scanner, field),
                    None => scanner.skip(),
                })?;
            }
            // Into this same struct: the wrapper's fields have distinct names, and a record means the same with or without it.
            (Some(Field::Wrapper), Some(b'{')) => {
                scanner
                    .object_with_known_keys(&Field::KEYS, |scanner, field| self.read_field(scanner, field))?;
            }
            (Some(Field::Base64Data), Some(b'"')) => self.base64 = Some(scanner.base64_string()?),
            (Some(Field::Message | Field::RequestPayload), Some(b'"')) => {
                self.message = Some(scanner.raw_string()?);
            }
            (Some(Field::Message | Field::Base64Data), Some(b'{' | b'[')) => {
                // Read to its end before it is decoded: whether the object is an event of its own is known only then.
                self.inline = Some(scanner.raw_value()?);
            }
            (Some(Field::IsBase64Encoded), _) => self.is_base64_encoded = scanner.raw_value()? == "true",
            (Some(Field::SnsType), Some(b'"')) => self.sns_type = Some(scanner.string()?),
            (Some(Field::Source), Some(b'"')) => self.source = Some(scanner.string()?),
            (Some(Field::DetailType), _) => {
                self.has_detail_type = true;
                scanner.skip()?;
            }
            _ => scanner.skip()?,
        }
        Ok(())
    }

    /// Whether a field that only events have was read.
    pub(super) fn is_event(&self) -> bool {
        self.event.as_ref().is_some_and(SesEvent::is_present)
    }

    /// Decides what the object was, once all its fields are read. If it contains an event, its other fields are ignored.
    pub(super) fn content(&mut self) -> Content<'_, 'a> {
        if let Some(event) = self.event.as_mut().filter(|event| event.is_present()) {
            return Content::Event(event);
        }
        // A record of Kinesis, Firehose or Kafka.
        if let Some(base64) = self.base64 {
            return Content::Base64(base64);
        }
        // Checked before the message, because a confirmation's message is prose, not an event.
        if matches!(self.sns_type.as_deref(), Some("SubscriptionConfirmation" | "UnsubscribeConfirmation")) {
            return Content::Ignored(Ignored::SubscriptionConfirmation);
        }
        if let Some(message) = self.message {
            return if self.is_base64_encoded { Content::Base64(message) } else { Content::Text(message) };
        }
        if let Some(json) = self.inline {
            return Content::Inline(json);
        }
        if self.has_detail_type && self.source.as_deref() == Some("aws.ses") {
            return Content::AboutNoMessage;
        }
        Content::Unknown
    }
}

/// The outcome of an EventBridge event from SES that is not about a message. Read a second time, since it is rare.
#[cold]
pub(super) fn about_no_message(bytes: &[u8]) -> Decoded<'_, 'static> {
    let json = or_broken(simdutf8::basic::from_utf8(bytes).ok(), "", "a part of a text is not UTF-8");
    match account_event::read(json) {
        Ok(Some(event)) => Decoded::Ignored(Ignored::AccountEvent(Box::new(event))),
        Ok(None) => Decoded::Ignored(Ignored::OtherDetailType),
        Err(reason) => Decoded::Unreadable { reason, bytes },
    }
}
