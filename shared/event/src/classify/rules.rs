//! Loads `rules.toml` once and matches bounces against it without allocating.
//!
//! A rule matches if every condition it states matches, and a condition matches if any of its values does. The file is compiled
//! into the program and checked by tests. If it could not be parsed all the same, that would be reported as an impossible state
//! and everything classified as unknown: a broken rule file must not stop the counting.

use serde::Deserialize;

use super::Evidence;
use super::status::StatusPattern;
use super::words::MAX_ANSWER_BYTES;
use crate::event::{BounceClass, Suppression};
use crate::fragments::{FragmentSet, Fragments, FragmentsBuilder};
use crate::invariant::or_broken;

const RULES_TOML: &str = include_str!("rules.toml");

/// The rules in their order, and the fragments they search for.
#[derive(Debug)]
pub(super) struct BounceRules {
    rules: Vec<BounceRule>,
    pub(super) fragments: Fragments,
}

/// A rule whose fragments have become numbers. An empty list is a condition that is not stated.
#[derive(Debug)]
struct BounceRule {
    class: BounceClass,
    suppression: Option<Suppression>,
    sub_types: Vec<String>,
    statuses: Vec<StatusPattern>,
    replies: Vec<u16>,
    text: FragmentSet,
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
    /// Words of the answer, as [`super::words`] writes them. `*` at an end stands for the rest of the word.
    #[serde(default)]
    pub(super) text: Vec<String>,
    /// Words that the answer must contain besides, any of them.
    #[serde(default)]
    pub(super) also: Vec<String>,
    /// Words that the answer must not contain, none of them.
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
        let rules = file.rules.into_iter().map(|text| BounceRule::new(text, &mut fragments)).collect();
        Self { rules, fragments: fragments.build(MAX_ANSWER_BYTES + 2) }
    }

    /// The result of the first rule that matches; unknown if none does.
    pub(super) fn first_match(&self, evidence: &Evidence<'_>) -> (BounceClass, Option<Suppression>) {
        // A hundred comparisons of numbers; the texts were searched once, for all rules.
        for rule in &self.rules {
            if rule.matches(evidence) {
                return (rule.class, rule.suppression);
            }
        }
        (BounceClass::Unknown, None)
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
            text: text.text.iter().map(|words| fragments.add(fragment(words))).collect(),
            also: text.also.iter().map(|words| fragments.add(fragment(words))).collect(),
            unless: text.unless.iter().map(|words| fragments.add(fragment(words))).collect(),
        }
    }

    fn matches(&self, evidence: &Evidence<'_>) -> bool {
        let codes = evidence.codes;
        // In the order of their cost; sub-types are compared letter by letter.
        (self.text.is_empty() || evidence.found.has_any_of(&self.text))
            && (self.also.is_empty() || evidence.found.has_any_of(&self.also))
            && !evidence.found.has_any_of(&self.unless)
            && (self.statuses.is_empty()
                || codes
                    .status
                    .is_some_and(|status| self.statuses.iter().any(|pattern| pattern.matches(status))))
            && (self.replies.is_empty() || codes.reply.is_some_and(|reply| self.replies.contains(&reply)))
            && (self.sub_types.is_empty()
                || self.sub_types.iter().any(|wanted| super::is_same_name(wanted, evidence.sub_type)))
    }
}

/// The fragment that finds `words` as whole words, or as parts of words where a `*` stands.
fn fragment(words: &str) -> String {
    let space = |open: bool| if open { "" } else { " " };
    let (before, after) = (space(words.starts_with('*')), space(words.ends_with('*')));
    format!("{before}{}{after}", words.trim_matches('*'))
}
