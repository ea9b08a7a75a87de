//! The single shape that every event has after normalising, in whichever envelope it arrived.
//!
//! It borrows from the bytes it was read from and lives only until the aggregate step has counted it. The addresses, links and
//! IPs in it never leave that step except as keyed hashes (see [`crate::recipient_hash`]).

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::provider::evidence::ProviderEvidence;
use crate::tags::Tags;
use crate::units::Timestamp;

/// One SES event of one message, about one or more of its recipients.
#[derive(Clone, Debug, PartialEq)]
pub struct EmailEvent<'a> {
    /// What happened, with the details that are counted.
    pub event_type: EventType<'a>,
    /// When it happened. SES gives Send, Reject and Rendering Failure no time of their own: for them it equals `sent_at`.
    pub at: Timestamp,
    /// When SES accepted the message (`mail.timestamp`); `None` if the record does not say. Such an event is in no cohort.
    pub sent_at: Option<Timestamp>,
    /// SES's message ID, an opaque text.
    pub message_id: Cow<'a, str>,
    /// The addresses this event is about. Empty for Open and Click, which name no recipient.
    pub recipients: SmallVec<[Cow<'a, str>; 1]>,
    /// The first [`EmailEvent::DESTINATIONS_KEPT`] envelope recipients of the message. Taken from `mail.destination`, never
    /// parsed out of `commonHeaders`.
    pub destinations: SmallVec<[Cow<'a, str>; 1]>,
    /// The number of envelope recipients, including those that `destinations` leaves out.
    pub destination_count: u32,
    /// The envelope sender as SES gives it: may carry a display name and encoded words.
    pub source: Cow<'a, str>,
    /// The AWS account that sent the message, 12 digits. Some old shapes lack it.
    pub sending_account: Option<Cow<'a, str>>,
    /// The ARN of the sending identity, where given.
    pub source_arn: Option<Cow<'a, str>>,
    /// The message's tags, including SES's own (`ses:…`).
    pub tags: Tags<'a>,
    /// What the receiving side revealed about the mailbox provider of `recipients`.
    pub evidence: ProviderEvidence<'a>,
}

/// What happened to a message.
#[derive(Clone, Debug, PartialEq)]
pub enum EventType<'a> {
    /// SES accepted the message and will try to deliver it.
    Send,
    /// The receiving server accepted the message.
    Delivery {
        /// Milliseconds from acceptance by SES to hand-over, where given.
        processing_ms: Option<u64>,
    },
    /// A final bounce, or an automatic reply that SES publishes as one.
    Bounce(Bounce<'a>),
    /// A complaint, or one of the reports that SES sends as a complaint but that is not a new one.
    Complaint {
        /// Whether it counts as a complaint. `not-spam` reports and sends suppressed for an earlier complaint do not.
        counts: bool,
        /// SES's id of this complaint, which identifies it; may be empty.
        feedback_id: Cow<'a, str>,
    },
    /// SES refused the message because it contains a virus.
    Reject,
    /// A template could not be rendered.
    RenderingFailure,
    /// A temporary failure; SES keeps trying.
    Delay {
        /// Why the attempt failed, as far as SES or the receiving server states it.
        class: BounceClass,
    },
    /// The message was opened, by a person or a machine.
    Open(Interaction<'a>),
    /// A link was followed, by a person or a machine.
    Click(Interaction<'a>),
    /// A contact changed its topic preferences.
    Subscription {
        /// Whether the change unsubscribed it from everything or from a topic.
        unsubscribed: bool,
    },
    /// A gauge, not an SES event: a sender reports how much mail waits in a queue of its own. The queue's name takes the place of
    /// the message ID.
    QueueDepth {
        /// The number of messages that wait.
        depth: u64,
    },
}

/// The details of a bounce that are counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounce<'a> {
    /// SES's type, except that automatic replies have a type of their own.
    pub bounce_type: BounceType,
    /// Why it bounced, as far as SES or the receiving server states it; unknown for an automatic reply.
    pub class: BounceClass,
    /// Set if SES never tried to deliver.
    pub suppression: Option<Suppression>,
    /// Whether the receiving side reported the bounce after it had accepted the message: the reporting MTA is not SES's own.
    pub after_acceptance: bool,
    /// SES's id of this bounce, which identifies it; may be empty.
    pub feedback_id: Cow<'a, str>,
}

/// SES's bounce types, and the automatic reply that SES publishes as a transient bounce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BounceType {
    /// The address will never take mail: a hard bounce.
    Permanent,
    /// SES gave up after retrying: a soft bounce.
    Transient,
    /// SES could not tell, or the type is unknown to this version.
    Undetermined,
    /// Out of office and the like. The mail was delivered; nothing bounced.
    AutoReply,
}

/// Why SES did not even try to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suppression {
    /// Left out of the bounce rate by which SES reviews an account: the recipient is on the account's or the tenant's suppression
    /// list, has unsubscribed, or failed email validation.
    OutsideReputation,
    /// The recipient is on SES's global suppression list, which SES counts as a hard bounce.
    GlobalList,
}

