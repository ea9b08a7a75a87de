//! Reduces a server's answer to its words, the form in which `rules.toml` is written.
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
        for chunk in beginning(answer).split(is_separator) {
            // Sendmail writes `<address>... User unknown`, others `rejected...id`: dots in a row are no part of a name.
            for chunk in chunk.split("..") {
                words.push_chunk(chunk);
            }
        }
        words
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        // A word takes no more bytes than it and the separator before it took in the answer, so `len` is within the buffer.
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn push_chunk(&mut self, chunk: &str) {
        if chunk.contains('@') {
            return;
        }
        let chunk = chunk.trim_matches(|c: char| !c.is_alphanumeric());
        if chunk.contains('.') {
            // A name of a host or a page, unless it is an IP address, an enhanced status code, or one behind a reply code.
            if !chunk.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-')) {
                self.push(chunk);
            }
            return;
        }
        for (index, word) in chunk.split(|c: char| !c.is_alphanumeric() && !is_apostrophe(c)).enumerate() {
            // Elsewhere in a chunk, three digits belong to a code of the provider: `OFR_506`.
            let dropped =
                word.is_empty() || matches!(word, "http" | "https") || (index == 0 && is_reply_code(word));
            if !dropped {
                self.push(word);
            }
        }
    }

    fn push(&mut self, word: &str) {
        for c in word.chars().filter(|&c| !is_apostrophe(c)) {
            let mut utf8 = [0; 4];
            for byte in c.to_ascii_lowercase().encode_utf8(&mut utf8).bytes() {
                self.push_byte(byte);
            }
        }
        self.push_byte(b' ');
    }

    fn push_byte(&mut self, byte: u8) {
        if let Some(free) = self.bytes.get_mut(self.len) {
            *free = byte;
            self.len += 1;
        }
    }
}

/// At most [`MAX_ANSWER_BYTES`], cut between two characters.
fn beginning(answer: &str) -> &str {
    let end = (0..=MAX_ANSWER_BYTES.min(answer.len())).rev().find(|&end| answer.is_char_boundary(end));
    answer.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// Characters that end a word anywhere. The others, such as the hyphen, are part of host names and end other words only.
fn is_separator(c: char) -> bool {
    !c.is_alphanumeric() && !is_apostrophe(c) && !matches!(c, '.' | '-' | '_' | '/' | '+' | '%' | '@')
}

/// Left out of words, so that `doesn't` has one form, whichever apostrophe a server uses.
fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '\u{2018}' | '\u{2019}')
}

fn is_reply_code(word: &str) -> bool {
    matches!(word.as_bytes(), [b'4' | b'5', tens, ones] if tens.is_ascii_digit() && ones.is_ascii_digit())
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
        check("Over-Quota: the user's mail_box/IN-BOX", " over quota the users mail box in box ");
        check("doesn\u{2019}t exist\u{a0}\u{201c}here\u{201d}", " doesnt exist here ");
        check("OFR_506 [506] rejected...id", " ofr 506 rejected id ");
        check("Пользователь не найден", " Пользователь не найден ");
        check("", " ");
    }

    #[test]
    fn longest_answer_fits() {
        check(&"é ".repeat(600), &format!(" {}", "é ".repeat(341)));
        let without_separators = "a".repeat(MAX_ANSWER_BYTES + 100);
        assert_eq!(Words::read(&without_separators).as_bytes().len(), MAX_ANSWER_BYTES + 2);
    }
}
