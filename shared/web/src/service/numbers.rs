//! Answers over stored numbers: queries, the values of a dimension, trends and budgets.

use cells::query::{Answer, Locale, Query, Scope};
use event::attribution::Dimension;
use pipeline::history::answering::{self, AnswerError};
use pipeline::history::trend_and_budget::StoredCounts;
use pipeline::ports::{Clock, Store};
use serde::Serialize;

use super::{During as _, Refusal, Service};

/// How far back the values of a dimension are searched for.
const VALUES_FROM: &str = "-30d";

/// Values of one dimension.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct DimensionValues {
    /// The values, sorted.
    pub(crate) values: Vec<String>,
    /// Whether there are more values than were asked for.
    pub(crate) truncated: bool,
}

impl<S: Store, C: Clock, I> Service<S, C, I> {
    /// Answers a query as of now.
    pub(crate) async fn answer(&self, query: &Query) -> Result<Answer, AnswerError> {
        let settings = &self.settings;
        answering::answer(&self.store, query, &settings.history, self.now(), settings.threads).await
    }

    /// The numbers that trends and budgets are computed from, as of now.
    pub(crate) fn look_back(&self) -> Source<'_, S> {
        let settings = &self.settings;
        let (history, threads) = (&settings.history, settings.threads);
        Source { store: &self.store, history, now: self.now(), threads }
    }

    /// The values of a dimension that were seen in the last 30 days and begin with `prefix`: at most `limit`.
    pub(crate) async fn values(
        &self,
        scope: &Scope,
        dimension: Dimension,
        prefix: &str,
        limit: usize,
    ) -> Result<DimensionValues, Refusal> {
        let query = self.values_query(scope, dimension)?;
        let answer = self.answer(&query).await.during("listing values")?;
        let mut values: Vec<String> = answer
            .rows()
            .iter()
            .filter_map(|row| row.group.first())
            .filter(|value| value.starts_with(prefix))
            .map(ToString::to_string)
            .collect();
        values.sort();
        let truncated = values.len() > limit || answer.next_cursor().is_some();
        values.truncate(limit);
        Ok(DimensionValues { values, truncated })
    }

    /// Groups sends by the dimension. Written as a query string, since that is the only way to build a query so far.
    fn values_query(&self, scope: &Scope, dimension: Dimension) -> Result<Query, Refusal> {
        let order = format!("{}:asc", dimension.name());
        let pairs = [
            ("metrics", "sends"),
            ("from", VALUES_FROM),
            ("to", "now"),
            ("granularity", "total"),
            ("group_by", dimension.name()),
            ("order_by", &order),
        ];
        Ok(Query::from_pairs(pairs, scope.clone(), &Locale::default(), self.now())?)
    }
}
