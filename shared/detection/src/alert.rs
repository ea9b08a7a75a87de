//! The life of an alert: pending, firing, reminded, resolved, and cooling down.
//!
//! One open alert per series and group of metrics. Its id comes from what it is about and when it began, so a run that is
//! repeated makes the same id and the same sequence. Trouble that comes back within a day goes on under its old id. If it comes
//! back soon, it takes longer to be resolved: a flapping series speaks less, not more. While an alert is open its severity only
//! rises, and each rise is notified at once.

use std::collections::BTreeMap;

use event::Minute;
use serde::{Deserialize, Serialize};

use self::identity::id_of;
pub(crate) use self::identity::{AlertGroup, AlertKey};
use crate::rules::Rules;

mod identity;

/// Alerts kept, open or cooling; beyond it new ones wait. A platform with more open alerts has one cause, not thousands.
pub const MAX_ALERTS: usize = 20_000;
/// A flapping alert takes at most so many times as long to be resolved.
const MOST_PATIENCE: u32 = 8;
/// An alert that fires again within so many minutes after its trouble ended keeps its id.
const RECURS_WITHIN: u32 = 24 * 60;
/// A pending alert without a finding for so many minutes is forgotten.
const PENDING: u32 = 15;

/// What kind of rule spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertKind {
    /// A limit.
    Limit,
    /// A series unlike its past.
    Anomaly,
    /// A line of SES's that is crossed, or soon will be.
    Budget,
    /// No mail where there should be some.
    Silence,
    /// No counts at all.
    Pipeline,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth a look today.
    Warning,
    /// Worth waking someone.
    Critical,
}

impl AlertKind {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Anomaly => "anomaly",
            Self::Budget => "budget",
            Self::Silence => "silence",
            Self::Pipeline => "pipeline",
        }
    }
}

impl Severity {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl State {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::Reminder => "reminder",
        }
    }
}

/// What a change of an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It began, came back ([`Change::recurred`]) or got worse ([`Change::escalated`]).
    Firing,
    /// It ended.
    Resolved,
    /// It goes on.
    Reminder,
}

/// A part of the cause: a filter on dimensions and its share of the trouble, 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// Dimension and value.
    pub filter: BTreeMap<String, String>,
    /// Its share.
    pub share: f64,
}

/// The numbers and words of an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AlertContent {
    /// What kind of rule spoke.
    pub kind: AlertKind,
    /// How bad it is.
    pub severity: Severity,
    /// The metric, as users know it.
    pub metric: String,
    /// What it is now.
    pub value: f64,
    /// The usual band.
    pub expected: Option<[f64; 2]>,
    /// The limit.
    pub limit: Option<f64>,
    /// Events.
    pub numerator: f64,
    /// What they are a part of.
    pub denominator: Option<f64>,
    /// The minute the trouble began, as estimated.
    pub started: u32,
    /// Minutes the numbers are over.
    pub window: u32,
    /// What explains it, most first.
    pub cause: Vec<Cause>,
    /// One sentence.
    pub summary: String,
}

/// What one bucket says about a key.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// What it is about.
    pub key: AlertKey,
    /// The numbers and words.
    pub content: AlertContent,
    /// Minutes it has to stand before it fires.
    pub hold: u32,
}

/// A change to publish, in the shape that goes to SNS, webhooks and `backtest`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Stable over the life of the alert.
    pub id: String,
    /// 1 for the first message of the alert, then one more each.
    pub sequence: u32,
    /// The tenant; `*` for an alert over tenants.
    pub tenant: String,
    /// How bad it is.
    pub severity: Severity,
    /// What kind of rule spoke.
    pub kind: AlertKind,
    /// The metric.
    pub metric: String,
    /// What changed.
    pub state: State,
    /// Whether the severity of an alert that fired before has risen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub escalated: bool,
    /// Whether the alert fires again within a day after it was resolved.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recurred: bool,
    /// The watched series.
    pub scope: BTreeMap<String, String>,
    /// What the metric is.
    pub value: f64,
    /// The usual band.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<[f64; 2]>,
    /// The limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// Events.
    pub numerator: f64,
    /// What they are a part of.
    pub denominator: Option<f64>,
    /// When the trouble began, as estimated; RFC 3339.
    pub started_at: String,
    /// When the alert fired, or fired again.
    pub fired_at: String,
    /// The end of the bucket that brought this change.
    pub updated_at: String,
    /// Minutes the numbers are over.
    pub window: String,
    /// What explains it, most first.
    pub cause: Vec<Cause>,
    /// One sentence.
    pub summary: String,
    /// Where to look; the one who publishes knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The same for all messages of one trouble.
    pub dedup_key: String,
}

