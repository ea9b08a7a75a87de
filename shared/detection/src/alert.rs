//! The life of an alert: pending, firing, reminded, resolved, cooling down.
//!
//! There is one open alert per series and group of metrics. Its id is derived from what it is about and when it began, so a repeated run
//! gives the same id and the same sequence. Trouble that comes back within a day continues the old alert; if it comes back soon, it takes
//! longer to be resolved, so a flapping series notifies less, not more. While an alert is open its severity only rises, and each rise is
//! notified at once.

use std::collections::BTreeMap;

use event::{AlertScope, Minute};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::identity::hashed_id;
use self::identity::public_id;
pub(crate) use self::identity::{AlertGroup, AlertKey};
use crate::minutes::{self, MINUTES_PER_DAY, MINUTES_PER_HOUR, minutes_between};
use crate::rules::AlertRules;

mod identity;

/// Alerts that are kept, open or cooling down; beyond that new ones wait. A platform with more open alerts has one cause, not thousands.
pub const MAX_ALERTS: usize = 20_000;
/// A flapping alert takes at most this many times as long to be resolved.
const MAX_CLEAR_FACTOR: u32 = 8;
/// An alert that fires again within this many minutes after its trouble ended keeps its id.
pub(crate) const RECURS_WITHIN_MINUTES: u32 = MINUTES_PER_DAY;
/// A pending alert is dropped after this many minutes without a finding.
const PENDING_MINUTES: u32 = 15;

/// The kind of an alert, by the monitor that found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AlertKind {
    /// A limit is broken.
    Limit,
    /// A series differs from its past.
    Anomaly,
    /// A reputation threshold of SES is crossed, or will be soon.
    Budget,
    /// A tenant sends no mail although some is expected.
    Silence,
    /// No events arrive from any tenant.
    Pipeline,
    /// SES has disabled sending, or has a finding about the reputation.
    Sending,
}

/// How bad an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "AlertSeverity")]
pub enum Severity {
    /// Few events are concerned, so it need not be acted on now.
    Info,
    /// Worth a look today.
    Warning,
    /// A large change that concerns many events; it justifies waking someone.
    Critical,
}

impl AlertKind {
    /// The name in the public API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Anomaly => "anomaly",
            Self::Budget => "budget",
            Self::Silence => "silence",
            Self::Pipeline => "pipeline",
            Self::Sending => "sending",
        }
    }
}

impl Severity {
    /// The name in the public API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl AlertState {
    /// The name in the public API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::Reminder => "reminder",
        }
    }
}

/// The state of an alert since its latest change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// The alert fires for the first time, fires again (`recurred`), or got worse (`escalated`).
    Firing,
    /// The trouble is over.
    Resolved,
    /// The trouble goes on, and nobody has acknowledged the alert.
    Reminder,
}

/// A part of the cause: a filter on dimensions and its share of the trouble.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AlertCause")]
pub struct Cause {
    /// The mail that the share is of: values by dimension.
    pub filter: BTreeMap<String, String>,
    /// Its share of the events beyond the usual number, 0 to 1.
    pub share: f64,
}

/// What an alert says: numbers, severity, and one sentence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AlertContent {
    pub kind: AlertKind,
    pub severity: Severity,
    pub metric: String,
    pub value: f64,
    /// The usual range; none for limits.
    pub expected: Option<[f64; 2]>,
    pub limit: Option<f64>,
    pub numerator: f64,
    pub denominator: Option<f64>,
    /// When the trouble began, as estimated.
    #[serde(with = "minutes::stored")]
    pub started: Minute,
    /// The time that the numbers cover.
    pub window_minutes: u32,
    pub cause: Vec<Cause>,
    pub summary: String,
}

/// Evidence of trouble in one bucket, after correlation: the alert it belongs to, and what it says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finding {
    pub key: AlertKey,
    pub content: AlertContent,
    /// For how long the finding must repeat before a new alert fires, in minutes.
    pub hold_minutes: u32,
}

