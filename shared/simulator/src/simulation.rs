//! Plays a plan minute by minute: draws the mail of each minute and writes the events that are due in it.
//!
//! Everything is drawn from the plan's seed in a fixed order, so that the same plan gives the same bytes.

use crate::envelope::{EnvelopeWriter, OutputEnvelope};
use crate::incident::{Incident, IncidentKind};
use crate::lifecycle::{IncidentEffects, Lifecycle};
use crate::mailboxes::Mailboxes;
use crate::message::{EventDetail, SimulatedMessage};
use crate::plan::{InvalidPlan, Plan};
use crate::random::{Random, mix, unit};
use crate::schedule::Schedule;
use crate::template::Template;
use crate::truth::TruthCounts;
use crate::world::{CAMPAIGNS, Campaign, SimulatedTenant, mean_shape, tenants};
use crate::write::{Event, Writer};

/// Number of recipients of each tenant.
const AUDIENCE: u32 = 200_000;
const MINUTE_MS: i64 = 60_000;

/// A simulation in progress.
#[derive(Debug)]
pub struct Simulation {
    plan: Plan,
    tenants: Vec<SimulatedTenant>,
    streams: Vec<CampaignStream>,
    mailboxes: Mailboxes,
    staged: Vec<Staged>,
    schedule: Schedule<(SimulatedMessage, EventDetail)>,
    random: Random,
    writer: Writer,
    wrapper: EnvelopeWriter,
    /// Emails per minute where all daily and weekly factors are 1.
    base_rate: f64,
    minute: u32,
    serial: u64,
}

/// The summary of one minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinuteSummary {
    /// The minute's start, in milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// Events written in this minute, of all tenants.
    pub events: u64,
    /// Number of future events dropped so far because the schedule was full.
    pub dropped: u64,
    /// The counts of each tenant, in the order of [`Simulation::tenant_names`].
    pub tenants: Vec<TruthCounts>,
}

/// An event that is due: its time in milliseconds since the Unix epoch, its message and its detail.
type Due = (i64, (SimulatedMessage, EventDetail));

/// The mail of one campaign of one tenant.
#[derive(Debug)]
struct CampaignStream {
    tenant: u32,
    campaign: &'static Campaign,
    template: Template,
}

/// An incident whose names are resolved; `None` means any.
#[derive(Debug)]
struct Staged {
    incident: Incident,
    tenant: Option<u32>,
    campaign: Option<&'static str>,
    provider: Option<&'static str>,
}

impl Staged {
    fn affects(&self, stream: &CampaignStream) -> bool {
        self.tenant.is_none_or(|tenant| tenant == stream.tenant)
            && self.campaign.is_none_or(|campaign| campaign == stream.campaign.name)
    }

    fn affects_mail_to(&self, provider: &str) -> bool {
        self.provider.is_none_or(|affected| affected == provider)
    }
}

impl Simulation {
    /// Prepares the simulation of a plan.
    ///
    /// # Errors
    /// [`InvalidPlan`] if a number is out of range or an incident names something that is not simulated.
    pub fn new(plan: Plan) -> Result<Self, InvalidPlan> {
        plan.check()?;
        let tenants = tenants(plan.tenants);
        let mailboxes = Mailboxes::new(plan.hosted_percent);
        let mut staged = Vec::new();
        for incident in &plan.incidents {
            staged.push(stage(incident, &tenants, &mailboxes)?);
        }
        let mut streams = Vec::new();
        for (number, tenant) in (0_u32..).zip(&tenants) {
            for campaign in &CAMPAIGNS {
                let template = Template::new(tenant, campaign, number);
                streams.push(CampaignStream { tenant: number, campaign, template });
            }
        }
        let start_ms = plan.start_ms - plan.start_ms.rem_euclid(MINUTE_MS);
        let end_ms = start_ms + i64::from(plan.minutes) * MINUTE_MS;
        let base_rate = plan.emails_per_minute / mean_shape(&tenants, start_ms / MINUTE_MS, plan.minutes);
        Ok(Self {
            base_rate,
            random: Random::from_seed(plan.seed),
            schedule: Schedule::new(start_ms, end_ms),
            plan: Plan { start_ms, ..plan },
            tenants,
            streams,
            mailboxes,
            staged,
            writer: Writer::new(),
            wrapper: EnvelopeWriter::new(OutputEnvelope::Raw),
            minute: 0,
            serial: 0,
        })
    }

    /// Writes the same events in this envelope. The default is [`OutputEnvelope::Raw`].
    #[must_use]
    pub fn in_envelopes(mut self, envelope: OutputEnvelope) -> Self {
        self.wrapper = EnvelopeWriter::new(envelope);
        self
    }