/// An alert that is pending, open or cooling down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Alert {
    id: String,
    sequence: u32,
    phase: Phase,
    first_bad: u32,
    last_bad: u32,
    /// [`Alert::last_bad`] when it was resolved last; 0 before.
    ended: u32,
    fired: u32,
    spoke: u32,
    patience: u32,
    acknowledged: bool,
    aftermath: u32,
    content: AlertContent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    Pending,
    Firing,
    Cooling,
}

/// All alerts that are not over; small, and stored more often than what they are judged by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AlertRegistry {
    alerts: BTreeMap<AlertKey, Alert>,
}

impl AlertRegistry {
    /// Whether an alert is open for this key.
    pub(crate) fn is_firing(&self, key: &AlertKey) -> bool {
        self.alerts.get(key).is_some_and(|alert| alert.phase == Phase::Firing)
    }

    /// Whether an alert of this key is open or ended less than six hours ago: what it explains stays silent.
    pub(crate) fn explains(&self, key: &AlertKey, now: u32) -> bool {
        self.alerts.get(key).is_some_and(|alert| {
            alert.phase == Phase::Firing
                || (alert.ended != 0 && now.saturating_sub(alert.ended) < alert.aftermath)
        })
    }

    /// Whether an alert of this group is open, or ended a short while ago, anywhere.
    pub(crate) fn told_lately(&self, group: AlertGroup, now: u32) -> bool {
        self.alerts.keys().any(|key| key.group == group && self.explains(key, now))
    }

    /// Whether trouble of this kind is told, or was a short while ago, of the same tenant or of all of them, but not of this very part.
    pub(crate) fn told_elsewhere(&self, key: &AlertKey, now: u32) -> bool {
        let mut others = self.alerts.keys().filter(|other| {
            let same = other.tenant == key.tenant || other.tenant == "*";
            same && other.group == key.group && *other != key
        });
        others.any(|other| self.explains(other, now))
    }

    /// Whether an alert of this id is pending, open or cooling down.
    pub fn has(&self, id: &str) -> bool {
        self.alerts.values().any(|alert| alert.id == id)
    }

    /// The keys of open alerts.
    pub(crate) fn firing(&self) -> impl Iterator<Item = &AlertKey> {
        self.alerts.iter().filter(|(_, alert)| alert.phase == Phase::Firing).map(|(key, _)| key)
    }

    /// The keys of alerts that were resolved in this minute.
    pub(crate) fn resolved_at(&self, now: u32) -> Vec<AlertKey> {
        let resolved =
            self.alerts.iter().filter(|(_, alert)| alert.phase == Phase::Cooling && alert.spoke == now);
        resolved.map(|(key, _)| key.clone()).collect()
    }

    /// Somebody looks after it: no reminders until it is resolved. False if no such alert is open.
    pub(crate) fn acknowledge(&mut self, id: &str) -> bool {
        let alert = self.alerts.values_mut().find(|alert| alert.id == id && alert.phase == Phase::Firing);
        alert.is_some_and(|alert| {
            alert.acknowledged = true;
            true
        })
    }

    /// Keeps open alerts open through a bucket that says nothing, since its counts are missing.
    pub(crate) fn keep_open(&mut self, now: u32) {
        let known = self.alerts.iter_mut().filter(|(key, _)| key.group != AlertGroup::Pipeline);
        for (_, alert) in known.filter(|(_, alert)| alert.phase == Phase::Firing) {
            alert.last_bad = now;
        }
    }

    /// Applies the findings of a bucket that ended at `now`; what is not among them is fine.
    pub(crate) fn apply(&mut self, now: u32, findings: Vec<Finding>, rules: &Rules) -> Vec<Change> {
        let mut changes = Vec::new();
        for finding in findings {
            if rules.in_maintenance(&finding.key.tenant, now) {
                continue;
            }
            if !self.alerts.contains_key(&finding.key) && self.alerts.len() >= MAX_ALERTS {
                continue;
            }
            let key = finding.key.clone();
            let alert = self.alerts.entry(key).or_insert_with(|| Alert::pending(&finding, now));
            changes.extend(alert.bad(now, finding, rules));
        }
        let mut over = Vec::new();
        for (key, alert) in &mut self.alerts {
            if alert.last_bad < now {
                changes.extend(alert.fine(now, key, rules));
                if alert.is_over(now, rules) {
                    over.push(key.clone());
                }
            }
        }
        for key in over {
            self.alerts.remove(&key);
        }
        changes
    }
}

