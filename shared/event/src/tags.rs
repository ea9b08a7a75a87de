//! The tags of a message, kept as JSON text and parsed only when they are needed.
//!
//! Most events carry the same tags as an event seen shortly before, so that comparing the text is usually enough (see
//! [`CachedAttribution`](crate::attribution::CachedAttribution)). The text must be empty or a JSON object that was scanned
//! before.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::json::{ScanError, Scanner};

/// The most tags read from one message. SES adds some ten of its own.
pub(crate) const MAX_TAGS: usize = 64;

/// The text of `mail.tags`: SES's own tags (`ses:…`) and the sender's, each with a list of values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tags<'a> {
    json: &'a str,
}

/// Parsed tags in the order of the text: name and first value. The inline capacity covers most messages: SES's six or seven and a
/// few of the sender's.
#[derive(Clone, Debug, Default)]
pub struct TagList<'a>(SmallVec<[(Cow<'a, str>, Cow<'a, str>); 12]>);

impl<'a> Tags<'a> {
    /// Wraps the text of a JSON object. Any other JSON value counts as no tags.
    pub fn new(json: &'a str) -> Self {
        Self { json: if json.starts_with('{') { json } else { "" } }
    }

    /// The text of the object; empty if the message has no tags.
    pub fn json(&self) -> &'a str {
        self.json
    }

    /// Parses the tags: the first value of each name, at most 64 names, without names that have no value.
    pub fn list(&self) -> TagList<'a> {
        let mut list = TagList::default();
        // The decoder scanned the object before, so this cannot fail for its events. Text that a caller made by hand may be
        // broken; then the tags before the error are used.
        let _ = list.read(&mut Scanner::new(self.json));
        list
    }
}

impl<'a> TagList<'a> {
    fn read(&mut self, scanner: &mut Scanner<'a>) -> Result<(), ScanError> {
        scanner.object_with_raw_keys(|scanner, name| {
            let mut first = None;
            // SES writes a list of values for every tag, nearly always of one. Its documentation does not say what a second means.
            scanner.array_or_single(|scanner| {
                let value = scanner.optional_string()?;
                first = first.take().or(value);
                Ok(())
            })?;
            // Read on beyond the limit: the object must be read to its end, whatever is kept of it.
            if let Some(value) = first
                && self.0.len() < MAX_TAGS
            {
                self.0.push((name.resolve(), value));
            }
            Ok::<(), ScanError>(())
        })
    }

    /// The number of tags that have a value, at most 64.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Name and value of each tag that has a value, in the order of the text. A value may be empty.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// Whether there are no tags.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of the tag `name`; `None` if the message does not have it or its value is empty. The first of several tags of
    /// one name decides.
    pub fn get(&self, name: &str) -> Option<&Cow<'a, str>> {
        // A search from the front beats a map: a message has about ten tags, and only a few names are looked up.
        let found = self.0.iter().find(|(tag, _)| tag == name);
        found.map(|(_, value)| value).filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_value_of_a_tag_is_its_value() {
        for (json, expected) in [
            (r#"{"a":["x","y"]}"#, Some("x")),
            (r#"{"a":"x"}"#, Some("x")),
            (r#"{"a":[5,"y"]}"#, Some("y")),
            (r#"{"\u0061":["x"]}"#, Some("x")),
            (r#"{"a":["\"x\""]}"#, Some("\"x\"")),
            (r#"{"a":["x"],"a":["y"]}"#, Some("x")),
            (r#"{"a":[""]}"#, None),
            (r#"{"a":[]}"#, None),
            (r#"{"a":null}"#, None),
            (r#"{"b":["x"]}"#, None),
            (r#"["a"]"#, None),
            ("null", None),
            ("", None),
        ] {
            let tags = Tags::new(json).list();
            assert_eq!(tags.get("a").map(AsRef::as_ref), expected, "{json}");
        }
    }

    #[test]
    fn tags_without_a_value_are_left_out() {
        let tags = Tags::new(r#"{"none":[],"null":null,"kept":["x"],"empty":[""]}"#).list();
        assert_eq!((tags.len(), tags.is_empty()), (2, false));
        assert!(Tags::default().list().is_empty());
    }

    #[test]
    fn tags_before_broken_text_are_used() {
        let tags = Tags::new(r#"{"a":["x"],"b":["#).list();
        assert_eq!(tags.get("a").map(AsRef::as_ref), Some("x"));
        assert_eq!(tags.get("b"), None);
    }
}
