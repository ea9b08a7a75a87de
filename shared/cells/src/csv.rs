//! Texts as CSV cells (RFC 4180) that are safe to open in a spreadsheet. Everything that Mailgauge writes as CSV uses this.
//!
//! Names of campaigns, tenants and domains come from mail, so anybody can choose them. A spreadsheet takes a cell that begins with
//! certain characters for a formula, even if it is quoted. Such a text gets a leading apostrophe, as
//! <https://owasp.org/www-community/attacks/CSV_Injection> advises. Numbers are not changed: `-3` stays `-3`.

use std::borrow::Cow;

/// A text as a cell in a line of CSV: with a leading apostrophe if it would begin a formula, and quoted where RFC 4180 requires it.
pub fn cell(text: &str) -> Cow<'_, str> {
    if begins_formula(text) { Cow::Owned(quoted(&format!("'{text}")).into_owned()) } else { quoted(text) }
}

/// The text, in quotes if it has a comma, a quote or a line break.
fn quoted(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
        Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(text)
    }
}

/// Whether a spreadsheet would take the text for a formula. Covers the full-width signs of East Asian keyboards, and white space that some
/// programs skip.
fn begins_formula(text: &str) -> bool {
    let begins = text
        .starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}']);
    begins && !is_number(text)
}

/// Whether the whole text is one decimal number, such as `-3` or `+1.5e-7`.
fn is_number(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
    text.bytes().all(is_plain) && text.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_begins_a_formula_is_guarded() {
        for (text, expected) in [
            ("=1+1", "'=1+1"),
            ("+1+1", "'+1+1"),
            ("-2+3", "'-2+3"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\tx", "'\tx"),
            ("\rx", "\"'\rx\""),
            ("\n=1", "\"'\n=1\""),
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            ("=\"a\",b", "\"'=\"\"a\"\",b\""),
            ("\u{ff1d}1", "'\u{ff1d}1"),
            ("-", "'-"),
            ("+inf", "'+inf"),
            ("-1-2", "'-1-2"),
            ("-1e", "'-1e"),
        ] {
            assert_eq!(cell(text), expected, "{text:?}");
        }
    }

    #[test]
    fn numbers_and_other_texts_stay_as_they_are() {
        for text in [
            "",
            "-3",
            "+4.25",
            "-1e-7",
            "spring",
            "a=b",
            "a-b",
            "(other)",
            "2026-11-25T00:00:00Z",
            "'x",
            "été",
        ] {
            assert!(matches!(cell(text), Cow::Borrowed(same) if same == text), "{text:?}");
        }
        assert_eq!(cell("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(cell("a\r\nb"), "\"a\r\nb\"");
    }
}
