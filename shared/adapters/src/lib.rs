//! The outside world behind the ports of `pipeline`: stores, streams, topics, time-series databases, clock and random numbers.
//!
//! This is the only crate of the data flow that touches files, clocks and networks. One file per outside thing; application logic has no
//! place here.

#![allow(
    clippy::disallowed_methods,
    reason = "this crate is the edge: it touches files, clocks, networks and random numbers for all others"
)]

#[cfg(feature = "aws")]
pub mod aws;
pub mod backoff;
#[cfg(feature = "channels")]
pub mod email;
pub mod embedded;
pub mod environment;
#[cfg(feature = "influx")]
pub mod influx;
pub mod randomness;
pub mod seal;
pub mod secrets;
#[cfg(feature = "influx")]
pub mod sink;
pub mod system_clock;
#[cfg(feature = "channels")]
pub mod webhook;
