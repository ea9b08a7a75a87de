//! A plan, played minute by minute.

use crate::agenda::Agenda;
use crate::chance::{Chance, mix, unit};
use crate::envelope::{Envelope, Wrapper};
use crate::incident::{Incident, IncidentKind};
use crate::life::{Life, Troubles};
use crate::mailboxes::Mailboxes;
use crate::message::{Message, What};
use crate::plan::{InvalidPlan, Plan};
use crate::template::Template;
use crate::truth::TruthCounts;
use crate::world::{CAMPAIGNS, Campaign, Tenant, mean_shape, tenants};
use crate::write::{Event, Writer};

/// How many people a tenant writes to.
const AUDIENCE: u32 = 200_000;
const MINUTE_MS: i64 = 60_000;

/// A plan in play.
#[derive(Debug)]
pub struct Simulation {
    plan: Plan,
    tenants: Vec<Tenant>,
    streams: Vec<Stream>,
    mailboxes: Mailboxes,
    staged: Vec<Staged>,
    agenda: Agenda<(Message, What)>,
    chance: Chance,
    writer: Writer,
    wrapper: Wrapper,
    /// Emails a minute where all shapes are 1.
    base_rate: f64,
    minute: u32,
    serial: u64,
}

/// What happened in a minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinuteSummary {
    /// The minute's start, in milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// Events written.
    pub events: u64,
    /// Later events left out so far because too many were waiting; memory is bounded.
    pub dropped: u64,
    /// The counts of each tenant, in the order of [`Simulation::tenant_names`].
    pub tenants: Vec<TruthCounts>,
}

/// Something that happens to a message at a time, in milliseconds since the Unix epoch.
type Due = (i64, (Message, What));

/// One tenant's mail of one campaign.
#[derive(Debug)]
struct Stream {
    tenant: u32,
    campaign: &'static Campaign,
    template: Template,
}

/// An incident whose names are found; none means any.
#[derive(Debug)]
struct Staged {
    incident: Incident,
    tenant: Option<u32>,
    campaign: Option<&'static str>,
    provider: Option<&'static str>,
}

impl Staged {
    fn concerns(&self, stream: &Stream) -> bool {
        self.tenant.is_none_or(|tenant| tenant == stream.tenant)
            && self.campaign.is_none_or(|campaign| campaign == stream.campaign.name)
    }

    fn concerns_mail_to(&self, provider: &str) -> bool {
        self.provider.is_none_or(|wanted| wanted == provider)
    }
}

impl Simulation {
    /// Makes the world of a plan.
    ///
    /// # Errors
    /// [`InvalidPlan`] if a number is out of range or an incident names what is not there.
    pub fn new(plan: Plan) -> Result<Self, InvalidPlan> {
        plan.check()?;
        let tenants = tenants(plan.tenants);
        let mailboxes = Mailboxes::new();
        let mut staged = Vec::new();
        for incident in &plan.incidents {
            staged.push(stage(incident, &tenants, &mailboxes)?);
        }
        let mut streams = Vec::new();
        for (number, tenant) in (0_u32..).zip(&tenants) {
            for campaign in &CAMPAIGNS {
                let template = Template::new(tenant, campaign, number);
                streams.push(Stream { tenant: number, campaign, template });
            }
        }
        let start_ms = plan.start_ms - plan.start_ms.rem_euclid(MINUTE_MS);
        let end_ms = start_ms + i64::from(plan.minutes) * MINUTE_MS;
        let base_rate = plan.emails_per_minute / mean_shape(&tenants, start_ms / MINUTE_MS, plan.minutes);
        Ok(Self {
            base_rate,
            chance: Chance::from_seed(plan.seed),
            agenda: Agenda::new(start_ms, end_ms),
            plan: Plan { start_ms, ..plan },
            tenants,
            streams,
            mailboxes,
            staged,
            writer: Writer::new(),
            wrapper: Wrapper::new(Envelope::Raw),
            minute: 0,
            serial: 0,
        })
    }

    /// The same events, wrapped as they arrive somewhere.
    #[must_use]
    pub fn in_envelopes(mut self, envelope: Envelope) -> Self {
        self.wrapper = Wrapper::new(envelope);
        self
    }

    /// The tenants' names, the biggest first.
    pub fn tenant_names(&self) -> impl Iterator<Item = &str> {
        self.tenants.iter().map(|tenant| tenant.name.as_str())
    }

