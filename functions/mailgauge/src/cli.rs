//! The command line: one file per command, each with its options, its help and its work.

mod aggregate;
mod alerts;
mod backtest;
mod counts_table;
mod demo;
mod detect;
mod doctor;
mod folder;
mod ingest;
mod keys;
mod moment;
mod oidc;
mod quarantine;
mod reconcile;
mod rules;
mod serve;
mod settings;
mod simulate;
mod sink;
mod tags;
mod tenants;
mod trends;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Real-time analytics for email programs that send through Amazon SES.
///
/// Every event is counted once, per tenant, within seconds. Without a command, `mailgauge demo` runs.
#[derive(Debug, Parser)]
#[command(name = "mailgauge", version, max_term_width = 110)]
#[command(after_help = "Examples:\n  \
    mailgauge\n  \
    mailgauge serve --data /var/lib/mailgauge\n  \
    mailgauge aggregate archive/ --group-by tenant,day")]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Options),
    Serve(Box<serve::Options>),
    Aggregate(aggregate::Options),
    Ingest(ingest::Options),
    Simulate(simulate::Options),
    Backtest(backtest::Options),
    Detect(detect::Options),
    Trends(trends::Options),
    Alerts(alerts::Options),
    Rules(rules::Options),
    Reconcile(reconcile::Options),
    Quarantine(quarantine::Options),
    Tenants(tenants::Options),
    Keys(keys::Options),
    Doctor(doctor::Options),
    Sink(sink::Options),
}

/// The command line asks for what cannot be: exit code 2, as for what the parser of options refuses by itself.
#[derive(Debug, thiserror::Error)]
#[error("{0}; see --help")]
pub struct Usage(String);

impl Usage {
    /// An error that says what is wrong and what is allowed.
    pub fn error(message: impl Into<String>) -> anyhow::Error {
        Self(message.into()).into()
    }

    /// For what only a program with AWS in it can do: its client library takes minutes to build, so it is left out unless asked for.
    #[cfg(not(feature = "aws"))]
    pub fn without_aws(what: &str) -> anyhow::Error {
        Self::error(format!(
            "{what}: this program was built without AWS; build it with cargo build --release --features aws"
        ))
    }
}

/// Runs one command to its end.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command.unwrap_or_else(|| Command::Demo(demo::Options::default())) {
        Command::Demo(options) => demo::run(&options),
        Command::Serve(options) => serve::run(*options),
        Command::Ingest(options) => ingest::run(&options),
        Command::Aggregate(options) => return aggregate::run(&options),
        Command::Simulate(options) => simulate::run(&options),
        Command::Backtest(options) => backtest::run(&options),
        Command::Detect(options) => detect::run(&options),
        Command::Trends(options) => trends::run(&options),
        Command::Alerts(options) => alerts::run(&options),
        Command::Rules(options) => rules::run(&options),
        Command::Reconcile(options) => reconcile::run(&options),
        Command::Quarantine(options) => quarantine::run(&options),
        Command::Tenants(options) => tenants::run(&options),
        Command::Keys(options) => keys::run(&options),
        Command::Doctor(options) => return doctor::run(&options),
        Command::Sink(options) => sink::run(&options),
    }
    .map(|()| ExitCode::SUCCESS)
}
