//! A year of mail of tenants in several time zones: answers by local days equal a plain count, before and after all compactions.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use cells::Block;
use cells::query::{Locale, MetricRegistry, Query, QueryErrorKind, Scope};
use event::{ShardId, TenantId, Timestamp};
use jiff::ToSpan as _;
use jiff::tz::TimeZone;
use serde_json::Value as Json;

use super::{CompactionSettings, compact};
use crate::block_id::Level;
use crate::directory::tenants::{self, TenantSettings};
use crate::history::answering::{self, AnswerError};
use crate::history::manifest;
use crate::history::reconciliation::reconcile;
use crate::ledger::aggregate::Attempt;
use crate::memory::MemoryStore;
use crate::testing::counting::{self, FixedClock};

const ZONES: [&str; 6] =
    ["Asia/Kolkata", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe", "America/New_York", "UTC"];

/// When a message was sent, and what happened to it and when.
#[derive(Clone, Copy)]
struct Mail {
    sent: jiff::Timestamp,
    delivered: jiff::Timestamp,
    opened: jiff::Timestamp,
}

impl Mail {
    /// The same without outcomes from this age on, in seconds: they happen when nothing is counted any more.
    fn until_age(self, seconds: i64) -> Self {
        let within = |at: jiff::Timestamp| {
            if at.as_second() - self.sent.as_second() < seconds { at } else { jiff::Timestamp::MAX }
        };
        Self { delivered: within(self.delivered), opened: within(self.opened), ..self }
    }
}

/// A year of mail from 1 December 2024 on, most of it within half an hour of a local midnight, and around each change of clocks.
fn year_of_mail(zone: &TimeZone) -> Vec<Mail> {
    let mut mails = Vec::new();
    let mut random = simulator::random::Random::from_seed(7);
    let first = jiff::civil::date(2024, 12, 1);
    for day in 0..365_i64 {
        let midnight =
            first.checked_add(day.days()).unwrap().to_zoned_datetime(zone.clone()).unwrap().timestamp();
        for _ in 0..2 {
            let minutes = i64::try_from(random.next() % 90).unwrap() - 45;
            let sent = midnight.checked_add((minutes * 60 + 7).seconds()).unwrap();
            let seconds = [20, 200, 800, 3_000, 20_000, 80_000, 250_000, 400_000];
            let mut after = || {
                let longest = seconds[usize::try_from(random.next() % 8).unwrap()];
                sent.checked_add((longest - 15).seconds()).unwrap()
            };
            mails.push(Mail { sent, delivered: after(), opened: after() });
        }
    }
    mails
}

/// One tenant over a store in memory, whose mail is compacted as the year goes on.
struct Year {
    store: MemoryStore,
    shard: ShardId,
    tenant: TenantId,
    batches: u64,
}

impl Year {
    async fn new(zone: &str) -> Self {
        let (store, tenant) = (MemoryStore::new(), TenantId::new("acme").unwrap());
        let year = Self { store, shard: ShardId::new("shard-1").unwrap(), tenant, batches: 0 };
        year.move_to(zone).await;
        year
    }

    async fn move_to(&self, zone: &str) {
        let settings = TenantSettings { timezone: Some(zone.to_owned()), ..TenantSettings::default() };
        tenants::save_settings(&self.store, &self.tenant, &settings).await.unwrap();
    }

    /// Counts the events of these mails that happen from `from` up to, not including, `to`.
    async fn count(&mut self, mails: &[Mail], from: jiff::Timestamp, to: jiff::Timestamp) {
        let mut lines = Vec::new();
        for (number, mail) in mails.iter().enumerate() {
            let head = format!(
                r#""mail":{{"timestamp":"{}","messageId":"m-{number}","source":"a@shop.example","destination":["b@gmail.com"],"tags":{{"tenant":["acme"]}}}}"#,
                mail.sent
            );
            let events = [
                (mail.sent, format!(r#"{{"eventType":"Send",{head},"send":{{}}}}"#)),
                (
                    mail.delivered,
                    format!(
                        r#"{{"eventType":"Delivery",{head},"delivery":{{"timestamp":"{}","processingTimeMillis":900,"recipients":["b@gmail.com"]}}}}"#,
                        mail.delivered
                    ),
                ),
                (
                    mail.opened,
                    format!(
                        r#"{{"eventType":"Open",{head},"open":{{"timestamp":"{}","userAgent":"Mozilla/5.0 (Macintosh)","ipAddress":"192.0.2.1"}}}}"#,
                        mail.opened
                    ),
                ),
            ];
            lines.extend(events.into_iter().filter(|(at, _)| from <= *at && *at < to).map(|(_, line)| line));
        }
        self.batches += 1;
        let data = lines.join("\n");
        let totals =
            counting::count(&self.store, &self.shard, self.batches, data.as_bytes(), timestamp(to)).await;
        assert_eq!(totals.unwrap().aggregated, lines.len() as u64);
    }

    async fn compact(&mut self, now: jiff::Timestamp) {
        self.batches += 1;
        let now = timestamp(now);
        let attempt = Attempt { id: self.batches, deadline: now.plus_millis(60_000) };
        let settings = CompactionSettings::default();
        compact::<Block, _, _>(&self.store, &FixedClock(now), &settings, &self.tenant, attempt)
            .await
            .unwrap();
    }

    async fn answer(
        &self,
        now: jiff::Timestamp,
        parameters: &[(&str, &str)],
    ) -> Result<cells::query::Answer, AnswerError> {
        let now = timestamp(now);
        let scope = Scope::Tenant(self.tenant.clone());
        let parameters = parameters.iter().copied();
        let query = Query::from_pairs(parameters, scope, &Locale::default(), now).unwrap();
        let settings = CompactionSettings::default();
        answering::answer(&self.store, &query, &settings, now, NonZeroUsize::MIN).await
    }

    /// The rows of all days, weeks or months since November 2024, by the date on which they begin: sends, deliveries and opens.
    async fn rows(&self, now: jiff::Timestamp, granularity: &str, basis: &str, zone: &str) -> Rows {
        self.rows_at(now, granularity, basis, zone, None).await
    }

    /// The same of outcomes within this age.
    async fn rows_at(
        &self,
        now: jiff::Timestamp,
        granularity: &str,
        basis: &str,
        zone: &str,
        age: Option<&str>,
    ) -> Rows {
        let mut parameters = vec![
            ("metrics", "sends,deliveries,opens"),
            ("from", "2024-11-20"),
            ("to", "2026-01-20"),
            ("granularity", granularity),
            ("basis", basis),
            ("timezone", zone),
        ];
        parameters.extend(age.map(|age| ("max_age", age)));
        let answer = self.answer(now, &parameters).await;
        let answer = answer.unwrap_or_else(|error| panic!("{granularity} {basis} {zone}: {error}"));
        let metric = |name: &str| MetricRegistry::builtin().get(name).unwrap();
        let row = |row: cells::query::AnswerRow<'_>| {
            let date = answer.query().rfc3339(row.time().unwrap())[..10].to_owned();
            (date, ["sends", "deliveries", "opens"].map(|name| row.count(metric(name))))
        };
        answer.rows().map(row).collect()
    }
}

type Rows = BTreeMap<String, [u64; 3]>;

fn timestamp(at: jiff::Timestamp) -> Timestamp {
    Timestamp::from_millis(at.as_millisecond())
}

/// The same rows, counted with a calendar and nothing else.
fn plain_count(
    mails: &[Mail],
    until: jiff::Timestamp,
    granularity: &str,
    basis: &str,
    zone: &TimeZone,
) -> Rows {
    let mut rows = Rows::new();
    for mail in mails {
        for (column, at) in [mail.sent, mail.delivered, mail.opened].into_iter().enumerate() {
            if at >= until {
                continue;
            }
            let counted = if basis == "send" { mail.sent } else { at };
            let date = counted.to_zoned_datetime(zone.clone()).date();
            let date = match granularity {
                "1d" => date,
                "1w" => date.checked_sub(i64::from(date.weekday().to_monday_zero_offset()).days()).unwrap(),
                _ => date.first_of_month(),
            };
            rows.entry(date.to_string()).or_default()[column] += 1;
        }
    }
    rows
}

#[tokio::test]
async fn local_days_weeks_and_months_are_exact_for_ever() {
    for name in ZONES {
        let zone = TimeZone::get(name).unwrap();
        let mails = year_of_mail(&zone);
        let mut year = Year::new(name).await;
        let at = |month: i8| jiff::civil::date(2024, 11, 20).checked_add(i64::from(month).months()).unwrap();
        let at = |month: i8| at(month).at(5, 37, 0, 0).to_zoned_datetime(TimeZone::UTC).unwrap().timestamp();
        for month in 0..14 {
            year.count(&mails, at(month), at(month + 1)).await;
            // Before the compaction the newest month is in deltas alone; afterwards it is in hours, older ones in days and months.
            for is_compacted in [false, true] {
                if is_compacted {
                    year.compact(at(month + 1)).await;
                }
                if !is_compacted && month % 5 != 0 {
                    continue;
                }
                for granularity in ["1d", "1w", "1mo"] {
                    for basis in ["event", "send"] {
                        let found = year.rows(at(month + 1), granularity, basis, name).await;
                        let expected = plain_count(&mails, at(month + 1), granularity, basis, &zone);
                        assert_eq!(
                            found, expected,
                            "{name} {granularity} {basis} after {month} months, {is_compacted}"
                        );
                    }
                }
            }
        }
        // Two years later only blocks of months are left.
        let later = at(14).checked_add((24 * 800).hours()).unwrap();
        year.compact(later).await;
        let (manifest, _) = manifest::read_with_notes(&year.store, &year.tenant).await.unwrap();
        assert!(manifest.record.blocks.keys().all(|id| id.level == Level::Month), "{name}");
        for granularity in ["1d", "1w", "1mo"] {
            for basis in ["event", "send"] {
                let found = year.rows(later, granularity, basis, name).await;
                assert_eq!(
                    found,
                    plain_count(&mails, later, granularity, basis, &zone),
                    "{name} {granularity} {basis}"
                );
            }
        }
        let found = year.rows_at(later, "1d", "send", name, Some("24h")).await;
        let within_a_day: Vec<Mail> = mails.iter().map(|mail| mail.until_age(86_400)).collect();
        assert_eq!(
            found,
            plain_count(&within_a_day, later, "1d", "send", &zone),
            "{name} at the age of a day"
        );
        // Months of UTC can be told apart in every zone.
        let found = year.rows(later, "1mo", "event", "UTC").await;
        assert_eq!(found, plain_count(&mails, later, "1mo", "event", &TimeZone::UTC), "{name}");
        refuses_other_days(&year, later, name).await;
        proves_its_counts(&year, name).await;
    }
}

/// Days of another zone are refused by the boundary that is not kept, and are never left out without a sign.
async fn refuses_other_days(year: &Year, now: jiff::Timestamp, zone: &str) {
    let other = if zone == "UTC" { "Asia/Tokyo" } else { "UTC" };
    let range = [("metrics", "sends"), ("from", "2025-03-04"), ("to", "2025-03-05")];
    for parameters in
        [[("timezone", other), ("granularity", "1d")], [("timezone", zone), ("granularity", "1h")]]
    {
        let refused = year.answer(now, &[range.as_slice(), &parameters].concat()).await.unwrap_err();
        let AnswerError::Query(refused) = refused else { panic!("{refused}") };
        assert_eq!(refused.kind, QueryErrorKind::Unanswerable);
        assert!(refused.to_string().contains(zone) || parameters[0].1 == zone, "{refused}");
    }
}

/// What is read equals what is counted for any range, although the buckets of cells do not begin with the day.
async fn proves_its_counts(year: &Year, zone: &str) {
    let hour = |text: &str| timestamp(text.parse().unwrap()).minute().hour();
    for (from, to) in [
        ("2024-11-01T00:00:00Z", "2026-03-01T00:00:00Z"),
        ("2025-03-04T00:00:00Z", "2025-03-05T00:00:00Z"),
        ("2025-03-30T19:00:00Z", "2025-04-01T01:00:00Z"),
    ] {
        let proof = reconcile(&year.store, &year.tenant, hour(from), hour(to)).await.unwrap();
        assert_eq!(proof.drift(), 0, "{zone} from {from}: {proof:?}");
        assert!(proof.aggregated > 0, "{zone} from {from}");
    }
}

#[tokio::test]
async fn change_of_zone_holds_from_then_on_and_is_said() {
    let (before, after) = (TimeZone::UTC, TimeZone::get("Asia/Kolkata").unwrap());
    let mails = year_of_mail(&after);
    let mut year = Year::new("UTC").await;
    let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
    year.count(&mails, at("2024-11-01T00:00:00Z"), at("2025-06-10T12:00:00Z")).await;
    year.compact(at("2025-06-10T12:00:00Z")).await;
    year.move_to("Asia/Kolkata").await;
    year.count(&mails, at("2025-06-10T12:00:00Z"), at("2026-01-01T00:00:00Z")).await;
    let now = at("2027-12-01T00:00:00Z");
    year.compact(now).await;
    let rows = |from: &'static str, to: &'static str, zone: &'static str| {
        let year = &year;
        let parameters =
            [("metrics", "sends"), ("from", from), ("to", to), ("granularity", "1d"), ("timezone", zone)];
        async move { year.answer(now, &parameters).await }
    };
    for (zone, plain, from, to) in
        [("UTC", before, "2025-01-01", "2025-06-10"), ("Asia/Kolkata", after, "2025-06-11", "2025-11-30")]
    {
        let answer = rows(from, to, zone).await.unwrap();
        let expected: u64 = plain_count(&mails, now, "1d", "event", &plain)
            .iter()
            .filter(|(date, _)| (from..to).contains(&date.as_str()))
            .map(|(_, [sends, ..])| sends)
            .sum();
        let metric = MetricRegistry::builtin().get("sends").unwrap();
        assert_eq!(answer.rows().map(|row| row.count(metric)).sum::<u64>(), expected, "{zone}");
        assert!(answer.notes().zone_changes.is_empty());
    }
    // A range over the change can be asked for where both zones begin a bucket: at the beginning of a month in UTC, or as a whole.
    let parameters =
        [("metrics", "sends"), ("from", "2025-05-01"), ("to", "2025-09-01"), ("granularity", "1mo")];
    let answer = year.answer(now, &parameters).await.unwrap();
    let meta = serde_json::to_value(&answer).unwrap()["meta"]["zone_changes"].clone();
    let change = serde_json::json!([{ "at": "2025-06-10T00:00:00Z", "from": "UTC", "to": "Asia/Kolkata" }]);
    assert_eq!(meta, change);
    let refused = rows("2025-05-01", "2025-09-01", "Asia/Kolkata").await.unwrap_err().to_string();
    let said =
        "cannot be cut at 2025-04-30T18:30:00Z, since the time zone was UTC until 2025-06-10T00:00:00Z";
    assert!(refused.contains(said), "{refused}");
    assert_eq!(
        serde_json::to_value(rows("2025-01-01", "2025-02-01", "UTC").await.unwrap()).unwrap()["meta"]["zone_changes"],
        Json::Null
    );
}
