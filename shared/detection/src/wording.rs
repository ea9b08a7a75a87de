//! A change of an alert in words: a subject, a text for email and logs, and a short message for phones.
//! The sentence that says what happened is written by `report.rs`.
//!
//! Senders choose the names of tenants, providers and campaigns, so control characters must never get into a text or a mail header.

use event::TenantId;

use crate::alert::{AlertState, Change};

/// The version of the JSON of a [`Change`], for receivers and filter policies.
pub const SCHEMA: &str = "1";

impl Change {
    /// One line. Channels cut it to the length they allow.
    pub fn subject(&self) -> String {
        let state = match self.state {
            AlertState::Firing if self.escalated => format!("escalated to {}: ", self.severity.name()),
            AlertState::Firing if self.recurred => "again: ".to_owned(),
            AlertState::Firing => String::new(),
            AlertState::Resolved => "resolved: ".to_owned(),
            AlertState::Reminder => "still firing: ".to_owned(),
        };
        let dimension = |name: &str| self.scope.get(name).map(String::as_str);
        let scope_phrase = scope_phrase(
            self.tenant.tenant().map(TenantId::as_str),
            dimension("provider"),
            dimension("campaign"),
        );
        without_control_characters(&format!(
            "[{}] {state}{} {scope_phrase}",
            self.severity.name(),
            metric(&self.metric)
        ))
    }

    /// For people who read email.
    pub fn text(&self) -> String {
        let mut lines = Vec::new();
        if self.escalated {
            lines.push(format!("This alert has escalated to {}.", self.severity.name()));
        } else if self.recurred {
            lines.push("This alert fires again; it was resolved less than a day ago.".to_owned());
        }
        lines.push(without_control_characters(&self.summary));
        lines.push(String::new());
        if !self.cause.is_empty() {
            lines.push("Main causes:".to_owned());
            for cause in &self.cause {
                let filter: Vec<_> =
                    cause.filter.iter().map(|(name, value)| format!("{name} {value}")).collect();
                let share = cause.share * 100.0;
                lines.push(without_control_characters(&format!("  {share:.0} %  {}", filter.join(", "))));
            }
            lines.push(String::new());
        }
        lines.push(format!(
            "Started at about {}, fired at {}, last changed at {}.",
            self.started_at, self.fired_at, self.updated_at
        ));
        lines.extend(self.url.clone());
        lines.push(format!("Alert {}, change {}.", self.id, self.sequence));
        lines.join("\n") + "\n"
    }

    /// Subject and summary in one line, short enough for a text message to a phone.
    pub fn short(&self) -> String {
        format!("{}: {}", self.subject(), without_control_characters(&self.summary))
    }
}

/// The mail that an alert is about: of one tenant, or of all of them if there is none.
pub(crate) fn scope_phrase(tenant: Option<&str>, provider: Option<&str>, campaign: Option<&str>) -> String {
    let mut scope_phrase = match (tenant, provider) {
        (None, None) => "across all tenants".to_owned(),
        (None, Some(provider)) => format!("at {provider}, across all tenants"),
        (Some(tenant), None) => format!("for {tenant}"),
        (Some(tenant), Some(provider)) => format!("for {tenant} at {provider}"),
    };
    if let Some(campaign) = campaign {
        scope_phrase.push_str(" in campaign ");
        scope_phrase.push_str(campaign);
    }
    scope_phrase
}

/// A metric's name in words, as in its label in the metric registry: the name with spaces, except where the name is an abbreviation.
pub fn metric(name: &str) -> String {
    match name.strip_prefix("delivery_ms_") {
        Some(statistic) => format!("delivery time, {statistic}"),
        None => name.replace('_', " "),
    }
}

