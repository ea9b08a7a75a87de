//! The inside of JSON strings: finding their end many bytes at a time, and resolving escapes.
//!
//! It must never read beyond the string's text or give anything but UTF-8.

use wide::u8x16;

use super::Fault;

/// So many bytes are looked at together: one bit each in a word.
pub(super) const WINDOW: usize = 64;
/// So many bytes fit in a register.
const LANE: usize = 16;

/// The place of the first quote, backslash or control character at or after `at`; the end of `bytes` if there is none.
pub(super) fn next_special(bytes: &[u8], mut at: usize) -> usize {
    loop {
        let found = specials(bytes, at);
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        at += WINDOW;
    }
}

/// Which of the [`WINDOW`] bytes from `at` on are quotes, backslashes or control characters: one bit each, the first lowest.
/// Behind the end of `bytes` all are.
#[inline]
pub(super) fn specials(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    let mut padded = [0; WINDOW];
    let window = rest.first_chunk::<WINDOW>().unwrap_or_else(|| {
        // There is room, as the rest is shorter.
        for (to, from) in padded.iter_mut().zip(rest) {
            *to = *from;
        }
        &padded
    });
    let mut found = 0;
    for (lane, bytes) in window.as_chunks::<LANE>().0.iter().enumerate() {
        found |= u64::from(is_special(u8x16::new(*bytes)).to_bitmask()) << (lane * LANE);
    }
    found
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
        let (plain, escape) = rest.split_at(next_special(rest.as_bytes(), 0));
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
