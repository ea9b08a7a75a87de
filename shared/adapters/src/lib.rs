//! The outside world behind the ports: the only crate of ours that touches files, clocks and networks. One file per thing.

pub mod embedded;
pub mod seal;
pub mod system_clock;
