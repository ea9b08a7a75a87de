//! The pairs of a query string, taken one by one, so that an error names the parameter.
//!
//! Unknown and repeated parameters are errors: a typing mistake must not silently widen an answer.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use event::Timestamp;

use crate::problem::{Kind, Problem};

/// More pairs than any call has; 100 filter conditions and the rest of a query fit.
const MAX_PAIRS: usize = 128;

/// Decoded pairs, in their order.
pub(crate) struct Parameters(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::new(Kind::InvalidParameter, "the query string cannot be read"))?;
        if pairs.len() > MAX_PAIRS {
            let detail = format!("the query string may have {MAX_PAIRS} parameters");
            return Err(Problem::new(Kind::InvalidParameter, detail));
        }
        Ok(Self(pairs))
    }
}

impl Parameters {
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

    /// Takes a moment out, as RFC 3339.
    pub(crate) fn take_time(&mut self, name: &str) -> Result<Timestamp, Problem> {
        let wrong =
            |problem| invalid(name, problem).allowed("a time as RFC 3339").example("2026-01-31T00:00:00Z");
        let text = self.take(name)?.ok_or_else(|| wrong("is missing"))?;
        match text.parse::<jiff::Timestamp>() {
            Ok(moment) => Ok(Timestamp::from_millis(moment.as_millisecond())),
            Err(_) => Err(wrong("is not a time")),
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

/// A problem with one parameter of a query string.
pub(crate) fn invalid(name: &str, problem: &str) -> Problem {
    Problem::about(Kind::InvalidParameter, name, problem)
}
