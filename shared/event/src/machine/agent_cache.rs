//! Remembers what the rules say about the user agents seen most recently.
//!
//! A few programs make most requests, so most user agents need one lookup instead of a search. The hash only selects the slot: texts
//! are always compared in full. Strangers choose the texts, so number and length of the entries are bounded; a new entry replaces
//! the old one of its slot, which is read again when it comes back.

use std::hash::BuildHasher as _;

use rapidhash::fast::RandomState;

use super::rules::{MAX_USER_AGENT_BYTES, RuleSet};

/// Some 100 programs make nearly all requests at a time. All entries together take at most 140 KB.
const SLOTS: usize = 256;

/// User agents, and the rules that each leaves.
#[derive(Debug, Default)]
pub(crate) struct AgentCache {
    hasher: RandomState,
    /// Empty until the first request.
    slots: Vec<Option<(Box<str>, RuleSet)>>,
}

impl AgentCache {
    /// The rules that `user_agent` leaves, by `read` if they are not remembered.
    pub(super) fn rules_for(&mut self, user_agent: &str, read: impl FnOnce(&str) -> RuleSet) -> RuleSet {
        if user_agent.len() > MAX_USER_AGENT_BYTES {
            return read(user_agent);
        }
        if self.slots.is_empty() {
            self.slots.resize(SLOTS, None);
        }
        #[expect(clippy::cast_possible_truncation, reason = "a remainder is below the number of slots")]
        let slot = (self.hasher.hash_one(user_agent) % SLOTS as u64) as usize;
        match self.slots.get(slot) {
            Some(Some((known, rules))) if **known == *user_agent => *rules,
            _ => {
                let rules = read(user_agent);
                if let Some(slot) = self.slots.get_mut(slot) {
                    *slot = Some((user_agent.into(), rules));
                }
                rules
            }
        }
    }
}
