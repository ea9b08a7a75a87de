//! What commands print: tables for people, JSON or CSV for programs.
//!
//! Data goes to standard output, everything else (progress, summaries, warnings, errors) to standard error, so that a pipe carries
//! data alone. CSV is written with [`CsvWriter`] only, because names in it come from mail and must never reach a spreadsheet as
//! formulas.

use std::io::{self, IsTerminal as _, Write};

use cells::csv::CsvWriter;
use event::IgnoredCounts;
use serde_json::Value;

/// Output format of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns for people
    #[default]
    Table,
    /// JSON for programs
    Json,
    /// CSV for programs and spreadsheets; text that looks like a formula gets a leading apostrophe
    Csv,
}

/// A small table that is held in memory: column names, then rows of values.
#[derive(Debug, Default)]
pub struct OutputTable {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

impl OutputTable {
    /// A table without rows.
    pub fn new(columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { columns: columns.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row, which must have one value per column.
    pub fn push(&mut self, row: Vec<Value>) {
        debug_assert_eq!(row.len(), self.columns.len());
        self.rows.push(row);
    }

    /// Writes the table in the given format. JSON is an array with one object per row.
    pub fn write(&self, format: Format, out: &mut impl Write) -> io::Result<()> {
        let rows: RowProducer<'_> = &|each| self.rows.iter().try_for_each(|row| each(row));
        match format {
            Format::Table => write_table(&self.columns, rows, out),
            Format::Json => self.write_json(out),
            Format::Csv => write_csv(&self.columns, rows, out),
        }
    }

    fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        // A table is small and in memory already; `aggregate`, which is not, writes its JSON row by row.
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| Value::Object(self.columns.iter().cloned().zip(row.iter().cloned()).collect()))
            .collect();
        serde_json::to_writer_pretty(&mut *out, &rows)?;
        writeln!(out)
    }
}

/// A source of rows that calls its argument once per row and can be run several times. `aggregate` may have as many rows as events,
/// so rows are produced on demand instead of being collected.
pub type RowProducer<'r> = &'r dyn Fn(&mut dyn FnMut(&[Value]) -> io::Result<()>) -> io::Result<()>;

/// Writes rows as CSV (RFC 4180), column names first. A missing value is an empty cell.
pub fn write_csv(columns: &[String], rows: RowProducer<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut csv = CsvWriter::with_line_feeds(out);
    for name in columns {
        csv.text(name);
    }
    csv.end_row()?;
    rows(&mut |row| {
        for value in row {
            match value {
                Value::Null => csv.empty(),
                Value::Number(number) => csv.number(number)?,
                other => csv.text(&as_text(other)),
            }
        }
        csv.end_row()
    })?;
    csv.finish().map(|_| ())
}

/// Writes rows as aligned columns, numbers to the right. Runs `rows` twice: to measure the columns, then to write them.
pub fn write_table(columns: &[String], rows: RowProducer<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut widths: Vec<usize> = columns.iter().map(|name| name.chars().count()).collect();
    // A heading is aligned like the first value below it.
    let mut is_number: Vec<bool> = Vec::new();
    rows(&mut |row| {
        if is_number.is_empty() {
            is_number = row.iter().map(Value::is_number).collect();
        }
        for (width, value) in widths.iter_mut().zip(row) {
            *width = human_readable(value).chars().count().max(*width);
        }
        Ok(())
    })?;
    let bold = io::stdout().is_terminal();
    if bold {
        write!(out, "\x1b[1m")?;
    }
    for (position, (name, &width)) in columns.iter().zip(&widths).enumerate() {
        // A table without rows has no first value, and its headings stay on the left.
        let to_the_right = is_number.get(position).copied().unwrap_or(false);
        write_cell(name, width, to_the_right, position + 1 == widths.len(), out)?;
    }
    writeln!(out, "{}", if bold { "\x1b[0m" } else { "" })?;
    rows(&mut |row| {
        for (position, (value, &width)) in row.iter().zip(&widths).enumerate() {
            let to_the_right = value.is_number() || value.is_null();
            write_cell(&human_readable(value), width, to_the_right, position + 1 == widths.len(), out)?;
        }
        writeln!(out)
    })
}

/// Pads a cell to its column. The last column is not padded on the right, so lines have no trailing spaces.
fn write_cell(
    cell: &str,
    width: usize,
    to_the_right: bool,
    is_last: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    match (to_the_right, is_last) {
        (true, true) => write!(out, "{cell:>width$}"),
        (true, false) => write!(out, "{cell:>width$}  "),
        (false, true) => write!(out, "{cell}"),
        (false, false) => write!(out, "{cell:<width$}  "),
    }
}

/// A value as plain text: null is empty, text has no quotes, lists and objects are JSON.
fn as_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A value for people: `1,234,567`, `0.2500` (four places), `–` for null.
fn human_readable(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole @ ..0), _, _) => format!("-{}", grouped(whole.unsigned_abs())),
            (_, Some(whole), _) => grouped(whole),
            (_, None, Some(fraction)) => format!("{fraction:.4}"),
            (_, None, None) => number.to_string(),
        },
        other => as_text(other),
    }
}

/// A whole number with thousands separators: `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Sends the log to standard error. `MAILGAUGE_LOG` sets the lowest level: `debug`, `info`, `warn` (the default), `error` or `off`.
pub fn log_to_stderr() {
    #[expect(clippy::disallowed_methods, reason = "the environment sets the log level")]
    let level = std::env::var("MAILGAUGE_LOG").ok().and_then(|text| text.parse().ok());
    // An unknown level counts as none, because a typing mistake must not keep a server from starting.
    let level: tracing::level_filters::LevelFilter =
        level.unwrap_or(tracing::level_filters::LevelFilter::WARN);
    let log = tracing_subscriber::fmt().with_writer(io::stderr).with_max_level(level);
    // Fails if a log is installed already, which is then kept.
    let _ = log.with_ansi(io::stderr().is_terminal()).try_init();
}

