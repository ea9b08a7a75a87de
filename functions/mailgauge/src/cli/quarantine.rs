//! `mailgauge quarantine`: unreadable records, with the reason: list, show, count again, remove.
//!
//! A record may contain addresses, so it is stored encrypted. Only `show` prints its content; nothing decrypted is ever logged.

use std::io::{self, IsTerminal as _, Write as _};

use adapters::system_clock::SystemClock;
use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use event::{Day, Timestamp};
use pipeline::ledger::aggregate::CommitSettings;
use pipeline::ledger::quarantine::{self, StoredPart};
use pipeline::ports::Clock as _;
use serde_json::{Value, json};

use crate::cli::attribution_options::AttributionOptions;
use crate::cli::store_options::StoreOptions;
use crate::output::{self, Format, OutputTable};
use crate::server;
use crate::standalone::{Counted, Standalone};

/// Records that are replayed in one commit. Each has at most 120 KiB, so they fit in memory.
const REPLAY_BATCH: usize = 100;

/// List, show, replay and remove unreadable records.
///
/// Unreadable records are kept for two weeks, encrypted with the secret of the data folder or deployment.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    mailgauge quarantine list\n  \
    mailgauge quarantine show 2026-11-25/local/17/0 > record.json\n  \
    mailgauge quarantine replay --all")]
pub struct Options {
    #[command(flatten)]
    store: StoreOptions,

    #[command(subcommand)]
    command: QuarantineCommand,
}

