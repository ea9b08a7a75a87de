//! `mailgauge sink`: shows how far a time-series store is behind the counts, and brings it up to date.
//!
//! The functions of a deployment export by themselves. This command fills a store that is new, or a further one, and works from a data
//! store as well. A point that is written twice replaces itself, so nothing here can count anything twice.

use adapters::environment::Environment;
use adapters::sink::{SinkSettings, TimeSeriesSink};
use adapters::system_clock::SystemClock;
use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use event::{ShardId, Timestamp};
use pipeline::export::{self, MAX_BEHIND};
use pipeline::ledger::checkpoint;
use pipeline::ports::Sink as _;
use serde_json::json;

use crate::cli::store_options::StoreOptions;
use crate::output::{self, OutputTable};
use crate::progress::ProgressReporter;
use crate::server;
use crate::standalone::Standalone;
use crate::usage_error::usage_error;

/// Show how far a time-series store is behind the counts, bring it up to date, or export everything again.
///
/// Counts can be exported for three days; older ones are available from the API only.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    mailgauge sink status --sink timestream --table mailgauge-Table\n  \
    INFLUX_TOKEN=... mailgauge sink export --sink influxdb --influx-url http://127.0.0.1:8086 \\\n    \
    --influx-org mail --influx-bucket mailgauge --data /var/lib/mailgauge")]
pub struct Options {
    #[command(flatten)]
    store: StoreOptions,

    /// The kind of time-series store
    #[arg(long, value_enum, env = "SINK", global = true)]
    sink: Option<SinkArgument>,

    #[command(subcommand)]
    command: SinkCommand,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SinkArgument {
    /// Amazon Timestream for LiveAnalytics
    Timestream,
    /// InfluxDB, including Amazon Timestream for InfluxDB
    Influxdb,
}

impl SinkArgument {
    const fn name(self) -> &'static str {
        match self {
            Self::Timestream => "timestream",
            Self::Influxdb => "influxdb",
        }
    }
}

#[derive(Debug, Subcommand)]
enum SinkCommand {
    /// Show how far the store is behind, by shard
    #[command(after_help = "Example:\n  mailgauge sink status --sink influxdb --format json")]
    Status,
    /// Start over: forget what was exported, so that the counts of the last three days are exported again
    #[command(after_help = "Example:\n  mailgauge sink rewind --sink influxdb --all")]
    Rewind {
        #[command(flatten)]
        shards: ShardSelection,
    },
    /// Export now what the store does not have yet. The environment variable INFLUX_TOKEN holds the token of InfluxDB
    #[command(after_help = "Example:\n  INFLUX_TOKEN=... mailgauge sink export --sink influxdb \
        --influx-url http://127.0.0.1:8181 --influx-api v3 --influx-bucket mailgauge")]
    Export(Box<SinkOptions>),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ShardSelection {
    /// One shard, by its id in the output of sink status
    #[arg(long, value_name = "ID", value_parser = shard)]
    shard: Option<ShardId>,

    /// Export all shards again
    #[arg(long)]
    all: bool,
}

/// Options that say where to export to, with the same environment variables as the functions.
#[derive(Debug, Args)]
struct SinkOptions {
    /// URL of the InfluxDB server
    #[arg(long, value_name = "URL", env = "INFLUX_URL")]
    influx_url: Option<String>,

    /// Version of InfluxDB's write API: v2 or v3 [default: v2]
    #[arg(long, value_name = "VERSION", env = "INFLUX_API")]
    influx_api: Option<String>,

    /// InfluxDB's organisation, for v2
    #[arg(long, value_name = "NAME", env = "INFLUX_ORG")]
    influx_org: Option<String>,

    /// InfluxDB's bucket, or its database with v3
    #[arg(long, value_name = "NAME", env = "INFLUX_BUCKET")]
    influx_bucket: Option<String>,

    /// Database of Timestream for LiveAnalytics
    #[arg(long, value_name = "NAME", env = "TIMESTREAM_DATABASE")]
    timestream_database: Option<String>,