/// Prints an error and its causes on standard error, as `error: what: cause: cause`.
pub fn print_error(error: &anyhow::Error) {
    let (red, plain) = if io::stderr().is_terminal() { ("\x1b[31;1m", "\x1b[0m") } else { ("", "") };
    print_status(&format!("{red}error:{plain} {error:#}"));
}

/// Turns a broken pipe into success: `mailgauge ... | head` ends the pipe early on purpose.
pub fn ignore_broken_pipe(written: anyhow::Result<()>) -> anyhow::Result<()> {
    let is_broken_pipe = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    match written {
        Err(error) if error.downcast_ref().is_some_and(is_broken_pipe) => Ok(()),
        other => other,
    }
}

/// How many parts were ignored, and which: `3 ignored (2 sns_validation, 1 empty)`.
pub fn ignored(count: u64, kinds: &IgnoredCounts) -> String {
    let count = grouped(count);
    if kinds.is_empty() { format!("{count} ignored") } else { format!("{count} ignored ({kinds})") }
}

/// Prints one line on standard error. A closed standard error is ignored: it must not fail the command.
pub fn print_status(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(format: Format, expected: &str) {
        let mut table = OutputTable::new(["tenant", "sends", "rate"]);
        table.push(vec![json!("acme, \"inc\""), json!(1_234_567), json!(0.25)]);
        table.push(vec![json!("b"), json!(-1000), Value::Null]);
        let mut out = Vec::new();
        table.write(format, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn table_aligns_numbers_to_the_right() {
        check(
            Format::Table,
            "tenant           sends    rate\nacme, \"inc\"  1,234,567  0.2500\nb               -1,000       –\n",
        );
    }

    #[test]
    fn csv_quotes_where_needed_and_leaves_null_empty() {
        check(Format::Csv, "tenant,sends,rate\n\"acme, \"\"inc\"\"\",1234567,0.25\nb,-1000,\n");
    }

    #[test]
    fn csv_guards_text_that_begins_a_formula_and_keeps_numbers() {
        let mut table = OutputTable::new(["=tenant", "sends"]);
        for name in ["=HYPERLINK(\"//x\")", "+1+1", "-1-1", "@a", "\ta", "\ra", "-3", "acme"] {
            table.push(vec![json!(name), json!(-3)]);
        }
        let mut out = Vec::new();
        table.write(Format::Csv, &mut out).unwrap();
        let expected = "'=tenant,sends\n\"'=HYPERLINK(\"\"//x\"\")\",-3\n'+1+1,-3\n'-1-1,-3\n'@a,-3\n'\ta,-3\n\"'\ra\",-3\n-3,-3\nacme,-3\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn csv_keeps_a_list_in_one_cell() {
        let mut table = OutputTable::new(["tags", "sends"]);
        table.push(vec![json!(["a", "b"]), json!(1)]);
        let mut out = Vec::new();
        table.write(Format::Csv, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "tags,sends\n\"[\"\"a\"\",\"\"b\"\"]\",1\n");
    }

    #[test]
    fn guard_adds_one_apostrophe_before_quoting() {
        for (text, expected) in [
            ("=1+1", "'=1+1"),
            ("=\"a\",b", "\"'=\"\"a\"\",b\""),
            ("\r=1", "\"'\r=1\""),
            ("'guarded, already", "\"'guarded, already\""),
            ("\"'x\"", "\"\"\"'x\"\"\""),
            ("a,b", "\"a,b\""),
            ("-3.5", "-3.5"),
            ("", ""),
        ] {
            let mut table = OutputTable::new(["text", "end"]);
            table.push(vec![json!(text), json!(1)]);
            let mut out = Vec::new();
            table.write(Format::Csv, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), format!("text,end\n{expected},1\n"), "{text:?}");
        }
    }

    #[test]
    fn empty_table_has_its_header_in_every_format_but_json() {
        let table = OutputTable::new(["tenant", "sends"]);
        for (format, expected) in
            [(Format::Table, "tenant  sends\n"), (Format::Csv, "tenant,sends\n"), (Format::Json, "[]\n")]
        {
            let mut out = Vec::new();
            table.write(format, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{format:?}");
        }
    }

    #[test]
    fn broken_pipe_is_success_and_other_failures_are_kept() {
        let failed = |kind: io::ErrorKind| ignore_broken_pipe(Err(io::Error::from(kind).into()));
        assert!(failed(io::ErrorKind::BrokenPipe).is_ok());
        assert!(failed(io::ErrorKind::StorageFull).is_err());
    }

    /// Standard output of `mailgauge ... | head`, once `head` has ended.
    struct ClosedPipe;

    impl Write for ClosedPipe {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn broken_pipe_is_success_in_every_format() {
        let mut table = OutputTable::new(["tenant", "sends"]);
        for _ in 0..10_000 {
            table.push(vec![json!("acme"), json!(1)]);
        }
        for format in [Format::Table, Format::Json, Format::Csv] {
            let written = table.write(format, &mut ClosedPipe);
            assert!(written.is_err(), "{format:?}");
            assert!(ignore_broken_pipe(written.map_err(anyhow::Error::from)).is_ok(), "{format:?}");
        }
    }

    #[test]
    fn thousands_are_separated_by_commas() {
        for (number, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), expected);
        }
    }
}
