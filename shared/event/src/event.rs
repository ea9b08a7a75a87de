//! The one shape of an event after normalising, whatever it arrived in.
//!
//! It borrows from the bytes it was read from and lives only as long as the aggregate step needs to count it;
//! addresses, links and IPs in it never leave that step, except as keyed hashes.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::tags::Tags;
use crate::units::{HashKey, IdentityHash, RecipientHash, Timestamp};

/// One SES event of one message, about one or more of its recipients.
#[derive(Clone, Debug, PartialEq)]
pub struct EmailEvent<'a> {
    /// What happened.
    pub kind: EventKind<'a>,
    /// When it happened; SES gives Send, Reject and Rendering Failure no time of their own, they happen at `sent_at`.
    pub at: Timestamp,
    /// When SES accepted the message (`mail.timestamp`).
    pub sent_at: Timestamp,
    /// SES's own message id, opaque.
    pub message_id: Cow<'a, str>,
    /// The addresses this event is about; empty for Open and Click, which name nobody.
    pub recipients: SmallVec<[Cow<'a, str>; 1]>,
    /// The first envelope recipients of the message, at most [`EmailEvent::DESTINATIONS_KEPT`]. Never split out of `commonHeaders`.
    pub destinations: SmallVec<[Cow<'a, str>; 1]>,
    /// How many envelope recipients the message has.
    pub destination_count: u32,
    /// The envelope sender as SES gives it: may carry a display name and encoded words.
    pub source: Cow<'a, str>,
    /// The AWS account that sent, 12 digits; absent in some old shapes.
    pub sending_account: Option<Cow<'a, str>>,
    /// The ARN of the sending identity, where given.
    pub source_arn: Option<Cow<'a, str>>,
    /// The message's tags, SES's own (`ses:…`) included.
    pub tags: Tags<'a>,
}

/// What happened to a message.
#[derive(Clone, Debug, PartialEq)]
pub enum EventKind<'a> {
    /// SES accepted the message and will try to deliver it.
    Send,
    /// The receiving server took it.
    Delivery {
        /// Milliseconds from acceptance by SES to hand-over, where given.
        processing_ms: Option<u64>,
    },
    /// A final bounce, or an automatic reply that SES publishes as one.
    Bounce(Bounce<'a>),
    /// A recipient complained, or SES reports one of the kinds that are no new complaint.
    Complaint {
        /// Whether it counts: neither `not-spam` nor a send suppressed for an earlier complaint.
        counts: bool,
        /// SES's id of this complaint, the natural identity; may be empty.
        feedback_id: Cow<'a, str>,
    },
    /// SES refused the message (a virus).
    Reject,
    /// A template could not be rendered.
    RenderingFailure,
    /// A temporary failure; SES goes on trying.
    Delay {
        /// Why, as far as SES or the server says.
        reason: Reason,
    },
    /// The message was opened, by a person or a machine.
    Open(Interaction<'a>),
    /// A link was followed, by a person or a machine.
    Click(Interaction<'a>),
    /// A contact changed its preferences.
    Subscription {
        /// Whether it unsubscribed from everything or from a topic by this change.
        unsubscribed: bool,
    },
    /// No event of SES: a sender says how much mail waits in a queue of its own, whose name stands for the message's id.
    QueueDepth {
        /// Mails that wait.
        depth: u64,
    },
}

/// A bounce, read for counting.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounce<'a> {
    /// Its type; an automatic reply is one of its own here.
    pub bounce_type: BounceType,
    /// Why.
    pub reason: Reason,
    /// Set if SES never tried to deliver.
    pub suppression: Option<Suppression>,
    /// Whether the receiving side reported it after it had accepted the message (the reporting MTA is not SES's own).
    pub after_acceptance: bool,
    /// SES's id of this bounce, the natural identity; may be empty.
    pub feedback_id: Cow<'a, str>,
}

/// SES's bounce types, and the automatic reply that SES publishes as a transient one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BounceType {
    /// The address will not take mail: a hard bounce.
    Permanent,
    /// SES gave up after retrying: a soft bounce.
    Transient,
    /// SES could not tell, or a type that is new to us.
    Undetermined,
    /// Out of office and the like: the mail was delivered, nothing bounced.
    AutoReply,
}

/// Why SES did not even try to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suppression {
    /// Left out of the bounce rate by which SES reviews the account: the recipient is on the account's or the tenant's suppression
    /// list, has unsubscribed, or failed email validation.
    OutsideReputation,
    /// The recipient is on SES's global suppression list, which SES counts as a hard bounce.
    GlobalList,
}

/// Why mail bounced or was delayed: one class per thing a postmaster would do about it.
///
/// The discriminants are part of the storage format: append, never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reason {
    /// Nothing that says why.
    Unknown = 0,
    /// The mailbox does not exist or is disabled.
    InvalidRecipient = 1,
    /// The domain does not exist or takes no mail.
    InvalidDomain = 2,
    /// The mailbox is full.
    MailboxFull = 3,
    /// Refused as spam or for its content's reputation.
    SpamBlock = 4,
    /// Refused for the sender's IP or domain reputation, or a block list.
    ReputationBlock = 5,
    /// SPF, DKIM, DMARC or a missing PTR.
    Authentication = 6,
    /// Refused for a policy that is not one of the others.
    PolicyBlock = 7,
    /// Sending too fast: throttled or greylisted.
    RateLimit = 8,
    /// Message or attachment too large.
    MessageTooLarge = 9,
    /// Content or attachment type refused.
    ContentRejected = 10,
    /// The receiving server failed or answered nonsense.
    ServerError = 11,
    /// No connection, DNS or TLS trouble on the way.
    Connection = 12,
    /// SES stopped trying because time ran out.
    Expired = 13,
    /// On a suppression list, never tried.
    Suppressed = 14,
    /// Forwarding loop, relaying denied, bad configuration at the receiver.
    Configuration = 15,
}

