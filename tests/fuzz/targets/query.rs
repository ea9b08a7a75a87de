//! Queries from anybody with a key: each is refused with a message or answered, and the parts of an answer sum to the whole.
#![no_main]

use std::sync::LazyLock;

use cells::{Block, LocalDays};
use cells::query::{
    BlockCatalogue, BlockRef, Execution, Freshness, Locale, MetricValue, Month, Query, Scope, plan,
};
use event::provider::learned::LearnedProviders;
use event::{Day, Hour, TenantId, Timestamp};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value as Json};

/// Noon of the day after the events.
const NOW: Timestamp = Timestamp::from_seconds(1_763_121_600);
/// Larger replies are not serialised, because that would take most of the time.
const MAX_SERIALISED_ROWS: usize = 1_000;

/// The counted events.
static BLOCKS: LazyLock<Vec<(TenantId, Block)>> =
    LazyLock::new(|| fuzz::blocks(include_bytes!("../../../events/mixed.ndjson")));

/// 30 days by the minute, 400 by the hour, and all since 2020 by the day.
static CATALOGUE: LazyLock<BlockCatalogue> = LazyLock::new(|| {
    let (hour, day) = (NOW.minute().hour(), NOW.minute().hour().day());
    BlockCatalogue {
        hours: (hour.0 - 30 * 24..=hour.0).map(Hour).collect(),
        days: (day.0 - 400..=day.0).map(Day).collect(),
        months: (50 * 12..=Month::of(day).0).map(Month).collect(),
        hours_kept_from: Hour(hour.0 - 30 * 24),
        days_kept_from: Day(day.0 - 400),
        local_days: LocalDays::UTC,
    }
});

fuzz_target!(|bytes: &[u8]| {
    let tags = [Some("language".into()), None, Some("provider".into()), None];
    let names = Locale { tags, ..Locale::default() };
    let text = str::from_utf8(bytes).unwrap_or_default();
    let pairs = text.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    for scope in [Scope::All, Scope::Tenant(TenantId::unassigned())] {
        if let Ok(query) = Query::from_pairs(pairs.clone(), scope.clone(), &names, NOW) {
            let _ = answer(&query);
        }
        if let Ok(query) = Query::from_json(bytes, scope.clone(), &names, NOW) {
            check(&query, bytes, &scope, &names);
        }
    }
});

/// Answers a query and checks the answer.
fn check(query: &Query, body: &[u8], scope: &Scope, names: &Locale) {
    let Ok(Json::Object(body)) = serde_json::from_slice(body) else { return };
    let ask = |fields: Map<String, Json>, now| {
        Query::from_json(Json::Object(fields).to_string().as_bytes(), scope.clone(), names, now)
    };
    if let Some((_, Some(cursor))) = answer(query) {
        let mut next = body.clone();
        next.insert("cursor".into(), cursor.into());
        let later = NOW.plus_millis(86_400_000);
        let range = ask(next, later).ok().map(|next| next.range());
        assert_eq!(range, Some(query.range()), "a cursor does not lead to the next page of its query");
    }
    let is_first_page = body.get("cursor").is_none_or(Json::is_null);
    if query.group_by().is_empty() || !is_first_page || query.edges().len() > Query::MAX_LIMIT {
        return;
    }
    let mut parts = body;
    parts.retain(|name, _| !matches!(name.as_str(), "order_by" | "compare"));
    parts.insert("metrics".into(), "sends".into());
    let mut whole = parts.clone();
    whole.retain(|name, _| !matches!(name.as_str(), "group_by" | "limit"));
    let sum = |fields| ask(fields, NOW).ok().map(|query| answer(&query).map(|(sum, _)| sum));
    assert_eq!(sum(parts), sum(whole), "groups and (other) do not sum to the whole");
}

/// Plans and executes. Returns the sum of the first metric, if it is a count, and the cursor of the next page.
fn answer(query: &Query) -> Option<(u64, Option<String>)> {
    let earlier = query.earlier().ok()?;
    for query in [Some(query), earlier.as_ref()].into_iter().flatten() {
        if let Ok(blocks) = plan(query, &CATALOGUE) {
            assert!(blocks.is_sorted_by_key(|block| start(*block)), "blocks are not ordered by time");
        }
    }
    let execution = execute(query)?;
    let earlier = match &earlier {
        Some(earlier) => Some(execute(earlier)?),
        None => None,
    };
    let answer = execution.finish(earlier, Freshness { complete_until: Some(NOW), ..Freshness::default() });
    if answer.rows().len() <= MAX_SERIALISED_ROWS {
        assert!(serde_json::to_string(&answer).is_ok(), "an answer cannot be serialised");
    }
    let metric = *query.metrics().first()?;
    let counts = answer.rows().map(|row| match row.value(metric) {
        MetricValue::Count(count) => count,
        MetricValue::Number(_) | MetricValue::Missing => 0,
    });
    Some((counts.sum(), answer.next_cursor()))
}

fn execute(query: &Query) -> Option<Execution> {
    let mut execution = Execution::new(query);
    for (tenant, block) in BLOCKS.iter() {
        execution.add(tenant, &LearnedProviders::default(), block).ok()?;
    }
    Some(execution)
}

fn start(block: BlockRef) -> Hour {
    match block {
        BlockRef::Hour(hour) => hour,
        BlockRef::Day(day) => day.first_hour(),
        BlockRef::Month(month) => month.first_day().first_hour(),
    }
}
