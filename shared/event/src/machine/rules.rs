//! Loads `rules.toml` once and matches opens and clicks against it with one pass over the user agent.
//!
//! The file is compiled into the program and checked by tests. If it could not be parsed all the same, that would be reported as
//! an impossible state, and every requester would count as a person.

use std::cell::OnceCell;

use hashbrown::HashMap;
use rapidhash::fast::RandomState;
use serde::Deserialize;

use super::InteractionFields;
use super::agent_cache::AgentCache;
use super::network::{AddressBits, Network};
use crate::bit_set::BitSet;
use crate::event::Requester;
use crate::fragments::{Edge, Fragments, FragmentsBuilder, lower_case_start};
use crate::invariant::{broken, or_broken};

/// The bytes of a user agent that are searched. Those of browsers have 80 to 250.
pub(super) const MAX_USER_AGENT_BYTES: usize = 512;

const RULES_TOML: &str = include_str!("rules.toml");

/// The rules in their order. What they say about user agents, opens and clicks is turned round, from what a request has to the rules
/// that it leaves: a request is read once, however many rules there are.
#[derive(Debug, Default)]
pub(super) struct MachineRules {
    rules: Vec<MachineRule>,
    fragments: Fragments,
    /// By number of a fragment, the rules that it fulfils, and those that it excludes.
    by_fragment: Vec<[RuleSet; 2]>,
    /// The rules that name a whole user agent.
    by_agent: HashMap<String, RuleSet, RandomState>,
    need_fragment: RuleSet,
    need_agent: RuleSet,
    /// Rules that exclude fragments: a user agent that archives removed lacks everything, and says nothing.
    exclude_fragments: RuleSet,
    overriding: RuleSet,
    for_opens: RuleSet,
    for_clicks: RuleSet,
}

/// The conditions of a rule that are left to check, one after the other. An empty list is a condition that is not stated.
#[derive(Debug)]
struct MachineRule {
    requester: Requester,
    networks: Vec<Network>,
    within_ms: Option<i64>,
}

/// A set of rules, by their position.
pub(super) type RuleSet = BitSet<1>;

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
        let file = or_broken(
            MachineRuleFile::built_in().ok(),
            MachineRuleFile::default(),
            "the built-in rules for machines cannot be parsed",
        );
        if file.rules.len() > RuleSet::BOUND {
            broken("there are more built-in rules for machines than a set can hold");
        }
        let mut rules = Self::default();
        let mut fragments = FragmentsBuilder::default();
        file.rules.into_iter().for_each(|rule| rules.add(rule, &mut fragments));
        rules.fragments = fragments.build(MAX_USER_AGENT_BYTES);
        rules
    }

    fn add(&mut self, text: MachineRuleText, fragments: &mut FragmentsBuilder) {
        let position = self.rules.len();
        for (written, set) in text
            .contains
            .iter()
            .map(|written| (written, 0))
            .chain(text.lacks.iter().map(|written| (written, 1)))
        {
            let number = add_fragment(fragments, written);
            if self.by_fragment.len() <= number {
                self.by_fragment.resize_with(number + 1, Default::default);
            }
            if let Some(sets) = self.by_fragment.get_mut(number) {
                sets[set].insert(position);
            }
        }
        let conditions = [
            (!text.contains.is_empty(), &mut self.need_fragment),
            (!text.equals.is_empty(), &mut self.need_agent),
            (!text.lacks.is_empty(), &mut self.exclude_fragments),
            (text.overrides_ses, &mut self.overriding),
            (text.applies_to != AppliesTo::Clicks, &mut self.for_opens),
            (text.applies_to != AppliesTo::Opens, &mut self.for_clicks),
        ];
        conditions.into_iter().filter(|(holds, _)| *holds).for_each(|(_, set)| set.insert(position));
        for agent in text.equals {
            self.by_agent.entry(agent).or_default().insert(position);
        }
        self.rules.push(MachineRule {
            // Leaked on purpose: rules are loaded once and live as long as the program, and results must be cheap to copy.
            requester: if text.person { Requester::Person } else { Requester::Machine(text.name.leak()) },
            networks: text.networks.iter().filter_map(|network| Network::parse(network)).collect(),
            within_ms: text.within_ms,
        });
    }

    /// The result of the first rule that matches; a person if none does. With `only_overriding`, because SES's flag says
    /// `Unlikely`, only rules that override the flag are used.
    pub(super) fn first_match(
        &self,
        fields: &InteractionFields<'_>,
        agents: &mut AgentCache,
        only_overriding: bool,
    ) -> Requester {
        let mut candidates = if fields.is_click { self.for_clicks } else { self.for_opens };
        if only_overriding {
            candidates = candidates.intersection(self.overriding);
        }
        // Whole user agents are compared exactly, and white space around one must not hide a match.
        let user_agent = fields.user_agent.trim();
        candidates = candidates
            .intersection(agents.rules_for(user_agent, |user_agent| self.by_user_agent(user_agent)));
        // Parsed when a rule first asks. Text that is not an address is in no network.
        let address = OnceCell::new();
        let is_from = |networks: &[Network]| {
            let address = *address.get_or_init(|| AddressBits::parse(fields.ip_address));
            address.is_some_and(|address| networks.iter().any(|network| network.contains(address)))
        };
        // Not before 0: an interaction from before its message was sent shows a wrong clock, not a fast machine.
        let is_within = |limit| (0..=limit).contains(&fields.millis_after_send);
        candidates
            .iter()
            .filter_map(|position| self.rules.get(position))
            .find(|rule| {
                rule.within_ms.is_none_or(is_within) && (rule.networks.is_empty() || is_from(&rule.networks))
            })
            .map_or(Requester::Person, |rule| rule.requester)
    }

    /// The rules that a user agent leaves.
    fn by_user_agent(&self, user_agent: &str) -> RuleSet {
        let mut lower_case = [0; MAX_USER_AGENT_BYTES];
        let [mut fulfilled, mut excluded] = [RuleSet::default(); 2];
        self.fragments.for_each_found(lower_case_start(user_agent, &mut lower_case), |number| {
            if let Some([fulfils, excludes]) = self.by_fragment.get(number) {
                (fulfilled, excluded) = (fulfilled.union(*fulfils), excluded.union(*excludes));
            }
        });
        if user_agent.is_empty() {
            excluded = self.exclude_fragments;
        }
        let named = self.by_agent.get(user_agent).copied().unwrap_or_default();
        RuleSet::FULL
            .difference(excluded)
            .difference(self.need_fragment.difference(fulfilled))
            .difference(self.need_agent.difference(named))
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
