//! One invocation: an HTTP request through the router, or the wish for a key.

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
use web::home::{Home, Uses};
use web::{HttpsFetch, Settings};

use crate::first_key;
use crate::intake::Stream;

/// What invocations share.
pub struct Handler<S> {
    store: Arc<S>,
    router: Router,
}

impl<S: Store> Handler<S> {
    /// Over a store, with these declared tags and settings of the router.
    pub fn new(store: S, tags: Vec<String>, settings: Settings) -> Self {
        let store = Arc::new(store);
        let history = compaction::Settings::default();
        // Lambda gives this function one core.
        let threads = NonZeroUsize::MIN;
        let home = Home {
            store: Arc::clone(&store),
            clock: SystemClock,
            history,
            tags,
            intake: Stream,
            threads,
            uses: Uses::default(),
        };
        let router = web::router(Arc::new(home), HttpsFetch::default(), settings);
        Self { store, router }
    }

    /// Answers an invocation. What is wrong with an HTTP request is in its response; an error is the platform's, or a wish for a key
    /// that cannot be read.
    pub async fn handle(&self, payload: &str, context: Context) -> Result<Box<RawValue>, Error> {
        if let Some(wanted) = first_key::asked_for(payload)? {
            return Ok(to_raw_value(&first_key::make(&*self.store, wanted).await?)?);
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
    async fn a_request_with_the_key_just_made_is_answered_and_no_other() {
        let handler = Handler::new(MemoryStore::new(), Vec::new(), Settings::default());
        let refused = answer(&handler, QUERY).await;
        assert_eq!(refused["statusCode"], 401, "{refused}");
        let key = answer(&handler, MAKE_KEY).await["key"].as_str().unwrap().to_owned();
        let reply = answer(&handler, &QUERY.replace("mg_replace-this-key", &key)).await;
        assert_eq!(reply["statusCode"], 200, "{reply}");
        let body: Value = serde_json::from_str(reply["body"].as_str().unwrap()).unwrap();
        assert_eq!(body["rows"], Value::Array(Vec::new()), "{body}");
    }

    #[tokio::test]
    async fn what_is_neither_request_nor_wish_is_an_error() {
        let handler = Handler::new(MemoryStore::new(), Vec::new(), Settings::default());
        for payload in ["{}", "[]", r#"{"make_key":{"name":"n"}}"#] {
            assert!(handler.handle(payload, Context::default()).await.is_err(), "{payload}");
        }
    }
}
