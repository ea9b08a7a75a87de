//! The application behind the routes: who holds a key, what a query answers, how tenants, keys and rules are kept.
//!
//! One type serves both deployments, the API function and the local process. They differ only in the store, the clock and the
//! [`Intake`], so the same question gets the same answer in both. What is here combines several steps of the pipeline or decides
//! something; a route that needs a single step calls it with [`Service::store`] itself. Rights are checked before anything here is
//! called (`auth`), and everything that reads numbers takes the scope or the tenant it may read: nothing here looks beyond it.

mod audit;
mod callers;
mod error;
mod intake;
mod key_uses;
mod keys;
mod numbers;
mod proof;
mod rules;
mod tenants;

use std::num::NonZeroUsize;

use cells::query::MetricRegistry;
use event::Timestamp;
use pipeline::history::compaction;
use pipeline::ports::Clock;

use self::key_uses::KeyUses;

pub(crate) use callers::{Access, Caller};
pub use error::Unavailable;
pub(crate) use error::{During, Refusal};
pub use intake::{IngestError, Ingested, Intake};
pub(crate) use numbers::SeenValues;
pub use proof::{ReconciliationReport, proof};
pub(crate) use tenants::{TagNames, TenantDetails};

/// The application over a store, a clock and an intake.
#[derive(Debug)]
pub struct Service<S, C, I> {
    pub(crate) store: S,
    pub(crate) clock: C,
    pub(crate) intake: I,
    settings: ServiceSettings,
    /// The metrics that can be queried. Parsing, the catalogue and the API's description all read this one registry.
    pub(crate) metrics: MetricRegistry,
    key_uses: KeyUses,
}

/// What a deployment decides about the service.
#[derive(Clone, Debug)]
pub struct ServiceSettings {
    /// How long history is kept at which resolution.
    pub history: compaction::CompactionSettings,
    /// The deployment's names of the declared tags, `tag1` first; at most four. A tenant's own names come before them.
    pub declared_tags: Vec<String>,
    /// How many threads may compute one answer.
    pub threads: NonZeroUsize,
}

impl<S, C: Clock, I> Service<S, C, I> {
    /// Builds the application; nothing is read yet.
    pub fn new(store: S, clock: C, intake: I, settings: ServiceSettings) -> Self {
        let (metrics, key_uses) = (MetricRegistry::builtin(), KeyUses::default());
        Self { store, clock, intake, settings, metrics, key_uses }
    }

    /// How many threads may compute one answer.
    pub(crate) fn threads(&self) -> NonZeroUsize {
        self.settings.threads
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
