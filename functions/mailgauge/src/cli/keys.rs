//! `mailgauge keys`: the API keys of a data folder or table.
//!
//! A key is printed once, by the command that creates it. Only its hash is stored, so it can never be shown again.

use std::io::{self, Write as _};

use adapters::embedded::OpenError;
use adapters::system_clock::SystemClock;
use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Subcommand};
use event::TenantId;
use pipeline::directory::api_keys::{self, Credential, CredentialError, Grant};
use pipeline::directory::tenants;
use pipeline::ports::Clock as _;
use serde_json::{Value, json};

use crate::cli::store_options::{self, StoreOptions};
use crate::output::{self, Format, OutputTable};
use crate::server;
use crate::standalone::Standalone;

/// The longest name of a key, in characters, so that it fits a table.
const MAX_NAME_CHARS: usize = 100;

/// Create, list and revoke API keys.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    mailgauge keys add --tenant acme --name dashboard --expires 90d > acme.key\n  \
    mailgauge keys list")]
pub struct Options {
    #[command(flatten)]
    store: StoreOptions,

    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Create a key and print it on standard output; it cannot be shown again
    #[command(
        after_help = "Example:\n  mailgauge keys add --tenant acme --name dashboard --expires 90d > acme.key"
    )]
    Add {
        #[command(flatten)]
        grant: GrantOptions,

        /// The key can read the metrics of its tenant, but not set its alert rules; needs --tenant
        // Both, because clap drops a requirement that conflicts with an option that is there: `--operator --read-only` would make a full
        // operator key.
        #[arg(long, requires = "tenant", conflicts_with_all = ["operator", "ingest"])]
        read_only: bool,

        /// Name of the key in lists, at most 100 characters
        #[arg(long, value_name = "NAME", value_parser = name)]
        name: String,

        /// How long the key is valid, such as 12h, 90d or 52w [default: until it is removed]
        #[arg(long, value_name = "DURATION", value_parser = lifetime_ms)]
        expires: Option<i64>,
    },
    /// List all keys, including expired and revoked ones
    #[command(after_help = "Example:\n  mailgauge keys list --format json")]
    List,
    /// Show the entry of one key; the key itself cannot be shown again
    #[command(after_help = "Example:\n  mailgauge keys show 3f0c2a9be117")]
    Show {
        /// Id of the key, as in the list
        id: String,
    },
    /// Revoke a key: it is refused from now on, and stays in the list as revoked
    #[command(after_help = "Example:\n  mailgauge keys remove 3f0c2a9be117")]
    Remove {
        /// Id of the key, as in the list
        id: String,
    },
}

/// Options that say what a key grants.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct GrantOptions {
    /// Grant access to the data of this tenant only
    #[arg(long, value_name = "TENANT", value_parser = store_options::tenant)]
    tenant: Option<TenantId>,

    /// Grant access to everything
    #[arg(long)]
    operator: bool,

    /// Grant sending events, and nothing else
    #[arg(long)]
    ingest: bool,
}

impl GrantOptions {
    /// The call of the API that makes such a key, as arguments of curl.
    fn call(&self, read_only: bool, name: &str) -> String {
        let (path, body) = match self.grant(read_only) {
            Grant::Tenant(tenant) => (format!("tenants/{tenant}/keys"), json!({ "name": name })),
            Grant::Reader(tenant) => {
                (format!("tenants/{tenant}/keys"), json!({ "name": name, "scopes": ["read"] }))
            }
            Grant::Operator => ("keys".to_owned(), json!({ "name": name, "scope": "operator" })),
            Grant::Ingest => ("keys".to_owned(), json!({ "name": name, "scope": "ingest" })),
        };
        // A name may contain the shell's quote.
        let body = body.to_string().replace('\'', "'\\''");
        format!("\"$URL/v1/{path}\" -d '{body}'")
    }

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
    // Lists of keys are printed on terminals, which execute control characters.
    if length == 0 || length > MAX_NAME_CHARS || text.chars().any(char::is_control) {
        return Err(format!("use 1 to {MAX_NAME_CHARS} characters, without control characters"));
    }
    Ok(text.to_owned())
}

/// Parses a duration to milliseconds. A day has 24 hours.
fn lifetime_ms(text: &str) -> Result<i64, String> {
    let span = text
        .parse::<jiff::Span>()
        .and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()));
    match span.map(|span| i64::try_from(span.as_millis())) {
        Ok(Ok(milliseconds)) if milliseconds > 0 => Ok(milliseconds),
        Ok(_) | Err(_) => Err("use a duration such as 12h, 90d or 52w".to_owned()),
    }
}

/// Opens the store and runs the chosen subcommand.
///
/// # Errors
/// A store that cannot be opened, read or written, or an id that no key has.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = server::runtime()?;
    match &options.command {
        KeysCommand::Add { grant, read_only, name, expires } => {
            let standalone = options
                .store
                .location
                .open_or_create(&runtime)
                .map_err(|error| while_served(error, &grant.call(*read_only, name)))?;
            runtime.block_on(add(&options.store, &standalone, grant.grant(*read_only), name, *expires))
        }
        KeysCommand::List => {
            let opened = options.store.location.open(&runtime);
            let standalone = opened.map_err(|error| while_served(error, "\"$URL/v1/keys\""))?;
            options.store.print(&table(&runtime.block_on(api_keys::list(&standalone.store))?))
        }
        KeysCommand::Show { id } => {
            let standalone = options.store.location.open(&runtime)?;
            let mut all = runtime.block_on(api_keys::list(&standalone.store))?;
            all.retain(|credential| credential.id == *id);
            if all.is_empty() {
                return Err(unknown(id));
            }
            options.store.print(&table(&all))
        }
        KeysCommand::Remove { id } => {
            let opened = options.store.location.open(&runtime);
            let call = format!("-X DELETE \"$URL/v1/keys/{id}\"");
            let standalone = opened.map_err(|error| while_served(error, &call))?;
            let revoked = runtime.block_on(async {
                // Audited before the change, so that no key is revoked without an entry.
                standalone.audit("key.revoke", id).await?;
                anyhow::Ok(api_keys::revoke(&standalone.store, id, SystemClock.now()).await)
            })?;
            match revoked {
                Ok(credential) => output::print_status(&format!("revoked {id} ({})", credential.name)),
                Err(CredentialError::Unknown) => return Err(unknown(id)),
                Err(error) => bail!(error),
            }
            Ok(())
        }
    }
}

