//! The place where addresses become hashes: the recipient hash of unique counts and the identity hash of deduplication.
//!
//! Addresses, links, user agents and IPs must not leave the aggregate step. What must be remembered about them is kept as a hash
//! under a secret key, so that nobody who reads the store can test a guess. Both hashes include the message ID: the same address
//! in two messages has two unrelated hashes, and no profile of a person can be built from them.
//!
//! The bytes that are hashed are part of the storage format. A change makes stored sketches and deduplication windows disagree
//! with new ones: people would be counted twice and duplicates missed.

use std::fmt;

use siphasher::sip::SipHasher13;

use crate::event::{EmailEvent, EventType};

/// The secret under which addresses and messages are hashed. Without it a guessed address cannot be tested.
#[derive(Clone, Copy)]
pub struct HashKey([u8; 16]);

impl HashKey {
    /// From 16 secret bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// SipHash-1-3 over the parts: a keyed pseudo-random function whose published definition never changes
    /// (<https://www.aumasson.jp/siphash/>).
    pub fn hash(&self, parts: &[&[u8]]) -> u64 {
        // One contiguous input, because the hasher is slow at many short writes. Most inputs fit without an allocation.
        let mut joined = [0; 512];
        let mut rest: &mut [u8] = &mut joined;
        for part in parts {
            // A byte that UTF-8 never contains ends each part, so that ("ab", "c") and ("a", "bc") differ.
            let Some((place, after)) = rest.split_at_mut_checked(part.len() + 1) else {
                return self.hash_long(parts);
            };
            if let Some((end, start)) = place.split_last_mut() {
                start.copy_from_slice(part);
                *end = PART_END;
            }
            rest = after;
        }
        let unused = rest.len();
        let length = joined.len() - unused;
        SipHasher13::new_with_key(&self.0).hash(joined.split_at(length).0)
    }

    /// [`HashKey::hash`] of parts of any length.
    #[cold]
    fn hash_long(&self, parts: &[&[u8]]) -> u64 {
        let joined: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied().chain([PART_END])).collect();
        SipHasher13::new_with_key(&self.0).hash(&joined)
    }
}

/// Ends each part of what is hashed.
const PART_END: u8 = 0xff;

/// Does not print the key.
impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(secret)")
    }
}

/// One recipient of one message, as a keyed hash: the unit that unique opens and clicks count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecipientHash(pub u64);

/// The identity of an event for one recipient, as a keyed hash: two records with equal hashes are the same event delivered twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityHash(pub u64);

