//! Recognises a mailbox provider by what its servers say: the answer to a delivery, the diagnostic of a bounce, the host that
//! reports a bounce, or the address that the mail was handed to.
//!
//! The knowledge is in `providers.toml`. Text comes before networks, because it names who speaks, and the order of the list decides
//! between several matches: security gateways stand first, since the first hop is the one that accepts or refuses the mail.
//!
//! All of it is hostile text, at most 1,024 bytes of it are searched, and none of it is kept.

use std::borrow::Cow;
use std::sync::LazyLock;

use super::Provider;
use crate::fragments::{FragmentSet, Fragments, FragmentsBuilder};
use crate::machine::{AddressBits, Network};

/// The bytes of an answer that are searched. Exchange Online's, which are the longest, have about 250.
const MAX_ANSWER_BYTES: usize = 1024;

static RULES: LazyLock<EvidenceRules> = LazyLock::new(|| EvidenceRules::new(super::all()));

/// What an event reveals about the provider of its recipients.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ProviderEvidence<'a> {
    /// Nothing.
    #[default]
    Absent,
    /// What the receiving server said when it accepted the mail. Not examined yet, because most recipients have a fixed provider.
    Answer {
        /// `smtpResponse`.
        text: Cow<'a, str>,
        /// `remoteMtaIp`.
        address: Cow<'a, str>,
    },
    /// This provider, recognised while the event was read.
    Provider(&'static str),
}

impl ProviderEvidence<'_> {
    /// The slug of the provider, if one is recognised.
    pub fn provider(&self) -> Option<&'static str> {
        match self {
            Self::Absent => None,
            Self::Answer { text, address } => recognise(&[text], address),
            Self::Provider(slug) => Some(slug),
        }
    }
}

/// The provider that one of `texts` names, the first text first, or in whose networks `address` is.
pub fn recognise(texts: &[&str], address: &str) -> Option<&'static str> {
    texts.iter().find_map(|text| RULES.by_text(text)).or_else(|| RULES.by_address(address))
}

struct EvidenceRules {
    fragments: Fragments,
    /// In the order of the list.
    rules: Vec<EvidenceRule>,
}

struct EvidenceRule {
    slug: &'static str,
    fragments: FragmentSet,
    networks: Vec<Network>,
}

impl EvidenceRules {
    fn new(providers: &'static [Provider<'static>]) -> Self {
        let mut fragments = FragmentsBuilder::default();
        let mut rules = Vec::new();
        for provider in providers {
            let Some(evidence) = &provider.evidence else { continue };
            rules.push(EvidenceRule {
                slug: provider.slug,
                fragments: evidence.text.iter().map(|text| fragments.add((*text).to_owned())).collect(),
                // One that cannot be parsed is left out; a test parses all of them.
                networks: evidence.networks.iter().filter_map(|network| Network::parse(network)).collect(),
            });
        }
        Self { fragments: fragments.build(MAX_ANSWER_BYTES), rules }
    }

    fn by_text(&self, text: &str) -> Option<&'static str> {
        if text.is_empty() {
            return None;
        }
        let found = self.fragments.find(text);
        self.rules.iter().find(|rule| rule.fragments.intersects(&found)).map(|rule| rule.slug)
    }

    fn by_address(&self, address: &str) -> Option<&'static str> {
        // Text that is not an address is in no network.
        let address = AddressBits::parse(address)?;
        let is_in = |rule: &&EvidenceRule| rule.networks.iter().any(|network| network.contains(address));
        self.rules.iter().find(is_in).map(|rule| rule.slug)
    }
}

#[cfg(test)]
mod tests;
