//! What a query costs once its blocks are decoded: 30 days by the hour of a tenant with 1,000 dimension keys, 720,000 rows.
//!
//! The rows are prepared in memory, so that decoding is not measured here.

use std::hint::black_box;

use cells::query::metrics::{DELIVERY_MS_P95, DELIVERY_RATE, SENDS, UNIQUE_OPENS};
use cells::query::{Execution, Filter, Freshness, Granularity, Query, QueryBuilder, Scope};
use cells::{
    AgeClass, BlockError, Counter, Counters, Latency, Projection, Resolution, RowRef, RowSource, Uniques,
};
use criterion::{Criterion, criterion_group, criterion_main};
use event::attribution::Dimension;
use event::provider::learned::LearnedProviders;
use event::{Minute, RecipientHash, TenantId, Timestamp};

const KEYS: u32 = 1_000;
const HOURS: u32 = 720;
const START: Minute = Minute(29_500_020);

/// One block of the whole range, with its rows by key and hour as in a real block.
struct Prepared {
    providers: Vec<String>,
    domains: Vec<String>,
    counters: Counters,
    latency: Latency,
    opens: Uniques,
}

impl Prepared {
    fn new() -> Self {
        let mut prepared = Self {
            providers: (0..KEYS).map(|key| format!("provider-{}", key % 12)).collect(),
            domains: (0..KEYS).map(|key| format!("mail-{key}.example")).collect(),
            counters: Counters::new(),
            latency: Latency::default(),
            opens: Uniques::default(),
        };
        prepared.counters.add(Counter::Sends, 40);
        prepared.counters.add(Counter::Deliveries, 38);
        for delivery in 0..20 {
            prepared.latency.record(400 + delivery * 37);
            prepared.opens.insert(RecipientHash(delivery.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        }
        prepared
    }
}

impl RowSource for Prepared {
    fn resolution(&self) -> Resolution {
        Resolution::Hour
    }
    fn key_count(&self) -> u32 {
        KEYS
    }
    fn key_value(&self, key: u32, dimension: Dimension) -> &str {
        match dimension {
            Dimension::Provider => &self.providers[key as usize],
            Dimension::RecipientDomain => &self.domains[key as usize],
            _ => Dimension::NONE,
        }
    }
    fn scan_cells(
        &self,
        wanted: &Projection,
        _: Minute,
        _: Minute,
        each: &mut dyn FnMut(RowRef<'_>),
    ) -> Result<(), BlockError> {
        for key in 0..KEYS {
            for hour in 0..HOURS {
                each(RowRef {
                    bucket: Minute(START.0 + hour * 60),
                    age: AgeClass::Unknown,
                    key,
                    counters: &self.counters,
                    latency: wanted.latency.then_some(&self.latency),
                    opens: wanted.opens.then_some(&self.opens),
                    clicks: None,
                });
            }
        }
        Ok(())
    }
    fn cohort_count(&self) -> u32 {
        0
    }
    fn cohort_key(&self, _: u32) -> (&str, &str) {
        ("", "")
    }
    fn scan_cohorts(
        &self,
        _: &Projection,
        _: Minute,
        _: Minute,
        _: &mut dyn FnMut(RowRef<'_>),
    ) -> Result<(), BlockError> {
        Ok(())
    }
}

fn query() -> QueryBuilder {
    Query::builder(Scope::All).range(START, Minute(START.0 + HOURS * 60))
}

#[expect(clippy::unwrap_used, reason = "a benchmark that fails should stop")]
fn executed(rows: &Prepared, query: &QueryBuilder) -> Execution {
    let query = query.clone().build(Timestamp::default()).unwrap();
    let mut execution = Execution::new(&query);
    execution.add(&TenantId::new("acme").unwrap(), &LearnedProviders::default(), rows).unwrap();
    execution
}

/// The bytes of the whole reply.
#[expect(clippy::unwrap_used, reason = "a benchmark that fails should stop")]
fn answer(rows: &Prepared, query: &QueryBuilder) -> usize {
    let answer = executed(rows, query).finish(None, Freshness::default());
    answer.to_json().unwrap().len()
}

fn benches(criterion: &mut Criterion) {
    let rows = Prepared::new();
    let mut group = criterion.benchmark_group("query_720k_rows");
    group.sample_size(20);
    let hours = || query().granularity(Granularity::Hour);
    let by_provider = hours().metrics([SENDS, DELIVERY_RATE]).group_by([Dimension::Provider]);
    let queries = [
        ("hours_by_domain_top_10", hours().metrics([SENDS]).group_by([Dimension::RecipientDomain]).limit(10)),
        (
            "total_of_one_provider",
            query().metrics([SENDS, DELIVERY_RATE]).filter(Filter::equal(Dimension::Provider, "provider-3")),
        ),
        (
            "hours_with_sketches",
            hours().metrics([UNIQUE_OPENS, DELIVERY_MS_P95]).group_by([Dimension::Provider]),
        ),
    ];
    group.bench_function("hours_by_provider_only_added", |bencher| {
        bencher.iter(|| executed(&rows, &by_provider));
    });
    for (name, query) in [("hours_by_provider", by_provider)].into_iter().chain(queries) {
        group.bench_function(name, |bencher| bencher.iter(|| black_box(answer(&rows, &query))));
    }
    group.finish();
}

criterion_group!(benches_of_queries, benches);
criterion_main!(benches_of_queries);
