//! A table of counts in CSV: strict about what it holds, lenient about what it leaves out.
//!
//! An error names file, line and column. Values come from outside: lines and names are bounded, a count is a finite number of
//! at least 0. Names are borrowed from nobody: a line is read, turned into counts and forgotten.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use detection::Counts;
use event::{InvalidTenant, TenantId, Timestamp};

use crate::output;

/// Longest line, in bytes: sixteen short cells never come near it.
const MAX_LINE: u64 = 64 * 1024;
/// Most of anything in one bucket: far above what is sent, far below where sums lose whole numbers.
const MAX_COUNT: f64 = 1e12;
/// The tenant of a table that names none.
const ONE_TENANT: &str = "(unassigned)";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Time,
    Tenant,
    Provider,
    Campaign,
    Sends,
    Deliveries,
    BouncesPermanent,
    BouncesTransient,
    Delays,
    Complaints,
    Opens,
    Clicks,
    DeliveryMean,
    DeliveryP50,
    DeliveryP95,
    QueueDepth,
}

const COLUMNS: [(&str, Column); 16] = [
    ("time", Column::Time),
    ("tenant", Column::Tenant),
    ("provider", Column::Provider),
    ("campaign", Column::Campaign),
    ("sends", Column::Sends),
    ("deliveries", Column::Deliveries),
    ("bounces_permanent", Column::BouncesPermanent),
    ("bounces_transient", Column::BouncesTransient),
    ("delays", Column::Delays),
    ("complaints", Column::Complaints),
    ("opens", Column::Opens),
    ("clicks", Column::Clicks),
    ("delivery_ms_mean", Column::DeliveryMean),
    ("delivery_ms_p50", Column::DeliveryP50),
    ("delivery_ms_p95", Column::DeliveryP95),
    ("queue_depth", Column::QueueDepth),
];

/// A row of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Where it stands in the file, from 1.
    pub number: u64,
    /// Minutes since 1970.
    pub minute: u32,
    /// The tenant.
    pub tenant: String,
    /// The provider, empty if not said.
    pub provider: String,
    /// The campaign, empty if none.
    pub campaign: String,
    /// The counts.
    pub counts: Counts,
    /// Mean, median and 95th percentile of the delivery time, in milliseconds.
    pub delivery_ms: [Option<f64>; 3],
}

/// A table that is read line by line.
pub struct CountsTable {
    input: Box<dyn BufRead>,
    /// The file's name, for errors.
    pub name: String,
    /// Columns that mean nothing here.
    pub unknown: Vec<String>,
    columns: Vec<Option<Column>>,
    text: String,
    number: u64,
}

/// A file to be read by the line; `-` is standard input.
pub fn open_file(path: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Box::new(BufReader::with_capacity(1 << 20, file)))
}

impl CountsTable {
    /// Opens a file and warns of columns that mean nothing here.
    pub fn open_file(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let table = Self::open(open_file(path)?, &name)?;
        if !table.unknown.is_empty() {
            let columns = table.unknown.join(", ");
            output::tell(&format!("warning: {name}: columns not known are left out: {columns}"));
        }
        Ok(table)
    }

    /// Reads the header.
    pub fn open(input: Box<dyn BufRead>, name: &str) -> anyhow::Result<Self> {
        let mut table = Self {
            input,
            name: name.to_owned(),
            unknown: Vec::new(),
            columns: Vec::new(),
            text: String::new(),
            number: 0,
        };
        if !table.read_text()? {
            bail!("{name}: the file is empty; its first line names the columns, time first");
        }
        for cell in cells(table.text.trim_start_matches('\u{feff}')) {
            let cell = cell.with_context(|| format!("{name}: line 1"))?;
            let column = COLUMNS.iter().find(|(known, _)| *known == cell.trim()).map(|(_, column)| *column);
            if column.is_some() && table.columns.contains(&column) {
                bail!("{name}: line 1: column {} is named twice", cell.trim());
            }
            if column.is_none() {
                table.unknown.push(format!("{:?}", cell.trim().chars().take(40).collect::<String>()));
            }
            table.columns.push(column);
        }
        if !table.columns.contains(&Some(Column::Time)) {
            bail!("{name}: line 1: there is no column time");
        }
        Ok(table)
    }

