//! One object of any of the known shapes: an SES event, an envelope around one, or a record of a batch.
//!
//! All are read by one walk over the object's fields, since their names do not collide; what it was is decided at its end.
//! It must never decide by the order of fields.
//! Shapes: SNS <https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html>, EventBridge
//! <https://docs.aws.amazon.com/eventbridge/latest/ref/events-ref-ses.html>, Lambda's records
//! <https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html> and neighbours, failed invocations
//! <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html>, messages received from SQS
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>.

use std::borrow::Cow;

use super::outcome::Ignored;
use crate::json::{Fault, Name, RawText, Scanner};
use crate::normalise::{Wire, WireField};

/// How the text begins with which SES tries a topic that events are to be sent to; the one for feedback is an event of a type.
const SNS_VALIDATION: &str = "Successfully validated SNS topic";

/// Whether `line` is the text with which SES tries a topic.
pub(super) fn is_sns_validation(line: &str) -> bool {
    line.starts_with(SNS_VALIDATION)
}

/// A field of an event, of an envelope or of a record.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
    Event(WireField),
    /// EventBridge's `detail`.
    Detail,
    DetailType,
    Source,
    /// Kinesis' and SNS' object around what matters.
    Inside,
    Encoded,
    Message,
    SnsType,
    /// A list of records of any trigger, or of messages received from SQS.
    Records,
    /// The same under Kafka's name, where it may be a list for each partition.
    RecordsOrPartitions,
    /// The event of a failed asynchronous invocation, as Lambda sends it to an on-failure destination.
    FailedEvent,
    NotUsed,
}

impl Field {
    /// An event's own fields, then as EventBridge writes an envelope and Lambda a record of Kinesis, then others.
    pub(super) const NAMES: [Name<Self>; WireField::NAMES.len() + 33] = {
        let mut names = [Name::new("", Self::NotUsed); WireField::NAMES.len() + 33];
        let mut place = 0;
        while place < WireField::NAMES.len() {
            names[place] = WireField::NAMES[place].of(Self::Event(WireField::NAMES[place].field()));
            place += 1;
        }
        let others = [
            Name::new("\"version\":", Self::NotUsed),
            Name::new("\"id\":", Self::NotUsed),
            Name::new("\"detail-type\":", Self::DetailType),
            Name::new("\"source\":", Self::Source),
            Name::new("\"account\":", Self::NotUsed),
            Name::new("\"time\":", Self::NotUsed),
            Name::new("\"region\":", Self::NotUsed),
            Name::new("\"resources\":", Self::NotUsed),
            Name::new("\"detail\":", Self::Detail),
            Name::new("\"kinesis\":", Self::Inside),
            Name::new("\"eventSource\":", Self::NotUsed),
            Name::new("\"eventVersion\":", Self::NotUsed),
            Name::new("\"eventID\":", Self::NotUsed),
            Name::new("\"eventName\":", Self::NotUsed),
            Name::new("\"invokeIdentityArn\":", Self::NotUsed),
            Name::new("\"awsRegion\":", Self::NotUsed),
            Name::new("\"eventSourceARN\":", Self::NotUsed),
            Name::new("\"kinesisSchemaVersion\":", Self::NotUsed),
            Name::new("\"partitionKey\":", Self::NotUsed),
            Name::new("\"sequenceNumber\":", Self::NotUsed),
            Name::new("\"data\":", Self::Encoded),
            Name::new("\"approximateArrivalTimestamp\":", Self::NotUsed),
            Name::new("\"value\":", Self::Encoded),
            Name::new("\"Sns\":", Self::Inside),
            Name::new("\"Type\":", Self::SnsType),
            Name::new("\"Message\":", Self::Message),
            Name::new("\"body\":", Self::Message),
            Name::new("\"payload\":", Self::Message),
            Name::new("\"Records\":", Self::Records),
            Name::new("\"records\":", Self::RecordsOrPartitions),
            Name::new("\"Messages\":", Self::Records),
            Name::new("\"Body\":", Self::Message),
            Name::new("\"requestPayload\":", Self::FailedEvent),
        ];
        while place < names.len() {
            names[place] = others[place - WireField::NAMES.len()];
            place += 1;
        }
        names
    };
}

/// What an object's fields say, as far as it matters.
#[derive(Default)]
pub(super) struct Envelope<'a> {
    /// An event of its own: a record around one has none of its fields, and there are as many of those.
    event: Option<Wire<'a>>,
    /// Kinesis' and Firehose's `data`, Kafka's `value`.
    encoded: Option<RawText<'a>>,
    /// SNS's `Message`, SQS's `body` (`Body` in the reply of `ReceiveMessage`), the `payload` of a batch in Lambda's failure destination.
    message: Option<RawText<'a>>,
    sns_type: Option<Cow<'a, str>>,
    source: Option<Cow<'a, str>>,
    has_detail_type: bool,
}

/// What an object turned out to hold.
pub(super) enum Content<'e, 'a> {
    Event(&'e mut Wire<'a>),
    Base64(RawText<'a>),
    Text(RawText<'a>),
    Ignored(Ignored),
    Unknown,
}

impl<'a> Envelope<'a> {
    /// Reads the value of a field.
    #[inline]
    pub(super) fn field(&mut self, scanner: &mut Scanner<'a>, field: Option<Field>) -> Result<(), Fault> {
        match (field, scanner.peek()) {
            (Some(Field::Event(field)), _) => self.event.get_or_insert_default().field(scanner, field)?,
            (Some(Field::Detail), Some(b'{')) => {
                let event = self.event.get_or_insert_default();
                scanner.object_with(&WireField::NAMES, |scanner, field| match field {
                    Some(field) => event.field(scanner, field),
                    None => scanner.skip(),
                })?;
            }
            (Some(Field::Inside), Some(b'{')) => {
                scanner.object_with(&Field::NAMES, |scanner, field| self.field(scanner, field))?;
            }
            (Some(Field::Encoded), Some(b'"')) => self.encoded = Some(scanner.base64_string()?),
            (Some(Field::Message), Some(b'"')) => self.message = Some(scanner.raw_string()?),
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

    /// What it was.
    pub(super) fn content(&mut self) -> Content<'_, 'a> {
        if let Some(event) = self.event.as_mut().filter(|event| event.is_present()) {
            return Content::Event(event);
        }
        if let Some(encoded) = self.encoded {
            return Content::Base64(encoded);
        }
        if matches!(self.sns_type.as_deref(), Some("SubscriptionConfirmation" | "UnsubscribeConfirmation")) {
            return Content::Ignored(Ignored::SubscriptionConfirmation);
        }
        if let Some(message) = self.message {
            return Content::Text(message);
        }
        if self.has_detail_type && self.source.as_deref() == Some("aws.ses") {
            return Content::Ignored(Ignored::OtherDetailType);
        }
        Content::Unknown
    }
}
