//! The command line: one file per command, each with its options, help and work.
//!
//! Exit codes are part of the contract: 0 success, 1 failure, 2 wrong usage ([`UsageError`](crate::usage_error::UsageError)).

mod aggregate;
mod alerts;
mod attribution_options;
mod backtest;
mod backup;
mod change_rows;
mod config_file;
mod counts_table;
mod demo;
mod detect;
mod doctor;
mod ingest;
mod keys;
mod oidc;
mod quarantine;
mod rebuild;
mod reconcile;
mod rules;
mod serve;
mod simulate;
mod sink;
mod store_options;
mod tenants;
mod time_argument;
mod trends;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Real-time analytics for email programs that send through Amazon SES.
///
/// Every event is counted exactly once, per tenant, within seconds. Without a command, `mailgauge demo` runs.
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
    Backup(backup::Options),
    Sink(sink::Options),
    Rebuild(Box<rebuild::Options>),
}

/// Runs one command to its end.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command.unwrap_or_else(|| Command::Demo(demo::Options::default())) {
        // These two report failures in their output, and so choose the exit code themselves.
        Command::Aggregate(options) => return aggregate::run(&options),
        Command::Doctor(options) => return doctor::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Serve(options) => serve::run(*options),
        Command::Ingest(options) => ingest::run(&options),
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
        Command::Backup(options) => backup::run(&options),
        Command::Sink(options) => sink::run(&options),
        Command::Rebuild(options) => rebuild::run(&options),
    }
    .map(|()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// Every command and subcommand, as words.
    fn all_commands(command: &clap::Command, path: &[&str], found: &mut Vec<Vec<String>>) {
        found.push(path.iter().map(|&word| word.to_owned()).collect());
        for sub in command.get_subcommands() {
            all_commands(sub, &[path, &[sub.get_name()]].concat(), found);
        }
    }

    #[test]
    fn every_command_describes_itself_with_an_example() {
        let command = Arguments::command();
        command.clone().debug_assert();
        let mut commands = Vec::new();
        all_commands(&command, &[], &mut commands);
        assert!(commands.len() > 30, "{commands:?}");
        for words in commands {
            let arguments = ["mailgauge".to_owned()].into_iter().chain(words).chain(["--help".to_owned()]);
            let arguments: Vec<String> = arguments.collect();
            let help = Arguments::try_parse_from(&arguments).unwrap_err().to_string();
            assert!(help.contains("\nExample"), "{arguments:?} has no example:\n{help}");
            assert!(!help.starts_with("Usage:"), "{arguments:?} has no description:\n{help}");
        }
    }
}
