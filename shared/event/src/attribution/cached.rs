//! Attribution with a cache of the tags seen most recently.
//!
//! The messages of a campaign have the same tags except for the IP address they left SES from, so most events are attributed by
//! one lookup of their tags' text. The hash only selects the slot: texts are always compared in full, so that a collision cannot
//! give an event to another tenant. Senders choose the texts, so number and length of the entries are bounded; a new entry
//! replaces an old one, which is computed again when it is needed.

use std::borrow::Cow;
use std::hash::BuildHasher as _;

use memchr::memmem::Finder;
use rapidhash::fast::RandomState;

use super::{Attribution, MessageAttribution};
use crate::event::EmailEvent;

/// Slots for two entries each: many more than there are campaigns and segments active at a time.
const SLOTS: usize = 2048;
/// The longest text that is cached, in bytes: nine tags, including SES's, take 350. All entries together take at most 12 MB.
const MAX_CACHED_BYTES: usize = 1024;
/// The tag in which the deliveries of one campaign differ, up to the beginning of its value.
const OUTGOING_IP: &str = "\"ses:outgoing-ip\":[\"";

/// Attributes events one after the other, with the same results as [`Attribution::attribute`].
#[derive(Debug)]
pub struct CachedAttribution {
    attribution: Attribution,
    hasher: RandomState,
    /// Finds the tag that is left out of the comparison; `None` if the settings make that tag count.
    outgoing_ip: Option<Finder<'static>>,
    /// In each slot the entry used last comes first.
    slots: Vec<[Option<Box<CachedMessage>>; 2]>,
}

/// The text of some tags and the attribution of all events that have it.
#[derive(Debug)]
struct CachedMessage {
    hash: u64,
    before: String,
    after: String,
    message: MessageAttribution<'static>,
}

/// The text of some tags in two parts: before the value of the outgoing IP address, and after it.
type Parts<'t> = (&'t str, &'t str);

impl CachedAttribution {
    /// The settings by which events are attributed.
    pub fn settings(&self) -> &Attribution {
        &self.attribution
    }

    /// Starts with an empty cache.
    pub fn new(attribution: Attribution) -> Self {
        // By ending, because a tag's name is compared here as it is written in JSON: escapes may come before the quote that the
        // search takes for the beginning of the name.
        let outgoing_ip =
            (!attribution.uses_tag_ending_with("ses:outgoing-ip")).then(|| Finder::new(OUTGOING_IP));
        Self {
            attribution,
            hasher: RandomState::default(),
            outgoing_ip,
            slots: (0..SLOTS).map(|_| [None, None]).collect(),
        }
    }

    /// The result of [`Attribution::attribute`].
    pub fn attribute<'e, 't: 'e>(&'e mut self, event: &EmailEvent<'t>) -> Cow<'e, MessageAttribution<'e>> {
        let tags = event.tags.json();
        let parts = self.parts(tags);
        let hash = self.hasher.hash_one(parts);
        #[expect(clippy::cast_possible_truncation, reason = "a remainder is below the number of slots")]
        let slot = (hash % SLOTS as u64) as usize;
        let Some([last, other]) = self.slots.get_mut(slot).filter(|_| tags.len() <= MAX_CACHED_BYTES) else {
            return Cow::Owned(self.attribution.attribute(event));
        };
        // Compare hashes first, so that only one of the two texts is compared in full. Swapping puts a hit first, and otherwise
        // makes the entry used longest ago the one that is replaced.
        if last.as_ref().is_none_or(|entry| entry.hash != hash) {
            std::mem::swap(last, other);
        }
        let entry = match last.take() {
            Some(entry) if entry.matches(hash, parts) => entry,
            _ => {
                let message = self.attribution.attribute(event);
                // Another event with the same tags may belong elsewhere, so this attribution must not be found by them.
                if !message.is_decided_by_tags {
                    return Cow::Owned(message);
                }
                let (before, after) = (parts.0.to_owned(), parts.1.to_owned());
                Box::new(CachedMessage { hash, before, after, message: message.into_owned() })
            }
        };
        Cow::Borrowed(&last.insert(entry).message)
    }

    /// Splits the text around the value of the outgoing IP address. Only that one string is left out: the quotes in
    /// [`OUTGOING_IP`] cannot be inside another string, where they would be escaped, and the value ends at the next quote.
    fn parts<'t>(&self, tags: &'t str) -> Parts<'t> {
        let found = self.outgoing_ip.as_ref().and_then(|finder| finder.find(tags.as_bytes()));
        let Some((before, value)) = found.and_then(|at| tags.split_at_checked(at + OUTGOING_IP.len())) else {
            return (tags, "");
        };
        match memchr::memchr2(b'"', b'\\', value.as_bytes()).and_then(|end| value.get(end..)) {
            Some(after) if after.starts_with('"') => (before, after),
            _ => (tags, ""),
        }
    }
}

