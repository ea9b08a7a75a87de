//! The quantities and identifiers that everything else is made of, each with a type of its own so that they cannot be swapped.
//!
//! All of them are plain values: no clock is read here, no time zone is known, and nothing depends on the rest of the crate.

mod alert_scope;
mod names;
mod sequence;
mod time;

pub use alert_scope::AlertScope;
pub use names::{InvalidName, InvalidTenant, ShardId, TenantId};
pub use sequence::{InvalidSequenceNumber, SequenceNumber};
pub use time::{Day, Hour, Minute, Timestamp};

/// The part of a rejected text that an error shows: enough to recognise it, too little to flood a log.
fn excerpt(text: &str) -> String {
    text.chars().take(40).collect()
}
