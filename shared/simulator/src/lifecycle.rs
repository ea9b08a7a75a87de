//! The lifecycle of one message, from the send to the last click: drawn all at once, and scheduled for when each event happens.
//!
//! A message is refused, suppressed, delayed or delivered by the behaviour of its mailbox and by active incidents. Once delivered it may
//! cause an automatic reply or a complaint, and be opened and clicked, by people over days and by machines within minutes. Probabilities are plausible orders of magnitude, not measurements.

use crate::mailboxes::Mailbox;
use crate::message::{EventDetail, SimulatedMessage};
use crate::random::{Random, choose, mix, round, scale};
use crate::schedule::Schedule;
use crate::smtp_replies::{SUPPRESSED, SmtpReply, UNDETERMINED};
use crate::user_agents::{
    APPLE_PROXY, BROWSERS, GMAIL_PREFETCH, GOOGLE_PROXY, PEOPLE, SCANNERS, UserAgent, YAHOO_PROXY,
};
use crate::world::Campaign;

const SECOND_MS: f64 = 1_000.0;
const MINUTE_MS: f64 = 60.0 * SECOND_MS;
const HOUR_MS: f64 = 60.0 * MINUTE_MS;

/// SES gives up after 840 minutes: "unable to deliver in 840 minutes" in captured events.
const GIVE_UP_MS: f64 = 840.0 * MINUTE_MS;
/// Number of links in a message.
pub(crate) const LINKS: u8 = 3;

const SUPPRESSED_SHARE: f64 = 0.002;
const REJECTED: f64 = 0.000_002;
const NOT_RENDERED: f64 = 0.000_3;
const UNDETERMINED_SHARE: f64 = 0.000_2;
const BOUNCES_AFTER_ACCEPTANCE: f64 = 0.000_3;
const UNSUBSCRIBES: f64 = 0.004;

/// How active incidents change the fate of a message, in addition to its mailbox's behaviour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IncidentEffects {
    /// Probability of a refusal because of the sender's reputation.
    pub(crate) blocked: f64,
    /// Probability that the mailbox does not exist.
    pub(crate) unknown_recipient: f64,
    /// Probability of a complaint.
    pub(crate) complains: f64,
    /// Factor by which delivery takes longer.
    pub(crate) slowness: f64,
}

impl IncidentEffects {
    pub(crate) const NONE: Self =
        Self { blocked: 0.0, unknown_recipient: 0.0, complains: 0.0, slowness: 1.0 };
}

/// The inputs from which the lifecycle of one message is drawn.
pub(crate) struct Lifecycle<'a> {
    pub(crate) message: SimulatedMessage,
    pub(crate) campaign: &'static Campaign,
    pub(crate) mailbox: &'a Mailbox,
    pub(crate) effects: IncidentEffects,
    pub(crate) random: &'a mut Random,
    pub(crate) schedule: &'a mut Schedule<(SimulatedMessage, EventDetail)>,
}

