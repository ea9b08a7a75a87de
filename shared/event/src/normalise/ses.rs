//! SES's wire shapes, reduced to what is counted: `mail`, the ten bodies, recipients, preferences. Also the queue-depth gauge, a
//! shape of our own that looks like an SES event and by which a sender reports how much mail waits.
//!
//! Event publishing and the older notifications share these shapes. Reading is tolerant: unknown fields are skipped, and optional
//! fields of a wrong type count as absent. Nothing here decides what an event means; that is the parent module's task.
//!
//! Source: <https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html>

use std::borrow::Cow;

use compact_str::CompactString;
use smallvec::SmallVec;

use crate::json::{KnownKey, ScanError, Scanner};
use crate::outcome::Unreadable;

pub(super) use body::{Preferences, Recipient, SesBody};
pub(super) use mail::SesMail;

mod body;
mod mail;

/// The most recipients of one event; one with more is unreadable, because counting a part of them would be wrong silently. SES allows 50 per
/// message unless it granted more, and a record of the largest size could list a million.
pub(super) const MAX_RECIPIENTS: usize = 50_000;

/// The letters of an event type that are compared: more than the longest name has.
const MAX_TYPE_LETTERS: usize = 24;

/// `None` if the field is absent or not a string.
type OptionalText<'a> = Option<Cow<'a, str>>;

/// The event type that an event states.
pub(super) enum StatedEventType<'a> {
    /// A type that has a meaning here.
    Known(SesEventType),
    /// The name of a type unknown to this version.
    Unknown(&'a str),
}

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
            _ => return Self::from_other_spelling(name),
        })
    }

    /// Reads names that SES does not write in events itself: those of its API (`RENDERING_FAILURE`), of EventBridge's detail types
    /// (`Email Bounced`), and of exports and senders' own logs, in any letter case and with any separators.
    #[cold]
    fn from_other_spelling(name: &str) -> Option<Self> {
        let letters: CompactString = name
            .chars()
            .filter(char::is_ascii_alphabetic)
            .take(MAX_TYPE_LETTERS)
            .map(|letter| letter.to_ascii_lowercase())
            .collect();
        Some(match letters.strip_prefix("email").unwrap_or(&letters) {
            "send" | "sent" => Self::Send,
            "delivery" | "delivered" => Self::Delivery,
            "bounce" | "bounced" => Self::Bounce,
            "complaint" | "complained" | "complaintreceived" => Self::Complaint,
            "reject" | "rejected" => Self::Reject,
            "open" | "opened" => Self::Open,
            "click" | "clicked" => Self::Click,
            "renderingfailure" | "renderingfailed" => Self::RenderingFailure,
            "deliverydelay" | "deliverydelayed" => Self::DeliveryDelay,
            "subscription" | "subscribed" => Self::Subscription,
            "queuedepth" => Self::QueueDepth,
            _ => return None,
        })
    }

    /// Whether it applies to every recipient of its message rather than to those that its body lists.
    pub(super) const fn is_for_message(self) -> bool {
        matches!(self, Self::Send | Self::Reject | Self::RenderingFailure | Self::Subscription)
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
        // A missing field and one of a wrong type are different mistakes of a sender, so the error tells them apart.
        let has_wrong_type = !matches!(scanner.peek(), Some(b'"' | b'n'));
        Ok(Self { text: scanner.optional_string()?, has_wrong_type })
    }

    /// Moves the string out. `field` is the path that the error names.
    pub(super) fn take(&mut self, field: &'static str) -> Result<Cow<'a, str>, Unreadable> {
        self.text.take().ok_or_else(|| self.error(field))
    }

    /// The string, or `None` if the field is absent. `field` is the path that the error names.
    pub(super) fn optional(&self, field: &'static str) -> Result<Option<&Cow<'a, str>>, Unreadable> {
        if self.has_wrong_type { self.get(field).map(Some) } else { Ok(self.text.as_ref()) }
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
    pub(super) mail: SesMail<'a>,
    pub(super) body: SesBody<'a>,
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

    /// The event type that the event states.
    pub(super) fn event_type(&self) -> Result<StatedEventType<'_>, Unreadable> {
        let name = self.event_type_name.get("eventType")?;
        Ok(self.event_type.map_or(StatedEventType::Unknown(name), StatedEventType::Known))
    }

    /// Reads the value of `field`. Of a field that comes twice, the last one counts.
    #[inline]
    pub(crate) fn read_field(&mut self, scanner: &mut Scanner<'a>, field: SesField) -> Result<(), ScanError> {
        match field {
            SesField::Mail => {
                self.is_present = true;
                // Reset only if it comes twice: writing these thousand bytes for every event would be measurable.
                if std::mem::replace(&mut self.has_mail, true) {
                    self.mail = SesMail::default();
                }
                self.mail.read(scanner)
            }
            SesField::Type => {
                self.is_present = true;
                // The name is kept beside the type, because an unknown type is reported by its name.
                self.event_type_name = RequiredText::read(scanner)?;
                self.event_type =
                    self.event_type_name.text.as_deref().and_then(SesEventType::from_event_type);
                Ok(())
            }
            SesField::Body(event_type) => self.read_body(scanner, event_type),
        }
    }

    fn read_body(&mut self, scanner: &mut Scanner<'a>, event_type: SesEventType) -> Result<(), ScanError> {
        // A body that comes twice: the last one counts.
        self.postponed_bodies.retain(|(other, _)| *other != event_type);
        if self.event_type == Some(event_type) {
            if std::mem::replace(&mut self.has_body, true) {
                self.body = SesBody::default();
            }
            return self.body.read(scanner);
        }
        // Keep the text of every candidate. There are at most as many as event types, because equal ones replace each other.
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
