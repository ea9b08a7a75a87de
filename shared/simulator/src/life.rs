//! The life of one message: from the send to the last click, drawn at once and noted for when each thing happens.
//!
//! A message is refused, suppressed, delayed or delivered by the habits of the mailbox and by what goes wrong just now;
//! once delivered it may be answered, complained about, opened and clicked, by people over days and by machines within
//! minutes. Probabilities are plausible orders of magnitude, not measurements.

use crate::agenda::Agenda;
use crate::agents::{
    APPLE_PROXY, Agent, BROWSERS, GMAIL_PREFETCH, GOOGLE_PROXY, PEOPLE, SCANNERS, YAHOO_PROXY,
};
use crate::answers::{Answer, SUPPRESSED, UNDETERMINED};
use crate::chance::{Chance, choose, mix, round, scale};
use crate::mailboxes::Mailbox;
use crate::message::{Message, What};
use crate::world::Campaign;

const SECOND_MS: f64 = 1_000.0;
const MINUTE_MS: f64 = 60.0 * SECOND_MS;
const HOUR_MS: f64 = 60.0 * MINUTE_MS;

/// SES gives up after 840 minutes: "unable to deliver in 840 minutes" in captured events.
const GIVE_UP_MS: f64 = 840.0 * MINUTE_MS;
/// How many links a message has that are worth clicking.
pub(crate) const LINKS: u8 = 3;

const SUPPRESSED_SHARE: f64 = 0.002;
const REJECTED: f64 = 0.000_002;
const NOT_RENDERED: f64 = 0.000_3;
const UNDETERMINED_SHARE: f64 = 0.000_2;
const BOUNCES_AFTER_ACCEPTANCE: f64 = 0.000_3;
const UNSUBSCRIBES: f64 = 0.004;

/// What is wrong with a message's delivery just now, on top of its mailbox's habits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Troubles {
    /// Refused for the sender's reputation.
    pub(crate) blocked: f64,
    /// Sent to a mailbox that does not exist.
    pub(crate) gone: f64,
    /// Complained about.
    pub(crate) complains: f64,
    /// Delivery takes so many times as long.
    pub(crate) slowness: f64,
}

impl Troubles {
    pub(crate) const NONE: Self = Self { blocked: 0.0, gone: 0.0, complains: 0.0, slowness: 1.0 };
}

/// All that one message's life is drawn from.
pub(crate) struct Life<'a> {
    pub(crate) message: Message,
    pub(crate) campaign: &'static Campaign,
    pub(crate) mailbox: &'a Mailbox,
    pub(crate) troubles: Troubles,
    pub(crate) chance: &'a mut Chance,
    pub(crate) agenda: &'a mut Agenda<(Message, What)>,
}

