//! Reduces a server's answer, or a phrase of `rules.toml`, to its words.
//!
//! Servers put addresses, IP addresses, codes and line breaks between the words that matter: `user <jane@example.com> unknown`,
//! `552-5.2.2 inbox is out 552-5.2.2 of storage`. Without them one fragment finds all forms, and a word in an address or in the name
//! of a host cannot be mistaken for the server's. Host names and the addresses of pages stay whole, because some rules search for them.
//!
//! The result is one space, then each word followed by one space, so that a fragment with spaces around it finds whole words only.

/// The bytes of an answer that are read. The longest known answers, Gmail's with their links, have about 500.
pub(super) const MAX_ANSWER_BYTES: usize = 1024;

/// The words of one answer, on the stack: a bounce is classified without allocating.
pub(super) struct Words {
    bytes: [u8; MAX_ANSWER_BYTES + 2],
    len: usize,
}

impl Words {
    /// Reads the beginning of `answer`.
    pub(super) fn read(answer: &str) -> Self {
        let mut words = Self { bytes: [b' '; MAX_ANSWER_BYTES + 2], len: 1 };
        let answer = beginning(answer);
        let mut chunk = Chunk::default();
        // Bytes and not characters, because almost every answer is ASCII and each bounce passes through here.
        for (at, &byte) in answer.iter().enumerate() {
            match ROLES.get(usize::from(byte)).copied().unwrap_or(Role::Word) {
                Role::Word => {}
                Role::Name => chunk.is_one_word = false,
                Role::Address => chunk.is_address = true,
                // Sendmail writes `<address>... User unknown`, others `rejected...id`: dots in a row are no part of a name.
                Role::Dot if answer.get(at + 1) != Some(&b'.') => chunk.has_dot = true,
                Role::Dot | Role::Separator => {
                    words.push_chunk(answer.get(chunk.start..at).unwrap_or_default(), chunk);
                    chunk = Chunk { start: at + 1, ..Chunk::default() };
                }
                Role::Lead => {
                    let len = separator_len(answer.get(at..).unwrap_or_default());
                    if len > 0 {
                        words.push_chunk(answer.get(chunk.start..at).unwrap_or_default(), chunk);
                        chunk = Chunk { start: at + len, ..Chunk::default() };
                    }
                }
            }
        }
        words.push_chunk(answer.get(chunk.start..).unwrap_or_default(), chunk);
        words
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        // A word takes no more bytes than it and the separator before it took in the answer, so `len` is within the buffer.
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn push_chunk(&mut self, text: &[u8], chunk: Chunk) {
        if text.is_empty() || chunk.is_address {
            return;
        }
        if chunk.is_one_word && !chunk.has_dot {
            if !is_left_out(text) && !is_reply_code(text) {
                self.push(text);
            }
            return;
        }
        let text = trim(text);
        if text.contains(&b'.') {
            // A name of a host or a page, unless it is an IP address, an enhanced status code, or one behind a reply code.
            if !text.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-')) {
                self.push(text);
            }
            return;
        }
        for (index, word) in text.split(|&byte| !is_word_byte(byte)).enumerate() {
            // Elsewhere in a chunk, three digits belong to a code of the provider: `OFR_506`.
            if !is_left_out(word) && (index > 0 || !is_reply_code(word)) {
                self.push(word);
            }
        }
    }

    fn push(&mut self, word: &[u8]) {
        if let Some(free) = self.bytes.get_mut(self.len..self.len + word.len()) {
            free.copy_from_slice(word);
            free.make_ascii_lowercase();
            // The buffer is full of spaces, so the one behind the word is already there.
            self.len += word.len() + 1;
        }
    }
}

/// At most [`MAX_ANSWER_BYTES`]. A character that is cut in two belongs to a word that is not whole either.
fn beginning(answer: &str) -> &[u8] {
    let bytes = answer.as_bytes();
    bytes.get(..MAX_ANSWER_BYTES).unwrap_or(bytes)
}

/// What lies between two separators.
#[derive(Clone, Copy)]
struct Chunk {
    start: usize,
    is_one_word: bool,
    is_address: bool,
    has_dot: bool,
}

