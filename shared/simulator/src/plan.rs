//! What to simulate: how many tenants, how much mail, for how long, from which seed, and what goes wrong.

use crate::incident::Incident;

/// The most tenants of a plan.
pub const MAX_TENANTS: u32 = 10_000;
/// The most emails a minute, more than a billion a day.
pub const MAX_EMAILS_PER_MINUTE: f64 = 2_000_000.0;
/// The longest plan: ten years of minutes.
pub const MAX_MINUTES: u32 = 10 * 366 * 24 * 60;
/// The most incidents of a plan: each is looked at for every stream in every minute.
pub const MAX_INCIDENTS: usize = 100;
/// The latest start: the year 9000, so that every time has a year of four digits.
pub const MAX_START_MS: i64 = 221_845_392_000_000;

/// What to simulate.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// How many tenants, 1 to [`MAX_TENANTS`]. The first sends the most: shares fall as 1/rank.
    pub tenants: u32,
    /// How many emails all tenants send a minute: the mean over the plan, or over its first week; traffic follows the
    /// hours of the day.
    pub emails_per_minute: f64,
    /// How many minutes.
    pub minutes: u32,
    /// The first minute's start, in milliseconds since the Unix epoch; cut to the whole minute.
    pub start_ms: i64,
    /// The seed: the same plan and seed give the same bytes on any machine.
    pub seed: u64,
    /// What goes wrong, and when.
    pub incidents: Vec<Incident>,
}

/// A plan that cannot be simulated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InvalidPlan {
    /// Too few or too many tenants.
    #[error("{0} tenants: use 1 to {MAX_TENANTS}")]
    Tenants(u32),
    /// No or too much mail.
    #[error("{0} emails a minute: use more than 0 and at most {MAX_EMAILS_PER_MINUTE}")]
    EmailsPerMinute(f64),
    /// Too long.
    #[error("{0} minutes: use at most {MAX_MINUTES}")]
    Minutes(u32),
    /// A start before 1970 or too late.
    #[error("a start at {0} ms: use a time between the years 1970 and 9000")]
    Start(i64),
    /// Too many incidents.
    #[error("{0} incidents: use at most {MAX_INCIDENTS}")]
    Incidents(usize),
    /// An incident of a tenant that is not there.
    #[error(
        "incident of tenant {tenant:?}, which is not one of the {tenants} simulated: the first is {first:?}"
    )]
    UnknownTenant {
        /// The name given.
        tenant: String,
        /// How many there are.
        tenants: u32,
        /// The biggest one's name.
        first: String,
    },
    /// An incident of a provider that the simulation has no mail for.
    #[error("incident at provider {provider:?}, which is not simulated: use one of {known}")]
    UnknownProvider {
        /// The name given.
        provider: String,
        /// All that there are.
        known: String,
    },
    /// An incident of a campaign that no tenant has.
    #[error("incident of campaign {campaign:?}, which is not simulated: use one of {known}")]
    UnknownCampaign {
        /// The name given.
        campaign: String,
        /// All that there are.
        known: String,
    },
}

impl Plan {
    /// Checks the numbers; names in incidents are checked against the world that is made.
    pub(crate) fn check(&self) -> Result<(), InvalidPlan> {
        if !(1..=MAX_TENANTS).contains(&self.tenants) {
            return Err(InvalidPlan::Tenants(self.tenants));
        }
        if !(self.emails_per_minute > 0.0 && self.emails_per_minute <= MAX_EMAILS_PER_MINUTE) {
            return Err(InvalidPlan::EmailsPerMinute(self.emails_per_minute));
        }
        if self.minutes > MAX_MINUTES {
            return Err(InvalidPlan::Minutes(self.minutes));
        }
        if !(0..=MAX_START_MS).contains(&self.start_ms) {
            return Err(InvalidPlan::Start(self.start_ms));
        }
        if self.incidents.len() > MAX_INCIDENTS {
            return Err(InvalidPlan::Incidents(self.incidents.len()));
        }
        Ok(())
    }
}
