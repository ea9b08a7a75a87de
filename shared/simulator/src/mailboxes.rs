//! Where recipients have their mailboxes, and how those who run them behave.
//!
//! Shares are of a mixed list of consumers in the USA and Europe; habits are plausible orders of magnitude, not
//! measurements. Consumer domains are real, since a provider is recognised by them; the names before the `@` carry
//! eight hexadecimal digits so that they are nobody's. Company domains end in `.example`.

use crate::answers::{self, Answers};
use crate::chance::{Chance, scale};

/// How mail to a kind of mailbox fares. Probabilities are per message, times in milliseconds.
#[derive(Debug)]
pub(crate) struct Habits {
    pub(crate) answers: &'static Answers,
    /// The host that answers, for texts.
    pub(crate) host: &'static str,
    /// Median of the time from acceptance to delivery.
    pub(crate) delivery_ms: f64,
    /// First answered with a temporary failure.
    pub(crate) delayed: f64,
    /// Refused for good because the mailbox is gone.
    pub(crate) gone: f64,
    /// Refused after all retries.
    pub(crate) given_up: f64,
    /// Complains, if the mail was bulk; 0 where the provider tells SES nothing.
    pub(crate) complains: f64,
    /// Answers by itself.
    pub(crate) auto_replies: f64,
    /// Opens relative to the average.
    pub(crate) interest: f64,
    /// Images loaded by Apple's proxies.
    pub(crate) apple_proxy: f64,
    /// Images loaded ahead by Gmail.
    pub(crate) prefetch: f64,
    /// Links followed by a scanner.
    pub(crate) scanner: f64,
}

/// A domain with mailboxes.
#[derive(Debug)]
pub(crate) struct Mailbox {
    pub(crate) domain: Box<str>,
    /// The provider's slug as users of Mailgauge write it; `other` for a company's domain.
    pub(crate) provider: &'static str,
    pub(crate) habits: &'static Habits,
}

/// All domains, to choose from by share.
#[derive(Debug)]
pub(crate) struct Mailboxes {
    all: Vec<Mailbox>,
    /// The sum of shares up to and with each consumer domain, in 1/10,000; the rest is company domains.
    shares: Vec<u32>,
}

const SHARE_OF: u32 = 10_000;

const BASE: Habits = Habits {
    answers: &answers::OTHERS,
    host: "mx1.mail.example",
    delivery_ms: 900.0,
    delayed: 0.006,
    gone: 0.004,
    given_up: 0.001,
    complains: 0.0004,
    auto_replies: 0.0005,
    interest: 1.0,
    apple_proxy: 0.12,
    prefetch: 0.0,
    scanner: 0.0,
};

const GMAIL: Habits = Habits {
    answers: &answers::GMAIL,
    host: "gmail-smtp-in.l.google.com",
    delivery_ms: 700.0,
    delayed: 0.003,
    gone: 0.003,
    given_up: 0.0008,
    complains: 0.0,
    apple_proxy: 0.1,
    prefetch: 0.04,
    ..BASE
};
const YAHOO: Habits = Habits {
    answers: &answers::YAHOO,
    host: "mta7.am0.yahoodns.net",
    delivery_ms: 1_300.0,
    delayed: 0.012,
    complains: 0.0008,
    ..BASE
};
const MICROSOFT: Habits = Habits {
    answers: &answers::MICROSOFT,
    host: "outlook-com.olc.protection.outlook.com",
    delivery_ms: 1_600.0,
    gone: 0.005,
    complains: 0.0006,
    interest: 0.85,
    ..BASE
};
const APPLE: Habits = Habits {
    answers: &answers::APPLE,
    host: "mx01.mail.icloud.com",
    delivery_ms: 1_000.0,
    apple_proxy: 0.75,
    interest: 1.1,
    ..BASE
};
const COMPANY: Habits = Habits {
    delivery_ms: 2_200.0,
    delayed: 0.02,
    gone: 0.008,
    given_up: 0.002,
    complains: 0.0001,
    auto_replies: 0.01,
    interest: 0.8,
    scanner: 0.12,
    ..BASE
};

