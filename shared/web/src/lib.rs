//! The HTTP API and the dashboard: one router and one [`Service`] for the local process and the API function.
//!
//! A handler parses the request, identifies the caller, calls the service or a step of the pipeline, and writes the reply. Nothing here
//! counts events, and nothing opens a socket except [`HttpsFetch`], which gets certificates and the keys of token issuers.

#![allow(
    clippy::disallowed_methods,
    reason = "the router draws keys and request ids, and its tests read files and open sockets"
)]

mod auth;
mod cors;
mod dashboard;
mod fetch;
mod guard;
mod ingest;
mod limits;
mod openapi;
mod operations;
mod problem;
mod query_slots;
mod rate_limit;
mod router;
mod routes;
mod service;
mod session;
mod sign_in;
#[cfg(test)]
mod tests;
mod tokens;

pub use cors::{InvalidOrigin, Origin};
pub use fetch::{Fetch, FetchError, HttpsFetch};
pub use ingest::sns::url::{CertificateUrl, SubscribeUrl};
pub use query_slots::concurrent_queries;
pub use router::{RouterSettings, router};
pub use service::{
    IngestError, Ingested, Intake, ReconciliationReport, Service, ServiceSettings, Unavailable, proof,
};
pub use tokens::{InvalidIssuer, Issuer, IssuerUrl};
