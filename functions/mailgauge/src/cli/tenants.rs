//! `mailgauge tenants`: the tenants of a data folder or table, and the mappings for mail that names no tenant.
//!
//! A tenant appears with its first event; one that is added beforehand is listed before it sends. Tenants are not removed here: the
//! API erases them, with all that belongs to them.

use std::path::{Path, PathBuf};

use adapters::system_clock::SystemClock;
use anyhow::{Context as _, bail};
use cells::Block;
use cells::query::Scope;
use clap::{Args, Subcommand};
use event::{Hour, TenantId, Timestamp};
use pipeline::directory::api_keys::{self, Credential};
use pipeline::directory::mappings::{self, CheckedMappings};
use pipeline::directory::tenants;
use pipeline::history::manifest::BlockParts;
use pipeline::history::snapshot::{self, CountingProgress, Snapshot};
use pipeline::ports::Clock as _;
use serde_json::json;

use crate::cli::config_file;
use crate::cli::store_options::{self, StoreOptions};
use crate::output::{self, OutputTable};
use crate::server;
use crate::standalone::Standalone;
use crate::usage_error::usage_error;

/// List, add and show tenants, and map mail that names no tenant to tenants.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  mailgauge tenants list\n  mailgauge tenants show acme --format json")]
pub struct Options {
    #[command(flatten)]
    store: StoreOptions,

    #[command(subcommand)]
    command: TenantsCommand,
}

#[derive(Debug, Subcommand)]
enum TenantsCommand {
    /// List all tenants, with the number of their valid keys
    #[command(after_help = "Example:\n  mailgauge tenants list --data /var/lib/mailgauge")]
    List,
    /// Add a tenant before its first event
    #[command(after_help = "Example:\n  mailgauge tenants add acme")]
    Add {
        /// Name of the tenant, as in the events
        #[arg(value_parser = store_options::tenant)]
        tenant: TenantId,
    },
    /// Show a tenant: the number of its counted events, their first and last hour (UTC), and its valid keys
    #[command(after_help = "Example:\n  mailgauge tenants show acme")]
    Show {
        /// Name of the tenant
        #[arg(value_parser = store_options::tenant_to_read)]
        tenant: TenantId,
    },
    /// Print the mappings of configuration sets, sending domains and accounts to tenants, or replace them by those of a file
    #[command(
        after_help = "Examples:\n  mailgauge tenants attribution\n  mailgauge tenants attribution mappings.toml\n\nFILE \
        has the tables by_configuration_set, by_sending_domain and by_account, in TOML or JSON, and replaces all mappings that \
        were set before. They apply within a minute, and override those of --attribution of the processes that count."
    )]
    Attribution {
        /// The new mappings; without it the present ones are printed
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

/// Opens the store and runs the chosen subcommand.
///
/// # Errors
/// A store that cannot be opened, read or written, a tenant that does not exist, or mappings that contradict each other.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = server::runtime()?;
    match &options.command {
        TenantsCommand::List => {
            let standalone = options.store.location.open(&runtime)?;
            options.store.print(&runtime.block_on(list(&standalone))?)
        }
        TenantsCommand::Add { tenant } => {
            let standalone = options.store.location.open_or_create(&runtime)?;
            runtime.block_on(add(&standalone, tenant))
        }
        TenantsCommand::Show { tenant } => {
            let standalone = options.store.location.open(&runtime)?;
            options.store.print(&runtime.block_on(show(&standalone, tenant))?)
        }
        TenantsCommand::Attribution { file: None } => {
            let standalone = options.store.location.open(&runtime)?;
            runtime.block_on(print_mappings(&standalone))
        }
        TenantsCommand::Attribution { file: Some(file) } => {
            let standalone = options.store.location.open_or_create(&runtime)?;
            runtime.block_on(set_mappings(&standalone, file))?;
            runtime.block_on(print_mappings(&standalone))
        }
    }
}

async fn print_mappings(standalone: &Standalone) -> anyhow::Result<()> {
    config_file::print(&mappings::read(&standalone.store).await?.record)
}

