//! Maps a recipient's domain to the mailbox provider that runs it.
//!
//! `provider/providers.toml` lists providers with the domains of their own addresses, each with its source. A company's domain
//! does not reveal who runs its mail, and this module queries no DNS: such a domain is [`OTHER`], like every unknown one.
//!
//! Lookups run for every recipient of every event, so they must not allocate.

use std::sync::LazyLock;

use hashbrown::HashMap;
use rapidhash::fast::RandomState;
use serde::Deserialize;

use crate::invariant::or_broken;

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
    /// The domains of its addresses, in lower case.
    #[serde(borrow)]
    pub domains: Vec<&'f str>,
    /// Whether the provider reports complaints to SES; `true` if omitted.
    #[serde(default = "reports")]
    pub reports_complaints: bool,
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
        Self { all, by_domain }
    }
}

/// The slug of the provider that runs `domain`, or [`OTHER`]. `domain` must be in lower case without a trailing dot. A sub-domain
/// belongs to the provider of the listed domain above it.
pub fn of_domain(domain: &str) -> &'static str {
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
            return slug;
        }
        labels += 1;
        if labels > MAX_LABELS {
            return OTHER;
        }
    }
    // The loop looks up what follows a dot, so the whole domain is left.
    by_domain.get(domain).copied().unwrap_or(OTHER)
}

/// Whether the provider with this slug reports complaints to SES. If not, a count of 0 complaints means nothing. `true` for slugs
/// that are not listed.
pub fn reports_complaints(slug: &str) -> bool {
    PROVIDERS.all.iter().all(|provider| provider.slug != slug || provider.reports_complaints)
}

/// All listed providers, in the order of the file.
pub fn all() -> &'static [Provider<'static>] {
    &PROVIDERS.all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(domain: &str, expected: &str) {
        assert_eq!(of_domain(domain), expected, "{domain}");
    }

    #[test]
    fn domains_belong_to_their_providers() {
        check("gmail.com", "gmail");
        check("googlemail.com", "gmail");
        check("yahoo.co.uk", "yahoo");
        check("aol.com", "yahoo");
        check("yahoo.co.jp", "yahoo-jp");
        check("hotmail.fr", "microsoft");
        check("contoso.onmicrosoft.com", "microsoft365");
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
    fn only_gmail_and_apple_report_no_complaints() {
        let silent: Vec<_> =
            all().iter().map(|one| one.slug).filter(|slug| !reports_complaints(slug)).collect();
        assert_eq!(silent, ["gmail", "apple"]);
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
            assert!(!provider.name.is_empty() && provider.source.len() > 8, "{provider:?}");
            assert!(provider.slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            assert!(!provider.domains.is_empty(), "{}", provider.slug);
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
        assert!(slug_count >= 60 && !slugs.contains(&OTHER), "{slug_count}");
    }
}
