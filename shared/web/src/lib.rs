//! The HTTP API and the dashboard: one router for both homes, the standalone server and the API function.
//!
//! A handler takes a request apart, learns who asks, calls the [`Backend`] and puts the answer together. Nothing here
//! knows a store or counts anything, and nothing here opens a socket but the fetcher of certificates and keys.

mod auth;
mod backend;
mod calls;
mod cors;
mod dashboard;
mod fetch;
mod guard;
pub mod home;
mod ingest;
mod limits;
mod openapi;
mod problem;
mod rate_limit;
mod router;
mod routes;
mod session;
mod sign_in;
#[cfg(test)]
mod tests;
mod tokens;

pub use backend::{
    Access, Backend, Caller, IngestError, Ingested, NotReady, Reconciliation, Refusal, Tenant, Unavailable,
    Values,
};
pub use cors::{InvalidOrigin, Origin};
pub use fetch::{Fetch, FetchError, HttpsFetch};
pub use ingest::sns::url::{CertificateUrl, SubscribeUrl};
pub use router::{Settings, router};
pub use tokens::{InvalidIssuer, Issuer, IssuerUrl};
