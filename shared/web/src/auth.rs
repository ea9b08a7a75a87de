//! Who makes a request, and whose numbers they may see.
//!
//! A handler cannot reach numbers without a [`Reader`], and a reader's scope comes from the key or token: a tenant's key that names
//! another tenant is refused here, before anything is read. Keys are never logged or repeated.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use cells::query::Scope;
use event::{InvalidTenant, TenantId};
use pipeline::ports::{Clock, Store};

use crate::problem::{Problem, ProblemType};
use crate::router::{Shared, Web};
use crate::routes::parameters::invalid_tenant;
use crate::service::{Access, Caller, Intake};
use crate::session;
use crate::tokens::{self, Bearer, Granted, TokenError};

/// Lets an operator read one tenant.
pub(crate) const TENANT_HEADER: HeaderName = HeaderName::from_static("x-mailgauge-tenant");

/// A signed token of an identity provider has one or two KB; our own keys are far shorter.
const MAX_KEY_BYTES: usize = 4096;

/// A caller that may read numbers.
pub(crate) struct Reader {
    /// All tenants or one.
    pub(crate) scope: Scope,
    /// The name of the key.
    pub(crate) name: String,
    /// Identifies the key, for limits. Names may repeat.
    pub(crate) key: String,
}

/// A [`Reader`] that may also set rules and acknowledge alerts.
pub(crate) struct RulesWriter(pub(crate) Reader);

/// A caller that may do everything.
pub(crate) struct Operator {
    /// The name of the key.
    pub(crate) name: String,
    /// Identifies the key, for limits.
    pub(crate) key: String,
}

impl<S: Store, C: Clock, I: Intake> FromRequestParts<Shared<S, C, I>> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Shared<S, C, I>) -> Result<Self, Problem> {
        let caller = authenticate(web, bearer(&parts.headers)?).await?;
        let scope = scope(caller.access, named_tenant(&parts.headers)?)?;
        Ok(Self { scope, name: caller.name, key: caller.id })
    }
}

impl<S: Store, C: Clock, I: Intake> FromRequestParts<Shared<S, C, I>> for RulesWriter {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Shared<S, C, I>) -> Result<Self, Problem> {
        let caller = authenticate(web, bearer(&parts.headers)?).await?;
        let sets_rules = !matches!(caller.access, Access::Tenant { sets_rules: false, .. });
        let scope = scope(caller.access, named_tenant(&parts.headers)?)?;
        if sets_rules {
            return Ok(Self(Reader { scope, name: caller.name, key: caller.id }));
        }
        Err(Problem::new(ProblemType::Forbidden, "this key may only read; use a key with the scope rules"))
    }
}

impl<S: Store, C: Clock, I: Intake> FromRequestParts<Shared<S, C, I>> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Shared<S, C, I>) -> Result<Self, Problem> {
        let Caller { id, name, access } = authenticate(web, bearer(&parts.headers)?).await?;
        match access {
            Access::Operator => Ok(Self { name, key: id }),
            Access::Suspended => Err(suspended()),
            Access::Tenant { .. } | Access::Ingest => {
                Err(Problem::new(ProblemType::Forbidden, "this call is for operators; use an operator's key"))
            }
        }
    }
}

/// The holder of a key or token.
pub(crate) async fn authenticate<S: Store, C: Clock, I: Intake>(
    web: &Web<S, C, I>,
    key: &str,
) -> Result<Caller, Problem> {
    if let Some((issuer, keys)) = web.tokens.as_ref().filter(|_| tokens::is_token(key)) {
        return token_caller(web, tokens::verify(issuer, keys, key, web.service.now()).await?).await;
    }
    web.service.authenticate(key).await?.ok_or_else(|| {
        Problem::new(
            ProblemType::InvalidCredential,
            "the key is unknown, expired or revoked; ask an operator for a new one",
        )
    })
}

