//! The true counts of a simulation, which whoever counts its events must arrive at.

use crate::message::EventDetail;

/// True counts of one tenant in one minute, with the names and meanings of Mailgauge's metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TruthCounts {
    /// Messages that SES accepted; each has one recipient.
    pub sends: u64,
    /// Messages that the receiving server accepted, those that bounced afterwards included.
    pub deliveries: u64,
    /// Permanent bounces, suppressed ones included.
    pub bounces_permanent: u64,
    /// Transient bounces, automatic replies not included.
    pub bounces_transient: u64,
    /// Bounces of unknown type.
    pub bounces_undetermined: u64,
    /// The permanent bounces that SES never tried to deliver.
    pub suppressed: u64,
    /// Out-of-office replies and the like, which SES publishes as transient bounces.
    pub auto_replies: u64,
    /// Complaints that the recipient's provider reported to SES.
    pub complaints: u64,
    /// Messages refused by SES.
    pub rejects: u64,
    /// Templates that could not be rendered.
    pub rendering_failures: u64,
    /// Delay events; one message can have several.
    pub delays: u64,
    /// Opens, by people and machines.
    pub opens: u64,
    /// The opens that machines made.
    pub opens_machine: u64,
    /// Clicks, by people and machines.
    pub clicks: u64,
    /// The clicks that machines made.
    pub clicks_bot: u64,
    /// Recipients who used the unsubscribe header.
    pub unsubscribes: u64,
}

impl TruthCounts {
    pub(crate) fn count(&mut self, detail: EventDetail) {
        match detail {
            EventDetail::Send => self.sends += 1,
            EventDetail::Delivery { .. } => self.deliveries += 1,
            EventDetail::Bounce { reply, .. } => match reply.bounce_type {
                "Permanent" => self.bounces_permanent += 1,
                "Transient" => self.bounces_transient += 1,
                _ => self.bounces_undetermined += 1,
            },
            EventDetail::Suppressed(_) => {
                self.bounces_permanent += 1;
                self.suppressed += 1;
            }
            EventDetail::AutoReply => self.auto_replies += 1,
            EventDetail::Complaint => self.complaints += 1,
            EventDetail::Reject => self.rejects += 1,
            EventDetail::RenderingFailure => self.rendering_failures += 1,
            EventDetail::Delay(_) => self.delays += 1,
            EventDetail::Open(agent) => {
                self.opens += 1;
                self.opens_machine += u64::from(agent.machine);
            }
            EventDetail::Click { agent, .. } => {
                self.clicks += 1;
                self.clicks_bot += u64::from(agent.machine);
            }
            EventDetail::Unsubscribe => self.unsubscribes += 1,
        }
    }

    /// Number of events behind these counts.
    pub const fn events(&self) -> u64 {
        self.sends
            + self.deliveries
            + self.bounces_permanent
            + self.bounces_transient
            + self.bounces_undetermined
            + self.auto_replies
            + self.complaints
            + self.rejects
            + self.rendering_failures
            + self.delays
            + self.opens
            + self.clicks
            + self.unsubscribes
    }
}

impl std::ops::AddAssign for TruthCounts {
    fn add_assign(&mut self, other: Self) {
        // The exhaustive pattern makes the compiler notice a forgotten field.
        let Self {
            sends,
            deliveries,
            bounces_permanent,
            bounces_transient,
            bounces_undetermined,
            suppressed,
            auto_replies,
            complaints,
            rejects,
            rendering_failures,
            delays,
            opens,
            opens_machine,
            clicks,
            clicks_bot,
            unsubscribes,
        } = other;
        self.sends += sends;
        self.deliveries += deliveries;
        self.bounces_permanent += bounces_permanent;
        self.bounces_transient += bounces_transient;
        self.bounces_undetermined += bounces_undetermined;
        self.suppressed += suppressed;
        self.auto_replies += auto_replies;
        self.complaints += complaints;
        self.rejects += rejects;
        self.rendering_failures += rendering_failures;
        self.delays += delays;
        self.opens += opens;
        self.opens_machine += opens_machine;
        self.clicks += clicks;
        self.clicks_bot += clicks_bot;
        self.unsubscribes += unsubscribes;
    }
}