    /// Table in that database
    #[arg(long, value_name = "NAME", env = "TIMESTREAM_TABLE")]
    timestream_table: Option<String>,
}

fn shard(name: &str) -> Result<ShardId, String> {
    ShardId::new(name).map_err(|error| error.to_string())
}

/// Opens the store and runs the chosen subcommand.
///
/// # Errors
/// No `--sink`, a store that cannot be opened, or a time-series store that fails.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let Some(kind) = options.sink else {
        return Err(usage_error("choose the time-series store with --sink timestream or --sink influxdb"));
    };
    let runtime = server::runtime()?;
    match &options.command {
        SinkCommand::Status => {
            let standalone = options.store.location.open(&runtime)?;
            runtime.block_on(status(&options.store, &standalone, kind.name()))
        }
        SinkCommand::Rewind { shards } => {
            let standalone = options.store.location.open(&runtime)?;
            let rewound =
                runtime.block_on(export::rewind(&standalone.store, kind.name(), shards.shard.as_ref()))?;
            output::print_status(&format!("the kept counts of {rewound} shards will be exported again"));
            Ok(())
        }
        SinkCommand::Export(export) => {
            let settings = export.settings(kind)?;
            let standalone = options.store.location.open(&runtime)?;
            runtime.block_on(export_all(&options.store, &standalone, settings))
        }
    }
}

impl SinkOptions {
    /// The settings, checked by the code that reads those of the functions: the options take the place of environment variables.
    fn settings(&self, kind: SinkArgument) -> anyhow::Result<SinkSettings> {
        let variables = [
            ("SINK", &Some(kind.name().to_owned())),
            ("INFLUX_URL", &self.influx_url),
            ("INFLUX_API", &self.influx_api),
            ("INFLUX_ORG", &self.influx_org),
            ("INFLUX_BUCKET", &self.influx_bucket),
            ("TIMESTREAM_DATABASE", &self.timestream_database),
            ("TIMESTREAM_TABLE", &self.timestream_table),
        ];
        let variables =
            variables.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)));
        // INFLUX_TOKEN is read from the environment only, since an option would be visible in the list of processes.
        let mut environment = Environment::of_process().with(variables);
        let settings = SinkSettings::read(&mut environment);
        match environment.finish(settings) {
            Ok(Some(settings)) => Ok(settings),
            Ok(None) => Err(usage_error("no time-series store is chosen")),
            Err(error) => Err(usage_error(error.mistakes().join("; "))),
        }
    }
}

async fn status(store: &StoreOptions, standalone: &Standalone, sink: &str) -> anyhow::Result<()> {
    let mut table = OutputTable::new(["shard", "exported", "done", "batches_behind", "oldest_behind"]);
    for backlog in export::backlog(&standalone.store, sink, MAX_BEHIND).await? {
        let number = |number: Option<event::SequenceNumber>| json!(number.map(|number| number.to_string()));
        table.push(vec![
            json!(backlog.shard.to_string()),
            number(backlog.exported),
            number(backlog.committed),
            json!(backlog.batches),
            json!(backlog.oldest.map(|at| at.to_string())),
        ]);
        if backlog.batches == MAX_BEHIND {
            output::print_status(&format!(
                "shard {}: {MAX_BEHIND} batches or more are behind",
                backlog.shard
            ));
        }
    }
    store.print(&table)
}

async fn export_all(
    store: &StoreOptions,
    standalone: &Standalone,
    settings: SinkSettings,
) -> anyhow::Result<()> {
    let sink = TimeSeriesSink::open(settings).await;
    let mut table = OutputTable::new(["shard", "batches", "points", "rejected", "expired", "left"]);
    let mut outcome = Ok(());
    let shards = checkpoint::read_all(&standalone.store).await?;
    let progress = ProgressReporter::new(Some(shards.len() as u64), "shards");
    for (shard, _) in shards {
        // A person waits for this command and can interrupt it, unlike a function that is stopped at its timeout.
        let no_deadline = Timestamp::from_millis(i64::MAX);
        match export::catch_up(&standalone.store, &sink, &shard, &SystemClock, no_deadline).await {
            Ok(exported) => {
                progress.inc(1);
                if let Some(reason) = &exported.reason {
                    progress.print_status(&format!(
                        "{} permanently rejected points of shard {shard}: {reason}",
                        sink.name()
                    ));
                }
                let export::ExportSummary { batches, points, rejected, expired, more, .. } = exported;
                let counts = [batches, points, rejected, expired].map(|count| json!(count));
                table.push(
                    [json!(shard.to_string())].into_iter().chain(counts).chain([json!(more)]).collect(),
                );
            }
            Err(error) => {
                outcome = Err(error).with_context(|| {
                    format!("shard {shard} was not exported completely; the same command continues there")
                });
                // The table shows what was exported before the failure.
                break;
            }
        }
    }
    progress.finish();
    store.print(&table)?;
    outcome
}
