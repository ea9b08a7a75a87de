//! An event as SES publishes it: compact JSON on one line.
//!
//! Differences between event types are preserved: Open and Click have no `sourceArn`; only Delivery names the outgoing IP address; Send,
//! Reject and Rendering Failure have no time of their own; delays and Rendering Failure have no headers. All texts are made by this crate
//! and need no escaping.

use crate::formatting::{Dates, push_decimal, push_hex};
use crate::mailboxes::Mailbox;
use crate::message::{EventDetail, SimulatedMessage};
use crate::random::{choose, mix};
use crate::template::Template;
use crate::world::SEGMENTS;

mod body;

/// Writes events. It keeps those parts of the current event that are written several times.
#[derive(Debug)]
pub(crate) struct Writer {
    dates: Dates,
    address: Vec<u8>,
    message_id: Vec<u8>,
    date: Vec<u8>,
}

/// One event to write.
#[derive(Clone, Copy)]
pub(crate) struct Event<'a> {
    pub(crate) at_ms: i64,
    pub(crate) message: SimulatedMessage,
    pub(crate) detail: EventDetail,
    pub(crate) template: &'a Template,
    pub(crate) mailbox: &'a Mailbox,
}

impl Writer {
    pub(crate) const fn new() -> Self {
        Self { dates: Dates::new(), address: Vec::new(), message_id: Vec::new(), date: Vec::new() }
    }

