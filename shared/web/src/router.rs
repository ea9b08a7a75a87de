//! The router: all routes, what their handlers share, and the layers around them.

use std::sync::Arc;

use axum::Router;
use axum::http::Uri;
use pipeline::ports::{Clock, Store};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;

use crate::auth::Reader;
use crate::cors::{self, Origin};
use crate::fetch::Fetch;
use crate::guard::{Guard, Slots};
use crate::ingest::sns::Sns;
use crate::limits::{Budget, INGEST_BUDGET_BYTES, QUERY_TIME, REQUESTS_PER_SECOND};
use crate::problem::{Problem, ProblemType};
use crate::query_slots::QuerySlots;
use crate::rate_limit::RateLimits;
use crate::service::{Intake, Service};
use crate::tokens::{GetDocument, Issuer, IssuerKeys, IssuerUrl};
use crate::{dashboard, guard, operations, session, sign_in};

/// A smaller reply fits into one packet anyway.
const MIN_COMPRESSED_BYTES: u64 = 1024;
/// How much of an unknown path is repeated to the client, in characters.
const MAX_PATH_CHARS: usize = 100;

/// What an operator decides about the router.
#[derive(Clone, Debug, Default)]
pub struct RouterSettings {
    /// ARNs of the SNS topics whose messages are accepted. Anybody can send a message that SNS signed from a topic of their own, so
    /// messages of other topics are refused.
    pub sns_topics: Vec<String>,
    /// How many requests per second each key may make, averaged over some seconds. By default a number that no dashboard reaches.
    pub requests_per_second: Option<u32>,
    /// The identity provider whose tokens are accepted besides API keys.
    pub issuer: Option<Issuer>,
    /// Origins of pages on other hosts that may call the API.
    pub origins: Vec<Origin>,
    /// The threads that compute answers; by default those that serve requests. A query blocks its thread while it computes.
    pub query_threads: Option<Handle>,
}

/// What all handlers share: the service, and limits on memory and on concurrent queries.
pub(crate) struct Web<S, C, I> {
    pub(crate) service: Arc<Service<S, C, I>>,
    pub(crate) budget: Budget,
    pub(crate) queries: QuerySlots,
    query_threads: Option<Handle>,
    pub(crate) tokens: Option<(Issuer, IssuerKeys)>,
}

/// The state of every route.
pub(crate) type Shared<S, C, I> = Arc<Web<S, C, I>>;

impl<S, C, I> Web<S, C, I> {
    /// Runs a query of `reader` once it has a slot, within the time limit, and away from the threads that serve requests. `late` is the
    /// problem's detail if time runs out.
    pub(crate) async fn within_time<T, E>(
        &self,
        reader: &Reader,
        answer: impl Future<Output = Result<T, E>> + Send + 'static,
        late: impl Into<String>,
    ) -> Result<T, Problem>
    where
        T: Send + 'static,
        E: Send + 'static,
        Problem: From<E>,
    {
        let slot = self.queries.acquire(reader).await?;
        let answer = async move {
            let answer = answer.await;
            // Held until the query has ended, which is later than its time limit if it is computing.
            drop(slot);
            answer
        };
        // A set cancels its task when it is dropped, as it is when the client disconnects.
        let mut task = JoinSet::new();
        match &self.query_threads {
            Some(threads) => task.spawn_on(answer, threads),
            None => task.spawn(answer),
        };
        match tokio::time::timeout(QUERY_TIME, task.join_next()).await {
            Ok(Some(Ok(answer))) => Ok(answer?),
            Ok(Some(Err(_)) | None) => {
                tracing::error!("a query failed; its panic is in the log");
                Err(Problem::new(ProblemType::Unavailable, "the query failed; ask again").retry_after(1))
            }
            Err(_) => {
                tracing::warn!(
                    limit_s = QUERY_TIME.as_secs(),
                    "a query was cancelled because it took too long"
                );
                Err(Problem::new(ProblemType::TimedOut, late))
            }
        }
    }
}

/// All routes over one service.
///
/// For `/metrics` to be open on the loopback address, serve it with `into_make_service_with_connect_info::<SocketAddr>`.
pub fn router<S: Store, C: Clock, I: Intake, F: Fetch + Clone>(
    service: Arc<Service<S, C, I>>,
    fetch: F,
    settings: RouterSettings,
) -> Router {
    let documents = fetch.clone();
    let get: GetDocument = Arc::new(move |url: IssuerUrl, form: Option<String>| {
        let fetch = documents.clone();
        Box::pin(async move { fetch.document(&url, form).await })
    });
    let tokens = settings.issuer.map(|issuer| {
        let keys = IssuerKeys::new(issuer.url.clone(), get);
        (issuer, keys)
    });
    let web = Arc::new(Web {
        queries: QuerySlots::new(service.threads()),
        query_threads: settings.query_threads,
        service,
        budget: Budget::new(INGEST_BUDGET_BYTES),
        tokens,
    });
    let guard = Guard {
        slots: Slots::new(),
        rate_limits: RateLimits::new(settings.requests_per_second.unwrap_or(REQUESTS_PER_SECOND)),
    };
    let sns = Arc::new(Sns::new(Arc::clone(&web), fetch, settings.sns_topics));
    let metrics = web.service.metrics.clone();
    let (routes, document) = operations::all(sns).finish(&metrics);
    let routes = routes
        .with_state(Arc::clone(&web))
        .merge(session::routes(Arc::clone(&web)))
        .merge(sign_in::routes(web))
        .merge(dashboard::routes(document))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CompressionLayer::new().compress_when(SizeAbove::new(MIN_COMPRESSED_BYTES)));
    let routes = match cors::layer(settings.origins) {
        Some(cors) => routes.layer(cors),
        None => routes,
    };
    // Outermost, so that a request over a limit costs next to nothing.
    routes.layer(axum::middleware::from_fn_with_state(Arc::new(guard), guard::guard))
}

async fn not_found(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(MAX_PATH_CHARS).collect();
    let detail = format!("{path} not found; the dashboard is at /, and paths of the API begin with /v1/");
    Problem::new(ProblemType::NotFound, detail)
}

async fn method_not_allowed() -> Problem {
    Problem::new(ProblemType::MethodNotAllowed, "use one of the methods in the header Allow")
}
