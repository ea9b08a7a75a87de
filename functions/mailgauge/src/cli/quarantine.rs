//! `mailgauge quarantine`: what could not be read, why, and another try.
//!
//! Only `show` opens a record: it may hold addresses, which is why it is stored sealed. Nothing opened is ever logged.

use std::io::{self, IsTerminal as _, Write as _};

use adapters::system_clock::SystemClock;
use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use event::{Day, Timestamp};
use pipeline::ledger::aggregate::Settings;
use pipeline::ledger::quarantine::{self, Stored};
use pipeline::ports::Clock as _;
use serde_json::{Value, json};

use crate::cli::folder::Folder;
use crate::cli::tags::Tags;
use crate::output::{self, Format, Table};
use crate::server;
use crate::standalone::{Counted, Standalone};

/// Records tried again in one commit: at 120 KiB each they fit in memory.
const REPLAYED_AT_ONCE: usize = 100;

/// Look at records that could not be read, try them again, remove them.
///
/// They are kept for two weeks, sealed under the folder's secret.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    mailgauge quarantine list\n  \
    mailgauge quarantine show 2026-11-25/local/17/0 > record.json\n  \
    mailgauge quarantine replay --all")]
pub struct Options {
    #[command(flatten)]
    folder: Folder,

    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List what is in quarantine, the oldest first
    #[command(after_help = "Example:\n  mailgauge quarantine list --format csv")]
    List,
    /// Open one record: its bytes to standard output. They may hold addresses
    #[command(after_help = "Example:\n  mailgauge quarantine show 2026-11-25/local/17/0 > record.json")]
    Show {
        /// As in the list: day, shard, sequence number, part
        id: String,
    },
    /// Try records again, after an upgrade for one. What is read leaves the quarantine, what is not comes back under a new id
    #[command(after_help = "Example:\n  mailgauge quarantine replay --all")]
    Replay {
        #[command(flatten)]
        which: Which,

        #[command(flatten)]
        tags: Tags,
    },
    /// Remove one record for good
    #[command(after_help = "Example:\n  mailgauge quarantine remove 2026-11-25/local/17/0")]
    Remove {
        /// As in the list
        id: String,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// One record, as in the list
    id: Option<String>,

    /// All records
    #[arg(long)]
    all: bool,
}

/// Does what was asked for.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = server::runtime()?;
    let folder = &options.folder;
    match &options.action {
        Action::List => {
            let home = folder.open(&runtime)?;
            let all = runtime.block_on(all(&home))?;
            folder.print(&table(&all, &home))
        }
        Action::Show { id } => {
            let home = folder.open(&runtime)?;
            let found = find(runtime.block_on(all(&home))?, id)?;
            show(folder, &found, &home)
        }
        Action::Replay { which, tags } => {
            let home = folder.open_to_count(&runtime, tags.attribution()?)?;
            runtime.block_on(replay(folder, &home, which.id.as_deref()))
        }
        Action::Remove { id } => {
            let home = folder.open(&runtime)?;
            runtime.block_on(async {
                let found = find(all(&home).await?, id)?;
                quarantine::remove(&home.store, &[found.stored]).await?;
                output::tell(&format!("removed {id}"));
                Ok(())
            })
        }
    }
}

/// A record in quarantine and what it is called here.
pub(super) struct Entry {
    id: String,
    day: Day,
    stored: Stored,
}

/// Everything in quarantine that has not expired, the oldest day first.
pub(super) async fn all(home: &Standalone) -> anyhow::Result<Vec<Entry>> {
    let today = SystemClock.now().minute().hour().day();
    let oldest = SystemClock.now().plus_millis(-Settings::default().quarantine_ms).minute().hour().day();
    let mut entries = Vec::new();
    for day in (oldest.0..=today.0).map(Day) {
        for stored in quarantine::list(&home.store, day).await? {
            let (shard, record) = (stored.shard(), &stored.record);
            let date = day.start().to_string();
            let date = date.split('T').next().unwrap_or_default();
            let id = format!("{date}/{shard}/{}/{}", record.sequence, record.part);
            entries.push(Entry { id, day, stored });
        }
    }
    Ok(entries)
}

fn find(entries: Vec<Entry>, id: &str) -> anyhow::Result<Entry> {
    let found = entries.into_iter().find(|entry| entry.id == id);
    found.ok_or_else(|| anyhow!("nothing in quarantine has the id {id:?}: see mailgauge quarantine list"))
}

const COLUMNS: [&str; 5] = ["id", "arrived_at", "bytes", "can_be_opened", "reason"];

fn table(entries: &[Entry], home: &Standalone) -> Table {
    let mut table = Table::new(COLUMNS);
    for entry in entries {
        table.push(row(entry, entry.stored.record.open(&home.seal).is_some()));
    }
    table
}

fn row(entry: &Entry, can_be_opened: bool) -> Vec<Value> {
    let record = &entry.stored.record;
    let arrived_at: Timestamp = record.arrived_at;
    vec![
        json!(entry.id),
        json!(arrived_at.to_string()),
        json!(record.bytes),
        json!(can_be_opened),
        json!(record.reason),
    ]
}

/// To people and pipes the bytes as they came, to programs beside the rest of the entry.
fn show(folder: &Folder, entry: &Entry, home: &Standalone) -> anyhow::Result<()> {
    let record = &entry.stored.record;
    let clear = record.open(&home.seal).with_context(|| {
        format!(
            "{} cannot be opened: it was too large to keep, or sealed under another secret ({})",
            entry.id, record.reason
        )
    })?;
    if folder.format() == Format::Table {
        output::tell(&format!("{}, arrived {}: {}", entry.id, record.arrived_at, record.reason));
        return write_clear(&clear).context("cannot write to standard output");
    }
    let text = std::str::from_utf8(&clear).ok();
    let base64 = text.is_none().then(|| STANDARD.encode(&clear));
    let mut table = Table::new(COLUMNS.into_iter().chain(["text", "base64"]));
    table.push(row(entry, true).into_iter().chain([json!(text), json!(base64)]).collect());
    folder.print(&table)
}

/// A terminal obeys control characters, and these bytes are a stranger's.
fn write_clear(clear: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if !out.is_terminal() {
        out.write_all(clear)?;
        return out.flush();
    }
    for character in String::from_utf8_lossy(clear).chars() {
        if character.is_control() && !matches!(character, '\n' | '\t') {
            write!(out, "{}", character.escape_unicode())?;
        } else {
            write!(out, "{character}")?;
        }
    }
    writeln!(out)
}

async fn replay(folder: &Folder, home: &Standalone, id: Option<&str>) -> anyhow::Result<()> {
    home.begin().await?;
    let mut entries = all(home).await?;
    if let Some(id) = id {
        entries = vec![find(entries, id)?];
    }
    let closed = entries.iter().filter(|entry| entry.stored.record.open(&home.seal).is_none()).count();
    let mut sum = Counted::default();
    // Day by day: what cannot be read again lies under the day of its batch.
    for day in entries.chunk_by(|a, b| a.day == b.day) {
        for entries in day.chunks(REPLAYED_AT_ONCE) {
            let parts: Vec<Stored> = entries.iter().map(|entry| entry.stored.clone()).collect();
            sum.add(home.replay(&parts).await?);
        }
    }
    let mut table = Table::new(["events", "duplicates", "ignored", "quarantined", "not_opened"]);
    table.push(vec![
        json!(sum.events),
        json!(sum.duplicates),
        json!(sum.ignored),
        json!(sum.quarantined),
        json!(closed),
    ]);
    folder.print(&table)
}
