//! What must hold of the whole: the program's commands, counting under kill and redelivery, the way to a time-series store,
//! the dashboard in a browser, and the house rules of the source itself. One binary, so that it links once.

#![allow(
    unreachable_pub,
    reason = "a test binary has no outside; `pub` says what a module offers the others"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails, and tests are the edge"
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
mod sinks;
mod support;
mod tidy;
mod tls;