/// A change of an alert: it fired, got worse, goes on or was resolved. SNS and webhooks receive each change in this form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AlertChange")]
pub struct Change {
    /// The id of the alert, stable over its life.
    pub id: String,
    /// 1 for the first change of the alert, increased by one with each.
    pub sequence: u32,
    /// The tenant; `*` for an alert over all tenants.
    #[schemars(with = "String")]
    pub tenant: AlertScope,
    /// How urgent the alert is. It only rises while the alert is open.
    pub severity: Severity,
    /// Which monitor found the trouble.
    pub kind: AlertKind,
    /// The name of the metric that the alert is about.
    pub metric: String,
    /// The state that this change announces.
    pub state: AlertState,
    /// True if the severity of an alert that fired before has risen; absent otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub escalated: bool,
    /// True if the alert fires again within a day after it was resolved, with the same id; absent otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recurred: bool,
    /// The monitored subset of the mail: values by dimension; empty for all mail of the tenant.
    pub scope: BTreeMap<String, String>,
    /// The value of the metric over `window`, in the unit of the metric.
    pub value: f64,
    /// The usual range of the value, low and high; absent for limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<[f64; 2]>,
    /// The limit or threshold that the value is held against; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// The number of events that the value is made of, or the value itself where the metric is no rate.
    pub numerator: f64,
    /// The number of messages that the events are a share of; null where the metric is no rate.
    pub denominator: Option<f64>,
    /// When the trouble began, as estimated.
    #[schemars(extend("format" = "date-time"))]
    pub started_at: String,
    /// When the alert fired, or fired again.
    #[schemars(extend("format" = "date-time"))]
    pub fired_at: String,
    /// When this change happened: the end of the time bucket that brought it.
    #[schemars(extend("format" = "date-time"))]
    pub updated_at: String,
    /// The length of time that the numbers cover, in minutes, such as `30m`.
    pub window: String,
    /// The subsets of the mail that explain the trouble, largest share first.
    pub cause: Vec<Cause>,
    /// The trouble in one sentence.
    pub summary: String,
    /// The address of the alert on the dashboard; filled in when the change is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The same for all changes of one alert, for receivers that merge notifications.
    pub dedup_key: String,
}

/// An alert that is pending, open or cooling down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct TrackedAlert {
    id: String,
    sequence: u32,
    phase: Phase,
    /// The first finding since the alert became pending, and the last one.
    #[serde(with = "minutes::stored")]
    first_finding: Minute,
    #[serde(with = "minutes::stored")]
    last_finding: Minute,
    /// [`TrackedAlert::last_finding`] when the alert was resolved last.
    #[serde(with = "minutes::stored_option")]
    ended: Option<Minute>,
    #[serde(with = "minutes::stored")]
    fired: Minute,
    #[serde(with = "minutes::stored")]
    last_change: Minute,
    /// A flapping alert takes this many times as long to be resolved.
    clear_factor: u32,
    is_acknowledged: bool,
    /// For how long after its end the alert explains related findings; see [`AlertGroup::aftermath_minutes`].
    aftermath_minutes: u32,
    content: AlertContent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// There are findings, but the alert has not fired (again) yet.
    Pending,
    Firing,
    /// Resolved, and remembered in case the trouble comes back.
    Cooling,
}

/// All alerts that are not forgotten yet. It is small, and stored more often than the state that alerts are derived from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AlertRegistry {
    alerts: BTreeMap<AlertKey, TrackedAlert>,
}

impl AlertRegistry {
    /// Whether an alert is open for this key.
    pub(crate) fn is_firing(&self, key: &AlertKey) -> bool {
        self.alerts.get(key).is_some_and(|alert| alert.phase == Phase::Firing)
    }

    /// Whether an alert of this key is open or ended a short while ago. What it explains gets no alert of its own.
    pub(crate) fn explains(&self, key: &AlertKey, now: Minute) -> bool {
        self.alerts.get(key).is_some_and(|alert| {
            alert.phase == Phase::Firing
                || alert.ended.is_some_and(|ended| minutes_between(ended, now) < alert.aftermath_minutes)
        })
    }

    /// Whether any alert of this group is open or ended a short while ago.
    pub(crate) fn has_recent(&self, group: AlertGroup, now: Minute) -> bool {
        self.alerts.keys().any(|key| key.group == group && self.explains(key, now))
    }

