//! Attribution that knows the tags it saw last.
//!
//! The messages of a campaign have the same tags but for the address they left SES from, so what an event is filed under is mostly
//! found by one look at their text. A hash only names the place: texts are compared whole. Senders choose the texts, so
//! their number and length are bounded; one displaces the other, and what was displaced is worked out anew.

use std::borrow::Cow;
use std::hash::BuildHasher as _;

use memchr::memmem::Finder;
use rapidhash::fast::RandomState;

use super::{Attribution, MessageValues};
use crate::event::EmailEvent;

/// Texts that are kept, two in a place: many more than there are campaigns and segments at work at a time.
const PLACES: usize = 2048;
/// Longer texts are not kept: nine tags, SES's included, take 350 bytes. All that is kept is at most 12 MB.
const MAX_KEPT_BYTES: usize = 1024;
/// The tag in which the deliveries of one campaign differ, up to its value.
const OUTGOING_IP: &str = "\"ses:outgoing-ip\":[\"";

/// Attribution for many events, one after the other.
#[derive(Debug)]
pub struct Attributor {
    attribution: Attribution,
    hasher: RandomState,
    outgoing_ip: Option<Finder<'static>>,
    /// What came last first.
    places: Vec<[Option<Box<Known>>; 2]>,
}

/// A text of tags, and what an event with it is filed under.
#[derive(Debug)]
struct Known {
    hash: u64,
    before: String,
    after: String,
    message: MessageValues<'static>,
}

/// A text of tags in two parts: what stands before the outgoing address, and what stands behind it.
type Parts<'t> = (&'t str, &'t str);

impl Attributor {
    /// Attributes by these settings.
    pub fn new(attribution: Attribution) -> Self {
        // Nothing is left out where it counts.
        let outgoing_ip = (!attribution.reads("ses:outgoing-ip")).then(|| Finder::new(OUTGOING_IP));
        Self {
            attribution,
            hasher: RandomState::default(),
            outgoing_ip,
            places: (0..PLACES).map(|_| [None, None]).collect(),
        }
    }

    /// What [`Attribution::message`] gives.
    pub fn message<'e, 't: 'e>(&'e mut self, event: &EmailEvent<'t>) -> Cow<'e, MessageValues<'e>> {
        let tags = event.tags.json();
        let parts = self.parts(tags);
        let hash = self.hasher.hash_one(parts);
        let place = usize::try_from(hash % PLACES as u64).unwrap_or_default();
        let Some([last, other]) = self.places.get_mut(place).filter(|_| tags.len() <= MAX_KEPT_BYTES) else {
            return Cow::Owned(self.attribution.message(event));
        };
        // Of the two, the one whose hash it is; whether it is its text too is asked once.
        if last.as_ref().is_none_or(|known| known.hash != hash) {
            std::mem::swap(last, other);
        }
        let known = match last.take() {
            Some(known) if known.is_of(hash, parts) => known,
            _ => {
                let message = self.attribution.message(event);
                if !message.is_of_tags {
                    return Cow::Owned(message);
                }
                let (before, after) = (parts.0.to_owned(), parts.1.to_owned());
                Box::new(Known { hash, before, after, message: message.into_owned() })
            }
        };
        Cow::Borrowed(&last.insert(known).message)
    }

    /// What is left out is one text and nothing else: its quotes are the first of a string and the next, as the name before it
    /// cannot stand inside of one.
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

impl Known {
    fn is_of(&self, hash: u64, (before, after): Parts<'_>) -> bool {
        self.hash == hash && self.before == before && self.after == after
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::tests::event_tagged;

    /// The same attributor is asked in turn, and answers as one that knows nothing.
    fn check(settings: &str, tags: &[&str]) {
        let attribution: Attribution = toml::from_str(settings).unwrap();
        let mut attributor = Attributor::new(attribution.clone());
        for _ in 0..2 {
            for tags in tags {
                let event = event_tagged(tags);
                assert_eq!(*attributor.message(&event), attribution.message(&event), "{tags}");
            }
        }
    }

    const DOMAIN: &str = r#""ses:from-domain":["a.example"]"#;

    #[test]
    fn what_is_known_is_what_would_be_worked_out() {
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
    fn what_tags_alone_do_not_decide_is_not_kept() {
        let mut attributor = Attributor::new(
            toml::from_str("[tenants]\nby_account = { 123456789012 = \"account\" }").unwrap(),
        );
        let tags = format!("{{{DOMAIN}}}");
        let mut event = event_tagged(&tags);
        assert_eq!(attributor.message(&event).tenant, "account");
        event.sending_account = None;
        assert_eq!(attributor.message(&event).tenant, "(unassigned)");
        let mut event = event_tagged("{\"tenant\":[\"acme\"]}");
        for domain in ["one.example", "two.example"] {
            event.source = Cow::Owned(format!("a@{domain}"));
            assert_eq!(attributor.message(&event).values[2], domain);
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut attributor = Attributor::new(Attribution::default());
        let mut kept = |length: usize| {
            let tags = format!(r#"{{{DOMAIN},"x":["{}"]}}"#, "x".repeat(length - DOMAIN.len() - 11));
            assert_eq!(tags.len(), length);
            attributor.message(&event_tagged(&tags));
            attributor.places.iter().flatten().flatten().count()
        };
        assert_eq!((kept(MAX_KEPT_BYTES + 1), kept(MAX_KEPT_BYTES)), (0, 1));
    }
}
