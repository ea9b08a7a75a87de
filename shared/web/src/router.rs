//! The routes, put together.

use std::sync::Arc;

use axum::Router;
use axum::http::Uri;
use tokio::sync::{Semaphore, SemaphorePermit};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;

use crate::backend::Backend;
use crate::cors::{self, Origin};
use crate::fetch::Fetch;
use crate::guard::Guard;
use crate::ingest::sns::Sns;
use crate::limits::{
    Budget, INGEST_BUDGET_BYTES, QUERIES_AT_ONCE, QUERY_TIME, REQUESTS_AT_ONCE, REQUESTS_PER_SECOND,
};
use crate::problem::{Kind, Problem};
use crate::rate_limit::RateLimits;
use crate::tokens::{GetDocument, Issuer, IssuerUrl, Keys};
use crate::{calls, dashboard, guard, session, sign_in};

/// Less fits into one packet anyway.
const LEAST_COMPRESSED_BYTES: u64 = 1024;

/// What an operator decides.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// ARNs of the SNS topics whose messages are taken. Anybody may send a message that SNS signed, from a topic of their
    /// own, so what is not listed is refused.
    pub sns_topics: Vec<String>,
    /// How often each key may ask, over some seconds; a number that only a flood reaches if absent.
    pub requests_per_second: Option<u32>,
    /// Whose tokens are taken in place of API keys.
    pub issuer: Option<Issuer>,
    /// Pages of other hosts that may call the API.
    pub origins: Vec<Origin>,
}

/// What handlers share.
pub(crate) struct Web<B> {
    pub(crate) backend: Arc<B>,
    pub(crate) budget: Budget,
    pub(crate) queries: Semaphore,
    pub(crate) tokens: Option<(Issuer, Keys)>,
}

impl<B> Web<B> {
    /// Answers a question if there is room for it, within the time there is for one; a problem says so in `late`.
    pub(crate) async fn within<T, E>(
        &self,
        question: impl Future<Output = Result<T, E>>,
        late: impl Into<String>,
    ) -> Result<T, Problem>
    where
        Problem: From<E>,
    {
        let _slot = self.slot()?;
        let answer = tokio::time::timeout(QUERY_TIME, question).await.map_err(|_| {
            tracing::warn!(limit_s = QUERY_TIME.as_secs(), "a question was given up");
            Problem::new(Kind::TimedOut, late)
        })?;
        Ok(answer?)
    }

    /// Room for one question; it is free again when what is given here is dropped.
    fn slot(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.queries.try_acquire().map_err(|_| {
            Problem::new(Kind::TooManyRequests, "too many queries at once; ask again in 1 s").retry_after(1)
        })
    }
}

/// All routes over one backend.
///
/// For `/metrics` to be open on the loopback address, serve it with `into_make_service_with_connect_info::<SocketAddr>`.
pub fn router<B: Backend, F: Fetch + Clone>(backend: Arc<B>, fetch: F, settings: Settings) -> Router {
    let documents = fetch.clone();
    let get: GetDocument = Arc::new(move |url: IssuerUrl, form: Option<String>| {
        let fetch = documents.clone();
        Box::pin(async move { fetch.document(&url, form).await })
    });
    let tokens = settings.issuer.map(|issuer| {
        let keys = Keys::new(issuer.url.clone(), get);
        (issuer, keys)
    });
    let web = Arc::new(Web {
        backend,
        budget: Budget::new(INGEST_BUDGET_BYTES),
        queries: Semaphore::new(QUERIES_AT_ONCE),
        tokens,
    });
    let guard = Guard {
        slots: Semaphore::new(REQUESTS_AT_ONCE),
        rate_limits: RateLimits::new(settings.requests_per_second.unwrap_or(REQUESTS_PER_SECOND)),
    };
    let sns = Arc::new(Sns::new(Arc::clone(&web), fetch, settings.sns_topics));
    let (calls, document) = calls::all(sns).finish();
    let routes = calls
        .with_state(Arc::clone(&web))
        .merge(session::routes(Arc::clone(&web)))
        .merge(sign_in::routes(web))
        .merge(dashboard::routes(document))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CompressionLayer::new().compress_when(SizeAbove::new(LEAST_COMPRESSED_BYTES)));
    let routes = match cors::layer(settings.origins) {
        Some(cors) => routes.layer(cors),
        None => routes,
    };
    routes.layer(axum::middleware::from_fn_with_state(Arc::new(guard), guard::guard))
}

async fn not_found(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(100).collect();
    Problem::new(Kind::NotFound, format!("{path} not found; GET / is the dashboard, calls begin with /v1/"))
}

async fn method_not_allowed() -> Problem {
    Problem::new(Kind::MethodNotAllowed, "use a method that the header Allow names")
}
