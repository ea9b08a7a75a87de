//! Measures how fast events are accumulated into cells, and how fast blocks are encoded, decoded, merged and scanned.
//!
//! Run it with `cargo bench -p cells --bench cells`. The traffic is synthetic but shaped like real traffic: tenants, campaigns and
//! domains follow Zipf's law, over an hour of minutes, with three events per message.
#![expect(clippy::expect_used, reason = "a failing benchmark should stop")]

use std::borrow::Cow;
use std::hint::black_box;

use cells::{Accumulator, Block, BlockReader, Counter, Projection, Resolution, RowSource as _};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use event::attribution::{Dimension, DimensionValues, RecipientDimensions, RecipientProvider};
use event::{EmailEvent, EventType, Interaction, Minute, RecipientHash, Requester, Tags, Timestamp};
use simulator::random::Random;
use smallvec::SmallVec;

const EVENTS: u64 = 200_000;

/// An index below `count`, by Zipf's law: small ones far more often than large ones.
fn zipf(random: &mut Random, count: usize) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and count")]
    let number = (count as f64).powf(random.unit()) as usize - 1;
    number.min(count - 1)
}

struct Traffic {
    tenants: Vec<String>,
    campaigns: Vec<String>,
    domains: Vec<String>,
}

const PROVIDERS: [&str; 12] = [
    "gmail",
    "yahoo",
    "microsoft",
    "apple",
    "comcast",
    "gmx",
    "orange",
    "proton",
    "mailru",
    "yandex",
    "qq",
    "other",
];

impl Traffic {
    fn new() -> Self {
        let named = |kind: &str, count: usize| (0..count).map(|n| format!("{kind}-{n}.example")).collect();
        Self { tenants: named("tenant", 50), campaigns: named("campaign", 8), domains: named("domain", 3000) }
    }

    /// Counts `messages` messages with three events each.
    fn count(&self, accumulator: &mut Accumulator, messages: u64) {
        let mut random = Random::from_seed(1);
        for message in 0..messages {
            let tenant = &self.tenants[zipf(&mut random, self.tenants.len())];
            let domain = zipf(&mut random, self.domains.len());
            let values = self.values(&mut random, tenant);
            let recipient = RecipientDimensions {
                domain: Cow::Borrowed(self.domains[domain].as_str()),
                provider: RecipientProvider::Known(PROVIDERS[domain % PROVIDERS.len()]),
                simulator: false,
            };
            let sent_at =
                Timestamp::from_millis(1_760_000_000_000 + (message * 3_600_000 / messages).cast_signed());
            let millis = 300 + random.next() % 5000;
            let opened = Interaction {
                link: None,
                link_tags: Tags::default(),
                user_agent: Cow::Borrowed("Mozilla/5.0"),
                ip_address: Cow::Borrowed("192.0.2.1"),
                requester: Requester::Person,
            };
            let kinds = [
                (EventType::Send, 0),
                (EventType::Delivery { processing_ms: Some(millis) }, millis),
                (EventType::Open(opened), 60_000 + random.next() % 3_000_000),
            ];
            for (kind, later) in kinds {
                let event = event(kind, sent_at, later);
                accumulator.count(tenant, &values, &recipient, &event, RecipientHash(random.next()));
            }
        }
    }

    fn values<'a>(&'a self, random: &mut Random, tenant: &'a str) -> DimensionValues<'a> {
        const SEGMENTS: [&str; 3] = ["new", "active", "lapsing"];
        let mut values = [const { Cow::Borrowed(Dimension::NONE) }; Dimension::COUNT];
        values[Dimension::Campaign as usize] =
            Cow::Borrowed(&self.campaigns[zipf(random, self.campaigns.len())]);
        values[Dimension::Segment as usize] = Cow::Borrowed(SEGMENTS[zipf(random, SEGMENTS.len())]);
        values[Dimension::SendingDomain as usize] = Cow::Borrowed(tenant);
        values[Dimension::ConfigurationSet as usize] = Cow::Borrowed("marketing");
        values
    }
}

