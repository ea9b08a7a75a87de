//! Who asks and whose numbers they may see.
//!
//! A handler cannot reach the backend's numbers without a [`Reader`], and a reader's scope comes from the key or token: a tenant's
//! key that names another tenant is refused here, before anything is read. Keys are never logged or repeated.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use cells::query::Scope;
use event::{InvalidTenant, TenantId};

use crate::backend::{Access, Backend, Caller};
use crate::problem::{Kind, Problem};
use crate::router::Web;
use crate::routes::parameters::no_tenant_name;
use crate::session;
use crate::tokens::{self, Bearer, Granted, TokenError};

/// Lets an operator look at one tenant.
pub(crate) const TENANT_HEADER: HeaderName = HeaderName::from_static("x-mailgauge-tenant");

/// A signed token of an identity provider has one or two KB; our own keys are far shorter.
const MAX_KEY_BYTES: usize = 4096;

/// Somebody who may read, and how far.
pub(crate) struct Reader {
    /// All tenants or one.
    pub(crate) scope: Scope,
    /// The name of the key.
    pub(crate) name: String,
}

/// A [`Reader`] who may set rules and take up alerts.
pub(crate) struct Setter(pub(crate) Reader);

/// Somebody who may see and do everything.
pub(crate) struct Operator {
    /// The name of the key.
    pub(crate) name: String,
}

impl<B: Backend> FromRequestParts<Arc<Web<B>>> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Arc<Web<B>>) -> Result<Self, Problem> {
        let caller = authenticate(web, bearer(&parts.headers)?).await?;
        Ok(Self { scope: scope(caller.access, named_tenant(&parts.headers)?)?, name: caller.name })
    }
}

impl<B: Backend> FromRequestParts<Arc<Web<B>>> for Setter {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Arc<Web<B>>) -> Result<Self, Problem> {
        let caller = authenticate(web, bearer(&parts.headers)?).await?;
        let may = !matches!(caller.access, Access::Tenant { sets_rules: false, .. });
        let scope = scope(caller.access, named_tenant(&parts.headers)?)?;
        if may {
            return Ok(Self(Reader { scope, name: caller.name }));
        }
        Err(Problem::new(Kind::Forbidden, "this key reads; use one with the scope rules"))
    }
}

impl<B: Backend> FromRequestParts<Arc<Web<B>>> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Arc<Web<B>>) -> Result<Self, Problem> {
        let Caller { name, access } = authenticate(web, bearer(&parts.headers)?).await?;
        match access {
            Access::Operator => Ok(Self { name }),
            Access::Suspended => Err(suspended()),
            Access::Tenant { .. } | Access::Ingest => {
                Err(Problem::new(Kind::Forbidden, "this call is for operators; use an operator's key"))
            }
        }
    }
}

/// Who holds the key, or whom the token is about.
pub(crate) async fn authenticate<B: Backend>(web: &Web<B>, key: &str) -> Result<Caller, Problem> {
    if let Some((issuer, keys)) = web.tokens.as_ref().filter(|_| tokens::is_token(key)) {
        return bearer_of_token(web, tokens::verify(issuer, keys, key, web.backend.now()).await?).await;
    }
    web.backend.authenticate(key).await?.ok_or_else(|| {
        Problem::new(
            Kind::InvalidCredential,
            "the key is unknown, expired or revoked; ask an operator for a new one",
        )
    })
}

/// What a token opens here, where its tenant may be suspended.
async fn bearer_of_token<B: Backend>(web: &Web<B>, bearer: Bearer) -> Result<Caller, Problem> {
    let access = match bearer.grant {
        Granted::Operator => Access::Operator,
        Granted::Tenant { tenant, sets_rules } => match web.backend.tenant(&tenant).await? {
            Some(known) if known.suspended => Access::Suspended,
            Some(_) | None => Access::Tenant { tenant, sets_rules },
        },
    };
    Ok(Caller { name: bearer.subject, access })
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Invalid(_) => Self::new(Kind::InvalidCredential, error.to_string()),
            TokenError::Forbidden(_) => Self::new(Kind::Forbidden, error.to_string()),
            TokenError::Unavailable => Self::new(Kind::Unavailable, error.to_string()).retry_after(30),
        }
    }
}

/// Refuses keys that may not send events in.
pub(crate) async fn may_ingest<B: Backend>(web: &Web<B>, key: &str) -> Result<(), Problem> {
    match authenticate(web, key).await?.access {
        Access::Operator | Access::Ingest => Ok(()),
        Access::Suspended => Err(suspended()),
        Access::Tenant { .. } => {
            Err(Problem::new(Kind::Forbidden, "a tenant's key reads; events are sent with an ingest key"))
        }
    }
}

/// The key after `Authorization: Bearer`, else that of somebody who signed in at the dashboard.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let Some(value) = key_in(headers, &header::AUTHORIZATION)? else {
        return session::credential(headers).filter(|key| key.len() <= MAX_KEY_BYTES).ok_or_else(|| {
            Problem::new(Kind::MissingCredential, "send the header Authorization: Bearer mg_...")
        });
    };
    without_scheme(value).ok_or_else(|| {
        Problem::new(Kind::InvalidCredential, "the header Authorization must be: Bearer mg_...")
    })
}

/// What follows `Bearer `, which is written in any case.
pub(crate) fn without_scheme(value: &str) -> Option<&str> {
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key.trim_start_matches(' '))
}

/// A header that holds a key: at most once, visible ASCII, of a length that is worth looking up.
pub(crate) fn key_in<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let invalid = || Problem::new(Kind::InvalidCredential, format!("the header {name} holds no key"));
    if values.next().is_some() || value.len() > MAX_KEY_BYTES {
        return Err(invalid());
    }
    value.to_str().map(Some).map_err(|_| invalid())
}

/// The tenant that the request names in its header.
fn named_tenant(headers: &HeaderMap) -> Result<Option<TenantId>, Problem> {
    let mut values = headers.get_all(&TENANT_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let name = value.to_str().ok().filter(|_| values.next().is_none());
    match name.map(TenantId::to_read) {
        Some(Ok(tenant)) => Ok(Some(tenant)),
        Some(Err(error @ InvalidTenant::Reserved { .. })) => {
            Err(no_tenant_name("X-Mailgauge-Tenant", &error))
        }
        Some(Err(InvalidTenant::Name(_))) | None => {
            Err(Problem::about(Kind::InvalidParameter, "X-Mailgauge-Tenant", "is not one tenant's name")
                .allowed(TenantId::ALLOWED)
                .example("acme"))
        }
    }
}

pub(crate) fn suspended() -> Problem {
    Problem::new(Kind::Forbidden, "this tenant is suspended; ask an operator")
}

fn scope(access: Access, named: Option<TenantId>) -> Result<Scope, Problem> {
    match (access, named) {
        (Access::Operator, None) => Ok(Scope::All),
        (Access::Operator, Some(tenant)) => Ok(Scope::Tenant(tenant)),
        (Access::Suspended, _) => Err(suspended()),
        (Access::Tenant { tenant: own, .. }, Some(named)) if named != own => {
            Err(Problem::about(Kind::Forbidden, "X-Mailgauge-Tenant", "names another tenant than the key's"))
        }
        (Access::Tenant { tenant: own, .. }, Some(_) | None) => Ok(Scope::Tenant(own)),
        (Access::Ingest, _) => Err(Problem::new(
            Kind::Forbidden,
            "an ingest key sends events; use a tenant's or an operator's key",
        )),
    }
}
