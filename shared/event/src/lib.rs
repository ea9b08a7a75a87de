//! Bytes to [`EmailEvent`]: the pure front of the way of an event.
//!
//! `decode` peels the layers an event arrives in, `normalise` turns SES's wire shapes into the one shape of
//! [`event`], `classify` names why mail bounced, `provider` whose mailbox it was for, `machine` whether a
//! person opened it, and `attribution` whose mail it is. No I/O, no clock, no randomness: the same bytes and
//! the same settings give the same answer on any machine.

pub mod attribution;
pub mod classify;
pub mod decode;
pub mod event;
pub mod invariant;
pub mod machine;
pub mod provider;
pub mod units;

mod fragments;
mod json;
mod normalise;
mod tags;

pub use decode::{Decoded, Decoder, Ignored, Unreadable};
pub use event::{Bounce, BounceType, EmailEvent, EventKind, Interaction, Reason, Suppression, Verdict};
pub use tags::{TagList, Tags};
pub use units::{
    Day, HashKey, Hour, IdentityHash, InvalidName, InvalidTenant, Minute, RecipientHash, SequenceNumber,
    ShardId, TenantId, Timestamp,
};