impl Life<'_> {
    /// Draws everything that will happen.
    pub(crate) fn begin(mut self) {
        self.note(0.0, What::Send);
        if self.campaign.templated && self.chance.happens(NOT_RENDERED) {
            self.note(0.0, What::RenderingFailure);
        } else if self.chance.happens(REJECTED) {
            self.note(0.0, What::Reject);
        } else if self.chance.happens(SUPPRESSED_SHARE) {
            let after = self.between(200.0, 1_500.0);
            if let Some(answer) = self.chance.pick(&SUPPRESSED) {
                self.note(after, What::Suppressed(answer));
            }
        } else if !self.refused()
            && let Some(delivered_after) = self.delivered()
        {
            self.answered(delivered_after);
            self.complained(delivered_after);
            self.read(delivered_after);
        }
    }

    fn note(&mut self, after_ms: f64, what: What) {
        self.agenda.add(self.message.sent_at_ms + i64::from(round(after_ms)), (self.message, what));
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + self.chance.unit() * (high - low)
    }

    fn bounce(&mut self, after_ms: f64, answers: &'static [Answer]) {
        if let Some(answer) = self.chance.pick(answers) {
            self.note(after_ms, What::Bounce { answer, after_acceptance: false });
        }
    }

    fn delay(&mut self, after_ms: f64) {
        if let Some(answer) = self.chance.pick(self.mailbox.habits.answers.later) {
            self.note(after_ms, What::Delay(answer));
        }
    }

    /// Whether the receiving side refuses for good.
    fn refused(&mut self) -> bool {
        let habits = self.mailbox.habits;
        let at_once = self.between(700.0, 5_000.0) * self.troubles.slowness;
        if self.chance.happens(self.troubles.blocked) {
            let waits = self.chance.happens(0.25);
            if waits {
                self.delay(at_once);
            }
            let after = if waits { self.between(5.0 * MINUTE_MS, 30.0 * MINUTE_MS) } else { at_once };
            self.bounce(after, habits.answers.blocked);
        } else if self.chance.happens(habits.gone + self.troubles.gone) {
            self.bounce(at_once, habits.answers.gone);
        } else if self.chance.happens(habits.given_up) {
            for after in [at_once, HOUR_MS, 6.0 * HOUR_MS] {
                self.delay(after);
            }
            self.bounce(GIVE_UP_MS, habits.answers.given_up);
        } else if self.chance.happens(UNDETERMINED_SHARE) {
            self.note(MINUTE_MS, What::Bounce { answer: &UNDETERMINED, after_acceptance: false });
        } else {
            return false;
        }
        true
    }

    /// When it is delivered, after delays perhaps, in milliseconds after the send; none if its sender's reputation meets it late.
    fn delivered(&mut self) -> Option<f64> {
        let habits = self.mailbox.habits;
        let mut after = f64::from(habits.delivery_time_ms(self.chance)) * self.troubles.slowness;
        if self.chance.happens(habits.delayed) {
            loop {
                self.delay(after);
                after += self.chance.log_normal(8.0 * MINUTE_MS, 0.6);
                if self.chance.happens(0.6) {
                    break;
                }
            }
        }
        // What would take longer than SES tries is not delivered but given up.
        if after >= GIVE_UP_MS {
            self.bounce(GIVE_UP_MS, habits.answers.given_up);
            return None;
        }
        self.note(after, What::Delivery { processing_ms: round(after) });
        Some(after)
    }

    /// What the receiving side sends back after it has accepted the mail.
    fn answered(&mut self, delivered_after: f64) {
        let habits = self.mailbox.habits;
        if self.chance.happens(BOUNCES_AFTER_ACCEPTANCE) {
            let after = delivered_after + self.between(5.0 * SECOND_MS, 10.0 * MINUTE_MS);
            if let Some(answer) = self.chance.pick(habits.answers.gone) {
                self.note(after, What::Bounce { answer, after_acceptance: true });
            }
        }
        if self.chance.happens(habits.auto_replies) {
            let after = delivered_after + self.between(-30.0, 20.0 * SECOND_MS);
            self.note(after, What::AutoReply);
        }
    }

    fn complained(&mut self, delivered_after: f64) {
        let habits = self.mailbox.habits;
        // Who tells SES of no complaint at all tells of none in a spike.
        if habits.complains == 0.0 {
            return;
        }
        let usual = if self.campaign.is_bulk() { habits.complains } else { habits.complains * 0.1 };
        if self.chance.happens(self.troubles.complains) {
            let after = delivered_after + self.chance.log_normal(15.0 * MINUTE_MS, 0.7);
            self.note(after, What::Complaint);
        } else if self.chance.happens(usual) {
            let after = delivered_after + self.chance.log_normal(6.0 * HOUR_MS, 1.2);
            self.note(after, What::Complaint);
        }
    }

    fn read(&mut self, delivered_after: f64) {
        let proxied = self.read_by_machines(delivered_after);
        let habits = self.mailbox.habits;
        let (opens, clicks) = if self.campaign.is_bulk() { (0.22, 0.1) } else { (0.55, 0.3) };
        if !self.chance.happens(opens * habits.interest) {
            return;
        }
        let mut after = delivered_after + 2.0 * SECOND_MS + self.chance.log_normal(40.0 * MINUTE_MS, 1.7);
        if !proxied {
            let agent = self.image_loader();
            self.note(after, What::Open(agent));
            let mut again = after;
            for _ in 0..4 {
                if !self.chance.happens(0.3) {
                    break;
                }
                again += self.chance.log_normal(3.0 * HOUR_MS, 1.4);
                self.note(again, What::Open(agent));
            }
        }
        while self.chance.happens(clicks) {
            after += self.between(3.0 * SECOND_MS, 90.0 * SECOND_MS);
            let link = self.link();
            self.note(after, What::Click { agent: self.browser(), link });
        }
        if self.campaign.is_bulk() && self.chance.happens(UNSUBSCRIBES) {
            let after = after + self.between(10.0 * SECOND_MS, 5.0 * MINUTE_MS);
            self.note(after, What::Unsubscribe);
        }
    }

    /// Opens and clicks that nobody makes; whether Apple's proxy stands before the person for good.
    fn read_by_machines(&mut self, delivered_after: f64) -> bool {
        let habits = self.mailbox.habits;
        if self.chance.happens(habits.prefetch) {
            let after = delivered_after + self.between(0.5 * SECOND_MS, 5.0 * SECOND_MS);
            self.note(after, What::Open(&GMAIL_PREFETCH));
        }
        if self.chance.happens(habits.scanner) {
            let agent = choose(self.who(), &SCANNERS);
            let mut after = delivered_after + self.between(SECOND_MS, 20.0 * SECOND_MS);
            self.note(after, What::Open(agent));
            for link in 0..LINKS {
                after += self.between(50.0, 900.0);
                self.note(after, What::Click { agent, link });
            }
        }
        // Whether somebody reads with Apple's protection does not change from mail to mail.
        let proxied = f64::from(scale(self.who(), 1_000)) < habits.apple_proxy * 1_000.0;
        if proxied {
            let after = delivered_after + self.chance.log_normal(4.0 * MINUTE_MS, 1.1);
            self.note(after, What::Open(&APPLE_PROXY));
        }
        proxied
    }

    /// A number that belongs to the person, the same in each of their mails.
    fn who(&self) -> u64 {
        mix(u64::from(self.message.person) ^ 0x5eed)
    }

    fn link(&mut self) -> u8 {
        u8::try_from(self.chance.below(u32::from(LINKS))).unwrap_or(0)
    }

    /// What loads the images when this person reads.
    fn image_loader(&self) -> &'static Agent {
        match self.mailbox.provider {
            "gmail" => &GOOGLE_PROXY,
            "yahoo" => &YAHOO_PROXY,
            _ => choose(self.who(), &PEOPLE),
        }
    }

    /// What follows links when this person clicks.
    fn browser(&self) -> &'static Agent {
        choose(self.who(), &BROWSERS)
    }
}