impl EmailEvent<'_> {
    /// The recipient hash of `recipient` in this message, for unique counts.
    pub fn recipient_hash(&self, key: &HashKey, recipient: &str) -> RecipientHash {
        RecipientHash(key.hash(&[b"recipient", self.message_id.as_bytes(), recipient.as_bytes()]))
    }

    /// The identity of this event as far as it concerns `recipient`: event type, message, recipient, and what tells two events of
    /// one type apart.
    ///
    /// The time is included only where nothing else tells them apart. A recipient takes a message once, so a delivery needs none;
    /// bounces and complaints have an id (`feedbackId`). This matters because the older notifications round their times: with
    /// both notifications and event publishing switched on, each outcome arrives twice with two different times.
    ///
    /// The recipient is left out of a complaint: one person complained, and the event lists everybody at the provider who may have.
    pub fn identity(&self, key: &HashKey, recipient: &str) -> IdentityHash {
        let at = self.at.millis().to_le_bytes();
        let recipient = match &self.event_type {
            // Lists of one complaint may differ in order and length, for example between a notification and an event.
            EventType::Complaint { .. } => "",
            EventType::Send
            | EventType::Delivery { .. }
            | EventType::Bounce(_)
            | EventType::Reject
            | EventType::RenderingFailure
            | EventType::Delay { .. }
            | EventType::Open(_)
            | EventType::Click(_)
            | EventType::Subscription { .. }
            | EventType::QueueDepth { .. } => recipient,
        };
        let (number, extra): (u8, [&[u8]; 3]) = match &self.event_type {
            EventType::Send => (0, [&[], &[], &[]]),
            EventType::Delivery { .. } => (1, [&[], &[], &[]]),
            EventType::Bounce(bounce) if bounce.feedback_id.is_empty() => (2, [&at, &[], &[]]),
            EventType::Bounce(bounce) => (2, [bounce.feedback_id.as_bytes(), &[], &[]]),
            EventType::Complaint { feedback_id, .. } if feedback_id.is_empty() => (3, [&at, &[], &[]]),
            EventType::Complaint { feedback_id, .. } => (3, [feedback_id.as_bytes(), &[], &[]]),
            EventType::Reject => (4, [&[], &[], &[]]),
            EventType::RenderingFailure => (5, [&[], &[], &[]]),
            EventType::Delay { .. } => (6, [&at, &[], &[]]),
            EventType::Open(open) => (7, [&at, open.ip_address.as_bytes(), open.user_agent.as_bytes()]),
            EventType::Click(click) => {
                // A click without a link is still a click; the empty link is then its own value.
                (8, [&at, click.link.as_deref().unwrap_or("").as_bytes(), click.user_agent.as_bytes()])
            }
            EventType::Subscription { unsubscribed } => {
                // An opt-in and an opt-out at the same moment are two events.
                (9, [&at, if *unsubscribed { b"out" } else { b"in" }, &[]])
            }
            EventType::QueueDepth { .. } => (10, [&at, &[], &[]]),
        };
        let parts: [&[u8]; 6] =
            [&[number], self.message_id.as_bytes(), recipient.as_bytes(), extra[0], extra[1], extra[2]];
        IdentityHash(key.hash(&parts))
    }

    /// The identity of the fact that the mail to `recipient` was delayed at all: the same for each of its delays, so that it is new at
    /// the first one only. `None` for other event types.
    pub fn delayed_identity(&self, key: &HashKey, recipient: &str) -> Option<IdentityHash> {
        // Continues the numbers of `identity`: hashes of both kinds lie in one deduplication window and must differ.
        matches!(self.event_type, EventType::Delay { .. }).then(|| {
            IdentityHash(key.hash(&[&[11], self.message_id.as_bytes(), recipient.as_bytes(), b"", b"", b""]))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use smallvec::SmallVec;

    use super::*;
    use crate::event::{Bounce, BounceClass, BounceType, Interaction, Requester};
    use crate::tags::Tags;
    use crate::units::Timestamp;

    const KEY: HashKey = HashKey::new([1; 16]);

    fn event(event_type: EventType<'_>) -> EmailEvent<'_> {
        EmailEvent {
            event_type,
            at: Timestamp::from_millis(1_763_000_123_456),
            sent_at: Some(Timestamp::from_millis(1_763_000_000_000)),
            message_id: Cow::Borrowed("m1"),
            recipients: SmallVec::new(),
            destinations: SmallVec::new(),
            destination_count: 0,
            source: Cow::Borrowed("a@example.com"),
            sending_account: None,
            source_arn: None,
            tags: Tags::default(),
            evidence: crate::provider::evidence::ProviderEvidence::Absent,
        }
    }

    fn later<'a>(event: &EmailEvent<'a>) -> EmailEvent<'a> {
        EmailEvent { at: event.at.plus_millis(1), ..event.clone() }
    }

    fn bounce(feedback_id: &str) -> EventType<'_> {
        EventType::Bounce(Bounce {
            bounce_type: BounceType::Permanent,
            class: BounceClass::Unknown,
            suppression: None,
            after_acceptance: false,
            feedback_id: Cow::Borrowed(feedback_id),
        })
    }

    fn complaint(feedback_id: &str) -> EventType<'_> {
        EventType::Complaint { counts: true, feedback_id: Cow::Borrowed(feedback_id) }
    }

    fn interaction<'a>(link: Option<&'a str>, user_agent: &'a str, ip_address: &'a str) -> Interaction<'a> {
        Interaction {
            link: link.map(Cow::Borrowed),
            link_tags: Tags::default(),
            user_agent: Cow::Borrowed(user_agent),
            ip_address: Cow::Borrowed(ip_address),
            requester: Requester::Person,
        }
    }

    #[test]
    fn hash_does_not_depend_on_whether_the_parts_fit_into_the_buffer() {
        for length in 0..1100 {
            let (text, half) = ("x".repeat(length), length / 2);
            let parts: [&[u8]; 3] = [&text.as_bytes()[..half], b"", &text.as_bytes()[half..]];
            assert_eq!(KEY.hash(&parts), KEY.hash_long(&parts), "{length}");
        }
    }

    #[test]
    fn hash_depends_on_the_key_and_on_where_parts_end() {
        assert_ne!(KEY.hash(&[b"ab", b"c"]), KEY.hash(&[b"a", b"bc"]));
        assert_ne!(KEY.hash(&[b"ab"]), HashKey::new([2; 16]).hash(&[b"ab"]));
        assert_eq!(format!("{KEY:?}"), "HashKey(secret)");
    }

    #[test]
    fn hashed_bytes_are_part_of_the_storage_format() {
        let send = event(EventType::Send);
        assert_eq!(send.recipient_hash(&KEY, "a@example.com"), RecipientHash(10_105_761_229_012_141_321));
        assert_eq!(send.identity(&KEY, "a@example.com"), IdentityHash(15_631_326_179_794_802_504));
    }

    #[test]
    fn recipient_hash_differs_between_messages_and_recipients_but_not_between_events() {
        let (send, open) = (event(EventType::Send), event(EventType::Open(interaction(None, "", ""))));
        let other_message = EmailEvent { message_id: Cow::Borrowed("m2"), ..send.clone() };
        let hash = send.recipient_hash(&KEY, "a@example.com");
        assert_eq!(hash, open.recipient_hash(&KEY, "a@example.com"));
        assert_ne!(hash, send.recipient_hash(&KEY, "b@example.com"));
        assert_ne!(hash, other_message.recipient_hash(&KEY, "a@example.com"));
        assert_ne!(hash, send.recipient_hash(&HashKey::new([2; 16]), "a@example.com"));
    }

    #[test]
    fn time_is_part_of_the_identity_only_where_nothing_else_tells_events_apart() {
        for (event_type, includes_time) in [
            (EventType::Send, false),
            (EventType::Delivery { processing_ms: None }, false),
            (bounce("f1"), false),
            (bounce(""), true),
            (complaint("f1"), false),
            (complaint(""), true),
            (EventType::Reject, false),
            (EventType::RenderingFailure, false),
            (EventType::Delay { class: BounceClass::Unknown }, true),
            (EventType::Open(interaction(None, "agent", "::1")), true),
            (EventType::Click(interaction(Some("l"), "agent", "::1")), true),
            (EventType::Subscription { unsubscribed: true }, true),
            (EventType::QueueDepth { depth: 5 }, true),
        ] {
            let event = event(event_type);
            let differs = event.identity(&KEY, "a") != later(&event).identity(&KEY, "a");
            assert_eq!(differs, includes_time, "{:?}", event.event_type);
        }
    }

    #[test]
    fn complaint_is_one_whoever_it_lists_and_two_complaints_are_two() {
        let first = event(complaint("f1"));
        assert_eq!(first.identity(&KEY, "a"), first.identity(&KEY, "b"));
        let without_id = event(complaint(""));
        assert_eq!(without_id.identity(&KEY, "a"), without_id.identity(&KEY, "b"));
        let identities = [&first, &event(complaint("f2")), &without_id, &later(&without_id)]
            .map(|event| event.identity(&KEY, "a"));
        let distinct: std::collections::BTreeSet<_> = identities.iter().collect();
        assert_eq!(distinct.len(), identities.len());
    }

    #[test]
    fn all_delays_of_a_mail_say_that_it_was_delayed() {
        let delay = |class| event(EventType::Delay { class });
        let first = delay(BounceClass::MailboxFull);
        let delayed = first.delayed_identity(&KEY, "a").unwrap();
        assert_eq!(later(&first).delayed_identity(&KEY, "a"), Some(delayed));
        assert_eq!(delay(BounceClass::Connection).delayed_identity(&KEY, "a"), Some(delayed));
        assert_ne!(first.delayed_identity(&KEY, "b"), Some(delayed));
        let other_message = EmailEvent { message_id: Cow::Borrowed("m2"), ..first.clone() };
        assert_ne!(other_message.delayed_identity(&KEY, "a"), Some(delayed));
        assert_ne!(first.identity(&KEY, "a"), delayed);
        assert_eq!(event(EventType::Send).delayed_identity(&KEY, "a"), None);
    }

    #[test]
    fn events_that_differ_in_type_recipient_or_detail_have_different_identities() {
        let types = [
            EventType::Send,
            EventType::Delivery { processing_ms: None },
            bounce("f1"),
            bounce("f2"),
            EventType::Reject,
            EventType::RenderingFailure,
            EventType::Delay { class: BounceClass::Unknown },
            EventType::Open(interaction(None, "agent", "::1")),
            EventType::Open(interaction(None, "other", "::1")),
            EventType::Open(interaction(None, "agent", "::2")),
            EventType::Click(interaction(Some("l"), "agent", "::1")),
            EventType::Click(interaction(Some("k"), "agent", "::1")),
            EventType::Subscription { unsubscribed: true },
            EventType::Subscription { unsubscribed: false },
            EventType::QueueDepth { depth: 5 },
        ];
        let count = types.len();
        let mut identities: Vec<IdentityHash> = types
            .into_iter()
            .map(event)
            .flat_map(|event| ["a", "b"].map(|recipient| event.identity(&KEY, recipient)))
            .collect();
        identities.sort();
        identities.dedup();
        assert_eq!(identities.len(), 2 * count);
    }

    #[test]
    fn details_that_may_differ_between_two_deliveries_of_one_event_are_left_out() {
        let fast = event(EventType::Delivery { processing_ms: Some(1) });
        let slow = event(EventType::Delivery { processing_ms: None });
        assert_eq!(fast.identity(&KEY, "a"), slow.identity(&KEY, "a"));
        let click = |ip| event(EventType::Click(interaction(Some("l"), "agent", ip)));
        assert_eq!(click("::1").identity(&KEY, "a"), click("::2").identity(&KEY, "a"));
    }
}
