//! Turns SES's own events about sending into alerts: sending was disabled, or there is a finding about the reputation.
//!
//! Nothing is inferred here, so these alerts need no detector: an event opens an alert or ends it. The state of each subject makes
//! the alerts follow the order of the events' own times, in whatever order and however often the events arrive.

use std::collections::BTreeMap;

use event::{AccountEvent, AlertScope, Minute, SendingChange, SendingResource};
use serde::{Deserialize, Serialize};

use crate::alert::{AlertKind, AlertState, Change, RECURS_WITHIN_MINUTES, Severity, hashed_id};
use crate::minutes::{self, minutes_between};

/// The most subjects that are remembered, so that all of them fit into one item. Beyond that, subjects without an open alert are forgotten
/// first, and among these the ones whose latest event is oldest.
const MAX_SUBJECTS: usize = 600;

/// What an alert is about. There is at most one open alert per subject.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Subject {
    /// The tenant or the platform.
    scope: AlertScope,
    account: String,
    resource: SendingResource,
    /// The type and the impact of a finding; none for the status.
    finding: Option<(String, String)>,
}

/// What is remembered of a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SubjectState {
    /// The time of the latest event, and whether it was the end: of two at the same time, the end comes second.
    latest: (i64, bool),
    /// The latest alert; none if the subject had no trouble yet.
    alert: Option<SendingAlert>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SendingAlert {
    id: String,
    /// The sequence number of the latest change.
    sequence: u32,
    #[serde(with = "minutes::stored")]
    fired: Minute,
    #[serde(with = "minutes::stored_option")]
    ended: Option<Minute>,
    severity: Severity,
}

/// The subjects that SES has sent events about, and their alerts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendingAlerts {
    subjects: BTreeMap<Subject, SubjectState>,
}

impl SendingAlerts {
    /// Applies an event that concerns `scope` and returns how an alert changes. An event that was applied before, or that is older than one
    /// that was, changes nothing.
    pub fn apply(&mut self, scope: &AlertScope, event: &AccountEvent) -> Option<Change> {
        let finding = match &event.change {
            SendingChange::Status { .. } => None,
            SendingChange::Finding { finding, impact, .. } => Some((finding.clone(), impact.clone())),
        };
        let (account, resource) = (event.account.clone(), event.resource.clone());
        let subject = Subject { scope: scope.clone(), account, resource, finding };
        let now = event.at().minute();
        let at = (event.at_ms, event.is_end());
        if self.subjects.get(&subject).is_some_and(|state| at <= state.latest) {
            return None;
        }
        let before = self.subjects.remove(&subject).and_then(|state| state.alert);
        let (alert, state) = if event.is_end() {
            let ended = before.map(|alert| match alert.ended {
                // Enabled or closed although nothing was open.
                Some(_) => (alert, None),
                None => (alert.resolve(now), Some(AlertState::Resolved)),
            });
            ended.unzip()
        } else {
            let (alert, state) = begin(before, &subject, event, now);
            (Some(alert), Some(state))
        };
        let change = alert.as_ref().zip(state.flatten());
        let change = change.map(|(alert, state)| alert.change(&subject, event, state));
        self.subjects.insert(subject, SubjectState { latest: at, alert });
        self.forget_oldest();
        change
    }

    /// The ids of the alerts that are remembered, each with its scope.
    pub fn ids(&self) -> impl Iterator<Item = (&AlertScope, &str)> {
        self.subjects
            .iter()
            .filter_map(|(subject, state)| Some((&subject.scope, state.alert.as_ref()?.id.as_str())))
    }

    /// Forgets the subjects of alerts for which `exists` is false.
    pub fn retain(&mut self, exists: impl Fn(&str) -> bool) {
        self.subjects.retain(|_, state| state.alert.as_ref().is_none_or(|alert| exists(&alert.id)));
    }

    fn forget_oldest(&mut self) {
        while self.subjects.len() > MAX_SUBJECTS {
            let oldest = self.subjects.iter().min_by_key(|(_, state)| {
                let is_open = state.alert.as_ref().is_some_and(|alert| alert.ended.is_none());
                (is_open, state.latest)
            });
            let Some(subject) = oldest.map(|(subject, _)| subject.clone()) else { return };
            self.subjects.remove(&subject);
        }
    }
}

/// The alert after trouble began or continued, and the state to notify; `None` if nothing changed.
fn begin(
    before: Option<SendingAlert>,
    subject: &Subject,
    event: &AccountEvent,
    now: Minute,
) -> (SendingAlert, Option<AlertState>) {
    let severity = severity(event);
    match before {
        // SES says again what is known.
        Some(alert) if alert.ended.is_none() => (alert, None),
        Some(alert) if alert.recurs(now) => {
            let sequence = alert.sequence + 1;
            let alert = SendingAlert { sequence, fired: now, ended: None, severity, ..alert };
            (alert, Some(AlertState::Firing))
        }
        _ => {
            let id = hashed_id(&subject.text(now), now);
            let alert = SendingAlert { id, sequence: 1, fired: now, ended: None, severity };
            (alert, Some(AlertState::Firing))
        }
    }
}

