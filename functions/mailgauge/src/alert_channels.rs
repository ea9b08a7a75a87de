//! Notification channels of the local process: the log, webhooks and email.
//!
//! The log records every change of an alert. `--alert-webhook` and `--alert-email` receive every change as well; the routes of
//! `--alert-routes` receive the changes of some tenants or severities. A channel that fails delays neither the others nor detection:
//! the detection run keeps what is undelivered and tries again, so nothing here retries.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use adapters::email::Email;
use adapters::system_clock::SystemClock;
use adapters::webhook::Webhook;
use anyhow::Context as _;
use clap::Args;
use detection::{AlertState, Change, Severity};
use pipeline::alerting::detection_run::{DetectionSettings, Notifier, NotifyError};
use pipeline::ports::Clock as _;
use serde::Deserialize;

use crate::usage_error::usage_error;

/// The name of the channel that every change goes to.
const LOG: &str = "log";

/// Options that say who is notified of alerts, besides the log.
#[derive(Debug, Default, Args)]
pub struct AlertOptions {
    /// Send each change of an alert to this URL as signed JSON; needs --alert-webhook-secret
    #[arg(long, value_name = "URL", env = "MAILGAUGE_ALERT_WEBHOOK", requires = "alert_webhook_secret")]
    alert_webhook: Option<String>,

    /// The secret that webhook requests are signed with; the receiver needs it to verify them
    #[arg(long, value_name = "SECRET", env = "MAILGAUGE_ALERT_WEBHOOK_SECRET", hide_env_values = true)]
    alert_webhook_secret: Option<String>,

    /// Send each change of an alert to this email address; may be repeated; needs --smtp
    #[arg(long = "alert-email", value_name = "ADDRESS", requires = "smtp")]
    alert_emails: Vec<String>,

    /// TOML file of routes: each sends the alerts of some tenants or severities to its own email addresses or webhook
    #[arg(long, value_name = "FILE", env = "MAILGAUGE_ALERT_ROUTES")]
    alert_routes: Option<PathBuf>,

    /// The mail server that sends alerts, such as smtps://user:password@mail.example
    #[arg(long, value_name = "URL", env = "MAILGAUGE_SMTP", hide_env_values = true)]
    smtp: Option<String>,

    /// The From address of alerts
    #[arg(long, value_name = "ADDRESS", default_value = "mailgauge@localhost")]
    alert_from: String,

    /// Base URL of the links in alerts [default: the address that the server listens on]
    #[arg(long, value_name = "URL", env = "MAILGAUGE_PUBLIC_URL")]
    public_url: Option<String>,
}

/// The file of `--alert-routes`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoutesFile {
    routes: Vec<Route>,
}

/// One `[[routes]]` table of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    /// Identifies the route's undelivered notifications across restarts, so it must be unique.
    name: String,
    /// Tenants whose alerts are sent, `*` for alerts over all tenants. All alerts if absent.
    tenants: Option<BTreeSet<String>>,
    /// Alerts of this severity or a worse one are sent. All severities if absent.
    least_severity: Option<Severity>,
    #[serde(default)]
    emails: Vec<String>,
    webhook: Option<String>,
    /// The secret that requests to `webhook` are signed with; required with it.
    webhook_secret: Option<String>,
}

/// Which changes of alerts a channel receives. The default matches all of them.
#[derive(Clone, Debug, Default)]
struct RouteFilter {
    tenants: Option<BTreeSet<String>>,
    least_severity: Option<Severity>,
}

impl RouteFilter {
    fn matches(&self, change: &Change) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(change.tenant.as_str()))
            && self.least_severity.is_none_or(|least| change.severity >= least)
    }
}

enum Receiver {
    Webhook(Webhook),
    Email(Email),
}

/// The channels of this process by name, without the log.
#[derive(Default)]
pub struct AlertChannels(BTreeMap<String, (RouteFilter, Receiver)>);

