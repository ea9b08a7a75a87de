//! Whose mailboxes a recipient's domain holds: domain to mailbox provider.
//!
//! `provider/providers.toml` lists providers with the domains of their own mail addresses, each with its source. A
//! company's domain says nothing about who runs its mail, and this module asks no DNS: such a domain is
//! [`OTHER`], as is everything unknown. Nothing here may allocate: it runs for every recipient of every event.

use std::sync::LazyLock;

use hashbrown::HashMap;
use rapidhash::fast::RandomState;
use serde::Deserialize;

/// The provider of a domain that no listed provider has.
pub const OTHER: &str = "other";

/// The most labels a listed domain has (`yahoo.co.uk`). What stands before them in a domain is never looked at, so a
/// hostile domain of a hundred labels costs no more than any other.
const MAX_LABELS: usize = 3;

const PROVIDERS_TOML: &str = include_str!("provider/providers.toml");

static PROVIDERS: LazyLock<Providers> = LazyLock::new(Providers::built_in);

/// A mailbox provider.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider<'f> {
    /// What it is called in dimensions, filters and rules: lower-case letters, digits and hyphens.
    pub slug: &'f str,
    /// What it is called on a page.
    pub name: &'f str,
    /// Where its domains are known from: an address, or whose common knowledge it is.
    pub source: &'f str,
    /// The domains of its addresses, lower-case.
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
        // The file is part of the program; a test proves that it can be read.
        let all = toml::from_str::<ProviderFile<'static>>(PROVIDERS_TOML).unwrap_or_default().providers;
        let mut by_domain = HashMap::default();
        for provider in &all {
            for domain in &provider.domains {
                by_domain.insert(*domain, provider.slug);
            }
        }
        Self { all, by_domain }
    }
}

/// The provider's slug of a lower-case domain without a trailing dot, or [`OTHER`]. A sub-domain of a listed domain counts as that domain.
pub fn provider(domain: &str) -> &'static str {
    let by_domain = &PROVIDERS.by_domain;
    let mut labels = 1;
    for (at, byte) in domain.bytes().enumerate().rev() {
        if byte != b'.' {
            continue;
        }
        // No listed domain has only one label.
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
    by_domain.get(domain).copied().unwrap_or(OTHER)
}

/// Whether the provider with this slug reports complaints to SES; `true` for providers that are not listed. If it does not, the absence of
/// complaints means nothing.
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
        assert_eq!(provider(domain), expected, "{domain}");
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
    fn sub_domains_count_as_their_domain_and_look_alikes_do_not() {
        check("mail.yahoo.com", "yahoo");
        check("a.b.c.d.e.yahoo.co.uk", "yahoo");
        check("notgmail.com", OTHER);
        check("gmail.com.example", OTHER);
        check("gmail.co", OTHER);
    }

    #[test]
    fn gmail_and_apple_report_no_complaints() {
        let silent: Vec<_> =
            all().iter().map(|one| one.slug).filter(|slug| !reports_complaints(slug)).collect();
        assert_eq!(silent, ["gmail", "apple"]);
        assert!(reports_complaints(OTHER) && reports_complaints("") && reports_complaints("(other)"));
    }

    #[test]
    fn everything_else_is_other() {
        for domain in ["", ".", "..", "com", "example.com", "(none)", "ä.example", &"a.".repeat(100_000)] {
            check(domain, OTHER);
        }
    }

    #[test]
    fn the_list_is_long_and_says_nothing_twice() {
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
