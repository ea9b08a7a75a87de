//! The parameters of a query string, taken one by one, so that an error names the parameter; and JSON bodies.
//!
//! Unknown and repeated parameters are errors: a typing error must not silently widen an answer.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Query, Request};
use axum::http::Uri;
use axum::http::request::Parts;
use cells::query::parse_time;
use event::{InvalidTenant, TenantId, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::limits::read_body;
use crate::problem::{Problem, ProblemType};

/// Enough for every call: 100 filter conditions and the rest of a query fit.
const MAX_PAIRS: usize = 128;
/// How much of a parser's message is repeated to the client, in characters: the nine fields of rules and a mistyped one fit.
const MAX_MESSAGE_CHARS: usize = 400;
/// How much of an unknown parameter's name is repeated to the client, in characters.
const MAX_NAME_CHARS: usize = 40;
/// Size limit for the body of a call that takes none, in bytes. Clients that always send JSON send `{}`.
const EMPTY_BODY_BYTES: usize = 4 * 1024;

/// Decoded pairs, in their order.
pub(crate) struct QueryParameters(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for QueryParameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Self::of(&parts.uri)
    }
}

impl QueryParameters {
    /// The pairs in the query string of `uri`.
    pub(crate) fn of(uri: &Uri) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|_| {
            Problem::new(
                ProblemType::InvalidParameter,
                "the query string is not valid: names and values must be percent-encoded UTF-8",
            )
        })?;
        if pairs.len() > MAX_PAIRS {
            let detail = format!("the query string has too many parameters; at most {MAX_PAIRS} are allowed");
            return Err(Problem::new(ProblemType::InvalidParameter, detail));
        }
        Ok(Self(pairs))
    }

    /// All pairs, for a call that reads them itself.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Takes one parameter out.
    ///
    /// # Errors
    /// [`Problem`] if the parameter occurs more than once.
    pub(crate) fn take(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let Some(position) = self.0.iter().position(|(key, _)| key == name) else { return Ok(None) };
        let (_, value) = self.0.remove(position);
        // Frameworks disagree on which of two values counts, so neither is taken.
        if self.0.iter().any(|(key, _)| key == name) {
            return Err(invalid(name, "occurs more than once"));
        }
        Ok(Some(value))
    }

    /// Takes all parameters of this name out.
    pub(crate) fn take_all(&mut self, name: &str) -> Vec<String> {
        let taken = self.0.extract_if(.., |(key, _)| key == name);
        taken.map(|(_, value)| value).collect()
    }

    /// Takes a time out, if it is given.
    pub(crate) fn take_time(&mut self, name: &str, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
        let Some(text) = self.take(name)? else { return Ok(None) };
        Ok(Some(parse_time(name, &text, now)?))
    }

    /// Takes a whole number out, if it is given.
    pub(crate) fn take_number<T: FromStr + PartialOrd + Display>(
        &mut self,
        name: &str,
        allowed: RangeInclusive<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.take(name)? else { return Ok(None) };
        match text.parse() {
            Ok(number) if allowed.contains(&number) => Ok(Some(number)),
            Ok(_) | Err(_) => Err(invalid(name, "is not a number in the allowed range")
                .allowed(format!("{} to {}", allowed.start(), allowed.end()))
                .example(allowed.start().to_string())),
        }
    }

    /// Refuses parameters that the call did not take; `allowed` lists those it takes.
    pub(crate) fn finish(self, allowed: &str) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((key, _)) => {
                // The name comes from the client and ends up in a reply, so it is cut.
                let name: String = key.chars().take(MAX_NAME_CHARS).collect();
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
    QueryParameters::of(request.uri())?.finish("none")?;
    read_object(&read_body(request, limit).await?, example)
}

/// Checks that a request has no parameters, and that its body is empty or `{}`.
///
/// Any field is refused rather than ignored, since the client expects it to have an effect.
pub(crate) async fn read_nothing(request: Request) -> Result<(), Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct EmptyBody {}

    QueryParameters::of(request.uri())?.finish("none")?;
    let body = read_body(request, EMPTY_BODY_BYTES).await?;
    if body.is_empty() {
        return Ok(());
    }
    read_object::<EmptyBody>(&body, "{}").map(|EmptyBody {}| ())
}

/// Reads a body that must be a JSON object of this shape.
fn read_object<T: DeserializeOwned>(body: &[u8], example: &str) -> Result<T, Problem> {
    // Serde would accept a list as an object without field names.
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    let read = if is_object {
        serde_json::from_slice(body)
    } else {
        Err(serde::de::Error::custom("the body is not a JSON object"))
    };
    read.map_err(|error| {
        let message: String = error.to_string().chars().take(MAX_MESSAGE_CHARS).collect();
        Problem::new(ProblemType::InvalidBody, message).example(example)
    })
}

/// Parses a tenant's id that a client gives in this field or parameter. Reserved names are refused.
pub(crate) fn declared_tenant(parameter: &str, name: &str) -> Result<TenantId, Problem> {
    TenantId::new(name).map_err(|error| invalid_tenant(parameter, &error))
}

/// The problem with a name that no tenant can have, in this field or parameter.
pub(crate) fn invalid_tenant(parameter: &str, error: &InvalidTenant) -> Problem {
    let problem = match error {
        InvalidTenant::Name(_) => "is not a valid name of a tenant",
        InvalidTenant::Reserved { .. } => {
            "is reserved: * stands for all tenants, and names in parentheses stand for mail without a tenant"
        }
    };
    invalid(parameter, problem).allowed(TenantId::ALLOWED).example("acme")
}

/// A problem with one parameter or field.
pub(crate) fn invalid(name: &str, problem: &str) -> Problem {
    Problem::about(ProblemType::InvalidParameter, name, problem)
}
