//! Events that arrive over HTTP: plain posts, SNS subscriptions, Firehose endpoints, EventBridge API destinations.
//!
//! Each file implements one sender's protocol and passes payloads on unchanged; the decoder, not this crate, reads events. A request
//! succeeds only after its batch is committed, so the sender retries whatever was lost.

pub(crate) mod eventbridge;
pub(crate) mod firehose;
pub(crate) mod ses;
pub(crate) mod sns;
