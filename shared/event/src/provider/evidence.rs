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
use crate::fragments::{Fragments, FragmentsBuilder};
use crate::machine::Network;

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
    fragments: Vec<usize>,
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
        self.rules.iter().find(|rule| found.has_any(&rule.fragments)).map(|rule| rule.slug)
    }

    fn by_address(&self, address: &str) -> Option<&'static str> {
        // Text that is not an IPv4 address is in no network.
        let address = address.parse().ok()?;
        let is_in = |rule: &&EvidenceRule| rule.networks.iter().any(|network| network.contains(address));
        self.rules.iter().find(is_in).map(|rule| rule.slug)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_well_formed() {
        for provider in super::super::all() {
            let Some(evidence) = &provider.evidence else { continue };
            assert!(evidence.source.len() > 8, "{}", provider.slug);
            assert!(!evidence.text.is_empty() || !evidence.networks.is_empty(), "{}", provider.slug);
            for text in &evidence.text {
                assert!(text.len() > 4 && *text == text.to_ascii_lowercase(), "{text}");
            }
            for network in &evidence.networks {
                assert!(Network::parse(network).is_some(), "{network}");
            }
        }
    }

    #[test]
    fn answers_name_their_provider() {
        for (text, expected) in [
            ("250 2.0.0 OK  1732000000 af79cd13be357-7b33c4d5e6fsi123456785a.12 - gsmtp", "google-workspace"),
            (
                "250 2.6.0 <0100019@eu-west-1.amazonses.com> [InternalId=123, Hostname=AM0PR05MB1234.eurprd05.prod.outlook.com] \
                 12345 bytes in 0.123, 97.8 KB/sec Queued mail for delivery",
                "microsoft-365",
            ),
            (
                "smtp; 550 Invalid Recipient - https://community.mimecast.com/docs/DOC-1369#550 [x.uk12]",
                "mimecast",
            ),
            ("dns; mx0a-00112233.pphosted.com", "proofpoint"),
        ] {
            assert_eq!(recognise(&[text], ""), Some(expected), "{text}");
        }
        assert_eq!(recognise(&["250 2.0.0 Ok: queued as 4F2B1C0A"], "192.0.2.1"), None);
        assert_eq!(recognise(&["", "dns; a8-70.smtp-out.amazonses.com"], ""), None);
    }

    #[test]
    fn text_comes_before_the_address_and_the_first_text_before_the_second() {
        let (google, microsoft) = ("250 OK x - gsmtp", "550 x mail.protection.outlook.com");
        assert_eq!(recognise(&[google, microsoft], ""), Some("google-workspace"));
        assert_eq!(recognise(&["250 ok", microsoft], ""), Some("microsoft-365"));
        assert_eq!(recognise(&[google], "40.107.1.2"), Some("google-workspace"));
        assert_eq!(recognise(&["250 ok"], "40.107.1.2"), Some("microsoft-365"));
    }
}
