//! A message and the events about it. Both are kept small, because millions of them wait in the schedule.

use crate::smtp_replies::SmtpReply;
use crate::user_agents::UserAgent;

/// A message that was sent. All its texts are derived from these numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SimulatedMessage {
    pub(crate) sent_at_ms: i64,
    /// Counted from the start of the simulation.
    pub(crate) serial: u64,
    /// Number of the recipient, unique over all tenants.
    pub(crate) person: u32,
    /// Index of the recipient's mailbox domain.
    pub(crate) mailbox: u16,
    pub(crate) stream: u16,
}

/// The type-specific part of an event about a message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum EventDetail {
    Send,
    Delivery {
        processing_ms: u32,
    },
    /// The receiving side refused the message; `after_acceptance` if it first accepted it and reported the bounce by mail.
    Bounce {
        reply: &'static SmtpReply,
        after_acceptance: bool,
    },
    /// SES did not attempt delivery because of a suppression list.
    Suppressed(&'static SmtpReply),
    AutoReply,
    Complaint,
    Reject,
    RenderingFailure,
    Delay(&'static SmtpReply),
    Open(&'static UserAgent),
    Click {
        agent: &'static UserAgent,
        link: u8,
    },
    Unsubscribe,
}