/// Adds to the error of a folder that a server uses the call of its API that does the same, as arguments of curl.
fn while_served(error: anyhow::Error, call: &str) -> anyhow::Error {
    if !matches!(error.downcast_ref(), Some(OpenError::InUse { .. })) {
        return error;
    }
    anyhow!(
        "{error}\nwith its address in URL and an operator key in KEY, the same is: \
         curl -s {call} -H \"authorization: Bearer $KEY\"\n\
         (keys of a tenant are under /v1/tenants/TENANT/keys; without any operator key, stop the server and run \
         mailgauge keys add --operator)"
    )
}

fn unknown(id: &str) -> anyhow::Error {
    anyhow!("no key has the id {id:?}: see mailgauge keys list")
}

async fn add(
    store: &StoreOptions,
    standalone: &Standalone,
    grant: Grant,
    name: &str,
    lifetime_ms: Option<i64>,
) -> anyhow::Result<()> {
    if let Some(tenant) = grant.tenant()
        && !tenants::list(&standalone.store).await?.contains(tenant)
    {
        // No failure: a key may be handed out before the tenant's first mail.
        output::print_status(&format!("warning: nothing has been counted for tenant {tenant} yet"));
    }
    // Audited before the change, so that no key exists without an entry.
    standalone.audit("key.add", grant.tenant().map_or("*", TenantId::as_str)).await?;
    let (key, credential) = standalone.add_key(grant, name, lifetime_ms).await?;
    // The bare key on standard output, so that it can be redirected to a file.
    if store.format() == Format::Table {
        output::print_status(&format!("key {} (it cannot be shown again):", credential.id));
        return writeln!(io::stdout(), "{key}").context("cannot write to standard output");
    }
    let mut rows = OutputTable::new(COLUMNS.into_iter().chain(["key"]));
    rows.push(row(&credential).into_iter().chain([json!(key)]).collect());
    store.print(&rows)
}

const COLUMNS: [&str; 7] = ["id", "grants", "tenant", "name", "created_at", "expires_at", "revoked_at"];

fn table(credentials: &[Credential]) -> OutputTable {
    let mut table = OutputTable::new(COLUMNS);
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
    fn read_only_is_for_keys_of_tenants_and_never_ignored() {
        #[derive(Debug, clap::Parser)]
        struct Program {
            #[command(flatten)]
            options: Options,
        }
        let parse = |words: &str| {
            let words = ["keys", "add", "--data", "d", "--name", "n"].into_iter().chain(words.split(' '));
            <Program as clap::Parser>::try_parse_from(words)
        };
        for words in ["--operator --read-only", "--ingest --read-only", "--read-only", "--operator --ingest"]
        {
            assert!(parse(words).is_err(), "{words}");
        }
        let parsed = parse("--tenant acme --read-only").unwrap();
        let KeysCommand::Add { grant, read_only, .. } = parsed.options.command else { panic!("add") };
        assert!(matches!(grant.grant(read_only), Grant::Reader(_)));
    }

    #[test]
    fn folder_that_is_served_leads_to_the_call_of_its_api() {
        let in_use = OpenError::InUse { folder: "d".into(), owner: "process 7".to_owned() };
        let operator = GrantOptions { tenant: None, operator: true, ingest: false };
        let told = while_served(in_use.into(), &operator.call(false, "it's mine")).to_string();
        for part in
            ["in use by process 7", "use its API", r#"curl -s "$URL/v1/keys" -d '{"name":"it'\''s mine","#]
        {
            assert!(told.contains(part), "{part}: {told}");
        }
        let tenant = Some(TenantId::new("acme").unwrap());
        let reader = GrantOptions { tenant, operator: false, ingest: false };
        assert!(reader.call(true, "a").starts_with("\"$URL/v1/tenants/acme/keys\""));
        assert_eq!(while_served(anyhow!("no such table"), "").to_string(), "no such table");
    }

    #[test]
    fn lifetime_is_a_positive_duration() {
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
    fn options_select_the_grant() {
        let acme = TenantId::new("acme").unwrap();
        let grant = |tenant: Option<&TenantId>, ingest: bool, read_only: bool| {
            let operator = tenant.is_none() && !ingest;
            GrantOptions { tenant: tenant.cloned(), operator, ingest }.grant(read_only)
        };
        assert_eq!(grant(Some(&acme), false, false), Grant::Tenant(acme.clone()));
        assert_eq!(grant(Some(&acme), false, true), Grant::Reader(acme.clone()));
        assert_eq!(grant(None, true, false), Grant::Ingest);
        assert_eq!(grant(None, false, false), Grant::Operator);
    }

    #[test]
    fn name_fits_a_table() {
        assert!(name(&"x".repeat(MAX_NAME_CHARS)).is_ok());
        for text in ["", "a\nb", "\u{1b}[31m", &"x".repeat(MAX_NAME_CHARS + 1)] {
            assert!(name(text).is_err(), "{text:?}");
        }
    }
}
