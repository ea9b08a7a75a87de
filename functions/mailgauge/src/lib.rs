//! `mailgauge`: every step in one process, and the command line.
//!
//! A library with one function, since only a library's tests can switch its features on: `cargo test` builds the way to AWS too.

#![allow(clippy::doc_markdown, reason = "doc comments of options are the help that people read")]
#![allow(unreachable_pub, reason = "a program has no outside; `pub` says what a module offers the others")]

mod alert_routes;
mod cli;
mod inbox;
mod input;
mod offline;
mod output;
mod progress;
mod server;
mod standalone;
mod watcher;

use std::process::ExitCode;

use clap::Parser as _;

/// As the parser of the command line exits too.
const WRONG_USAGE: u8 = 2;

/// The program, from the command line to its exit code.
pub fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    match cli::run(arguments) {
        Ok(code) => code,
        Err(error) => {
            output::report(&error);
            if error.is::<cli::Usage>() { ExitCode::from(WRONG_USAGE) } else { ExitCode::FAILURE }
        }
    }
}
