//! Whether a person opened or clicked, or a machine did: privacy proxies that load every image, link scanners, crawlers.
//!
//! `machine/rules.toml` holds ordered rules with their sources; the first that fits wins. SES's own flag comes first, and
//! only a user agent that is known to be a prefetcher overrides its "unlikely". Nothing that points to a machine means
//! a person, and so does a missing user agent: archives may have stripped it, and turning all their clicks into a
//! machine's would be the worse error. User agents are hostile text: the first 512 bytes are read and none is kept.

use std::sync::LazyLock;

use crate::event::Verdict;

mod network;
mod rules;

use rules::Rules;

static RULES: LazyLock<Rules> = LazyLock::new(Rules::built_in);

/// The version of the verdicts. It grows with every change that may turn a verdict, so that stored counts can be told apart.
pub const RULES_VERSION: u32 = 1;

/// The verdict's name where SES's own flag decides.
pub const SES_FLAG: &str = "ses_flag";

/// What is known about an open or a click.
#[derive(Clone, Copy, Debug, Default)]
pub struct Signs<'a> {
    /// What called itself what.
    pub user_agent: &'a str,
    /// Where the request came from.
    pub ip_address: &'a str,
    /// SES's own flag (`isBotEvent`, since 2026-08); `Likely` and `Unlikely` are known values.
    pub is_bot_event: Option<&'a str>,
    /// Milliseconds since SES accepted the message; negative if the clocks disagree.
    pub millis_after_send: i64,
    /// A click, not an open.
    pub click: bool,
}

/// Judges an open or a click.
pub fn judge(signs: &Signs<'_>) -> Verdict {
    let flag = signs.is_bot_event.unwrap_or_default();
    if flag.eq_ignore_ascii_case("likely") {
        return Verdict::Machine(SES_FLAG);
    }
    RULES.judge(signs, flag.eq_ignore_ascii_case("unlikely"))
}

#[cfg(test)]
mod tests;
