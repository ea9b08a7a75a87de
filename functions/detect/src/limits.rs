//! Is a rate beyond its limit beyond doubt? Plain proportions of the last hour, pure.
//!
//! A limit is broken when even the bound of the rate's confidence interval is beyond it, so that one bounce in 13 mails wakes nobody,
//! and kept again when the rate itself is clear of it, so that a rate at its limit does not flap.

/// Standard deviations of doubt that are allowed for: one false alarm in a thousand looks at a rate just at its limit.
const DOUBT: f64 = 3.1;
/// A broken limit is kept again below this share of it.
const CLEAR_SHARE: f64 = 0.8;

/// A promised rate. All three count what is bad: mail not delivered, bounced, complained of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Mail that was not delivered, against 1 - the least delivery rate.
    Delivery,
    /// Bounces of mail sent.
    Bounce,
    /// Complaints about mail delivered.
    Complaint,
}

/// How a rate stands to its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Beyond it, beyond doubt.
    Broken,
    /// Neither.
    Unclear,
    /// Clear of it, or there is no mail.
    Kept,
}

/// A proportion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proportion {
    /// How many were bad.
    pub bad: u64,
    /// Of how many.
    pub all: u64,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Delivery, Self::Bounce, Self::Complaint];

    /// The metric's name.
    pub const fn metric(self) -> &'static str {
        match self {
            Self::Delivery => "delivery_rate",
            Self::Bounce => "bounce_rate",
            Self::Complaint => "complaint_rate",
        }
    }

    /// The most that may be bad, as a fraction.
    pub const fn most(self) -> f64 {
        match self {
            Self::Delivery => 0.05,
            Self::Bounce => 0.02,
            Self::Complaint => 0.001,
        }
    }

    /// How serious it is.
    pub const fn severity(self) -> &'static str {
        match self {
            // SES reviews and pauses accounts by these two.
            Self::Bounce | Self::Complaint => "critical",
            Self::Delivery => "warning",
        }
    }

    /// A fraction of bad ones as the metric counts it.
    pub const fn as_metric(self, bad: f64) -> f64 {
        match self {
            Self::Delivery => 1.0 - bad,
            Self::Bounce | Self::Complaint => bad,
        }
    }

    /// How the proportion stands to the limit.
    pub fn judge(self, found: Proportion) -> Verdict {
        let Some(rate) = found.rate() else { return Verdict::Kept };
        if found.at_least() > self.most() {
            Verdict::Broken
        } else if rate < self.most() * CLEAR_SHARE {
            Verdict::Kept
        } else {
            Verdict::Unclear
        }
    }
}

impl Proportion {
    /// As a fraction; of nothing there is none.
    pub fn rate(self) -> Option<f64> {
        (self.all > 0).then(|| self.bad as f64 / self.all as f64)
    }

    /// The lower bound of the rate (Wilson's, which is right for few and for rare ones too).
    fn at_least(self) -> f64 {
        let Some(rate) = self.rate() else { return 0.0 };
        let (all, doubt) = (self.all as f64, DOUBT * DOUBT);
        let centre = rate + doubt / (2.0 * all);
        let spread = DOUBT * (rate * (1.0 - rate) / all + doubt / (4.0 * all * all)).max(0.0).sqrt();
        (centre - spread) / (1.0 + doubt / all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_mails_prove_nothing_and_many_do() {
        for (limit, bad, all, expected) in [
            (Limit::Bounce, 0, 0, Verdict::Kept),
            (Limit::Bounce, 1, 13, Verdict::Unclear),
            (Limit::Bounce, 30, 500, Verdict::Broken),
            (Limit::Bounce, 20, 1000, Verdict::Unclear),
            (Limit::Bounce, 15, 1000, Verdict::Kept),
            (Limit::Complaint, 1, 100, Verdict::Unclear),
            (Limit::Complaint, 30, 10_000, Verdict::Broken),
            (Limit::Delivery, 600, 10_000, Verdict::Broken),
            (Limit::Delivery, 300, 10_000, Verdict::Kept),
            (Limit::Delivery, 10, 10, Verdict::Broken),
        ] {
            assert_eq!(limit.judge(Proportion { bad, all }), expected, "{limit:?} {bad}/{all}");
        }
    }
}
