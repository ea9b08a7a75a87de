//! The names and defaults used to interpret a caller's queries: tag names, time zone and metric registry.

use event::attribution::Dimension;
use jiff::tz::TimeZone;

use super::dimension::QueryDimension;
use super::metrics::MetricRegistry;

/// The longest name of a declared tag. It has to fit into the head of a table.
const MAX_TAG_NAME_BYTES: usize = 64;

/// The names and defaults of one caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locale {
    /// The names of the declared tags, in addition to `tag1` to `tag4`.
    pub tags: [Option<String>; 4],
    /// The time zone of queries that name none. UTC if it is `None` as well.
    pub zone: Option<TimeZone>,
    /// The metrics that queries can name. The built-in ones by default.
    pub metrics: MetricRegistry,
}

impl Locale {
    /// The tags that can have declared names.
    pub const TAGS: [Dimension; 4] = [Dimension::Tag1, Dimension::Tag2, Dimension::Tag3, Dimension::Tag4];

    /// The dimension of that name. A declared tag never hides a built-in dimension.
    pub fn dimension(&self, name: &str) -> Option<QueryDimension> {
        // Built-in names first, so that a query means the same for every tenant.
        QueryDimension::of_mail().find(|dimension| dimension.name() == name).or_else(|| {
            let declared = Self::TAGS.into_iter().zip(&self.tags);
            let named = declared.into_iter().find(|(_, tag)| tag.as_deref() == Some(name));
            named.map(|(dimension, _)| QueryDimension::Mail(dimension))
        })
    }

    /// Whether a tag may have this name: it hides no built-in name and can stand in a query string.
    pub fn may_name(name: &str) -> bool {
        let is_built_in = matches!(name, "tenant" | "time")
            || QueryDimension::of_mail().any(|dimension| dimension.name() == name);
        let is_plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.');
        !is_built_in && (1..=MAX_TAG_NAME_BYTES).contains(&name.len()) && name.bytes().all(is_plain)
    }

    /// Every name that [`Locale::dimension`] knows.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        let built_in = QueryDimension::of_mail().map(|dimension| -> &str { dimension.name() });
        built_in.chain(self.tags.iter().flatten().map(String::as_str))
    }
}
