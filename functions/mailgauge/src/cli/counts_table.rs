//! The counts CSV of `backtest` and `trends`: strict about the values in it, lenient about columns and values that are missing.
//!
//! Errors name file, line and column. The file comes from outside, so lines are bounded and a count is a finite number of at least 0.
//! Rows are read one at a time; the table is never held in memory as a whole.
//!
//! Lines are split here rather than by the `csv` crate, which takes an unclosed quote as the start of a cell that lasts to the end of
//! the file: no error, no line number, and no bound on memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use detection::Counts;
use event::{InvalidTenant, TenantId, Timestamp};

use crate::output;

/// The longest line, in bytes: sixteen short cells never come near it.
const MAX_LINE_BYTES: u64 = 64 * 1024;
/// The largest count of one bucket: far above any real one, and far below where a sum of `f64` loses whole numbers.
const MAX_COUNT: f64 = 1e12;
/// The tenant of a table without the column.
const NO_TENANT: &str = "(unassigned)";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CountsColumn {
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

/// The columns by their names in the header.
const COLUMNS: [(&str, CountsColumn); 16] = [
    ("time", CountsColumn::Time),
    ("tenant", CountsColumn::Tenant),
    ("provider", CountsColumn::Provider),
    ("campaign", CountsColumn::Campaign),
    ("sends", CountsColumn::Sends),
    ("deliveries", CountsColumn::Deliveries),
    ("bounces_permanent", CountsColumn::BouncesPermanent),
    ("bounces_transient", CountsColumn::BouncesTransient),
    ("delays", CountsColumn::Delays),
    ("complaints", CountsColumn::Complaints),
    ("opens", CountsColumn::Opens),
    ("clicks", CountsColumn::Clicks),
    ("delivery_ms_mean", CountsColumn::DeliveryMean),
    ("delivery_ms_p50", CountsColumn::DeliveryP50),
    ("delivery_ms_p95", CountsColumn::DeliveryP95),
    ("queue_depth", CountsColumn::QueueDepth),
];

/// A row of the table: one bucket of one tenant, provider and campaign.
#[derive(Clone, Debug, PartialEq)]
pub struct CountsTableRow {
    /// The line in the file, from 1.
    pub line: u64,
    /// The start of the bucket, in minutes since the Unix epoch.
    pub minute: u32,
    /// The tenant, `(unassigned)` if the table has no such column.
    pub tenant: String,
    /// The mailbox provider, empty if not given.
    pub provider: String,
    /// The campaign, empty if not given.
    pub campaign: String,
    /// The counts; a missing one is 0.
    pub counts: Counts,
    /// Whether the sends are given, if only as 0.
    pub has_sends: bool,
    /// Delivery times, as far as they are given.
    pub delivery_ms: DeliveryTimes,
}

/// Delivery times of a bucket, in milliseconds from send to delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DeliveryTimes {
    /// Arithmetic mean, from column `delivery_ms_mean`.
    pub mean: Option<f64>,
    /// Median, from column `delivery_ms_p50`.
    pub p50: Option<f64>,
    /// 95th percentile, from column `delivery_ms_p95`.
    pub p95: Option<f64>,
}

/// A table that is read row by row.
pub struct CountsTable {
    input: Box<dyn BufRead>,
    /// The file's name, for errors.
    pub name: String,
    /// Columns whose names are not known; they are ignored.
    pub unknown: Vec<String>,
    /// The columns as the header orders them; `None` for an unknown one.
    columns: Vec<Option<CountsColumn>>,
    /// The line that was read last.
    text: String,
    /// Its number, from 1.
    line: u64,
}

/// Opens a file to be read line by line; `-` is standard input.
pub fn open_file(path: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Box::new(BufReader::with_capacity(1 << 20, file)))
}

