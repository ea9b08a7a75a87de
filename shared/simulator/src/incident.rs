//! Staged incidents, written as `KIND@OFFSET[:KEY=VALUE...]`.
//!
//! `gmail-block@600:minutes=90:tenant=acme:share=0.8` begins 600 minutes after the start. Omitted options have the kind's default. Without
//! a tenant the incident hits the largest one; `*` means all tenants.

use std::str::FromStr;

/// The kind of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncidentKind {
    /// Gmail refuses a share of the mail because of the sender's reputation.
    GmailBlock,
    /// A bad list: a share of the mail goes to mailboxes that do not exist.
    BadList,
    /// Recipients complain about a share of the delivered mail, within the hour.
    ComplaintSpike,
    /// A share of the mail is not sent.
    VolumeDrop,
    /// `factor` times as much mail is sent.
    VolumeSpike,
    /// Refusals grow slowly from nothing to a share of the mail.
    SlowDecline,
    /// The tracking domain is down, so a share of opens and clicks is not reported.
    OpenOutage,
    /// Delivery takes `factor` times as long.
    Latency,
}

impl IncidentKind {
    /// Every kind, in the order in which messages list them.
    pub const ALL: [Self; 8] = [
        Self::GmailBlock,
        Self::BadList,
        Self::ComplaintSpike,
        Self::VolumeDrop,
        Self::VolumeSpike,
        Self::SlowDecline,
        Self::OpenOutage,
        Self::Latency,
    ];

    /// The name in the text form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GmailBlock => "gmail-block",
            Self::BadList => "bad-list",
            Self::ComplaintSpike => "complaint-spike",
            Self::VolumeDrop => "volume-drop",
            Self::VolumeSpike => "volume-spike",
            Self::SlowDecline => "slow-decline",
            Self::OpenOutage => "open-outage",
            Self::Latency => "latency",
        }
    }

    /// Default minutes, share and factor.
    const fn defaults(self) -> (u32, f64, f64) {
        match self {
            Self::GmailBlock => (90, 0.8, 1.0),
            Self::BadList => (60, 0.25, 1.0),
            Self::ComplaintSpike => (120, 0.01, 1.0),
            Self::VolumeDrop => (60, 0.9, 1.0),
            Self::VolumeSpike => (60, 0.0, 5.0),
            Self::SlowDecline => (3 * 7 * 24 * 60, 0.08, 1.0),
            Self::OpenOutage => (180, 1.0, 1.0),
            Self::Latency => (60, 0.0, 20.0),
        }
    }
}

/// An incident to stage, with its time, its effect and the mail it affects.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// What happens to the affected mail.
    pub kind: IncidentKind,
    /// Beginning, in minutes after the start of the plan.
    pub offset_minutes: u32,
    /// How long it lasts, in minutes, at least 1.
    pub minutes: u32,
    /// The tenant it hits; `*` is all tenants, `None` the largest.
    pub tenant: Option<String>,
    /// Restricts it to mail to one provider.
    pub provider: Option<String>,
    /// Restricts it to one campaign.
    pub campaign: Option<String>,
    /// The share of the mail that is affected, 0 to 1.
    pub share: f64,
    /// The factor by which volume or delivery time grows, 0 to 1000.
    pub factor: f64,
}

/// A text is not a valid incident.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIncident {
    /// The kind is unknown.
    #[error(
        "incident kind {kind:?} is not one of gmail-block, bad-list, complaint-spike, volume-drop, volume-spike, slow-decline, open-outage, latency"
    )]
    Kind {
        /// The text as given.
        kind: String,
    },
    /// The offset is missing or not a number.
    #[error("incident {text:?} does not say when: write KIND@OFFSET, the offset in minutes from the start")]
    Offset {
        /// The text as given.
        text: String,
    },
    /// An option is unknown or has no `=`.
    #[error("incident option {option:?} is not minutes=, tenant=, provider=, campaign=, share= or factor=")]
    Option {
        /// The text as given.
        option: String,
    },
    /// The value of an option is out of range.
    #[error(
        "incident option {option:?} is out of range: minutes is a whole number from 1, share 0 to 1, factor 0 to 1000, names are not empty"
    )]
    Value {
        /// The text as given.
        option: String,
    },
}

