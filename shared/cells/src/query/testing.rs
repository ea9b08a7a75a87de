//! What the tests of queries share: events written by hand, and an answer computed naively.

use std::collections::BTreeMap;

use event::attribution::Dimension;
use event::provider::learned::LearnedProviders;
use event::{Minute, RecipientHash, TenantId, Timestamp};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::block::{AgeClass, BlockError, Projection, Resolution, RowRef, RowSource};
use crate::cell::Cell;
use crate::counter::{Counter, CounterId, Counters};
use crate::local_days::LocalDays;

/// 15 March 2026, 12:34:56 UTC: two weeks before clocks change in Europe.
pub(super) const NOW: Timestamp = Timestamp::from_seconds(1_773_578_096);

/// One count of one event.
#[derive(Clone, Debug)]
pub(super) struct TestEvent {
    pub tenant: &'static str,
    pub at: Minute,
    pub sent: Minute,
    pub provider: &'static str,
    pub campaign: &'static str,
    pub domain: &'static str,
    pub counter: CounterId,
    pub count: u64,
    /// Identifies who opened and clicked, and is also the delivery time in milliseconds; 0 for none of them.
    pub opener: u64,
}

impl TestEvent {
    pub(super) fn new(at: &str, provider: &'static str, counter: Counter, count: u64) -> Self {
        let at = minute(at);
        Self {
            tenant: "acme",
            at,
            sent: at,
            provider,
            campaign: "spring",
            domain: "example.com",
            counter: counter.into(),
            count,
            opener: 0,
        }
    }

    pub(super) fn value(&self, dimension: QueryDimension) -> &'static str {
        match dimension {
            QueryDimension::Tenant => self.tenant,
            QueryDimension::Mail(Dimension::Provider) => self.provider,
            QueryDimension::ProviderGroup => event::provider::group_of(self.provider),
            QueryDimension::Mail(Dimension::Campaign) => self.campaign,
            QueryDimension::Mail(Dimension::RecipientDomain) => self.domain,
            QueryDimension::Mail(_) => Dimension::NONE,
        }
    }

    pub(super) fn age(&self) -> AgeClass {
        AgeClass::after_millis(i64::from(self.at.0.saturating_sub(self.sent.0)) * 60_000)
    }

    pub(super) fn cell(&self) -> Cell {
        let mut cell = Cell::default();
        cell.counters.add(self.counter, self.count);
        if self.opener > 0 {
            cell.opens.insert(RecipientHash(self.opener));
            cell.clicks.insert(RecipientHash(self.opener / 2));
            cell.latency.record(self.opener);
        }
        cell
    }
}

pub(super) fn minute(text: &str) -> Minute {
    Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond()).minute()
}

pub(super) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

/// A block of one tenant with one key and one row for each event.
pub(super) struct PlainBlock {
    pub resolution: Resolution,
    /// Where its buckets are cut beside the full hours.
    pub local_days: LocalDays,
    pub rows: Vec<TestEvent>,
}

impl PlainBlock {
    /// A block of minutes.
    pub(super) const fn by_minute(rows: Vec<TestEvent>) -> Self {
        Self { resolution: Resolution::Minute, local_days: LocalDays::UTC, rows }
    }
}

