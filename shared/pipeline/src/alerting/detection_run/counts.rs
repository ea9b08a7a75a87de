//! The counts that detection evaluates: by tenant, provider and campaign in each bucket, read from the history.
//!
//! Live detection and back-tests read them in the same way. Counts exist by the minute as long as hours are kept by the minute, and by the
//! hour before that; a bucket finer than what is kept is refused by the query planner.

use std::collections::BTreeMap;
use std::ops::Range;

use detection::{Counts, DeliveryTimePercentiles};
use event::{Hour, Minute, TenantId};

use super::counts_query;
use crate::history::answering::{self, AnswerError};
use crate::history::snapshot::CountingProgress;
use crate::ports::Store;

/// The width of the buckets that are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// One minute: the width of live detection.
    Minute,
    /// Five minutes, each from a multiple of five.
    FiveMinutes,
    /// One hour of UTC.
    Hour,
    /// One day of UTC, from midnight to midnight.
    Day,
}

impl Width {
    /// The width in minutes.
    pub const fn minutes(self) -> u32 {
        match self {
            Self::Minute => 1,
            Self::FiveMinutes => 5,
            Self::Hour => 60,
            Self::Day => 24 * 60,
        }
    }
}

/// A range of whole buckets, without its end.
pub(super) type MinuteRange = Range<Minute>;

/// The counts of one tenant at one provider in one campaign, in one bucket.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OwnedCountsRow {
    pub(super) tenant: TenantId,
    /// Empty for mail without a provider and for the overflow row.
    pub(super) provider: String,
    /// Empty for mail without a campaign and for the overflow row.
    pub(super) campaign: String,
    pub(super) counts: Counts,
    /// The distribution of delivery times, if there were deliveries.
    pub(super) times: Option<DeliveryTimePercentiles>,
}

impl OwnedCountsRow {
    /// The row in the detector's form.
    pub(super) fn row(&self) -> detection::BucketRow<'_> {
        let Self { tenant, provider, campaign, counts, times } = self;
        detection::BucketRow { tenant: tenant.as_str(), provider, campaign, counts: *counts, times: *times }
    }
}

/// Rows by the first minute of their bucket. A bucket without events is absent.
pub(super) type CountsByMinute = BTreeMap<Minute, Vec<OwnedCountsRow>>;

/// Reads counts at one point in time.
pub(super) struct CountsReader<'a, S> {
    pub(super) store: &'a S,
    pub(super) progress: &'a CountingProgress,
    pub(super) width: Width,
    /// The first hour that is kept by the minute.
    pub(super) minutes_kept_from: Hour,
}

impl<S: Store> CountsReader<'_, S> {
    /// Reads the counts of some tenants.
    ///
    /// # Errors
    /// [`AnswerError`] if the counts cannot be read, or are not kept as finely as requested.
    pub(super) async fn read(
        &self,
        tenants: &[TenantId],
        range: &MinuteRange,
    ) -> Result<CountsByMinute, AnswerError> {
        self.read_each(tenants, range, |_, error| Err(error)).await
    }

    /// As [`CountsReader::read`], but leaves out tenants whose counts are damaged or lost: they must not prevent the evaluation of other
    /// tenants' mail.
    pub(super) async fn read_available(
        &self,
        tenants: &[TenantId],
        range: &MinuteRange,
    ) -> Result<CountsByMinute, AnswerError> {
        let leave_out = |tenant: &TenantId, error| {
            let error: &dyn std::error::Error = &error;
            tracing::error!(tenant.id = %tenant, error, "a tenant's mail cannot be evaluated");
            Ok(())
        };
        self.read_each(tenants, range, leave_out).await
    }

    async fn read_each(
        &self,
        tenants: &[TenantId],
        range: &MinuteRange,
        mut unreadable: impl FnMut(&TenantId, AnswerError) -> Result<(), AnswerError>,
    ) -> Result<CountsByMinute, AnswerError> {
        let mut rows = CountsByMinute::new();
        // A query of an empty range is refused, and here it is no mistake.
        if range.is_empty() || tenants.is_empty() {
            return Ok(rows);
        }
        let query = counts_query::query(range, self.width)?;
        let Self { store, progress, minutes_kept_from, .. } = *self;
        answering::answer_each(store, progress, &query, tenants, minutes_kept_from, |tenant, answer| {
            match answer {
                Ok(answer) => counts_query::add(tenant, &answer, &mut rows),
                Err(error) => unreadable(tenant, error)?,
            }
            Ok(())
        })
        .await?;
        Ok(rows)
    }
}
