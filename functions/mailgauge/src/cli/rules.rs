//! `mailgauge rules`: shows and sets alert rules, the operator's or one tenant's own.
//!
//! While a server runs on the data folder, the API does the same: `GET` and `PUT /v1/rules`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use detection::AlertRules;
use event::TenantId;
use pipeline::directory::alert_rules::{self, TenantRules};

use crate::cli::config_file;
use crate::cli::store_options::{self, StoreOptions};
use crate::output;
use crate::server;
use crate::usage_error::usage_error;

/// Show and set the alert rules.
///
/// New rules apply from the next minute on. A tenant's own limits override the operator's.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    mailgauge rules show --data /var/lib/mailgauge\n  \
    mailgauge rules set rules.toml\n  \
    mailgauge rules set acme.toml --tenant acme")]
pub struct Options {
    #[command(flatten)]
    store: StoreOptions,

    /// Show or set this tenant's own rules instead of the operator's
    #[arg(long, value_name = "TENANT", value_parser = store_options::tenant_to_read, global = true)]
    tenant: Option<TenantId>,

    #[command(subcommand)]
    command: RulesCommand,
}

#[derive(Debug, Subcommand)]
enum RulesCommand {
    /// Print the rules as JSON
    #[command(after_help = "Example:\n  mailgauge rules show --tenant acme")]
    Show,
    /// Replace all rules by those of a file; what the file omits gets its default
    #[command(after_help = "Example:\n  mailgauge rules set rules.toml")]
    Set {
        /// Rules in TOML or JSON
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// Opens the store and runs the chosen subcommand.
///
/// # Errors
/// A store that cannot be opened, read or written, or a file of rules with a mistake, which is wrong usage.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = server::runtime()?;
    let standalone = match &options.command {
        RulesCommand::Show => options.store.location.open(&runtime)?,
        // Rules can be set before the first event.
        RulesCommand::Set { .. } => options.store.location.open_or_create(&runtime)?,
    };
    let store = &standalone.store;
    runtime.block_on(async {
        if let RulesCommand::Set { file } = &options.command {
            // Each change is audited before it is made, so that none is without an entry.
            match &options.tenant {
                None => {
                    let rules: AlertRules = config_file::read(file, "rules")?;
                    refuse(rules.mistake())?;
                    standalone.audit("rules.set", "*").await?;
                    alert_rules::write_operator(store, &rules).await?;
                }
                Some(tenant) => {
                    let own: TenantRules = config_file::read(file, "rules")?;
                    refuse(own.mistake())?;
                    standalone.audit("rules.set", tenant.as_str()).await?;
                    alert_rules::write_tenant(store, tenant, &own).await?;
                }
            }
            output::print_status("the rules apply from the next minute on");
        }
        match &options.tenant {
            None => config_file::print(&alert_rules::read_operator(store).await?),
            Some(tenant) => config_file::print(&alert_rules::read_tenant(store, tenant).await?),
        }
    })
}

/// Wrong usage, if the rules have a mistake.
fn refuse(mistake: Option<String>) -> anyhow::Result<()> {
    mistake.map_or(Ok(()), |mistake| Err(usage_error(mistake)))
}
