//! Providers that report no complaints to SES, such as Gmail (*silent* providers).
//!
//! At a silent provider, the absence of complaints means missing data and not a good rate, so a complaint rate has no value there. Mail at several
//! providers, of which some report, keeps its rate.
//!
//! Whether a row holds nothing but such mail shows in its deliveries, which are also summed over the providers that report. What a
//! query's groups and filter say about it is found here: it holds for rows without deliveries as well.

use compact_str::CompactString;
use event::attribution::Dimension;
use event::provider;

use super::dimension::{GroupColumn, QueryDimension};
use super::filter::{Filter, ValueTest};

/// Whether the group with these values holds only mail at silent providers.
pub(super) fn is_silent_group(groups: &[GroupColumn], values: &[CompactString]) -> bool {
    // One such dimension is enough: the mail of a group has all of its values.
    groups.iter().zip(values).any(|(group, value)| is_silent(group.dimension, value))
}

/// Whether a filter passes only mail at silent providers. `false` if the filter alone does not decide that.
pub(super) fn passes_only_silent(filter: &Filter) -> bool {
    match filter {
        Filter::And(parts) => parts.iter().any(passes_only_silent),
        // An empty `or` passes nothing, and `all` of nothing would be true.
        Filter::Or(parts) => !parts.is_empty() && parts.iter().all(passes_only_silent),
        Filter::Condition(dimension, test @ (ValueTest::Equal(_) | ValueTest::OneOf(_))) => {
            let values = test.values();
            !values.is_empty() && values.iter().all(|value| is_silent(*dimension, value))
        }
        Filter::Condition(_, ValueTest::NotEqual(_) | ValueTest::Prefix(_) | ValueTest::Contains(_))
        | Filter::Not(_) => false,
    }
}

fn is_silent(dimension: QueryDimension, value: &str) -> bool {
    match dimension {
        QueryDimension::Mail(Dimension::Provider) => !provider::reports_complaints(value),
        QueryDimension::Mail(Dimension::RecipientDomain) => {
            provider::of_domain(value).is_some_and(|provider| !provider::reports_complaints(provider))
        }
        // Every member of a group must be silent; a group without members in the list is a provider of its own.
        QueryDimension::ProviderGroup => {
            let mut members =
                provider::all().iter().filter(|one| provider::group_of(one.slug) == value).peekable();
            members.peek().is_some() && members.all(|one| !one.reports_complaints)
        }
        QueryDimension::Tenant | QueryDimension::Mail(_) => false,
    }
}
