//! Loads `rules.toml` once and matches opens and clicks against it with one pass over the user agent.
//!
//! The file is compiled into the program and checked by tests. If it could not be parsed all the same, that would be reported as
//! an impossible state, and every requester would count as a person.

use std::cell::OnceCell;

use serde::Deserialize;

use super::InteractionFields;
use super::network::{AddressBits, Network};
use crate::event::Requester;
use crate::fragments::{Edge, FoundFragments, Fragments, FragmentsBuilder};
use crate::invariant::or_broken;

/// The bytes of a user agent that are searched. Those of browsers have 80 to 250.
pub(super) const MAX_USER_AGENT_BYTES: usize = 512;

const RULES_TOML: &str = include_str!("rules.toml");

/// The rules in their order, and the fragments they search for.
#[derive(Debug)]
pub(super) struct MachineRules {
    rules: Vec<MachineRule>,
    fragments: Fragments,
}

/// A rule whose fragments have become sets of numbers. An empty list or set is a condition that is not stated.
#[derive(Debug)]
struct MachineRule {
    requester: Requester,
    equals: Vec<String>,
    contains: FoundFragments,
    lacks: FoundFragments,
    networks: Vec<Network>,
    applies_to: AppliesTo,
    within_ms: Option<i64>,
    overrides_ses: bool,
}

/// The content of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MachineRuleFile {
    /// The version of the rules; a test holds [`super::RULES_VERSION`] to it.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test compares it with the constant"))]
    pub(super) version: u32,
    #[serde(rename = "rule")]
    pub(super) rules: Vec<MachineRuleText>,
}

/// One rule in the file. A condition that is left out matches everything.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MachineRuleText {
    /// The name reported with [`Requester::Machine`].
    pub(super) name: String,
    /// Whether a match means a person.
    #[serde(default)]
    person: bool,
    /// Whole user agents, compared exactly.
    #[serde(default)]
    pub(super) equals: Vec<String>,
    /// Fragments of the user agent, in lower case; `|` and `~` at their ends stand for what must be around them.
    #[serde(default)]
    pub(super) contains: Vec<String>,
    /// Fragments that the user agent must not contain, and it must not be empty.
    #[serde(default)]
    pub(super) lacks: Vec<String>,
    /// Networks that the request came from.
    #[serde(default)]
    pub(super) networks: Vec<String>,
    /// Opens, clicks or both.
    #[serde(default)]
    applies_to: AppliesTo,
    /// The longest time after SES accepted the message, in milliseconds. An interaction before that moment never matches.
    pub(super) within_ms: Option<i64>,
    /// Whether the rule also applies if SES's flag says `Unlikely`.
    #[serde(default)]
    overrides_ses: bool,
    /// The source of the knowledge.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reader of the file; a test requires it"))]
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

impl MachineRuleFile {
    /// Parses the file that is compiled into the program.
    pub(super) fn built_in() -> Result<Self, toml::de::Error> {
        toml::from_str(RULES_TOML)
    }
}

impl MachineRules {
    pub(super) fn built_in() -> Self {
        let mut fragments = FragmentsBuilder::default();
        let file = or_broken(
            MachineRuleFile::built_in().ok(),
            MachineRuleFile::default(),
            "the built-in rules for machines cannot be parsed",
        );
        let rules = file.rules.into_iter().map(|text| MachineRule::new(text, &mut fragments)).collect();
        Self { rules, fragments: fragments.build_for_many_texts(MAX_USER_AGENT_BYTES) }
    }

    /// The result of the first rule that matches; a person if none does. With `only_overriding`, because SES's flag says
    /// `Unlikely`, only rules that override the flag are used.
    pub(super) fn first_match(&self, fields: &InteractionFields<'_>, only_overriding: bool) -> Requester {
        // Whole user agents are compared exactly, and white space around one must not hide a match.
        let (address, found) = (OnceCell::new(), OnceCell::new());
        let request = Request { fields, user_agent: fields.user_agent.trim(), address, found };
        let rules = self.rules.iter().filter(|rule| rule.overrides_ses || !only_overriding);
        for rule in rules {
            if rule.matches(&request, &self.fragments) {
                return rule.requester;
            }
        }
        Requester::Person
    }
}

/// What rules ask about a request. Searching and parsing are most of the work, and the first rules need neither: both are done
/// when a rule first asks.
struct Request<'a> {
    fields: &'a InteractionFields<'a>,
    user_agent: &'a str,
    /// `None` if the text is no address: it is in no network.
    address: OnceCell<Option<AddressBits>>,
    found: OnceCell<FoundFragments>,
}

impl Request<'_> {
    fn is_from(&self, networks: &[Network]) -> bool {
        let address = *self.address.get_or_init(|| AddressBits::parse(self.fields.ip_address));
        address.is_some_and(|address| networks.iter().any(|network| network.contains(address)))
    }

    fn fragments(&self, fragments: &Fragments) -> &FoundFragments {
        self.found.get_or_init(|| fragments.find(self.user_agent))
    }
}

impl MachineRule {
    fn new(text: MachineRuleText, fragments: &mut FragmentsBuilder) -> Self {
        // Leaked on purpose: rules are loaded once and live as long as the program, and results must be cheap to copy.
        let requester = if text.person { Requester::Person } else { Requester::Machine(text.name.leak()) };
        Self {
            requester,
            equals: text.equals,
            contains: text.contains.iter().map(|text| add_fragment(fragments, text)).collect(),
            lacks: text.lacks.iter().map(|text| add_fragment(fragments, text)).collect(),
            networks: text.networks.iter().filter_map(|network| Network::parse(network)).collect(),
            applies_to: text.applies_to,
            within_ms: text.within_ms,
            overrides_ses: text.overrides_ses,
        }
    }

    fn matches(&self, request: &Request<'_>, fragments: &Fragments) -> bool {
        let fields = request.fields;
        let applies = match self.applies_to {
            AppliesTo::Both => true,
            AppliesTo::Opens => !fields.is_click,
            AppliesTo::Clicks => fields.is_click,
        };
        applies
            // Not before 0: an interaction from before its message was sent shows a wrong clock, not a fast machine.
            && self.within_ms.is_none_or(|limit| (0..=limit).contains(&fields.millis_after_send))
            && (self.equals.is_empty() || self.equals.iter().any(|agent| agent == request.user_agent))
            && (self.networks.is_empty() || request.is_from(&self.networks))
            && (self.contains.is_empty() || request.fragments(fragments).intersects(&self.contains))
            // An agent that archives removed lacks everything, and says nothing.
            && (self.lacks.is_empty()
                || !request.user_agent.is_empty() && !request.fragments(fragments).intersects(&self.lacks))
    }
}

/// Adds a fragment as it is written in the file and returns its number.
fn add_fragment(fragments: &mut FragmentsBuilder, written: &str) -> usize {
    let edge = |text: Option<char>| match text {
        Some('|') => Edge::Word,
        Some('~') => Edge::Letter,
        _ => Edge::Any,
    };
    let edges = [edge(written.chars().next()), edge(written.chars().next_back())];
    fragments.add_between(written.trim_matches(['|', '~']).to_owned(), edges)
}
