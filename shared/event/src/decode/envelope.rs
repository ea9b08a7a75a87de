//! One object of any of the known shapes: an SES event, an envelope around one, or a record of a batch.
//!
//! All are read by one walk over the object's fields, since their names do not collide; what it was is decided at its end.
//! It must never decide by the order of fields.
//! Shapes: SNS <https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html>, EventBridge
//! <https://docs.aws.amazon.com/eventbridge/latest/ref/events-ref-ses.html>, Lambda's records
//! <https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html> and neighbours.

use std::borrow::Cow;

use super::outcome::Ignored;
use crate::json::{Fault, RawText, Scanner};
use crate::normalise::Wire;

/// How the text begins with which SES tries a topic that events are to be sent to; the one for feedback is an event of a type.
const SNS_VALIDATION: &str = "Successfully validated SNS topic";

/// Whether `line` is the text with which SES tries a topic.
pub(super) fn is_sns_validation(line: &str) -> bool {
    line.starts_with(SNS_VALIDATION)
}

/// What an object's fields say, as far as it matters.
#[derive(Default)]
pub(super) struct Envelope<'a> {
    event: Wire<'a>,
    /// Kinesis' and Firehose's `data`, Kafka's `value`.
    encoded: Option<RawText<'a>>,
    /// SNS's `Message`, SQS's `body`.
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
    /// Reads the value of `key`.
    #[inline]
    pub(super) fn field(&mut self, scanner: &mut Scanner<'a>, key: &str) -> Result<(), Fault> {
        if self.event.field(scanner, key)? {
            return Ok(());
        }
        match (key, scanner.peek()) {
            ("detail", Some(b'{')) => scanner
                .object(|scanner, key| if self.event.field(scanner, key)? { Ok(()) } else { scanner.skip() }),
            ("kinesis" | "Sns", Some(b'{')) => scanner.object(|scanner, key| self.field(scanner, key)),
            ("data" | "value", Some(b'"')) => {
                self.encoded = Some(scanner.base64_string()?);
                Ok(())
            }
            ("Message" | "body", Some(b'"')) => {
                self.message = Some(scanner.raw_string()?);
                Ok(())
            }
            ("Type", Some(b'"')) => {
                self.sns_type = Some(scanner.string()?);
                Ok(())
            }
            ("source", Some(b'"')) => {
                self.source = Some(scanner.string()?);
                Ok(())
            }
            ("detail-type", _) => {
                self.has_detail_type = true;
                scanner.skip()
            }
            _ => scanner.skip(),
        }
    }

    /// What it was.
    pub(super) fn content(&mut self) -> Content<'_, 'a> {
        if self.event.is_present() {
            return Content::Event(&mut self.event);
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
