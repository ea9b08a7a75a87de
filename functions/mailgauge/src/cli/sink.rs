//! `mailgauge sink`: how far a time-series store has what was counted, and bringing it there.
//!
//! The functions of a deployment do that by themselves. By hand it fills a store that is new, or another one beside theirs, from a
//! data folder too. A point written twice replaces itself, so nothing here can count anything twice.

use adapters::environment::Environment;
use adapters::sink::{Settings, TimeSeries};
use adapters::system_clock::SystemClock;
use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use event::{ShardId, Timestamp};
use pipeline::export::{self, MAX_BEHIND};
use pipeline::ledger::checkpoint;
use pipeline::ports::Sink as _;
use serde_json::json;

use crate::cli::Usage;
use crate::cli::folder::Folder;
use crate::output::{self, Table};
use crate::progress::Progress;
use crate::server;
use crate::standalone::Standalone;

/// See how far a time-series store is, write it up to date, or write all of it again.
///
/// The last three days can be written; what was counted before is in the API alone.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    mailgauge sink status --sink timestream --table mailgauge-Table\n  \
    INFLUX_TOKEN=... mailgauge sink export --sink influxdb --influx-url http://127.0.0.1:8086 --influx-org mail \\\n    \
    --influx-bucket mailgauge --data /var/lib/mailgauge")]
pub struct Options {
    #[command(flatten)]
    folder: Folder,

    /// Which time-series store
    #[arg(long, value_enum, env = "SINK", global = true)]
    sink: Option<Kind>,

    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Amazon Timestream for LiveAnalytics
    Timestream,
    /// InfluxDB, Amazon's too
    Influxdb,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Timestream => "timestream",
            Self::Influxdb => "influxdb",
        }
    }
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show how far the store is, by shard
    #[command(after_help = "Example:\n  mailgauge sink status --sink influxdb --format json")]
    Status,
    /// Forget how far the store is, so that all that is kept is written again
    #[command(after_help = "Example:\n  mailgauge sink rewind --sink influxdb --all")]
    Rewind {
        #[command(flatten)]
        which: Which,
    },
    /// Write now what the store does not have. The token is read from INFLUX_TOKEN
    #[command(after_help = "Example:\n  INFLUX_TOKEN=... mailgauge sink export --sink influxdb \
        --influx-url http://127.0.0.1:8181 --influx-api v3 --influx-bucket mailgauge")]
    Export(Box<Place>),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// One shard, as in the status
    #[arg(long, value_name = "ID", value_parser = shard)]
    shard: Option<ShardId>,

    /// All shards
    #[arg(long)]
    all: bool,
}

/// Where to write.
#[derive(Debug, Args)]
struct Place {
    /// The server of InfluxDB
    #[arg(long, value_name = "URL", env = "INFLUX_URL")]
    influx_url: Option<String>,

    /// Which of InfluxDB's calls the server knows: v2 or v3 [default: v2]
    #[arg(long, value_name = "VERSION", env = "INFLUX_API")]
    influx_api: Option<String>,

    /// The organisation, for v2
    #[arg(long, value_name = "NAME", env = "INFLUX_ORG")]
    influx_org: Option<String>,

    /// The bucket, or the database of v3
    #[arg(long, value_name = "NAME", env = "INFLUX_BUCKET")]
    influx_bucket: Option<String>,

    /// Timestream's database
    #[arg(long, value_name = "NAME", env = "TIMESTREAM_DATABASE")]
    timestream_database: Option<String>,

    /// Timestream's table
    #[arg(long, value_name = "NAME", env = "TIMESTREAM_TABLE")]
    timestream_table: Option<String>,
}

fn shard(name: &str) -> Result<ShardId, String> {
    ShardId::new(name).map_err(|error| error.to_string())
}

/// Does what was asked for.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let Some(kind) = options.sink else {
        return Err(Usage::error("say which time-series store with --sink timestream or --sink influxdb"));
    };
    let runtime = server::runtime()?;
    match &options.action {
        Action::Status => {
            let home = options.folder.open(&runtime)?;
            runtime.block_on(status(&options.folder, &home, kind.name()))
        }
        Action::Rewind { which } => {
            let home = options.folder.open(&runtime)?;
            let rewound = runtime.block_on(export::rewind(&home.store, kind.name(), which.shard.as_ref()))?;
            output::tell(&format!("all that is kept of {rewound} shards will be written again"));
            Ok(())
        }
        Action::Export(place) => {
            let settings = place.settings(kind)?;
            let home = options.folder.open(&runtime)?;
            runtime.block_on(write(&options.folder, &home, settings))
        }
    }
}

impl Place {
    /// The same settings as those of the functions, read the same way.
    fn settings(&self, kind: Kind) -> anyhow::Result<Settings> {
        let given = [
            ("SINK", &Some(kind.name().to_owned())),
            ("INFLUX_URL", &self.influx_url),
            ("INFLUX_API", &self.influx_api),
            ("INFLUX_ORG", &self.influx_org),
            ("INFLUX_BUCKET", &self.influx_bucket),
            ("TIMESTREAM_DATABASE", &self.timestream_database),
            ("TIMESTREAM_TABLE", &self.timestream_table),
        ];
        let given = given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)));
        let mut environment = Environment::of_process().with(given);
        let settings = Settings::read(&mut environment);
        match environment.finish(settings) {
            Ok(Some(settings)) => Ok(settings),
            Ok(None) => Err(Usage::error("no time-series store is chosen")),
            Err(error) => Err(Usage::error(error.mistakes().join("; "))),
        }
    }
}

async fn status(folder: &Folder, home: &Standalone, sink: &str) -> anyhow::Result<()> {
    let mut table = Table::new(["shard", "exported", "done", "batches_behind", "oldest_behind"]);
    for backlog in export::backlog(&home.store, sink, MAX_BEHIND).await? {
        let number = |number: Option<event::SequenceNumber>| json!(number.map(|number| number.to_string()));
        table.push(vec![
            json!(backlog.shard.to_string()),
            number(backlog.exported),
            number(backlog.done),
            json!(backlog.batches),
            json!(backlog.oldest.map(|at| at.to_string())),
        ]);
        if backlog.batches == MAX_BEHIND {
            output::tell(&format!("shard {}: no more than {MAX_BEHIND} batches were counted", backlog.shard));
        }
    }
    folder.print(&table)
}

async fn write(folder: &Folder, home: &Standalone, settings: Settings) -> anyhow::Result<()> {
    let sink = TimeSeries::open(settings).await;
    let mut table = Table::new(["shard", "batches", "points", "rejected", "expired", "left"]);
    let mut outcome = Ok(());
    let shards = checkpoint::read_all(&home.store).await?;
    let progress = Progress::new(Some(shards.len() as u64), "shards");
    for (shard, _) in shards {
        let for_ever = Timestamp::from_millis(i64::MAX);
        match export::catch_up(&home.store, &sink, &shard, &SystemClock, for_ever).await {
            Ok(exported) => {
                progress.inc(1);
                if let Some(reason) = &exported.reason {
                    progress
                        .tell(&format!("{} refused points of shard {shard} for good: {reason}", sink.name()));
                }
                let export::Exported { batches, points, rejected, expired, more, .. } = exported;
                let counts = [batches, points, rejected, expired].map(|count| json!(count));
                table.push(
                    [json!(shard.to_string())].into_iter().chain(counts).chain([json!(more)]).collect(),
                );
            }
            Err(error) => {
                outcome = Err(error).with_context(|| format!("shard {shard} is not written to its end"));
                break;
            }
        }
    }
    progress.finish();
    folder.print(&table)?;
    outcome
}