impl Default for Chunk {
    fn default() -> Self {
        Self { start: 0, is_one_word: true, is_address: false, has_dot: false }
    }
}

/// What a byte does to the chunk that it stands in.
#[derive(Clone, Copy)]
enum Role {
    /// Letters and digits; bytes of characters beyond ASCII count as such.
    Word,
    /// Part of the name of a host or a page; separates words where no name can be meant.
    Name,
    Dot,
    Address,
    Separator,
    /// Begins a character that may be punctuation.
    Lead,
}

const ROLES: [Role; 256] = {
    let mut roles = [Role::Separator; 256];
    let mut byte = 0_u8;
    loop {
        roles[byte as usize] = match byte {
            b'.' => Role::Dot,
            b'@' => Role::Address,
            b'-' | b'_' | b'/' | b'+' | b'%' => Role::Name,
            0xC2 | 0xE2 | 0xE3 | 0xEF => Role::Lead,
            _ if byte.is_ascii_alphanumeric() || !byte.is_ascii() => Role::Word,
            _ => Role::Separator,
        };
        if byte == u8::MAX {
            break roles;
        }
        byte += 1;
    }
};

/// The length of the character that `text` begins with, if it is punctuation beyond ASCII; otherwise 0. Whole blocks of Unicode
/// count: Latin-1 (no-break space, quotation marks), general, Chinese and full-width punctuation.
fn separator_len(text: &[u8]) -> usize {
    match text {
        [0xC2, ..] => 2,
        [0xE2, ..] | [0xE3, 0x80, ..] | [0xEF, 0xBC | 0xBD, ..] => 3,
        _ => 0,
    }
}

fn is_left_out(word: &[u8]) -> bool {
    matches!(word, b"" | b"http" | b"https")
}

/// Removes what may surround a word or a name.
fn trim(mut chunk: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = chunk
        && !is_word_byte(*first)
    {
        chunk = rest;
    }
    while let [rest @ .., last] = chunk
        && !is_word_byte(*last)
    {
        chunk = rest;
    }
    chunk
}

/// Letters and digits; every byte of a character beyond ASCII counts as one.
fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii()
}

fn is_reply_code(word: &[u8]) -> bool {
    matches!(word, [b'4' | b'5', tens, ones] if tens.is_ascii_digit() && ones.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &str, expected: &str) {
        assert_eq!(std::str::from_utf8(Words::read(answer).as_bytes()).unwrap(), expected, "{answer:?}");
    }

    #[test]
    fn addresses_and_codes_are_left_out() {
        check("smtp; 550 5.1.1 <jo@north.example>: User unknown", " smtp user unknown ");
        check("User jo@north.example (#5.1.1) UNKNOWN.", " user unknown ");
        check("552-5.2.2 inbox is out 552-5.2.2 of storage", " inbox is out of storage ");
        check("550-Message rejected 550 by 203.0.113.9", " message rejected by ");
        check("client [203.0.113.9] blocked, 2001:db8::9", " client blocked 2001 db8 9 ");
    }

    #[test]
    fn names_of_hosts_and_pages_stay_whole() {
        check(
            "see https://bl.north-list.example/q?ip=203.0.113.9&a=B",
            " see bl.north-list.example/q ip a b ",
        );
        check("(mx1.spam.example):", " mx1.spam.example ");
    }

    #[test]
    fn punctuation_and_case_do_not_matter() {
        check("Over-Quota: the user's mail_box/IN-BOX", " over quota the user s mail box in box ");
        check("doesn't exist\u{a0}\u{201c}here\u{201d}, don\u{2019}t", " doesn t exist here don t ");
        check("OFR_506 [506] rejected...id", " ofr 506 rejected id ");
        check("Пользователь не найден", " Пользователь не найден ");
        check("", " ");
    }

    #[test]
    fn longest_answer_fits() {
        let without_separators = "a".repeat(MAX_ANSWER_BYTES + 100);
        assert_eq!(Words::read(&without_separators).as_bytes().len(), MAX_ANSWER_BYTES + 2);
    }
}
