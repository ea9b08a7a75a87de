//! End-to-end tests of the real programs: commands, counting under kills and redelivery, export to a time-series store, the deployed
//! stack on a local AWS, the dashboard in a browser, and the rules that the source itself must follow.
//!
//! One test binary, so that it is linked once.

#![allow(unreachable_pub, reason = "`pub` marks what a module offers to the others of this test binary")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test that cannot continue must fail, and tests may print, read the clock and the environment"
)]

mod administration;
mod api;
mod commands;
mod counted_once;
mod dashboard;
mod demo;
mod deployed;
#[cfg(target_os = "linux")]
mod full_disk;
mod hostile;
mod ingest;
mod privacy;
mod python;
mod readme;
mod rebuild;
mod sinks;
mod support;
mod tidy;
mod tls;
