//! The operations for load balancers and monitoring: health, readiness and the process's own metrics.

use axum::http::Method;
use pipeline::ports::{Clock, Store};

use crate::openapi::{ApiBuilder, Callers, Operation, OperationGroup};
use crate::router::Shared;
use crate::routes::health;
use crate::service::Intake;

const HEALTH: OperationGroup = OperationGroup {
    name: "Health",
    description: "The state of the process, for load balancers and monitoring.",
};

/// Adds the operations of the group.
pub(super) fn add<S: Store, C: Clock, I: Intake>(
    api: ApiBuilder<Shared<S, C, I>>,
) -> ApiBuilder<Shared<S, C, I>> {
    api.add(
        &Method::GET,
        "/healthz",
        health::healthz,
        Operation::text(HEALTH, "getHealth", "Check that the process runs").callers(Callers::Everybody),
    )
    .add(
        &Method::GET,
        "/readyz",
        health::readyz::<S, C, I>,
        Operation::text(HEALTH, "getReadiness", "Check that the process can store events and answer queries")
            .description("If it cannot, the status is 503 and the problem details give the reason.")
            .callers(Callers::Everybody),
    )
    .add(
        &Method::GET,
        "/metrics",
        health::metrics::<S, C, I>,
        Operation::text(
            HEALTH,
            "getProcessMetrics",
            "Get the metrics of the process in the Prometheus text format",
        )
        .description("A client on the same machine that asks for a local host name needs no key.")
        .callers(Callers::OperatorsOrLocal),
    )
}
