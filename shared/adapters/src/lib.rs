//! The outside world behind the ports: the only crate of ours that touches files, clocks and networks. One file per thing.

#[cfg(feature = "aws")]
pub mod aws;
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