impl Alert {
    fn pending(finding: &Finding, now: u32) -> Self {
        Self {
            id: id_of(&finding.key, now),
            sequence: 0,
            phase: Phase::Pending,
            first_bad: now,
            last_bad: now,
            ended: 0,
            fired: 0,
            spoke: 0,
            patience: 1,
            acknowledged: false,
            aftermath: finding.key.group.aftermath(),
            content: finding.content.clone(),
        }
    }

    fn bad(&mut self, now: u32, finding: Finding, rules: &Rules) -> Option<Change> {
        self.last_bad = now;
        if self.phase == Phase::Cooling {
            self.phase = Phase::Pending;
            self.first_bad = now;
            self.acknowledged = false;
            // It was held before it fired for the first time.
            if now.saturating_sub(self.ended) <= self.flaps_within(rules) {
                self.patience = (self.patience * 2).min(MOST_PATIENCE);
                self.content = finding.content;
                return Some(self.fire(now, &finding.key));
            }
            self.patience = 1;
        }
        if self.phase == Phase::Pending {
            self.content = finding.content;
            return (now - self.first_bad >= finding.hold).then(|| self.fire(now, &finding.key));
        }
        let escalates = finding.content.severity > self.content.severity;
        let is_due = now.saturating_sub(self.spoke) >= rules.reminder_hours.saturating_mul(60);
        let started = self.content.started.min(finding.content.started);
        let severity = self.content.severity.max(finding.content.severity);
        self.content = AlertContent { severity, started, ..finding.content };
        if escalates {
            let change = self.speak(now, &finding.key, State::Firing);
            return Some(Change { escalated: true, ..change });
        }
        (is_due && !self.acknowledged).then(|| self.speak(now, &finding.key, State::Reminder))
    }

    fn fine(&mut self, now: u32, key: &AlertKey, rules: &Rules) -> Option<Change> {
        let quiet = now.saturating_sub(self.last_bad);
        if self.phase == Phase::Pending && self.ended != 0 && quiet > PENDING {
            self.phase = Phase::Cooling;
        }
        if self.phase != Phase::Firing || quiet < rules.clear_minutes.saturating_mul(self.patience) {
            return None;
        }
        self.phase = Phase::Cooling;
        self.ended = self.last_bad;
        Some(self.speak(now, key, State::Resolved))
    }

    fn is_over(&self, now: u32, rules: &Rules) -> bool {
        match self.phase {
            Phase::Pending => self.ended == 0 && now.saturating_sub(self.last_bad) > PENDING,
            Phase::Firing => false,
            Phase::Cooling => {
                let kept = self.flaps_within(rules).max(RECURS_WITHIN.saturating_add(rules.clear_minutes));
                now.saturating_sub(self.ended) > kept
            }
        }
    }

    /// Trouble that comes back within so many minutes after it ended is the old one.
    fn flaps_within(&self, rules: &Rules) -> u32 {
        rules.cool_down_minutes.max(self.aftermath).saturating_add(rules.clear_minutes)
    }

    fn fire(&mut self, now: u32, key: &AlertKey) -> Change {
        self.phase = Phase::Firing;
        self.fired = now;
        let change = self.speak(now, key, State::Firing);
        Change { recurred: self.ended != 0, ..change }
    }

    fn speak(&mut self, now: u32, key: &AlertKey, state: State) -> Change {
        self.sequence += 1;
        self.spoke = now;
        let content = &self.content;
        let time = |minute: u32| Minute(minute).start().to_string();
        let parts = [("provider", &key.provider), ("campaign", &key.campaign)];
        let named = parts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)));
        let scope: BTreeMap<String, String> = named.collect();
        let summary = match state {
            State::Firing | State::Reminder => content.summary.clone(),
            State::Resolved => format!("Over since {}: {}", time(self.last_bad), content.summary),
        };
        Change {
            id: self.id.clone(),
            sequence: self.sequence,
            tenant: key.tenant.clone(),
            severity: content.severity,
            kind: content.kind,
            metric: content.metric.clone(),
            state,
            escalated: false,
            recurred: false,
            scope,
            value: content.value,
            expected: content.expected,
            limit: content.limit,
            numerator: content.numerator,
            denominator: content.denominator,
            started_at: time(content.started),
            fired_at: time(self.fired),
            updated_at: time(now),
            window: format!("{}m", content.window),
            cause: content.cause.clone(),
            summary,
            url: None,
            dedup_key: self.id.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
