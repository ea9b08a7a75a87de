//! Writes a point as one line of InfluxDB's line protocol.
//!
//! ```text
//! events,tenant=acme,campaign=spring\ sale sends=3i,deliveries=2i 1763000000123456789
//! ```
//!
//! In tag values, comma, equals sign and space are escaped. Servers disagree about escaped backslashes and accept no control
//! characters, so these become `/` and `_`. Syntax: <https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/>

use std::fmt::Write as _;

use pipeline::ports::Point;

const MEASUREMENT: &str = "events";

/// Appends a point's line.
pub(super) fn append(point: &Point, text: &mut String) {
    text.push_str(MEASUREMENT);
    // The tenant as a tag: a dashboard shows the series of one tenant without reading those of others.
    append_tag("tenant", point.tenant.as_str(), text);
    for (name, value) in &point.dimensions {
        append_tag(name, value, text);
    }
    let mut separator = ' ';
    for (name, count) in &point.counts {
        // Integer fields are signed.
        let count = i64::try_from(*count).unwrap_or(i64::MAX);
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{separator}{name}={count}i");
        separator = ',';
    }
    let _ = writeln!(text, " {}", point.time_ns);
}

/// Names are constants that need no escaping. The protocol has no empty tag values, so they are left out.
fn append_tag(name: &str, value: &str, text: &mut String) {
    if value.is_empty() {
        return;
    }
    let _ = write!(text, ",{name}=");
    for c in value.chars() {
        match c {
            ',' | '=' | ' ' => text.extend(['\\', c]),
            '\\' => text.push('/'),
            _ if c.is_control() => text.push('_'),
            _ => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use event::TenantId;
    use proptest::prelude::*;

    use super::*;

    /// Measurement, tags, fields and time of a line, as a server parses them.
    type Parsed = (String, Vec<(String, String)>, Vec<(String, i64)>, i64);

    fn parse(line: &str) -> Parsed {
        let mut parts = split(line, ' ');
        assert_eq!(parts.len(), 3, "{line}");
        let time = parts.pop().unwrap().parse().unwrap();
        let pair = |text: &str| {
            let mut pair = split(text, '=');
            assert_eq!(pair.len(), 2, "{text}");
            let value = unescape(&pair.pop().unwrap());
            (unescape(&pair.pop().unwrap()), value)
        };
        let fields = split(&parts.pop().unwrap(), ',');
        let fields = fields
            .iter()
            .map(|field| pair(field))
            .map(|(name, value)| (name, value.strip_suffix('i').unwrap().parse().unwrap()));
        let fields = fields.collect();
        let mut series = split(&parts.pop().unwrap(), ',').into_iter();
        let measurement = unescape(&series.next().unwrap());
        (measurement, series.map(|tag| pair(&tag)).collect(), fields, time)
    }

    /// The parts between separators that are not escaped by a backslash.
    fn split(text: &str, separator: char) -> Vec<String> {
        let mut parts = vec![String::new()];
        let mut escaped = false;
        for c in text.chars() {
            if c == separator && !escaped {
                parts.push(String::new());
            } else {
                parts.last_mut().unwrap().push(c);
            }
            escaped = c == '\\' && !escaped;
        }
        parts
    }

    fn unescape(text: &str) -> String {
        text.replace("\\,", ",").replace("\\=", "=").replace("\\ ", " ")
    }

    proptest! {
        #[test]
        fn line_parses_back_to_its_point(
            campaign in "[a ,=\\\\\n\"'äé中]{0,12}", provider in "\\PC{0,12}", sends in 1..u64::MAX, time_ns: i64,
        ) {
            let point = Point {
                tenant: TenantId::new("acme").unwrap(),
                time_ns,
                dimensions: vec![("campaign", campaign.clone()), ("provider", provider.clone())],
                counts: vec![("sends", sends), ("opens", 2)],
            };
            let mut text = String::new();
            append(&point, &mut text);
            append(&point, &mut text);
            let lines: Vec<&str> = text.lines().collect();
            prop_assert_eq!(lines.len(), 2);
            let clean = |value: &str| value.replace('\\', "/").replace(|c: char| c.is_control(), "_");
            let tags = [("tenant", "acme".to_owned()), ("campaign", clean(&campaign)), ("provider", clean(&provider))];
            let tags = tags.into_iter().filter(|(_, value)| !value.is_empty());
            let tags: Vec<_> = tags.map(|(name, value)| (name.to_owned(), value)).collect();
            let sends = i64::try_from(sends).unwrap_or(i64::MAX);
            let expected =
                ("events".to_owned(), tags, vec![("sends".to_owned(), sends), ("opens".to_owned(), 2)], time_ns);
            prop_assert_eq!(parse(lines[0]), expected.clone());
            prop_assert_eq!(parse(lines[1]), expected);
        }
    }
}
