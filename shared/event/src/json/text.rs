//! The inside of JSON strings: finding their end many bytes at a time, and resolving escapes.
//!
//! It must never read beyond the string's text or give anything but UTF-8.

use wide::u8x16;

use super::Fault;

/// So many bytes are told of by one word, a bit each.
pub(super) const WINDOW: usize = 64;
/// So many words are made at once.
const WINDOWS: usize = 8;
/// So many bytes fit in a register.
const LANE: usize = 16;

/// Which of so many bytes are quotes, backslashes or control characters: the first in the lowest bit of the first word. Behind the
/// end of the text all are.
pub(super) type Specials = [u64; WINDOWS];

/// Where the special bytes are that `text` begins with.
pub(super) fn specials(text: &[u8]) -> Specials {
    let mut specials = [u64::MAX; WINDOWS];
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
    // There is room, as the rest is shorter.
    for (to, from) in window.iter_mut().zip(rest) {
        *to = *from;
    }
    specials_in(&window)
}

/// The place of the first quote, backslash or control character in `text`; its end if there is none.
pub(super) fn next_special(text: &[u8]) -> usize {
    text.iter().position(|&byte| byte < b' ' || matches!(byte, b'"' | b'\\')).unwrap_or(text.len())
}

/// Flipping bit 1 moves the quote (0x22) next to the control characters (below 0x20): one comparison finds both.
#[inline]
fn is_special(bytes: u8x16) -> u8x16 {
    let flipped = bytes ^ u8x16::splat(0x02);
    let quote_or_control = flipped.min(u8x16::splat(0x20)).simd_eq(flipped);
    quote_or_control | bytes.simd_eq(u8x16::splat(b'\\'))
}

/// Checks the escape that begins with the backslash at `at`; the place behind it.
pub(super) fn escape_end(bytes: &[u8], at: usize) -> Result<usize, Fault> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => {
            for place in at + 2..at + 6 {
                match bytes.get(place) {
                    Some(byte) if byte.is_ascii_hexdigit() => {}
                    Some(_) => return Err(Fault::Syntax),
                    None => return Err(Fault::End),
                }
            }
            Ok(at + 6)
        }
        Some(_) => Err(Fault::Syntax),
        None => Err(Fault::End),
    }
}

/// Appends `raw`, a string's checked inside, to `text` with its escapes resolved.
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
                rest = escape.get(length..).unwrap_or_default();
                continue;
            }
            Some(itself) => text.push(itself),
            None => return,
        }
        rest = letters.as_str();
    }
}

/// The character of a `\uXXXX` escape or of a surrogate pair of them, and the escape's length.
fn unicode(escape: &str) -> (char, usize) {
    let high = code_unit(escape);
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