fn event(kind: EventType<'static>, sent_at: Timestamp, later: u64) -> EmailEvent<'static> {
    EmailEvent {
        event_type: kind,
        at: sent_at.plus_millis(later.cast_signed()),
        sent_at: Some(sent_at),
        message_id: Cow::Borrowed(""),
        recipients: SmallVec::new(),
        destinations: SmallVec::new(),
        destination_count: 1,
        source: Cow::Borrowed(""),
        sending_account: None,
        source_arn: None,
        evidence: event::provider::evidence::ProviderEvidence::Absent,
        tags: Tags::default(),
    }
}

fn accumulate(bench: &mut Criterion) {
    let traffic = Traffic::new();
    let mut group = bench.benchmark_group("accumulate");
    group.throughput(Throughput::Elements(EVENTS / 3 * 3)).sample_size(10);
    group.bench_function("all dimensions", |bencher| {
        bencher.iter(|| {
            let mut accumulator = Accumulator::full();
            traffic.count(&mut accumulator, EVENTS / 3);
            accumulator
        });
    });
    // A batch as the aggregate function gets it: one second of mail of many tenants.
    group.throughput(Throughput::Elements(9_999));
    group.bench_function("a batch of 10,000 to encoded blocks", |bencher| {
        bencher.iter(|| {
            let mut accumulator = Accumulator::full();
            traffic.count(&mut accumulator, 3_333);
            accumulator.into_blocks().iter().map(|(_, block)| block.encode().len()).sum::<usize>()
        });
    });
    group.finish();
}

/// One tenant's day by the hour, under 1,000 recipient domains.
fn day(number: u32) -> Block {
    let traffic = Traffic::new();
    let mut random = Random::from_seed(u64::from(number));
    let mut accumulator = Accumulator::full();
    let start = i64::from(number) * 86_400_000 + 1_760_054_400_000;
    for key in 0..1000_usize {
        let values = traffic.values(&mut random, "tenant");
        let recipient = RecipientDimensions {
            domain: Cow::Borrowed(&traffic.domains[key]),
            provider: RecipientProvider::Known(PROVIDERS[key % PROVIDERS.len()]),
            simulator: false,
        };
        for hour in 0..24 {
            let sent_at = Timestamp::from_millis(start + hour * 3_600_000);
            for _ in 0..=zipf(&mut random, 40) {
                let millis = 300 + random.next() % 5000;
                for kind in [EventType::Send, EventType::Delivery { processing_ms: Some(millis) }] {
                    let event = event(kind, sent_at, 0);
                    accumulator.count("tenant", &values, &recipient, &event, RecipientHash(0));
                }
            }
        }
    }
    let (_, block) = accumulator.into_blocks().remove(0);
    block.roll_up(Resolution::Hour)
}

fn blocks(bench: &mut Criterion) {
    let days: Vec<Block> = (0..30).map(day).collect();
    let encoded: Vec<Vec<u8>> = days.iter().flat_map(Block::encode).collect();
    let rows: usize = days.iter().map(Block::row_count).sum();
    let mut group = bench.benchmark_group("30 days of 1,000 keys by the hour");
    group.throughput(Throughput::Elements(rows as u64)).sample_size(20);
    let projection = Projection::default().with(Counter::Sends).with(Counter::Deliveries);
    group.bench_function("scan of 2 counters", |bencher| {
        bencher.iter(|| {
            let mut sum = 0;
            for bytes in &encoded {
                let reader = BlockReader::open(bytes).expect("it was just encoded");
                let mut each = |row: cells::RowRef<'_>| {
                    sum += row.counters.get(Counter::Sends) + row.counters.get(Counter::Deliveries);
                };
                reader
                    .scan_cells(&projection, Minute(0), Minute(u32::MAX), &mut each)
                    .expect("it was just encoded");
            }
            sum
        });
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            encoded
                .iter()
                .map(|bytes| Block::decode(bytes).expect("it was just encoded").row_count())
                .sum::<usize>()
        });
    });
    group.bench_function("encode", |bencher| {
        bencher.iter(|| days.iter().map(|day| day.encode().len()).sum::<usize>());
    });
    group.bench_function("merge", |bencher| {
        bencher.iter_batched(
            || days.clone(),
            |days| black_box(Block::merge_all(days)),
            criterion::BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, accumulate, blocks);
criterion_main!(benches);
