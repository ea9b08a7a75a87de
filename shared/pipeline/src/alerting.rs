//! Detection over stored counts: each minute is evaluated once, and each change of an alert is stored and notified once.

pub mod detection_run;
pub mod queues;
pub mod registry;
