//! Answers over stored numbers: queries, the values of a dimension, trends and budgets.

use cells::query::metrics::SENDS;
use cells::query::{Answer, OrderBy, Query, QueryDimension, QueryTime, Scope};
use pipeline::history::answering::{self, AnswerError, LinkAnswer, LinkQuery};
use pipeline::history::trend_and_budget::StoredCounts;
use pipeline::ports::{Clock, Store};
use schemars::JsonSchema;
use serde::Serialize;

use super::{During as _, Refusal, Service, ServiceSettings};

/// How far back the values of a dimension are searched for.
const VALUES_DAYS: u32 = 30;

/// Values of a dimension.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct SeenValues {
    /// The values, sorted; at most `limit`.
    pub(crate) values: Vec<String>,
    /// Whether there are more values than `limit`.
    pub(crate) truncated: bool,
}

impl<S: Store, C: Clock, I> Service<S, C, I> {
    /// Answers a query as of now.
    pub(crate) async fn answer(&self, query: &Query) -> Result<Answer, AnswerError> {
        let settings = &self.settings;
        answering::answer(&self.store, query, &settings.history, self.now(), settings.threads).await
    }

    /// Answers a query of clicks by link as of now.
    pub(crate) async fn links(&self, query: &LinkQuery) -> Result<LinkAnswer, AnswerError> {
        answering::clicks_by_link(&self.store, query, &self.settings.history, self.now()).await
    }

    /// The numbers that trends and budgets are computed from, as of now.
    pub(crate) fn stored_counts(&self) -> StoredCounts<'_, S> {
        let ServiceSettings { history, threads, .. } = &self.settings;
        StoredCounts { store: &self.store, settings: history, now: self.now(), threads: *threads }
    }

    /// The values of a dimension that were seen in the last 30 days and begin with `prefix`: at most `limit`.
    pub(crate) async fn values(
        &self,
        scope: &Scope,
        dimension: QueryDimension,
        prefix: &str,
        limit: usize,
    ) -> Result<SeenValues, Refusal> {
        let query = self.values_query(scope, dimension)?;
        let answer = self.answer(&query).await.during("listing values")?;
        let mut values: Vec<String> = answer
            .rows()
            .map(|row| row.group(dimension))
            .filter(|value| value.starts_with(prefix))
            .map(str::to_owned)
            .collect();
        values.sort();
        // The query itself has a limit. A further page of it also means that values are missing.
        let truncated = values.len() > limit || answer.next_cursor().is_some();
        values.truncate(limit);
        Ok(SeenValues { values, truncated })
    }

    fn values_query(&self, scope: &Scope, dimension: QueryDimension) -> Result<Query, Refusal> {
        let query = Query::builder(scope.clone())
            .metrics([SENDS])
            .range(QueryTime::days_ago(VALUES_DAYS), QueryTime::Now)
            .group_by([dimension])
            .order_by([OrderBy::group(dimension)]);
        Ok(query.build(self.now())?)
    }
}
