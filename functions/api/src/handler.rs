//! One invocation: an HTTP request, or a request for an API key by direct invocation.

use std::num::NonZeroUsize;
use std::sync::Arc;

use adapters::system_clock::SystemClock;
use axum::Router;
use lambda_http::Adapter;
use lambda_http::request::LambdaRequest;
use lambda_runtime::{Context, Error, LambdaEvent};
use pipeline::history::compaction;
use pipeline::ports::Store;
use serde_json::value::{RawValue, to_raw_value};
use tower::Service as _;
use web::{HttpsFetch, RouterSettings, Service, ServiceSettings};

use crate::first_key::KeyRequest;
use crate::intake::StreamOnly;

/// The state that invocations share.
pub struct Handler<S> {
    store: Arc<S>,
    router: Router,
}

impl<S: Store> Handler<S> {
    /// Builds the router once, at cold start.
    pub fn new(store: S, declared_tags: Vec<String>, settings: RouterSettings) -> Self {
        let store = Arc::new(store);
        let history = compaction::CompactionSettings::default();
        // Lambda gives this function one core.
        let threads = NonZeroUsize::MIN;
        let service_settings = ServiceSettings { history, declared_tags, threads };
        let service = Service::new(Arc::clone(&store), SystemClock, StreamOnly, service_settings);
        let router = web::router(Arc::new(service), HttpsFetch::default(), settings);
        Self { store, router }
    }

    /// Answers an invocation.
    ///
    /// # Errors
    /// If the request for a key cannot be read or the key cannot be made, or if the event is not an HTTP request of API Gateway. Errors
    /// of HTTP requests are in their responses.
    pub async fn handle(&self, payload: &str, context: Context) -> Result<Box<RawValue>, Error> {
        // API Gateway's events have no field `make_key`, so an HTTP client cannot reach this.
        if let Some(request) = KeyRequest::parse(payload)? {
            return Ok(to_raw_value(&request.make(&*self.store).await?)?);
        }
        let request: LambdaRequest = serde_json::from_str(payload)?;
        let response = Adapter::from(self.router.clone()).call(LambdaEvent::new(request, context)).await?;
        Ok(to_raw_value(&response)?)
    }
}

#[cfg(test)]
mod tests {
    use pipeline::memory::MemoryStore;
    use serde_json::Value;

    use super::*;

    const MAKE_KEY: &str = include_str!("../../../events/api-make-key.json");
    const QUERY: &str = include_str!("../../../events/api-query.json");

    async fn answer(handler: &Handler<MemoryStore>, payload: &str) -> Value {
        let answer = handler.handle(payload, Context::default()).await.unwrap();
        serde_json::from_str(answer.get()).unwrap()
    }

    #[tokio::test]
    async fn request_with_the_key_just_made_is_answered_and_one_without_is_refused() {
        let handler = Handler::new(MemoryStore::new(), Vec::new(), RouterSettings::default());
        let refused = answer(&handler, QUERY).await;
        assert_eq!(refused["statusCode"], 401, "{refused}");
        let key = answer(&handler, MAKE_KEY).await["key"].as_str().unwrap().to_owned();
        let reply = answer(&handler, &QUERY.replace("mg_replace-this-key", &key)).await;
        assert_eq!(reply["statusCode"], 200, "{reply}");
        let body: Value = serde_json::from_str(reply["body"].as_str().unwrap()).unwrap();
        assert_eq!(body["rows"], Value::Array(Vec::new()), "{body}");
    }

    #[tokio::test]
    async fn payload_that_is_no_request_is_an_error() {
        let handler = Handler::new(MemoryStore::new(), Vec::new(), RouterSettings::default());
        for payload in ["{}", "[]", r#"{"make_key":{"name":"n"}}"#] {
            assert!(handler.handle(payload, Context::default()).await.is_err(), "{payload}");
        }
    }
}
