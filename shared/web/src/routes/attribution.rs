//! `/v1/attribution`: which tenant owns mail that has no tenant tag, by configuration set, sending domain and account. For operators.
//!
//! What is set here takes precedence over the deployment's own mappings. Processes that count events apply it within a minute.

use axum::Json;
use axum::extract::{Request, State};
use event::AlertScope;
use event::attribution::TenantMaps;
use pipeline::directory::mappings::{self, CheckedMappings, InvalidMappings, MappingsChange};
use pipeline::ports::{Clock, Store};

use super::parameters::{QueryParameters, invalid, read_request};
use crate::auth::Operator;
use crate::limits::MAPPINGS_BODY_BYTES;
use crate::problem::{Problem, ProblemType};
use crate::router::{Shared, Web};
use crate::service::{During as _, Intake, Unavailable};

const EXAMPLE: &str = r#"{"by_sending_domain":{"mail.acme.example":"acme"}}"#;
/// How often a change is made again because somebody else changed the mappings meanwhile.
const MAX_ATTEMPTS: usize = 3;

/// `GET /v1/attribution`: the mappings set by this API, without those of the deployment.
pub(crate) async fn get<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    _operator: Operator,
    parameters: QueryParameters,
) -> Result<Json<TenantMaps>, Problem> {
    parameters.finish("none")?;
    let stored = mappings::read(&web.service.store).await.during("reading mappings")?;
    Ok(Json(stored.record))
}

/// `PUT /v1/attribution`: replaces all mappings.
pub(crate) async fn put<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    operator: Operator,
    request: Request,
) -> Result<Json<TenantMaps>, Problem> {
    let maps: TenantMaps = read_request(request, MAPPINGS_BODY_BYTES, EXAMPLE).await?;
    update(&web, &operator, |stored| *stored = maps.clone()).await
}

/// `PATCH /v1/attribution`: sets the given entries and removes those that are null; all others stay.
pub(crate) async fn patch<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    operator: Operator,
    request: Request,
) -> Result<Json<TenantMaps>, Problem> {
    let change: MappingsChange = read_request(request, MAPPINGS_BODY_BYTES, EXAMPLE).await?;
    update(&web, &operator, |stored| change.clone().apply(stored)).await
}

/// Changes the stored mappings, and does so again if somebody else changed them meanwhile.
async fn update<S: Store, C: Clock, I: Intake>(
    web: &Web<S, C, I>,
    operator: &Operator,
    change: impl Fn(&mut TenantMaps),
) -> Result<Json<TenantMaps>, Problem> {
    const OPERATION: &str = "setting mappings";
    let store = &web.service.store;
    for attempt in 0..MAX_ATTEMPTS {
        let mut stored = mappings::read(store).await.during(OPERATION)?;
        change(&mut stored.record);
        // Checked after the change is applied: entries that fit alone may be too large together.
        let checked = CheckedMappings::new(&stored.record).map_err(refused)?;
        // One entry for each request, however often the change is made again.
        if attempt == 0 {
            web.service.record_audit(&operator.name, "attribution.set", AlertScope::PLATFORM).await?;
        }
        if mappings::write(store, &checked, stored.version).await.during(OPERATION)? {
            return Ok(Json(stored.record));
        }
    }
    Err(Problem::new(ProblemType::Conflict, "other requests keep changing the mappings; try again"))
}

fn refused(invalid_mappings: InvalidMappings) -> Problem {
    match invalid_mappings {
        InvalidMappings::Entry(error) => {
            invalid(error.setting(), "cannot be used").allowed(error.to_string())
        }
        error @ InvalidMappings::TooLarge { .. } => {
            Problem::new(ProblemType::BodyTooLarge, error.to_string())
        }
        InvalidMappings::Compress(source) => Unavailable { operation: "compressing mappings", source }.into(),
    }
}
