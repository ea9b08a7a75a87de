//! Detection beside the server: every quarter of a minute it is looked whether a minute can be judged, and changes are told.
//!
//! The log hears of each change; a webhook and email if they are set up. A channel that fails holds up neither the others nor the
//! judging, and is told later.

use std::sync::Arc;
use std::time::Duration;

use adapters::email::Email;
use adapters::system_clock::SystemClock;
use adapters::webhook::Webhook;
use clap::Args;
use detection::{Change, State};
use pipeline::ports::Clock as _;
use pipeline::watch::{Announce, AnnounceError, Memory, Settings, WatchError};

use crate::cli::Usage;
use crate::standalone::Standalone;

/// How often it is looked whether there is something to judge or to tell.
const EVERY: Duration = Duration::from_secs(15);

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

/// The channels at work.
pub struct Told {
    webhook: Option<Webhook>,
    email: Option<Email>,
}

impl Channels {
    /// Sets the channels up, and where alerts point to.
    pub fn open(self, address: String) -> anyhow::Result<(Told, Settings)> {
        let webhook = match (self.alert_webhook, self.alert_webhook_secret) {
            (Some(url), Some(secret)) if url.starts_with("http://") || url.starts_with("https://") => {
                Some(Webhook::new(url, &secret))
            }
            (Some(_), _) => return Err(Usage::error("--alert-webhook must begin with https:// or http://")),
            (None, _) => None,
        };
        let email = match self.smtp.filter(|_| !self.alert_emails.is_empty()) {
            Some(smtp) => Some(
                Email::new(&smtp, &self.alert_from, &self.alert_emails)
                    .map_err(|error| Usage::error(format!("alerts by email: {error}")))?,
            ),
            None => None,
        };
        let dashboard = Some(self.public_url.unwrap_or(address));
        Ok((Told { webhook, email }, Settings { dashboard, ..Settings::default() }))
    }
}

impl Announce for Told {
    fn channels(&self) -> Vec<String> {
        let webhook = self.webhook.as_ref().map(|_| "webhook");
        let email = self.email.as_ref().map(|_| "email");
        ["log"].into_iter().chain(webhook).chain(email).map(str::to_owned).collect()
    }

    async fn announce(&self, channel: &str, change: &Change) -> Result<(), AnnounceError> {
        match (channel, &self.webhook, &self.email) {
            ("webhook", Some(webhook), _) => Ok(webhook.send(change, SystemClock.now()).await?),
            ("email", _, Some(email)) => Ok(email.send(change).await?),
            ("log", ..) => {
                let (subject, summary) = (change.subject(), &change.summary);
                match change.state {
                    State::Firing => tracing::warn!(alert.id = change.id, "{subject}: {summary}"),
                    State::Reminder | State::Resolved => tracing::info!(alert.id = change.id, "{subject}"),
                }
                Ok(())
            }
            // Of a start with other channels.
            _ => Ok(()),
        }
    }
}

/// Watches until it is dropped. A failure is told and tried again.
pub async fn watch(home: Arc<Standalone>, told: Told, settings: Settings) {
    let mut memory = Memory::default();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match Box::pin(home.watch(&told, &settings, &mut memory)).await {
            Ok(watched) if watched.behind > 0 => {
                tracing::info!(minutes = watched.minutes, behind = watched.behind, "learning from history");
                ticks.reset_immediately();
            }
            Ok(_) => {}
            Err(error) => {
                let announced = matches!(error.downcast_ref(), Some(WatchError::Announce { .. }));
                let what =
                    if announced { "alerts wait to be told" } else { "watching failed and is tried again" };
                tracing::error!(error = format!("{error:#}"), "{what}");
            }
        }
    }
}