#[derive(Debug, Subcommand)]
enum QuarantineCommand {
    /// List the records in quarantine, the oldest first
    #[command(after_help = "Example:\n  mailgauge quarantine list --format csv")]
    List,
    /// Print the content of one record on standard output; it may contain addresses
    #[command(after_help = "Example:\n  mailgauge quarantine show 2026-11-25/local/17/0 > record.json")]
    Show {
        /// Id of the record, as in the list: DAY/SHARD/SEQUENCE/PART
        id: String,
    },
    /// Count records again, for instance after an upgrade. Those that are readable now leave the quarantine; the others return under a
    /// new id
    #[command(after_help = "Example:\n  mailgauge quarantine replay --all")]
    Replay {
        #[command(flatten)]
        selection: Selection,

        #[command(flatten)]
        attribution: AttributionOptions,
    },
    /// Remove one record permanently
    #[command(after_help = "Example:\n  mailgauge quarantine remove 2026-11-25/local/17/0")]
    Remove {
        /// Id of the record, as in the list
        id: String,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Selection {
    /// Id of one record, as in the list
    id: Option<String>,

    /// Replay all records in quarantine
    #[arg(long)]
    all: bool,
}

/// Opens the store and runs the chosen subcommand.
///
/// # Errors
/// A store that cannot be opened, read or written, or an id that no record has.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = server::runtime()?;
    let store = &options.store;
    match &options.command {
        QuarantineCommand::List => {
            let standalone = store.location.open(&runtime)?;
            let all = runtime.block_on(all(&standalone))?;
            store.print(&table(&all, &standalone))
        }
        QuarantineCommand::Show { id } => {
            let standalone = store.location.open(&runtime)?;
            let found = find(runtime.block_on(all(&standalone))?, id)?;
            show(store, &found, &standalone)
        }
        QuarantineCommand::Replay { selection, attribution } => {
            let standalone = store.location.open_with_attribution(&runtime, attribution.attribution()?)?;
            runtime.block_on(replay(store, &standalone, selection.id.as_deref()))
        }
        QuarantineCommand::Remove { id } => {
            let standalone = store.location.open(&runtime)?;
            runtime.block_on(async {
                let found = find(all(&standalone).await?, id)?;
                quarantine::remove(&standalone.store, &[found.stored]).await?;
                output::print_status(&format!("removed {id}"));
                Ok(())
            })
        }
    }
}

/// A record in quarantine with the id that this command gives it.
pub(super) struct QuarantinedRecord {
    id: String,
    day: Day,
    stored: StoredPart,
}

/// All records in quarantine that have not expired, the oldest day first.
pub(super) async fn all(standalone: &Standalone) -> anyhow::Result<Vec<QuarantinedRecord>> {
    // Records are stored by the day of their arrival, so every day within their lifetime is listed.
    let today = SystemClock.now().minute().hour().day();
    let oldest =
        SystemClock.now().plus_millis(-CommitSettings::default().quarantine_ms).minute().hour().day();
    let mut entries = Vec::new();
    for day in (oldest.0..=today.0).map(Day) {
        for stored in quarantine::list(&standalone.store, day).await? {
            let (shard, part) = (stored.shard(), &stored.part);
            let date = day.start().to_string();
            let date = date.split_once('T').map_or(date.as_str(), |(date, _)| date);
            let id = format!("{date}/{shard}/{}/{}", part.sequence, part.index);
            entries.push(QuarantinedRecord { id, day, stored });
        }
    }
    Ok(entries)
}

fn find(entries: Vec<QuarantinedRecord>, id: &str) -> anyhow::Result<QuarantinedRecord> {
    let found = entries.into_iter().find(|entry| entry.id == id);
    found.ok_or_else(|| anyhow!("no record in quarantine has the id {id:?}: see mailgauge quarantine list"))
}

const COLUMNS: [&str; 5] = ["id", "arrived_at", "bytes", "can_be_opened", "reason"];

fn table(entries: &[QuarantinedRecord], standalone: &Standalone) -> OutputTable {
    let mut table = OutputTable::new(COLUMNS);
    for entry in entries {
        table.push(row(entry, entry.stored.part.open(&standalone.seal).is_some()));
    }
    table
}

fn row(entry: &QuarantinedRecord, can_be_opened: bool) -> Vec<Value> {
    let part = &entry.stored.part;
    let arrived_at: Timestamp = part.arrived_at;
    vec![
        json!(entry.id),
        json!(arrived_at.to_string()),
        json!(part.bytes),
        json!(can_be_opened),
        json!(part.reason),
    ]
}

/// Prints the bytes of a record as they arrived or, with `--format json` or `csv`, beside the rest of the entry.
fn show(store: &StoreOptions, entry: &QuarantinedRecord, standalone: &Standalone) -> anyhow::Result<()> {
    let part = &entry.stored.part;
    let content = part.open(&standalone.seal).with_context(|| {
        format!(
            "{} cannot be decrypted: it was too large to keep, or encrypted with another secret ({})",
            entry.id, part.reason
        )
    })?;
    if store.format() == Format::Table {
        // On standard error, so that a redirected output is the record, byte for byte.
        output::print_status(&format!("{}, arrived {}: {}", entry.id, part.arrived_at, part.reason));
        return write_content(&content).context("cannot write to standard output");
    }
    let text = std::str::from_utf8(&content).ok();
    let base64 = text.is_none().then(|| STANDARD.encode(&content));
    let mut table = OutputTable::new(COLUMNS.into_iter().chain(["text", "base64"]));
    table.push(row(entry, true).into_iter().chain([json!(text), json!(base64)]).collect());
    store.print(&table)
}

/// Writes the content unchanged to a pipe or file. On a terminal, control characters are escaped: anyone can send mail, and a terminal
/// would execute them.
fn write_content(content: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if !out.is_terminal() {
        out.write_all(content)?;
        return out.flush();
    }
    for character in String::from_utf8_lossy(content).chars() {
        if character.is_control() && !matches!(character, '\n' | '\t') {
            write!(out, "{}", character.escape_unicode())?;
        } else {
            write!(out, "{character}")?;
        }
    }
    writeln!(out)
}

async fn replay(store: &StoreOptions, standalone: &Standalone, id: Option<&str>) -> anyhow::Result<()> {
    standalone.end_stale_leases().await?;
    let mut entries = all(standalone).await?;
    if let Some(id) = id {
        entries = vec![find(entries, id)?];
    }
    // Counted before replaying, since these records stay in quarantine as they are.
    let not_opened =
        entries.iter().filter(|entry| entry.stored.part.open(&standalone.seal).is_none()).count();
    let mut sum = Counted::default();
    // Day by day: a record that is still unreadable is stored again under the day of its batch.
    for day in entries.chunk_by(|a, b| a.day == b.day) {
        for entries in day.chunks(REPLAY_BATCH) {
            let parts: Vec<StoredPart> = entries.iter().map(|entry| entry.stored.clone()).collect();
            sum.add(standalone.replay(&parts).await?);
        }
    }
    let mut table = OutputTable::new(["events", "duplicates", "ignored", "quarantined", "not_opened"]);
    table.push(vec![
        json!(sum.events),
        json!(sum.duplicates),
        json!(sum.ignored),
        json!(sum.quarantined),
        json!(not_opened),
    ]);
    store.print(&table)
}
