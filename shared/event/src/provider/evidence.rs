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
use crate::fragments::{Fragments, FragmentsBuilder, lower_case_start};
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

/// The list, turned round from what a server says to the providers that it names: an answer is read once, however many are listed.
struct EvidenceRules {
    fragments: Fragments,
    /// By number of a fragment, the position in the list of its provider.
    by_fragment: Vec<usize>,
    /// By position in the list. The first of several that are named is the one that counts.
    slugs: Vec<&'static str>,
    /// By their first address. No two of them overlap; a test holds that.
    networks: Vec<(Network, &'static str)>,
}

impl EvidenceRules {
    fn new(providers: &'static [Provider<'static>]) -> Self {
        let mut fragments = FragmentsBuilder::default();
        let (mut by_fragment, mut slugs, mut networks) = (Vec::new(), Vec::new(), Vec::new());
        for provider in providers {
            let Some(evidence) = &provider.evidence else { continue };
            for text in &evidence.text {
                // No fragment is listed twice, so the numbers are those of the positions; a test holds that too.
                fragments.add((*text).to_owned());
                by_fragment.push(slugs.len());
            }
            // One that cannot be parsed is left out; a test parses all of them.
            let parsed = evidence.networks.iter().filter_map(|network| Network::parse(network));
            networks.extend(parsed.map(|network| (network, provider.slug)));
            slugs.push(provider.slug);
        }
        networks.sort_unstable_by_key(|(network, _)| network.first());
        Self { fragments: fragments.build(MAX_ANSWER_BYTES), by_fragment, slugs, networks }
    }

    fn by_text(&self, text: &str) -> Option<&'static str> {
        let mut lower_case = [0; MAX_ANSWER_BYTES];
        let mut first = usize::MAX;
        self.fragments.for_each_found(lower_case_start(text, &mut lower_case), |fragment| {
            if let Some(position) = self.by_fragment.get(fragment) {
                first = first.min(*position);
            }
        });
        self.slugs.get(first).copied()
    }

    fn by_address(&self, address: &str) -> Option<&'static str> {
        // Text that is not an address is in no network.
        let address = AddressBits::parse(address)?;
        let later = self.networks.partition_point(|(network, _)| network.first() <= address);
        let (network, slug) = self.networks.get(later.checked_sub(1)?)?;
        network.contains(address).then_some(*slug)
    }
}

#[cfg(test)]
mod tests;
