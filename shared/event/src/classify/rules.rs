//! `rules.toml`, read once: conditions become numbers so that a bounce is matched without allocating.
//!
//! A rule fits when each of the conditions it states fits, and a condition fits when any of its values does. The file
//! is part of the program and proved by tests; should it ever not be readable, everything is classified as unknown,
//! since a wrong rule file must not stop the counting.

use serde::Deserialize;

use super::Evidence;
use super::status::StatusPattern;
use crate::event::{Reason, Suppression};
use crate::fragments::{Fragments, FragmentsBuilder};

/// How much of a diagnostic is read. The longest known answers, Gmail's with their links, have some 500 bytes.
pub(super) const MAX_DIAGNOSTIC_BYTES: usize = 1024;

const RULES_TOML: &str = include_str!("rules.toml");

/// The ordered rules and the fragments they look for.
#[derive(Debug)]
pub(super) struct Rules {
    rules: Vec<Rule>,
    pub(super) fragments: Fragments,
}

#[derive(Debug)]
struct Rule {
    reason: Reason,
    suppression: Option<Suppression>,
    sub_types: Vec<String>,
    statuses: Vec<StatusPattern>,
    replies: Vec<u16>,
    texts: Vec<usize>,
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleFile {
    #[serde(rename = "rule")]
    pub(super) rules: Vec<RuleText>,
}

/// One rule as it is written; conditions left out fit everything.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleText {
    /// [`Reason::name`].
    pub(super) reason: String,
    /// Only for mail that SES never tried: `outside_reputation` or `global_list`.
    suppression: Option<SuppressionText>,
    /// Bounce sub-types or delay types; case, spaces, `_` and `-` are ignored.
    #[serde(default)]
    pub(super) sub_type: Vec<String>,
    /// Enhanced status codes, `x` for any number.
    #[serde(default)]
    pub(super) status: Vec<String>,
    /// SMTP reply codes.
    #[serde(default)]
    pub(super) reply: Vec<u16>,
    /// Fragments of the diagnostic, in lower case.
    #[serde(default)]
    pub(super) text: Vec<String>,
    /// Where this is known from.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reader of the file; a test demands it"))]
    pub(super) source: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SuppressionText {
    OutsideReputation,
    GlobalList,
}

impl RuleFile {
    /// The file that is part of the program.
    pub(super) fn built_in() -> Result<Self, toml::de::Error> {
        toml::from_str(RULES_TOML)
    }
}

impl Rules {
    pub(super) fn built_in() -> Self {
        let mut fragments = FragmentsBuilder::default();
        let texts = RuleFile::built_in().unwrap_or_default().rules;
        let rules = texts.into_iter().map(|text| Rule::new(text, &mut fragments)).collect();
        Self { rules, fragments: fragments.build(MAX_DIAGNOSTIC_BYTES) }
    }

    /// What the first rule that fits says; unknown if none does.
    pub(super) fn first_match(&self, evidence: &Evidence<'_>) -> (Reason, Option<Suppression>) {
        for rule in &self.rules {
            if rule.fits(evidence) {
                return (rule.reason, rule.suppression);
            }
        }
        (Reason::Unknown, None)
    }
}

impl Rule {
    fn new(text: RuleText, fragments: &mut FragmentsBuilder) -> Self {
        let reason = Reason::ALL.into_iter().find(|reason| reason.name() == text.reason);
        let suppression = text.suppression.map(|suppression| match suppression {
            SuppressionText::OutsideReputation => Suppression::OutsideReputation,
            SuppressionText::GlobalList => Suppression::GlobalList,
        });
        Self {
            reason: reason.unwrap_or(Reason::Unknown),
            suppression,
            sub_types: text.sub_type,
            statuses: text.status.iter().filter_map(|status| StatusPattern::parse(status)).collect(),
            replies: text.reply,
            texts: text.text.into_iter().map(|text| fragments.add(text)).collect(),
        }
    }

    fn fits(&self, evidence: &Evidence<'_>) -> bool {
        let codes = evidence.codes;
        (self.texts.is_empty() || evidence.found.has_any(&self.texts))
            && (self.statuses.is_empty()
                || codes.status.is_some_and(|is| self.statuses.iter().any(|status| status.fits(is))))
            && (self.replies.is_empty() || codes.reply.is_some_and(|reply| self.replies.contains(&reply)))
            && (self.sub_types.is_empty()
                || self.sub_types.iter().any(|wanted| super::is_same_name(wanted, evidence.sub_type)))
    }
}
