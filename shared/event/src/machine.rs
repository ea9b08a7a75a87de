//! Decides whether a person or a machine opened or clicked: privacy proxies that load every image, link scanners, crawlers.
//!
//! `machine/rules.toml` holds ordered rules with their sources; the first match wins. SES's own flag comes before all rules, and
//! only a known prefetcher overrules its `Unlikely`. Without any sign of a machine it is a person, also if the user agent is
//! missing: archives may have removed it, and calling all their clicks automated would be the worse error.
//!
//! User agents are hostile text: at most 512 bytes are searched, and none of it leaves the memory of the process, where [`AgentCache`]
//! holds the last ones.

use std::sync::LazyLock;

use crate::event::Requester;

mod agent_cache;
pub mod burst;
mod network;
mod rules;

pub(crate) use agent_cache::AgentCache;
pub(crate) use network::{AddressBits, Network};
use rules::MachineRules;

static RULES: LazyLock<MachineRules> = LazyLock::new(MachineRules::built_in);

/// The version of the rules. Every change that may alter a result increments it, so that counts made by different rules can be
/// told apart.
pub const RULES_VERSION: u32 = 3;

/// The rule name reported if SES's own flag decides.
pub const SES_FLAG: &str = "ses_flag";

/// The fields of an open or a click that decide who made it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct InteractionFields<'a> {
    /// The user agent of the request.
    pub user_agent: &'a str,
    /// The address the request came from. Text that is not an address is in no network.
    pub ip_address: &'a str,
    /// SES's own flag (`isBotEvent`, since 2026-08). `Likely` and `Unlikely` are used, in any case; other values are ignored.
    pub is_bot_event: Option<&'a str>,
    /// Milliseconds since SES accepted the message; negative if the clocks disagree.
    pub millis_after_send: i64,
    /// Whether it is a click; otherwise it is an open.
    pub is_click: bool,
}

/// Decides who opened or clicked. `agents` saves work if it is the same for one request after the other.
pub(crate) fn classify(fields: &InteractionFields<'_>, agents: &mut AgentCache) -> Requester {
    // Events from before the flag existed lack it, which is like an unknown value.
    let flag = fields.is_bot_event.unwrap_or("");
    if flag.eq_ignore_ascii_case("likely") {
        return Requester::Machine(SES_FLAG);
    }
    let is_unlikely = flag.eq_ignore_ascii_case("unlikely");
    match RULES.first_match(fields, agents, is_unlikely) {
        Requester::Person if is_unlikely => Requester::ConfirmedPerson,
        requester => requester,
    }
}

#[cfg(test)]
mod tests;
