//! `rules.toml`, read once and made into one pass over the user agent.
//!
//! The file is part of the program and proved by tests; should it ever not be readable, everybody is a person.

use std::net::Ipv4Addr;

use serde::Deserialize;

use super::Signs;
use super::network::Network;
use crate::event::Verdict;
use crate::fragments::{Fragments, FragmentsBuilder};

/// How much of a user agent is read. Those of browsers have 80 to 250 bytes.
pub(super) const MAX_USER_AGENT_BYTES: usize = 512;

const RULES_TOML: &str = include_str!("rules.toml");

/// The ordered rules and the fragments they look for.
#[derive(Debug)]
pub(super) struct Rules {
    rules: Vec<Rule>,
    fragments: Fragments,
}

#[derive(Debug)]
struct Rule {
    verdict: Verdict,
    is: Vec<String>,
    holds: Vec<usize>,
    from: Vec<Network>,
    applies_to: AppliesTo,
    within_ms: Option<i64>,
    overrides_ses: bool,
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleFile {
    /// Equal to [`super::RULES_VERSION`].
    #[cfg_attr(not(test), expect(dead_code, reason = "a test holds it equal to the constant"))]
    pub(super) version: u32,
    #[serde(rename = "rule")]
    pub(super) rules: Vec<RuleText>,
}

/// One rule as it is written; conditions left out fit everything.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleText {
    /// The verdict's name.
    pub(super) name: String,
    /// Whether what fits is a person's doing after all.
    #[serde(default)]
    person: bool,
    /// The whole user agent, to the letter.
    #[serde(default)]
    pub(super) is: Vec<String>,
    /// Fragments of the user agent, in lower case.
    #[serde(default)]
    pub(super) holds: Vec<String>,
    /// Networks the request came from.
    #[serde(default)]
    pub(super) from: Vec<String>,
    /// Opens, clicks or both.
    #[serde(default)]
    applies_to: AppliesTo,
    /// At most so long after the message was accepted by SES.
    pub(super) within_ms: Option<i64>,
    /// Whether it wins over SES's `Unlikely`.
    #[serde(default)]
    overrides_ses: bool,
    /// Where this is known from.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reader of the file; a test demands it"))]
    pub(super) source: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AppliesTo {
    #[default]
    Both,
    Opens,
    Clicks,
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
        Self { rules, fragments: fragments.build(MAX_USER_AGENT_BYTES) }
    }

    /// What the first rule that fits says; a person if none does. `only_overriding`: SES says that it is a person.
    pub(super) fn judge(&self, signs: &Signs<'_>, only_overriding: bool) -> Verdict {
        let found = self.fragments.find(signs.user_agent);
        let address = signs.ip_address.parse().ok();
        for rule in &self.rules {
            let fits = (rule.overrides_ses || !only_overriding)
                && rule.fits(signs, address)
                && (rule.holds.is_empty() || found.has_any(&rule.holds));
            if fits {
                return rule.verdict;
            }
        }
        Verdict::Person
    }
}

impl Rule {
    fn new(text: RuleText, fragments: &mut FragmentsBuilder) -> Self {
        // Read once for the life of the program: a verdict's name is a part of it.
        let verdict = if text.person { Verdict::Person } else { Verdict::Machine(text.name.leak()) };
        Self {
            verdict,
            is: text.is,
            holds: text.holds.into_iter().map(|text| fragments.add(text)).collect(),
            from: text.from.iter().filter_map(|network| Network::parse(network)).collect(),
            applies_to: text.applies_to,
            within_ms: text.within_ms,
            overrides_ses: text.overrides_ses,
        }
    }

    fn fits(&self, signs: &Signs<'_>, address: Option<Ipv4Addr>) -> bool {
        let right_kind = match self.applies_to {
            AppliesTo::Both => true,
            AppliesTo::Opens => !signs.click,
            AppliesTo::Clicks => signs.click,
        };
        right_kind
            && (self.is.is_empty() || self.is.iter().any(|agent| agent == signs.user_agent.trim()))
            && (self.from.is_empty()
                || address.is_some_and(|address| self.from.iter().any(|network| network.contains(address))))
            && self.within_ms.is_none_or(|limit| (0..=limit).contains(&signs.millis_after_send))
    }
}
