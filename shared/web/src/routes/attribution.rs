//! `/v1/attribution`: whose mail is that names no tenant by a tag, by configuration set, sending domain and account. For operators.
//!
//! What is set here stands over what the deployment says, and those that count see it within a minute.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use event::attribution::TenantMaps;
use pipeline::directory::mappings::{Change, Mistake, Packed};

use super::parameters::{Parameters, invalid, read_request};
use crate::auth::Operator;
use crate::backend::{Backend, Unavailable};
use crate::limits::MAPPINGS_BODY_BYTES;
use crate::problem::{Kind, Problem};
use crate::router::Web;

const EXAMPLE: &str = r#"{"by_sending_domain":{"mail.acme.example":"acme"}}"#;
/// Changes of others that one change is made anew after.
const TRIES: usize = 3;

/// `GET /v1/attribution`: what was set here; not what the deployment says.
pub(crate) async fn get<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    _operator: Operator,
    parameters: Parameters,
) -> Result<Json<TenantMaps>, Problem> {
    parameters.finish("none")?;
    Ok(Json(web.backend.mappings().await?.record))
}

/// `PUT /v1/attribution`: in place of all there is.
pub(crate) async fn put<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    operator: Operator,
    request: Request,
) -> Result<Json<TenantMaps>, Problem> {
    let maps: TenantMaps = read_request(request, MAPPINGS_BODY_BYTES, EXAMPLE).await?;
    set(&web, &operator, |held| *held = maps.clone()).await
}

/// `PATCH /v1/attribution`: sets the entries that are given and takes out those that are null; all others stay.
pub(crate) async fn patch<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    operator: Operator,
    request: Request,
) -> Result<Json<TenantMaps>, Problem> {
    let change: Change = read_request(request, MAPPINGS_BODY_BYTES, EXAMPLE).await?;
    set(&web, &operator, |held| change.clone().apply(held)).await
}

/// Makes a change to what there is, again if somebody else made one meanwhile.
async fn set<B: Backend>(
    web: &Web<B>,
    operator: &Operator,
    change: impl Fn(&mut TenantMaps),
) -> Result<Json<TenantMaps>, Problem> {
    for attempt in 0..TRIES {
        let mut held = web.backend.mappings().await?;
        change(&mut held.record);
        let packed = Packed::new(&held.record).map_err(refused)?;
        if attempt == 0 {
            web.backend.note(&operator.name, "attribution.set", "*").await?;
        }
        if web.backend.set_mappings(packed, held.version).await? {
            return Ok(Json(held.record));
        }
    }
    Err(Problem::new(Kind::Conflict, "others are changing it too; try again"))
}

fn refused(mistake: Mistake) -> Problem {
    match mistake {
        Mistake::Entry(error) => invalid(error.setting(), "cannot be used").allowed(error.to_string()),
        error @ Mistake::TooMany { .. } => Problem::new(Kind::BodyTooLarge, error.to_string()),
        Mistake::Pack(source) => Unavailable { operation: "packing mappings", source: source.into() }.into(),
    }
}
