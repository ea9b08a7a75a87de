//! The steps of an event's way, over ports: aggregate, compact, answer, reconcile.
//!
//! Async, but without I/O of its own: storage, clock and randomness come in as parameters, so that a simulation can
//! drive every step through every failure from one seed.

pub mod ports;