impl AlertOptions {
    /// Sets up the channels and the settings of detection runs. `address` is the server's own URL, for links in alerts.
    ///
    /// # Errors
    /// A routes file that cannot be read, or a channel that cannot work, named.
    pub fn open(self, address: String) -> anyhow::Result<(AlertChannels, DetectionSettings)> {
        let mut channels = AlertChannels::default();
        let routes = self.alert_routes.as_deref().map_or(Ok(Vec::new()), read_routes)?;
        let email = |to: &[String]| -> anyhow::Result<Receiver> {
            let Some(smtp) = &self.smtp else { return Err(usage_error("alerts by email need --smtp")) };
            // Addresses are parsed now: a mistyped one must be refused before the first alert needs it.
            let email = Email::new(smtp, &self.alert_from, to);
            Ok(Receiver::Email(email.map_err(|error| usage_error(format!("alerts by email: {error}")))?))
        };
        if let Some(url) = self.alert_webhook {
            let receiver = webhook("--alert-webhook", url, self.alert_webhook_secret)?;
            channels.add("webhook".to_owned(), RouteFilter::default(), receiver)?;
        }
        if !self.alert_emails.is_empty() {
            channels.add("email".to_owned(), RouteFilter::default(), email(&self.alert_emails)?)?;
        }
        for Route { name, tenants, least_severity, emails, webhook: url, webhook_secret } in routes {
            let filter = RouteFilter { tenants, least_severity };
            let label = format!("the alert route {name:?}");
            if emails.is_empty() && url.is_none() {
                return Err(usage_error(format!("{label} leads nowhere: give it emails or a webhook")));
            }
            // Two channels, so that a webhook that is down does not repeat the emails.
            if let Some(url) = url {
                let receiver = webhook(&label, url, webhook_secret)?;
                channels.add(format!("{name} by webhook"), filter.clone(), receiver)?;
            }
            if !emails.is_empty() {
                let receiver = email(&emails).with_context(|| format!("in {label}"))?;
                channels.add(format!("{name} by email"), filter, receiver)?;
            }
        }
        let dashboard = Some(self.public_url.unwrap_or(address));
        Ok((channels, DetectionSettings { dashboard, ..DetectionSettings::default() }))
    }
}

fn read_routes(path: &Path) -> anyhow::Result<Vec<Route>> {
    let label = || format!("the alert routes {}", path.display());
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", label()))?;
    let file: RoutesFile = toml::from_str(&text).with_context(|| format!("in {}", label()))?;
    Ok(file.routes)
}

/// `label` names the option or route in errors.
fn webhook(label: &str, url: String, secret: Option<String>) -> anyhow::Result<Receiver> {
    if !(url.starts_with("http://") || url.starts_with("https://")) {
        return Err(usage_error(format!("{label}: the URL must begin with https:// or http://")));
    }
    let Some(secret) = secret else {
        return Err(usage_error(format!("{label} needs a webhook_secret, shared with its receiver")));
    };
    Ok(Receiver::Webhook(Webhook::new(url, &secret)))
}

impl AlertChannels {
    fn add(&mut self, name: String, filter: RouteFilter, receiver: Receiver) -> anyhow::Result<()> {
        match self.0.entry(name) {
            Entry::Vacant(free) => {
                free.insert((filter, receiver));
                Ok(())
            }
            Entry::Occupied(taken) => Err(usage_error(format!(
                "two alert routes would both send to {:?}: give each route its own name",
                taken.key()
            ))),
        }
    }
}

impl Notifier for AlertChannels {
    fn channels(&self, change: &Change) -> Vec<String> {
        let matching = self.0.iter().filter(|(_, (filter, _))| filter.matches(change));
        [LOG.to_owned()].into_iter().chain(matching.map(|(name, _)| name.clone())).collect()
    }