impl CountsTable {
    /// Opens a file, reads its header, and warns about unknown columns.
    pub fn open_file(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let table = Self::open(open_file(path)?, &name)?;
        if !table.unknown.is_empty() {
            let columns = table.unknown.join(", ");
            output::print_status(&format!("warning: {name}: unknown columns are ignored: {columns}"));
        }
        Ok(table)
    }

    /// Reads the header.
    ///
    /// # Errors
    /// An empty file, a header without `time`, or one that names a column twice.
    pub fn open(input: Box<dyn BufRead>, name: &str) -> anyhow::Result<Self> {
        let mut table = Self {
            input,
            name: name.to_owned(),
            unknown: Vec::new(),
            columns: Vec::new(),
            text: String::new(),
            line: 0,
        };
        if !table.read_line()? {
            bail!("{name}: the file is empty; its first line names the columns, time first");
        }
        // Excel begins UTF-8 files with a byte order mark.
        for cell in cells(table.text.trim_start_matches('\u{feff}')) {
            let cell = cell.with_context(|| format!("{name}: line 1"))?;
            let column = COLUMNS.iter().find(|(known, _)| *known == cell.trim()).map(|(_, column)| *column);
            // The second column would silently overwrite the first.
            if column.is_some() && table.columns.contains(&column) {
                bail!("{name}: line 1: column {} is named twice", cell.trim());
            }
            if column.is_none() {
                table.unknown.push(format!("{:?}", cell.trim().chars().take(40).collect::<String>()));
            }
            table.columns.push(column);
        }
        if !table.columns.contains(&Some(CountsColumn::Time)) {
            bail!("{name}: line 1: there is no column time");
        }
        Ok(table)
    }

    /// Reads the next line, without its end, into `text`. Returns `false` at the end of the file.
    fn read_line(&mut self) -> anyhow::Result<bool> {
        self.text.clear();
        self.line += 1;
        // Without a limit, a file without line breaks would be read into memory as a whole.
        let mut limited = (&mut self.input).take(MAX_LINE_BYTES);
        let read = limited
            .read_line(&mut self.text)
            .with_context(|| format!("{}: line {}: cannot be read as UTF-8 text", self.name, self.line))?;
        if read as u64 == MAX_LINE_BYTES {
            bail!("{}: line {} is longer than {MAX_LINE_BYTES} bytes", self.name, self.line);
        }
        let end = self.text.trim_end_matches(['\n', '\r']).len();
        self.text.truncate(end);
        Ok(read > 0)
    }

    /// The next row; `None` at the end. Empty lines are skipped.
    pub fn next_row(&mut self) -> anyhow::Result<Option<CountsTableRow>> {
        loop {
            if !self.read_line()? {
                return Ok(None);
            }
            if !self.text.is_empty() {
                return self.parse().map(Some);
            }
        }
    }

    fn parse(&self) -> anyhow::Result<CountsTableRow> {
        let mut row = CountsTableRow {
            line: self.line,
            minute: 0,
            tenant: NO_TENANT.to_owned(),
            provider: String::new(),
            campaign: String::new(),
            counts: Counts::default(),
            has_sends: false,
            delivery_ms: DeliveryTimes::default(),
        };
        let mut columns = self.columns.iter();
        for cell in cells(&self.text) {
            let cell = cell.with_context(|| format!("{}: line {}", self.name, self.line))?;
            let Some(column) = columns.next() else {
                bail!(
                    "{}: line {}: more cells than the {} columns",
                    self.name,
                    self.line,
                    self.columns.len()
                );
            };
            let Some(column) = column else { continue };
            self.parse_cell(*column, cell.trim(), &mut row)?;
        }
        // Not filled up with zeros: a line that was cut off must not look like a quiet bucket.
        if columns.len() > 0 {
            bail!("{}: line {}: fewer cells than the {} columns", self.name, self.line, self.columns.len());
        }
        note_latency(&mut row.counts, row.delivery_ms);
        Ok(row)
    }