impl SendingAlert {
    fn resolve(self, now: Minute) -> Self {
        Self { sequence: self.sequence + 1, ended: Some(now), ..self }
    }

    /// Whether trouble that begins at `now` continues this alert, which is over.
    fn recurs(&self, now: Minute) -> bool {
        self.ended.is_some_and(|ended| minutes_between(ended, now) <= RECURS_WITHIN_MINUTES)
    }

    fn change(&self, subject: &Subject, event: &AccountEvent, state: AlertState) -> Change {
        let time = |minute: Minute| minute.start().to_string();
        Change {
            id: self.id.clone(),
            sequence: self.sequence,
            tenant: subject.scope.clone(),
            severity: self.severity,
            kind: AlertKind::Sending,
            metric: subject.metric().to_owned(),
            state,
            escalated: false,
            recurred: state == AlertState::Firing && self.sequence > 1,
            scope: subject.dimensions(),
            value: 0.0,
            expected: None,
            limit: None,
            numerator: 0.0,
            denominator: None,
            started_at: time(self.fired),
            fired_at: time(self.fired),
            updated_at: time(event.at().minute()),
            window: "1m".to_owned(),
            cause: Vec::new(),
            summary: summary(subject, event),
            url: None,
            dedup_key: self.id.clone(),
        }
    }
}

impl Subject {
    /// Everything that the alert's id depends on.
    fn text(&self, now: Minute) -> String {
        let (kind, name) = match &self.resource {
            SendingResource::Account => ("account", ""),
            SendingResource::ConfigurationSet(name) => ("configuration_set", name.as_str()),
            SendingResource::Tenant(name) => ("tenant", name.as_str()),
            SendingResource::Domain(name) => ("domain", name.as_str()),
        };
        let (finding, impact) = self.finding.as_ref().map_or(("", ""), |(finding, impact)| (finding, impact));
        let parts = ["sending", self.scope.as_str(), &self.account, kind, name, finding, impact];
        format!("{}\n{}", parts.join("\n"), now.0)
    }

    /// The metric that shows the trouble.
    fn metric(&self) -> &'static str {
        match self.finding.as_ref().map(|(finding, _)| finding.as_str()) {
            Some("bounce") => "bounce_rate",
            Some("complaint") => "complaint_rate",
            _ => "sends",
        }
    }

    /// The mail that is concerned, if it is a part of the tenant's mail.
    fn dimensions(&self) -> BTreeMap<String, String> {
        let dimension = match &self.resource {
            SendingResource::Account | SendingResource::Tenant(_) => None,
            SendingResource::ConfigurationSet(name) => Some(("configuration_set", name)),
            SendingResource::Domain(name) => Some(("sending_domain", name)),
        };
        dimension.into_iter().map(|(name, value)| (name.to_owned(), value.clone())).collect()
    }

    fn phrase(&self) -> String {
        match &self.resource {
            SendingResource::Account if self.account.is_empty() => "the account".to_owned(),
            SendingResource::Account => format!("account {}", self.account),
            SendingResource::ConfigurationSet(name) => format!("configuration set {name}"),
            SendingResource::Tenant(name) => format!("tenant {name}"),
            SendingResource::Domain(name) => format!("domain {name}"),
        }
    }
}

/// Disabled sending is worst. A finding of high impact may soon lead to it.
fn severity(event: &AccountEvent) -> Severity {
    match &event.change {
        SendingChange::Status { .. } => Severity::Critical,
        SendingChange::Finding { impact, .. } if impact == "high" => Severity::Warning,
        SendingChange::Finding { .. } => Severity::Info,
    }
}

fn summary(subject: &Subject, event: &AccountEvent) -> String {
    let reason = event.text.trim_end_matches('.');
    let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let phrase = subject.phrase();
    match &event.change {
        SendingChange::Status { is_enabled } => {
            let status = if *is_enabled { "enabled" } else { "disabled" };
            format!("SES has {status} sending for {phrase}{reason}.")
        }
        SendingChange::Finding { finding, impact, is_open } => {
            let verb = if *is_open { "has a finding" } else { "has closed its finding" };
            let about = if finding.is_empty() {
                String::new()
            } else {
                format!(" about {}", finding.replace('_', " "))
            };
            let impact = if impact.is_empty() { String::new() } else { format!(", of {impact} impact") };
            format!("SES {verb}{about} for {phrase}{impact}{reason}.")
        }
    }
}

#[cfg(test)]
mod tests {
    use event::TenantId;

    use super::*;

    const HOUR_MS: i64 = 3_600_000;
    const START_MS: i64 = 1_763_000_126_000;

    fn shop() -> AlertScope {
        AlertScope::Tenant(TenantId::new("shop").unwrap())
    }

    fn status(hour: i64, is_enabled: bool) -> AccountEvent {
        AccountEvent {
            at_ms: START_MS + hour * HOUR_MS,
            account: "123456789012".to_owned(),
            resource: SendingResource::Tenant("shop".to_owned()),
            change: SendingChange::Status { is_enabled },
            text: "High bounce rate.".to_owned(),
        }
    }

