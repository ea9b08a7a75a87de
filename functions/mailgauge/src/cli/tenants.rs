//! `mailgauge tenants`: the tenants of a data folder, and whose mail is that names none.
//!
//! A tenant appears by itself with its first event; adding one beforehand makes it seen while it is still silent. None is removed here:
//! its events would be missing from the proof of counting.

use std::path::{Path, PathBuf};

use adapters::system_clock::SystemClock;
use anyhow::{Context as _, bail};
use cells::Block;
use cells::query::Scope;
use clap::{Args, Subcommand};
use event::{Hour, TenantId, Timestamp};
use pipeline::directory::credentials::{self, Credential};
use pipeline::directory::mappings::{self, Packed};
use pipeline::directory::tenants;
use pipeline::history::manifest::Extent;
use pipeline::history::snapshot::{self, Progress, Snapshot};
use pipeline::ports::Clock as _;
use serde_json::json;

use crate::cli::Usage;
use crate::cli::folder::{self, Folder};
use crate::cli::settings;
use crate::output::{self, Table};
use crate::server;
use crate::standalone::Standalone;

/// List, add and show tenants, and say whose mail is that names none.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  mailgauge tenants list\n  mailgauge tenants show acme --format json")]
pub struct Options {
    #[command(flatten)]
    folder: Folder,

    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List all tenants, with how many keys of theirs are good now
    #[command(after_help = "Example:\n  mailgauge tenants list --data /var/lib/mailgauge")]
    List,
    /// Add a tenant before its first event, which would add it too
    #[command(after_help = "Example:\n  mailgauge tenants add acme")]
    Add {
        /// Its name, as the events give it
        #[arg(value_parser = folder::tenant)]
        tenant: TenantId,
    },
    /// Show what is counted for a tenant: its events, their first and last hour (UTC), its keys
    #[command(after_help = "Example:\n  mailgauge tenants show acme")]
    Show {
        /// Its name
        #[arg(value_parser = folder::tenant_to_read)]
        tenant: TenantId,
    },
    /// Print whose mail is that names no tenant, by configuration set, sending domain and account; or set it from a file
    #[command(
        after_help = "Examples:\n  mailgauge tenants attribution\n  mailgauge tenants attribution mappings.toml\n\nA \
        file has the tables by_configuration_set, by_sending_domain and by_account, in TOML or JSON, and stands in place\nof \
        all that was set before. It holds within a minute, over what --attribution says to those that count."
    )]
    Attribution {
        /// What to set
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

/// Does what was asked for.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = server::runtime()?;
    match &options.action {
        Action::List => {
            let home = options.folder.open(&runtime)?;
            options.folder.print(&runtime.block_on(list(&home))?)
        }
        Action::Add { tenant } => {
            let home = options.folder.open_or_make(&runtime)?;
            runtime.block_on(add(&home, tenant))
        }
        Action::Show { tenant } => {
            let home = options.folder.open(&runtime)?;
            options.folder.print(&runtime.block_on(show(&home, tenant))?)
        }
        Action::Attribution { file } => {
            let home = options.folder.open_or_make(&runtime)?;
            runtime.block_on(attribution(&home, file.as_deref()))
        }
    }
}

async fn attribution(home: &Standalone, file: Option<&Path>) -> anyhow::Result<()> {
    let mut held = mappings::read(&home.store).await?;
    if let Some(file) = file {
        held.record = settings::read(file, "mappings to tenants")?;
        let packed = Packed::new(&held.record).map_err(|error| Usage::error(error.to_string()))?;
        home.note("attribution.set", "*").await?;
        if !mappings::set(&home.store, packed, held.version).await? {
            bail!("somebody else has set mappings just now: look at them, and set yours again");
        }
        output::tell("The mappings hold within a minute.");
    }
    settings::print(&held.record)
}

async fn list(home: &Standalone) -> anyhow::Result<Table> {
    let keys = credentials::list(&home.store).await?;
    let mut table = Table::new(["tenant", "keys"]);
    for tenant in tenants::list(&home.store).await? {
        table.push(vec![json!(tenant.as_str()), json!(keys_of(&tenant, &keys))]);
    }
    Ok(table)
}

async fn add(home: &Standalone, tenant: &TenantId) -> anyhow::Result<()> {
    if tenants::list(&home.store).await?.contains(tenant) {
        output::tell(&format!("tenant {tenant} is there already"));
        return Ok(());
    }
    home.note("tenant.add", tenant.as_str()).await?;
    tenants::register(&home.store, tenant).await?;
    output::tell(&format!(
        "added tenant {tenant}; give it a key with mailgauge keys add --tenant {tenant} --name NAME"
    ));
    Ok(())
}

async fn show(home: &Standalone, tenant: &TenantId) -> anyhow::Result<Table> {
    if !tenants::list(&home.store).await?.contains(tenant) {
        bail!("there is no tenant {tenant}: see mailgauge tenants list");
    }
    let keys = credentials::list(&home.store).await?;
    let scope = Scope::Tenant(tenant.clone());
    let proof =
        web::home::proof(&home.store, &scope, Timestamp::from_millis(0), Timestamp::from_millis(i64::MAX))
            .await?;
    let hours = hours(home, tenant).await?;
    let start = |hour: Option<Hour>| json!(hour.map(|hour| hour.start().to_string()));
    let mut table = Table::new(["tenant", "events", "first_hour", "last_hour", "keys"]);
    table.push(vec![
        json!(tenant.as_str()),
        json!(proof.aggregated),
        start(hours.map(|(first, _)| first)),
        start(hours.map(|(_, last)| last)),
        json!(keys_of(tenant, &keys)),
    ]);
    Ok(table)
}

/// How many keys of the tenant are good now.
fn keys_of(tenant: &TenantId, keys: &[Credential]) -> usize {
    let now = SystemClock.now();
    let is_good = |key: &&Credential| {
        key.grant.tenant() == Some(tenant)
            && key.revoked_at.is_none()
            && key.expires_at.is_none_or(|at| now < at)
    };
    keys.iter().filter(is_good).count()
}

/// The first and the last hour that have something in them. Of history kept by the day only, the first hour of the day.
async fn hours(home: &Standalone, tenant: &TenantId) -> anyhow::Result<Option<(Hour, Hour)>> {
    let progress = Progress::read(&home.store).await?;
    let snapshot = Snapshot::read(&home.store, &progress, tenant).await?;
    let blocks = snapshot::blocks(&home.store, tenant, snapshot.manifest.blocks, Extent::Counts).await??;
    let blocks = blocks.into_iter().map(|(_, item)| item);
    let mut found: Option<(Hour, Hour)> = None;
    for item in snapshot.deltas.into_iter().chain(blocks) {
        let block = Block::decode(&item.body)
            .with_context(|| format!("block {} cannot be read: restore it or upgrade mailgauge", item.key))?;
        for (hour, _) in block.split(|minute| minute.hour().0) {
            let (first, last) = found.unwrap_or((Hour(hour), Hour(hour)));
            found = Some((first.min(Hour(hour)), last.max(Hour(hour))));
        }
    }
    Ok(found)
}