    /// Sets the value of one column. An empty cell leaves the default, except for the time.
    fn parse_cell(&self, column: CountsColumn, cell: &str, row: &mut CountsTableRow) -> anyhow::Result<()> {
        if cell.is_empty() && column != CountsColumn::Time {
            return Ok(());
        }
        let counts = &mut row.counts;
        match column {
            CountsColumn::Time => row.minute = self.minute(cell)?,
            CountsColumn::Tenant => row.tenant = self.tenant(cell)?,
            CountsColumn::Provider => cell.clone_into(&mut row.provider),
            CountsColumn::Campaign => cell.clone_into(&mut row.campaign),
            CountsColumn::Sends => (counts.sends, row.has_sends) = (self.count(cell, column)?, true),
            CountsColumn::Deliveries => counts.deliveries = self.count(cell, column)?,
            CountsColumn::BouncesPermanent => counts.bounces_permanent = self.count(cell, column)?,
            CountsColumn::BouncesTransient => counts.bounces_transient = self.count(cell, column)?,
            CountsColumn::Delays => counts.delays = self.count(cell, column)?,
            CountsColumn::Complaints => counts.complaints = self.count(cell, column)?,
            CountsColumn::Opens => counts.opens = self.count(cell, column)?,
            CountsColumn::Clicks => counts.clicks = self.count(cell, column)?,
            CountsColumn::DeliveryMean => row.delivery_ms.mean = Some(self.count(cell, column)?),
            CountsColumn::DeliveryP50 => row.delivery_ms.p50 = Some(self.count(cell, column)?),
            CountsColumn::DeliveryP95 => row.delivery_ms.p95 = Some(self.count(cell, column)?),
            CountsColumn::QueueDepth => counts.queue_depth = Some(self.count(cell, column)?),
        }
        Ok(())
    }

    /// Reads a tenant's name. Reserved names are refused, since `*` stands for all tenants together; names that live mail could not have are
    /// accepted, as the table may come from another system.
    fn tenant(&self, cell: &str) -> anyhow::Result<String> {
        match TenantId::new_or_unassigned(cell) {
            Err(error @ InvalidTenant::Reserved { .. }) => {
                bail!("{}: line {}: {error}", self.name, self.line);
            }
            Ok(_) | Err(InvalidTenant::Name(_)) => Ok(cell.to_owned()),
        }
    }

    fn minute(&self, cell: &str) -> anyhow::Result<u32> {
        // A time without an offset is refused: a wrong guess of its zone would move every bucket.
        let Ok(time) = cell.parse::<jiff::Timestamp>() else {
            bail!(
                "{}: line {}: time {:?} is not RFC 3339, such as 2026-11-25T08:00:00Z",
                self.name,
                self.line,
                shown(cell)
            );
        };
        Ok(Timestamp::from_millis(time.as_millisecond()).minute().0)
    }

    fn count(&self, cell: &str, column: CountsColumn) -> anyhow::Result<f64> {
        match cell.parse::<f64>() {
            // The range excludes NaN as well, which would spread through every sum.
            Ok(count) if (0.0..=MAX_COUNT).contains(&count) => Ok(count),
            _ => {
                let name = COLUMNS.iter().find(|(_, known)| *known == column).map_or("", |(name, _)| name);
                bail!(
                    "{}: line {}: {name} {:?} is not a number of 0 to 10^12",
                    self.name,
                    self.line,
                    shown(cell)
                );
            }
        }
    }
}

/// Notes the geometric mean of the delivery times that are given: each of them rises when deliveries slow down, and tables differ in
/// which they have.
fn note_latency(counts: &mut Counts, times: DeliveryTimes) {
    let times = [times.mean, times.p50, times.p95];
    let known: Vec<f64> = times.into_iter().flatten().filter(|time| *time > 0.0).collect();
    if known.is_empty() {
        return;
    }
    let logarithm = known.iter().map(|value| value.ln()).sum::<f64>() / known.len() as f64;
    counts.note_latency(logarithm.exp(), counts.deliveries);
}

