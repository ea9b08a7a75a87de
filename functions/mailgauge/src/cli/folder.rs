//! The options of the commands that work on what is stored: which data folder or table, and how rows are printed.
//!
//! One process at a time has a folder open, so these commands and a running server exclude each other; the error says what to
//! do. Commands that only look must never make a folder: a mistyped name would look like an empty store.

use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;

use adapters::embedded::EmbeddedStore;
use anyhow::{Context as _, bail};
use clap::Args;
use event::TenantId;
use event::attribution::Attribution;
use tokio::runtime::Runtime;

#[cfg(not(feature = "aws"))]
use crate::cli::Usage;
use crate::output::{Format, Table};
use crate::standalone::Standalone;

/// Which folder or table, and how rows are printed.
#[derive(Debug, Args)]
pub struct Folder {
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

    /// A deployment's DynamoDB table in place of a folder, with AWS's usual settings
    #[arg(long, value_name = "NAME", env = "MAILGAUGE_TABLE", global = true, display_order = 100)]
    table: Option<String>,

    /// How rows are printed
    #[arg(long, value_enum, default_value_t, global = true, display_order = 101)]
    format: Format,
}

impl Folder {
    /// Opens the folder or table, which must be there, to count under these rules.
    pub fn open_to_count(&self, runtime: &Runtime, attribution: Attribution) -> anyhow::Result<Standalone> {
        if let Some(table) = &self.table {
            return open_table(runtime, table, attribution);
        }
        if !EmbeddedStore::is_in(&self.data) {
            bail!(
                "{} is no data folder: name the one that serve or ingest was given, with --data",
                self.data.display()
            );
        }
        Standalone::open(&self.data, attribution)
    }

    /// Opens the folder or table, which must be there.
    pub fn open(&self, runtime: &Runtime) -> anyhow::Result<Standalone> {
        self.open_to_count(runtime, Attribution::default())
    }

    /// Opens the folder, which is made if it is not there, or the table: for what is set up before the first event.
    pub fn open_or_make(&self, runtime: &Runtime) -> anyhow::Result<Standalone> {
        if self.table.is_some() {
            return self.open(runtime);
        }
        Standalone::open(&self.data, Attribution::default())
    }

    /// How rows are printed.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Prints rows to standard output.
    pub fn print(&self, table: &Table) -> anyhow::Result<()> {
        let mut out = BufWriter::new(io::stdout().lock());
        table
            .write(self.format, &mut out)
            .and_then(|()| out.flush())
            .context("cannot write to standard output")
    }
}

#[cfg(feature = "aws")]
fn open_table(runtime: &Runtime, table: &str, attribution: Attribution) -> anyhow::Result<Standalone> {
    runtime.block_on(Standalone::of_table(table, attribution))
}

#[cfg(not(feature = "aws"))]
fn open_table(_: &Runtime, _: &str, _: Attribution) -> anyhow::Result<Standalone> {
    Err(Usage::without_aws("--table"))
}

/// Parses the name of a tenant to create or change something for. Reserved names are refused.
pub fn tenant(name: &str) -> Result<TenantId, String> {
    TenantId::declared(name).map_err(|error| error.to_string())
}

/// Parses the name of a tenant to read; `(unassigned)` is allowed as well.
pub fn tenant_to_read(name: &str) -> Result<TenantId, String> {
    TenantId::to_read(name).map_err(|error| error.to_string())
}