    /// Appends the events of the next minute to `out`, one JSON object a line, in the order of their time; `None` when the plan is over.
    pub fn next_minute(&mut self, out: &mut Vec<u8>) -> Option<MinuteSummary> {
        let (mut summary, due) = self.begin_minute()?;
        for (at_ms, (message, what)) in due {
            self.publish(out, &mut summary, at_ms, message, what);
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

    /// Sends the mail of the next minute. Returns what is due in it.
    fn begin_minute(&mut self) -> Option<(MinuteSummary, Vec<Due>)> {
        if self.minute >= self.plan.minutes {
            return None;
        }
        let start_ms = self.plan.start_ms + i64::from(self.minute) * MINUTE_MS;
        self.send(start_ms);
        let summary = MinuteSummary {
            start_ms,
            events: 0,
            dropped: self.agenda.dropped(),
            tenants: vec![TruthCounts::default(); self.tenants.len()],
        };
        Some((summary, self.agenda.take_minute()))
    }

    /// Draws the mail of this minute and all that will come of it.
    fn send(&mut self, start_ms: i64) {
        for number in 0..self.streams.len() {
            let Some(stream) = self.streams.get(number) else { break };
            let Some(tenant) = self.tenants.get(stream.tenant as usize) else { break };
            let spike = self.active(stream).map(Staged::volume_factor).product::<f64>();
            let shape = tenant.shape(stream.campaign, start_ms / MINUTE_MS);
            let part = tenant.share * f64::from(stream.campaign.percent) / 100.0;
            let count = self.chance.poisson(self.base_rate * part * shape * spike);
            for _ in 0..count {
                self.send_one(start_ms, number);
            }
        }
    }

    fn send_one(&mut self, start_ms: i64, number: usize) {
        let sent_at_ms = start_ms + i64::from(self.chance.below(60_000));
        let Some(stream) = self.streams.get(number) else { return };
        let person = stream.tenant * AUDIENCE + self.chance.below(AUDIENCE);
        let mailbox_number = self.mailboxes.choose(mix(u64::from(person)));
        let Some(mailbox) = self.mailboxes.get(mailbox_number) else { return };
        let (mut sent, mut troubles) = (1.0, Troubles::NONE);
        for staged in &self.staged {
            if let Some(progress) = staged.incident.progress(self.minute)
                && staged.concerns(stream)
            {
                staged.apply(mailbox.provider, progress, &mut sent, &mut troubles);
            }
        }
        if sent < 1.0 && !self.chance.happens(sent) {
            return;
        }
        self.serial += 1;
        let message = Message {
            sent_at_ms,
            serial: mix(self.plan.seed) ^ self.serial,
            person,
            mailbox: mailbox_number,
            stream: u16::try_from(number).unwrap_or(u16::MAX),
        };
        let (campaign, chance, agenda) = (stream.campaign, &mut self.chance, &mut self.agenda);
        Life { message, campaign, mailbox, troubles, chance, agenda }.begin();
    }

    fn publish(
        &mut self,
        out: &mut Vec<u8>,
        summary: &mut MinuteSummary,
        at_ms: i64,
        message: Message,
        what: What,
    ) {
        let Some(stream) = self.streams.get(usize::from(message.stream)) else { return };
        let Some(mailbox) = self.mailboxes.get(message.mailbox) else { return };
        if matches!(what, What::Open(_) | What::Click { .. })
            && self.is_unseen(stream, mailbox.provider, at_ms, message)
        {
            return;
        }
        if let Some(counts) = summary.tenants.get_mut(stream.tenant as usize) {
            counts.count(what);
        }
        summary.events += 1;
        let event = Event { at_ms, message, what, template: &stream.template, mailbox };
        self.wrapper.write(out, &mut self.writer, &event);
    }

    /// Whether an outage hides an open or click of this moment. Drawn from the message, so that all else stays as it would be.
    fn is_unseen(&self, stream: &Stream, provider: &str, at_ms: i64, message: Message) -> bool {
        let drawn = unit(mix(message.serial ^ at_ms.unsigned_abs().rotate_left(32)));
        self.active(stream).any(|staged| {
            staged.incident.kind == IncidentKind::OpenOutage
                && staged.concerns_mail_to(provider)
                && drawn < staged.incident.share
        })
    }

    /// The incidents that concern a stream in this minute.
    fn active<'a>(&'a self, stream: &'a Stream) -> impl Iterator<Item = &'a Staged> {
        let minute = self.minute;
        self.staged
            .iter()
            .filter(move |staged| staged.incident.progress(minute).is_some() && staged.concerns(stream))
    }
}

impl Staged {
    /// How many times over a stream is sent. Where only mail to one provider is, the rest of it is thinned out again.
    fn volume_factor(&self) -> f64 {
        if self.incident.kind == IncidentKind::VolumeSpike { self.incident.factor.max(1.0) } else { 1.0 }
    }

    /// What the incident does to a message to a provider: `sent` is the chance that it is sent at all.
    fn apply(&self, provider: &str, progress: f64, sent: &mut f64, troubles: &mut Troubles) {
        let Incident { kind, share, factor, .. } = self.incident;
        if !self.concerns_mail_to(provider) {
            if kind == IncidentKind::VolumeSpike {
                *sent /= factor.max(1.0);
            }
            return;
        }
        match kind {
            IncidentKind::GmailBlock => troubles.blocked = troubles.blocked.max(share),
            IncidentKind::SlowDecline => troubles.blocked = troubles.blocked.max(share * progress),
            IncidentKind::BadList => troubles.gone = troubles.gone.max(share),
            IncidentKind::ComplaintSpike => troubles.complains = troubles.complains.max(share),
            IncidentKind::VolumeDrop => *sent *= 1.0 - share,
            IncidentKind::Latency => troubles.slowness *= factor,
            IncidentKind::VolumeSpike | IncidentKind::OpenOutage => {}
        }
    }
}

/// Finds the names of an incident in the world.
fn stage(incident: &Incident, tenants: &[Tenant], mailboxes: &Mailboxes) -> Result<Staged, InvalidPlan> {
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

fn tenant_number(name: &str, tenants: &[Tenant]) -> Result<u32, InvalidPlan> {
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
