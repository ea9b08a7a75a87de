//! Events that come over HTTP: plain posts, SNS subscriptions, Firehose endpoints, EventBridge API destinations.
//!
//! Each file speaks one sender's protocol and hands payloads on as they came; the decoder, not this crate, reads events.
//! A reply says "done" only after the batch is committed, so what is lost on the way is sent again.

pub(crate) mod eventbridge;
pub(crate) mod firehose;
pub(crate) mod ses;
pub(crate) mod sns;
