//! Reading split over several functions: each reads the counts of a share of the tenants, by the hash of their names.
//!
//! Judging stays in one place, since one provider's block is one alert over all tenants; but reading takes ten times as long: a range of
//! the store for each shard of each tenant. A share that does not come is read by the one who asked for it, so that a function that
//! fails costs time and nothing else, and the verdicts are the same as without shares.

use std::borrow::Cow;
use std::future::Future;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use detection::state::{self, StateError};
use detection::{Counts, Spread};
use event::{Hour, InvalidName, Minute, TenantId};
use serde::{Deserialize, Serialize};

use super::MINUTES_AT_ONCE;
use super::counts::{self, Line, Lines};
use crate::directory::tenants;
use crate::history::answering::AnswerError;
use crate::history::compaction;
use crate::history::snapshot::Progress;
use crate::parallel;
use crate::ports::{Clock, Store};
use crate::stored::ReadError;

/// More shares than this are no faster.
pub const MAX_SHARES: u32 = 64;
/// A function answers with at most 6 MB, of which base64 makes a third more:
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Nothing larger is unpacked.
const MAX_UNPACKED_BYTES: usize = 256 * 1024 * 1024;
const COMPRESSION_LEVEL: i32 = 1;

/// Functions that read a share of the counts each.
pub trait Readers: Send + Sync {
    /// How many shares there are; with fewer than two everything is read where it is judged.
    fn shares(&self) -> u32;

    /// Asks for the counts of a share.
    fn ask(&self, share: Share) -> impl Future<Output = Result<Part, AskError>> + Send;
}

/// A share was not read.
pub type AskError = Box<dyn std::error::Error + Send + Sync>;

/// Nobody: everything is read where it is judged.
impl Readers for () {
    fn shares(&self) -> u32 {
        0
    }

    async fn ask(&self, _: Share) -> Result<Part, AskError> {
        Err("nobody is asked".into())
    }
}

impl<R: Readers> Readers for Option<R> {
    fn shares(&self) -> u32 {
        self.as_ref().map_or(0, Readers::shares)
    }

    async fn ask(&self, share: Share) -> Result<Part, AskError> {
        match self {
            Some(readers) => readers.ask(share).await,
            None => ().ask(share).await,
        }
    }
}

/// What a function is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// First minute, since 1970.
    pub from: u32,
    /// First minute after.
    pub to: u32,
    /// The number of the share, from 0.
    pub number: u32,
    /// How many shares there are.
    pub of: u32,
}

impl Share {
    /// Whether a tenant is in it: FNV-1a of the name.
    pub fn has(&self, tenant: &TenantId) -> bool {
        let hash = tenant
            .as_str()
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        // The lowest bits of it are mixed least.
        (hash ^ (hash >> 16)) % self.of.max(1) == self.number
    }

    fn check(self) -> Result<Self, ShareError> {
        let is_possible = (2..=MAX_SHARES).contains(&self.of)
            && self.number < self.of
            && self.from < self.to
            && self.to - self.from <= MINUTES_AT_ONCE;
        if is_possible { Ok(self) } else { Err(ShareError::Impossible(self)) }
    }
}

/// What a function answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The first minute that is not in it: earlier than asked for if more would not fit.
    to: u32,
    /// The lines, packed.
    lines: String,
}

