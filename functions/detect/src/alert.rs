//! An alert, from firing to resolved: what is kept of it, and what is told.
//!
//! The JSON is a promise to whoever listens on the topic. It names tenants and metrics, never a recipient.

use adapters::aws::sns::Message;
use event::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::limits::{Limit, Proportion, Verdict};

/// How far back rates are looked at.
pub const WINDOW: &str = "1h";
const WINDOW_MS: i64 = 60 * 60 * 1000;

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The limit is broken.
    Firing,
    /// It is kept again.
    Resolved,
}

/// One alert as it is told and kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The same from firing to resolved.
    pub id: String,
    /// Raised by each change.
    pub sequence: u64,
    /// Whose mail.
    pub tenant: String,
    /// `critical` or `warning`.
    pub severity: String,
    /// `limit`.
    pub kind: String,
    /// Which rate.
    pub metric: String,
    /// Where it stands.
    pub state: State,
    /// The watched series: the whole tenant.
    pub scope: serde_json::Map<String, serde_json::Value>,
    /// The rate.
    pub value: Option<f64>,
    /// What is promised.
    pub limit: f64,
    /// Of the rate.
    pub numerator: u64,
    /// Of the rate.
    pub denominator: u64,
    /// The beginning of the first window that broke the limit.
    pub started_at: String,
    /// When it fired.
    pub fired_at: String,
    /// When it changed last.
    pub updated_at: String,
    /// How far back was looked.
    pub window: String,
    /// None is sought for plain limits.
    pub cause: Vec<serde_json::Value>,
    /// One sentence.
    pub summary: String,
    /// Where to look.
    pub url: String,
    /// For systems that group what belongs together.
    pub dedup_key: String,
}

impl Alert {
    /// What becomes of the alert on a limit, if anything changes.
    pub fn next(
        before: Option<&Self>,
        tenant: &TenantId,
        limit: Limit,
        found: Proportion,
        now: Timestamp,
        dashboard: &str,
    ) -> Option<Self> {
        let firing = before.filter(|alert| alert.state == State::Firing);
        let (state, base) = match (firing, limit.judge(found)) {
            (None, Verdict::Broken) => (State::Firing, Self::first(tenant, limit, now, dashboard)),
            (Some(firing), Verdict::Kept) => (State::Resolved, firing.clone()),
            (None, Verdict::Kept | Verdict::Unclear) | (Some(_), Verdict::Broken | Verdict::Unclear) => {
                return None;
            }
        };
        let value = found.rate().map(|bad| limit.as_metric(bad));
        let numerator = match limit {
            Limit::Delivery => found.all - found.bad.min(found.all),
            Limit::Bounce | Limit::Complaint => found.bad,
        };
        let mut next = Self {
            sequence: base.sequence + 1,
            state,
            value,
            numerator,
            denominator: found.all,
            updated_at: now.to_string(),
            ..base
        };
        next.summary = next.sentence();
        Some(next)
    }

    fn first(tenant: &TenantId, limit: Limit, now: Timestamp, dashboard: &str) -> Self {
        let id = format!("limit-{tenant}-{}-{}", limit.metric(), now.millis() / 1000);
        Self {
            sequence: 0,
            tenant: tenant.to_string(),
            severity: limit.severity().to_owned(),
            kind: "limit".to_owned(),
            metric: limit.metric().to_owned(),
            state: State::Firing,
            scope: serde_json::Map::new(),
            value: None,
            limit: limit.as_metric(limit.most()),
            numerator: 0,
            denominator: 0,
            started_at: now.plus_millis(-WINDOW_MS).to_string(),
            fired_at: now.to_string(),
            updated_at: now.to_string(),
            window: WINDOW.to_owned(),
            cause: Vec::new(),
            summary: String::new(),
            url: dashboard.to_owned(),
            dedup_key: id.clone(),
            id,
        }
    }

    fn sentence(&self) -> String {
        let name = self.metric.replace('_', " ");
        let limit = self.limit * 100.0;
        let verb = match self.state {
            State::Firing => "has broken its limit",
            State::Resolved => "is within its limit again",
        };
        match self.value {
            Some(value) => format!(
                "The {name} of {} {verb} of {limit:.1} %: {:.2} % ({} of {}) in the last hour.",
                self.tenant,
                value * 100.0,
                self.numerator,
                self.denominator
            ),
            None => {
                format!("The {name} of {} {verb} of {limit:.1} %: no mail in the last hour.", self.tenant)
            }
        }
    }

    /// In the forms that subscribers want.
    pub fn message(&self) -> Result<Message, serde_json::Error> {
        let state = match self.state {
            State::Firing => "firing",
            State::Resolved => "resolved",
        };
        let subject = format!("[{}] {} {} of {}", self.severity, self.metric, state, self.tenant);
        let text = format!(
            "{}\n\nFired at {}, changed last at {}.\n{}\n\nAlert {}, change {}.\n",
            self.summary, self.fired_at, self.updated_at, self.url, self.id, self.sequence
        );
        let attributes = vec![
            ("tenant", self.tenant.clone()),
            ("severity", self.severity.clone()),
            ("kind", self.kind.clone()),
            ("metric", self.metric.clone()),
            ("state", state.to_owned()),
            ("schema", "1".to_owned()),
        ];
        Ok(Message {
            subject,
            text,
            short: self.summary.clone(),
            json: serde_json::to_string(self)?,
            attributes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_763_000_000_000);

    fn next(before: Option<&Alert>, bad: u64, all: u64) -> Option<Alert> {
        let tenant = TenantId::new("acme").unwrap();
        Alert::next(before, &tenant, Limit::Delivery, Proportion { bad, all }, NOW, "https://d.example")
    }

    #[test]
    fn an_alert_changes_once_each_way() {
        assert_eq!(next(None, 10, 1000), None);
        let fired = next(None, 200, 1000).unwrap();
        assert_eq!((fired.state, fired.sequence, fired.value), (State::Firing, 1, Some(0.8)));
        assert_eq!((fired.numerator, fired.denominator, fired.limit), (800, 1000, 0.95));
        for (bad, all) in [(200, 1000), (45, 1000)] {
            assert_eq!(next(Some(&fired), bad, all), None);
        }
        for (bad, all) in [(10, 1000), (0, 0)] {
            let resolved = next(Some(&fired), bad, all).unwrap();
            assert_eq!((resolved.state, resolved.sequence), (State::Resolved, 2));
            assert_eq!(resolved.id, fired.id);
            assert_eq!(next(Some(&resolved), bad, all), None);
            assert_eq!(next(Some(&resolved), 200, 1000).unwrap().sequence, 1, "a new one");
        }
    }

    #[test]
    fn a_message_says_in_words_what_its_attributes_say() {
        let message = next(None, 200, 1000).unwrap().message().unwrap();
        assert!(message.text.starts_with(
            "The delivery rate of acme has broken its limit of 95.0 %: 80.00 % (800 of 1000) in the last hour."
        ));
        let names: Vec<_> = message.attributes.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["tenant", "severity", "kind", "metric", "state", "schema"]);
        let json: Alert = serde_json::from_str(&message.json).unwrap();
        assert_eq!(json, next(None, 200, 1000).unwrap());
    }
}
