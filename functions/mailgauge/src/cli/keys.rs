//! `mailgauge keys`: API keys of a data folder. A key is shown once, by the command that makes it, and nowhere again.

use std::io::{self, Write as _};

use adapters::system_clock::SystemClock;
use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Subcommand};
use event::TenantId;
use pipeline::directory::credentials::{self, Credential, CredentialError, Grant};
use pipeline::directory::tenants;
use pipeline::ports::Clock as _;
use serde_json::{Value, json};

use crate::cli::folder::{self, Folder};
use crate::output::{self, Format, Table};
use crate::server;
use crate::standalone::Standalone;

/// Longest name of a key, in characters: it is read in a table.
const MAX_NAME_CHARS: usize = 100;

/// Make, list and revoke the API keys of a data folder.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    mailgauge keys add --tenant acme --name dashboard --expires 90d > acme.key\n  \
    mailgauge keys list")]
pub struct Options {
    #[command(flatten)]
    folder: Folder,

    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key and print it, this once, alone on standard output
    #[command(
        after_help = "Example:\n  mailgauge keys add --tenant acme --name dashboard --expires 90d > acme.key"
    )]
    Add {
        #[command(flatten)]
        whom: Whom,

        /// The key reads its tenant's numbers, and may not set its rules
        #[arg(long, requires = "tenant")]
        read_only: bool,

        /// What the key is called in lists
        #[arg(long, value_name = "NAME", value_parser = name)]
        name: String,

        /// How long it is good for, such as 12h, 90d or 52w [default: until it is removed]
        #[arg(long, value_name = "TIME", value_parser = lifetime_ms)]
        expires: Option<i64>,
    },
    /// List all keys, expired and revoked ones too
    #[command(after_help = "Example:\n  mailgauge keys list --format json")]
    List,
    /// Show one key's entry; the key itself cannot be shown again
    #[command(after_help = "Example:\n  mailgauge keys show 3f0c2a9be117")]
    Show {
        /// As in the list
        id: String,
    },
    /// Revoke a key: it is refused from now on, and stays in the list
    #[command(after_help = "Example:\n  mailgauge keys remove 3f0c2a9be117")]
    Remove {
        /// As in the list
        id: String,
    },
}

/// What the key grants.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Whom {
    /// The numbers of this tenant, nothing else
    #[arg(long, value_name = "TENANT", value_parser = folder::tenant)]
    tenant: Option<TenantId>,

    /// Everything
    #[arg(long)]
    operator: bool,

    /// Sending events in, nothing else
    #[arg(long)]
    ingest: bool,
}

impl Whom {
    fn grant(&self, read_only: bool) -> Grant {
        match &self.tenant {
            Some(tenant) if read_only => Grant::Reader(tenant.clone()),
            Some(tenant) => Grant::Tenant(tenant.clone()),
            None if self.ingest => Grant::Ingest,
            None => Grant::Operator,
        }
    }
}

fn name(text: &str) -> Result<String, String> {
    let length = text.chars().count();
    if length == 0 || length > MAX_NAME_CHARS || text.chars().any(char::is_control) {
        return Err(format!("use 1 to {MAX_NAME_CHARS} characters, all of them visible"));
    }
    Ok(text.to_owned())
}

fn lifetime_ms(text: &str) -> Result<i64, String> {
    let span = text
        .parse::<jiff::Span>()
        .and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()));
    match span.map(|span| i64::try_from(span.as_millis())) {
        Ok(Ok(milliseconds)) if milliseconds > 0 => Ok(milliseconds),
        Ok(_) | Err(_) => Err("use a time to come such as 12h, 90d or 52w".to_owned()),
    }
}

/// Does what was asked for.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = server::runtime()?;
    match &options.action {
        Action::Add { whom, read_only, name, expires } => {
            let home = options.folder.open_or_make(&runtime)?;
            runtime.block_on(add(&options.folder, &home, whom.grant(*read_only), name, *expires))
        }
        Action::List => {
            let home = options.folder.open(&runtime)?;
            options.folder.print(&table(&runtime.block_on(credentials::list(&home.store))?))
        }
        Action::Show { id } => {
            let home = options.folder.open(&runtime)?;
            let mut all = runtime.block_on(credentials::list(&home.store))?;
            all.retain(|credential| credential.id == *id);
            if all.is_empty() {
                return Err(unknown(id));
            }
            options.folder.print(&table(&all))
        }
        Action::Remove { id } => {
            let home = options.folder.open(&runtime)?;
            let revoked = runtime.block_on(async {
                home.note("key.revoke", id).await?;
                anyhow::Ok(credentials::revoke(&home.store, id, SystemClock.now()).await)
            })?;
            match revoked {
                Ok(credential) => output::tell(&format!("revoked {id} ({})", credential.name)),
                Err(CredentialError::Unknown) => return Err(unknown(id)),
                Err(error) => bail!(error),
            }
            Ok(())
        }
    }
}

fn unknown(id: &str) -> anyhow::Error {
    anyhow!("no key has the id {id:?}: see mailgauge keys list")
}

async fn add(
    folder: &Folder,
    home: &Standalone,
    grant: Grant,
    name: &str,
    lifetime_ms: Option<i64>,
) -> anyhow::Result<()> {
    if let Some(tenant) = grant.tenant()
        && !tenants::list(&home.store).await?.contains(tenant)
    {
        output::tell(&format!("nothing has been counted for tenant {tenant} yet"));
    }
    home.note("key.add", grant.tenant().map_or("*", TenantId::as_str)).await?;
    let (key, credential) = home.add_key(grant, name, lifetime_ms).await?;
    if folder.format() == Format::Table {
        output::tell(&format!("key {} is shown this once:", credential.id));
        return writeln!(io::stdout(), "{key}").context("cannot write to standard output");
    }
    let mut rows = Table::new(COLUMNS.into_iter().chain(["key"]));
    rows.push(row(&credential).into_iter().chain([json!(key)]).collect());
    folder.print(&rows)
}

const COLUMNS: [&str; 7] = ["id", "grants", "tenant", "name", "created_at", "expires_at", "revoked_at"];

fn table(credentials: &[Credential]) -> Table {
    let mut table = Table::new(COLUMNS);
    for credential in credentials {
        table.push(row(credential));
    }
    table
}

fn row(credential: &Credential) -> Vec<Value> {
    let (grants, tenant) = match &credential.grant {
        Grant::Operator => ("operator", None),
        Grant::Tenant(tenant) => ("tenant", Some(tenant.as_str())),
        Grant::Reader(tenant) => ("reader", Some(tenant.as_str())),
        Grant::Ingest => ("ingest", None),
    };
    let moment = |at: Option<event::Timestamp>| json!(at.map(|at| at.to_string()));
    vec![
        json!(credential.id),
        json!(grants),
        json!(tenant),
        json!(credential.name),
        moment(Some(credential.created_at)),
        moment(credential.expires_at),
        moment(credential.revoked_at),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_a_time_to_come() {
        for (text, expected) in
            [("12h", 43_200_000), ("90d", 7_776_000_000), ("2w", 1_209_600_000), ("1s", 1000)]
        {
            assert_eq!(lifetime_ms(text), Ok(expected), "{text}");
        }
        for text in ["", "90", "0d", "-1d", "1mo", "soon", "99999999999d"] {
            assert!(lifetime_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_fits_a_table() {
        assert!(name(&"x".repeat(MAX_NAME_CHARS)).is_ok());
        for text in ["", "a\nb", "\u{1b}[31m", &"x".repeat(MAX_NAME_CHARS + 1)] {
            assert!(name(text).is_err(), "{text:?}");
        }
    }
}