/// Domain, provider, share in 1/10,000, habits.
#[rustfmt::skip]
const CONSUMERS: [(&str, &str, u32, &Habits); 40] = [
    ("gmail.com", "gmail", 4050, &GMAIL), ("googlemail.com", "gmail", 40, &GMAIL),
    ("yahoo.com", "yahoo", 620, &YAHOO), ("yahoo.co.uk", "yahoo", 60, &YAHOO), ("yahoo.fr", "yahoo", 40, &YAHOO),
    ("aol.com", "yahoo", 170, &YAHOO), ("ymail.com", "yahoo", 30, &YAHOO),
    ("hotmail.com", "microsoft", 540, &MICROSOFT), ("outlook.com", "microsoft", 390, &MICROSOFT),
    ("live.com", "microsoft", 90, &MICROSOFT), ("hotmail.fr", "microsoft", 60, &MICROSOFT),
    ("hotmail.co.uk", "microsoft", 60, &MICROSOFT), ("msn.com", "microsoft", 50, &MICROSOFT),
    ("icloud.com", "apple", 520, &APPLE), ("me.com", "apple", 90, &APPLE), ("mac.com", "apple", 30, &APPLE),
    ("comcast.net", "comcast", 120, &BASE), ("att.net", "att", 50, &YAHOO), ("sbcglobal.net", "att", 50, &YAHOO),
    ("verizon.net", "verizon", 40, &YAHOO), ("cox.net", "cox", 40, &YAHOO), ("charter.net", "spectrum", 30, &BASE),
    ("gmx.de", "gmx", 110, &BASE), ("gmx.net", "gmx", 60, &BASE), ("web.de", "webde", 120, &BASE),
    ("t-online.de", "tonline", 70, &BASE), ("freenet.de", "freenet", 20, &BASE), ("orange.fr", "orange", 70, &BASE),
    ("wanadoo.fr", "orange", 30, &BASE), ("free.fr", "free", 60, &BASE), ("laposte.net", "laposte", 30, &BASE),
    ("libero.it", "libero", 60, &BASE), ("btinternet.com", "bt", 40, &BASE), ("ziggo.nl", "ziggo", 20, &BASE),
    ("seznam.cz", "seznam", 20, &BASE), ("wp.pl", "wp", 30, &BASE), ("proton.me", "proton", 60, &BASE),
    ("qq.com", "qq", 30, &BASE), ("uol.com.br", "uol", 30, &BASE), ("bigpond.com", "telstra", 20, &BASE),
];

const COMPANY_FIRST: [&str; 50] = [
    "bright", "river", "north", "stone", "blue", "summit", "cedar", "harbor", "golden", "silver", "green",
    "iron", "maple", "oak", "prairie", "quick", "red", "sage", "sunny", "swift", "tall", "urban", "valley",
    "west", "wild", "amber", "apex", "atlas", "beacon", "birch", "canyon", "clear", "coral", "crest",
    "delta", "eagle", "ember", "falcon", "fern", "frost", "glen", "grand", "hazel", "indigo", "juniper",
    "lake", "lunar", "metro", "nova", "ocean",
];
const COMPANY_SECOND: [&str; 40] = [
    "dental",
    "logistics",
    "legal",
    "foods",
    "media",
    "clinic",
    "motors",
    "homes",
    "labs",
    "farms",
    "studio",
    "capital",
    "travel",
    "school",
    "energy",
    "textiles",
    "tools",
    "works",
    "health",
    "insurance",
    "bakery",
    "press",
    "systems",
    "design",
    "partners",
    "supply",
    "fitness",
    "realty",
    "optics",
    "paper",
    "steel",
    "wines",
    "toys",
    "books",
    "music",
    "events",
    "security",
    "consulting",
    "robotics",
    "shipping",
];

impl Mailboxes {
    pub(crate) fn new() -> Self {
        let (mut all, mut shares, mut sum) = (Vec::new(), Vec::new(), 0);
        for (domain, provider, share, habits) in CONSUMERS {
            sum += share;
            shares.push(sum);
            all.push(Mailbox { domain: domain.into(), provider, habits });
        }
        for first in COMPANY_FIRST {
            for second in COMPANY_SECOND {
                let domain = format!("{first}{second}.example").into();
                all.push(Mailbox { domain, provider: "other", habits: &COMPANY });
            }
        }
        Self { all, shares }
    }

    /// Chooses by a random number: consumer domains by share, company domains with a long tail.
    pub(crate) fn choose(&self, random: u64) -> u16 {
        let point = scale(random, SHARE_OF);
        let consumers = self.shares.len();
        let number = if self.shares.last().is_some_and(|&sum| point < sum) {
            self.shares.partition_point(|&sum| sum <= point)
        } else {
            // The square makes the first domains the common ones.
            let companies = u32::try_from(self.all.len() - consumers).unwrap_or(0);
            let tail = scale(random << 32, u32::MAX);
            consumers + scale(u64::from(tail) * u64::from(tail), companies) as usize
        };
        u16::try_from(number).unwrap_or(0)
    }

    pub(crate) fn get(&self, number: u16) -> Option<&Mailbox> {
        self.all.get(usize::from(number))
    }

    /// The slugs of all providers, each once.
    pub(crate) fn providers(&self) -> Vec<&'static str> {
        let mut providers: Vec<&'static str> = self.all.iter().map(|mailbox| mailbox.provider).collect();
        providers.sort_unstable();
        providers.dedup();
        providers
    }
}

impl Habits {
    /// From acceptance to delivery, at least the time of a handshake.
    pub(crate) fn delivery_time_ms(&self, chance: &mut Chance) -> u32 {
        crate::chance::round(chance.log_normal(self.delivery_ms, 0.55)).max(180)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_come_in_their_shares_with_a_long_tail_of_companies() {
        let mailboxes = Mailboxes::new();
        let mut chance = Chance::from_seed(1);
        let mut counts = vec![0_u32; mailboxes.all.len()];
        for _ in 0..200_000 {
            counts[usize::from(mailboxes.choose(chance.next()))] += 1;
        }
        assert!((79_000..=83_000).contains(&counts[0]), "gmail.com: {}", counts[0]);
        let companies = &counts[CONSUMERS.len()..];
        assert!(companies.iter().filter(|&&count| count > 0).count() > 1_500);
        assert!(companies.iter().sum::<u32>() > 20_000);
        assert!(companies[0] > 10 * companies[1_000]);
    }
}
