//! Names the links of clicks: by the tags that the sender gave them, or by host and path without the parts that could reveal who clicked.
//!
//! A link is personal data: it may hold an address, a token of one recipient, or the page that a person read. So counts never have the
//! link itself. Its name leaves out query and fragment, user name and port, and parts of the path that are likely to be of one person
//! or one message. Even so, nothing proves that what is left is harmless: `/patients/anna` has neither a digit nor a query. Therefore
//! names are stored as keyed hashes unless an operator, who knows the links, allows more.

use std::borrow::Cow;

use serde::Deserialize;

use crate::attribution::{Dimension, canonical_domain, shortened};
use crate::event::Interaction;
use crate::recipient_hash::HashKey;
use crate::tags::Tags;

/// What is stored of the links that were followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkNames {
    /// A keyed hash of the name, `link:` and 16 hexadecimal digits, so that clicks of links can be compared without revealing the links.
    #[default]
    Hash,
    /// The tags of links that have some, and a hash of others. Senders choose tags, and SES does not stop them from naming a person.
    Tags,
    /// The tags of links that have some, and host and path of others.
    HostAndPath,
}

/// The longest name, in bytes, and so in characters.
pub const MAX_NAME_BYTES: usize = 200;
/// The longest part of a path or sub-domain that is kept, in characters. Longer ones are mostly tokens.
const MAX_PART_CHARS: usize = 24;
/// Replaces a part that may belong to one person or message. No part that is kept has a colon.
const REPLACED: &str = ":id";
/// The prefix of a hashed name.
const HASHED: &str = "link:";

impl LinkNames {
    /// All of them, in the order of what they reveal.
    pub const ALL: [Self; 3] = [Self::Hash, Self::Tags, Self::HostAndPath];

    /// The name in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Tags => "tags",
            Self::HostAndPath => "host_and_path",
        }
    }

    /// The setting of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|names| names.name() == name)
    }

    /// The name under which a click is counted by link: [`Dimension::NONE`] if the event has no link, [`Dimension::INVALID`] if its
    /// link does not lead to a website.
    pub fn name_of(self, click: &Interaction<'_>, key: &HashKey) -> Cow<'static, str> {
        let (name, is_shown) = match tags_name(&click.link_tags) {
            Some(name) => (Cow::Owned(name), self != Self::Hash),
            None => (host_and_path(click.link.as_deref().unwrap_or("")), self == Self::HostAndPath),
        };
        // Reserved values reveal nothing, and they are only of use as they are.
        if is_shown || matches!(name.as_ref(), Dimension::NONE | Dimension::INVALID) {
            return name;
        }
        Cow::Owned(format!("{HASHED}{:016x}", key.hash(&[b"link name", name.as_bytes()])))
    }
}

/// The tags in the form in which they are written into the mail, such as `position:header;color:red`, sorted by name. `None` without
/// tags, or if SES would not have taken them.
fn tags_name(tags: &Tags<'_>) -> Option<String> {
    // Most links have none, and SES writes null for that.
    if tags.json().is_empty() {
        return None;
    }
    let list = tags.list();
    let mut pairs: Vec<(&str, &str)> = list.iter().collect();
    pairs.sort_unstable();
    // https://docs.aws.amazon.com/ses/latest/dg/faqs-metrics.html allows these only; so a tag cannot hold an address.
    let is_allowed = |text: &str| {
        !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-')
    };
    if pairs.is_empty() || !pairs.iter().all(|(name, value)| is_allowed(name) && is_allowed(value)) {
        return None;
    }
    let written: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    Some(bounded(written.join(";")))
}

/// Host and path of a link. Two links that differ only in what is left out have one name.
pub fn host_and_path(link: &str) -> Cow<'static, str> {
    let link = link.trim_matches(|c: char| c.is_whitespace() || c.is_control());
    if link.is_empty() {
        return Cow::Borrowed(Dimension::NONE);
    }
    match normalised(link) {
        Some(name) => Cow::Owned(bounded(name)),
        None => Cow::Borrowed(Dimension::INVALID),
    }
}

fn normalised(link: &str) -> Option<String> {
    let (scheme, rest) = link.split_once("://")?;
    // Nothing else leads to a website. What stands in `mailto:` is an address, and in `data:` a whole document.
    if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
        return None;
    }
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    // Browsers take a backslash for a slash: https://url.spec.whatwg.org/#authority-state
    let mut parts = rest.split(['/', '\\']);
    let mut name = host(parts.next().unwrap_or_default())?;
    let mut has_path = false;
    for part in parts {
        name.push('/');
        has_path = true;
        push_part(&mut name, part);
    }
    // An empty path is the same page as `/`.
    if !has_path {
        name.push('/');
    }
    Some(name)
}

/// The host in lower case, without user name and port. `None` if it is not a domain; an IP address is none.
fn host(authority: &str) -> Option<String> {
    let (_, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let host = match host.split_once(':') {
        Some((host, port)) if port.bytes().all(|c| c.is_ascii_digit()) => host,
        Some(_) => return None,
        None => host,
    };
    let domain = canonical_domain(host);
    if domain.starts_with('(') {
        return None;
    }
    let labels = domain.split('.').count();
    let mut kept = String::with_capacity(domain.len());
    for (number, label) in domain.split('.').enumerate() {
        if number > 0 {
            kept.push('.');
        }
        // A sub-domain can be made up for each recipient; the domain itself had to be registered.
        let may_be_token = number + 2 < labels;
        if may_be_token && label.chars().count() > MAX_PART_CHARS {
            kept.push_str(REPLACED);
        } else {
            kept.push_str(&label.to_lowercase());
        }
    }
    Some(kept)
}

/// Appends a part of a path, or [`REPLACED`] if it may be of one person or message.
fn push_part(name: &mut String, part: &str) {
    // What follows a semicolon are parameters, such as the id of a session.
    let part = part.split(';').next().unwrap_or_default();
    match percent_decoded(part).filter(|text| is_kept(text)) {
        Some(text) => name.push_str(&text),
        None => name.push_str(REPLACED),
    }
}

/// Whether a decoded part of a path is kept: letters and simple punctuation, without digits, and not too long. So a part with
/// `@`, `=`, an encoded slash or a double encoding is not kept.
fn is_kept(text: &str) -> bool {
    text.chars().count() <= MAX_PART_CHARS
        && text.chars().all(|c| {
            (c.is_alphabetic() && !c.is_numeric())
                || matches!(c, '-' | '_' | '.' | '~' | '+' | ',' | '!' | ' ')
        })
}

/// The text of a part of a path, so that a letter has one spelling. `None` if it is not UTF-8 or a `%` is not followed by two
/// hexadecimal digits.
fn percent_decoded(part: &str) -> Option<Cow<'_, str>> {
    if !part.contains('%') {
        return Some(Cow::Borrowed(part));
    }
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, after) = rest.split_first_chunk::<2>()?;
        let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
        bytes.push(u8::try_from(high? * 16 + low?).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// A name within [`MAX_NAME_BYTES`]. Names that differ stay different.
fn bounded(name: String) -> String {
    if name.len() <= MAX_NAME_BYTES { name } else { shortened(&name, MAX_NAME_BYTES) }
}

#[cfg(test)]
mod tests;
