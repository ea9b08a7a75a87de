//! Turns bytes into [`EmailEvent`]s: the pure first stage that every event passes through.
//!
//! `decode` removes the layers an event arrives in, `normalise` turns SES's wire shapes into the one shape of [`event`],
//! `classify` finds out why mail bounced, `provider` who runs the recipient's mailbox, `machine` whether a person opened or
//! clicked, and `attribution` which tenant and dimensions an event belongs to. `link` names links without the parts that could reveal who clicked.
//! `recipient_hash` is the only place where addresses become hashes.
//!
//! ```text
//! bytes ▶ decode ▶ normalise (+ classify, machine) ▶ EmailEvent ▶ attribution (+ provider) ▶ cells
//!              └▶ ignored, with a reason          └▶ recipient_hash ▶ deduplication, unique counts
//!              └▶ unreadable, with a reason: quarantine
//! ```
//!
//! This crate does no I/O and knows no clock and no randomness: the same bytes and settings give the same result on any machine.

pub mod account_event;
pub mod attribution;
pub mod classify;
pub mod decode;
pub mod event;
pub mod invariant;
pub mod link;
pub mod machine;
pub mod provider;
pub mod recipient_hash;
pub mod units;

mod bit_set;
mod fragments;
mod json;
mod normalise;
mod outcome;
mod tags;

pub use account_event::{AccountEvent, SendingChange, SendingResource};
pub use decode::{BatchBudget, DecodeBudget, Decoded, Decoder, Ignored, IgnoredCounts, Unreadable};
pub use event::{
    Bounce, BounceClass, BounceType, EmailEvent, EventType, Interaction, Requester, Suppression,
};
pub use recipient_hash::{HashKey, IdentityHash, RecipientHash};
pub use tags::{TagList, Tags};
pub use units::{
    AlertScope, Day, Hour, InvalidName, InvalidTenant, Minute, SequenceNumber, ShardId, TenantId, Timestamp,
};
