//! The API's calls, grouped into one file for each thing they are about.

pub(crate) mod alerts;
pub(crate) mod attribution;
pub(crate) mod audit;
pub(crate) mod catalogue;
pub(crate) mod dimensions;
pub(crate) mod health;
pub(crate) mod keys;
pub(crate) mod links;
pub(crate) mod look_back;
pub(crate) mod overview;
pub(crate) mod parameters;
pub(crate) mod platform_keys;
mod prometheus;
pub(crate) mod query;
pub(crate) mod reconcile;
mod reply_format;
pub(crate) mod rules;
pub(crate) mod tenants;
pub(crate) mod whoami;
