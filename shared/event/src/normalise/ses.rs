//! SES's wire shapes, as far as anything is counted from them: `mail`, the ten bodies, recipients, preferences; and one of our own in
//! the same clothes, by which a sender says how much mail waits.
//!
//! Event publishing and the older notifications share them. Reading is tolerant: unknown fields are skipped, optional
//! fields of a wrong type are as good as absent, and nothing here decides what an event means.
//! Source: <https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html>

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::decode::Unreadable;
use crate::json::{Fault, Name, Scanner};
use crate::tags::Tags;

/// Recipients of one event that are read; SES allows 50 a message.
pub(super) const MAX_RECIPIENTS: usize = 1000;
/// Topics of one preference that are read; SES allows 20 a contact list.
const MAX_TOPICS: usize = 64;

type Text<'a> = Option<Cow<'a, str>>;

/// The ten types, in the order of SES's documentation, and the gauge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireKind {
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

impl WireKind {
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

    /// The name of the body's time; `None` for the types that happen when the message is accepted.
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

/// A field of an event.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WireField {
    Type,
    Mail,
    Body(WireKind),
}

impl WireField {
    /// As they are written. The body of Rendering Failure is `failure`.
    pub(crate) const NAMES: [Name<Self>; 14] = [
        Name::new("\"eventType\":", Self::Type),
        Name::new("\"mail\":", Self::Mail),
        Name::new("\"send\":", Self::Body(WireKind::Send)),
        Name::new("\"delivery\":", Self::Body(WireKind::Delivery)),
        Name::new("\"bounce\":", Self::Body(WireKind::Bounce)),
        Name::new("\"complaint\":", Self::Body(WireKind::Complaint)),
        Name::new("\"reject\":", Self::Body(WireKind::Reject)),
        Name::new("\"open\":", Self::Body(WireKind::Open)),
        Name::new("\"click\":", Self::Body(WireKind::Click)),
        Name::new("\"failure\":", Self::Body(WireKind::RenderingFailure)),
        Name::new("\"deliveryDelay\":", Self::Body(WireKind::DeliveryDelay)),
        Name::new("\"subscription\":", Self::Body(WireKind::Subscription)),
        Name::new("\"notificationType\":", Self::Type),
        Name::new("\"queueDepth\":", Self::Body(WireKind::QueueDepth)),
    ];
}

/// A text that an event cannot be counted without.
#[derive(Debug, Default)]
pub(super) struct Required<'a> {
    text: Text<'a>,
    is_wrong: bool,
}

