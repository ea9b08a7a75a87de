//! Properties of answers through the router: groups sum to the total, hours to days of any length, and parts of a range to the range;
//! rates by the time of sending are fractions.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use event::{ShardId, Timestamp};
use pipeline::directory::api_keys::{self, ApiKey, Grant};
use pipeline::memory::MemoryStore;
use pipeline::testing::counting::{self, FixedClock};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};
use simulator::{Plan, Simulation};
use tower::ServiceExt as _;
use web::{HttpsFetch, RouterSettings};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAYS: u32 = 4;
/// Four days about the end of summer time in Europe, 2025-10-26, and about its beginning, 2026-03-29.
const STARTS: [i64; 2] = [1_761_264_000_000, 1_774_569_600_000];
/// The counts that add up over any partition.
const COUNTS: [&str; 15] = [
    "sends",
    "deliveries",
    "bounces",
    "bounces_permanent",
    "bounces_transient",
    "suppressed",
    "complaints",
    "rejects",
    "delays",
    "delayed",
    "opens",
    "opens_machine",
    "clicks",
    "clicks_bot",
    "delivered_net",
];
const DIMENSIONS: [&str; 6] =
    ["provider", "campaign", "segment", "recipient_domain", "sending_domain", "tenant"];
const RATES: [&str; 7] = [
    "delivery_rate",
    "net_delivery_rate",
    "bounce_rate",
    "complaint_rate",
    "open_rate",
    "click_to_open_rate",
    "delay_rate",
];

/// Four days of simulated mail of three tenants.
struct World {
    runtime: tokio::runtime::Runtime,
    router: Router,
    key: String,
    start: i64,
}

impl World {
    fn new(start_ms: i64) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = Arc::new(MemoryStore::new());
        let plan = Plan {
            tenants: 3,
            emails_per_minute: 1.0,
            minutes: DAYS * 24 * 60,
            start_ms,
            seed: 7,
            hosted_percent: None,
            incidents: Vec::new(),
        };
        let (mut simulation, mut lines, mut number) = (Simulation::new(plan).unwrap(), Vec::new(), 0);
        let shard = ShardId::new("shard-1").unwrap();
        while let Some(minute) = simulation.next_minute(&mut lines) {
            let at = Timestamp::from_millis(minute.start_ms + MINUTE_MS);
            if minute.start_ms % HOUR_MS == 0 && !lines.is_empty() {
                number += 1;
                runtime.block_on(counting::count(&store, &shard, number, &lines, at)).unwrap();
                lines.clear();
            }
        }
        let clock = FixedClock(Timestamp::from_millis(start_ms + i64::from(DAYS) * 24 * HOUR_MS));
        let key = ApiKey::from_random([1; 32]);
        runtime.block_on(api_keys::add(&store, &key, Grant::Operator, "test", clock.0, None)).unwrap();
        let service = super::service(store, clock);
        let settings = RouterSettings { requests_per_second: Some(u32::MAX), ..RouterSettings::default() };
        let router = web::router(Arc::new(service), HttpsFetch::default(), settings);
        Self { runtime, router, key: key.reveal().to_owned(), start: start_ms }
    }

    /// The rows of an answer, including `(other)` for the groups that its limit leaves out.
    fn rows(&self, query: &Value) -> Vec<Value> {
        let request = Request::post("/v1/query")
            .header("authorization", format!("Bearer {}", self.key))
            .body(Body::from(query.to_string()))
            .unwrap();
        self.answer(request)["rows"].as_array().unwrap().clone()
    }

    fn answer(&self, request: Request<Body>) -> Value {
        let described = format!("{request:?}");
        let (status, text) = self.runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.unwrap();
            let status = response.status();
            (status, to_bytes(response.into_body(), usize::MAX).await.unwrap())
        });
        let answer: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(status, 200, "{described}: {answer}");
        answer
    }

    /// The sum of each count over all rows.
    fn sums(&self, query: &Value) -> Vec<i64> {
        let mut sums = vec![0; COUNTS.len()];
        for row in self.rows(query) {
            for (sum, count) in sums.iter_mut().zip(COUNTS) {
                *sum += row["metrics"][count].as_i64().unwrap();
            }
        }
        sums
    }

    fn at(&self, minutes: u32) -> String {
        Timestamp::from_millis(self.start + i64::from(minutes) * MINUTE_MS).to_string()
    }

    fn query(&self, question: &Question, from: u32, to: u32) -> Value {
        json!({
            "metrics": COUNTS,
            "from": self.at(from),
            "to": self.at(to),
            "granularity": "total",
            "basis": question.basis,
            "filter": question.filter,
        })
    }
}