/// Why a share was not read.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// It makes no sense.
    #[error("{0:?} cannot be read: 2 to {MAX_SHARES} shares, at most {MINUTES_AT_ONCE} minutes at once")]
    Impossible(Share),
    /// The counts could not be read.
    #[error("the counts of a share could not be read")]
    Counts(#[from] AnswerError),
    /// One minute is more than a function can answer.
    #[error("the counts of one minute take {0} bytes, more than fit into an answer: take more shares")]
    TooMuch(usize),
    /// The one who asked and the one who answered are not of the same version, or the answer was damaged.
    #[error("a share of the counts cannot be decoded")]
    State(#[from] StateError),
    /// It cannot be packed or unpacked.
    #[error("a share of the counts cannot be unpacked")]
    Packed(#[from] std::io::Error),
    /// A name in it is none of a tenant.
    #[error(transparent)]
    Tenant(#[from] InvalidName),
    /// It is not base64.
    #[error("a share of the counts is not base64")]
    Base64(#[from] base64::DecodeError),
}

impl Part {
    fn new(mut to: Minute, mut lines: Lines) -> Result<Self, ShareError> {
        loop {
            let packed: Vec<Packed<'_>> =
                lines.iter().flat_map(|(minute, lines)| pack(*minute, lines)).collect();
            let packed = zstd::bulk::compress(&state::encode(&packed)?, COMPRESSION_LEVEL)?;
            if packed.len() <= MAX_BYTES {
                return Ok(Self { to: to.0, lines: BASE64_STANDARD.encode(packed) });
            }
            let minutes: Vec<Minute> = lines.keys().copied().collect();
            match minutes.get(minutes.len() / 2) {
                Some(&half) if minutes.len() > 1 => {
                    lines.split_off(&half);
                    to = half;
                }
                _ => return Err(ShareError::TooMuch(packed.len())),
            }
        }
    }

    /// Bytes of the answer, about.
    pub fn size(&self) -> usize {
        self.lines.len()
    }

    fn unpack(&self) -> Result<Lines, ShareError> {
        let bytes = zstd::bulk::decompress(&BASE64_STANDARD.decode(&self.lines)?, MAX_UNPACKED_BYTES)?;
        let mut lines = Lines::new();
        for (minute, tenant, provider, campaign, counts, times) in state::decode::<Vec<Packed<'_>>>(&bytes)? {
            let tenant = TenantId::new(&tenant)?;
            let (provider, campaign) = (provider.into_owned(), campaign.into_owned());
            lines.entry(Minute(minute)).or_default().push(Line { tenant, provider, campaign, counts, times });
        }
        Ok(lines)
    }
}

/// A line: its minute, tenant, provider and campaign, and what was counted.
type Packed<'a> = (u32, Cow<'a, str>, Cow<'a, str>, Cow<'a, str>, Counts, Option<Spread>);

fn pack(minute: Minute, lines: &[Line]) -> impl Iterator<Item = Packed<'_>> {
    lines.iter().map(move |Line { tenant, provider, campaign, counts, times }| {
        (minute.0, tenant.as_str().into(), provider.into(), campaign.into(), *counts, *times)
    })
}

/// Reads a share, as a function of its own.
///
/// # Errors
/// [`ShareError`]; who asked reads the share itself then.
pub async fn answer<S: Store, C: Clock>(
    store: &S,
    clock: &C,
    history: &compaction::Settings,
    share: &Share,
) -> Result<Part, ShareError> {
    let share = share.check()?;
    let progress = Progress::read(store).await.map_err(AnswerError::from)?;
    let tenants = tenants::list(store).await.map_err(ReadError::from).map_err(AnswerError::from)?;
    let kept_from = history.first_day_of_hours(clock.now()).first_hour();
    let range = (Minute(share.from), Minute(share.to));
    let lines = of_share(store, &progress, &tenants, range, kept_from, share).await?;
    Part::new(range.1, lines)
}

/// The lines of all tenants from `range.0` on, and the first minute that is not among them.
pub(super) async fn read<S: Store, R: Readers>(
    store: &S,
    readers: &R,
    progress: &Progress,
    tenants: &[TenantId],
    (from, to): (Minute, Minute),
    kept_from: Hour,
) -> Result<(Lines, Minute), AnswerError> {
    let of = readers.shares().min(MAX_SHARES);
    if of < 2 {
        let lines =
            counts::read_readable(store, progress, tenants, (from, to), super::WIDTH, kept_from).await?;
        return Ok((lines, to));
    }
    let share = |number| Share { from: from.0, to: to.0, number, of };
    let asked = (0..of).map(async |number| {
        let part = readers.ask(share(number)).await?;
        let is_sound = (from.0 + 1..=to.0).contains(&part.to);
        if is_sound {
            Ok((part.unpack()?, Minute(part.to)))
        } else {
            Err("it answered another question".into())
        }
    });
    let answers: Vec<Result<(Lines, Minute), AskError>> = parallel::all(asked).await;
    let until = answers.iter().flatten().map(|(_, until)| *until).min().unwrap_or(to);
    let mut lines = Lines::new();
    for (number, answer) in (0..).zip(answers) {
        let part = match answer {
            Ok((part, _)) => part,
            Err(error) => {
                tracing::warn!(share = number, error, "a share of the counts did not come and is read here");
                of_share(store, progress, tenants, (from, until), kept_from, share(number)).await?
            }
        };
        for (minute, more) in part.into_iter().filter(|(minute, _)| (from..until).contains(minute)) {
            lines.entry(minute).or_default().extend(more);
        }
    }
    for lines in lines.values_mut() {
        // Sums are the same to the last bit if they are made in the same order.
        lines.sort_by(|a, b| a.tenant.cmp(&b.tenant));
    }
    Ok((lines, until))
}

async fn of_share<S: Store>(
    store: &S,
    progress: &Progress,
    tenants: &[TenantId],
    range: (Minute, Minute),
    kept_from: Hour,
    share: Share,
) -> Result<Lines, AnswerError> {
    let tenants: Vec<TenantId> = tenants.iter().filter(|tenant| share.has(tenant)).cloned().collect();
    counts::read_readable(store, progress, &tenants, range, super::WIDTH, kept_from).await
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tenant(number: u32) -> TenantId {
        TenantId::new(&format!("tenant-{number:05}")).unwrap()
    }

    fn lines(minutes: std::ops::Range<u32>, tenants: u32, noise: u64) -> Lines {
        let line = |minute: u32, number: u32| {
            let mixed =
                (u64::from(minute) << 32 | u64::from(number) ^ noise).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            // Bits that do not pack.
            let sends = f64::from_bits(mixed >> 12 | 0x3ff0_0000_0000_0000);
            let counts = Counts { sends, deliveries: sends, latency_sum: sends * 0.1, ..Counts::default() };
            let times = Spread::new(Some(100.0), Some(sends * 1000.0)).filter(|_| number.is_multiple_of(2));
            let (tenant, provider) = (tenant(number), format!("provider-{}", mixed % 12));
            Line { tenant, provider, campaign: String::new(), counts, times }
        };
        minutes
            .map(|minute| (Minute(minute), (0..tenants).map(|number| line(minute, number)).collect()))
            .collect()
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(from in 1_u32..1000, length in 1_u32..30, tenants in 0_u32..20, noise: u64) {
            let mut some = lines(from..from + length, tenants, noise);
            let part = Part::new(Minute(from + length), some.clone()).unwrap();
            some.retain(|_, lines| !lines.is_empty());
            prop_assert_eq!(part.unpack().unwrap(), some);
            prop_assert_eq!(part.to, from + length);
        }

        #[test]
        fn a_tenant_is_in_one_share(of in 2..=MAX_SHARES, number: u32) {
            let tenant = tenant(number % 100_000);
            let shares = (0..of).filter(|&number| Share { from: 0, to: 1, number, of }.has(&tenant));
            prop_assert_eq!(shares.count(), 1);
        }
    }

    #[test]
    fn shares_are_about_equal() {
        for of in [2, 3, 8, 10, 64] {
            let mut sizes = vec![0_usize; of as usize];
            for tenant in (0..10_000).map(tenant) {
                let number =
                    (0..of).find(|&number| Share { from: 0, to: 1, number, of }.has(&tenant)).unwrap();
                sizes[number as usize] += 1;
            }
            let fair = 10_000 / sizes.len();
            assert!(sizes.iter().all(|size| size.abs_diff(fair) < fair / 2), "{of}: {sizes:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_answered_in_part_and_a_minute_that_does_not_fit_is_refused() {
        let part = Part::new(Minute(31), lines(1..31, 30_000, 7)).unwrap();
        assert!(part.to > 1 && part.to < 31 && part.size() < 6_000_000, "{} {}", part.to, part.size());
        assert_eq!(part.unpack().unwrap().len(), part.to as usize - 1);
        assert!(matches!(Part::new(Minute(2), lines(1..2, 300_000, 7)), Err(ShareError::TooMuch(_))));
    }

    #[test]
    fn an_answer_that_is_damaged_is_an_error() {
        let mut part = Part::new(Minute(3), lines(1..3, 5, 1)).unwrap();
        part.lines.truncate(part.lines.len() / 8 * 4);
        assert!(part.unpack().is_err());
        part.lines = "no base64".to_owned();
        assert!(matches!(part.unpack(), Err(ShareError::Base64(_))));
    }

    #[test]
    fn questions_that_make_no_sense_are_refused() {
        let good = Share { from: 1, to: 2, number: 0, of: 2 };
        assert!(good.check().is_ok());
        for bad in [
            Share { of: 1, ..good },
            Share { of: MAX_SHARES + 1, ..good },
            Share { number: 2, ..good },
            Share { to: 1, ..good },
            Share { to: 2 + MINUTES_AT_ONCE, ..good },
        ] {
            assert!(matches!(bad.check(), Err(ShareError::Impossible(_))), "{bad:?}");
        }
    }
}
