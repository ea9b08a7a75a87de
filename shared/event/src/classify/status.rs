//! Finds the codes in a server's answer: the SMTP reply code (`550`) and the enhanced status code (`5.1.1`).
//!
//! Diagnostics are free text with addresses, IPs and version numbers in it, so a number counts only if it stands alone.
//!
//! Sources: <https://www.rfc-editor.org/rfc/rfc5321#section-4.2>, <https://www.rfc-editor.org/rfc/rfc3463>.

/// The bytes of a diagnostic that are searched for codes. Servers write them at the beginning; the rest may be anything.
const MAX_BYTES_SCANNED: usize = 256;

/// An enhanced status code: class, subject, detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EnhancedStatus(pub(super) [u16; 3]);

/// A pattern for a [`EnhancedStatus`]; `None` is the `x` of `5.7.x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StatusPattern(pub(super) [Option<u16>; 3]);

/// The codes of one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Codes {
    pub(super) status: Option<EnhancedStatus>,
    pub(super) reply: Option<u16>,
}

impl Codes {
    /// The first reply code in `diagnostic`, and the first enhanced status code that says more than its class or subject: gateways
    /// wrap a server's answer in their own (`5.1.0 - Unknown address error '5.2.2 Mailbox full'`). If there is none, the one that SES
    /// reports as `status` is used, if that says more.
    pub(super) fn read(diagnostic: &str, status: &str) -> Self {
        let mut codes = Self::default();
        let bytes = diagnostic.as_bytes();
        for token in tokens(bytes.get(..MAX_BYTES_SCANNED).unwrap_or(bytes)) {
            // The first one decides: servers begin with their reply, and the rest may be anything.
            if codes.reply.is_none() {
                codes.reply = reply_code(token);
            }
            if let Some(found) = EnhancedStatus::parse(token) {
                if codes.status.is_none() || found.is_specific() {
                    codes.status = Some(found);
                }
                // The enhanced code follows the reply code, so it ends the search.
                if found.is_specific() {
                    break;
                }
            }
        }
        // Last, because SES often reports a generic code for a server that was specific.
        if !codes.status.is_some_and(EnhancedStatus::is_specific) {
            let reported = EnhancedStatus::parse(status.trim().as_bytes());
            let says_more = reported.is_some_and(EnhancedStatus::is_specific);
            if codes.status.is_none() || says_more {
                codes.status = reported;
            }
        }
        codes
    }
}

impl EnhancedStatus {
    fn parse(token: &[u8]) -> Option<Self> {
        let mut parts = token.split(|&byte| byte == b'.');
        // Class 2 means success and never explains a bounce.
        let class = number(parts.next()?, 1).filter(|class| (4..=5).contains(class))?;
        let status = Self([class, number(parts.next()?, 3)?, number(parts.next()?, 3)?]);
        parts.next().is_none().then_some(status)
    }

    /// Whether the code says more than its subject: a detail of 0 is "other or undefined" (RFC 3463, section 3).
    fn is_specific(self) -> bool {
        let [_, _, detail] = self.0;
        detail != 0
    }
}

impl StatusPattern {
    /// Parses `5.1.1`, `5.7.x` or `x.2.2`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = [None; 3];
        let mut texts = text.split('.');
        for part in &mut parts {
            let text = texts.next()?;
            if text != "x" {
                *part = Some(number(text.as_bytes(), 3)?);
            }
        }
        texts.next().is_none().then_some(Self(parts))
    }

    pub(super) fn matches(self, status: EnhancedStatus) -> bool {
        self.0.iter().zip(status.0).all(|(wanted, actual)| wanted.is_none_or(|wanted| wanted == actual))
    }
}

/// Runs of digits, dots and letters: a code stands alone only if it is a whole run.
fn tokens(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'.').map(trim_dots)
}