    /// Whether another alert of the same group, of the same tenant or of the platform, is open or ended a short while ago.
    pub(crate) fn is_reported_elsewhere(&self, key: &AlertKey, now: Minute) -> bool {
        let mut others = self
            .alerts
            .keys()
            .filter(|other| other.scope.contains(&key.scope) && other.group == key.group && *other != key);
        others.any(|other| self.explains(other, now))
    }

    /// Whether an alert with this id is pending, open or cooling down.
    pub fn has(&self, id: &str) -> bool {
        self.alerts.values().any(|alert| alert.id == id)
    }

    /// The keys of open alerts.
    pub(crate) fn firing(&self) -> impl Iterator<Item = &AlertKey> {
        self.alerts.iter().filter(|(_, alert)| alert.phase == Phase::Firing).map(|(key, _)| key)
    }

    /// The keys of alerts that were resolved in this minute.
    pub(crate) fn resolved_at(&self, now: Minute) -> Vec<AlertKey> {
        let resolved =
            self.alerts.iter().filter(|(_, alert)| alert.phase == Phase::Cooling && alert.last_change == now);
        resolved.map(|(key, _)| key.clone()).collect()
    }

    /// Acknowledges an alert, so there are no reminders until it is resolved. False if no alert with this id is open.
    pub(crate) fn acknowledge(&mut self, id: &str) -> bool {
        let alert = self.alerts.values_mut().find(|alert| alert.id == id && alert.phase == Phase::Firing);
        alert.is_some_and(|alert| {
            alert.is_acknowledged = true;
            true
        })
    }

    /// Keeps open alerts open through a bucket whose counts are missing, which proves neither their end nor that they go on.
    pub(crate) fn keep_open(&mut self, now: Minute) {
        // The pipeline alert is the one alert that missing counts are evidence for.
        let others = self.alerts.iter_mut().filter(|(key, _)| key.group != AlertGroup::Pipeline);
        for (_, alert) in others.filter(|(_, alert)| alert.phase == Phase::Firing) {
            alert.last_finding = now;
        }
    }

    /// Applies the findings of a bucket that ended at `now`. Alerts without a finding come closer to their end.
    pub(crate) fn apply(&mut self, now: Minute, findings: Vec<Finding>, rules: &AlertRules) -> Vec<Change> {
        let mut changes = Vec::new();
        for finding in findings {
            // Not even pending, so nothing fires at the end of the window unless the trouble goes on.
            if rules.in_maintenance(&finding.key.scope, now) {
                continue;
            }
            // Alerts that are known continue; only new ones wait for room.
            if !self.alerts.contains_key(&finding.key) && self.alerts.len() >= MAX_ALERTS {
                continue;
            }
            let key = finding.key.clone();
            let alert = self.alerts.entry(key).or_insert_with(|| TrackedAlert::pending(&finding, now));
            changes.extend(alert.add_finding(now, finding, rules));
        }
        self.alerts.retain(|key, alert| {
            if alert.last_finding >= now {
                return true;
            }
            changes.extend(alert.pass_without_finding(now, key, rules));
            !alert.is_forgotten(now, rules)
        });
        changes
    }
}

impl TrackedAlert {
    fn pending(finding: &Finding, now: Minute) -> Self {
        Self {
            id: public_id(&finding.key, now),
            sequence: 0,
            phase: Phase::Pending,
            first_finding: now,
            last_finding: now,
            ended: None,
            fired: now,
            last_change: now,
            clear_factor: 1,
            is_acknowledged: false,
            aftermath_minutes: finding.key.group.aftermath_minutes(),
            content: finding.content.clone(),
        }
    }

