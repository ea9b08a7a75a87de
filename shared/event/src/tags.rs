//! A message's tags as they stand in its events, read only when somebody asks for them.
//!
//! Most events have the tags of one seen just before, so that their text is all that needs a look. It must never hold
//! anything but an object that was scanned, or nothing.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::json::{Fault, Scanner};

/// Tags of one message that are read.
pub(crate) const MAX_TAGS: usize = 64;

/// The text of `mail.tags`: SES's own tags (`ses:…`) and the sender's, each a list of values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tags<'a> {
    json: &'a str,
}

/// Tags in the order they came: name, first value. Most messages have the six or seven of SES and a few of their own.
#[derive(Clone, Debug, Default)]
pub struct TagList<'a>(SmallVec<[(Cow<'a, str>, Cow<'a, str>); 12]>);

impl<'a> Tags<'a> {
    /// The tags of a JSON object; none if `json` is anything else.
    pub fn new(json: &'a str) -> Self {
        Self { json: if json.starts_with('{') { json } else { "" } }
    }

    /// The object's text; empty if there is none.
    pub fn json(&self) -> &'a str {
        self.json
    }

    /// The first value of each name: at most 64, none without a value.
    pub fn list(&self) -> TagList<'a> {
        let mut list = TagList::default();
        // The object was scanned before. Of one that was not, what stands before the fault is read.
        let _ = list.read(&mut Scanner::new(self.json));
        list
    }
}

impl<'a> TagList<'a> {
    fn read(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        scanner.object_of(|scanner, name| {
            let mut first = None;
            scanner.items(|scanner| {
                let value = scanner.text()?;
                first = first.take().or(value);
                Ok(())
            })?;
            if let Some(value) = first
                && self.0.len() < MAX_TAGS
            {
                self.0.push((name.resolve(), value));
            }
            Ok::<(), Fault>(())
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of tag `name`, if the message has it and it is not empty.
    pub fn get(&self, name: &str) -> Option<&Cow<'a, str>> {
        let found = self.0.iter().find(|(tag, _)| tag == name);
        found.map(|(_, value)| value).filter(|value| !value.is_empty())
    }
}