impl CachedMessage {
    fn matches(&self, hash: u64, (before, after): Parts<'_>) -> bool {
        self.hash == hash && self.before == before && self.after == after
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::tests::event_tagged;

    /// Checks that one cache gives the same results as no cache, for tags in turn and repeatedly.
    fn check(settings: &str, tags: &[&str]) {
        let attribution: Attribution = toml::from_str(settings).unwrap();
        let mut cached = CachedAttribution::new(attribution.clone());
        for _ in 0..2 {
            for tags in tags {
                let event = event_tagged(tags);
                assert_eq!(*cached.attribute(&event), attribution.attribute(&event), "{tags}");
            }
        }
    }

    const DOMAIN: &str = r#""ses:from-domain":["a.example"]"#;

    #[test]
    fn cached_results_equal_computed_results() {
        let outgoing = |ip: &str, rest: &str| format!(r#"{{{DOMAIN},"ses:outgoing-ip":["{ip}"{rest}}}"#);
        let tags = [
            outgoing("192.0.2.1", r#"],"tenant":["acme"]"#),
            outgoing("192.0.2.2", r#"],"tenant":["acme"]"#),
            outgoing("192.0.2.2", r#"],"tenant":["other"]"#),
            outgoing("192.0.2.2", r#","tenant"]"#),
            outgoing(r#"\"],\"tenant\":[\"x"#, "]"),
            format!(r#"{{{DOMAIN},"tenant":["acme"],"campaign":["\"ses:outgoing-ip\":[\"x"]}}"#),
            "{\"tenant\":[\"acme\"]}".to_owned(),
            "{}".to_owned(),
            String::new(),
        ];
        let tags = tags.each_ref().map(String::as_str);
        check("", &tags);
        check("tags = [\"ses:outgoing-ip\"]", &tags);
        check(
            "tags = [\"x\\\"ses:outgoing-ip\"]",
            &[r#"{"x\"ses:outgoing-ip":["1"]}"#, r#"{"x\"ses:outgoing-ip":["2"]}"#],
        );
    }

    #[test]
    fn attribution_that_tags_alone_do_not_decide_is_not_cached() {
        let mut cached = CachedAttribution::new(
            toml::from_str("[tenants]\nby_account = { 123456789012 = \"account\" }").unwrap(),
        );
        let tags = format!("{{{DOMAIN}}}");
        let mut event = event_tagged(&tags);
        assert_eq!(cached.attribute(&event).tenant, "account");
        event.sending_account = None;
        assert_eq!(cached.attribute(&event).tenant, "(unassigned)");
        let mut event = event_tagged("{\"tenant\":[\"acme\"]}");
        for domain in ["one.example", "two.example"] {
            event.source = Cow::Owned(format!("a@{domain}"));
            assert_eq!(cached.attribute(&event).values[2], domain);
        }
    }

    #[test]
    fn results_stay_right_while_entries_are_replaced() {
        // More texts than the cache has entries, so that every slot is used and replaced.
        let texts: Vec<String> = (0..3 * SLOTS)
            .map(|n| format!(r#"{{{DOMAIN},"tenant":["t{n}"],"campaign":["c{n}"]}}"#))
            .collect();
        let mut cached = CachedAttribution::new(Attribution::default());
        for _ in 0..2 {
            for (n, tags) in texts.iter().enumerate() {
                let event = event_tagged(tags);
                let message = cached.attribute(&event);
                assert_eq!(
                    (message.tenant.as_ref(), message.values[0].as_ref()),
                    (&*format!("t{n}"), &*format!("c{n}"))
                );
            }
        }
        assert!(cached.slots.iter().flatten().flatten().count() <= 2 * SLOTS);
    }

    #[test]
    fn long_texts_are_not_cached() {
        let mut cached = CachedAttribution::new(Attribution::default());
        let mut entries = |length: usize| {
            let tags = format!(r#"{{{DOMAIN},"x":["{}"]}}"#, "x".repeat(length - DOMAIN.len() - 11));
            assert_eq!(tags.len(), length);
            cached.attribute(&event_tagged(&tags));
            cached.slots.iter().flatten().flatten().count()
        };
        assert_eq!((entries(MAX_CACHED_BYTES + 1), entries(MAX_CACHED_BYTES)), (0, 1));
    }
}