impl Reason {
    /// All reasons, in the order of their stored numbers.
    pub const ALL: [Self; 16] = [
        Self::Unknown,
        Self::InvalidRecipient,
        Self::InvalidDomain,
        Self::MailboxFull,
        Self::SpamBlock,
        Self::ReputationBlock,
        Self::Authentication,
        Self::PolicyBlock,
        Self::RateLimit,
        Self::MessageTooLarge,
        Self::ContentRejected,
        Self::ServerError,
        Self::Connection,
        Self::Expired,
        Self::Suppressed,
        Self::Configuration,
    ];

    /// The name used in rules, replies and pages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::InvalidRecipient => "invalid_recipient",
            Self::InvalidDomain => "invalid_domain",
            Self::MailboxFull => "mailbox_full",
            Self::SpamBlock => "spam_block",
            Self::ReputationBlock => "reputation_block",
            Self::Authentication => "authentication",
            Self::PolicyBlock => "policy_block",
            Self::RateLimit => "rate_limit",
            Self::MessageTooLarge => "message_too_large",
            Self::ContentRejected => "content_rejected",
            Self::ServerError => "server_error",
            Self::Connection => "connection",
            Self::Expired => "expired",
            Self::Suppressed => "suppressed",
            Self::Configuration => "configuration",
        }
    }
}

/// An open or a click.
#[derive(Clone, Debug, PartialEq)]
pub struct Interaction<'a> {
    /// The link of a click; absent for an open.
    pub link: Option<Cow<'a, str>>,
    /// What called itself what; attacker-controlled text.
    pub user_agent: Cow<'a, str>,
    /// Where the request came from; attacker-controlled text.
    pub ip_address: Cow<'a, str>,
    /// Person or machine.
    pub verdict: Verdict,
}

/// Who opened or clicked, and which rule says so. Versioned as a whole by `machine::RULES_VERSION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Nothing points to a machine.
    Person,
    /// A machine; the rule's name.
    Machine(&'static str),
}

impl Verdict {
    /// Whether a machine did it.
    pub const fn is_machine(self) -> bool {
        matches!(self, Self::Machine(_))
    }
}

impl EmailEvent<'_> {
    /// How many of a message's envelope recipients are kept. SES allows 50.
    pub const DESTINATIONS_KEPT: usize = 50;

    /// How many counts this event makes: one per recipient it is about, one for an open or click.
    pub fn counts(&self) -> usize {
        match self.kind {
            EventKind::Open(_) | EventKind::Click(_) => 1,
            _ => self.recipients.len().max(1),
        }
    }

    /// What `recipient` of this message is known as for unique counts.
    pub fn recipient_hash(&self, key: &HashKey, recipient: &str) -> RecipientHash {
        RecipientHash(key.hash(&[b"recipient", self.message_id.as_bytes(), recipient.as_bytes()]))
    }

    /// What makes this event, as far as it is about `recipient`, the same as another one: its type, message, recipient,
    /// time and what else tells two of its kind apart. A recipient takes a message once, so a delivery needs no time; bounces
    /// and complaints have an id of their own (`feedbackId`). The older notifications round their times, so that with them
    /// switched on beside event publishing the same thing comes twice, and only an identity without the time sees it.
    pub fn identity(&self, key: &HashKey, recipient: &str) -> IdentityHash {
        let at = self.at.millis().to_le_bytes();
        let (kind, extra): (u8, [&[u8]; 3]) = match &self.kind {
            EventKind::Send => (0, [&[], &[], &[]]),
            EventKind::Delivery { .. } => (1, [&[], &[], &[]]),
            EventKind::Bounce(bounce) if bounce.feedback_id.is_empty() => (2, [&at, &[], &[]]),
            EventKind::Bounce(bounce) => (2, [bounce.feedback_id.as_bytes(), &[], &[]]),
            EventKind::Complaint { feedback_id, .. } if feedback_id.is_empty() => (3, [&at, &[], &[]]),
            EventKind::Complaint { feedback_id, .. } => (3, [feedback_id.as_bytes(), &[], &[]]),
            EventKind::Reject => (4, [&[], &[], &[]]),
            EventKind::RenderingFailure => (5, [&[], &[], &[]]),
            EventKind::Delay { .. } => (6, [&at, &[], &[]]),
            EventKind::Open(open) => (7, [&at, open.ip_address.as_bytes(), open.user_agent.as_bytes()]),
            EventKind::Click(click) => {
                (8, [&at, click.link.as_deref().unwrap_or_default().as_bytes(), click.user_agent.as_bytes()])
            }
            EventKind::Subscription { unsubscribed } => {
                // An opt-in and an opt-out of one moment are two things.
                (9, [&at, if *unsubscribed { b"out" } else { b"in" }, &[]])
            }
            EventKind::QueueDepth { .. } => (10, [&at, &[], &[]]),
        };
        let parts: [&[u8]; 6] =
            [&[kind], self.message_id.as_bytes(), recipient.as_bytes(), extra[0], extra[1], extra[2]];
        IdentityHash(key.hash(&parts))
    }
}