    fn add_finding(&mut self, now: Minute, finding: Finding, rules: &AlertRules) -> Option<Change> {
        self.last_finding = now;
        // The trouble is back, or never quite ended.
        if self.phase == Phase::Cooling {
            self.phase = Phase::Pending;
            self.first_finding = now;
            self.is_acknowledged = false;
            // It fires at once: it was held before it fired for the first time.
            if self.ended.is_some_and(|ended| minutes_between(ended, now) <= self.flapping_minutes(rules)) {
                // A flapping series notifies less if its alert stays open through the pauses.
                self.clear_factor = (self.clear_factor * 2).min(MAX_CLEAR_FACTOR);
                self.content = finding.content;
                return Some(self.fire(now, &finding.key));
            }
            self.clear_factor = 1;
        }
        if self.phase == Phase::Pending {
            self.content = finding.content;
            let pending_minutes = minutes_between(self.first_finding, now);
            return (pending_minutes >= finding.hold_minutes).then(|| self.fire(now, &finding.key));
        }
        let escalates = finding.content.severity > self.content.severity;
        let is_reminder_due =
            minutes_between(self.last_change, now) >= rules.reminder_hours.saturating_mul(MINUTES_PER_HOUR);
        // Windows of later findings may begin after the trouble did, and lower severities would be followed by rises that notify again.
        let started = self.content.started.min(finding.content.started);
        let severity = self.content.severity.max(finding.content.severity);
        self.content = AlertContent { severity, started, ..finding.content };
        if escalates {
            let change = self.change(now, &finding.key, AlertState::Firing);
            return Some(Change { escalated: true, ..change });
        }
        (is_reminder_due && !self.is_acknowledged)
            .then(|| self.change(now, &finding.key, AlertState::Reminder))
    }

    fn pass_without_finding(&mut self, now: Minute, key: &AlertKey, rules: &AlertRules) -> Option<Change> {
        let quiet_minutes = minutes_between(self.last_finding, now);
        // An alert that was resolved before and did not fire again goes back to cooling down.
        if self.phase == Phase::Pending && self.ended.is_some() && quiet_minutes > PENDING_MINUTES {
            self.phase = Phase::Cooling;
        }
        if self.phase != Phase::Firing
            || quiet_minutes < rules.clear_minutes.saturating_mul(self.clear_factor)
        {
            return None;
        }
        self.phase = Phase::Cooling;
        self.ended = Some(self.last_finding);
        Some(self.change(now, key, AlertState::Resolved))
    }

    fn is_forgotten(&self, now: Minute, rules: &AlertRules) -> bool {
        match (self.phase, self.ended) {
            (Phase::Pending, None) => minutes_between(self.last_finding, now) > PENDING_MINUTES,
            (Phase::Pending, Some(_)) | (Phase::Firing, _) => false,
            (Phase::Cooling, ended) => {
                let ended = event::invariant::or_broken(
                    ended,
                    self.last_finding,
                    "a resolved alert that never ended",
                );
                // The alert must be remembered for as long as it can still fire again under its id.
                let recurs_minutes = RECURS_WITHIN_MINUTES.saturating_add(rules.clear_minutes);
                minutes_between(ended, now) > self.flapping_minutes(rules).max(recurs_minutes)
            }
        }
    }

    /// Trouble that comes back within this many minutes after it ended counts as flapping.
    fn flapping_minutes(&self, rules: &AlertRules) -> u32 {
        rules.cool_down_minutes.max(self.aftermath_minutes).saturating_add(rules.clear_minutes)
    }

    fn fire(&mut self, now: Minute, key: &AlertKey) -> Change {
        self.phase = Phase::Firing;
        self.fired = now;
        let change = self.change(now, key, AlertState::Firing);
        Change { recurred: self.ended.is_some(), ..change }
    }

    fn change(&mut self, now: Minute, key: &AlertKey, state: AlertState) -> Change {
        self.sequence += 1;
        self.last_change = now;
        let content = &self.content;
        let time = |minute: Minute| minute.start().to_string();
        let dimensions = [("provider", &key.provider), ("campaign", &key.campaign)];
        let named =
            dimensions.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)));
        let summary = match state {
            AlertState::Firing | AlertState::Reminder => content.summary.clone(),
            AlertState::Resolved => {
                format!("Resolved, last seen {}: {}", time(self.last_finding), content.summary)
            }
        };
        Change {
            id: self.id.clone(),
            sequence: self.sequence,
            tenant: key.scope.clone(),
            severity: content.severity,
            kind: content.kind,
            metric: content.metric.clone(),
            state,
            escalated: false,
            recurred: false,
            scope: named.collect(),
            value: content.value,
            expected: content.expected,
            limit: content.limit,
            numerator: content.numerator,
            denominator: content.denominator,
            started_at: time(content.started),
            fired_at: time(self.fired),
            updated_at: time(now),
            window: format!("{}m", content.window_minutes),
            cause: content.cause.clone(),
            summary,
            url: None,
            dedup_key: self.id.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
