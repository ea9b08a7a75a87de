//! Whom alerts are told: the log hears of each change; webhooks and email addresses of all, or of what their route asks for.
//!
//! A route that fails holds up neither the others nor the judging, and is told later.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use adapters::email::Email;
use adapters::system_clock::SystemClock;
use adapters::webhook::Webhook;
use anyhow::Context as _;
use clap::Args;
use detection::{Change, Severity, State};
use pipeline::alerting::detection_run::{Announce, AnnounceError, Settings};
use pipeline::ports::Clock as _;
use serde::Deserialize;

use crate::cli::Usage;

const LOG: &str = "log";

/// Where alerts are told besides the log.
#[derive(Debug, Default, Args)]
pub struct Channels {
    /// Send each change of an alert to this address, as signed JSON; needs the secret
    #[arg(long, value_name = "URL", env = "MAILGAUGE_ALERT_WEBHOOK", requires = "alert_webhook_secret")]
    alert_webhook: Option<String>,

    /// What signatures of the webhook are made with; shared with its receiver
    #[arg(long, value_name = "SECRET", env = "MAILGAUGE_ALERT_WEBHOOK_SECRET", hide_env_values = true)]
    alert_webhook_secret: Option<String>,

    /// Send each change of an alert to this email address; may be repeated; needs --smtp
    #[arg(long = "alert-email", value_name = "ADDRESS", requires = "smtp")]
    alert_emails: Vec<String>,

    /// TOML file of routes for alerts of some tenants or severities, each to email addresses or a webhook of its own
    #[arg(long, value_name = "FILE", env = "MAILGAUGE_ALERT_ROUTES")]
    alert_routes: Option<PathBuf>,

    /// The mail server for alerts, such as smtps://user:password@mail.example
    #[arg(long, value_name = "URL", env = "MAILGAUGE_SMTP", hide_env_values = true)]
    smtp: Option<String>,

    /// The sender of alerts
    #[arg(long, value_name = "ADDRESS", default_value = "mailgauge@localhost")]
    alert_from: String,

    /// Where alerts point to, if not to the address that is listened on
    #[arg(long, value_name = "URL", env = "MAILGAUGE_PUBLIC_URL")]
    public_url: Option<String>,
}

/// A file of routes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    routes: Vec<Written>,
}

/// A route as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// Tells it from others, after a restart too.
    name: String,
    /// `*` being alerts over tenants; those of all if left out.
    tenants: Option<BTreeSet<String>>,
    /// Nothing that matters less.
    least_severity: Option<Severity>,
    #[serde(default)]
    emails: Vec<String>,
    webhook: Option<String>,
    webhook_secret: Option<String>,
}

/// What a route is told: all, if nothing is said.
#[derive(Clone, Debug, Default)]
struct Wants {
    tenants: Option<BTreeSet<String>>,
    least_severity: Option<Severity>,
}

enum Receiver {
    Webhook(Webhook),
    Email(Email),
}

/// The routes at work, by the names of their channels.
#[derive(Default)]
pub struct Routes(BTreeMap<String, (Wants, Receiver)>);

impl Channels {
    /// Sets the routes up, and where alerts point to.
    pub fn open(self, address: String) -> anyhow::Result<(Routes, Settings)> {
        let mut routes = Routes::default();
        let file = match &self.alert_routes {
            None => File { routes: Vec::new() },
            Some(path) => {
                let place = || format!("the alert routes {}", path.display());
                let text =
                    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", place()))?;
                toml::from_str(&text).with_context(|| format!("in {}", place()))?
            }
        };
        let email = |to: &[String]| -> anyhow::Result<Receiver> {
            let Some(smtp) = &self.smtp else { return Err(Usage::error("alerts by email need --smtp")) };
            let email = Email::new(smtp, &self.alert_from, to);
            Ok(Receiver::Email(email.map_err(|error| Usage::error(format!("alerts by email: {error}")))?))
        };
        if let Some(url) = self.alert_webhook {
            let receiver = webhook("--alert-webhook", url, self.alert_webhook_secret)?;
            routes.add("webhook".to_owned(), Wants::default(), receiver)?;
        }
        if !self.alert_emails.is_empty() {
            routes.add("email".to_owned(), Wants::default(), email(&self.alert_emails)?)?;
        }
        for Written { name, tenants, least_severity, emails, webhook: url, webhook_secret } in file.routes {
            let wants = Wants { tenants, least_severity };
            let place = format!("the alert route {name:?}");
            if emails.is_empty() && url.is_none() {
                return Err(Usage::error(format!("{place} leads nowhere: give it emails or a webhook")));
            }
            if let Some(url) = url {
                let receiver = webhook(&place, url, webhook_secret)?;
                routes.add(format!("{name} by webhook"), wants.clone(), receiver)?;
            }
            if !emails.is_empty() {
                let receiver = email(&emails).with_context(|| format!("in {place}"))?;
                routes.add(format!("{name} by email"), wants, receiver)?;
            }
        }
        let dashboard = Some(self.public_url.unwrap_or(address));
        Ok((routes, Settings { dashboard, ..Settings::default() }))
    }
}