impl<'a> Required<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, Fault> {
        let is_wrong = !matches!(scanner.peek(), Some(b'"' | b'n'));
        Ok(Self { text: scanner.text()?, is_wrong })
    }

    pub(super) fn take(&mut self, field: &'static str) -> Result<Cow<'a, str>, Unreadable> {
        self.get(field)?;
        Ok(self.text.take().unwrap_or_default())
    }

    pub(super) fn get(&self, field: &'static str) -> Result<&Cow<'a, str>, Unreadable> {
        match &self.text {
            Some(text) => Ok(text),
            None if self.is_wrong => Err(Unreadable::WrongType(field)),
            None => Err(Unreadable::MissingField(field)),
        }
    }
}

/// An event as it was sent, before anything is checked.
#[derive(Debug, Default)]
pub(crate) struct Wire<'a> {
    event_type: Required<'a>,
    kind: Option<WireKind>,
    pub(super) mail: Mail<'a>,
    pub(super) body: Body<'a>,
    /// Bodies that came before the event's type, by which to choose; rarely any.
    unread: SmallVec<[(WireKind, &'a str); 1]>,
    is_present: bool,
    has_mail: bool,
    has_body: bool,
}

impl<'a> Wire<'a> {
    /// Whether there was any sign of an SES event.
    pub(crate) fn is_present(&self) -> bool {
        self.is_present
    }

    /// The event's type: one of the ten, or the name of another.
    pub(super) fn kind(&self) -> Result<Result<WireKind, &str>, Unreadable> {
        let name = self.event_type.get("eventType")?;
        Ok(self.kind.ok_or(name))
    }

    /// Reads the value of a field.
    #[inline]
    pub(crate) fn field(&mut self, scanner: &mut Scanner<'a>, field: WireField) -> Result<(), Fault> {
        match field {
            WireField::Mail => {
                self.is_present = true;
                // Written anew only where it comes twice: these are a thousand bytes for each event.
                if std::mem::replace(&mut self.has_mail, true) {
                    self.mail = Mail::default();
                }
                self.mail.read(scanner)
            }
            WireField::Type => {
                self.is_present = true;
                self.event_type = Required::read(scanner)?;
                self.kind = self.event_type.text.as_deref().and_then(WireKind::from_event_type);
                Ok(())
            }
            WireField::Body(kind) => self.body(scanner, kind),
        }
    }

    fn body(&mut self, scanner: &mut Scanner<'a>, kind: WireKind) -> Result<(), Fault> {
        self.unread.retain(|(other, _)| *other != kind);
        if self.kind == Some(kind) {
            if std::mem::replace(&mut self.has_body, true) {
                self.body = Body::default();
            }
            return self.body.read(scanner);
        }
        self.unread.push((kind, scanner.raw_value()?));
        Ok(())
    }

    /// Reads the body that belongs to the event's type, if it came before the type did.
    pub(super) fn complete(&mut self) {
        if let Some(&(_, raw)) = self.unread.iter().find(|(kind, _)| Some(*kind) == self.kind) {
            // Already scanned once, so it cannot fail; if it did, a required field would be missing.
            let _ = self.body.read(&mut Scanner::new(raw));
        }
    }
}

/// `mail`: the message an event is about.
#[derive(Debug, Default)]
pub(super) struct Mail<'a> {
    pub(super) timestamp: Required<'a>,
    pub(super) message_id: Required<'a>,
    pub(super) source: Text<'a>,
    pub(super) source_arn: Text<'a>,
    pub(super) sending_account: Text<'a>,
    pub(super) destinations: SmallVec<[Cow<'a, str>; 1]>,
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
    const NAMES: [Name<Self>; 10] = [
        Name::new("\"timestamp\":", Self::Timestamp),
        Name::new("\"source\":", Self::Source),
        Name::new("\"sourceArn\":", Self::SourceArn),
        Name::new("\"sendingAccountId\":", Self::SendingAccount),
        Name::new("\"messageId\":", Self::MessageId),
        Name::new("\"destination\":", Self::Destination),
        Name::new("\"headersTruncated\":", Self::NotUsed),
        Name::new("\"headers\":", Self::Headers),
        Name::new("\"commonHeaders\":", Self::NotUsed),
        Name::new("\"tags\":", Self::Tags),
    ];
}

impl<'a> Mail<'a> {
    fn read(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        fields(scanner, &MailField::NAMES, |scanner, field| {
            match field {
                Some(MailField::Timestamp) => self.timestamp = Required::read(scanner)?,
                Some(MailField::Source) => self.source = scanner.text()?,
                Some(MailField::SourceArn) => self.source_arn = scanner.text()?,
                Some(MailField::SendingAccount) => self.sending_account = scanner.text()?,
                Some(MailField::MessageId) => self.message_id = Required::read(scanner)?,
                Some(MailField::Destination) => self.read_destinations(scanner)?,
                Some(MailField::Headers) => scanner.skip_headers()?,
                Some(MailField::Tags) => self.tags = Tags::new(scanner.raw_tags()?),
                Some(MailField::NotUsed) | None => scanner.skip()?,
            }
            Ok(())
        })
    }

    fn read_destinations(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        self.destinations.clear();
        self.destination_count = 0;
        scanner.items(|scanner| {
            if let Some(address) = scanner.text()? {
                self.destination_count = self.destination_count.saturating_add(1);
                if self.destinations.len() < MAX_RECIPIENTS {
                    self.destinations.push(address);
                }
            }
            Ok(())
        })
    }
}

/// Any of the ten bodies: their fields share no name with different meanings.
#[derive(Debug, Default)]
pub(super) struct Body<'a> {
    pub(super) timestamp: Required<'a>,
    pub(super) recipients: SmallVec<[Recipient<'a>; 1]>,
    pub(super) processing_ms: Option<u64>,
    pub(super) depth: Option<u64>,
    pub(super) feedback_id: Text<'a>,
    pub(super) reporting_mta: Text<'a>,
    pub(super) bounce_type: Text<'a>,
    pub(super) bounce_sub_type: Text<'a>,
    pub(super) complaint_sub_type: Text<'a>,
    pub(super) complaint_feedback_type: Text<'a>,
    pub(super) delay_type: Text<'a>,
    pub(super) user_agent: Text<'a>,
    pub(super) ip_address: Text<'a>,
    pub(super) link: Text<'a>,
    pub(super) is_bot_event: Text<'a>,
    pub(super) new_preferences: Preferences<'a>,
    pub(super) old_preferences: Preferences<'a>,
}

/// Somebody a delivery, bounce, complaint or delay is about.
#[derive(Debug, Default)]
pub(super) struct Recipient<'a> {
    pub(super) address: Cow<'a, str>,
    pub(super) status: Text<'a>,
    pub(super) diagnostic: Text<'a>,
}

/// What a contact wants, before or after a change.
#[derive(Debug, Default)]
pub(super) struct Preferences<'a> {
    pub(super) unsubscribe_all: bool,
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
    /// Of all ten, so that as many as can be come in their turn: a delivery, then an open or click, a bounce, and the others.
    const NAMES: [Name<Self>; 23] = [
        Name::new("\"timestamp\":", Self::Timestamp),
        Name::new("\"processingTimeMillis\":", Self::ProcessingMillis),
        Name::new("\"recipients\":", Self::Recipients),
        Name::new("\"smtpResponse\":", Self::NotUsed),
        Name::new("\"remoteMtaIp\":", Self::NotUsed),
        Name::new("\"reportingMTA\":", Self::ReportingMta),
        Name::new("\"ipAddress\":", Self::IpAddress),
        Name::new("\"userAgent\":", Self::UserAgent),
        Name::new("\"link\":", Self::Link),
        Name::new("\"linkTags\":", Self::NotUsed),
        Name::new("\"isBotEvent\":", Self::IsBotEvent),
        Name::new("\"feedbackId\":", Self::FeedbackId),
        Name::new("\"bounceType\":", Self::BounceType),
        Name::new("\"bounceSubType\":", Self::BounceSubType),
        Name::new("\"bouncedRecipients\":", Self::Recipients),
        Name::new("\"complaintSubType\":", Self::ComplaintSubType),
        Name::new("\"complainedRecipients\":", Self::Recipients),
        Name::new("\"complaintFeedbackType\":", Self::ComplaintFeedbackType),
        Name::new("\"delayType\":", Self::DelayType),
        Name::new("\"delayedRecipients\":", Self::Recipients),
        Name::new("\"newTopicPreferences\":", Self::NewPreferences),
        Name::new("\"oldTopicPreferences\":", Self::OldPreferences),
        Name::new("\"depth\":", Self::Depth),
    ];
}

