//! Who may see and change what: tenants and their settings, API keys, attribution mappings, rules, the audit log, and erasure.

pub mod audit;
pub mod credentials;
pub mod erasure;
pub mod mappings;
pub mod rules;
pub mod tenants;