    fn finding(hour: i64, impact: &str, is_open: bool) -> AccountEvent {
        let change =
            SendingChange::Finding { finding: "bounce".to_owned(), impact: impact.to_owned(), is_open };
        AccountEvent { change, ..status(hour, false) }
    }

    /// State, sequence and whether it recurred, of each change.
    fn changes(events: &[AccountEvent]) -> Vec<(AlertState, u32, bool)> {
        let mut alerts = SendingAlerts::default();
        let changes = events.iter().filter_map(|event| alerts.apply(&shop(), event));
        changes.map(|change| (change.state, change.sequence, change.recurred)).collect()
    }

    #[test]
    fn disabled_sending_fires_and_enabled_sending_resolves() {
        let mut alerts = SendingAlerts::default();
        let fired = alerts.apply(&shop(), &status(0, false)).unwrap();
        assert_eq!(
            (fired.tenant.as_str(), fired.kind, fired.severity),
            ("shop", AlertKind::Sending, Severity::Critical)
        );
        assert_eq!((fired.state, fired.sequence, fired.metric.as_str()), (AlertState::Firing, 1, "sends"));
        assert_eq!(fired.summary, "SES has disabled sending for tenant shop: High bounce rate.");
        assert_eq!((fired.fired_at.as_str(), fired.scope.len()), ("2025-11-13T02:15:00Z", 0));
        let resolved = alerts.apply(&shop(), &status(2, true)).unwrap();
        assert_eq!((resolved.id, resolved.state, resolved.sequence), (fired.id, AlertState::Resolved, 2));
        assert_eq!(resolved.updated_at, "2025-11-13T04:15:00Z");
        assert_eq!(resolved.summary, "SES has enabled sending for tenant shop: High bounce rate.");
    }

    #[test]
    fn order_of_the_events_own_times_decides() {
        use AlertState::{Firing, Resolved};
        let (off, on) = (|hour| status(hour, false), |hour| status(hour, true));
        assert_eq!(
            changes(&[off(0), off(0), off(1), on(2), on(2)]),
            [(Firing, 1, false), (Resolved, 2, false)]
        );
        // What arrives late is over.
        assert_eq!(changes(&[on(2), off(0)]), []);
        assert_eq!(changes(&[off(0), on(2), off(1)]), [(Firing, 1, false), (Resolved, 2, false)]);
        // At the same time, the end comes second in either order of arrival.
        assert_eq!(changes(&[on(0), off(0)]), []);
        assert_eq!(changes(&[off(0), on(0)]), [(Firing, 1, false), (Resolved, 2, false)]);
        let again = changes(&[off(0), on(1), off(20), on(21)]);
        assert_eq!(again[2..], [(Firing, 3, true), (Resolved, 4, false)]);
    }

    #[test]
    fn trouble_after_a_day_is_another_alert() {
        let mut alerts = SendingAlerts::default();
        let first = alerts.apply(&shop(), &status(0, false)).unwrap();
        alerts.apply(&shop(), &status(1, true)).unwrap();
        let second = alerts.apply(&shop(), &status(26, false)).unwrap();
        assert_ne!(first.id, second.id);
        assert_eq!((second.sequence, second.recurred), (1, false));
    }

    #[test]
    fn findings_of_each_type_and_impact_are_alerts_of_their_own() {
        let mut alerts = SendingAlerts::default();
        let high = alerts.apply(&shop(), &finding(0, "high", true)).unwrap();
        let low = alerts.apply(&shop(), &finding(0, "low", true)).unwrap();
        assert_eq!((high.severity, low.severity), (Severity::Warning, Severity::Info));
        assert_eq!((high.metric.as_str(), high.id == low.id), ("bounce_rate", false));
        assert_eq!(
            high.summary,
            "SES has a finding about bounce for tenant shop, of high impact: High bounce rate."
        );
        let closed = alerts.apply(&shop(), &finding(1, "low", false)).unwrap();
        assert!(closed.summary.starts_with("SES has closed its finding about bounce"), "{}", closed.summary);
        assert_eq!((closed.id, closed.state), (low.id, AlertState::Resolved));
        assert_eq!(alerts.ids().count(), 2);
        alerts.retain(|id| id == high.id);
        assert_eq!(alerts.ids().map(|(_, id)| id.to_owned()).collect::<Vec<_>>(), [high.id]);
    }

    #[test]
    fn subjects_without_an_open_alert_are_forgotten_first() {
        let mut alerts = SendingAlerts::default();
        let of = |number: usize, event: AccountEvent| AccountEvent {
            resource: SendingResource::ConfigurationSet(format!("set-{number}")),
            ..event
        };
        let open = alerts.apply(&shop(), &of(0, status(0, false))).unwrap();
        for number in 1..=MAX_SUBJECTS + 5 {
            alerts.apply(&shop(), &of(number, status(1, true)));
        }
        assert_eq!(alerts.subjects.len(), MAX_SUBJECTS);
        let resolved = alerts.apply(&shop(), &of(0, status(2, true))).unwrap();
        assert_eq!((resolved.id, resolved.scope["configuration_set"].as_str()), (open.id, "set-0"));
    }
}
