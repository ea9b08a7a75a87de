//! SES's wire shapes, reduced to what is counted: `mail`, the ten bodies, recipients, preferences. Also the queue-depth gauge, a shape
//! of our own that looks like an SES event and by which a sender reports how much mail waits.
//!
//! Event publishing and the older notifications share these shapes. Reading is tolerant: unknown fields are skipped, and optional
//! fields of a wrong type count as absent. Nothing here decides what an event means; that is the parent module's task.
//!
//! Source: <https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html>

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::decode::Unreadable;
use crate::json::{KnownKey, ScanError, Scanner};
use crate::tags::Tags;

/// The most recipients read from one event. SES allows 50 per message.
pub(super) const MAX_RECIPIENTS: usize = 1000;
/// The most opted-out topics read from one preference. SES allows 20 topics per contact list.
const MAX_TOPICS: usize = 64;

/// `None` if the field is absent or not a string.
type OptionalText<'a> = Option<Cow<'a, str>>;

/// SES's ten event types, in the order of its documentation, and the queue-depth gauge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SesEventType {
    Send,
    Delivery,
    Bounce,
    Complaint,
    Reject,
    Open,
    Click,
    RenderingFailure,
    DeliveryDelay,
    Subscription,
    QueueDepth,
}

impl SesEventType {
    fn from_event_type(name: &str) -> Option<Self> {
        Some(match name {
            "Send" => Self::Send,
            "Delivery" => Self::Delivery,
            "Bounce" => Self::Bounce,
            "Complaint" => Self::Complaint,
            "Reject" => Self::Reject,
            "Open" => Self::Open,
            "Click" => Self::Click,
            "Rendering Failure" => Self::RenderingFailure,
            "DeliveryDelay" => Self::DeliveryDelay,
            "Subscription" => Self::Subscription,
            "QueueDepth" => Self::QueueDepth,
            _ => return None,
        })
    }

    /// The path of the time in the body; `None` for the types that happen when SES accepts the message.
    pub(super) fn time_field(self) -> Option<&'static str> {
        match self {
            Self::Send | Self::Reject | Self::RenderingFailure | Self::QueueDepth => None,
            Self::Delivery => Some("delivery.timestamp"),
            Self::Bounce => Some("bounce.timestamp"),
            Self::Complaint => Some("complaint.timestamp"),
            Self::Open => Some("open.timestamp"),
            Self::Click => Some("click.timestamp"),
            Self::DeliveryDelay => Some("deliveryDelay.timestamp"),
            Self::Subscription => Some("subscription.timestamp"),
        }
    }
}

/// A top-level field of an event.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SesField {
    Type,
    Mail,
    Body(SesEventType),
}

impl SesField {
    /// In the order in which SES writes them, the notifications' names last. The body of Rendering Failure is called `failure`.
    pub(crate) const KEYS: [KnownKey<Self>; 14] = [
        KnownKey::new("\"eventType\":", Self::Type),
        KnownKey::new("\"mail\":", Self::Mail),
        KnownKey::new("\"send\":", Self::Body(SesEventType::Send)),
        KnownKey::new("\"delivery\":", Self::Body(SesEventType::Delivery)),
        KnownKey::new("\"bounce\":", Self::Body(SesEventType::Bounce)),
        KnownKey::new("\"complaint\":", Self::Body(SesEventType::Complaint)),
        KnownKey::new("\"reject\":", Self::Body(SesEventType::Reject)),
        KnownKey::new("\"open\":", Self::Body(SesEventType::Open)),
        KnownKey::new("\"click\":", Self::Body(SesEventType::Click)),
        KnownKey::new("\"failure\":", Self::Body(SesEventType::RenderingFailure)),
        KnownKey::new("\"deliveryDelay\":", Self::Body(SesEventType::DeliveryDelay)),
        KnownKey::new("\"subscription\":", Self::Body(SesEventType::Subscription)),
        KnownKey::new("\"notificationType\":", Self::Type),
        KnownKey::new("\"queueDepth\":", Self::Body(SesEventType::QueueDepth)),
    ];
}

/// A string that an event cannot be counted without.
#[derive(Debug, Default)]
pub(super) struct RequiredText<'a> {
    text: OptionalText<'a>,
    /// The field is present with another JSON type; `null` counts as absent.
    has_wrong_type: bool,
}

