//! What operators administer: tenants and their settings, API keys, attribution mappings, what is
//! learned about mailbox providers, detection rules, the audit log, and erasure.
//!
//! Everything here is stored by the [`crate::layout`] of the directory, one small record per item. The directory must not depend on
//! what is counted, evaluated or exported: the ledger, history, alerting and export depend on it.

pub(crate) mod alert_index;
pub mod alert_rules;
pub mod api_keys;
pub mod audit;
pub mod erasure;
pub mod learned_providers;
pub mod mappings;
pub mod queue_url;
pub mod tenants;
