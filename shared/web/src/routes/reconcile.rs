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
    let from = parameters.take_time("from")?;
    let to = parameters.take_time("to")?;
    parameters.finish("from, to")?;
    if from >= to {
        return Err(invalid("to", "is not after from")
            .allowed("a time after from")
            .example("2026-02-01T00:00:00Z"));
    }
    Ok(Json(web.backend.reconcile(&reader.scope, from, to).await?))
}
