//! The plan of a simulation: tenants, volume, duration, seed and staged incidents.

use crate::incident::Incident;

/// The most tenants of a plan.
pub const MAX_TENANTS: u32 = 10_000;
/// The most emails a minute, more than a billion a day.
pub const MAX_EMAILS_PER_MINUTE: f64 = 2_000_000.0;
/// The longest plan: ten years of minutes.
pub const MAX_MINUTES: u32 = 10 * 366 * 24 * 60;
/// The most incidents of a plan; each is evaluated for every stream in every minute.
pub const MAX_INCIDENTS: usize = 100;
/// The latest start: the year 9000, so that every time has a year of four digits.
pub const MAX_START_MS: i64 = 221_845_392_000_000;

/// How much mail to simulate, from when on, for how long, and what goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Number of tenants, 1 to [`MAX_TENANTS`]. The first sends the most: shares fall as 1/rank.
    pub tenants: u32,
    /// Emails per minute of all tenants together: the mean over the plan, or over its first week if it is longer. Traffic follows the hours of
    /// the day.
    pub emails_per_minute: f64,
    /// How long to simulate, in minutes, at most [`MAX_MINUTES`].
    pub minutes: u32,
    /// The first minute's start, in milliseconds since the Unix epoch; rounded down to a whole minute.
    pub start_ms: i64,
    /// The seed: the same plan and seed give the same bytes on any machine.
    pub seed: u64,
    /// The percentage of recipients whose addresses are in companies' own domains, which Google, Microsoft and others host, partly
    /// behind security gateways; at most 100. `None` for the usual list of consumers, with few company domains on servers of their own.
    pub hosted_percent: Option<u32>,
    /// Incidents to stage, at most [`MAX_INCIDENTS`]; they may overlap.
    pub incidents: Vec<Incident>,
}

/// A plan that cannot be simulated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InvalidPlan {
    /// Too few or too many tenants.
    #[error("{0} tenants: use 1 to {MAX_TENANTS}")]
    Tenants(u32),
    /// The volume is out of range.
    #[error("{0} emails a minute: use more than 0 and at most {MAX_EMAILS_PER_MINUTE}")]
    EmailsPerMinute(f64),
    /// The plan is too long.
    #[error("{0} minutes: use at most {MAX_MINUTES}")]
    Minutes(u32),
    /// A start before 1970 or too late.
    #[error("a start at {0} ms: use a time between the years 1970 and 9000")]
    Start(i64),
    /// More than all recipients.
    #[error("{0} % of hosted company domains: use at most 100")]
    HostedPercent(u32),
    /// There are more than [`MAX_INCIDENTS`] incidents.
    #[error("{0} incidents: use at most {MAX_INCIDENTS}")]
    Incidents(usize),
    /// An incident names a tenant that is not simulated.
    #[error(
        "incident of tenant {tenant:?}, which is not one of the {tenants} simulated: the first is {first:?}"
    )]
    UnknownTenant {
        /// The name in the incident.
        tenant: String,
        /// Number of simulated tenants.
        tenants: u32,
        /// The name of the largest tenant.
        first: String,
    },
    /// An incident names a provider that is not simulated.
    #[error("incident at provider {provider:?}, which is not simulated: use one of {known}")]
    UnknownProvider {
        /// The name in the incident.
        provider: String,
        /// The simulated names, separated by commas.
        known: String,
    },
    /// An incident names a campaign that is not simulated.
    #[error("incident of campaign {campaign:?}, which is not simulated: use one of {known}")]
    UnknownCampaign {
        /// The name in the incident.
        campaign: String,
        /// The simulated names, separated by commas.
        known: String,
    },
}

impl Plan {
    /// Checks the numbers. Names in incidents are checked when the simulation is created.
    pub(crate) fn check(&self) -> Result<(), InvalidPlan> {
        if !(1..=MAX_TENANTS).contains(&self.tenants) {
            return Err(InvalidPlan::Tenants(self.tenants));
        }
        if let Some(percent) = self.hosted_percent.filter(|percent| *percent > 100) {
            return Err(InvalidPlan::HostedPercent(percent));
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