fn webhook(place: &str, url: String, secret: Option<String>) -> anyhow::Result<Receiver> {
    if !(url.starts_with("http://") || url.starts_with("https://")) {
        return Err(Usage::error(format!("{place}: the address must begin with https:// or http://")));
    }
    let Some(secret) = secret else {
        return Err(Usage::error(format!("{place} needs a webhook_secret, shared with its receiver")));
    };
    Ok(Receiver::Webhook(Webhook::new(url, &secret)))
}

impl Wants {
    fn hears(&self, change: &Change) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(&change.tenant))
            && self.least_severity.is_none_or(|least| change.severity >= least)
    }
}

impl Routes {
    fn add(&mut self, name: String, wants: Wants, receiver: Receiver) -> anyhow::Result<()> {
        match self.0.entry(name) {
            Entry::Vacant(free) => {
                free.insert((wants, receiver));
                Ok(())
            }
            Entry::Occupied(taken) => {
                let problem = format!("two alert routes are named {:?}: give each its own name", taken.key());
                Err(Usage::error(problem))
            }
        }
    }
}

impl Announce for Routes {
    fn channels(&self, change: &Change) -> Vec<String> {
        let heard = self.0.iter().filter(|(_, (wants, _))| wants.hears(change)).map(|(name, _)| name.clone());
        [LOG.to_owned()].into_iter().chain(heard).collect()
    }

    async fn announce(&self, channel: &str, change: &Change) -> Result<(), AnnounceError> {
        match self.0.get(channel).map(|(_, receiver)| receiver) {
            Some(Receiver::Webhook(webhook)) => Ok(webhook.send(change, SystemClock.now()).await?),
            Some(Receiver::Email(email)) => Ok(email.send(change).await?),
            None if channel == LOG => {
                let (subject, summary) = (change.subject(), &change.summary);
                match change.state {
                    State::Firing => tracing::warn!(alert.id = change.id, "{subject}: {summary}"),
                    State::Reminder | State::Resolved => tracing::info!(alert.id = change.id, "{subject}"),
                }
                Ok(())
            }
            // Of a start with other routes.
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(routes: &str, smtp: Option<&str>) -> anyhow::Result<Routes> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("routes.toml");
        std::fs::write(&file, routes).unwrap();
        let channels = Channels {
            alert_routes: Some(file),
            smtp: smtp.map(str::to_owned),
            alert_from: "mailgauge@example.com".to_owned(),
            ..Channels::default()
        };
        channels.open("http://127.0.0.1:8080".to_owned()).map(|(routes, _)| routes)
    }

    fn told(routes: &Routes, tenant: &str, severity: &str) -> Vec<String> {
        let change = format!(
            r#"{{"id":"al_1","sequence":1,"tenant":"{tenant}","severity":"{severity}","kind":"limit","metric":"bounce_rate","state":"firing","scope":{{}},"value":0.3,"numerator":60.0,"denominator":200.0,"started_at":"","fired_at":"","updated_at":"","window":"60m","cause":[],"summary":"","dedup_key":"al_1"}}"#
        );
        routes.channels(&serde_json::from_str(&change).unwrap())
    }

    #[test]
    fn a_route_hears_of_its_tenants_and_of_what_matters() {
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
        let routes = open(routes, Some("smtp://127.0.0.1:1")).unwrap();
        assert_eq!(told(&routes, "acme", "warning"), ["log", "acme by email", "acme by webhook"]);
        assert_eq!(told(&routes, "globex", "warning"), ["log"]);
        assert_eq!(told(&routes, "globex", "critical"), ["log", "pager by webhook"]);
    }

    #[test]
    fn a_route_that_cannot_work_is_refused_by_name() {
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
