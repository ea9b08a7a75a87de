//! Which of many short texts a longer text holds, in one pass and whatever the case.
//!
//! Bounce diagnostics and user agents are matched against hundreds of fragments. Looking for each in turn would cost
//! more than reading the event; an Aho-Corasick automaton reads the text once and needs no copy in lower case. It
//! must never see unbounded text: both ends are hostile.

use aho_corasick::{AhoCorasick, MatchKind};

/// How many fragments one set may have: the found ones fit in a small array on the stack.
pub(crate) const MAX_FRAGMENTS: usize = 512;
const WORDS: usize = MAX_FRAGMENTS / 64;

/// A set of fragments, each with the number under which [`FragmentsBuilder::add`] took it.
#[derive(Debug)]
pub(crate) struct Fragments {
    automaton: Option<AhoCorasick>,
    max_text_bytes: usize,
}

/// The numbers of the fragments that a text holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found([u64; WORDS]);

impl Found {
    /// Whether the fragment of that number was found.
    pub(crate) fn has(&self, fragment: usize) -> bool {
        self.0.get(fragment / 64).is_some_and(|word| word >> (fragment % 64) & 1 == 1)
    }

    /// Whether any of these fragments was found.
    pub(crate) fn has_any(&self, fragments: &[usize]) -> bool {
        fragments.iter().any(|&fragment| self.has(fragment))
    }
}

/// Collects fragments, each once.
#[derive(Debug, Default)]
pub(crate) struct FragmentsBuilder {
    texts: Vec<String>,
}

impl FragmentsBuilder {
    /// The number of `text`, known from now on.
    pub(crate) fn add(&mut self, text: String) -> usize {
        if let Some(known) = self.texts.iter().position(|other| *other == text) {
            return known;
        }
        self.texts.push(text);
        self.texts.len() - 1
    }

    /// The set, which reads at most the first `max_text_bytes` of a text.
    pub(crate) fn build(self, max_text_bytes: usize) -> Fragments {
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .build(&self.texts)
            .ok();
        Fragments { automaton, max_text_bytes }
    }
}

impl Fragments {
    /// What the beginning of `text` holds. ASCII letters match whatever their case.
    pub(crate) fn find(&self, text: &str) -> Found {
        let mut found = Found::default();
        let Some(automaton) = &self.automaton else { return found };
        let text = text.as_bytes();
        let text = text.get(..self.max_text_bytes).unwrap_or(text);
        for hit in automaton.find_overlapping_iter(text) {
            let number = hit.pattern().as_usize();
            if let Some(word) = found.0.get_mut(number / 64) {
                *word |= 1 << (number % 64);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_are_found_inside_each_other_and_whatever_the_case() {
        let mut builder = FragmentsBuilder::default();
        let spam = builder.add("spam".to_owned());
        let spamhaus = builder.add("spamhaus".to_owned());
        let absent = builder.add("spamcop".to_owned());
        assert_eq!(builder.add("spam".to_owned()), spam);
        let found = builder.build(100).find("listed by SpamHaus");
        assert!(found.has(spam) && found.has(spamhaus) && !found.has(absent));
        assert!(found.has_any(&[absent, spam]) && !found.has_any(&[absent]));
    }

    #[test]
    fn what_stands_behind_the_limit_is_not_read() {
        let mut builder = FragmentsBuilder::default();
        let end = builder.add("end".to_owned());
        let fragments = builder.build(6);
        assert!(fragments.find("...end").has(end));
        assert!(!fragments.find("....end").has(end));
    }

    #[test]
    fn a_set_of_the_largest_size_finds_its_last_fragment() {
        let mut builder = FragmentsBuilder::default();
        let numbers: Vec<usize> = (0..MAX_FRAGMENTS).map(|n| builder.add(format!("<{n}>"))).collect();
        let found = builder.build(100).find("<511>");
        assert!(found.has(numbers[511]) && !found.has(numbers[51]));
    }
}
