//! Extracts the domain of an address, in one spelling.
//!
//! Addresses come bare, with display names (`"Sale, now" <a@b>`), with quoted local parts (`"a@b"@c`) and with RFC 2047 words,
//! and senders may put any text into them. Only the domain is used. ASCII letters become lower case. An internationalised domain
//! is kept as given; SES requires Punycode in envelopes, so that is how it normally arrives:
//! <https://docs.aws.amazon.com/ses/latest/dg/send-email-formatted.html>.
//!
//! An IP address in place of a domain is `(invalid)`, because IPs must not leave the aggregate step. Nothing is allocated unless
//! there are capital letters.

use std::borrow::Cow;

use super::Dimension;
use super::value::is_misleading;

/// The longest domain name, in bytes: <https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4>
const MAX_DOMAIN_BYTES: usize = 253;

/// The domain of an address: [`Dimension::NONE`] if there is no `@`, [`Dimension::INVALID`] if a domain does not follow it.
pub(super) fn domain_of(address: &str) -> Cow<'_, str> {
    // A display name may contain anything, but it comes before the last `<`. A quoted local part may contain `@`, so the last one
    // counts.
    let open = memchr::memrchr(b'<', address.as_bytes());
    let address = open.and_then(|open| address.get(open + 1..)).unwrap_or(address);
    // Without a closing bracket the address reaches to the end of the text.
    let close = memchr::memchr(b'>', address.as_bytes());
    let address = close.and_then(|close| address.get(..close)).unwrap_or(address);
    let at = memchr::memrchr(b'@', address.as_bytes());
    match at.and_then(|at| address.get(at + 1..)) {
        Some(domain) => canonical_domain(domain),
        None => Cow::Borrowed(Dimension::NONE),
    }
}

/// The domain in lower case without its trailing dot; [`Dimension::NONE`] if empty, [`Dimension::INVALID`] if it is not a domain.
/// A domain is kept whole: the longest is shorter than a dimension's value may be.
pub(crate) fn canonical_domain(domain: &str) -> Cow<'_, str> {
    let domain = trim(domain);
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    if domain.is_empty() {
        return Cow::Borrowed(Dimension::NONE);
    }
    if domain.len() > MAX_DOMAIN_BYTES || !is_domain(domain) {
        return Cow::Borrowed(Dimension::INVALID);
    }
    if domain.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(domain.to_ascii_lowercase())
    } else {
        Cow::Borrowed(domain)
    }
}

/// As [`str::trim`], but faster for domains that begin and end with visible ASCII, as nearly all do.
fn trim(domain: &str) -> &str {
    match domain.as_bytes() {
        [b'!'..=b'~', .., b'!'..=b'~'] => domain,
        _ => domain.trim(),
    }
}

/// Whether it consists of letters, digits, `-` and `_` with single dots between labels, and is not an IP address. Characters
/// beyond ASCII are accepted unless they are invisible or misleading.
fn is_domain(domain: &str) -> bool {
    let mut before = b'.';
    // The union of all bytes: its highest bit tells whether there is anything beyond ASCII.
    let mut all = 0;
    for byte in domain.bytes() {
        let is_allowed = match byte {
            b'a'..=b'z' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | 0x80.. => true,
            b'.' => before != b'.',
            _ => false,
        };
        if !is_allowed {
            return false;
        }
        before = byte;
        all |= byte;
    }
    before != b'.'
        && !ends_in_a_number(domain)
        && (all.is_ascii() || !domain.chars().any(|c| is_misleading(c) || c.is_whitespace()))
}

/// No top-level domain is a number, so a domain that ends in one is an IPv4 address or part of one.
fn ends_in_a_number(domain: &str) -> bool {
    let last_dot = memchr::memrchr(b'.', domain.as_bytes());
    let last = last_dot.and_then(|dot| domain.get(dot + 1..)).unwrap_or(domain);
    last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, expected: &str) {
        assert_eq!(domain_of(address), expected, "{address:?}");
    }

    #[test]
    fn domain_is_found_in_every_form_of_address() {
        check("jane@example.com", "example.com");
        check("Jane@Example.COM", "example.com");
        check("Jane Doe <jane@example.com>", "example.com");
        check("\"Doe <x@wrong.example>, Jane\" <jane@example.com>", "example.com");
        check("=?utf-8?b?SmFuZSA8YUBiPg==?= <jane@example.com>", "example.com");
        check("\"jane@home\"@example.com", "example.com");
        check("<jane@example.com.>", "example.com");
        check("jane@xn--mnchen-3ya.example", "xn--mnchen-3ya.example");
        check("jane@münchen.example", "münchen.example");
        check(" jane@mail_1.example ", "mail_1.example");
        check("jane@localhost", "localhost");
    }

    #[test]
    fn address_without_a_domain_has_none() {
        for address in ["", "jane", "MAILER-DAEMON", "<>", "jane@", "a@b <jane>"] {
            check(address, Dimension::NONE);
        }
    }

    #[test]
    fn text_that_cannot_be_a_domain_is_invalid() {
        for address in [
            "jane@[192.0.2.1]",
            "jane@[IPv6:2001:db8::1]",
            "jane@192.0.2.1",
            "jane@a..b",
            "jane@.example.com",
            "jane@exa mple.com",
            "jane@example.com\"",
            "jane@example\u{202e}moc.com",
            "jane@example.com\n",
        ] {
            let expected = if address.ends_with('\n') { "example.com" } else { Dimension::INVALID };
            check(address, expected);
        }
    }

    #[test]
    fn domain_as_long_as_dns_allows_is_kept_whole_and_a_longer_one_is_invalid() {
        let longest = format!("{}aa.de", "a.".repeat(124));
        assert_eq!(longest.len(), MAX_DOMAIN_BYTES);
        check(&format!("x@{longest}"), &longest);
        check(&format!("x@a{longest}"), Dimension::INVALID);
        check(&format!("x@{}.com", "a".repeat(1_000_000)), Dimension::INVALID);
    }

    #[test]
    fn ordinary_addresses_are_borrowed() {
        assert!(matches!(domain_of("jane@example.com"), Cow::Borrowed(_)));
    }
}