/// The start of a cell, for errors.
pub fn shown(cell: &str) -> String {
    cell.chars().take(40).collect()
}

/// The cells of a line of CSV (RFC 4180, except that a quoted cell cannot contain a line break).
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
            let (cell, tail) = quoted.split_at(end);
            // Everything after the closing quote itself.
            let tail = tail.strip_prefix('"').unwrap_or(tail);
            let cell = cell.replace("\"\"", "\"");
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

    fn read(csv: &str) -> anyhow::Result<Vec<CountsTableRow>> {
        let mut table = CountsTable::open(Box::new(Cursor::new(csv.to_owned())), "c.csv")?;
        let mut rows = Vec::new();
        while let Some(row) = table.next_row()? {
            rows.push(row);
        }
        Ok(rows)
    }

    #[test]
    fn columns_may_be_missing_empty_and_in_any_order() {
        let rows = read(
            "sends,time,campaign\n5,2026-11-02T10:00:00Z,\n,2026-11-02T11:05:00+01:00,\"a,\"\"b\"\"\"\n",
        )
        .unwrap();
        assert!((rows[0].counts.sends - 5.0).abs() < 1e-9);
        assert_eq!((rows[0].has_sends, rows[1].has_sends), (true, false));
        assert_eq!(rows[0].tenant, NO_TENANT);
        assert_eq!(rows[1].minute, rows[0].minute + 5);
        assert_eq!(rows[1].campaign, "a,\"b\"");
        assert!(rows[1].counts.sends < 1e-9);
    }

    #[test]
    fn unknown_columns_are_named_and_ignored() {
        let table = CountsTable::open(Box::new(Cursor::new("time,colour\n")), "c.csv").unwrap();
        assert_eq!(table.unknown, ["\"colour\""]);
        let rows = read("colour,time,sends\nred,2026-11-02T10:00:00Z,5\n").unwrap();
        assert!((rows[0].counts.sends - 5.0).abs() < 1e-9);
    }

    #[test]
    fn every_column_sets_its_own_value() {
        let header: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
        let values = "2026-11-02T10:00:00Z,acme,gmail,spring,1,2,3,4,5,6,7,8,100,90,400,9";
        let row = read(&format!("{}\n{values}\n", header.join(","))).unwrap().remove(0);
        assert_eq!(
            (row.tenant.as_str(), row.provider.as_str(), row.campaign.as_str()),
            ("acme", "gmail", "spring")
        );
        let counts = row.counts;
        let found = [
            counts.sends,
            counts.deliveries,
            counts.bounces_permanent,
            counts.bounces_transient,
            counts.delays,
            counts.complaints,
            counts.opens,
            counts.clicks,
        ];
        assert!(
            found.iter().zip(1..).all(|(found, expected)| (found - f64::from(expected)).abs() < 1e-9),
            "{found:?}"
        );
        assert_eq!(counts.queue_depth, Some(9.0));
        let times = DeliveryTimes { mean: Some(100.0), p50: Some(90.0), p95: Some(400.0) };
        assert_eq!((row.line, row.delivery_ms), (2, times));
    }

    #[test]
    fn cells_follow_rfc_4180_within_a_line() {
        let split = |line: &str| -> Option<Vec<String>> {
            cells(line).map(|cell| cell.ok().map(std::borrow::Cow::into_owned)).collect()
        };
        for (line, expected) in [
            ("", Some(&[""][..])),
            ("a,b", Some(&["a", "b"])),
            ("a,,", Some(&["a", "", ""])),
            ("\"a,b\",c", Some(&["a,b", "c"])),
            ("\"\"\"\"", Some(&["\""])),
            ("\"\",x", Some(&["", "x"])),
            ("a\"b", Some(&["a\"b"])),
            ("\"a", None),
            ("\"a\"b,c", None),
        ] {
            let expected = expected.map(|cells| cells.iter().map(|&cell| cell.to_owned()).collect());
            assert_eq!(split(line), expected, "{line}");
        }
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
