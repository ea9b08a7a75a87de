//! The pairs of a query string, taken one by one, so that an error names the parameter.
//!
//! Unknown and repeated parameters are errors: a typing mistake must not silently widen an answer.

use std::ops::RangeInclusive;

use axum::extract::{FromRequestParts, Query, Request};
use axum::http::Uri;
use axum::http::request::Parts;
use cells::query::moment;
use event::{InvalidTenant, TenantId, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::limits::read_body;
use crate::problem::{Kind, Problem};

/// More pairs than any call has; 100 filter conditions and the rest of a query fit.
const MAX_PAIRS: usize = 128;
/// The longest part of a parser's message that is repeated, in characters: the nine fields of rules and a mistyped one fit.
const MAX_WORDS: usize = 400;
/// Size limit for the body of a call that takes none, in bytes. Clients that always send JSON send `{}`.
const NOTHING_BYTES: usize = 4 * 1024;

/// Decoded pairs, in their order.
pub(crate) struct Parameters(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Self::of(&parts.uri)
    }
}

impl Parameters {
    /// The pairs in the query string of `uri`.
    pub(crate) fn of(uri: &Uri) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| Problem::new(Kind::InvalidParameter, "the query string cannot be read"))?;
        if pairs.len() > MAX_PAIRS {
            let detail = format!("the query string may have {MAX_PAIRS} parameters");
            return Err(Problem::new(Kind::InvalidParameter, detail));
        }
        Ok(Self(pairs))
    }

    /// All pairs, for a call that reads them itself.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Takes one parameter out; it may occur once.
    pub(crate) fn take(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let Some(position) = self.0.iter().position(|(key, _)| key == name) else { return Ok(None) };
        let (_, value) = self.0.remove(position);
        if self.0.iter().any(|(key, _)| key == name) {
            return Err(invalid(name, "occurs twice"));
        }
        Ok(Some(value))
    }

    /// Takes all parameters of a name out.
    pub(crate) fn take_all(&mut self, name: &str) -> Vec<String> {
        let taken = self.0.extract_if(.., |(key, _)| key == name);
        taken.map(|(_, value)| value).collect()
    }

    /// Takes a moment out, if there is one.
    pub(crate) fn take_moment(&mut self, name: &str, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
        let Some(text) = self.take(name)? else { return Ok(None) };
        Ok(Some(moment(name, &text, now)?))
    }

    /// Takes a whole number out, if there is one.
    pub(crate) fn take_number(
        &mut self,
        name: &str,
        allowed: RangeInclusive<usize>,
    ) -> Result<Option<usize>, Problem> {
        let Some(text) = self.take(name)? else { return Ok(None) };
        match text.parse() {
            Ok(number) if allowed.contains(&number) => Ok(Some(number)),
            _ => Err(invalid(name, "is out of range")
                .allowed(format!("{} to {}", allowed.start(), allowed.end()))
                .example(allowed.start().to_string())),
        }
    }

    /// Refuses what nobody took.
    pub(crate) fn finish(self, allowed: &str) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((key, _)) => {
                let name: String = key.chars().take(40).collect();
                Err(invalid(&name, "is not a parameter of this call").allowed(allowed))
            }
        }
    }
}

/// Reads a request that has no parameters, and whose body of at most `limit` bytes must be a JSON object of this shape.
pub(crate) async fn read_request<T: DeserializeOwned>(
    request: Request,
    limit: usize,
    example: &str,
) -> Result<T, Problem> {
    Parameters::of(request.uri())?.finish("none")?;
    read_object(&read_body(request, limit).await?, example)
}

/// Checks that a request has no parameters, and that its body is empty or `{}`.
///
/// Any field is refused rather than ignored, since the client expects it to have an effect.
pub(crate) async fn read_nothing(request: Request) -> Result<(), Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}

    Parameters::of(request.uri())?.finish("none")?;
    let body = read_body(request, NOTHING_BYTES).await?;
    if body.is_empty() {
        return Ok(());
    }
    read_object::<Nothing>(&body, "{}").map(|Nothing {}| ())
}

/// Reads a body that must be a JSON object of this shape.
fn read_object<T: DeserializeOwned>(body: &[u8], example: &str) -> Result<T, Problem> {
    // A list would pass for an object without names.
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    let read = if is_object {
        serde_json::from_slice(body)
    } else {
        Err(serde::de::Error::custom("it is no JSON object"))
    };
    read.map_err(|error| {
        let words: String = error.to_string().chars().take(MAX_WORDS).collect();
        Problem::new(Kind::InvalidBody, words).example(example)
    })
}

/// Parses the name that a client gives to a tenant in the field or parameter `place`.
pub(crate) fn declared_tenant(place: &str, name: &str) -> Result<TenantId, Problem> {
    TenantId::declared(name).map_err(|error| no_tenant_name(place, &error))
}

/// The problem for a name in the field or parameter `place` that no tenant can have.
pub(crate) fn no_tenant_name(place: &str, error: &InvalidTenant) -> Problem {
    let problem = match error {
        InvalidTenant::Name(_) => "is no tenant's name",
        InvalidTenant::Reserved { .. } => {
            "is reserved: * stands for all tenants, and names in parentheses for mail of no tenant"
        }
    };
    invalid(place, problem).allowed(TenantId::ALLOWED).example("acme")
}

/// A problem with one parameter of a query string.
pub(crate) fn invalid(name: &str, problem: &str) -> Problem {
    Problem::about(Kind::InvalidParameter, name, problem)
}
