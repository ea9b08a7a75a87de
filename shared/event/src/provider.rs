//! Finds the mailbox provider that runs a recipient's mailbox.
//!
//! `provider/providers.toml` lists providers. Those that give out addresses have the domains of these addresses: such a domain is
//! *fixed*, and nothing else decides about it. A company's domain does not reveal who runs its mail, but the receiving servers do:
//! [`evidence`] recognises a provider by what its servers answer. An event can come before any answer, so counts hold such a
//! domain under an unresolved marker ([`UNRESOLVED`]), and [`learned`] says how readers replace it.
//!
//! Lookups by domain run for every recipient of every event, so they must not allocate.

use std::sync::LazyLock;

use hashbrown::HashMap;
use rapidhash::fast::RandomState;
use serde::Deserialize;

use crate::invariant::or_broken;

pub mod evidence;
pub mod learned;

/// The slug for domains of no listed provider.
pub const OTHER: &str = "other";

/// The most labels of a listed domain (`yahoo.co.uk`). Labels before those are never looked up, so a hostile domain with a
/// hundred labels costs no more than any other.
const MAX_LABELS: usize = 3;

const PROVIDERS_TOML: &str = include_str!("provider/providers.toml");

static PROVIDERS: LazyLock<Providers> = LazyLock::new(Providers::built_in);

/// One provider of the list, with the domains of the addresses that it gives out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider<'f> {
    /// The identifier in dimensions, filters and rules: lower-case letters, digits and hyphens. Stored counts contain it.
    pub slug: &'f str,
    /// The name shown to people.
    pub name: &'f str,
    /// The source of its domains: a URL, or a note where there is no document.
    pub source: &'f str,
    /// The domains of its addresses, in lower case; empty if it hosts other people's domains only.
    #[serde(borrow, default)]
    pub domains: Vec<&'f str>,
    /// The slug of the group of providers that share a mail system or an owner; its own slug if omitted.
    pub group: Option<&'f str>,
    /// How its servers are recognised, if it hosts domains of others.
    #[serde(borrow)]
    pub evidence: Option<EvidenceText<'f>>,
    /// Whether the provider reports complaints to SES; `true` if omitted.
    #[serde(default = "reports")]
    pub reports_complaints: bool,
}

/// How the servers of a provider are recognised. All of it is text that strangers send, so it can be imitated; see [`learned`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceText<'f> {
    /// The source of the knowledge.
    pub source: &'f str,
    /// Fragments of the server's answer or of the reporting MTA, in lower case.
    #[serde(borrow, default)]
    pub text: Vec<&'f str>,
    /// Networks of its inbound servers, in CIDR notation.
    #[serde(borrow, default)]
    pub networks: Vec<&'f str>,
}

const fn reports() -> bool {
    true
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProviderFile<'f> {
    #[serde(rename = "provider", borrow)]
    providers: Vec<Provider<'f>>,
}

struct Providers {
    all: Vec<Provider<'static>>,
    by_domain: HashMap<&'static str, &'static str, RandomState>,
    by_slug: HashMap<&'static str, usize, RandomState>,
}

impl Providers {
    fn built_in() -> Self {
        // The file is compiled into the program, and tests parse it.
        let all = or_broken(
            toml::from_str::<ProviderFile<'static>>(PROVIDERS_TOML).ok(),
            ProviderFile::default(),
            "the built-in list of providers cannot be parsed",
        )
        .providers;
        let mut by_domain = HashMap::default();
        // No domain is listed twice, so the order of the file does not matter; a test holds that.
        for provider in &all {
            for domain in &provider.domains {
                by_domain.insert(*domain, provider.slug);
            }
        }
        let by_slug = all.iter().zip(0..).map(|(provider, position)| (provider.slug, position)).collect();
        Self { all, by_domain, by_slug }
    }
}

