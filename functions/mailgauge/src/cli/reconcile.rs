//! `mailgauge reconcile`: the proof of counting, per tenant and in all.
//!
//! Compares what was read with what is counted, as the API does. It fails if the two differ, so that a script notices.

use anyhow::bail;
use cells::query::Scope;
use clap::Args;
use event::{TenantId, Timestamp};
use pipeline::directory::tenants;
use serde_json::{Value, json};

use crate::cli::Usage;
use crate::cli::folder::{self, Folder};
use crate::cli::moment::Moment;
use crate::output::{Format, Table};
use crate::server;
use crate::standalone::Standalone;

/// Prove that every event was counted once: what was read against what is there.
///
/// Every event read is counted or dropped as a duplicate; drift is what is neither, and the command fails unless it is 0. Late events are
/// a part of the counted ones. What cannot be read has neither tenant nor time, so it stands in the total alone.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    mailgauge reconcile --data /var/lib/mailgauge\n  \
    mailgauge reconcile --tenant acme --from 2026-11-01 --to 2026-12-01 --format csv")]
pub struct Options {
    #[command(flatten)]
    folder: Folder,

    /// One tenant alone, without a total
    #[arg(long, value_name = "TENANT", value_parser = folder::tenant_to_read)]
    tenant: Option<TenantId>,

    /// Events from the hour of this moment on [default: from the first]
    #[arg(allow_hyphen_values = true, long, value_name = "TIME")]
    from: Option<Moment>,

    /// Events until the end of the hour before this moment [default: to the last]
    #[arg(allow_hyphen_values = true, long, value_name = "TIME")]
    to: Option<Moment>,
}

/// Reconciles and prints; an error if anything drifted.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let from = options.from.map_or(Timestamp::from_millis(0), |moment| moment.0);
    let to = options.to.map_or(Timestamp::from_millis(i64::MAX), |moment| moment.0);
    if from >= to {
        return Err(Usage::error("--from must be before --to"));
    }
    let runtime = server::runtime()?;
    let home = options.folder.open(&runtime)?;
    runtime.block_on(prove(options, &home, from, to))
}

async fn prove(options: &Options, home: &Standalone, from: Timestamp, to: Timestamp) -> anyhow::Result<()> {
    let mut tenants = tenants::list(&home.store).await?;
    if let Some(wanted) = &options.tenant {
        tenants.retain(|tenant| tenant == wanted);
        if tenants.is_empty() {
            bail!("there is no tenant {wanted}: see mailgauge tenants list");
        }
    }
    let mut table =
        Table::new(["tenant", "events_read", "duplicates", "late", "quarantined", "aggregated", "drift"]);
    let mut row = |tenant: Value, quarantined: Value, proof: &web::Reconciliation| {
        let web::Reconciliation { events_read, duplicates, late, aggregated, drift, .. } = *proof;
        let counts = [json!(events_read), json!(duplicates), json!(late), quarantined, json!(aggregated)];
        table.push([tenant].into_iter().chain(counts).chain([json!(drift)]).collect());
    };
    let mut drifted = Vec::new();
    for tenant in tenants {
        let name = tenant.to_string();
        let proof = web::home::proof(&home.store, &Scope::Tenant(tenant), from, to).await?;
        row(json!(name), Value::Null, &proof);
        if proof.drift != 0 {
            drifted.push(name);
        }
    }
    if options.tenant.is_none() {
        let total = web::home::proof(&home.store, &Scope::All, from, to).await?;
        // No tenant is called nothing; to people it is said in words.
        let name = if options.folder.format() == Format::Table { json!("(total)") } else { Value::Null };
        row(name, json!(total.quarantined), &total);
    }
    options.folder.print(&table)?;
    if drifted.is_empty() {
        return Ok(());
    }
    bail!("what was read and what is counted differ for {}: run mailgauge doctor", drifted.join(", "))
}
