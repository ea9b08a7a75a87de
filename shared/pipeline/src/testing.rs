//! What tests of this crate and of the stores behind its ports need: a contract, faults, a simulation. Feature `testing`.

pub mod contract;
pub mod counting;
pub mod simulation;
