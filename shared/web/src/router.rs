//! The routes, put together.

use std::sync::Arc;

use axum::Router;
use axum::http::Uri;
use axum::routing::{get, post};
use tokio::sync::Semaphore;

use crate::backend::Backend;
use crate::ingest::sns::fetch::Fetch;
use crate::ingest::sns::{self, Sns};
use crate::ingest::{eventbridge, firehose, ses};
use crate::limits::{Budget, INGEST_BUDGET_BYTES, QUERIES_AT_ONCE, REQUESTS_AT_ONCE};
use crate::problem::{Kind, Problem};
use crate::{dashboard, guard, routes};

/// What an operator decides.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// ARNs of the SNS topics whose messages are taken. Anybody may send a message that SNS signed, from a topic of their
    /// own, so what is not listed is refused.
    pub sns_topics: Vec<String>,
}

/// What handlers share.
pub(crate) struct Web<B> {
    pub(crate) backend: Arc<B>,
    pub(crate) budget: Budget,
    pub(crate) queries: Semaphore,
}

/// All routes over one backend.
///
/// For `/metrics` to be open on the loopback address, serve it with `into_make_service_with_connect_info::<SocketAddr>`.
pub fn router<B: Backend, F: Fetch>(backend: Arc<B>, fetch: F, settings: Settings) -> Router {
    let web = Arc::new(Web {
        backend,
        budget: Budget::new(INGEST_BUDGET_BYTES),
        queries: Semaphore::new(QUERIES_AT_ONCE),
    });
    let sns = Arc::new(Sns::new(Arc::clone(&web), fetch, settings.sns_topics));
    Router::new()
        .route("/v1/query", post(routes::query::post::<B>))
        .route("/v1/metrics", get(routes::query::get::<B>))
        .route("/v1/dimensions", get(routes::dimensions::list::<B>))
        .route("/v1/dimensions/{name}", get(routes::dimensions::values::<B>))
        .route("/v1/reconcile", get(routes::reconcile::reconcile::<B>))
        .route("/v1/tenants", get(routes::tenants::list::<B>))
        .route("/v1/whoami", get(routes::whoami::whoami::<B>))
        .route("/v1/ingest/ses", post(ses::ingest::<B>))
        .route("/v1/ingest/firehose", post(firehose::ingest::<B>))
        .route("/v1/ingest/eventbridge", post(eventbridge::ingest::<B>))
        .route("/healthz", get(routes::health::healthz))
        .route("/readyz", get(routes::health::readyz::<B>))
        .route("/metrics", get(routes::health::metrics::<B>))
        .with_state(web)
        .merge(Router::new().route("/v1/ingest/sns", post(sns::ingest::<B, F>)).with_state(sns))
        .merge(dashboard::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(Arc::new(Semaphore::new(REQUESTS_AT_ONCE)), guard::guard))
}

async fn not_found(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(100).collect();
    Problem::new(Kind::NotFound, format!("{path} not found; GET / is the dashboard, calls begin with /v1/"))
}

async fn method_not_allowed() -> Problem {
    Problem::new(Kind::MethodNotAllowed, "use a method that the header Allow names")
}
