//! Stub until the rules are merged.

use crate::event::Verdict;

/// What an open or click shows of who made it.
pub struct Signs<'a> {
    /// User agent.
    pub user_agent: &'a str,
    /// IP address.
    pub ip_address: &'a str,
    /// SES's own verdict.
    pub is_bot_event: Option<&'a str>,
    /// Milliseconds since the send.
    pub millis_after_send: i64,
    /// Whether it is a click.
    pub click: bool,
}

/// Judges.
pub fn judge(signs: &Signs<'_>) -> Verdict {
    if signs.is_bot_event == Some("Likely") {
        Verdict::Machine("ses-bot-event")
    } else if signs.user_agent == "Mozilla/5.0" {
        Verdict::Machine("apple-mpp")
    } else {
        Verdict::Person
    }
}
