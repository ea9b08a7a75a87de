//! Finds which of many short fragments a text contains, in one pass.
//!
//! Bounce diagnostics and user agents are searched for hundreds of fragments. Searching for each in turn would cost more than
//! parsing the event; an Aho-Corasick automaton reads the text once. Fragments and texts are in lower case: a copy of a text costs
//! less than an automaton with twice the transitions. The texts come from strangers, so only a bounded prefix of each is ever
//! searched.

use aho_corasick::{AhoCorasick, MatchKind};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use rapidhash::fast::RandomState;

use crate::bit_set::BitSet;
use crate::invariant::broken;

/// The most fragments in one set: the result then fits into a small array on the stack.
pub(crate) const MAX_FRAGMENTS: usize = 2048;

/// A set of fragments, identified by the numbers that [`FragmentsBuilder::add`] returned.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    /// `None` only if it could not be built, which is reported; nothing is found then.
    automaton: Option<AhoCorasick>,
    /// What must be around each fragment; empty if nothing must be around any of them.
    edges: Vec<[Edge; 2]>,
    max_text_bytes: usize,
}

/// What must be next to a fragment, on one side of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Edge {
    /// Anything.
    #[default]
    Any,
    /// The edge of a word: neither an ASCII letter nor a digit.
    Word,
    /// An ASCII letter.
    Letter,
}

impl Edge {
    /// Whether `neighbour` may stand there; `None` is the start or the end of the text.
    fn allows(self, neighbour: Option<&u8>) -> bool {
        match self {
            Self::Any => true,
            Self::Word => !neighbour.is_some_and(u8::is_ascii_alphanumeric),
            Self::Letter => neighbour.is_some_and(u8::is_ascii_alphabetic),
        }
    }
}

/// The fragments that a text contains, as a set of their numbers.
pub(crate) type FoundFragments = BitSet<{ MAX_FRAGMENTS / 64 }>;

/// A set of numbers of fragments, as the words of [`FoundFragments`] that are not zero. Fragments that are added one after the other
/// share words, so a long list needs few.
#[derive(Debug, Default)]
pub(crate) struct FragmentSet(Vec<(usize, u64)>);

impl FragmentSet {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any fragment of the set was found; a few steps, however many fragments it has.
    pub(crate) fn intersects(&self, found: &FoundFragments) -> bool {
        self.0.iter().any(|&(index, word)| found.word(index) & word != 0)
    }
}

impl FromIterator<usize> for FragmentSet {
    fn from_iter<T: IntoIterator<Item = usize>>(numbers: T) -> Self {
        let mut set = Self::default();
        for number in numbers {
            let (word, bit) = (number / 64, 1 << (number % 64));
            match set.0.iter_mut().find(|(known, _)| *known == word) {
                Some((_, bits)) => *bits |= bit,
                None => set.0.push((word, bit)),
            }
        }
        set
    }
}

/// Collects fragments and numbers them. Equal fragments share a number.
#[derive(Debug, Default)]
pub(crate) struct FragmentsBuilder {
    numbers: HashMap<(String, [Edge; 2]), usize, RandomState>,
    texts: Vec<String>,
    edges: Vec<[Edge; 2]>,
}

impl FragmentsBuilder {
    /// Adds `text`, which is in lower case, and returns its number.
    pub(crate) fn add(&mut self, text: String) -> usize {
        self.add_between(text, [Edge::Any; 2])
    }

    /// Adds `text` where `edges` are before and after it, and returns its number.
    pub(crate) fn add_between(&mut self, text: String, edges: [Edge; 2]) -> usize {
        let next = self.texts.len();
        match self.numbers.entry((text, edges)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                self.texts.push(new.key().0.clone());
                self.edges.push(edges);
                *new.insert(next)
            }
        }
    }

    /// Builds a set that searches at most the first `max_text_bytes` bytes of a text.
    pub(crate) fn build(self, max_text_bytes: usize) -> Fragments {
        // `Standard` reports overlapping matches; the leftmost kinds would hide a fragment inside another.
        let automaton = AhoCorasick::builder().match_kind(MatchKind::Standard).build(&self.texts).ok();
        if automaton.is_none() || self.texts.len() > MAX_FRAGMENTS {
            broken("a built-in set of fragments is too large to search for");
        }
        let is_plain = self.edges.iter().flatten().all(|edge| *edge == Edge::Any);
        let edges = if is_plain { Vec::new() } else { self.edges };
        Fragments { automaton, edges, max_text_bytes }
    }
}

impl Fragments {
    /// Finds the fragments in the beginning of `text`, also overlapping ones.
    pub(crate) fn find(&self, text: impl AsRef<[u8]>) -> FoundFragments {
        let mut found = FoundFragments::default();
        self.for_each_found(text.as_ref(), |number| found.insert(number));
        found
    }

