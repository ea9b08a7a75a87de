//! The inside of JSON strings: finds their end many bytes at a time, and resolves escapes.
//!
//! Nothing here may read beyond the text or produce anything but UTF-8.

use wide::u8x16;

use super::ScanError;
use crate::invariant::or_broken;

/// Bytes per window: one bit of a word for each.
pub(super) const WINDOW: usize = 64;
/// Windows that are examined at once.
const WINDOWS: usize = 8;
/// Bytes per vector register.
const LANE: usize = 16;

/// One bit for each byte of the next [`WINDOWS`] windows, set if the byte is a quote, a backslash or a control character. The
/// first byte is the lowest bit of the first word. Bits beyond the end of the text are set, so that every search ends.
pub(super) type Specials = [u64; WINDOWS];

/// The special bytes at the beginning of `text`.
pub(super) fn specials(text: &[u8]) -> Specials {
    let mut specials = [u64::MAX; WINDOWS];
    // Only as many windows as fit into the result are examined, however long the text is.
    let (windows, rest) = text.as_chunks::<WINDOW>();
    for (specials, window) in specials.iter_mut().zip(windows) {
        *specials = specials_in(window);
    }
    if let Some(specials) = specials.get_mut(windows.len()) {
        *specials = specials_at_end(rest);
    }
    specials
}

#[inline]
fn specials_in(window: &[u8; WINDOW]) -> u64 {
    let mut found = 0;
    for (lane, bytes) in window.as_chunks::<LANE>().0.iter().enumerate() {
        found |= u64::from(is_special(u8x16::new(*bytes)).to_bitmask()) << (lane * LANE);
    }
    found
}

#[cold]
fn specials_at_end(rest: &[u8]) -> u64 {
    let mut window = [0; WINDOW];
    // The rest is shorter than a window. The zeros after it are control characters, so their bits are set too.
    for (to, from) in window.iter_mut().zip(rest) {
        *to = *from;
    }
    specials_in(&window)
}

/// The position of the first quote, backslash or control character in `text`, or its length if there is none.
pub(super) fn next_special(text: &[u8]) -> usize {
    text.iter().position(|&byte| byte < b' ' || matches!(byte, b'"' | b'\\')).unwrap_or(text.len())
}

/// Flipping bit 1 moves the quote (0x22) to 0x20, next to the control characters below it, so that one comparison finds both.
#[inline]
fn is_special(bytes: u8x16) -> u8x16 {
    let flipped = bytes ^ u8x16::splat(0x02);
    let quote_or_control = flipped.min(u8x16::splat(0x20)).simd_eq(flipped);
    quote_or_control | bytes.simd_eq(u8x16::splat(b'\\'))
}

/// Checks the escape that begins with the backslash at `at` and returns the position after it.
pub(super) fn escape_end(bytes: &[u8], at: usize) -> Result<usize, ScanError> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => {
            // Digit by digit: an escape that the text ends in is cut off, one with another letter is wrong, and these are two errors.
            for index in at + 2..at + 6 {
                match bytes.get(index) {
                    Some(byte) if byte.is_ascii_hexdigit() => {}
                    Some(_) => return Err(ScanError::Syntax),
                    None => return Err(ScanError::UnexpectedEnd),
                }
            }
            Ok(at + 6)
        }
        Some(_) => Err(ScanError::Syntax),
        None => Err(ScanError::UnexpectedEnd),
    }
}

/// Appends `raw` to `text` with its escapes resolved. `raw` must be the inside of a string that the scanner has accepted.
pub(super) fn unescape(raw: &str, text: &mut String) {
    let mut rest = raw;
    loop {
        let (plain, escape) = rest.split_at(next_special(rest.as_bytes()));
        text.push_str(plain);
        let mut letters = escape.chars();
        if letters.next().is_none() {
            return;
        }
        match letters.next() {
            Some('b') => text.push('\u{8}'),
            Some('f') => text.push('\u{c}'),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('t') => text.push('\t'),
            Some('u') => {
                let (letter, length) = unicode(escape);
                text.push(letter);
                // The scanner accepted the escape, so it is whole.
                rest = or_broken(escape.get(length..), "", "an escape is longer than its string");
                continue;
            }
            Some(itself) => text.push(itself),
            // A lone backslash at the end: the scanner accepts no such string.
            None => return,
        }
        rest = letters.as_str();
    }
}

/// The character of a `\uXXXX` escape or of a surrogate pair of two escapes, and the length of what was read. A surrogate without
/// its partner becomes U+FFFD.
fn unicode(escape: &str) -> (char, usize) {
    let high = code_unit(escape);
    // A low surrogate alone, or a high one that is not followed by a low one, is not a character.
    let pair = match (high, escape.get(6..).filter(|rest| rest.starts_with("\\u")).map(code_unit)) {
        (0xd800..=0xdbff, Some(low @ 0xdc00..=0xdfff)) => {
            Some(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00))
        }
        _ => None,
    };
    match pair.and_then(char::from_u32) {
        Some(letter) => (letter, 12),
        None => (char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), 6),
    }
}

fn code_unit(escape: &str) -> u32 {
    escape.get(2..6).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0xfffd)
}