impl<'a> Body<'a> {
    fn read(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        fields(scanner, &BodyField::NAMES, |scanner, field| {
            match field {
                Some(BodyField::Timestamp) => self.timestamp = Required::read(scanner)?,
                Some(BodyField::Recipients) => self.read_recipients(scanner)?,
                Some(BodyField::ProcessingMillis) => self.processing_ms = whole_number(scanner)?,
                Some(BodyField::Depth) => self.depth = whole_number(scanner)?,
                Some(BodyField::FeedbackId) => self.feedback_id = scanner.text()?,
                Some(BodyField::ReportingMta) => self.reporting_mta = scanner.text()?,
                Some(BodyField::BounceType) => self.bounce_type = scanner.text()?,
                Some(BodyField::BounceSubType) => self.bounce_sub_type = scanner.text()?,
                Some(BodyField::ComplaintSubType) => self.complaint_sub_type = scanner.text()?,
                Some(BodyField::ComplaintFeedbackType) => self.complaint_feedback_type = scanner.text()?,
                Some(BodyField::DelayType) => self.delay_type = scanner.text()?,
                Some(BodyField::UserAgent) => self.user_agent = scanner.text()?,
                Some(BodyField::IpAddress) => self.ip_address = scanner.text()?,
                Some(BodyField::Link) => self.link = scanner.text()?,
                Some(BodyField::IsBotEvent) => self.is_bot_event = scanner.text()?,
                Some(BodyField::NewPreferences) => self.new_preferences = Preferences::read(scanner)?,
                Some(BodyField::OldPreferences) => self.old_preferences = Preferences::read(scanner)?,
                Some(BodyField::NotUsed) | None => scanner.skip()?,
            }
            Ok(())
        })
    }

