//! Complaint rates of mail at providers that report no complaints to SES, such as Gmail (*silent* providers).
//!
//! No complaint there is absence of data, not a good rate, so the rate has no value. Mail at several providers, of which some report, keeps
//! its rate.

use compact_str::CompactString;
use event::attribution::Dimension;
use event::provider;

use super::count::Count;
use super::filter::{Facet, Filter, Test};
use super::metric::Metric;
use super::rates::Rate;
use super::request::Query;
use crate::cell::Cell;

/// Why a metric has no value although its denominator is not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The providers of the mail do not report what the metric counts.
    NotReported,
}

impl Absence {
    /// The name in replies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotReported => "not_reported",
        }
    }
}

/// Why `metric` has no value in `cell`, whose mail is at silent providers only. If a complaint did arrive, the rate keeps its value.
pub(super) fn absence(metric: Metric, cell: &Cell) -> Option<Absence> {
    let is_absent = metric == Metric::Rate(Rate::Complaint) && Count::Complaints.value(cell) == 0;
    is_absent.then_some(Absence::NotReported)
}

/// Whether the group with these values holds only mail at silent providers.
pub(super) fn is_silent(query: &Query, values: &[CompactString]) -> bool {
    query.group_by.iter().zip(values).any(|(group, value)| is_at_silent(group.facet, value))
}

/// Whether a filter passes only mail at silent providers. `false` if that cannot be told from the filter alone.
pub(super) fn passes_only_silent(filter: &Filter) -> bool {
    match filter {
        Filter::And(parts) => parts.iter().any(passes_only_silent),
        Filter::Or(parts) => !parts.is_empty() && parts.iter().all(passes_only_silent),
        Filter::Where(facet, Test::Equal(value)) => is_at_silent(*facet, value),
        Filter::Where(facet, Test::OneOf(values)) => {
            !values.is_empty() && values.iter().all(|value| is_at_silent(*facet, value))
        }
        Filter::Where(_, Test::NotEqual(_) | Test::Prefix(_) | Test::Contains(_)) | Filter::Not(_) => false,
    }
}

fn is_at_silent(facet: Facet, value: &str) -> bool {
    match facet {
        Facet::Dimension(Dimension::Provider) => !provider::reports_complaints(value),
        Facet::Dimension(Dimension::RecipientDomain) => {
            !provider::reports_complaints(provider::provider(value))
        }
        Facet::Tenant | Facet::Dimension(_) => false,
    }
}
