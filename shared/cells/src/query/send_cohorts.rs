//! Which queries can be answered by send cohort: fewer than by event time, because cohorts are kept under fewer dimensions.

use event::attribution::Dimension;

use super::dimension::QueryDimension;
use super::error::QueryError;
use super::request::{Basis, Query};

/// Refuses a query by send cohort that needs more than is kept: campaign, provider and the hour of sending.
pub(super) fn check(query: &Query) -> Result<(), QueryError> {
    if query.basis() == Basis::Event {
        return Ok(());
    }
    let is_kept = |dimension: &QueryDimension| {
        matches!(
            dimension,
            QueryDimension::Tenant | QueryDimension::Mail(Dimension::Campaign | Dimension::Provider)
        )
    };
    let refusal = |parameter: &str| {
        let problem = "send cohorts are kept by campaign and provider only";
        QueryError::malformed(parameter, problem, "campaign, provider; or basis event", "provider")
    };
    if !query.group_by().iter().all(|group| is_kept(&group.dimension)) {
        return Err(refusal("group_by"));
    }
    if !query.filter().dimensions().iter().all(is_kept) {
        return Err(refusal("filter"));
    }
    // The newest cohorts are kept by the minute, but an answer must not become impossible as they age.
    if query.edges().iter().all(|edge| edge.0.is_multiple_of(60)) {
        return Ok(());
    }
    let problem = "send cohorts are kept by the hour in UTC";
    Err(if query.granularity().is_calendar() {
        QueryError::malformed("timezone", problem, "a zone whole hours from UTC; or basis event", "UTC")
    } else {
        QueryError::malformed("granularity", problem, "total 1h 1d 1w 1mo; or basis event", "1h")
    })
}