/// The holder of a token. Its tenant may be suspended here, which the issuer does not know.
async fn token_caller<S: Store, C: Clock, I: Intake>(
    web: &Web<S, C, I>,
    bearer: Bearer,
) -> Result<Caller, Problem> {
    let access = match bearer.grant {
        Granted::Operator => Access::Operator,
        Granted::Tenant { tenant, sets_rules } => match web.service.tenant(&tenant).await? {
            Some(known) if known.suspended => Access::Suspended,
            // A tenant that has sent no mail yet has nothing stored.
            Some(_) | None => Access::Tenant { tenant, sets_rules },
        },
    };
    // A prefix that no key's id has, so that a token cannot share the limits of a key.
    Ok(Caller { id: format!("token:{}", bearer.subject), name: bearer.subject, access })
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Invalid(_) => Self::new(ProblemType::InvalidCredential, error.to_string()),
            TokenError::Forbidden(_) => Self::new(ProblemType::Forbidden, error.to_string()),
            TokenError::Unavailable => Self::new(ProblemType::Unavailable, error.to_string()).retry_after(30),
        }
    }
}

/// Refuses keys that may not send events.
pub(crate) async fn may_ingest<S: Store, C: Clock, I: Intake>(
    web: &Web<S, C, I>,
    key: &str,
) -> Result<(), Problem> {
    match authenticate(web, key).await?.access {
        Access::Operator | Access::Ingest => Ok(()),
        Access::Suspended => Err(suspended()),
        Access::Tenant { .. } => {
            Err(Problem::new(ProblemType::Forbidden, "a tenant's key may not send events; use an ingest key"))
        }
    }
}

/// The key after `Authorization: Bearer`; without that header, the one in the dashboard's session cookie.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let Some(value) = key_in(headers, &header::AUTHORIZATION)? else {
        return session::credential(headers).filter(|key| key.len() <= MAX_KEY_BYTES).ok_or_else(|| {
            Problem::new(ProblemType::MissingCredential, "send the header Authorization: Bearer mg_...")
        });
    };
    without_scheme(value).ok_or_else(|| {
        Problem::new(ProblemType::InvalidCredential, "the header Authorization must be: Bearer mg_...")
    })
}

/// What follows `Bearer `, in upper or lower case.
pub(crate) fn without_scheme(value: &str) -> Option<&str> {
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key.trim_start_matches(' '))
}

/// The value of a header that holds a key. It must occur once, be visible ASCII and not be longer than any key.
pub(crate) fn key_in<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let invalid =
        || Problem::new(ProblemType::InvalidCredential, format!("the header {name} does not hold a key"));
    if values.next().is_some() || value.len() > MAX_KEY_BYTES {
        return Err(invalid());
    }
    value.to_str().map(Some).map_err(|_| invalid())
}

/// The tenant that the request names in its header.
fn named_tenant(headers: &HeaderMap) -> Result<Option<TenantId>, Problem> {
    const PARAMETER: &str = "X-Mailgauge-Tenant";
    let mut values = headers.get_all(&TENANT_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let name = value.to_str().ok().filter(|_| values.next().is_none());
    match name.map(TenantId::new_or_unassigned) {
        Some(Ok(tenant)) => Ok(Some(tenant)),
        Some(Err(error @ InvalidTenant::Reserved { .. })) => Err(invalid_tenant(PARAMETER, &error)),
        Some(Err(InvalidTenant::Name(_))) | None => {
            Err(Problem::about(ProblemType::InvalidParameter, PARAMETER, "must be the name of one tenant")
                .allowed(TenantId::ALLOWED)
                .example("acme"))
        }
    }
}

pub(crate) fn suspended() -> Problem {
    Problem::new(ProblemType::Forbidden, "this tenant is suspended; ask an operator")
}

fn scope(access: Access, named: Option<TenantId>) -> Result<Scope, Problem> {
    match (access, named) {
        (Access::Operator, None) => Ok(Scope::All),
        (Access::Operator, Some(tenant)) => Ok(Scope::Tenant(tenant)),
        (Access::Suspended, _) => Err(suspended()),
        (Access::Tenant { tenant: own, .. }, Some(named)) if named != own => Err(Problem::about(
            ProblemType::Forbidden,
            "X-Mailgauge-Tenant",
            "names a tenant that the key is not for",
        )),
        (Access::Tenant { tenant: own, .. }, Some(_) | None) => Ok(Scope::Tenant(own)),
        (Access::Ingest, _) => Err(Problem::new(
            ProblemType::Forbidden,
            "an ingest key may only send events; use a tenant's or an operator's key",
        )),
    }
}
