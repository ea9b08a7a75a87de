//! Refuses a query that would read too much, and finds the longest range with which it would pass.

use event::Minute;

use super::error::{QueryError, QueryErrorKind};
use super::request::Query;

const HOUR: u32 = 60;

impl Query {
    /// Checks that the query costs at most `limit`. `cost` is in bytes to read, and must not grow when the range begins later.
    ///
    /// # Errors
    /// [`QueryError`] of kind [`QueryErrorKind::Unanswerable`] about `from`, whose example would pass; or an error of `cost`.
    pub fn check_cost(
        &self,
        limit: u64,
        cost: impl Fn(&Self) -> Result<u64, QueryError>,
    ) -> Result<(), QueryError> {
        let needed = cost(self)?;
        if needed <= limit {
            return Ok(());
        }
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let problem = format!(
            "the query would read {} MiB of history, and a query may read {} MiB",
            mib(needed),
            mib(limit)
        );
        let starts = self.later_starts();
        let (mut low, mut high) = (0, starts.len());
        while low < high {
            let middle = low.midpoint(high);
            let passes = starts
                .get(middle)
                .is_some_and(|start| cost(&self.starting_at(*start)).is_ok_and(|cost| cost <= limit));
            if passes {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        let refusal = match starts.get(low) {
            Some(start) => QueryError::malformed(
                "from",
                problem,
                format!("{} or later with these metrics", start.start()),
                format!("from={}", start.start()),
            ),
            None => QueryError::malformed(
                "metrics",
                problem,
                "metrics without unique counts and delivery times, or a coarser granularity",
                "metrics=sends",
            ),
        };
        Err(refusal.of_kind(QueryErrorKind::Unanswerable))
    }

    /// Where a shorter range may begin, rising: at each bucket; within a single bucket, at each hour.
    fn later_starts(&self) -> Vec<Minute> {
        if let [_, inner @ .., _] = self.edges.as_slice()
            && !inner.is_empty()
        {
            return inner.to_vec();
        }
        let (from, to) = self.range();
        let first = (from.0 / HOUR + 1).saturating_mul(HOUR);
        (first..to.0).step_by(HOUR as usize).map(Minute).collect()
    }

    /// The same query about a range that begins later.
    fn starting_at(&self, from: Minute) -> Self {
        let later = self.edges.iter().copied().filter(|edge| *edge > from);
        Self { edges: std::iter::once(from).chain(later).collect(), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use event::Timestamp;

    use super::*;
    use crate::query::metrics::SENDS;
    use crate::query::{Granularity, QueryTime, Scope};

    /// A query about the last 30 days whose cost is a byte for each minute.
    fn check(granularity: Granularity, limit: u64) -> Result<(), QueryError> {
        let now: jiff::Timestamp = "2026-03-31T00:00:00Z".parse().unwrap();
        let now = Timestamp::from_millis(now.as_millisecond());
        let query = Query::builder(Scope::All)
            .metrics([SENDS])
            .range(QueryTime::days_ago(30), QueryTime::Now)
            .granularity(granularity)
            .build(now)
            .unwrap();
        query.check_cost(limit, |query| {
            let (from, to) = query.range();
            Ok(u64::from(to.0 - from.0))
        })
    }

    #[test]
    fn query_within_the_limit_passes() {
        assert_eq!(check(Granularity::Day, 30 * 1440), Ok(()));
    }

    #[test]
    fn refusal_names_the_longest_range_that_passes() {
        for (granularity, limit, from) in [
            (Granularity::Day, 30 * 1440 - 1, "from=2026-03-02T00:00:00Z"),
            (Granularity::Day, 3 * 1440 + 5, "from=2026-03-28T00:00:00Z"),
            (Granularity::Hour, 3 * 1440 + 65, "from=2026-03-27T23:00:00Z"),
            (Granularity::Total, 90, "from=2026-03-30T23:00:00Z"),
        ] {
            let error = check(granularity, limit).unwrap_err();
            assert_eq!((error.kind, error.example.as_ref()), (QueryErrorKind::Unanswerable, from), "{error}");
        }
        assert_eq!(check(Granularity::Day, 1).unwrap_err().parameter, "metrics");
    }
}
