//! Tools for tests of this crate and of the stores behind its ports: a contract suite, a way to count events, a simulation.
//! Feature `testing`.

#[cfg(test)]
pub(crate) mod contended;
pub mod contract;
pub mod counting;
#[cfg(test)]
pub(crate) mod faulty;
#[cfg(test)]
pub(crate) mod samples;
pub mod simulation;