    /// Calls `each` with the number of each fragment that [`Fragments::find`] finds, more than once for one that occurs more than once.
    pub(crate) fn for_each_found(&self, text: &[u8], mut each: impl FnMut(usize)) {
        let Some(automaton) = &self.automaton else { return };
        // In bytes, not characters: a cut inside a character only loses a fragment that reaches beyond the limit.
        let text = text.get(..self.max_text_bytes).unwrap_or(text);
        for hit in automaton.find_overlapping_iter(text) {
            let number = hit.pattern().as_usize();
            let [before, after] = self.edges.get(number).copied().unwrap_or_default();
            let previous = hit.start().checked_sub(1).and_then(|index| text.get(index));
            if before.allows(previous) && after.allows(text.get(hit.end())) {
                each(number);
            }
        }
    }
}

/// The start of `text` in lower case, as long as `buffer`, to search for [`Fragments`]. In bytes, not characters: a cut inside a character only loses a fragment that reaches beyond the limit.
pub(crate) fn lower_case_start<'b>(text: &str, buffer: &'b mut [u8]) -> &'b [u8] {
    let searched = text.len().min(buffer.len());
    let (lower_case, _) = buffer.split_at_mut(searched);
    lower_case.copy_from_slice(text.as_bytes().split_at(searched).0);
    lower_case.make_ascii_lowercase();
    lower_case
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_fragments_are_found() {
        let mut builder = FragmentsBuilder::default();
        let spam = builder.add("spam".to_owned());
        let spamhaus = builder.add("spamhaus".to_owned());
        let absent = builder.add("spamcop".to_owned());
        assert_eq!(builder.add("spam".to_owned()), spam);
        let found = builder.build(100).find("listed by spamhaus");
        let set = |numbers: &[usize]| numbers.iter().copied().collect::<FragmentSet>();
        assert!(set(&[absent, spam]).intersects(&found) && !set(&[absent]).intersects(&found));
        assert!(!set(&[]).intersects(&found) && set(&[]).is_empty());
        assert_eq!(found.iter().collect::<Vec<_>>(), [spam, spamhaus]);
    }

    #[test]
    fn fragment_is_found_between_its_edges_only() {
        let mut builder = FragmentsBuilder::default();
        let word_end = builder.add_between("bot".to_owned(), [Edge::Any, Edge::Word]);
        let word = builder.add_between("bot".to_owned(), [Edge::Word; 2]);
        let joined = builder.add_between("@".to_owned(), [Edge::Letter; 2]);
        assert_eq!(builder.add_between("bot".to_owned(), [Edge::Word; 2]), word);
        let fragments = builder.build(100);
        for (text, expected) in [
            ("newbot/1.0", vec![word_end]),
            ("new bot", vec![word_end, word]),
            ("bot", vec![word_end, word]),
            ("both botany bot2", vec![]),
            ("both, then a bot", vec![word_end, word]),
            ("me@home", vec![joined]),
            ("ios@9 @home", vec![]),
        ] {
            assert_eq!(fragments.find(text), expected.into_iter().collect(), "{text}");
        }
    }

    #[test]
    fn start_of_a_text_is_in_lower_case_and_never_longer_than_the_buffer() {
        for (text, expected) in [("", ""), ("SpamHaus", "spamhaus"), ("0123456789Abc", "0123456789")] {
            assert_eq!(lower_case_start(text, &mut [0; 10]), expected.as_bytes());
        }
        // The limit may fall into a character.
        assert_eq!(lower_case_start("012345678\u{c4}", &mut [0; 10]), b"012345678\xc3");
    }

    #[test]
    fn text_beyond_the_limit_is_not_searched() {
        let mut builder = FragmentsBuilder::default();
        let end = builder.add("end".to_owned());
        let fragments = builder.build(6);
        assert_eq!(fragments.find("...end").iter().collect::<Vec<_>>(), [end]);
        assert_eq!(fragments.find("....end").iter().count(), 0);
    }

    #[test]
    fn largest_set_finds_its_last_fragment() {
        let mut builder = FragmentsBuilder::default();
        let numbers: Vec<usize> = (0..MAX_FRAGMENTS).map(|n| builder.add(format!("<{n}>"))).collect();
        let found = builder.build(100).find("<2047>");
        let has = |number| found.iter().any(|found| found == number);
        assert!(has(numbers[2047]) && !has(numbers[204]));
        assert!(FragmentSet::from_iter(numbers).intersects(&found));
        assert_eq!(found.iter().last(), Some(2047));
    }
}
