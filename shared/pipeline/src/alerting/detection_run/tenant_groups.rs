//! Reading the counts in groups of tenants, each by a function of its own.
//!
//! Evaluation stays in one place, since an incident at one provider is one alert for all tenants. But reading takes ten times as long as
//! evaluating: one range of the store for each shard of each tenant. A group whose function fails is read by the process that asked
//! for it, so a failure costs time and nothing else, and the findings are the same as without groups.

use std::borrow::Cow;
use std::future::Future;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use detection::{Counts, DeliveryTimePercentiles};
use event::{InvalidTenant, Minute, TenantId};
use futures::stream::{self, StreamExt as _};
use serde::{Deserialize, Serialize};

use super::counts::{CountsByMinute, CountsReader, MinuteRange, OwnedCountsRow};
use super::{MINUTES_AT_ONCE, WIDTH};
use crate::codec::{MalformedRecord, StoredRecord};
use crate::directory::tenants;
use crate::history::answering::AnswerError;
use crate::history::compaction;
use crate::history::snapshot::CountingProgress;
use crate::ports::{CONCURRENT_CALLS, Clock, Store};
use crate::stored::ReadError;

/// Maximum number of groups. More of them are not faster.
pub const MAX_GROUPS: u32 = 64;
/// Maximum size of the compressed counts in an answer. A function answers with at most 6 MB, and base64 adds a third:
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const MAX_COMPRESSED_BYTES: usize = 4 * 1024 * 1024;
/// Larger answers are not decompressed.
const MAX_DECOMPRESSED_BYTES: usize = 256 * 1024 * 1024;
/// The answer is read once: speed matters more than size.
const COMPRESSION_LEVEL: i32 = 1;

/// Functions each of which reads the counts of one group of tenants.
pub trait GroupReaders: Send + Sync {
    /// The number of groups. With fewer than two, the evaluating process reads everything itself.
    fn groups(&self) -> u32;

    /// Reads the counts of one group.
    fn read(&self, request: GroupRequest)
    -> impl Future<Output = Result<GroupCounts, GroupReadError>> + Send;
}

/// A group was not read by its function.
pub type GroupReadError = Box<dyn std::error::Error + Send + Sync>;

/// No functions: the evaluating process reads everything itself.
impl GroupReaders for () {
    fn groups(&self) -> u32 {
        0
    }

    async fn read(&self, _: GroupRequest) -> Result<GroupCounts, GroupReadError> {
        Err("there are no functions that read groups of tenants".into())
    }
}

impl<R: GroupReaders> GroupReaders for Option<R> {
    fn groups(&self) -> u32 {
        self.as_ref().map_or(0, GroupReaders::groups)
    }

    async fn read(&self, request: GroupRequest) -> Result<GroupCounts, GroupReadError> {
        match self {
            Some(readers) => readers.read(request).await,
            None => ().read(request).await,
        }
    }
}

/// The request to a function: the counts of which tenants and minutes to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRequest {
    /// First minute, since 1970.
    pub from: u32,
    /// First minute after the last one.
    pub to: u32,
    /// The number of the group, from 0.
    pub number: u32,
    /// The number of groups.
    pub of: u32,
}

impl GroupRequest {
    /// Whether a tenant is in the group, which the FNV-1a hash of its name decides.
    pub fn includes(&self, tenant: &TenantId) -> bool {
        let hash = tenant
            .as_str()
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        // FNV mixes the lowest bits least.
        (hash ^ (hash >> 16)) % self.of.max(1) == self.number
    }

    fn check(self) -> Result<Self, GroupError> {
        let is_possible = (2..=MAX_GROUPS).contains(&self.of)
            && self.number < self.of
            && self.from < self.to
            && self.to - self.from <= MINUTES_AT_ONCE;
        if is_possible { Ok(self) } else { Err(GroupError::InvalidRequest(self)) }
    }

    fn range(self) -> MinuteRange {
        Minute(self.from)..Minute(self.to)
    }
}

/// The answer of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupCounts {
    /// The first minute that is not in the answer. It is earlier than requested if more would not fit.
    to: u32,
    /// The encoded rows, compressed and in base64.
    rows: String,
}

