//! `mailgauge`: the command line, and the local process that runs every step of the system on an embedded store.
//!
//! A library with one function, because `cargo test` can enable features only for libraries: the end-to-end tests need `aws`, and a
//! newcomer's `cargo run` must not spend minutes on AWS's client library. No step lives here; the crates below do the work.

#![allow(
    clippy::disallowed_methods,
    reason = "the program is the edge: it reads files, waits, and serves on sockets"
)]
#![allow(clippy::doc_markdown, reason = "doc comments of options are the help that people read")]
#![allow(unreachable_pub, reason = "`pub` marks what a module offers to the others of this program")]

mod alert_channels;
mod cli;
mod connections;
mod detection_loop;
mod inbox;
mod input;
mod offline;
mod output;
mod progress;
mod server;
mod standalone;
mod usage_error;

use std::process::ExitCode;

use clap::Parser as _;

/// Exit code of wrong usage, the same as clap's for arguments that it refuses.
const WRONG_USAGE: u8 = 2;

/// Runs the program on the arguments of the process: exit code 0 for success, 1 for a failure, 2 for wrong usage.
pub fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    match cli::run(arguments) {
        Ok(code) => code,
        Err(error) => {
            output::print_error(&error);
            if error.is::<usage_error::UsageError>() {
                ExitCode::from(WRONG_USAGE)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}
