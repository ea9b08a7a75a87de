//! The options of the commands that work on stored data: which data folder or table, and the output format.
//!
//! One process at a time can have a data folder open, so these commands and a running server exclude each other, and the error says
//! what to do. A command that only reads must never create a folder: a mistyped path would look like an empty store.

use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;

use adapters::embedded::EmbeddedStore;
use anyhow::{Context as _, bail};
use clap::Args;
use event::TenantId;
use event::attribution::Attribution;
use tokio::runtime::Runtime;

use crate::output::{self, Format, OutputTable};
use crate::standalone::Standalone;
#[cfg(not(feature = "aws"))]
use crate::usage_error::built_without_aws;

/// Options that choose a store.
#[derive(Debug, Args)]
pub struct StoreLocation {
    /// The data folder; no running server may have it open
    #[arg(
        long,
        value_name = "DIR",
        default_value = "data/mailgauge",
        env = "MAILGAUGE_DATA",
        global = true,
        display_order = 100
    )]
    data: PathBuf,

    /// The DynamoDB table of a deployment, instead of a data folder; credentials and region come from the usual AWS settings
    #[arg(long, value_name = "NAME", env = "MAILGAUGE_TABLE", global = true, display_order = 100)]
    table: Option<String>,
}

/// Options that choose a store and how rows are printed.
#[derive(Debug, Args)]
pub struct StoreOptions {
    #[command(flatten)]
    pub location: StoreLocation,

    /// Format of the rows on standard output
    #[arg(long, value_enum, default_value_t, global = true, display_order = 101)]
    format: Format,
}

impl StoreLocation {
    /// Whether it is a data folder and not a table.
    pub const fn is_folder(&self) -> bool {
        self.table.is_none()
    }

    /// Opens the folder or table, which must exist, for counting under these rules of attribution.
    pub fn open_with_attribution(
        &self,
        runtime: &Runtime,
        attribution: Attribution,
    ) -> anyhow::Result<Standalone> {
        if let Some(table) = &self.table {
            return open_table(runtime, table, attribution);
        }
        // Checked here, because opening creates a folder that does not exist.
        if !EmbeddedStore::is_in(&self.data) {
            bail!(
                "{} is not a data folder: name the folder that serve or ingest was given, with --data",
                self.data.display()
            );
        }
        Standalone::open(&self.data, attribution)
    }

    /// Opens the folder or table, which must exist, for anything but counting.
    pub fn open(&self, runtime: &Runtime) -> anyhow::Result<Standalone> {
        self.open_with_attribution(runtime, Attribution::default())
    }

    /// Opens the folder, creating it if it does not exist, or the table. For commands that set something up before the first event.
    pub fn open_or_create(&self, runtime: &Runtime) -> anyhow::Result<Standalone> {
        // Tables are created by the template only, with their encryption, backups and permissions.
        if self.table.is_some() {
            return self.open(runtime);
        }
        Standalone::open(&self.data, Attribution::default())
    }
}

impl StoreOptions {
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Prints rows to standard output.
    pub fn print(&self, table: &OutputTable) -> anyhow::Result<()> {
        print(table, self.format)
    }
}

/// Prints rows to standard output. A reader that has seen enough, such as `head`, is no failure.
pub fn print(table: &OutputTable, format: Format) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let written = table.write(format, &mut out).and_then(|()| out.flush());
    output::ignore_broken_pipe(written.context("cannot write to standard output"))
}

#[cfg(feature = "aws")]
fn open_table(runtime: &Runtime, table: &str, attribution: Attribution) -> anyhow::Result<Standalone> {
    runtime.block_on(Standalone::open_table(table, attribution))
}

#[cfg(not(feature = "aws"))]
fn open_table(_: &Runtime, _: &str, _: Attribution) -> anyhow::Result<Standalone> {
    Err(built_without_aws("--table"))
}

/// Parses the name of a tenant to create or change something for. Reserved names are refused.
pub fn tenant(name: &str) -> Result<TenantId, String> {
    TenantId::new(name).map_err(|error| error.to_string())
}

/// Parses the name of a tenant to read, which may be `(unassigned)` as well.
pub fn tenant_to_read(name: &str) -> Result<TenantId, String> {
    TenantId::new_or_unassigned(name).map_err(|error| error.to_string())
}
