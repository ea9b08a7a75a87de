//! `GET /v1/reconcile?from=&to=`: the proof of counting.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use pipeline::ports::{Clock, Store};

use super::parameters::{QueryParameters, invalid};
use crate::auth::Reader;
use crate::problem::Problem;
use crate::router::Shared;
use crate::service::{During as _, Intake, ReconciliationReport, proof};

/// Compares events read with events counted over the whole hours between `from` and `to`.
pub(crate) async fn reconcile<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    reader: Reader,
    mut parameters: QueryParameters,
) -> Result<Json<ReconciliationReport>, Problem> {
    let now = web.service.now();
    let missing =
        || invalid("from", "is missing").allowed("RFC 3339, now, or a time ago such as -7d").example("-7d");
    let from = parameters.take_time("from", now)?.ok_or_else(missing)?;
    let to = parameters.take_time("to", now)?.unwrap_or(now);
    parameters.finish("from, to")?;
    if from >= to {
        return Err(invalid("to", "is not after from").allowed("a time after from").example("now"));
    }
    let (service, scope) = (Arc::clone(&web.service), reader.scope.clone());
    let proof = async move { proof(&service.store, &scope, from, to).await.during("reconciling") };
    Ok(Json(web.within_time(&reader, proof, "no answer in time; ask for a shorter range").await?))
}
