//! A message and what may happen to it, as small as it can be: millions of them wait in the agenda.

use crate::agents::Agent;
use crate::answers::Answer;

/// A message that was sent. What it looks like follows from these numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    pub(crate) sent_at_ms: i64,
    /// Counted from the start of the simulation.
    pub(crate) serial: u64,
    /// One of the tenant's audience.
    pub(crate) person: u32,
    /// Where the person's mailbox is.
    pub(crate) mailbox: u16,
    pub(crate) stream: u16,
}

/// What happens to a message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    Send,
    Delivery {
        processing_ms: u32,
    },
    /// The answer of the receiving side; `after_acceptance` if it came by mail after the delivery.
    Bounce {
        answer: &'static Answer,
        after_acceptance: bool,
    },
    /// SES did not try.
    Suppressed(&'static Answer),
    AutoReply,
    Complaint,
    Reject,
    RenderingFailure,
    Delay(&'static Answer),
    Open(&'static Agent),
    Click {
        agent: &'static Agent,
        link: u8,
    },
    Unsubscribe,
}
