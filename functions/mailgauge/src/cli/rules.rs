//! `mailgauge rules`: what is alerted on, shown and set, for all or for one tenant.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use detection::Rules;
use event::TenantId;
use pipeline::directory::rules::{self, OwnRules};

use crate::cli::Usage;
use crate::cli::folder::{self, Folder};
use crate::cli::settings;
use crate::output;
use crate::server;

/// See and set the rules of alerts.
///
/// Rules hold from the next minute on. A tenant's own limits come before the operator's.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    mailgauge rules show --data /var/lib/mailgauge\n  \
    mailgauge rules set rules.toml\n  \
    mailgauge rules set acme.toml --tenant acme")]
pub struct Options {
    #[command(flatten)]
    folder: Folder,

    /// One tenant's own rules
    #[arg(long, value_name = "TENANT", value_parser = folder::tenant_to_read, global = true)]
    tenant: Option<TenantId>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the rules as JSON
    Show,
    /// Put rules in place of those there are; what a file leaves out is as by default
    Set {
        /// Rules in TOML or JSON
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// Does what is asked.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = server::runtime()?;
    let home = options.folder.open_or_make(&runtime)?;
    let store = &home.store;
    runtime.block_on(async {
        if let Command::Set { file } = &options.command {
            match &options.tenant {
                None => {
                    let rules: Rules = settings::read(file, "rules")?;
                    right(rules.mistake())?;
                    home.note("rules.set", "*").await?;
                    rules::set_of_operator(store, &rules).await?;
                }
                Some(tenant) => {
                    let own: OwnRules = settings::read(file, "rules")?;
                    right(own.mistake())?;
                    home.note("rules.set", tenant.as_str()).await?;
                    rules::set_of_tenant(store, tenant, &own).await?;
                }
            }
            output::tell("The rules hold from the next minute on.");
        }
        match &options.tenant {
            None => settings::print(&rules::of_operator(store).await?),
            Some(tenant) => settings::print(&rules::of_tenant(store, tenant).await?),
        }
    })
}

fn right(mistake: Option<String>) -> anyhow::Result<()> {
    mistake.map_or(Ok(()), |mistake| Err(Usage::error(mistake)))
}
