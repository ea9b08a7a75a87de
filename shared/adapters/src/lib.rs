//! The outside world behind the ports: the only crate of ours that touches files, clocks and networks. One file per thing.

#[cfg(feature = "aws")]
pub mod aws;
pub mod embedded;
pub mod environment;
pub mod randomness;
pub mod seal;
pub mod secrets;
pub mod system_clock;