/// Why a function did not read its group.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// The request is invalid.
    #[error("{0:?} is invalid: use 2 to {MAX_GROUPS} groups and at most {MINUTES_AT_ONCE} minutes")]
    InvalidRequest(GroupRequest),
    /// The counts could not be read.
    #[error("the counts of a group of tenants could not be read")]
    Counts(#[from] AnswerError),
    /// One minute is more than a function can answer.
    #[error("the counts of one minute take {0} bytes, more than fit into an answer: use more groups")]
    TooLarge(usize),
    /// The two functions have different versions, or the answer was damaged.
    #[error("the counts of a group of tenants cannot be decoded: deploy all functions in the same version")]
    Decode(#[from] MalformedRecord),
    /// The counts cannot be compressed or decompressed.
    #[error("the counts of a group of tenants cannot be compressed or decompressed")]
    Compression(#[from] std::io::Error),
    /// The answer has an invalid tenant.
    #[error(transparent)]
    Tenant(#[from] InvalidTenant),
    /// The answer is not base64.
    #[error("the counts of a group of tenants are not base64")]
    Base64(#[from] base64::DecodeError),
}

/// One row in an answer: minute, tenant, provider, campaign, counts, delivery times.
type EncodedRow<'a> =
    (u32, Cow<'a, str>, Cow<'a, str>, Cow<'a, str>, Counts, Option<DeliveryTimePercentiles>);

/// The rows of an answer.
#[derive(Serialize, Deserialize)]
struct EncodedRows<'a>(Vec<EncodedRow<'a>>);

impl StoredRecord for EncodedRows<'_> {
    const NAME: &'static str = "counts of a group of tenants";
    // The number of detection's own types. Both functions must be of the same version.
    const FORMAT: u8 = detection::state::VERSION;
}

fn encoded_rows(minute: Minute, rows: &[OwnedCountsRow]) -> impl Iterator<Item = EncodedRow<'_>> {
    rows.iter().map(move |OwnedCountsRow { tenant, provider, campaign, counts, times }| {
        (minute.0, tenant.as_str().into(), provider.into(), campaign.into(), *counts, *times)
    })
}

impl GroupCounts {
    /// Encodes as many minutes as fit into an answer.
    fn new(mut to: Minute, mut rows: CountsByMinute) -> Result<Self, GroupError> {
        loop {
            let encoded =
                EncodedRows(rows.iter().flat_map(|(minute, rows)| encoded_rows(*minute, rows)).collect());
            let compressed = zstd::bulk::compress(&encoded.encode(), COMPRESSION_LEVEL)?;
            if compressed.len() <= MAX_COMPRESSED_BYTES {
                return Ok(Self { to: to.0, rows: BASE64_STANDARD.encode(compressed) });
            }
            // Half of the minutes rather than one fewer: each attempt encodes and compresses everything again.
            let minutes: Vec<Minute> = rows.keys().copied().collect();
            match minutes.get(minutes.len() / 2) {
                Some(&half) if minutes.len() > 1 => {
                    rows.split_off(&half);
                    to = half;
                }
                _ => return Err(GroupError::TooLarge(compressed.len())),
            }
        }
    }

    /// The approximate size of the answer in bytes.
    pub fn size(&self) -> usize {
        self.rows.len()
    }

    fn decode(&self) -> Result<CountsByMinute, GroupError> {
        let compressed = BASE64_STANDARD.decode(&self.rows)?;
        let bytes = zstd::bulk::decompress(&compressed, MAX_DECOMPRESSED_BYTES)?;
        let EncodedRows(encoded) = EncodedRows::decode(&bytes)?;
        let mut rows = CountsByMinute::new();
        for (minute, tenant, provider, campaign, counts, times) in encoded {
            let tenant = TenantId::from_stored(&tenant)?;
            let (provider, campaign) = (provider.into_owned(), campaign.into_owned());
            let row = OwnedCountsRow { tenant, provider, campaign, counts, times };
            rows.entry(Minute(minute)).or_default().push(row);
        }
        Ok(rows)
    }
}

/// Answers a request, as a function of its own.
///
/// # Errors
/// [`GroupError`]; the process that asked then reads the group itself.
pub async fn answer<S: Store, C: Clock>(
    store: &S,
    clock: &C,
    history: &compaction::CompactionSettings,
    request: &GroupRequest,
) -> Result<GroupCounts, GroupError> {
    // The caller may be of another version, and a wrong range could be more than memory holds.
    let request = request.check()?;
    let progress = CountingProgress::read(store).await.map_err(AnswerError::from)?;
    let tenants = tenants::list(store).await.map_err(ReadError::from).map_err(AnswerError::from)?;
    let minutes_kept_from = history.first_day_of_hours(clock.now()).first_hour();
    let reader = CountsReader { store, progress: &progress, width: WIDTH, minutes_kept_from };
    let range = request.range();
    let rows = read_group(&reader, &tenants, &range, request).await?;
    GroupCounts::new(range.end, rows)
}

/// Reads the counts of all tenants. Returns the rows and the first minute that is not among them, which is earlier than the end of the
/// range if an answer had no room for all minutes.
pub(super) async fn read_all<S: Store, R: GroupReaders>(
    reader: &CountsReader<'_, S>,
    readers: &R,
    tenants: &[TenantId],
    range: &MinuteRange,
) -> Result<(CountsByMinute, Minute), AnswerError> {
    let of = readers.groups().min(MAX_GROUPS);
    if of < 2 {
        return Ok((reader.read_available(tenants, range).await?, range.end));
    }
    let request = |number| GroupRequest { from: range.start.0, to: range.end.0, number, of };
    let requested: Vec<_> = (0..of).map(|number| request_group(readers, request(number))).collect();
    let answers: Vec<_> = stream::iter(requested).buffered(CONCURRENT_CALLS).collect().await;
    // All groups must end at the same minute, since a minute is evaluated for all tenants together.
    let until = answers.iter().flatten().map(|(_, until)| *until).min().unwrap_or(range.end);
    let range = range.start..until;
    let mut rows = CountsByMinute::new();
    for (number, answer) in (0..).zip(answers) {
        let group = match answer {
            Ok((group, _)) => group,
            Err(error) => {
                tracing::warn!(
                    group = number,
                    error,
                    "a group of tenants was not read by its function and is read here"
                );
                read_group(reader, tenants, &range, request(number)).await?
            }
        };
        for (minute, more) in group.into_iter().filter(|(minute, _)| range.contains(minute)) {
            rows.entry(minute).or_default().extend(more);
        }
    }
    for rows in rows.values_mut() {
        // Sums of fractions only agree to the last bit if they are made in the same order.
        rows.sort_by(|a, b| a.tenant.cmp(&b.tenant));
    }
    Ok((rows, until))
}

/// Asks a function for its group.
async fn request_group<R: GroupReaders>(
    readers: &R,
    request: GroupRequest,
) -> Result<(CountsByMinute, Minute), GroupReadError> {
    let counts = readers.read(request).await?;
    // An answer that makes no progress would be asked for again and again.
    if request.from < counts.to && counts.to <= request.to {
        Ok((counts.decode()?, Minute(counts.to)))
    } else {
        Err("the answer is about other minutes than requested".into())
    }
}

/// Reads the counts of one group in this process.
async fn read_group<S: Store>(
    reader: &CountsReader<'_, S>,
    tenants: &[TenantId],
    range: &MinuteRange,
    request: GroupRequest,
) -> Result<CountsByMinute, AnswerError> {
    // By a hash of the name, so that caller and function agree on the groups without exchanging lists.
    let tenants: Vec<TenantId> = tenants.iter().filter(|tenant| request.includes(tenant)).cloned().collect();
    reader.read_available(&tenants, range).await
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tenant(number: u32) -> TenantId {
        TenantId::new(&format!("tenant-{number:05}")).unwrap()
    }

    fn counts(minutes: std::ops::Range<u32>, tenants: u32, noise: u64) -> CountsByMinute {
        let row = |minute: u32, number: u32| {
            let mixed =
                (u64::from(minute) << 32 | u64::from(number) ^ noise).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            // Bits that do not compress.
            let sends = f64::from_bits(mixed >> 12 | 0x3ff0_0000_0000_0000);
            let counts = Counts { sends, deliveries: sends, latency_sum: sends * 0.1, ..Counts::default() };
            let times = DeliveryTimePercentiles::new(Some(100.0), Some(sends * 1000.0))
                .filter(|_| number.is_multiple_of(2));
            let (tenant, provider) = (tenant(number), format!("provider-{}", mixed % 12));
            OwnedCountsRow { tenant, provider, campaign: String::new(), counts, times }
        };
        minutes
            .map(|minute| (Minute(minute), (0..tenants).map(|number| row(minute, number)).collect()))
            .collect()
    }

    proptest! {
        #[test]
        fn counts_are_decoded_as_they_were_encoded(from in 1_u32..1000, length in 1_u32..30, tenants in 0_u32..20, noise: u64) {
            let mut some = counts(from..from + length, tenants, noise);
            let answer = GroupCounts::new(Minute(from + length), some.clone()).unwrap();
            some.retain(|_, rows| !rows.is_empty());
            prop_assert_eq!(answer.decode().unwrap(), some);
            prop_assert_eq!(answer.to, from + length);
        }

        #[test]
        fn a_tenant_is_in_exactly_one_group(of in 2..=MAX_GROUPS, number: u32) {
            let tenant = tenant(number % 100_000);
            let groups =
                (0..of).filter(|&number| GroupRequest { from: 0, to: 1, number, of }.includes(&tenant));
            prop_assert_eq!(groups.count(), 1);
        }
    }

    #[test]
    fn groups_have_about_the_same_size() {
        for of in [2, 3, 8, 10, 64] {
            let mut sizes = vec![0_usize; of as usize];
            for tenant in (0..10_000).map(tenant) {
                let number = (0..of)
                    .find(|&number| GroupRequest { from: 0, to: 1, number, of }.includes(&tenant))
                    .unwrap();
                sizes[number as usize] += 1;
            }
            let fair = 10_000 / sizes.len();
            assert!(sizes.iter().all(|size| size.abs_diff(fair) < fair / 2), "{of}: {sizes:?}");
        }
    }

    #[test]
    fn an_answer_has_the_minutes_that_fit_and_a_minute_that_does_not_fit_is_refused() {
        let answer = GroupCounts::new(Minute(31), counts(1..31, 30_000, 7)).unwrap();
        assert!(
            answer.to > 1 && answer.to < 31 && answer.size() < 6_000_000,
            "{} {}",
            answer.to,
            answer.size()
        );
        assert_eq!(answer.decode().unwrap().len(), answer.to as usize - 1);
        assert!(matches!(
            GroupCounts::new(Minute(2), counts(1..2, 300_000, 7)),
            Err(GroupError::TooLarge(_))
        ));
    }

    #[test]
    fn an_answer_that_is_damaged_is_an_error() {
        let mut answer = GroupCounts::new(Minute(3), counts(1..3, 5, 1)).unwrap();
        answer.rows.truncate(answer.rows.len() / 8 * 4);
        assert!(answer.decode().is_err());
        answer.rows = "no base64".to_owned();
        assert!(matches!(answer.decode(), Err(GroupError::Base64(_))));
    }

    #[test]
    fn invalid_requests_are_refused() {
        let good = GroupRequest { from: 1, to: 2, number: 0, of: 2 };
        assert!(good.check().is_ok());
        for bad in [
            GroupRequest { of: 1, ..good },
            GroupRequest { of: MAX_GROUPS + 1, ..good },
            GroupRequest { number: 2, ..good },
            GroupRequest { to: 1, ..good },
            GroupRequest { to: 2 + MINUTES_AT_ONCE, ..good },
        ] {
            assert!(matches!(bad.check(), Err(GroupError::InvalidRequest(_))), "{bad:?}");
        }
    }
}
