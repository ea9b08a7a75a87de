//! `mailgauge backup`: copies a data folder, also while a server uses it.
//!
//! The copy holds everything that was acknowledged when it began, and nothing later. It is a data folder like any other: to restore, start
//! a server on it. Copying the files of a running server by other means gives files that fit together only by chance.

use std::path::PathBuf;

use adapters::embedded::{self, EmbeddedStore};
use anyhow::bail;
use clap::Args;
use serde_json::json;

use crate::cli::store_options;
use crate::output::{Format, OutputTable};
use crate::progress::ProgressReporter;
use crate::standalone::secrets;

/// Copy a data folder to a new one, also while a server uses it.
///
/// To restore, start a server on the copy. It holds the secrets too, so protect it like the folder itself.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    mailgauge backup /backups/2026-01-05 --data /var/lib/mailgauge\n  \
    mailgauge serve --data /backups/2026-01-05      # to restore it, or to look at it")]
pub struct Options {
    /// The folder to create; it must not hold data
    #[arg(value_name = "DIR")]
    to: PathBuf,

    /// The data folder to copy
    #[arg(long, value_name = "DIR", default_value = "data/mailgauge", env = "MAILGAUGE_DATA")]
    data: PathBuf,

    /// Format of the row on standard output
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Copies the folder and prints how much was copied.
pub fn run(Options { to, data, format }: &Options) -> anyhow::Result<()> {
    // Checked here, because opening creates a folder that does not exist.
    if !EmbeddedStore::is_in(data) {
        bail!(
            "{} is not a data folder: name the folder that serve or ingest was given, with --data",
            data.display()
        );
    }
    let progress = ProgressReporter::new(None, "items");
    let copied = embedded::copy(data, to, &mut |items| progress.set_position(items));
    progress.finish();
    let items = copied?;
    // After the data, which refuse to be copied over others: secrets must not be replaced either.
    secrets::copy(data, to)?;
    let mut table = OutputTable::new(["items", "folder"]);
    table.push(vec![json!(items), json!(to.display().to_string())]);
    store_options::print(&table, *format)
}