/// The slug of the provider that gives out addresses of `domain`; `None` if the domain is not fixed. `domain` must be in lower case
/// without a trailing dot. A sub-domain belongs to the provider of the listed domain above it.
pub fn of_domain(domain: &str) -> Option<&'static str> {
    let by_domain = &PROVIDERS.by_domain;
    // From the end, so that the cost depends on the listed domains and not on the length of this one. The shortest listed
    // suffix decides; a test makes sure that a longer one would lead to the same provider.
    let mut labels = 1;
    for (at, byte) in domain.bytes().enumerate().rev() {
        if byte != b'.' {
            continue;
        }
        // No listed domain is a single label.
        if labels > 1
            && let Some(slug) = domain.get(at + 1..).and_then(|suffix| by_domain.get(suffix))
        {
            return Some(slug);
        }
        labels += 1;
        if labels > MAX_LABELS {
            return None;
        }
    }
    // The loop looks up what follows a dot, so the whole domain is left.
    by_domain.get(domain).copied()
}

/// What an unresolved marker begins with, the value that stands in stored counts for the provider of a domain that is not fixed. The
/// domain follows. Slugs have letters, digits and hyphens, and reserved values parentheses.
pub const UNRESOLVED: &str = "?";

/// The domain of an unresolved marker; `None` for any other value.
pub fn unresolved_domain(value: &str) -> Option<&str> {
    value.strip_prefix(UNRESOLVED)
}

/// The provider with this slug, as the list spells it; `None` if it is not listed.
pub fn by_slug(slug: &str) -> Option<&'static Provider<'static>> {
    PROVIDERS.by_slug.get(slug).and_then(|position| PROVIDERS.all.get(*position))
}

/// The group of a provider: its own slug unless the list says otherwise. Values that are no slugs, such as [`OTHER`] and reserved
/// ones, are groups of their own.
pub fn group_of(slug: &str) -> &str {
    by_slug(slug).and_then(|provider| provider.group).unwrap_or(slug)
}

/// Whether the provider with this slug reports complaints to SES. If not, a count of 0 complaints means nothing. `true` for slugs
/// that are not listed.
pub fn reports_complaints(slug: &str) -> bool {
    by_slug(slug).is_none_or(|provider| provider.reports_complaints)
}

