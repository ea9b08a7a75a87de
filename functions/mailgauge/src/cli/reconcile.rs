//! `mailgauge reconcile`: the proof of counting, per tenant and in total.
//!
//! Compares what was read with what is counted, as the API does. The command fails if the two differ, so that a script notices.

use anyhow::bail;
use cells::query::Scope;
use clap::Args;
use event::{TenantId, Timestamp};
use pipeline::directory::tenants;
use serde_json::{Value, json};

use crate::cli::store_options::{self, StoreOptions};
use crate::cli::time_argument::TimeArgument;
use crate::output::{Format, OutputTable};
use crate::server;
use crate::standalone::Standalone;
use crate::usage_error::usage_error;

/// Prove that every event was counted exactly once: compare what was read with what is stored.
///
/// Every event that is read is either counted (aggregated) or dropped as a duplicate; drift is the difference, and the command fails
/// unless it is 0. Late events are included in the aggregated ones. Unreadable records (quarantined) have neither tenant nor time, so
/// they appear in the total only. A duplicate of an event that arrived before `deduplicated_since` is not recognised any more and counts
/// as a new event.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    mailgauge reconcile --data /var/lib/mailgauge\n  \
    mailgauge reconcile --tenant acme --from 2026-11-01 --to 2026-12-01 --format csv")]
pub struct Options {
    #[command(flatten)]
    store: StoreOptions,

    /// Only this tenant, without the total
    #[arg(long, value_name = "TENANT", value_parser = store_options::tenant_to_read)]
    tenant: Option<TenantId>,

    /// Only events from this time on, rounded down to a whole hour [default: from the first event]
    #[arg(allow_hyphen_values = true, long, value_name = "TIME")]
    from: Option<TimeArgument>,

    /// Only events before this time, rounded up to a whole hour [default: to the last event]
    #[arg(allow_hyphen_values = true, long, value_name = "TIME")]
    to: Option<TimeArgument>,
}

/// Prints the proof.
///
/// # Errors
/// Any tenant whose drift is not 0, after printing.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let from = options.from.map_or(Timestamp::from_millis(0), |time| time.0);
    let to = options.to.map_or(Timestamp::from_millis(i64::MAX), |time| time.0);
    if from >= to {
        return Err(usage_error("--from must be before --to"));
    }
    let runtime = server::runtime()?;
    let standalone = options.store.location.open(&runtime)?;
    runtime.block_on(prove(options, &standalone, from, to))
}

async fn prove(
    options: &Options,
    standalone: &Standalone,
    from: Timestamp,
    to: Timestamp,
) -> anyhow::Result<()> {
    let mut tenants = tenants::list(&standalone.store).await?;
    if let Some(only) = &options.tenant {
        tenants.retain(|tenant| tenant == only);
        // The proof of a tenant that does not exist would be all zeros, which reads like success.
        if tenants.is_empty() {
            bail!("there is no tenant {only}: see mailgauge tenants list");
        }
    }
    let mut table = OutputTable::new([
        "tenant",
        "events_read",
        "duplicates",
        "late",
        "quarantined",
        "aggregated",
        "drift",
        "deduplicated_since",
    ]);
    let mut row = |tenant: Value, quarantined: Value, proof: &web::ReconciliationReport| {
        let web::ReconciliationReport {
            events_read,
            duplicates,
            late,
            aggregated,
            drift,
            deduplicated_since,
            ..
        } = *proof;
        let since = deduplicated_since.map(|since| since.to_string());
        let counts = [json!(events_read), json!(duplicates), json!(late), quarantined, json!(aggregated)];
        table.push([tenant].into_iter().chain(counts).chain([json!(drift), json!(since)]).collect());
    };
    let mut drifted = Vec::new();
    for tenant in tenants {
        let name = tenant.to_string();
        let proof = web::proof(&standalone.store, &Scope::Tenant(tenant), from, to).await?;
        row(json!(name), Value::Null, &proof);
        if proof.drift != 0 {
            drifted.push(name);
        }
    }
    if options.tenant.is_none() {
        let total = web::proof(&standalone.store, &Scope::All, from, to).await?;
        // In JSON and CSV the total has no tenant, so that it cannot be mistaken for one; a table shows a word.
        let name = if options.store.format() == Format::Table { json!("(total)") } else { Value::Null };
        row(name, json!(total.quarantined), &total);
    }
    // Printed before the command fails, because the rows say where the drift is.
    options.store.print(&table)?;
    if drifted.is_empty() {
        return Ok(());
    }
    bail!("what was read and what is counted differ for {}: run mailgauge doctor", drifted.join(", "))
}