    async fn notify(&self, channel: &str, change: &Change) -> Result<(), NotifyError> {
        match self.0.get(channel).map(|(_, receiver)| receiver) {
            Some(Receiver::Webhook(webhook)) => Ok(webhook.send(change, SystemClock.now()).await?),
            Some(Receiver::Email(email)) => Ok(email.send(change).await?),
            None if channel == LOG => {
                let (subject, summary) = (change.subject(), &change.summary);
                match change.state {
                    // The default level of the log is `warn`, and a firing alert must be visible there.
                    AlertState::Firing => tracing::warn!(alert.id = change.id, "{subject}: {summary}"),
                    AlertState::Reminder | AlertState::Resolved => {
                        tracing::info!(alert.id = change.id, "{subject}");
                    }
                }
                Ok(())
            }
            // The notification waits for a channel that an earlier start had and this one has not. Done: nobody would ever receive it.
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(routes: &str, smtp: Option<&str>) -> anyhow::Result<AlertChannels> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("routes.toml");
        std::fs::write(&file, routes).unwrap();
        let options = AlertOptions {
            alert_routes: Some(file),
            smtp: smtp.map(str::to_owned),
            alert_from: "mailgauge@example.com".to_owned(),
            ..AlertOptions::default()
        };
        options.open("http://127.0.0.1:8080".to_owned()).map(|(channels, _)| channels)
    }

    /// The names of the channels that an alert of this tenant and severity goes to.
    fn notified(channels: &AlertChannels, tenant: &str, severity: &str) -> Vec<String> {
        let change = format!(
            r#"{{"id":"al_1","sequence":1,"tenant":"{tenant}","severity":"{severity}","kind":"limit","metric":"bounce_rate","state":"firing","scope":{{}},"value":0.3,"numerator":60.0,"denominator":200.0,"started_at":"","fired_at":"","updated_at":"","window":"60m","cause":[],"summary":"","dedup_key":"al_1"}}"#
        );
        channels.channels(&serde_json::from_str(&change).unwrap())
    }

    #[test]
    fn route_receives_alerts_of_its_tenants_and_severities() {
        let routes = r#"
            [[routes]]
            name = "acme"
            tenants = ["acme"]
            emails = ["ops@acme.example"]
            webhook = "https://hooks.acme.example/"
            webhook_secret = "s"

            [[routes]]
            name = "pager"
            least_severity = "critical"
            webhook = "https://pager.example/"
            webhook_secret = "s"
        "#;
        let channels = open(routes, Some("smtp://127.0.0.1:1")).unwrap();
        assert_eq!(notified(&channels, "acme", "warning"), ["log", "acme by email", "acme by webhook"]);
        assert_eq!(notified(&channels, "globex", "warning"), ["log"]);
        assert_eq!(notified(&channels, "globex", "critical"), ["log", "pager by webhook"]);
    }

    #[test]
    fn webhook_and_email_options_receive_every_alert() {
        let options = AlertOptions {
            alert_webhook: Some("https://hooks.example/".to_owned()),
            alert_webhook_secret: Some("s".to_owned()),
            alert_emails: vec!["ops@example.com".to_owned()],
            smtp: Some("smtp://127.0.0.1:1".to_owned()),
            alert_from: "mailgauge@example.com".to_owned(),
            ..AlertOptions::default()
        };
        let (channels, settings) = options.open("http://127.0.0.1:8080".to_owned()).unwrap();
        for (tenant, severity) in [("acme", "info"), ("*", "critical")] {
            assert_eq!(notified(&channels, tenant, severity), ["log", "email", "webhook"]);
        }
        assert_eq!(settings.dashboard.as_deref(), Some("http://127.0.0.1:8080"));
    }

    #[test]
    fn routes_with_one_name_are_refused() {
        let route =
            "[[routes]]\nname = \"acme\"\nwebhook = \"https://hooks.example/\"\nwebhook_secret = \"s\"\n";
        let error = open(&route.repeat(2), None).err().unwrap();
        assert!(format!("{error:#}").contains("give each route its own name"), "{error:#}");
    }

    #[test]
    fn route_that_cannot_work_is_refused_by_name() {
        for (route, smtp, expected) in [
            ("", None, "leads nowhere"),
            ("emails = [\"a@example.com\"]", None, "need --smtp"),
            ("emails = [\"a\"]", Some("smtp://127.0.0.1:1"), "the alert route \"acme\""),
            ("webhook = \"https://hooks.example/\"", None, "needs a webhook_secret"),
            ("webhook = \"ftp://hooks.example/\"\nwebhook_secret = \"s\"", None, "must begin with https://"),
            ("tenant = \"acme\"", None, "unknown field `tenant`"),
        ] {
            let error = open(&format!("[[routes]]\nname = \"acme\"\n{route}"), smtp).err().unwrap();
            assert!(format!("{error:#}").contains(expected), "{route}: {error:#}");
        }
    }
}
