//! The body of an event, which is named after its type (`delivery`, `bounce`, ...).

use std::borrow::Cow;

use smallvec::SmallVec;

use super::super::ABSENT;
use super::{MAX_RECIPIENTS, OptionalText, RequiredText, read_fields, read_known_fields};
use crate::json::{KnownKey, ScanError, Scanner};
use crate::tags::Tags;

/// The most opted-out topics read from one preference. SES allows 20 topics per contact list.
const MAX_TOPICS: usize = 64;

/// The body of any event type. One struct serves all, because no field name has two meanings: `timestamp` is always the time of the
/// event, and the names for lists of recipients differ but not what is in them.
#[derive(Debug, Default)]
pub(in crate::normalise) struct SesBody<'a> {
    pub(in crate::normalise) timestamp: RequiredText<'a>,
    pub(in crate::normalise) recipients: SmallVec<[Recipient<'a>; 1]>,
    pub(in crate::normalise) processing_ms: Option<u64>,
    pub(in crate::normalise) smtp_response: OptionalText<'a>,
    pub(in crate::normalise) remote_mta_ip: OptionalText<'a>,
    pub(in crate::normalise) depth: Option<u64>,
    pub(in crate::normalise) feedback_id: OptionalText<'a>,
    pub(in crate::normalise) reporting_mta: OptionalText<'a>,
    pub(in crate::normalise) bounce_type: OptionalText<'a>,
    pub(in crate::normalise) bounce_sub_type: OptionalText<'a>,
    pub(in crate::normalise) complaint_sub_type: OptionalText<'a>,
    pub(in crate::normalise) complaint_feedback_type: OptionalText<'a>,
    pub(in crate::normalise) delay_type: OptionalText<'a>,
    pub(in crate::normalise) user_agent: OptionalText<'a>,
    pub(in crate::normalise) ip_address: OptionalText<'a>,
    pub(in crate::normalise) link: OptionalText<'a>,
    pub(in crate::normalise) link_tags: Tags<'a>,
    pub(in crate::normalise) is_bot_event: OptionalText<'a>,
    pub(in crate::normalise) new_preferences: Preferences<'a>,
    pub(in crate::normalise) old_preferences: Preferences<'a>,
}

/// A recipient that a delivery, bounce, complaint or delay names.
#[derive(Debug, Default)]
pub(in crate::normalise) struct Recipient<'a> {
    pub(in crate::normalise) address: Cow<'a, str>,
    pub(in crate::normalise) status: OptionalText<'a>,
    pub(in crate::normalise) diagnostic: OptionalText<'a>,
}

/// The topic preferences of a contact, before or after a change.
#[derive(Debug, Default)]
pub(in crate::normalise) struct Preferences<'a> {
    pub(in crate::normalise) unsubscribe_all: bool,
    /// The names of at most [`MAX_TOPICS`] topics.
    pub(in crate::normalise) opted_out: SmallVec<[Cow<'a, str>; 1]>,
}

#[derive(Clone, Copy)]
enum BodyField {
    Timestamp,
    Recipients,
    ProcessingMillis,
    SmtpResponse,
    RemoteMtaIp,
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
    LinkTags,
    IsBotEvent,
    NewPreferences,
    OldPreferences,
}

impl BodyField {
    /// The fields of all bodies in one list. The order lets as many as possible come in sequence: those of a delivery, then of an
    /// open or click, of a bounce, and the rest.
    const KEYS: [KnownKey<Self>; 23] = [
        KnownKey::new("\"timestamp\":", Self::Timestamp),
        KnownKey::new("\"processingTimeMillis\":", Self::ProcessingMillis),
        KnownKey::new("\"recipients\":", Self::Recipients),
        KnownKey::new("\"smtpResponse\":", Self::SmtpResponse),
        KnownKey::new("\"remoteMtaIp\":", Self::RemoteMtaIp),
        KnownKey::new("\"reportingMTA\":", Self::ReportingMta),
        KnownKey::new("\"ipAddress\":", Self::IpAddress),
        KnownKey::new("\"userAgent\":", Self::UserAgent),
        KnownKey::new("\"link\":", Self::Link),
        KnownKey::new("\"linkTags\":", Self::LinkTags),
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

impl<'a> SesBody<'a> {
    pub(super) fn read(&mut self, scanner: &mut Scanner<'a>) -> Result<(), ScanError> {
        read_known_fields(scanner, &BodyField::KEYS, |scanner, field| {
            // Nothing depends on the event type here: a field that does not belong to it is read and not used.
            match field {
                Some(BodyField::Timestamp) => self.timestamp = RequiredText::read(scanner)?,
                Some(BodyField::Recipients) => self.read_recipients(scanner)?,
                Some(BodyField::ProcessingMillis) => self.processing_ms = whole_number(scanner)?,
                Some(BodyField::SmtpResponse) => self.smtp_response = scanner.optional_string()?,
                Some(BodyField::RemoteMtaIp) => self.remote_mta_ip = scanner.optional_string()?,
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
                // Kept as text: only a click that is counted reads it.
                Some(BodyField::LinkTags) => self.link_tags = Tags::new(scanner.raw_value()?),
                Some(BodyField::IsBotEvent) => self.is_bot_event = scanner.optional_string()?,
                Some(BodyField::NewPreferences) => self.new_preferences = Preferences::read(scanner)?,
                Some(BodyField::OldPreferences) => self.old_preferences = Preferences::read(scanner)?,
                None => scanner.skip()?,
            }
            Ok(())
        })
    }

    /// Strings or objects, in an array or alone: SES's documentation shows a delay's recipient without an array.
    fn read_recipients(&mut self, scanner: &mut Scanner<'a>) -> Result<(), ScanError> {
        // The last one counts if a body has several lists, as everywhere.
        self.recipients.clear();
        scanner.array_or_single(|scanner| {
            let recipient = Recipient::read(scanner)?;
            // One more than the limit is kept, by which it shows that there are too many.
            if self.recipients.len() <= MAX_RECIPIENTS {
                self.recipients.push(recipient);
            }
            Ok(())
        })
    }
}

impl<'a> Recipient<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, ScanError> {
        let mut recipient = Self::default();
        // A delivery lists plain addresses; the other types give each recipient a status and a diagnostic.
        if scanner.peek() == Some(b'"') {
            recipient.address = scanner.string()?;
            return Ok(recipient);
        }
        read_fields(scanner, |scanner, key| {
            match key {
                // Without an address the outcome still counts, for an unknown recipient.
                "emailAddress" => recipient.address = scanner.optional_string()?.unwrap_or(ABSENT),
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
        // Topics are compared by name between the two preferences; one without a name still counts as a topic.
        if status.as_deref() == Some("OptOut") && self.opted_out.len() < MAX_TOPICS {
            self.opted_out.push(name.unwrap_or(ABSENT));
        }
        Ok(())
    }
}

/// A whole number, written as a number or a string; a fraction is cut off. `None` for anything else.
fn whole_number(scanner: &mut Scanner<'_>) -> Result<Option<u64>, ScanError> {
    let raw = scanner.raw_value()?;
    // Nearly always plain digits; the rest is tried only if that fails.
    Ok(raw.parse().ok().or_else(|| {
        let raw = raw.trim_matches('"');
        raw.split_once('.').map_or(raw, |(whole, _)| whole).parse().ok()
    }))
}
