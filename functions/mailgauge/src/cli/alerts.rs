//! `mailgauge alerts`: what detection has found, listed, shown and taken up.

use adapters::system_clock::SystemClock;
use anyhow::{Context as _, bail};
use cells::query::Scope;
use clap::{Args, Subcommand};
use event::TenantId;
use pipeline::alerting::registry::{self, Asked};
use pipeline::ports::Clock as _;
use serde_json::{Value, json};

use crate::cli::folder::{self, Folder};
use crate::cli::moment::Moment;
use crate::output::Table;
use crate::server;
use crate::standalone::Standalone;

/// A week, in milliseconds.
const WEEK_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// See the alerts of a data folder or table.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    mailgauge alerts list --open --data /var/lib/mailgauge\n  \
    mailgauge alerts show al_01c2f3a40123456789\n  \
    mailgauge alerts acknowledge al_01c2f3a40123456789 --by Ann")]
pub struct Options {
    #[command(flatten)]
    folder: Folder,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List alerts, the newest first
    List(List),
    /// Print one alert as JSON, with its history
    Show {
        /// Its id
        #[arg(value_name = "ALERT")]
        id: String,
    },
    /// Say that somebody looks after an alert: no reminders until it is resolved
    Acknowledge {
        /// Its id
        #[arg(value_name = "ALERT")]
        id: String,
        /// Who
        #[arg(long, value_name = "NAME", default_value = "the command line")]
        by: String,
    },
}

#[derive(Debug, Args)]
struct List {
    /// Those that fire alone
    #[arg(long)]
    open: bool,

    /// Those of one tenant alone
    #[arg(long, value_name = "TENANT", value_parser = folder::tenant_to_read)]
    tenant: Option<TenantId>,

    /// Not those resolved before [default: a week ago]
    #[arg(allow_hyphen_values = true, long, value_name = "TIME")]
    from: Option<Moment>,

    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

/// Does what is asked.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = server::runtime()?;
    let home = options.folder.open(&runtime)?;
    runtime.block_on(async {
        match &options.command {
            Command::List(list) => options.folder.print(&listed(&home, list).await?),
            Command::Show { id } => {
                let alert = registry::get(&home.store, &Scope::All, id).await?;
                print(&json!(alert.with_context(|| none(id))?))
            }
            Command::Acknowledge { id, by } => {
                let now = SystemClock.now();
                match registry::acknowledge(&home.store, &Scope::All, id, by, now).await? {
                    Some(alert) => print(&json!(alert)),
                    None => bail!(none(id)),
                }
            }
        }
    })
}

fn none(id: &str) -> String {
    format!("there is no alert {id}: see mailgauge alerts list")
}

fn print(value: &Value) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value).context("cannot write to standard output")?;
    writeln!(out).context("cannot write to standard output")
}

async fn listed(home: &Standalone, list: &List) -> anyhow::Result<Table> {
    let now = SystemClock.now();
    let scope = list.tenant.clone().map_or(Scope::All, Scope::Tenant);
    let asked = Asked {
        is_open: list.open.then_some(true),
        from: list.from.map_or(now.plus_millis(-WEEK_MS), |moment| moment.0).minute(),
        to: now.plus_millis(60_000).minute(),
        limit: list.limit,
    };
    let mut table =
        Table::new(["fired_at", "state", "severity", "tenant", "metric", "scope", "value", "id", "summary"]);
    for alert in registry::list(&home.store, &scope, &asked).await? {
        let change = alert.change;
        let scope: Vec<String> = change.scope.iter().map(|(name, value)| format!("{name}:{value}")).collect();
        table.push(vec![
            json!(change.fired_at),
            json!(change.state.name()),
            json!(change.severity.name()),
            json!(change.tenant),
            json!(change.metric),
            json!(scope.join(" ")),
            json!(change.value),
            json!(change.id),
            json!(change.summary),
        ]);
    }
    Ok(table)
}