impl FromStr for Incident {
    type Err = InvalidIncident;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(':');
        let head = parts.next().unwrap_or_default();
        let (name, offset) =
            head.split_once('@').ok_or_else(|| InvalidIncident::Offset { text: text.to_owned() })?;
        let kind = IncidentKind::ALL.into_iter().find(|kind| kind.name() == name);
        let kind = kind.ok_or_else(|| InvalidIncident::Kind { kind: name.to_owned() })?;
        let offset_minutes = offset.parse().map_err(|_| InvalidIncident::Offset { text: text.to_owned() })?;
        let (minutes, share, factor) = kind.defaults();
        let mut incident = Self {
            kind,
            offset_minutes,
            minutes,
            tenant: None,
            provider: None,
            campaign: None,
            share,
            factor,
        };
        for option in parts {
            incident.set(option)?;
        }
        Ok(incident)
    }
}

impl Incident {
    fn set(&mut self, option: &str) -> Result<(), InvalidIncident> {
        let out_of_range = || InvalidIncident::Value { option: option.to_owned() };
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let number = |range: std::ops::RangeInclusive<f64>| {
            value.parse().ok().filter(|number| range.contains(number)).ok_or_else(out_of_range)
        };
        let name = || if value.is_empty() { Err(out_of_range()) } else { Ok(Some(value.to_owned())) };
        match key {
            "minutes" => {
                let given = value.parse().ok().filter(|&minutes| minutes > 0);
                self.minutes = given.ok_or_else(out_of_range)?;
            }
            "tenant" => self.tenant = name()?,
            "provider" => self.provider = name()?,
            "campaign" => self.campaign = name()?,
            "share" => self.share = number(0.0..=1.0)?,
            "factor" => self.factor = number(0.0..=1000.0)?,
            _ => return Err(InvalidIncident::Option { option: option.to_owned() }),
        }
        Ok(())
    }

    /// Progress at `minute`, from 0 at the beginning to just below 1; `None` outside the incident.
    pub(crate) fn progress(&self, minute: u32) -> Option<f64> {
        let since = minute.checked_sub(self.offset_minutes).filter(|&since| since < self.minutes)?;
        Some(f64::from(since) / f64::from(self.minutes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incident_is_parsed_with_options_and_defaults() {
        let incident: Incident =
            "gmail-block@600:minutes=45:tenant=acme:share=0.5:campaign=digest".parse().unwrap();
        assert_eq!(
            (incident.kind, incident.offset_minutes, incident.minutes),
            (IncidentKind::GmailBlock, 600, 45)
        );
        assert_eq!(
            (incident.tenant.as_deref(), incident.campaign.as_deref()),
            (Some("acme"), Some("digest"))
        );
        assert_eq!(incident.share.to_bits(), 0.5_f64.to_bits());
        for kind in IncidentKind::ALL {
            let incident: Incident = format!("{}@0", kind.name()).parse().unwrap();
            assert_eq!((incident.kind, incident.minutes), (kind, kind.defaults().0));
        }
    }

    #[test]
    fn invalid_incident_is_refused_with_the_reason() {
        for (text, expected) in [
            ("", "does not say when"),
            ("gmail-block", "does not say when"),
            ("gmail-block@soon", "does not say when"),
            ("gmail-block@-1", "does not say when"),
            ("flood@5", "incident kind \"flood\" is not one of gmail-block"),
            ("latency@5:size=3", "incident option \"size=3\" is not minutes="),
            ("latency@5:minutes", "\"minutes\" is out of range"),
            ("latency@5:minutes=0", "\"minutes=0\" is out of range"),
            ("latency@5:share=1.1", "\"share=1.1\" is out of range"),
            ("latency@5:factor=NaN", "\"factor=NaN\" is out of range"),
            ("latency@5:tenant=", "\"tenant=\" is out of range"),
            ("latency@5:", "incident option \"\" is not"),
        ] {
            let error = text.parse::<Incident>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn incident_lasts_from_its_offset_for_its_minutes() {
        let incident: Incident = "latency@10:minutes=4".parse().unwrap();
        let progress: Vec<Option<f64>> = (9..=14).map(|minute| incident.progress(minute)).collect();
        assert_eq!(progress, [None, Some(0.0), Some(0.25), Some(0.5), Some(0.75), None]);
    }
}