impl<'a> RequiredText<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, ScanError> {
        let has_wrong_type = !matches!(scanner.peek(), Some(b'"' | b'n'));
        Ok(Self { text: scanner.optional_string()?, has_wrong_type })
    }

    /// Moves the string out. `field` is the path that the error names.
    pub(super) fn take(&mut self, field: &'static str) -> Result<Cow<'a, str>, Unreadable> {
        self.text.take().ok_or_else(|| self.error(field))
    }

    /// The string. `field` is the path that the error names.
    pub(super) fn get(&self, field: &'static str) -> Result<&Cow<'a, str>, Unreadable> {
        self.text.as_ref().ok_or_else(|| self.error(field))
    }

    const fn error(&self, field: &'static str) -> Unreadable {
        if self.has_wrong_type { Unreadable::WrongType(field) } else { Unreadable::MissingField(field) }
    }
}

/// An event as it was received, before anything is checked.
#[derive(Debug, Default)]
pub(crate) struct SesEvent<'a> {
    /// `eventType`, or `notificationType` in the older notifications.
    event_type_name: RequiredText<'a>,
    event_type: Option<SesEventType>,
    pub(super) mail: Mail<'a>,
    pub(super) body: Body<'a>,
    /// Bodies that came before the event type, which decides which of them is read. Almost always empty.
    postponed_bodies: SmallVec<[(SesEventType, &'a str); 1]>,
    /// Whether a type or a `mail` was seen: other shapes have fields named like bodies (`open`, `send`).
    is_present: bool,
    has_mail: bool,
    has_body: bool,
}

impl<'a> SesEvent<'a> {
    /// Whether the object is an SES event at all.
    pub(crate) fn is_present(&self) -> bool {
        self.is_present
    }

    /// The event type, or the name of a type unknown to this version.
    pub(super) fn event_type(&self) -> Result<Result<SesEventType, &str>, Unreadable> {
        let name = self.event_type_name.get("eventType")?;
        Ok(self.event_type.ok_or(name))
    }

    /// Reads the value of `field`. Of a field that comes twice, the last one counts.
    #[inline]
    pub(crate) fn read_field(&mut self, scanner: &mut Scanner<'a>, field: SesField) -> Result<(), ScanError> {
        match field {
            SesField::Mail => {
                self.is_present = true;
                // Reset only if it comes twice: writing these thousand bytes for every event would be measurable.
                if std::mem::replace(&mut self.has_mail, true) {
                    self.mail = Mail::default();
                }
                self.mail.read(scanner)
            }
            SesField::Type => {
                self.is_present = true;
                self.event_type_name = RequiredText::read(scanner)?;
                self.event_type =
                    self.event_type_name.text.as_deref().and_then(SesEventType::from_event_type);
                Ok(())
            }
            SesField::Body(event_type) => self.read_body(scanner, event_type),
        }
    }

    fn read_body(&mut self, scanner: &mut Scanner<'a>, event_type: SesEventType) -> Result<(), ScanError> {
        self.postponed_bodies.retain(|(other, _)| *other != event_type);
        if self.event_type == Some(event_type) {
            if std::mem::replace(&mut self.has_body, true) {
                self.body = Body::default();
            }
            return self.body.read(scanner);
        }
        self.postponed_bodies.push((event_type, scanner.raw_value()?));
        Ok(())
    }

    /// Reads the body of the event's type if it came before the type. Call once, after the last field.
    pub(super) fn read_postponed_body(&mut self) {
        let body = self.postponed_bodies.iter().find(|(event_type, _)| Some(*event_type) == self.event_type);
        if let Some(&(_, raw)) = body {
            // The text was scanned before, so this cannot fail. If it did, a required field would be reported missing.
            let _ = self.body.read(&mut Scanner::new(raw));
        }
    }
}

/// `mail`: the message that an event is about.
#[derive(Debug, Default)]
pub(super) struct Mail<'a> {
    pub(super) timestamp: RequiredText<'a>,
    pub(super) message_id: RequiredText<'a>,
    pub(super) source: OptionalText<'a>,
    pub(super) source_arn: OptionalText<'a>,
    pub(super) sending_account: OptionalText<'a>,
    /// At most [`MAX_RECIPIENTS`] of the envelope recipients.
    pub(super) destinations: SmallVec<[Cow<'a, str>; 1]>,
    /// All envelope recipients.
    pub(super) destination_count: u32,
    pub(super) tags: Tags<'a>,
}

#[derive(Clone, Copy)]
enum MailField {
    Timestamp,
    Source,
    SourceArn,
    SendingAccount,
    MessageId,
    Destination,
    Headers,
    Tags,
    NotUsed,
}

impl MailField {
    const KEYS: [KnownKey<Self>; 10] = [
        KnownKey::new("\"timestamp\":", Self::Timestamp),
        KnownKey::new("\"source\":", Self::Source),
        KnownKey::new("\"sourceArn\":", Self::SourceArn),
        KnownKey::new("\"sendingAccountId\":", Self::SendingAccount),
        KnownKey::new("\"messageId\":", Self::MessageId),
        KnownKey::new("\"destination\":", Self::Destination),
        KnownKey::new("\"headersTruncated\":", Self::NotUsed),
        KnownKey::new("\"headers\":", Self::Headers),
        KnownKey::new("\"commonHeaders\":", Self::NotUsed),
        KnownKey::new("\"tags\":", Self::Tags),
    ];
}

impl<'a> Mail<'a> {
    fn read(&mut self, scanner: &mut Scanner<'a>) -> Result<(), ScanError> {
        read_known_fields(scanner, &MailField::KEYS, |scanner, field| {
            match field {
                Some(MailField::Timestamp) => self.timestamp = RequiredText::read(scanner)?,
                Some(MailField::Source) => self.source = scanner.optional_string()?,
                Some(MailField::SourceArn) => self.source_arn = scanner.optional_string()?,
                Some(MailField::SendingAccount) => self.sending_account = scanner.optional_string()?,
                Some(MailField::MessageId) => self.message_id = RequiredText::read(scanner)?,
                Some(MailField::Destination) => self.read_destinations(scanner)?,
                Some(MailField::Headers) => scanner.skip_headers()?,
                Some(MailField::Tags) => self.tags = Tags::new(scanner.raw_tags()?),
                Some(MailField::NotUsed) | None => scanner.skip()?,
            }
            Ok(())
        })
    }

    fn read_destinations(&mut self, scanner: &mut Scanner<'a>) -> Result<(), ScanError> {
        self.destinations.clear();
        self.destination_count = 0;
        scanner.array_or_single(|scanner| {
            if let Some(address) = scanner.optional_string()? {
                self.destination_count = self.destination_count.saturating_add(1);
                if self.destinations.len() < MAX_RECIPIENTS {
                    self.destinations.push(address);
                }
            }
            Ok(())
        })
    }
}

/// The body of any event type. One struct serves all, because no field name has two meanings.
#[derive(Debug, Default)]
pub(super) struct Body<'a> {
    pub(super) timestamp: RequiredText<'a>,
    pub(super) recipients: SmallVec<[Recipient<'a>; 1]>,
    pub(super) processing_ms: Option<u64>,
    pub(super) depth: Option<u64>,
    pub(super) feedback_id: OptionalText<'a>,
    pub(super) reporting_mta: OptionalText<'a>,
    pub(super) bounce_type: OptionalText<'a>,
    pub(super) bounce_sub_type: OptionalText<'a>,
    pub(super) complaint_sub_type: OptionalText<'a>,
    pub(super) complaint_feedback_type: OptionalText<'a>,
    pub(super) delay_type: OptionalText<'a>,
    pub(super) user_agent: OptionalText<'a>,
    pub(super) ip_address: OptionalText<'a>,
    pub(super) link: OptionalText<'a>,
    pub(super) is_bot_event: OptionalText<'a>,
    pub(super) new_preferences: Preferences<'a>,
    pub(super) old_preferences: Preferences<'a>,
}

/// A recipient that a delivery, bounce, complaint or delay names.
#[derive(Debug, Default)]
pub(super) struct Recipient<'a> {
    pub(super) address: Cow<'a, str>,
    pub(super) status: OptionalText<'a>,
    pub(super) diagnostic: OptionalText<'a>,
}

/// The topic preferences of a contact, before or after a change.
#[derive(Debug, Default)]
pub(super) struct Preferences<'a> {
    pub(super) unsubscribe_all: bool,
    /// The names of at most [`MAX_TOPICS`] topics.
    pub(super) opted_out: SmallVec<[Cow<'a, str>; 1]>,
}

#[derive(Clone, Copy)]
enum BodyField {
    Timestamp,
    Recipients,
    ProcessingMillis,
    Depth,
    FeedbackId,
    ReportingMta,
    BounceType,
    BounceSubType,
    ComplaintSubType,
    ComplaintFeedbackType,
    DelayType,
    UserAgent,
    IpAddress,
    Link,
    IsBotEvent,
    NewPreferences,
    OldPreferences,
    NotUsed,
}

impl BodyField {
    /// The fields of all bodies in one list. The order lets as many as possible come in sequence: those of a delivery, then of an open
    /// or click, of a bounce, and the rest.
    const KEYS: [KnownKey<Self>; 23] = [
        KnownKey::new("\"timestamp\":", Self::Timestamp),
        KnownKey::new("\"processingTimeMillis\":", Self::ProcessingMillis),
        KnownKey::new("\"recipients\":", Self::Recipients),
        KnownKey::new("\"smtpResponse\":", Self::NotUsed),
        KnownKey::new("\"remoteMtaIp\":", Self::NotUsed),
        KnownKey::new("\"reportingMTA\":", Self::ReportingMta),
        KnownKey::new("\"ipAddress\":", Self::IpAddress),
        KnownKey::new("\"userAgent\":", Self::UserAgent),
        KnownKey::new("\"link\":", Self::Link),
        KnownKey::new("\"linkTags\":", Self::NotUsed),
        KnownKey::new("\"isBotEvent\":", Self::IsBotEvent),
        KnownKey::new("\"feedbackId\":", Self::FeedbackId),
        KnownKey::new("\"bounceType\":", Self::BounceType),
        KnownKey::new("\"bounceSubType\":", Self::BounceSubType),
        KnownKey::new("\"bouncedRecipients\":", Self::Recipients),
        KnownKey::new("\"complaintSubType\":", Self::ComplaintSubType),
        KnownKey::new("\"complainedRecipients\":", Self::Recipients),
        KnownKey::new("\"complaintFeedbackType\":", Self::ComplaintFeedbackType),
        KnownKey::new("\"delayType\":", Self::DelayType),
        KnownKey::new("\"delayedRecipients\":", Self::Recipients),
        KnownKey::new("\"newTopicPreferences\":", Self::NewPreferences),
        KnownKey::new("\"oldTopicPreferences\":", Self::OldPreferences),
        KnownKey::new("\"depth\":", Self::Depth),
    ];
}

impl<'a> Body<'a> {
    fn read(&mut self, scanner: &mut Scanner<'a>) -> Result<(), ScanError> {
        read_known_fields(scanner, &BodyField::KEYS, |scanner, field| {
            match field {
                Some(BodyField::Timestamp) => self.timestamp = RequiredText::read(scanner)?,
                Some(BodyField::Recipients) => self.read_recipients(scanner)?,
                Some(BodyField::ProcessingMillis) => self.processing_ms = whole_number(scanner)?,
                Some(BodyField::Depth) => self.depth = whole_number(scanner)?,
                Some(BodyField::FeedbackId) => self.feedback_id = scanner.optional_string()?,
                Some(BodyField::ReportingMta) => self.reporting_mta = scanner.optional_string()?,
                Some(BodyField::BounceType) => self.bounce_type = scanner.optional_string()?,
                Some(BodyField::BounceSubType) => self.bounce_sub_type = scanner.optional_string()?,
                Some(BodyField::ComplaintSubType) => self.complaint_sub_type = scanner.optional_string()?,
                Some(BodyField::ComplaintFeedbackType) => {
                    self.complaint_feedback_type = scanner.optional_string()?;
                }
                Some(BodyField::DelayType) => self.delay_type = scanner.optional_string()?,
                Some(BodyField::UserAgent) => self.user_agent = scanner.optional_string()?,
                Some(BodyField::IpAddress) => self.ip_address = scanner.optional_string()?,
                Some(BodyField::Link) => self.link = scanner.optional_string()?,
                Some(BodyField::IsBotEvent) => self.is_bot_event = scanner.optional_string()?,
                Some(BodyField::NewPreferences) => self.new_preferences = Preferences::read(scanner)?,
                Some(BodyField::OldPreferences) => self.old_preferences = Preferences::read(scanner)?,
                Some(BodyField::NotUsed) | None => scanner.skip()?,
            }
            Ok(())
        })
    }

    /// Strings or objects, in an array or alone: SES's documentation shows a delay's recipient without an array.
    fn read_recipients(&mut self, scanner: &mut Scanner<'a>) -> Result<(), ScanError> {
        self.recipients.clear();
        scanner.array_or_single(|scanner| {
            let recipient = Recipient::read(scanner)?;
            if self.recipients.len() < MAX_RECIPIENTS {
                self.recipients.push(recipient);
            }
            Ok(())
        })
    }
}

impl<'a> Recipient<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, ScanError> {
        let mut recipient = Self::default();
        if scanner.peek() == Some(b'"') {
            recipient.address = scanner.string()?;
            return Ok(recipient);
        }
        read_fields(scanner, |scanner, key| {
            match key {
                "emailAddress" => recipient.address = scanner.optional_string()?.unwrap_or_default(),
                "status" => recipient.status = scanner.optional_string()?,
                "diagnosticCode" => recipient.diagnostic = scanner.optional_string()?,
                _ => scanner.skip()?,
            }
            Ok(())
        })?;
        Ok(recipient)
    }
}

