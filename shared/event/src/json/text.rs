//! The inside of JSON strings: finding their end many bytes at a time, and resolving escapes.
//!
//! It must never read beyond the string's text or give anything but UTF-8.

use super::Fault;

const EACH: u64 = 0x0101_0101_0101_0101;
const TOP_BITS: u64 = 0x8080_8080_8080_8080;
/// Long strings are passed in blocks of so many bytes, which compilers turn into vector code.
const BLOCK: usize = 32;

/// The place of the first quote, backslash or control character at or after `at`; the end of `bytes` if there is none.
#[inline]
pub(super) fn next_special(bytes: &[u8], mut at: usize) -> usize {
    while let Some(pair) = bytes.get(at..).and_then(|rest| rest.first_chunk::<16>()) {
        if let Some(place) = special_in(pair) {
            return at + place;
        }
        at += 16;
        while let Some(block) = bytes.get(at..).and_then(|rest| rest.first_chunk::<BLOCK>()) {
            if block.iter().fold(false, |any, &byte| any | is_special(byte)) {
                break;
            }
            at += BLOCK;
        }
    }
    let tail = bytes.get(at..).unwrap_or_default();
    at + tail.iter().position(|&byte| is_special(byte)).unwrap_or(tail.len())
}

/// Flipping bit 1 moves the quote (0x22) next to the control characters (below 0x20): one comparison finds both.
#[inline]
#[expect(
    clippy::needless_bitwise_bool,
    reason = "no branch between the two, so that blocks become vector code"
)]
fn is_special(byte: u8) -> bool {
    ((byte ^ 0x02) < 0x21) | (byte == b'\\')
}

/// The first special byte of sixteen.
#[inline]
fn special_in(pair: &[u8; 16]) -> Option<usize> {
    let [low, high] = pair.as_chunks::<8>().0 else { return None };
    let (low, high) = (specials(u64::from_le_bytes(*low)), specials(u64::from_le_bytes(*high)));
    if low | high == 0 {
        return None;
    }
    let bit = if low == 0 { 64 + high.trailing_zeros() } else { low.trailing_zeros() };
    Some((bit / 8) as usize)
}

/// [`is_special`] for eight bytes: the top bit of each that is. Borrows may set bits above the lowest true one, never below it.
#[inline]
fn specials(word: u64) -> u64 {
    let quote_or_control = (word ^ (EACH * 0x02)).wrapping_sub(EACH * 0x21);
    let backslash = (word ^ (EACH * 0x5c)).wrapping_sub(EACH);
    (quote_or_control | backslash) & !word & TOP_BITS
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
