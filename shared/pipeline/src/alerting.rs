//! Detection over stored counts: each minute is evaluated once, and each change of an alert is stored in the alert registry and notified once.

pub mod detection_run;
pub mod queue_depth;
pub mod registry;

#[cfg(test)]
mod tests;