/// Replaces all mappings by those of a file.
async fn set_mappings(standalone: &Standalone, file: &Path) -> anyhow::Result<()> {
    let new = config_file::read(file, "mappings to tenants")?;
    let checked = CheckedMappings::new(&new).map_err(|error| usage_error(error.to_string()))?;
    // Written only over the version read here, so that two people cannot overwrite each other's mappings unnoticed.
    let version = mappings::read(&standalone.store).await?.version;
    standalone.audit("attribution.set", "*").await?;
    if !mappings::write(&standalone.store, &checked, version).await? {
        bail!(
            "the mappings were changed at the same time: check them with mailgauge tenants attribution, and run the command again"
        );
    }
    output::print_status("the mappings apply within a minute");
    Ok(())
}

async fn list(standalone: &Standalone) -> anyhow::Result<OutputTable> {
    let keys = api_keys::list(&standalone.store).await?;
    let mut table = OutputTable::new(["tenant", "keys"]);
    for tenant in tenants::list(&standalone.store).await? {
        table.push(vec![json!(tenant.as_str()), json!(valid_keys(&tenant, &keys))]);
    }
    Ok(table)
}

async fn add(standalone: &Standalone, tenant: &TenantId) -> anyhow::Result<()> {
    if tenants::list(&standalone.store).await?.contains(tenant) {
        // No failure, so that a script which sets up an installation can be run again.
        output::print_status(&format!("tenant {tenant} exists already"));
        return Ok(());
    }
    standalone.audit("tenant.add", tenant.as_str()).await?;
    tenants::register(&standalone.store, tenant).await?;
    output::print_status(&format!(
        "added tenant {tenant}; give it a key with mailgauge keys add --tenant {tenant} --name NAME"
    ));
    Ok(())
}

async fn show(standalone: &Standalone, tenant: &TenantId) -> anyhow::Result<OutputTable> {
    if !tenants::list(&standalone.store).await?.contains(tenant) {
        bail!("there is no tenant {tenant}: see mailgauge tenants list");
    }
    let keys = api_keys::list(&standalone.store).await?;
    let scope = Scope::Tenant(tenant.clone());
    let proof =
        web::proof(&standalone.store, &scope, Timestamp::from_millis(0), Timestamp::from_millis(i64::MAX))
            .await?;
    let hours = hours(standalone, tenant).await?;
    let start = |hour: Option<Hour>| json!(hour.map(|hour| hour.start().to_string()));
    let mut table = OutputTable::new(["tenant", "events", "first_hour", "last_hour", "keys"]);
    table.push(vec![
        json!(tenant.as_str()),
        json!(proof.aggregated),
        start(hours.map(|(first, _)| first)),
        start(hours.map(|(_, last)| last)),
        json!(valid_keys(tenant, &keys)),
    ]);
    Ok(table)
}

/// The number of keys of the tenant that are valid now.
fn valid_keys(tenant: &TenantId, keys: &[Credential]) -> usize {
    let now = SystemClock.now();
    let is_valid = |key: &&Credential| {
        key.grant.tenant() == Some(tenant)
            && key.revoked_at.is_none()
            && key.expires_at.is_none_or(|at| now < at)
    };
    keys.iter().filter(is_valid).count()
}

/// The first and last hour with counts. Where only days are kept, the first hour of the day.
async fn hours(standalone: &Standalone, tenant: &TenantId) -> anyhow::Result<Option<(Hour, Hour)>> {
    let progress = CountingProgress::read(&standalone.store).await?;
    let snapshot = Snapshot::read(&standalone.store, &progress, tenant).await?;
    let blocks =
        snapshot::read_blocks(&standalone.store, tenant, snapshot.manifest.blocks, BlockParts::Counts)
            .await?
            .complete()?;
    // Hours that are not compacted yet are in deltas only, all others in blocks only.
    let blocks = blocks.into_iter().map(|(_, item)| item);
    let mut range: Option<(Hour, Hour)> = None;
    for item in snapshot.deltas.into_iter().chain(blocks) {
        let block = Block::decode(&item.body)
            .with_context(|| format!("block {} cannot be read: restore it or upgrade mailgauge", item.key))?;
        for (hour, _) in block.split(|minute| minute.hour().0) {
            let (first, last) = range.unwrap_or((Hour(hour), Hour(hour)));
            range = Some((first.min(Hour(hour)), last.max(Hour(hour))));
        }
    }
    Ok(range)
}
