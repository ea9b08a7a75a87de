//! A change of an alert in words: a subject, a text for email and logs, and what one short message holds.
//!
//! Names of tenants, providers and campaigns are chosen by others, so control characters never get through.

use crate::alert::{Change, State};

/// What filter policies and receivers may rely on.
pub const SCHEMA: &str = "1";

impl Change {
    /// One line; whoever sends it cuts it to what they may send.
    pub fn subject(&self) -> String {
        let state = match self.state {
            State::Firing if self.escalated => format!("escalated to {}: ", self.severity.name()),
            State::Firing if self.recurred => "again: ".to_owned(),
            State::Firing => String::new(),
            State::Resolved => "resolved: ".to_owned(),
            State::Reminder => "still: ".to_owned(),
        };
        let place = match (self.tenant.as_str(), self.scope.get("provider")) {
            ("*", None) => "over all tenants".to_owned(),
            ("*", Some(provider)) => format!("at {provider}, over all tenants"),
            (tenant, None) => format!("of {tenant}"),
            (tenant, Some(provider)) => format!("of {tenant} at {provider}"),
        };
        let part = self.scope.get("campaign").map(|campaign| format!(" in campaign {campaign}"));
        let part = part.unwrap_or_default();
        clean(&format!("[{}] {state}{} {place}{part}", self.severity.name(), self.metric.replace('_', " ")))
    }

    /// For people who read email.
    pub fn text(&self) -> String {
        let mut lines = vec![clean(&self.summary), String::new()];
        if self.escalated {
            lines.splice(0..0, [format!("This alert has escalated to {}.", self.severity.name())]);
        } else if self.recurred {
            lines.splice(0..0, ["This alert fires again: it was resolved less than a day ago.".to_owned()]);
        }
        if !self.cause.is_empty() {
            lines.push("What explains it:".to_owned());
            for cause in &self.cause {
                let filter: Vec<_> =
                    cause.filter.iter().map(|(name, value)| format!("{name} {value}")).collect();
                lines.push(clean(&format!("  {:.0} %  {}", cause.share * 100.0, filter.join(", "))));
            }
            lines.push(String::new());
        }
        lines.push(format!(
            "Began about {}, fired {}, changed last {}.",
            self.started_at, self.fired_at, self.updated_at
        ));
        lines.extend(self.url.clone());
        lines.push(format!("Alert {}, change {}.", self.id, self.sequence));
        lines.join("\n") + "\n"
    }

    /// For a telephone.
    pub fn short(&self) -> String {
        format!("{}: {}", self.subject(), clean(&self.summary))
    }
}

fn clean(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{AlertKind, Cause, Severity};

    fn change(tenant: &str, state: State) -> Change {
        let filter = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        Change {
            id: "al_1".to_owned(),
            sequence: 2,
            tenant: tenant.to_owned(),
            severity: Severity::Critical,
            kind: AlertKind::Anomaly,
            metric: "bounce_rate".to_owned(),
            state,
            escalated: false,
            recurred: false,
            scope: filter("provider", "gmail"),
            value: 0.3,
            expected: Some([0.0, 0.01]),
            limit: None,
            numerator: 30.0,
            denominator: Some(100.0),
            started_at: "2026-11-25T08:00:00Z".to_owned(),
            fired_at: "2026-11-25T08:05:00Z".to_owned(),
            updated_at: "2026-11-25T08:06:00Z".to_owned(),
            window: "5m".to_owned(),
            cause: vec![Cause { filter: filter("campaign", "spring"), share: 0.916 }],
            summary: "The bounce rate\nis up.".to_owned(),
            url: Some("https://d.example/?alert=al_1".to_owned()),
            dedup_key: "al_1".to_owned(),
        }
    }

    #[test]
    fn a_subject_says_how_bad_it_is_what_and_where() {
        for (tenant, state, expected) in [
            ("acme", State::Firing, "[critical] bounce rate of acme at gmail"),
            ("acme", State::Resolved, "[critical] resolved: bounce rate of acme at gmail"),
            ("*", State::Reminder, "[critical] still: bounce rate at gmail, over all tenants"),
            ("a\r\nBcc: x", State::Firing, "[critical] bounce rate of a  Bcc: x at gmail"),
        ] {
            assert_eq!(change(tenant, state).subject(), expected);
        }
    }

    #[test]
    fn an_alert_that_escalates_or_fires_again_says_so() {
        let escalated = Change { escalated: true, ..change("acme", State::Firing) };
        assert_eq!(escalated.subject(), "[critical] escalated to critical: bounce rate of acme at gmail");
        assert!(
            escalated.text().starts_with("This alert has escalated to critical.\nThe bounce rate is up.\n")
        );
        assert!(escalated.short().starts_with("[critical] escalated to critical: bounce rate"));
        let again = Change { recurred: true, ..change("acme", State::Firing) };
        assert_eq!(again.subject(), "[critical] again: bounce rate of acme at gmail");
        assert!(again.text().starts_with("This alert fires again"), "{}", again.text());
        let json = serde_json::to_value(&again).unwrap();
        assert_eq!((json.get("escalated"), json.get("recurred")), (None, Some(&serde_json::json!(true))));
    }

    #[test]
    fn a_text_tells_the_whole_and_where_to_look() {
        let text = change("acme", State::Firing).text();
        for part in [
            "The bounce rate is up.\n",
            "92 %  campaign spring",
            "https://d.example/?alert=al_1",
            "al_1, change 2",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(
            change("acme", State::Firing).short(),
            "[critical] bounce rate of acme at gmail: The bounce rate is up."
        );
    }
}
