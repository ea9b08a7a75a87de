//! `mailgauge alerts`: lists, shows and acknowledges the alerts of a data folder or table.
//!
//! While a server runs on the data folder, the API does the same: `GET /v1/alerts`.

use adapters::system_clock::SystemClock;
use anyhow::{Context as _, bail};
use cells::query::Scope;
use clap::{Args, Subcommand};
use event::TenantId;
use pipeline::alerting::registry::{self, AlertFilter};
use pipeline::ports::Clock as _;
use serde_json::{Value, json};

use crate::cli::change_rows;
use crate::cli::store_options::{self, StoreOptions};
use crate::cli::time_argument::TimeArgument;
use crate::output::OutputTable;
use crate::server;
use crate::standalone::Standalone;

/// How far back resolved alerts are listed by default, in milliseconds.
const WEEK_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// List, show and acknowledge the alerts of a data folder or table.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    mailgauge alerts list --open --data /var/lib/mailgauge\n  \
    mailgauge alerts show al_01c2f3a40123456789\n  \
    mailgauge alerts acknowledge al_01c2f3a40123456789 --by Ann")]
pub struct Options {
    #[command(flatten)]
    store: StoreOptions,

    #[command(subcommand)]
    command: AlertsCommand,
}

#[derive(Debug, Subcommand)]
enum AlertsCommand {
    /// List alerts, the newest first
    #[command(after_help = "Example:\n  mailgauge alerts list --tenant acme --from -30d --format csv")]
    List(List),
    /// Print one alert as JSON, with its history
    #[command(after_help = "Example:\n  mailgauge alerts show al_01c2f3a40123456789")]
    Show {
        /// Id of the alert, as in the list
        #[arg(value_name = "ALERT")]
        id: String,
    },
    /// Acknowledge an alert: somebody takes care of it, so no reminders are sent until it is resolved
    #[command(after_help = "Example:\n  mailgauge alerts acknowledge al_01c2f3a40123456789 --by Ann")]
    Acknowledge {
        /// Id of the alert, as in the list
        #[arg(value_name = "ALERT")]
        id: String,
        /// Who takes care of it; shown with the alert
        #[arg(long, value_name = "NAME", default_value = "the command line")]
        by: String,
    },
}

#[derive(Debug, Args)]
struct List {
    /// Only alerts that are firing
    #[arg(long)]
    open: bool,

    /// Only alerts of this tenant
    #[arg(long, value_name = "TENANT", value_parser = store_options::tenant_to_read)]
    tenant: Option<TenantId>,

    /// Omit alerts that were resolved before this time [default: a week ago]
    #[arg(allow_hyphen_values = true, long, value_name = "TIME")]
    from: Option<TimeArgument>,

    /// Maximum number of alerts to list
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

/// Opens the store and runs the chosen subcommand.
///
/// # Errors
/// A store that cannot be opened, read or written, or an id that no alert has.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = server::runtime()?;
    let standalone = options.store.location.open(&runtime)?;
    runtime.block_on(async {
        match &options.command {
            AlertsCommand::List(list) => options.store.print(&list_alerts(&standalone, list).await?),
            AlertsCommand::Show { id } => {
                // Whoever can open the store is an operator, and so may see the alerts of all tenants.
                let alert = registry::get(&standalone.store, &Scope::All, id).await?;
                print(&json!(alert.with_context(|| unknown(id))?))
            }
            AlertsCommand::Acknowledge { id, by } => {
                let now = SystemClock.now();
                match registry::acknowledge(&standalone.store, &Scope::All, id, by, now).await? {
                    Some(alert) => print(&json!(alert)),
                    None => bail!(unknown(id)),
                }
            }
        }
    })
}

fn unknown(id: &str) -> String {
    format!("there is no alert {id}: see mailgauge alerts list")
}

fn print(value: &Value) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value).context("cannot write to standard output")?;
    writeln!(out).context("cannot write to standard output")
}

async fn list_alerts(standalone: &Standalone, list: &List) -> anyhow::Result<OutputTable> {
    let now = SystemClock.now();
    let scope = list.tenant.clone().map_or(Scope::All, Scope::Tenant);
    let filter = AlertFilter {
        is_open: list.open.then_some(true),
        from: list.from.map_or(now.plus_millis(-WEEK_MS), |time| time.0).minute(),
        // The range excludes its end, and alerts of this minute belong to it.
        to: now.plus_millis(60_000).minute(),
        limit: list.limit,
    };
    let mut table = OutputTable::new(change_rows::COLUMNS);
    for alert in registry::list(&standalone.store, &scope, &filter).await? {
        table.push(change_rows::row(&alert.change));
    }
    Ok(table)
}