impl RowSource for PlainBlock {
    fn resolution(&self) -> Resolution {
        self.resolution
    }
    fn key_count(&self) -> u32 {
        u32::try_from(self.rows.len()).unwrap()
    }
    fn key_value(&self, key: u32, dimension: Dimension) -> &str {
        self.rows[key as usize].value(QueryDimension::Mail(dimension))
    }
    fn scan_cells(
        &self,
        _: &Projection,
        from: Minute,
        to: Minute,
        each: &mut dyn FnMut(RowRef<'_>),
    ) -> Result<(), BlockError> {
        self.scan(|row| (AgeClass::Unknown, row.at), from, to, each);
        Ok(())
    }
    fn cohort_count(&self) -> u32 {
        self.key_count()
    }
    fn cohort_key(&self, key: u32) -> (&str, &str) {
        let row = &self.rows[key as usize];
        (row.campaign, row.provider)
    }
    fn scan_cohorts(
        &self,
        _: &Projection,
        from: Minute,
        to: Minute,
        each: &mut dyn FnMut(RowRef<'_>),
    ) -> Result<(), BlockError> {
        let cohort = |row: &TestEvent| (row.age(), row.age().bucket(row.sent));
        self.scan(cohort, from, to, each);
        Ok(())
    }
}

impl PlainBlock {
    fn scan(
        &self,
        position: impl Fn(&TestEvent) -> (AgeClass, Minute),
        from: Minute,
        to: Minute,
        each: &mut dyn FnMut(RowRef<'_>),
    ) {
        for (key, row) in (0..).zip(&self.rows) {
            let (age, time) = position(row);
            let bucket = self.local_days.bucket(time, self.resolution);
            let cell = row.cell();
            if from <= bucket && bucket < to {
                each(RowRef {
                    bucket,
                    age,
                    key,
                    counters: &cell.counters,
                    latency: Some(&cell.latency),
                    opens: Some(&cell.opens),
                    clicks: Some(&cell.clicks),
                });
            }
        }
    }
}

pub(super) fn query(body: &Json) -> Query {
    read(body, Scope::All).unwrap_or_else(|refusal| panic!("{body}: {refusal}"))
}

pub(super) fn read(body: &Json, scope: Scope) -> Result<Query, QueryError> {
    Query::from_json(body.to_string().as_bytes(), scope, &Locale::default(), NOW)
}

/// Executes a query over events at the resolution of minutes, tenant by tenant.
pub(super) fn executed(query: &Query, events: &[TestEvent]) -> Execution {
    let mut execution = Execution::new(query);
    for name in ["acme", "globex"] {
        let rows = events.iter().filter(|one| one.tenant == name).cloned().collect();
        execution.add(&tenant(name), &LearnedProviders::default(), &PlainBlock::by_minute(rows)).unwrap();
    }
    execution
}

/// The JSON reply to a query over events.
pub(super) fn reply(body: &Json, events: &[TestEvent]) -> Json {
    let query = query(body);
    let earlier = query.earlier().unwrap().map(|earlier| executed(&earlier, events));
    let answer = executed(&query, events).finish(earlier, Freshness::default());
    serde_json::to_value(answer).unwrap()
}

/// The cells that a query should find, by bucket and group, computed naively. Filters are not applied.
pub(super) fn naive_cells(query: &Query, events: &[TestEvent]) -> BTreeMap<(usize, Vec<String>), Cell> {
    let mut cells: BTreeMap<(usize, Vec<String>), Cell> = BTreeMap::new();
    for event in events {
        let at = if query.basis() == Basis::Send { event.sent } else { event.at };
        let Some(bucket) = query.edges().windows(2).position(|ends| ends[0] <= at && at < ends[1]) else {
            continue;
        };
        let group = query.group_by().iter().map(|group| event.value(group.dimension).to_string()).collect();
        let mut cell = event.cell();
        if !query.projection().counters.contains(event.counter) {
            cell.counters = Counters::new();
        }
        if !cell.is_empty() {
            cells.entry((bucket, group)).or_default().merge(&cell);
        }
    }
    cells
}

/// Any events in the ten weeks before [`NOW`].
pub(super) fn events() -> impl Strategy<Value = Vec<TestEvent>> {
    let one = (
        prop::sample::select(vec!["acme", "globex"]),
        (0..70 * 24 * 60_u32, 0..10 * 24 * 60_u32),
        prop::sample::select(vec!["gmail", "yahoo", "apple", "(other)"]),
        prop::sample::select(vec!["spring", "summer", "(other)"]),
        prop::sample::select(vec!["a.com", "b.com", "c.com", "(other)"]),
        prop::sample::select(vec![0_u8, 1, 2, 3, 8, 12, 20]),
        1..50_u64,
        0..400_u64,
    );
    let one = one.prop_map(|(tenant, (ago, took), provider, campaign, domain, counter, count, opener)| {
        let at = NOW.minute().0 - ago;
        TestEvent {
            tenant,
            at: Minute(at),
            sent: Minute(at - took),
            provider,
            campaign,
            domain,
            counter: CounterId::from_number(counter),
            count,
            opener: opener.saturating_sub(200),
        }
    });
    prop::collection::vec(one, 0..60)
}

/// Any range, granularity, zone and grouping.
pub(super) fn bodies() -> impl Strategy<Value = Json> {
    let groups = prop::sample::subsequence(vec!["tenant", "provider", "campaign", "recipient_domain"], 0..=3);
    let granularity = prop::sample::select(vec!["total", "15m", "1h", "1d", "1w", "1mo"]);
    let zone = prop::sample::select(vec!["UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns"]);
    let (from, length) = (0..75_u32, 1..60 * 24_u32);
    (groups, granularity, zone, from, length, any::<bool>()).prop_map(|(groups, granularity, zone, from, length, odd)| {
        let grain = if odd { 17 } else { 60 };
        let start = NOW.minute().hour().day().first_hour().first_minute().0 - from * 24 * 60 - if odd { 23 } else { 0 };
        let end = start + length * grain;
        json!({
            "metrics": ["sends", "bounces", "in_flight", "delivery_rate", "unique_opens", "open_rate", "delivery_ms_p50"],
            "from": Minute(start).start().to_string(),
            "to": Minute(end).start().to_string(),
            "granularity": granularity,
            "timezone": zone,
            "group_by": groups,
        })
    })
}