/// Why mail bounced or was delayed. There is one class for each thing a postmaster would do about it.
///
/// The discriminants are part of the storage format: append, never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum BounceClass {
    /// Nothing states a cause.
    Unknown = 0,
    /// The mailbox does not exist or is disabled.
    InvalidRecipient = 1,
    /// The domain does not exist or takes no mail.
    InvalidDomain = 2,
    /// The mailbox is full.
    MailboxFull = 3,
    /// Refused because a filter took the message for spam.
    SpamBlock = 4,
    /// Refused because of the sender's IP or domain reputation, or a block list.
    ReputationBlock = 5,
    /// SPF, DKIM or DMARC failed, the sending host has no PTR record, or the sender's domain cannot be verified.
    Authentication = 6,
    /// Refused because of a policy that no other class describes.
    PolicyBlock = 7,
    /// Sent too fast: throttled or greylisted.
    RateLimit = 8,
    /// The message or an attachment is too large.
    MessageTooLarge = 9,
    /// The content, an attachment type or the format of the message was refused.
    ContentRejected = 10,
    /// The receiving server failed or broke the protocol.
    ServerError = 11,
    /// A connection, DNS or TLS failure on the way.
    Connection = 12,
    /// SES stopped trying because time ran out.
    Expired = 13,
    /// The recipient is on a suppression list; delivery was never tried.
    Suppressed = 14,
    /// A forwarding loop, relaying denied, or a faulty configuration at the receiver.
    Configuration = 15,
}

impl BounceClass {
    /// All classes, in the order of their stored numbers.
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

    /// The name used in `classify/rules.toml`, in metric names, in replies and on pages.
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
    /// The link that was followed; `None` for an open.
    pub link: Option<Cow<'a, str>>,
    /// The tags that the sender gave the link; none for an open.
    pub link_tags: Tags<'a>,
    /// The user agent of the request: text chosen by whoever made it.
    pub user_agent: Cow<'a, str>,
    /// The address the request came from, as SES reports it: not checked to be an IP.
    pub ip_address: Cow<'a, str>,
    /// Whether a person or a machine made the request.
    pub requester: Requester,
}

/// Who opened or clicked. Decided by [`crate::machine`]; its rules are versioned as a whole by
/// [`RULES_VERSION`](crate::machine::RULES_VERSION).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Requester {
    /// Nothing points to a machine.
    Person,
    /// SES itself says that a machine is unlikely (`isBotEvent` is `Unlikely`). No other sign overrules that, except a known
    /// prefetcher.
    ConfirmedPerson,
    /// A machine, with the name of the rule that recognised it.
    Machine(&'static str),
}

impl Requester {
    /// Whether a rule, or SES itself, recognised a machine.
    pub const fn is_machine(self) -> bool {
        matches!(self, Self::Machine(_))
    }
}

impl EmailEvent<'_> {
    /// The number of envelope recipients kept per message: SES's own limit for one message.
    pub const DESTINATIONS_KEPT: usize = 50;

    /// The number of counts this event makes: one for each recipient it is about, and one for an open or a click.
    pub fn counts(&self) -> usize {
        match self.event_type {
            // SES does not say which of the recipients it was: all copies of a message share their pixel and links.
            EventType::Open(_) | EventType::Click(_) => 1,
            // A queue depth has no recipient, and an outcome without an address has an unknown one: both count once.
            _ => self.recipients.len().max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounce_classes_are_listed_in_the_order_of_their_stored_numbers() {
        for (number, class) in BounceClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, number, "{class:?}");
        }
        let mut names = BounceClass::ALL.map(BounceClass::name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