    /// Texts or objects, in an array or (a delay's, by the documentation) alone.
    fn read_recipients(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        self.recipients.clear();
        scanner.items(|scanner| {
            let recipient = Recipient::read(scanner)?;
            if self.recipients.len() < MAX_RECIPIENTS {
                self.recipients.push(recipient);
            }
            Ok(())
        })
    }
}

impl<'a> Recipient<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, Fault> {
        let mut recipient = Self::default();
        if scanner.peek() == Some(b'"') {
            recipient.address = scanner.string()?;
            return Ok(recipient);
        }
        rare_fields(scanner, |scanner, key| {
            match key {
                "emailAddress" => recipient.address = scanner.text()?.unwrap_or_default(),
                "status" => recipient.status = scanner.text()?,
                "diagnosticCode" => recipient.diagnostic = scanner.text()?,
                _ => scanner.skip()?,
            }
            Ok(())
        })?;
        Ok(recipient)
    }
}

impl<'a> Preferences<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, Fault> {
        let mut preferences = Self::default();
        rare_fields(scanner, |scanner, key| {
            match key {
                "unsubscribeAll" => {
                    preferences.unsubscribe_all = matches!(scanner.raw_value()?, "true" | "\"true\"");
                }
                "topicSubscriptionStatus" => scanner.items(|scanner| preferences.read_topic(scanner))?,
                _ => scanner.skip()?,
            }
            Ok(())
        })?;
        Ok(preferences)
    }

    fn read_topic(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        let (mut name, mut status) = (None, None);
        rare_fields(scanner, |scanner, key| {
            match key {
                "topicName" => name = scanner.text()?,
                "subscriptionStatus" => status = scanner.text()?,
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

/// A number of milliseconds, as a number or a text; fractions are cut off. `None` for anything else.
fn whole_number(scanner: &mut Scanner<'_>) -> Result<Option<u64>, Fault> {
    let raw = scanner.raw_value()?;
    Ok(raw.parse().ok().or_else(|| {
        let raw = raw.trim_matches('"');
        raw.split_once('.').map_or(raw, |(whole, _)| whole).parse().ok()
    }))
}

/// The fields of an object; anything else is skipped.
#[inline]
fn fields<'a, F: Copy>(
    scanner: &mut Scanner<'a>,
    names: &[Name<F>],
    field: impl FnMut(&mut Scanner<'a>, Option<F>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    if scanner.peek() == Some(b'{') { scanner.object_with(names, field) } else { scanner.skip() }
}

/// The fields of an object that is rare; anything else is skipped.
fn rare_fields<'a>(
    scanner: &mut Scanner<'a>,
    field: impl FnMut(&mut Scanner<'a>, &str) -> Result<(), Fault>,
) -> Result<(), Fault> {
    if scanner.peek() == Some(b'{') { scanner.object(field) } else { scanner.skip() }
}
