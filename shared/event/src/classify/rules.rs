//! Loads `rules.toml` once and matches bounces against it without allocating.
//!
//! A rule matches if every condition it states matches, and a condition matches if any of its values does. The file is compiled
//! into the program and checked by tests. If it could not be parsed all the same, that would be reported as an impossible state
//! and everything classified as unknown: a broken rule file must not stop the counting.

use serde::Deserialize;

use super::Evidence;
use super::status::StatusPattern;
use super::words::{MAX_ANSWER_BYTES, Words};
use crate::bit_set::BitSet;
use crate::event::{BounceClass, Suppression};
use crate::fragments::{FragmentSet, Fragments, FragmentsBuilder};
use crate::invariant::{broken, or_broken};

const RULES_TOML: &str = include_str!("rules.toml");

/// The rules in their order, and the fragments they search for.
#[derive(Debug)]
pub(super) struct BounceRules {
    rules: Vec<BounceRule>,
    pub(super) fragments: Fragments,
    /// By fragment, the rules whose `text` has it. An answer contains few fragments, so few rules need to be looked at.
    rules_by_text: Vec<RuleSet>,
    /// The rules that state no `text`.
    rules_without_text: RuleSet,
}

/// The most rules.
pub(super) const MAX_RULES: usize = RuleSet::BOUND;

/// A set of rules, by their position in the file.
type RuleSet = BitSet<4>;

/// What a rule demands besides its `text`. An empty list is a condition that is not stated.
#[derive(Debug)]
struct BounceRule {
    class: BounceClass,
    suppression: Option<Suppression>,
    sub_types: Vec<String>,
    statuses: Vec<StatusPattern>,
    replies: Vec<u16>,
    also: FragmentSet,
    unless: FragmentSet,
}

/// The content of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BounceRuleFile {
    #[serde(rename = "rule")]
    pub(super) rules: Vec<BounceRuleText>,
}

/// One rule in the file. A condition that is left out matches everything.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BounceRuleText {
    /// The class that a match gives, by its [`BounceClass::name`].
    pub(super) class: String,
    /// Only for mail that SES never tried to deliver: `outside_reputation` or `global_list`.
    suppression: Option<SuppressionText>,
    /// Bounce sub-types or delay types. Case, spaces, `_` and `-` are ignored.
    #[serde(default)]
    pub(super) sub_type: Vec<String>,
    /// Enhanced status codes; `x` stands for any number.
    #[serde(default)]
    pub(super) status: Vec<String>,
    /// SMTP reply codes of three digits, such as 550.
    #[serde(default)]
    pub(super) reply: Vec<u16>,
    /// Phrases of the answer, any of them, as whole words. `*` at an end stands for the rest of the word.
    #[serde(default)]
    pub(super) text: Vec<String>,
    /// Phrases that the answer must contain besides, any of them.
    #[serde(default)]
    pub(super) also: Vec<String>,
    /// Phrases none of which the answer may contain.
    #[serde(default)]
    pub(super) unless: Vec<String>,
    /// The source of the knowledge.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reader of the file; a test requires it"))]
    pub(super) source: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SuppressionText {
    OutsideReputation,
    GlobalList,
}

impl BounceRuleFile {
    /// Parses the file that is compiled into the program.
    pub(super) fn built_in() -> Result<Self, toml::de::Error> {
        toml::from_str(RULES_TOML)
    }
}

impl BounceRules {
    pub(super) fn built_in() -> Self {
        // One set for all rules, so that a diagnostic is read once and not once per rule.
        let mut fragments = FragmentsBuilder::default();
        let file = or_broken(
            BounceRuleFile::built_in().ok(),
            BounceRuleFile::default(),
            "the built-in bounce rules cannot be parsed",
        );
        let (mut rules, mut rules_by_text) = (Vec::new(), Vec::new());
        let mut rules_without_text = RuleSet::default();
        for (position, text) in file.rules.into_iter().enumerate() {
            if text.text.is_empty() {
                rules_without_text.insert(position);
            }
            for phrase in &text.text {
                let number = fragments.add(fragment(phrase));
                if rules_by_text.len() <= number {
                    rules_by_text.resize(number + 1, RuleSet::default());
                }
                if let Some(rules) = rules_by_text.get_mut(number) {
                    rules.insert(position);
                }
            }
            rules.push(BounceRule::new(text, &mut fragments));
        }
        if rules.len() > MAX_RULES {
            broken("there are more built-in bounce rules than a set of them can hold");
        }
        let fragments = fragments.build(MAX_ANSWER_BYTES + 2);
        Self { rules, fragments, rules_by_text, rules_without_text }
    }

    /// The result of the first rule that matches; unknown if none does.
    pub(super) fn first_match(&self, evidence: &Evidence<'_>) -> (BounceClass, Option<Suppression>) {
        let mut candidates = self.rules_without_text;
        for fragment in evidence.found.iter() {
            // Fragments that only `also` and `unless` mention have no entry.
            candidates = candidates.union(self.rules_by_text.get(fragment).copied().unwrap_or_default());
        }
        let mut candidates = candidates.iter().filter_map(|position| self.rules.get(position));
        let first = candidates.find(|rule| rule.matches(evidence));
        first.map_or((BounceClass::Unknown, None), |rule| (rule.class, rule.suppression))
    }
}

impl BounceRule {
    fn new(text: BounceRuleText, fragments: &mut FragmentsBuilder) -> Self {
        // A pattern that cannot be parsed is dropped by `filter_map` below; a test parses every one of them.
        let class = BounceClass::ALL.into_iter().find(|class| class.name() == text.class);
        let suppression = text.suppression.map(|suppression| match suppression {
            SuppressionText::OutsideReputation => Suppression::OutsideReputation,
            SuppressionText::GlobalList => Suppression::GlobalList,
        });
        Self {
            class: or_broken(class, BounceClass::Unknown, "a built-in bounce rule names an unknown class"),
            suppression,
            sub_types: text.sub_type,
            statuses: text.status.iter().filter_map(|status| StatusPattern::parse(status)).collect(),
            replies: text.reply,
            also: text.also.iter().map(|phrase| fragments.add(fragment(phrase))).collect(),
            unless: text.unless.iter().map(|phrase| fragments.add(fragment(phrase))).collect(),
        }
    }

    /// Whether the conditions match that a rule states besides its `text`.
    fn matches(&self, evidence: &Evidence<'_>) -> bool {
        let codes = evidence.codes;
        // In the order of their cost; sub-types are compared letter by letter.
        (self.also.is_empty() || self.also.intersects(&evidence.found))
            && !self.unless.intersects(&evidence.found)
            && (self.statuses.is_empty()
                || codes
                    .status
                    .is_some_and(|status| self.statuses.iter().any(|pattern| pattern.matches(status))))
            && (self.replies.is_empty() || codes.reply.is_some_and(|reply| self.replies.contains(&reply)))
            && (self.sub_types.is_empty()
                || self.sub_types.iter().any(|wanted| super::is_same_name(wanted, evidence.sub_type)))
    }
}

/// The fragment that finds `phrase` as whole words, or as parts of words where a `*` stands.
fn fragment(phrase: &str) -> String {
    let words = Words::read(phrase);
    // The words are ASCII or came from a `str` as they are, so nothing is replaced.
    let words = String::from_utf8_lossy(words.as_bytes());
    let words = if phrase.starts_with('*') { words.trim_start() } else { &words };
    let words = if phrase.ends_with('*') { words.trim_end() } else { words };
    words.to_owned()
}