/// All listed providers, in the order of the file.
pub fn all() -> &'static [Provider<'static>] {
    &PROVIDERS.all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(domain: &str, expected: &str) {
        assert_eq!(of_domain(domain).unwrap_or(OTHER), expected, "{domain}");
    }

    #[test]
    fn domains_belong_to_their_providers() {
        check("gmail.com", "gmail");
        check("googlemail.com", "gmail");
        check("yahoo.co.uk", "yahoo");
        check("aol.com", "yahoo");
        check("yahoo.co.jp", "yahoo-jp");
        check("hotmail.fr", "microsoft");
        check("contoso.onmicrosoft.com", "microsoft-365");
        check("icloud.com", "apple");
        check("gmx.de", "gmx");
        check("gmx.com", "gmx");
        check("wanadoo.fr", "orange");
        check("virgilio.it", "libero");
        check("bk.ru", "mailru");
        check("foxmail.com", "qq");
        check("126.com", "netease");
        check("pm.me", "proton");
        check("sbcglobal.net", "att");
        check("o2.pl", "wp");
        check("mail.de", "mail-de");
        check("vk.com", "mailru");
        check("comhem.se", "tele2-se");
        check("tele2.se", "tele2-se");
        check("bredband.net", "bredband-net");
        check("sunrise.ch", "sunrise");
        check("scarlet.be", "scarlet");
        check("vodafone.it", "vodafone-it");
        check("bsnl.in", "bsnl");
        check("bigmir.net", "bigmir");
        check("ik.me", "infomaniak");
        check("kolabnow.com", "kolabnow");
        check("google.com", "google-workspace");
        check("jcom.home.ne.jp", "jcom");
        check("pp.inet.fi", "telia-fi");
    }

    #[test]
    fn groups_are_named_after_their_leading_provider() {
        for (slug, expected) in [
            ("gmx", "gmx"),
            ("webde", "gmx"),
            ("mailcom", "gmx"),
            ("ionos", "ionos"),
            ("yahoo", "yahoo"),
            ("att", "yahoo"),
            ("verizon", "yahoo"),
            ("cox", "yahoo"),
            ("comcast", "yahoo"),
            ("rogers", "yahoo"),
            ("yahoo-jp", "yahoo-jp"),
            ("microsoft", "microsoft"),
            ("microsoft-365", "microsoft-365"),
            (OTHER, OTHER),
            ("(other)", "(other)"),
            ("", ""),
        ] {
            assert_eq!(group_of(slug), expected, "{slug}");
        }
    }

    #[test]
    fn sub_domains_belong_to_their_domain_and_look_alikes_do_not() {
        check("mail.yahoo.com", "yahoo");
        check("a.b.c.d.e.yahoo.co.uk", "yahoo");
        check("notgmail.com", OTHER);
        check("gmail.com.example", OTHER);
        check("gmail.co", OTHER);
    }

    #[test]
    fn only_whole_labels_of_a_canonical_domain_match() {
        for (domain, expected) in [
            ("gmail.com", "gmail"),
            ("a.gmail.com", "gmail"),
            (".gmail.com", "gmail"),
            ("xgmail.com", OTHER),
            ("gmail.com.", OTHER),
            ("GMAIL.COM", OTHER),
            ("gmail", OTHER),
            ("co.uk", OTHER),
            ("yahoo.co.uk.example.com", OTHER),
        ] {
            check(domain, expected);
        }
    }

    #[test]
    fn providers_without_a_feedback_loop_report_no_complaints() {
        let silent: Vec<_> =
            all().iter().map(|one| one.slug).filter(|slug| !reports_complaints(slug)).collect();
        assert_eq!(silent, ["google-workspace", "gmail", "microsoft-365", "apple"]);
        // Outlook.com's own mailboxes do report.
        assert!(reports_complaints("microsoft"));
        assert!(reports_complaints(OTHER) && reports_complaints("") && reports_complaints("(other)"));
    }

    #[test]
    fn unknown_domains_are_other() {
        for domain in ["", ".", "..", "com", "example.com", "(none)", "ä.example", &"a.".repeat(100_000)] {
            check(domain, OTHER);
        }
    }

    #[test]
    fn list_is_well_formed_and_has_no_duplicates() {
        let (mut slugs, mut domains): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
        for provider in all() {
            let is_sourced = |source: &str| source.contains("://") || source.contains(' ');
            assert!(!provider.name.is_empty() && is_sourced(provider.source), "{provider:?}");
            assert!(
                provider.evidence.as_ref().is_none_or(|evidence| is_sourced(evidence.source)),
                "{provider:?}"
            );
            assert!(provider.slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            assert!(!provider.domains.is_empty() || provider.evidence.is_some(), "{}", provider.slug);
            // A group is the slug of its leader, who leads itself: a group of groups would never be found.
            if let Some(group) = provider.group {
                assert!(
                    group != provider.slug && by_slug(group).is_some(),
                    "{group} leads nobody or is not listed"
                );
                assert!(
                    by_slug(group).is_some_and(|leader| leader.group.is_none()),
                    "{group} is in another group"
                );
            }
            slugs.push(provider.slug);
            domains.extend(&provider.domains);
        }
        for domain in &domains {
            assert_eq!(*domain, domain.to_ascii_lowercase());
            let labels = domain.split('.').count();
            assert!((2..=MAX_LABELS).contains(&labels), "{domain}");
            // The lookup stops at the shortest listed suffix, so a listed sub-domain must not belong to another provider.
            let is_below =
                |other: &&&str| domain.strip_suffix(**other).is_some_and(|rest| rest.ends_with('.'));
            for other in domains.iter().filter(is_below) {
                assert!(
                    all().iter().any(|one| one.domains.contains(domain) && one.domains.contains(other)),
                    "{domain} and {other} belong to different providers"
                );
            }
        }
        let (slug_count, domain_count) = (slugs.len(), domains.len());
        slugs.sort_unstable();
        slugs.dedup();
        domains.sort_unstable();
        domains.dedup();
        assert_eq!((slugs.len(), domains.len()), (slug_count, domain_count), "something is listed twice");
        assert!(slug_count >= 290 && domain_count >= 1_380 && !slugs.contains(&OTHER), "{slug_count}");
    }
}