/// Removes the full stop after a code that ends a sentence.
fn trim_dots(token: &[u8]) -> &[u8] {
    token.strip_suffix(b".").unwrap_or(token)
}

fn reply_code(token: &[u8]) -> Option<u16> {
    let is_code = token.len() == 3 && matches!(token.first(), Some(b'4' | b'5'));
    if is_code { number(token, 3) } else { None }
}

fn number(digits: &[u8], max_digits: usize) -> Option<u16> {
    if digits.is_empty() || digits.len() > max_digits {
        return None;
    }
    // Three digits at most, so the sum cannot overflow.
    let mut number = 0_u16;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number * 10 + u16::from(digit - b'0');
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(diagnostic: &str, status: &str, expected: (Option<u16>, Option<[u16; 3]>)) {
        let codes = Codes::read(diagnostic, status);
        assert_eq!((codes.reply, codes.status.map(|status| status.0)), expected, "{diagnostic:?} {status:?}");
    }

    #[test]
    fn codes_are_found_wherever_servers_put_them() {
        check("smtp; 550 5.1.1 user unknown", "", (Some(550), Some([5, 1, 1])));
        check("550-5.7.26 This mail", "5.0.0", (Some(550), Some([5, 7, 26])));
        check("smtp;550 user unknown", "5.1.1", (Some(550), Some([5, 1, 1])));
        check("Amazon SES did not send", " 5.1.1 ", (None, Some([5, 1, 1])));
        check("smtp; 421 4.7.0 [TSS04] from 203.0.113.9", "", (Some(421), Some([4, 7, 0])));
        check("550 5.7.606 Access denied.", "", (Some(550), Some([5, 7, 606])));
        check("blocked (S3150) 5.7.1.", "", (None, Some([5, 7, 1])));
    }

    #[test]
    fn specific_code_is_taken_before_a_generic_one() {
        check(
            "550 5.1.0 - Unknown address error '5.2.2 Mailbox Full'",
            "5.1.0",
            (Some(550), Some([5, 2, 2])),
        );
        check("550 5.7.1 denied (#5.1.1)", "5.1.1", (Some(550), Some([5, 7, 1])));
        check("550 5.7.0 denied", "5.0.0", (Some(550), Some([5, 7, 0])));
        check("550 5.0.0 denied", "5.7.1", (Some(550), Some([5, 7, 1])));
        check("550 denied", "5.0.0", (Some(550), Some([5, 0, 0])));
    }

    #[test]
    fn addresses_versions_and_ids_are_not_codes() {
        check("Host 5.1.1.4 refused", "", (None, None));
        check("host 45.1.1 v5.1.1 5.1.1b x5.1.1", "", (None, None));
        check("5.1", "2.0.0", (None, None));
        check("5.1.1111 9.1.1 4..1 5.x.1", "1.1.1", (None, None));
        check("", "", (None, None));
    }

    #[test]
    fn codes_beyond_the_limit_are_not_found() {
        let at_the_edge = format!("{}550", " ".repeat(MAX_BYTES_SCANNED - 3));
        check(&at_the_edge, "", (Some(550), None));
        check(&format!("{}550", " ".repeat(MAX_BYTES_SCANNED)), "", (None, None));
    }

    #[test]
    fn pattern_matches_its_numbers_and_any_number_for_x() {
        let matches =
            |pattern, status| StatusPattern::parse(pattern).unwrap().matches(EnhancedStatus(status));
        assert!(matches("5.1.1", [5, 1, 1]) && !matches("5.1.1", [4, 1, 1]));
        assert!(matches("x.2.2", [4, 2, 2]) && matches("5.7.x", [5, 7, 606]) && !matches("5.7.x", [5, 6, 7]));
        for not_a_pattern in ["", "5", "5.1", "5.1.1.1", "5.1.y", "5.1.1234"] {
            assert!(StatusPattern::parse(not_a_pattern).is_none(), "{not_a_pattern}");
        }
    }
}