    /// The names of the tenants, the largest first.
    pub fn tenant_names(&self) -> impl Iterator<Item = &str> {
        self.tenants.iter().map(|tenant| tenant.name.as_str())
    }

    /// Appends the events of the next minute to `out`, one JSON object per line, ordered by time. Returns `None` after the last minute.
    pub fn next_minute(&mut self, out: &mut Vec<u8>) -> Option<MinuteSummary> {
        let (mut summary, due) = self.begin_minute()?;
        for (at_ms, (message, detail)) in due {
            self.publish(out, &mut summary, at_ms, message, detail);
        }
        self.wrapper.end_minute(out);
        self.minute += 1;
        Some(summary)
    }

    /// Skips the next minute without writing its events, which is several times as fast. Later minutes are the same as after
    /// [`Self::next_minute`]. Returns `false` if there is no further minute.
    pub fn skip_minute(&mut self) -> bool {
        let is_there = self.begin_minute().is_some();
        self.minute += u32::from(is_there);
        is_there
    }

    /// Draws the mail of the next minute. Returns the events that are due in it.
    fn begin_minute(&mut self) -> Option<(MinuteSummary, Vec<Due>)> {
        if self.minute >= self.plan.minutes {
            return None;
        }
        let start_ms = self.plan.start_ms + i64::from(self.minute) * MINUTE_MS;
        self.send(start_ms);
        let summary = MinuteSummary {
            start_ms,
            events: 0,
            dropped: self.schedule.dropped(),
            tenants: vec![TruthCounts::default(); self.tenants.len()],
        };
        Some((summary, self.schedule.take_minute()))
    }

    /// Draws the mail of this minute with all its events.
    fn send(&mut self, start_ms: i64) {
        for number in 0..self.streams.len() {
            let Some(stream) = self.streams.get(number) else { break };
            let Some(tenant) = self.tenants.get(stream.tenant as usize) else { break };
            let spike = self.active(stream).map(Staged::volume_factor).product::<f64>();
            let shape = tenant.shape(stream.campaign, start_ms / MINUTE_MS);
            let part = tenant.share * f64::from(stream.campaign.percent) / 100.0;
            let count = self.random.poisson(self.base_rate * part * shape * spike);
            for _ in 0..count {
                self.send_one(start_ms, number);
            }
        }
    }

    fn send_one(&mut self, start_ms: i64, number: usize) {
        let sent_at_ms = start_ms + i64::from(self.random.below(60_000));
        let Some(stream) = self.streams.get(number) else { return };
        // Recipients of different tenants have different numbers, so no address belongs to two tenants.
        let person = stream.tenant * AUDIENCE + self.random.below(AUDIENCE);
        let mailbox_number = self.mailboxes.choose(mix(u64::from(person)));
        let Some(mailbox) = self.mailboxes.get(mailbox_number) else { return };
        let (mut sent, mut effects) = (1.0, IncidentEffects::NONE);
        for staged in &self.staged {
            if let Some(progress) = staged.incident.progress(self.minute)
                && staged.affects(stream)
            {
                staged.apply(mailbox.provider, progress, &mut sent, &mut effects);
            }
        }
        // Without such an incident nothing is drawn here, so staging one elsewhere does not change this mail.
        if sent < 1.0 && !self.random.happens(sent) {
            return;
        }
        self.serial += 1;
        let message = SimulatedMessage {
            sent_at_ms,
            serial: mix(self.plan.seed) ^ self.serial,
            person,
            mailbox: mailbox_number,
            stream: u16::try_from(number).unwrap_or(u16::MAX),
        };
        let (campaign, random, schedule) = (stream.campaign, &mut self.random, &mut self.schedule);
        Lifecycle { message, campaign, mailbox, effects, random, schedule }.draw();
    }

    fn publish(
        &mut self,
        out: &mut Vec<u8>,
        summary: &mut MinuteSummary,
        at_ms: i64,
        message: SimulatedMessage,
        detail: EventDetail,
    ) {
        let Some(stream) = self.streams.get(usize::from(message.stream)) else { return };
        let Some(mailbox) = self.mailboxes.get(message.mailbox) else { return };
        if matches!(detail, EventDetail::Open(_) | EventDetail::Click { .. })
            && self.is_hidden(stream, mailbox.provider, at_ms, message)
        {
            return;
        }
        if let Some(counts) = summary.tenants.get_mut(stream.tenant as usize) {
            counts.count(detail);
        }
        summary.events += 1;
        let event = Event { at_ms, message, detail, template: &stream.template, mailbox };
        self.wrapper.write(out, &mut self.writer, &event);
    }