fn without_control_characters(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use event::AlertScope;

    use super::*;
    use crate::{AlertKind, Cause, Severity};

    fn change(tenant: &str, state: AlertState) -> Change {
        let filter = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        Change {
            id: "al_1".to_owned(),
            sequence: 2,
            tenant: AlertScope::from_stored(tenant).unwrap(),
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
    fn subject_names_severity_state_metric_and_place() {
        for (tenant, state, expected) in [
            ("acme", AlertState::Firing, "[critical] bounce rate for acme at gmail"),
            ("acme", AlertState::Resolved, "[critical] resolved: bounce rate for acme at gmail"),
            ("*", AlertState::Reminder, "[critical] still firing: bounce rate at gmail, across all tenants"),
        ] {
            assert_eq!(change(tenant, state).subject(), expected);
        }
    }

    #[test]
    fn texts_say_that_an_alert_escalated_or_fires_again() {
        let escalated = Change { escalated: true, ..change("acme", AlertState::Firing) };
        assert_eq!(escalated.subject(), "[critical] escalated to critical: bounce rate for acme at gmail");
        assert!(
            escalated.text().starts_with("This alert has escalated to critical.\nThe bounce rate is up.\n")
        );
        assert!(escalated.short().starts_with("[critical] escalated to critical: bounce rate"));
        let again = Change { recurred: true, ..change("acme", AlertState::Firing) };
        assert_eq!(again.subject(), "[critical] again: bounce rate for acme at gmail");
        assert!(again.text().starts_with("This alert fires again"), "{}", again.text());
        let json = serde_json::to_value(&again).unwrap();
        assert_eq!((json.get("escalated"), json.get("recurred")), (None, Some(&serde_json::json!(true))));
    }

    #[test]
    fn metric_is_called_what_its_label_says() {
        for (name, expected) in [
            ("bounce_rate", "bounce rate"),
            ("net_delivery_rate", "net delivery rate"),
            ("delivery_ms_p95", "delivery time, p95"),
        ] {
            assert_eq!(metric(name), expected);
        }
        let slow = Change { metric: "delivery_ms_p95".to_owned(), ..change("acme", AlertState::Firing) };
        assert_eq!(slow.subject(), "[critical] delivery time, p95 for acme at gmail");
    }

    #[test]
    fn text_holds_summary_causes_address_and_id() {
        let text = change("acme", AlertState::Firing).text();
        for part in [
            "The bounce rate is up.\n",
            "92 %  campaign spring",
            "https://d.example/?alert=al_1",
            "al_1, change 2",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(
            change("acme", AlertState::Firing).short(),
            "[critical] bounce rate for acme at gmail: The bounce rate is up."
        );
    }

    #[test]
    fn place_names_the_tenant_provider_and_campaign_that_are_known() {
        for (tenant, provider, campaign, expected) in [
            (None, None, None, "across all tenants"),
            (None, Some("gmail"), None, "at gmail, across all tenants"),
            (Some("acme"), None, None, "for acme"),
            (Some("acme"), Some("gmail"), None, "for acme at gmail"),
            (Some("acme"), None, Some("spring"), "for acme in campaign spring"),
            (Some("acme"), Some("gmail"), Some("spring"), "for acme at gmail in campaign spring"),
        ] {
            assert_eq!(scope_phrase(tenant, provider, campaign), expected);
        }
    }

    #[test]
    fn control_characters_never_reach_a_text() {
        let mut change = change("acme", AlertState::Firing);
        change.scope.insert("campaign".to_owned(), "a\u{7}\r\nBcc: x".to_owned());
        change.summary = "up\r\nBcc: x".to_owned();
        change.cause[0].filter.insert("campaign".to_owned(), "spring\u{1b}[31m".to_owned());
        assert_eq!(change.subject(), "[critical] bounce rate for acme at gmail in campaign a   Bcc: x");
        for text in [change.subject(), change.short()] {
            assert!(!text.contains(char::is_control), "{text:?}");
        }
        let text = change.text();
        assert!(text.lines().all(|line| !line.contains(char::is_control)), "{text:?}");
        assert!(!text.contains("\nBcc"), "{text:?}");
    }
}