    fn read_text(&mut self) -> anyhow::Result<bool> {
        self.text.clear();
        self.number += 1;
        let mut limited = (&mut self.input).take(MAX_LINE);
        let read = limited
            .read_line(&mut self.text)
            .with_context(|| format!("{}: line {}: cannot be read as UTF-8 text", self.name, self.number))?;
        if read as u64 == MAX_LINE {
            bail!("{}: line {} is longer than {MAX_LINE} bytes", self.name, self.number);
        }
        let end = self.text.trim_end_matches(['\n', '\r']).len();
        self.text.truncate(end);
        Ok(read > 0)
    }

    /// The next row; none at the end. Empty lines are skipped.
    pub fn next_line(&mut self) -> anyhow::Result<Option<Line>> {
        loop {
            if !self.read_text()? {
                return Ok(None);
            }
            if !self.text.is_empty() {
                return self.parse().map(Some);
            }
        }
    }

    fn parse(&self) -> anyhow::Result<Line> {
        let mut line = Line {
            number: self.number,
            minute: 0,
            tenant: ONE_TENANT.to_owned(),
            provider: String::new(),
            campaign: String::new(),
            counts: Counts::default(),
            delivery_ms: [None; 3],
        };
        let mut columns = self.columns.iter();
        for cell in cells(&self.text) {
            let cell = cell.with_context(|| format!("{}: line {}", self.name, self.number))?;
            let Some(column) = columns.next() else {
                bail!(
                    "{}: line {}: more cells than the {} columns",
                    self.name,
                    self.number,
                    self.columns.len()
                );
            };
            let Some(column) = column else { continue };
            self.take(*column, cell.trim(), &mut line)?;
        }
        if columns.len() > 0 {
            bail!("{}: line {}: fewer cells than the {} columns", self.name, self.number, self.columns.len());
        }
        note_latency(&mut line.counts, line.delivery_ms);
        Ok(line)
    }

    fn take(&self, column: Column, cell: &str, line: &mut Line) -> anyhow::Result<()> {
        if cell.is_empty() && column != Column::Time {
            return Ok(());
        }
        let counts = &mut line.counts;
        match column {
            Column::Time => line.minute = self.minute(cell)?,
            Column::Tenant => line.tenant = self.tenant(cell)?,
            Column::Provider => cell.clone_into(&mut line.provider),
            Column::Campaign => cell.clone_into(&mut line.campaign),
            Column::Sends => counts.sends = self.count(cell, column)?,
            Column::Deliveries => counts.deliveries = self.count(cell, column)?,
            Column::BouncesPermanent => counts.bounces_permanent = self.count(cell, column)?,
            Column::BouncesTransient => counts.bounces_transient = self.count(cell, column)?,
            Column::Delays => counts.delays = self.count(cell, column)?,
            Column::Complaints => counts.complaints = self.count(cell, column)?,
            Column::Opens => counts.opens = self.count(cell, column)?,
            Column::Clicks => counts.clicks = self.count(cell, column)?,
            Column::DeliveryMean => line.delivery_ms[0] = Some(self.count(cell, column)?),
            Column::DeliveryP50 => line.delivery_ms[1] = Some(self.count(cell, column)?),
            Column::DeliveryP95 => line.delivery_ms[2] = Some(self.count(cell, column)?),
            Column::QueueDepth => line.counts.queue_depth = Some(self.count(cell, column)?),
        }
        Ok(())
    }

    /// Reads a tenant's name. Reserved names are refused: `*` would be taken for all tenants together.
    fn tenant(&self, cell: &str) -> anyhow::Result<String> {
        match TenantId::to_read(cell) {
            Err(error @ InvalidTenant::Reserved { .. }) => {
                bail!("{}: line {}: {error}", self.name, self.number);
            }
            Ok(_) | Err(InvalidTenant::Name(_)) => Ok(cell.to_owned()),
        }
    }

    fn minute(&self, cell: &str) -> anyhow::Result<u32> {
        let Ok(moment) = cell.parse::<jiff::Timestamp>() else {
            bail!(
                "{}: line {}: time {:?} is not RFC 3339, such as 2026-11-25T08:00:00Z",
                self.name,
                self.number,
                shown(cell)
            );
        };
        Ok(Timestamp::from_millis(moment.as_millisecond()).minute().0)
    }

    fn count(&self, cell: &str, column: Column) -> anyhow::Result<f64> {
        match cell.parse::<f64>() {
            Ok(count) if (0.0..=MAX_COUNT).contains(&count) => Ok(count),
            _ => {
                let name = COLUMNS.iter().find(|(_, known)| *known == column).map_or("", |(name, _)| name);
                bail!(
                    "{}: line {}: {name} {:?} is not a number of 0 to 10^12",
                    self.name,
                    self.number,
                    shown(cell)
                );
            }
        }
    }
}

