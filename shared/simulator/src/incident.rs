//! What goes wrong on purpose: staged incidents, written `KIND@OFFSET[:KEY=VALUE...]`.
//!
//! `gmail-block@600:minutes=90:tenant=acme:share=0.8` begins 600 minutes after the start. What is left out has the
//! kind's default; a tenant left out is the biggest one, `*` is all of them.

use std::str::FromStr;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncidentKind {
    /// Gmail refuses a share of the mail, for the sender's reputation.
    GmailBlock,
    /// A bought list: a share of the mail goes to mailboxes that do not exist.
    BadList,
    /// A share of the delivered mail is complained about, within the hour.
    ComplaintSpike,
    /// A share of the mail is not sent.
    VolumeDrop,
    /// Mail is sent `factor` times over.
    VolumeSpike,
    /// Refusals creep up from nothing to a share of the mail at the end.
    SlowDecline,
    /// Opens and clicks are not seen: the tracking domain is down.
    OpenOutage,
    /// Delivery takes `factor` times as long.
    Latency,
}

impl IncidentKind {
    /// All of them.
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

    /// The name it is written by.
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

    /// Minutes, share and factor where they are not given.
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

/// A staged incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// What goes wrong.
    pub kind: IncidentKind,
    /// When, in minutes after the start.
    pub offset_minutes: u32,
    /// For how many minutes.
    pub minutes: u32,
    /// To which tenant; `*` is all, none is the biggest.
    pub tenant: Option<String>,
    /// For mail to which provider only.
    pub provider: Option<String>,
    /// For mail of which campaign only.
    pub campaign: Option<String>,
    /// The part of the mail it happens to, 0 to 1.
    pub share: f64,
    /// How many times as much or as long, 0 to 1000.
    pub factor: f64,
}

/// Text that is not an incident.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIncident {
    /// No such kind.
    #[error(
        "incident kind {kind:?} is not one of gmail-block, bad-list, complaint-spike, volume-drop, volume-spike, slow-decline, open-outage, latency"
    )]
    Kind {
        /// What was given.
        kind: String,
    },
    /// No offset.
    #[error("incident {text:?} does not say when: write KIND@OFFSET, the offset in minutes from the start")]
    Offset {
        /// What was given.
        text: String,
    },
    /// A key that no incident has, or no `=`.
    #[error("incident option {option:?} is not minutes=, tenant=, provider=, campaign=, share= or factor=")]
    Option {
        /// What was given.
        option: String,
    },
    /// A value that does not fit its key.
    #[error(
        "incident option {option:?} is out of range: minutes is a whole number from 1, share 0 to 1, factor 0 to 1000, names are not empty"
    )]
    Value {
        /// What was given.
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

    /// How far it has come at `minute`, from 0 at its beginning to just below 1; none when it is not on.
    pub(crate) fn progress(&self, minute: u32) -> Option<f64> {
        let since = minute.checked_sub(self.offset_minutes).filter(|&since| since < self.minutes)?;
        Some(f64::from(since) / f64::from(self.minutes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_is_read_with_its_options_and_defaults() {
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
    fn what_is_not_an_incident_is_refused_by_name() {
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
    fn an_incident_is_on_from_its_offset_for_its_minutes() {
        let incident: Incident = "latency@10:minutes=4".parse().unwrap();
        let progress: Vec<Option<f64>> = (9..=14).map(|minute| incident.progress(minute)).collect();
        assert_eq!(progress, [None, Some(0.0), Some(0.25), Some(0.5), Some(0.75), None]);
    }
}