/// A query without its range and its groups.
#[derive(Clone, Debug)]
struct Question {
    basis: &'static str,
    filter: Value,
}

/// A filter that all mail passes.
fn all_mail() -> Value {
    json!({ "dimension": "provider", "op": "ne", "value": "nobody" })
}

fn questions() -> impl Strategy<Value = Question> {
    let test = (select(&["gmail", "outlook", "yahoo", "apple"][..]), select(&["eq", "ne"][..]))
        .prop_map(|(value, op)| json!({ "dimension": "provider", "op": op, "value": value }));
    let filter = test.prop_recursive(2, 4, 2, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            two.clone().prop_map(|(a, b)| json!({ "and": [a, b] })),
            two.prop_map(|(a, b)| json!({ "or": [a, b] })),
            inner.prop_map(|a| json!({ "not": a })),
        ]
    });
    let filter = prop_oneof![Just(all_mail()), filter];
    (select(&["event", "send"][..]), filter).prop_map(|(basis, filter)| Question { basis, filter })
}

/// Minutes where a range begins and ends, on whole hours; never empty.
fn ranges() -> impl Strategy<Value = (u32, u32)> {
    (0..DAYS * 24, 1..DAYS * 24).prop_map(|(from, hours)| {
        let to = (from + hours).min(DAYS * 24);
        (from * 60, to * 60)
    })
}

#[test]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a range's minutes")]
fn groups_buckets_and_parts_of_a_range_sum_to_the_total() {
    let world = World::new(STARTS[0]);
    let all = world.sums(&world.query(&Question { basis: "event", filter: all_mail() }, 0, DAYS * 24 * 60));
    assert!(all[0] > 1000 && all.iter().filter(|&&sum| sum > 0).count() >= 9, "{all:?}");
    let cases = (
        questions(),
        ranges(),
        subsequence(DIMENSIONS.to_vec(), 1..=3),
        select(&["total", "1h", "15m", "1d"][..]),
        1..400_u32,
        0.0..1.0_f64,
    );
    let config = ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |((question, (from, to), group_by, granularity, limit, cut) in cases)| {
        let whole = world.query(&question, from, to);
        let sums = world.sums(&whole);
        let mut parts = whole.clone();
        // Cohorts are stored by fewer dimensions, and the range of a query is widened to whole buckets.
        let kept = |name: &&str| question.basis == "event" || ["provider", "campaign", "tenant"].contains(name);
        parts["group_by"] = json!(group_by.into_iter().filter(kept).collect::<Vec<_>>());
        let whole_days = from % 1440 == 0 && to % 1440 == 0;
        let fits = match granularity {
            "1d" => whole_days,
            "15m" => question.basis == "event",
            _ => true,
        };
        parts["granularity"] = json!(if fits { granularity } else { "1h" });
        // Without groups the limit would cut off buckets.
        if !parts["group_by"].as_array().unwrap().is_empty() {
            parts["limit"] = json!(limit);
        }
        prop_assert_eq!(&world.sums(&parts), &sums, "{}", parts);
        // By event time a range can be cut at any minute; cohorts are stored by the hour.
        let step = if question.basis == "send" { 60 } else { 1 };
        let middle = from + (f64::from((to - from) / step) * cut) as u32 * step;
        if middle > from {
            let left = world.sums(&world.query(&question, from, middle));
            let right = world.sums(&world.query(&question, middle, to));
            let both: Vec<i64> = left.iter().zip(&right).map(|(left, right)| left + right).collect();
            prop_assert_eq!(both, sums, "cut at {}", middle);
        }
    });
}

#[test]
fn day_of_23_24_or_25_hours_is_the_sum_of_its_hours() {
    for (start, zone, lengths) in [
        (STARTS[0], "Europe/Berlin", [24, 24, 25]),
        (STARTS[1], "Europe/Berlin", [24, 24, 23]),
        (STARTS[0], "Asia/Kolkata", [24, 24, 24]),
    ] {
        let world = World::new(start);
        for basis in ["event", "send"] {
            if basis == "send" && zone == "Asia/Kolkata" {
                // Cohorts are stored by the hour, and days in India begin at half past.
                continue;
            }
            let days = world.rows(&json!({
                "metrics": COUNTS, "from": world.at(0), "to": world.at(DAYS * 24 * 60), "granularity": "1d",
                "timezone": zone, "basis": basis, "fill": "zero",
            }));
            let times: Vec<i64> = days.iter().map(|day| millis(&day["time"])).collect();
            let mut seen = Vec::new();
            for (day, pair) in days.iter().zip(times.windows(2)) {
                let minutes = |at: i64| u32::try_from(((at - world.start) / MINUTE_MS).max(0)).unwrap();
                let question = Question { basis, filter: all_mail() };
                let mut hours = world.query(&question, minutes(pair[0]), minutes(pair[1]));
                hours["granularity"] = json!(if basis == "send" { "1h" } else { "1m" });
                let counts: Vec<i64> =
                    COUNTS.iter().map(|count| day["metrics"][count].as_i64().unwrap()).collect();
                assert_eq!(world.sums(&hours), counts, "{zone} {basis} {}", day["time"]);
                seen.push((pair[1] - pair[0]) / HOUR_MS);
            }
            for length in lengths {
                assert!(seen.contains(&length), "{zone}: {seen:?}");
            }
        }
    }
}