    /// Appends the event and a line feed.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, event: &Event<'_>) {
        self.prepare(event);
        out.extend_from_slice(br#"{"eventType":""#);
        out.extend_from_slice(event.detail.event_type().as_bytes());
        out.extend_from_slice(br#"","#);
        // In SES's examples of bounces and complaints the body precedes the mail object.
        let body_first = matches!(
            event.detail,
            EventDetail::Bounce { .. }
                | EventDetail::Suppressed(_)
                | EventDetail::AutoReply
                | EventDetail::Complaint
        );
        if body_first {
            self.body(out, event);
            out.push(b',');
        }
        self.mail(out, event);
        if !body_first {
            out.push(b',');
            self.body(out, event);
        }
        out.extend_from_slice(b"}\n");
    }

    /// The message ID of the event written last.
    pub(crate) fn message_id(&self) -> &[u8] {
        &self.message_id
    }

    /// The date formatter, for times in an envelope.
    pub(crate) fn dates(&mut self) -> &mut Dates {
        &mut self.dates
    }

    fn prepare(&mut self, event: &Event<'_>) {
        let SimulatedMessage { sent_at_ms, serial, person, .. } = event.message;
        self.address.clear();
        push_address(&mut self.address, person, event.mailbox);
        self.message_id.clear();
        push_id(&mut self.message_id, sent_at_ms, mix(serial), mix(!serial));
        self.date.clear();
        self.dates.push_header(&mut self.date, sent_at_ms);
    }

    fn mail(&mut self, out: &mut Vec<u8>, event: &Event<'_>) {
        let template = event.template;
        let parts = event.detail.optional_parts();
        let segment = segment(event.message.person);
        out.extend_from_slice(br#""mail":{"timestamp":""#);
        self.dates.push_iso(out, event.message.sent_at_ms);
        out.push(b'"');
        out.extend_from_slice(template.source.as_bytes());
        if parts.source_arn {
            out.extend_from_slice(template.source_arn.as_bytes());
        }
        out.extend_from_slice(br#","sendingAccountId":""#);
        out.extend_from_slice(template.account.as_bytes());
        out.extend_from_slice(br#"","messageId":""#);
        out.extend_from_slice(&self.message_id);
        out.extend_from_slice(br#"","destination":[""#);
        out.extend_from_slice(&self.address);
        out.extend_from_slice(br#""]"#);
        if parts.headers {
            self.headers(out, event, segment);
        }
        out.extend_from_slice(template.tags_segment.as_bytes());
        out.extend_from_slice(segment.as_bytes());
        if parts.outgoing {
            out.extend_from_slice(
                br#""],"ses:outgoing-tls-version":["TLSv1.3"],"ses:outgoing-ip":["198.51.100."#,
            );
            push_decimal(out, 1 + event.message.serial % 250);
        }
        out.extend_from_slice(br#""]}}"#);
    }

    fn headers(&self, out: &mut Vec<u8>, event: &Event<'_>, segment: &str) {
        let template = event.template;
        out.extend_from_slice(br#","headersTruncated":false,"headers":["#);
        for part in [
            template.headers_to.as_bytes(),
            &self.address,
            template.headers_segment.as_bytes(),
            segment.as_bytes(),
            template.headers_message_id.as_bytes(),
        ] {
            out.extend_from_slice(part);
        }
        push_hex(out, mix(event.message.serial ^ 0x1d), 16);
        for part in [
            b"@",
            template.domain.as_bytes(),
            br#">"},{"name":"Date","value":""#,
            &self.date,
            template.common_date.as_bytes(),
            &self.date,
            br#"","to":[""#,
            &self.address,
            br#""],"messageId":""#,
            &self.message_id,
            template.common_subject.as_bytes(),
        ] {
            out.extend_from_slice(part);
        }
    }
}

/// Which optional parts of the mail object an event has.
struct OptionalParts {
    source_arn: bool,
    headers: bool,
    outgoing: bool,
}

impl EventDetail {
    const fn event_type(self) -> &'static str {
        match self {
            Self::Send => "Send",
            Self::Delivery { .. } => "Delivery",
            Self::Bounce { .. } | Self::Suppressed(_) | Self::AutoReply => "Bounce",
            Self::Complaint => "Complaint",
            Self::Reject => "Reject",
            Self::RenderingFailure => "Rendering Failure",
            Self::Delay(_) => "DeliveryDelay",
            Self::Open(_) => "Open",
            Self::Click { .. } => "Click",
            Self::Unsubscribe => "Subscription",
        }
    }

    const fn optional_parts(self) -> OptionalParts {
        OptionalParts {
            source_arn: !matches!(self, Self::Open(_) | Self::Click { .. }),
            headers: !matches!(self, Self::Delay(_) | Self::RenderingFailure),
            outgoing: matches!(self, Self::Delivery { .. }),
        }
    }
}

/// An ID in SES's format: region, time, a UUID and a counter, 60 characters in all.
fn push_id(out: &mut Vec<u8>, at_ms: i64, first: u64, second: u64) {
    out.extend_from_slice(b"0100");
    push_hex(out, at_ms.unsigned_abs(), 12);
    out.push(b'-');
    push_uuid(out, first, second);
    out.extend_from_slice(b"-000000");
}

/// A UUID in the usual form, such as `c421e265-f034-4575-9ecc-3ca34038e91f`.
pub(crate) fn push_uuid(out: &mut Vec<u8>, first: u64, second: u64) {
    push_hex(out, first >> 32, 8);
    for (number, digits) in [(first >> 16, 4), (first, 4), (second >> 48, 4), (second, 12)] {
        out.push(b'-');
        push_hex(out, number, digits);
    }
}

/// The segment of a recipient, the same for all their mail.
fn segment(person: u32) -> &'static str {
    let segment: &&str = choose(mix(u64::from(person) ^ 0x5e9), &SEGMENTS);
    segment
}

#[rustfmt::skip]
const FIRST_NAMES: [&str; 32] = [
    "anna", "ben", "carla", "david", "elena", "felix", "grace", "henry", "ines", "jack", "karin", "liam", "maria", "noah", "olga",
    "paul", "quinn", "rosa", "sam", "tina", "umar", "vera", "will", "xenia", "yusuf", "zoe", "amir", "chloe", "diego", "fatima",
    "hiro", "lena",
];

/// An address such as `anna.1f3a9c2e@gmail.com`. The digits are a hash of the recipient's number, so it is no real address.
fn push_address(out: &mut Vec<u8>, person: u32, mailbox: &Mailbox) {
    let who = mix(u64::from(person) ^ 0xadd);
    out.extend_from_slice(choose(who, &FIRST_NAMES).as_bytes());
    out.push(b'.');
    push_hex(out, who >> 32, 8);
    out.push(b'@');
    out.extend_from_slice(mailbox.domain.as_bytes());
}

#[cfg(test)]
mod tests;
