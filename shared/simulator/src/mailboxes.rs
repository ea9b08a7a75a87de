//! Where recipients have their mailboxes, and how those who run them behave.
//!
//! Shares are of a mixed list of consumers in the USA and Europe; the behaviour consists of plausible orders of magnitude, not
//! measurements. Consumer domains are real, because a provider is recognised by them; the names before the `@` carry
//! eight hexadecimal digits, so no real address is among them. Company domains end in `.example`.

use crate::random::{Random, scale};
use crate::smtp_replies::{self, SmtpReplies};

/// How a kind of mailbox treats mail. Probabilities are per message, times in milliseconds.
#[derive(Debug)]
pub(crate) struct MailboxBehaviour {
    pub(crate) replies: &'static SmtpReplies,
    /// The host name in its replies.
    pub(crate) host: &'static str,
    /// What its servers answer when they accept a message, before and after the time in seconds.
    pub(crate) acceptance: [&'static str; 2],
    /// Median of the time from acceptance to delivery.
    pub(crate) delivery_ms: f64,
    /// Probability of a temporary failure first.
    pub(crate) delayed: f64,
    /// Probability that the mailbox does not exist.
    pub(crate) unknown_recipient: f64,
    /// Probability that all attempts fail.
    pub(crate) expired: f64,
    /// Probability of a complaint about bulk mail; 0 if the provider reports none to SES.
    pub(crate) complains: f64,
    /// Probability of an automatic reply.
    pub(crate) auto_replies: f64,
    /// Open probability relative to the average.
    pub(crate) interest: f64,
    /// Share of people behind Apple's privacy proxy.
    pub(crate) apple_proxy: f64,
    /// Probability that Gmail prefetches the images.
    pub(crate) prefetch: f64,
    /// Probability that a scanner follows the links.
    pub(crate) scanner: f64,
}

/// A domain with mailboxes.
#[derive(Debug)]
pub(crate) struct Mailbox {
    pub(crate) domain: Box<str>,
    /// The provider's slug as users of Mailgauge write it; `other` for a company's domain.
    pub(crate) provider: &'static str,
    pub(crate) behaviour: &'static MailboxBehaviour,
}

/// All domains, drawn by market share.
#[derive(Debug)]
pub(crate) struct Mailboxes {
    all: Vec<Mailbox>,
    /// Cumulative shares of the consumer domains, in 1/10,000; the remainder is company domains.
    cumulative_shares: Vec<u32>,
}

const WHOLE_SHARE: u32 = 10_000;

const BASE: MailboxBehaviour = MailboxBehaviour {
    replies: &smtp_replies::OTHERS,
    host: "mx1.mail.example",
    acceptance: ["250 2.0.0 OK ", " accepted"],
    delivery_ms: 900.0,
    delayed: 0.006,
    unknown_recipient: 0.004,
    expired: 0.001,
    complains: 0.0004,
    auto_replies: 0.0005,
    interest: 1.0,
    apple_proxy: 0.12,
    prefetch: 0.0,
    scanner: 0.0,
};

const GMAIL: MailboxBehaviour = MailboxBehaviour {
    replies: &smtp_replies::GMAIL,
    host: "gmail-smtp-in.l.google.com",
    delivery_ms: 700.0,
    delayed: 0.003,
    unknown_recipient: 0.003,
    expired: 0.0008,
    complains: 0.0,
    apple_proxy: 0.1,
    prefetch: 0.04,
    ..BASE
};
const YAHOO: MailboxBehaviour = MailboxBehaviour {
    replies: &smtp_replies::YAHOO,
    host: "mta7.am0.yahoodns.net",
    delivery_ms: 1_300.0,
    delayed: 0.012,
    complains: 0.0008,
    ..BASE
};
const MICROSOFT: MailboxBehaviour = MailboxBehaviour {
    replies: &smtp_replies::MICROSOFT,
    host: "outlook-com.olc.protection.outlook.com",
    delivery_ms: 1_600.0,
    unknown_recipient: 0.005,
    complains: 0.0006,
    interest: 0.85,
    ..BASE
};
const APPLE: MailboxBehaviour = MailboxBehaviour {
    replies: &smtp_replies::APPLE,
    host: "mx01.mail.icloud.com",
    delivery_ms: 1_000.0,
    apple_proxy: 0.75,
    interest: 1.1,
    ..BASE
};
const COMPANY: MailboxBehaviour = MailboxBehaviour {
    delivery_ms: 2_200.0,
    delayed: 0.02,
    unknown_recipient: 0.008,
    expired: 0.002,
    complains: 0.0001,
    auto_replies: 0.01,
    interest: 0.8,
    scanner: 0.12,
    ..BASE
};

/// Companies' domains at Google.
const HOSTED_BY_GOOGLE: MailboxBehaviour = MailboxBehaviour {
    replies: &smtp_replies::GMAIL,
    host: "aspmx.l.google.com",
    acceptance: ["250 2.0.0 OK  ", " d2e1a72fcca58-7b33c4d5e6f - gsmtp"],
    complains: 0.0,
    prefetch: 0.04,
    scanner: 0.01,
    ..COMPANY
};
/// Companies' domains at Microsoft 365.
const HOSTED_BY_MICROSOFT: MailboxBehaviour = MailboxBehaviour {
    replies: &smtp_replies::HOSTED_BY_MICROSOFT,
    host: "company-example.mail.protection.outlook.com",
    acceptance: [
        "250 2.6.0 <0100019ab@email.amazonses.com> [InternalId=",
        ", Hostname=AM0PR05MB1234.eurprd05.prod.outlook.com] 20480 bytes in 0.214, 93.3 KB/sec Queued mail for delivery",
    ],
    scanner: 0.08,
    ..COMPANY
};
/// Companies behind the gateways of a filtering service.
const BEHIND_MIMECAST: MailboxBehaviour = MailboxBehaviour {
    replies: &smtp_replies::MIMECAST,
    host: "eu-smtp-inbound-1.mimecast.com",
    acceptance: ["250 SmtpThread-", "-1764500000000@eu-smtp-1.mimecast.com Received OK [uk12]"],
    scanner: 0.6,
    ..COMPANY
};
const BEHIND_PROOFPOINT: MailboxBehaviour = MailboxBehaviour {
    replies: &smtp_replies::PROOFPOINT,
    host: "mx0a-00112233.pphosted.com",
    acceptance: ["250 2.0.0 ", "-1 Message accepted for delivery by mx0a-00112233.pphosted.com"],
    scanner: 0.6,
    ..COMPANY
};

/// Who hosts companies' domains: provider, share of the domains in percent, behaviour. The remainder runs servers of its own.
const HOSTS: [(&str, u32, &MailboxBehaviour); 4] = [
    ("google-workspace", 44, &HOSTED_BY_GOOGLE),
    ("microsoft-365", 40, &HOSTED_BY_MICROSOFT),
    ("mimecast", 8, &BEHIND_MIMECAST),
    ("proofpoint", 4, &BEHIND_PROOFPOINT),
];

/// The host of a company's domain; `None` if it runs its own servers.
fn host(number: u32) -> Option<(&'static str, &'static MailboxBehaviour)> {
    let mut point = scale(crate::random::mix(number.into()), 100);
    HOSTS.into_iter().find_map(|(provider, share, behaviour)| {
        let is_here = point < share;
        point = point.saturating_sub(share);
        is_here.then_some((provider, behaviour))
    })
}

/// Domain, provider, share in 1/10,000, behaviour.
#[rustfmt::skip]
const CONSUMERS: [(&str, &str, u32, &MailboxBehaviour); 40] = [
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
    /// `hosted_percent` of the recipients are in companies' domains that others host; `None` for the usual list of consumers, whose few
    /// companies run their own servers.
    pub(crate) fn new(hosted_percent: Option<u32>) -> Self {
        let (mut all, mut shares, mut sum) = (Vec::new(), Vec::new(), 0);
        for (domain, provider, share, behaviour) in CONSUMERS {
            sum += share;
            shares.push(sum);
            all.push(Mailbox { domain: domain.into(), provider, behaviour });
        }
        for first in COMPANY_FIRST {
            for second in COMPANY_SECOND {
                let domain = format!("{first}{second}.example").into();
                let number = u32::try_from(all.len()).unwrap_or(0);
                let (provider, behaviour) =
                    hosted_percent.and_then(|_| host(number)).unwrap_or(("other", &COMPANY));
                all.push(Mailbox { domain, provider, behaviour });
            }
        }
        if let Some(percent) = hosted_percent {
            // The consumers keep their proportions and share what is left.
            let left = WHOLE_SHARE - WHOLE_SHARE * percent.min(100) / 100;
            for share in &mut shares {
                *share = *share * left / sum;
            }
        }
        Self { all, cumulative_shares: shares }
    }

    /// Maps a random number to a mailbox: consumer domains by share, company domains with a long tail.
    pub(crate) fn choose(&self, random: u64) -> u16 {
        let point = scale(random, WHOLE_SHARE);
        let consumers = self.cumulative_shares.len();
        let number = if self.cumulative_shares.last().is_some_and(|&sum| point < sum) {
            self.cumulative_shares.partition_point(|&sum| sum <= point)
        } else {
            // Squaring makes the first domains the most common.
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
        // Sorted, because messages list them and must not depend on the order of the table.
        providers.sort_unstable();
        providers.dedup();
        providers
    }
}

impl MailboxBehaviour {
    /// Draws the time from acceptance to delivery; at least the time of an SMTP handshake.
    pub(crate) fn delivery_time_ms(&self, random: &mut Random) -> u32 {
        crate::random::round(random.log_normal(self.delivery_ms, 0.55)).max(180)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_drawn_by_share_with_a_long_tail_of_companies() {
        let mailboxes = Mailboxes::new(None);
        let mut random = Random::from_seed(1);
        let mut counts = vec![0_u32; mailboxes.all.len()];
        for _ in 0..200_000 {
            counts[usize::from(mailboxes.choose(random.next()))] += 1;
        }
        assert!((79_000..=83_000).contains(&counts[0]), "gmail.com: {}", counts[0]);
        let companies = &counts[CONSUMERS.len()..];
        assert!(companies.iter().filter(|&&count| count > 0).count() > 1_500);
        assert!(companies.iter().sum::<u32>() > 20_000);
        assert!(companies[0] > 10 * companies[1_000]);
    }

    #[test]
    fn hosted_domains_have_their_share_and_few_run_their_own_servers() {
        let mailboxes = Mailboxes::new(Some(60));
        let mut random = Random::from_seed(1);
        let mut by_provider = std::collections::BTreeMap::<&str, u32>::new();
        for _ in 0..100_000 {
            let mailbox = mailboxes.get(mailboxes.choose(random.next())).unwrap();
            *by_provider.entry(mailbox.provider).or_default() += 1;
        }
        let companies: u32 = ["google-workspace", "microsoft-365", "mimecast", "proofpoint", "other"]
            .iter()
            .map(|name| by_provider[name])
            .sum();
        assert!((59_000..=61_000).contains(&companies), "{by_provider:?}");
        assert!((500..=4_000).contains(&by_provider["other"]), "{by_provider:?}");
    }
}