/// What there is of mean, median and 95th percentile, each with the same weight: any of them moves with trouble.
fn note_latency(counts: &mut Counts, latency: [Option<f64>; 3]) {
    let known: Vec<f64> = latency.into_iter().flatten().filter(|value| *value > 0.0).collect();
    if known.is_empty() {
        return;
    }
    let logarithm = known.iter().map(|value| value.ln()).sum::<f64>() / known.len() as f64;
    counts.note_latency(logarithm.exp(), counts.deliveries);
}

/// A cell as an error shows it.
pub fn shown(cell: &str) -> String {
    cell.chars().take(40).collect()
}

/// The cells of a line of CSV (RFC 4180, without line breaks inside quotes).
pub fn cells(line: &str) -> impl Iterator<Item = anyhow::Result<std::borrow::Cow<'_, str>>> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let text = rest?;
        if let Some(quoted) = text.strip_prefix('"') {
            let mut end = 0;
            loop {
                let Some(quote) = quoted.get(end..).and_then(|tail| tail.find('"')) else {
                    rest = None;
                    return Some(Err(anyhow::anyhow!("a quote is not closed")));
                };
                end += quote;
                if quoted.get(end + 1..).is_some_and(|tail| tail.starts_with('"')) {
                    end += 2;
                    continue;
                }
                break;
            }
            let cell = quoted.get(..end).unwrap_or_default().replace("\"\"", "\"");
            let tail = quoted.get(end + 1..).unwrap_or_default();
            if !tail.is_empty() && !tail.starts_with(',') {
                rest = None;
                return Some(Err(anyhow::anyhow!("text follows a closing quote")));
            }
            rest = tail.strip_prefix(',');
            return Some(Ok(cell.into()));
        }
        let (cell, tail) = text.split_once(',').map_or((text, None), |(cell, tail)| (cell, Some(tail)));
        rest = tail;
        Some(Ok(cell.into()))
    })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn read(csv: &str) -> anyhow::Result<Vec<Line>> {
        let mut table = CountsTable::open(Box::new(Cursor::new(csv.to_owned())), "c.csv")?;
        let mut lines = Vec::new();
        while let Some(line) = table.next_line()? {
            lines.push(line);
        }
        Ok(lines)
    }

    #[test]
    fn columns_may_be_missing_empty_and_in_any_order() {
        let lines = read(
            "sends,time,campaign\n5,2026-11-02T10:00:00Z,\n,2026-11-02T11:05:00+01:00,\"a,\"\"b\"\"\"\n",
        )
        .unwrap();
        assert!((lines[0].counts.sends - 5.0).abs() < 1e-9);
        assert_eq!(lines[0].tenant, ONE_TENANT);
        assert_eq!(lines[1].minute, lines[0].minute + 5);
        assert_eq!(lines[1].campaign, "a,\"b\"");
        assert!(lines[1].counts.sends < 1e-9);
    }

    #[test]
    fn unknown_columns_are_named() {
        let table = CountsTable::open(Box::new(Cursor::new("time,colour\n")), "c.csv").unwrap();
        assert_eq!(table.unknown, ["\"colour\""]);
    }

    #[test]
    fn errors_name_file_line_and_column() {
        for (csv, expected) in [
            ("", "c.csv: the file is empty"),
            ("sends\n", "line 1: there is no column time"),
            ("time,sends,sends\n", "named twice"),
            ("time,sends\nyesterday,5\n", "line 2: time \"yesterday\""),
            ("time,sends\n2026-11-02T10:00:00Z,-5\n", "line 2: sends \"-5\""),
            ("time,sends\n2026-11-02T10:00:00Z,NaN\n", "line 2: sends \"NaN\""),
            ("time,opens\n2026-11-02T10:00:00Z,1e99\n", "opens \"1e99\""),
            ("time,sends\n2026-11-02T10:00:00Z\n", "line 2: fewer cells"),
            ("time,sends\n2026-11-02T10:00:00Z,1,2\n", "line 2: more cells"),
            ("time,tenant\n2026-11-02T10:00:00Z,*\n", "line 2: tenant name \"*\" is reserved"),
            ("time,tenant\n2026-11-02T10:00:00Z,(other)\n", "line 2: tenant name \"(other)\" is reserved"),
        ] {
            let error = read(csv).unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} does not say {expected:?}");
        }
        assert!(read("time,sends\n\"2026,5\n").is_err());
        assert!(read(&format!("time\n{}\n", "x".repeat(70_000))).is_err());
    }
}
