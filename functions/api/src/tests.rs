//! The whole API over a store in memory, with real counts, as the function serves it.

mod isolation;
mod sums;
mod tenant_role;

use std::num::NonZeroUsize;
use std::sync::Arc;

use pipeline::history::compaction;
use pipeline::memory::MemoryStore;
use pipeline::ports::Clock;
use web::{Service, ServiceSettings};

use crate::intake::StreamOnly;

/// The service as the function builds it, with a clock of the test's choice.
fn service<C: Clock>(store: Arc<MemoryStore>, clock: C) -> Service<Arc<MemoryStore>, C, StreamOnly> {
    let history = compaction::CompactionSettings::default();
    let settings = ServiceSettings { history, declared_tags: Vec::new(), threads: NonZeroUsize::MIN };
    Service::new(store, clock, StreamOnly, settings)
}
