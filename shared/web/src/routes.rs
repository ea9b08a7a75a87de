//! One file per call, or per thing that calls are about.

pub(crate) mod alerts;
pub(crate) mod attribution;
pub(crate) mod audit;
pub(crate) mod catalogue;
pub(crate) mod dimensions;
pub(crate) mod forms;
pub(crate) mod health;
pub(crate) mod look_back;
pub(crate) mod overview;
pub(crate) mod parameters;
pub(crate) mod query;
pub(crate) mod reconcile;
pub(crate) mod rules;
pub(crate) mod tenants;
pub(crate) mod whoami;