#[test]
fn answers_use_the_tenants_own_time_zone_and_tag_names() {
    let world = World::new(STARTS[0]);
    let bearer = format!("Bearer {}", world.key);
    let tenants = Request::get("/v1/tenants").header("authorization", &bearer).body(Body::empty());
    let tenants = world.answer(tenants.unwrap());
    let tenant = tenants["tenants"][0]["id"].as_str().unwrap();
    let asked = |timezone: &Value| {
        let query = json!({
            "metrics": ["sends"], "from": world.at(24 * 60), "to": world.at(3 * 24 * 60), "granularity": "1d",
            "timezone": timezone, "group_by": ["tag1"],
        });
        let request = Request::post("/v1/query").header("authorization", &bearer);
        let request = request.header("x-mailgauge-tenant", tenant).body(Body::from(query.to_string()));
        world.answer(request.unwrap())["rows"].clone()
    };
    let (utc, berlin) = (asked(&Value::Null), asked(&json!("Europe/Berlin")));
    assert_ne!(utc, berlin);
    let settings = json!({"timezone": "Europe/Berlin", "tag_names": {"tag1": "shop"}});
    let change = Request::patch(format!("/v1/tenants/{tenant}")).header("authorization", &bearer);
    world.answer(change.body(Body::from(settings.to_string())).unwrap());
    assert_eq!(asked(&Value::Null), berlin);
    assert_eq!(asked(&json!("UTC")), utc);
    let named = Request::get("/v1/dimensions").header("authorization", &bearer);
    let named = world.answer(named.header("x-mailgauge-tenant", tenant).body(Body::empty()).unwrap());
    assert!(named.to_string().contains("\"shop\""), "{named}");
    let all = Request::get("/v1/dimensions").header("authorization", &bearer).body(Body::empty());
    assert!(!world.answer(all.unwrap()).to_string().contains("shop"));
}

#[test]
fn rates_by_the_time_of_sending_are_fractions() {
    let world = World::new(STARTS[0]);
    let mut seen = BTreeMap::new();
    for granularity in ["total", "1h", "1d"] {
        for row in world.rows(&json!({
            "metrics": RATES, "from": world.at(0), "to": world.at(DAYS * 24 * 60),
            "granularity": granularity, "group_by": ["provider", "campaign"], "basis": "send",
        })) {
            for rate in RATES {
                if let Some(value) = row["metrics"][rate].as_f64() {
                    assert!((0.0..=1.0).contains(&value), "{rate} {row}");
                    *seen.entry(rate).or_insert(0) += 1;
                }
            }
        }
    }
    assert_eq!(seen.len(), RATES.len(), "{seen:?}");
}

#[test]
fn shares_in_the_overview_sum_to_one() {
    let world = World::new(STARTS[0]);
    let request = Request::get("/v1/overview?from=-4d")
        .header("authorization", format!("Bearer {}", world.key))
        .body(Body::empty())
        .unwrap();
    let overview = world.answer(request);
    let tenants = overview["tenants"].as_array().unwrap();
    assert_eq!(tenants.len(), 3);
    let sum = |name: &str| tenants.iter().map(|tenant| tenant[name].as_f64().unwrap()).sum::<f64>();
    for share in ["share_of_sends", "share_of_hard_bounces"] {
        assert!((sum(share) - 1.0).abs() < 1e-9, "{share}: {overview}");
    }
    assert!(tenants[0]["share_of_complaints"].is_null(), "nobody complained");
    let whole = world.sums(&world.query(&Question { basis: "event", filter: all_mail() }, 0, DAYS * 24 * 60));
    assert!((sum("sends") - whole[0] as f64).abs() < 0.5);
}

fn millis(time: &Value) -> i64 {
    time.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond()
}