impl Lifecycle<'_> {
    /// Draws and schedules all events of the message.
    pub(crate) fn draw(mut self) {
        self.schedule_event(0.0, EventDetail::Send);
        if self.campaign.templated && self.random.happens(NOT_RENDERED) {
            self.schedule_event(0.0, EventDetail::RenderingFailure);
        } else if self.random.happens(REJECTED) {
            self.schedule_event(0.0, EventDetail::Reject);
        } else if self.random.happens(SUPPRESSED_SHARE) {
            let after = self.between(200.0, 1_500.0);
            if let Some(reply) = self.random.pick(&SUPPRESSED) {
                self.schedule_event(after, EventDetail::Suppressed(reply));
            }
        } else if !self.refused()
            && let Some(delivered_after) = self.delivered()
        {
            self.replied(delivered_after);
            self.complained(delivered_after);
            self.read(delivered_after);
        }
    }

    fn schedule_event(&mut self, after_ms: f64, detail: EventDetail) {
        self.schedule.add(self.message.sent_at_ms + i64::from(round(after_ms)), (self.message, detail));
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + self.random.unit() * (high - low)
    }

    fn bounce(&mut self, after_ms: f64, replies: &'static [SmtpReply]) {
        if let Some(reply) = self.random.pick(replies) {
            self.schedule_event(after_ms, EventDetail::Bounce { reply, after_acceptance: false });
        }
    }

    fn delay(&mut self, after_ms: f64) {
        if let Some(reply) = self.random.pick(self.mailbox.behaviour.replies.deferred) {
            self.schedule_event(after_ms, EventDetail::Delay(reply));
        }
    }

    /// Draws a permanent refusal by the receiving side; `true` if there is one.
    fn refused(&mut self) -> bool {
        let behaviour = self.mailbox.behaviour;
        let immediately = self.between(700.0, 5_000.0) * self.effects.slowness;
        if self.random.happens(self.effects.blocked) {
            // Some blocking servers defer first, so a part of a block shows as delays before it shows as bounces.
            let waits = self.random.happens(0.25);
            if waits {
                self.delay(immediately);
            }
            let after = if waits { self.between(5.0 * MINUTE_MS, 30.0 * MINUTE_MS) } else { immediately };
            self.bounce(after, behaviour.replies.blocked);
        } else if self.random.happens(behaviour.unknown_recipient + self.effects.unknown_recipient) {
            self.bounce(immediately, behaviour.replies.unknown_recipient);
        } else if self.random.happens(behaviour.expired) {
            // SES reports a delay more than once before it gives up.
            for after in [immediately, HOUR_MS, 6.0 * HOUR_MS] {
                self.delay(after);
            }
            self.bounce(GIVE_UP_MS, behaviour.replies.expired);
        } else if self.random.happens(UNDETERMINED_SHARE) {
            self.schedule_event(
                MINUTE_MS,
                EventDetail::Bounce { reply: &UNDETERMINED, after_acceptance: false },
            );
        } else {
            return false;
        }
        true
    }

    /// Draws the delivery, possibly after delays. Returns the milliseconds since the send, or `None` if SES gives up first.
    fn delivered(&mut self) -> Option<f64> {
        let behaviour = self.mailbox.behaviour;
        let mut after = f64::from(behaviour.delivery_time_ms(self.random)) * self.effects.slowness;
        if self.random.happens(behaviour.delayed) {
            loop {
                self.delay(after);
                after += self.random.log_normal(8.0 * MINUTE_MS, 0.6);
                if self.random.happens(0.6) {
                    break;
                }
            }
        }
        // SES gives up on mail that it could not deliver in time.
        if after >= GIVE_UP_MS {
            self.bounce(GIVE_UP_MS, behaviour.replies.expired);
            return None;
        }
        self.schedule_event(after, EventDetail::Delivery { processing_ms: round(after) });
        Some(after)
    }

    /// Draws what the receiving side sends back after it accepted the mail: a late bounce, an automatic reply.
    fn replied(&mut self, delivered_after: f64) {
        let behaviour = self.mailbox.behaviour;
        if self.random.happens(BOUNCES_AFTER_ACCEPTANCE) {
            let after = delivered_after + self.between(5.0 * SECOND_MS, 10.0 * MINUTE_MS);
            if let Some(reply) = self.random.pick(behaviour.replies.unknown_recipient) {
                self.schedule_event(after, EventDetail::Bounce { reply, after_acceptance: true });
            }
        }
        if self.random.happens(behaviour.auto_replies) {
            // Some replies come just before the delivery, so that nothing that counts events can rely on their order.
            let after = delivered_after + self.between(-30.0, 20.0 * SECOND_MS);
            self.schedule_event(after, EventDetail::AutoReply);
        }
    }

    fn complained(&mut self, delivered_after: f64) {
        let behaviour = self.mailbox.behaviour;
        // A provider that reports no complaints to SES reports none in a complaint spike either.
        if behaviour.complains == 0.0 {
            return;
        }
        // Hardly any recipient reports a receipt as spam.
        let usual = if self.campaign.is_bulk() { behaviour.complains } else { behaviour.complains * 0.1 };
        if self.random.happens(self.effects.complains) {
            let after = delivered_after + self.random.log_normal(15.0 * MINUTE_MS, 0.7);
            self.schedule_event(after, EventDetail::Complaint);
        } else if self.random.happens(usual) {
            let after = delivered_after + self.random.log_normal(6.0 * HOUR_MS, 1.2);
            self.schedule_event(after, EventDetail::Complaint);
        }
    }

    fn read(&mut self, delivered_after: f64) {
        // Machines first: behind a proxy that loads every image a person's own open is invisible.
        let proxied = self.read_by_machines(delivered_after);
        let behaviour = self.mailbox.behaviour;
        // Receipts and password resets are expected, so they are read far more often than newsletters.
        let (opens, clicks) = if self.campaign.is_bulk() { (0.22, 0.1) } else { (0.55, 0.3) };
        if !self.random.happens(opens * behaviour.interest) {
            return;
        }
        let mut after = delivered_after + 2.0 * SECOND_MS + self.random.log_normal(40.0 * MINUTE_MS, 1.7);
        if !proxied {
            let agent = self.image_loader();
            self.schedule_event(after, EventDetail::Open(agent));
            let mut again = after;
            for _ in 0..4 {
                if !self.random.happens(0.3) {
                    break;
                }
                again += self.random.log_normal(3.0 * HOUR_MS, 1.4);
                self.schedule_event(again, EventDetail::Open(agent));
            }
        }
        while self.random.happens(clicks) {
            after += self.between(3.0 * SECOND_MS, 90.0 * SECOND_MS);
            let link = self.link();
            self.schedule_event(after, EventDetail::Click { agent: self.browser(), link });
        }
        if self.campaign.is_bulk() && self.random.happens(UNSUBSCRIBES) {
            let after = after + self.between(10.0 * SECOND_MS, 5.0 * MINUTE_MS);
            self.schedule_event(after, EventDetail::Unsubscribe);
        }
    }

    /// Draws opens and clicks by machines. Returns whether the recipient is behind Apple's proxy, which hides their own opens.
    fn read_by_machines(&mut self, delivered_after: f64) -> bool {
        let behaviour = self.mailbox.behaviour;
        if self.random.happens(behaviour.prefetch) {
            let after = delivered_after + self.between(0.5 * SECOND_MS, 5.0 * SECOND_MS);
            self.schedule_event(after, EventDetail::Open(&GMAIL_PREFETCH));
        }
        if self.random.happens(behaviour.scanner) {
            let agent = choose(self.recipient_number(), &SCANNERS);
            let mut after = delivered_after + self.between(SECOND_MS, 20.0 * SECOND_MS);
            self.schedule_event(after, EventDetail::Open(agent));
            // A scanner follows every link within seconds, which a person does not do.
            for link in 0..LINKS {
                after += self.between(50.0, 900.0);
                self.schedule_event(after, EventDetail::Click { agent, link });
            }
        }
        // A person uses Apple's privacy protection for all their mail.
        let proxied = f64::from(scale(self.recipient_number(), 1_000)) < behaviour.apple_proxy * 1_000.0;
        if proxied {
            let after = delivered_after + self.random.log_normal(4.0 * MINUTE_MS, 1.1);
            self.schedule_event(after, EventDetail::Open(&APPLE_PROXY));
        }
        proxied
    }

    /// A number derived from the recipient, the same for all their mail.
    fn recipient_number(&self) -> u64 {
        mix(u64::from(self.message.person) ^ 0x5eed)
    }

    fn link(&mut self) -> u8 {
        u8::try_from(self.random.below(u32::from(LINKS))).unwrap_or(0)
    }

    /// The user agent that loads the images when this recipient reads.
    fn image_loader(&self) -> &'static UserAgent {
        match self.mailbox.provider {
            "gmail" => &GOOGLE_PROXY,
            "yahoo" => &YAHOO_PROXY,
            _ => choose(self.recipient_number(), &PEOPLE),
        }
    }

    /// The user agent that follows links when this recipient clicks.
    fn browser(&self) -> &'static UserAgent {
        choose(self.recipient_number(), &BROWSERS)
    }
}
