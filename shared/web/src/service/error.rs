//! Errors of pipeline steps as the routes see them: what the client can correct, and what only the operator can.
//!
//! This is the one place where a step's error is converted. A step's own failure keeps the operation's name and its causes for the log;
//! the client is told the operation's name and nothing else.

use std::error::Error;

use cells::query::QueryError;
use pipeline::alerting::detection_run::DetectionError;
use pipeline::alerting::registry::RegistryError;
use pipeline::directory::api_keys::CredentialError;
use pipeline::directory::erasure::EraseError;
use pipeline::directory::mappings::MappingsError;
use pipeline::history::answering::AnswerError;
use pipeline::history::snapshot::SnapshotError;
use pipeline::ports::StoreError;
use pipeline::stored::ReadError;

/// Why the service did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The query cannot be answered in this form.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Another request changed the same thing at the same time.
    #[error("{operation} failed because another request changed the same at the same time; try again")]
    Conflict {
        /// What was being done.
        operation: &'static str,
    },
    /// A dependency such as the store failed.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A dependency failed, so the same request may succeed later. Clients are told the operation and not the cause.
#[derive(Debug, thiserror::Error)]
#[error("{operation} failed")]
pub struct Unavailable {
    /// What was being done, as a noun phrase: `checking a key`.
    pub operation: &'static str,
    /// The cause, for the log.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

/// An error of one step of the pipeline.
pub(crate) trait StepError: Error + Send + Sync + Sized + 'static {
    /// What the error means for the request. Unless an error says otherwise, the step's dependency failed.
    fn refusal(self, operation: &'static str) -> Refusal {
        Unavailable { operation, source: Box::new(self) }.into()
    }
}

/// Converts the result of a step.
pub(crate) trait During<T> {
    /// Names the operation for the log and for the client, in case the step failed.
    fn during(self, operation: &'static str) -> Result<T, Refusal>;
}

impl<T, E: StepError> During<T> for Result<T, E> {
    fn during(self, operation: &'static str) -> Result<T, Refusal> {
        self.map_err(|error| error.refusal(operation))
    }
}

impl StepError for StoreError {}
impl StepError for ReadError {}
impl StepError for SnapshotError {}
impl StepError for MappingsError {}
impl StepError for EraseError {}
impl StepError for getrandom::Error {}
impl StepError for serde_json::Error {}
impl StepError for axum::Error {}
impl StepError for std::io::Error {}

impl StepError for AnswerError {
    fn refusal(self, operation: &'static str) -> Refusal {
        match self {
            Self::Query(error) => error.into(),
            Self::Numbers(error) => error.refusal(operation),
        }
    }
}

impl StepError for DetectionError {
    fn refusal(self, operation: &'static str) -> Refusal {
        match self {
            Self::Counts(error) => error.refusal(operation),
            error => Unavailable { operation, source: Box::new(error) }.into(),
        }
    }
}

impl StepError for CredentialError {
    fn refusal(self, operation: &'static str) -> Refusal {
        match self {
            Self::Conflict => Refusal::Conflict { operation },
            error => Unavailable { operation, source: Box::new(error) }.into(),
        }
    }
}

impl StepError for RegistryError {
    fn refusal(self, operation: &'static str) -> Refusal {
        match self {
            Self::Conflict(_) => Refusal::Conflict { operation },
            error @ Self::Read(_) => Unavailable { operation, source: Box::new(error) }.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use cells::query::QueryErrorKind;
    use pipeline::ports::{Key, StoreErrorKind};

    use super::*;

    fn query_error() -> QueryError {
        QueryError {
            kind: QueryErrorKind::Unanswerable,
            parameter: "granularity".to_owned(),
            problem: "too fine".to_owned(),
            allowed: "1h".into(),
            example: "1h".into(),
        }
    }

    fn store_error() -> StoreError {
        StoreError::new(StoreErrorKind::Unavailable, "get", "keys", "disk broke")
    }

    #[test]
    fn a_query_error_reaches_the_client_however_deep_it_lies() {
        let answer = AnswerError::Query(query_error()).refusal("a query");
        let detection = DetectionError::Counts(AnswerError::Query(query_error())).refusal("a back-test");
        for refusal in [answer, detection] {
            assert!(matches!(&refusal, Refusal::Query(error) if *error == query_error()), "{refusal:?}");
        }
    }

    #[test]
    fn a_lost_race_is_a_conflict_and_names_the_operation() {
        let key = Key { partition: "p".to_owned(), sort: "s".to_owned() };
        let alert = RegistryError::Conflict(key).refusal("acknowledging an alert");
        let credential = CredentialError::Conflict.refusal("revoking a key");
        for (refusal, operation) in [(alert, "acknowledging an alert"), (credential, "revoking a key")] {
            assert!(matches!(refusal, Refusal::Conflict { operation: named } if named == operation));
        }
    }

    #[test]
    fn a_failure_keeps_its_cause_out_of_its_own_text() {
        let failures = [
            store_error().refusal("listing keys"),
            AnswerError::from(ReadError::from(store_error())).refusal("listing keys"),
            DetectionError::from(store_error()).refusal("listing keys"),
            CredentialError::from(ReadError::from(store_error())).refusal("listing keys"),
            RegistryError::from(store_error()).refusal("listing keys"),
        ];
        for refusal in failures {
            assert_eq!(refusal.to_string(), "listing keys failed");
            let Refusal::Unavailable(failure) = refusal else { panic!("{refusal:?}") };
            assert!(failure.source.to_string().contains("store get failed"), "{failure:?}");
        }
    }
}
