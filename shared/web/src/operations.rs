//! All operations of the API: path, handler, and the description in `/openapi.json`, in one place for each group.

mod administration;
mod alerts;
mod ingestion;
mod metrics;
mod process;

use std::sync::Arc;

use pipeline::ports::{Clock, Store};
use serde_json::{Value, json};

use crate::fetch::Fetch;
use crate::ingest::sns::Sns;
use crate::openapi::ApiBuilder;
use crate::router::Shared;
use crate::service::Intake;

/// Every operation, in the order of the document.
pub(crate) fn all<S: Store, C: Clock, I: Intake, F: Fetch>(
    sns: Arc<Sns<S, C, I, F>>,
) -> ApiBuilder<Shared<S, C, I>> {
    let api = metrics::add::<S, C, I>(ApiBuilder::new());
    let api = alerts::add::<S, C, I>(api);
    let api = administration::add::<S, C, I>(api);
    let api = ingestion::add(api, sns);
    process::add::<S, C, I>(api)
}

/// A whole number in a range. `default` applies if the parameter is left out.
fn number(range: std::ops::RangeInclusive<usize>, default: Option<usize>) -> Value {
    let mut schema = json!({ "type": "integer", "minimum": range.start(), "maximum": range.end() });
    if let Some(default) = default {
        schema["default"] = default.into();
    }
    schema
}

/// A time: RFC 3339, a date, `now`, or relative to now.
fn time(example: &str) -> Value {
    json!({ "type": "string", "example": example })
}

fn text() -> Value {
    json!({ "type": "string" })
}
