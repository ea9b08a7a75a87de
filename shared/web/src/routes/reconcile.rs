//! `GET /v1/reconcile?from=&to=`: the proof of counting.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::parameters::{Parameters, invalid};
use crate::auth::Reader;
use crate::backend::{Backend, Reconciliation};
use crate::problem::Problem;
use crate::router::Web;

/// `GET /v1/reconcile`.
pub(crate) async fn reconcile<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    reader: Reader,
    mut parameters: Parameters,
) -> Result<Json<Reconciliation>, Problem> {
    let now = web.backend.now();
    let missing = |name| invalid(name, "is missing").allowed("RFC 3339, now, or such as -7d").example("-7d");
    let from = parameters.take_moment("from", now)?.ok_or_else(|| missing("from"))?;
    let to = parameters.take_moment("to", now)?.unwrap_or(now);
    parameters.finish("from, to")?;
    if from >= to {
        return Err(invalid("to", "is not after from").allowed("a time after from").example("now"));
    }
    Ok(Json(web.backend.reconcile(&reader.scope, from, to).await?))
}