impl<'a> Preferences<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, ScanError> {
        let mut preferences = Self::default();
        read_fields(scanner, |scanner, key| {
            match key {
                "unsubscribeAll" => {
                    // SES's examples show a boolean; a string is accepted because other fields of its events vary too.
                    preferences.unsubscribe_all = matches!(scanner.raw_value()?, "true" | "\"true\"");
                }
                "topicSubscriptionStatus" => {
                    scanner.array_or_single(|scanner| preferences.read_topic(scanner))?;
                }
                _ => scanner.skip()?,
            }
            Ok(())
        })?;
        Ok(preferences)
    }

    fn read_topic(&mut self, scanner: &mut Scanner<'a>) -> Result<(), ScanError> {
        let (mut name, mut status) = (None, None);
        read_fields(scanner, |scanner, key| {
            match key {
                "topicName" => name = scanner.optional_string()?,
                "subscriptionStatus" => status = scanner.optional_string()?,
                _ => scanner.skip()?,
            }
            Ok(())
        })?;
        if status.as_deref() == Some("OptOut") && self.opted_out.len() < MAX_TOPICS {
            self.opted_out.push(name.unwrap_or_default());
        }
        Ok(())
    }
}

/// A whole number, written as a number or a string; a fraction is cut off. `None` for anything else.
fn whole_number(scanner: &mut Scanner<'_>) -> Result<Option<u64>, ScanError> {
    let raw = scanner.raw_value()?;
    Ok(raw.parse().ok().or_else(|| {
        let raw = raw.trim_matches('"');
        raw.split_once('.').map_or(raw, |(whole, _)| whole).parse().ok()
    }))
}

/// Reads an object by its known keys; skips any other value.
#[inline]
fn read_known_fields<'a, F: Copy>(
    scanner: &mut Scanner<'a>,
    keys: &[KnownKey<F>],
    field: impl FnMut(&mut Scanner<'a>, Option<F>) -> Result<(), ScanError>,
) -> Result<(), ScanError> {
    if scanner.peek() == Some(b'{') { scanner.object_with_known_keys(keys, field) } else { scanner.skip() }
}

/// Reads an object by its key texts; skips any other value. Slower than [`read_known_fields`], for objects that are rare.
fn read_fields<'a>(
    scanner: &mut Scanner<'a>,
    field: impl FnMut(&mut Scanner<'a>, &str) -> Result<(), ScanError>,
) -> Result<(), ScanError> {
    if scanner.peek() == Some(b'{') { scanner.object(field) } else { scanner.skip() }
}