    /// Whether an outage hides this open or click. It is derived from the message instead of drawn, so that an outage changes nothing else.
    fn is_hidden(
        &self,
        stream: &CampaignStream,
        provider: &str,
        at_ms: i64,
        message: SimulatedMessage,
    ) -> bool {
        let drawn = unit(mix(message.serial ^ at_ms.unsigned_abs().rotate_left(32)));
        self.active(stream).any(|staged| {
            staged.incident.kind == IncidentKind::OpenOutage
                && staged.affects_mail_to(provider)
                && drawn < staged.incident.share
        })
    }

    /// The incidents that affect a stream in this minute.
    fn active<'a>(&'a self, stream: &'a CampaignStream) -> impl Iterator<Item = &'a Staged> {
        let minute = self.minute;
        self.staged
            .iter()
            .filter(move |staged| staged.incident.progress(minute).is_some() && staged.affects(stream))
    }
}

impl Staged {
    /// The factor of a stream's volume. If only mail to one provider is affected, [`Staged::apply`] thins out the rest again.
    fn volume_factor(&self) -> f64 {
        if self.incident.kind == IncidentKind::VolumeSpike { self.incident.factor.max(1.0) } else { 1.0 }
    }

    /// Applies the incident to a message to `provider`. `sent` is the probability that the message is sent at all.
    fn apply(&self, provider: &str, progress: f64, sent: &mut f64, effects: &mut IncidentEffects) {
        let Incident { kind, share, factor, .. } = self.incident;
        if !self.affects_mail_to(provider) {
            // The spike multiplied the volume of all providers; this keeps the others at their usual volume.
            if kind == IncidentKind::VolumeSpike {
                *sent /= factor.max(1.0);
            }
            return;
        }
        match kind {
            IncidentKind::GmailBlock => effects.blocked = effects.blocked.max(share),
            IncidentKind::SlowDecline => effects.blocked = effects.blocked.max(share * progress),
            IncidentKind::BadList => effects.unknown_recipient = effects.unknown_recipient.max(share),
            IncidentKind::ComplaintSpike => effects.complains = effects.complains.max(share),
            IncidentKind::VolumeDrop => *sent *= 1.0 - share,
            IncidentKind::Latency => effects.slowness *= factor,
            IncidentKind::VolumeSpike | IncidentKind::OpenOutage => {}
        }
    }
}

/// Resolves the names of an incident.
fn stage(
    incident: &Incident,
    tenants: &[SimulatedTenant],
    mailboxes: &Mailboxes,
) -> Result<Staged, InvalidPlan> {
    let tenant = match incident.tenant.as_deref() {
        None => Some(0),
        Some("*") => None,
        Some(name) => Some(tenant_number(name, tenants)?),
    };
    let campaign = match incident.campaign.as_deref() {
        None => None,
        Some(name) => Some(campaign_name(name)?),
    };
    let provider = match (incident.provider.as_deref(), incident.kind) {
        (None, IncidentKind::GmailBlock) => Some("gmail"),
        (None, _) => None,
        (Some(name), _) => Some(provider_name(name, mailboxes)?),
    };
    Ok(Staged { incident: incident.clone(), tenant, campaign, provider })
}

fn tenant_number(name: &str, tenants: &[SimulatedTenant]) -> Result<u32, InvalidPlan> {
    let found = (0_u32..).zip(tenants).find(|(_, tenant)| tenant.name == name);
    found.map(|(number, _)| number).ok_or_else(|| InvalidPlan::UnknownTenant {
        tenant: name.to_owned(),
        tenants: u32::try_from(tenants.len()).unwrap_or(u32::MAX),
        first: tenants.first().map(|tenant| tenant.name.clone()).unwrap_or_default(),
    })
}

fn campaign_name(name: &str) -> Result<&'static str, InvalidPlan> {
    let found = CAMPAIGNS.iter().find(|campaign| campaign.name == name);
    found.map(|campaign| campaign.name).ok_or_else(|| InvalidPlan::UnknownCampaign {
        campaign: name.to_owned(),
        known: CAMPAIGNS.each_ref().map(|campaign| campaign.name).join(", "),
    })
}

fn provider_name(name: &str, mailboxes: &Mailboxes) -> Result<&'static str, InvalidPlan> {
    let providers = mailboxes.providers();
    let found = providers.iter().find(|provider| **provider == name).copied();
    found.ok_or_else(|| InvalidPlan::UnknownProvider {
        provider: name.to_owned(),
        known: providers.join(", "),
    })
}

#[cfg(test)]
mod tests;
