//! What can be asked about send cohorts: less than about events, because less is kept of them.

use event::attribution::Dimension;

use super::error::QueryError;
use super::filter::Facet;
use super::request::{Basis, Query};

/// Cohorts are kept by the hour of sending, campaign and provider.
pub(super) fn check(query: &Query) -> Result<(), QueryError> {
    if query.basis == Basis::Event {
        return Ok(());
    }
    let kept = |facet: &Facet| {
        matches!(facet, Facet::Tenant | Facet::Dimension(Dimension::Campaign | Dimension::Provider))
    };
    let unkept = |parameter: &str| {
        let problem = "by send cohort there are no other dimensions than campaign and provider";
        QueryError::malformed(parameter, problem, "campaign, provider; or basis event", "provider")
    };
    if !query.group_by.iter().all(|group| kept(&group.facet)) {
        return Err(unkept("group_by"));
    }
    if !query.filter.facets().iter().all(kept) {
        return Err(unkept("filter"));
    }
    if query.edges.iter().all(|edge| edge.0.is_multiple_of(60)) {
        return Ok(());
    }
    let problem = "send cohorts are kept by the hour in UTC";
    Err(if query.granularity.is_calendar() {
        QueryError::malformed("timezone", problem, "a zone whole hours from UTC; or basis event", "UTC")
    } else {
        QueryError::malformed("granularity", problem, "total 1h 1d 1w 1mo; or basis event", "1h")
    })
}
