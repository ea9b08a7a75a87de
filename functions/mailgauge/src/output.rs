//! What people and programs see: tables on a terminal, JSON or CSV in a pipe. Data goes to standard output, everything else
//! to standard error.

use std::io::{self, IsTerminal as _, Write};

use cells::csv;
use serde_json::Value;

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table for people.
    #[default]
    Table,
    /// JSON for programs.
    Json,
    /// CSV for spreadsheets.
    Csv,
}

/// A table: column names, then rows of cells. Numbers are aligned to the right.
#[derive(Debug, Default)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { columns: columns.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row with as many cells as there are columns.
    pub fn push(&mut self, row: Vec<Value>) {
        debug_assert_eq!(row.len(), self.columns.len());
        self.rows.push(row);
    }

    /// Writes the table as `format` asks; JSON as an array of objects.
    pub fn write(&self, format: Format, out: &mut impl Write) -> io::Result<()> {
        let rows: Rows<'_> = &|each| self.rows.iter().try_for_each(|row| each(row));
        match format {
            Format::Table => write_table(&self.columns, rows, out),
            Format::Json => self.write_json(out),
            Format::Csv => write_csv(&self.columns, rows, out),
        }
    }

    fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| Value::Object(self.columns.iter().cloned().zip(row.iter().cloned()).collect()))
            .collect();
        serde_json::to_writer_pretty(&mut *out, &rows)?;
        writeln!(out)
    }
}

/// Rows that are made one after the other, as often as they are asked for: there may be too many to hold.
pub type Rows<'r> = &'r dyn Fn(&mut dyn FnMut(&[Value]) -> io::Result<()>) -> io::Result<()>;

/// Writes rows as CSV (RFC 4180), column names first. Texts that a spreadsheet would take for a formula are guarded, see [`csv::cell`].
pub fn write_csv(columns: &[String], rows: Rows<'_>, out: &mut impl Write) -> io::Result<()> {
    write_csv_line(columns.iter().map(String::as_str), out)?;
    rows(&mut |row| {
        for (position, value) in row.iter().enumerate() {
            if position > 0 {
                out.write_all(b",")?;
            }
            match value {
                Value::Null => {}
                Value::String(text) => out.write_all(csv::cell(text).as_bytes())?,
                other => serde_json::to_writer(&mut *out, other)?,
            }
        }
        out.write_all(b"\n")
    })
}

/// Writes rows as a table for people. They are asked for twice: for the widths of the columns, and to be written.
pub fn write_table(columns: &[String], rows: Rows<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut widths: Vec<usize> = columns.iter().map(|name| name.chars().count()).collect();
    let mut first: Vec<bool> = Vec::new();
    rows(&mut |row| {
        if first.is_empty() {
            first = row.iter().map(Value::is_number).collect();
        }
        for (width, value) in widths.iter_mut().zip(row) {
            *width = readable(value).chars().count().max(*width);
        }
        Ok(())
    })?;
    let bold = io::stdout().is_terminal();
    if bold {
        write!(out, "\x1b[1m")?;
    }
    for (position, (name, &width)) in columns.iter().zip(&widths).enumerate() {
        let right = first.get(position).copied().unwrap_or(false);
        write_cell(name, width, right, position + 1 == widths.len(), out)?;
    }
    writeln!(out, "{}", if bold { "\x1b[0m" } else { "" })?;
    rows(&mut |row| {
        for (position, (value, &width)) in row.iter().zip(&widths).enumerate() {
            let right = value.is_number() || value.is_null();
            write_cell(&readable(value), width, right, position + 1 == widths.len(), out)?;
        }
        writeln!(out)
    })
}

fn write_cell(cell: &str, width: usize, right: bool, last: bool, out: &mut impl Write) -> io::Result<()> {
    match (right, last) {
        (true, true) => write!(out, "{cell:>width$}"),
        (true, false) => write!(out, "{cell:>width$}  "),
        (false, true) => write!(out, "{cell}"),
        (false, false) => write!(out, "{cell:<width$}  "),
    }
}

/// One line of CSV (RFC 4180).
pub fn write_csv_line<'a>(cells: impl Iterator<Item = &'a str>, out: &mut impl Write) -> io::Result<()> {
    for (position, cell) in cells.enumerate() {
        if position > 0 {
            write!(out, ",")?;
        }
        out.write_all(csv::cell(cell).as_bytes())?;
    }
    writeln!(out)
}

/// A value as CSV holds it: null is empty, text has no quotes of its own.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A value as people read it: whole numbers in groups of three, fractions to four places.
fn readable(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole @ ..0), _, _) => format!("-{}", grouped(whole.unsigned_abs())),
            (_, Some(whole), _) => grouped(whole),
            (_, None, Some(fraction)) => format!("{fraction:.4}"),
            (_, None, None) => number.to_string(),
        },
        other => plain(other),
    }
}

/// A whole number in groups of three: `1,234,567`.
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

/// Sends the log to standard error, from warnings on; `MAILGAUGE_LOG` may say `debug`, `info`, `warn`, `error` or `off`.
pub fn log_to_stderr() {
    #[expect(clippy::disallowed_methods, reason = "how much is logged is told by the environment")]
    let level = std::env::var("MAILGAUGE_LOG").ok().and_then(|text| text.parse().ok());
    let level: tracing::level_filters::LevelFilter =
        level.unwrap_or(tracing::level_filters::LevelFilter::WARN);
    let log = tracing_subscriber::fmt().with_writer(io::stderr).with_max_level(level);
    // A second call in one process changes nothing.
    let _ = log.with_ansi(io::stderr().is_terminal()).try_init();
}

/// Prints an error with its whole chain of causes.
pub fn report(error: &anyhow::Error) {
    let (red, plain) = if io::stderr().is_terminal() { ("\x1b[31;1m", "\x1b[0m") } else { ("", "") };
    tell(&format!("{red}error:{plain} {error:#}"));
}

/// What came of writing data; a closed pipe is no failure, whoever reads has enough.
pub fn until_closed(written: anyhow::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error)
            if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) =>
        {
            Ok(())
        }
        other => other,
    }
}

/// One line on standard error. A closed standard error is no reason to fail.
pub fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(format: Format, expected: &str) {
        let mut table = Table::new(["tenant", "sends", "rate"]);
        table.push(vec![json!("acme, \"inc\""), json!(1_234_567), json!(0.25)]);
        table.push(vec![json!("b"), json!(-1000), Value::Null]);
        let mut out = Vec::new();
        table.write(format, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn tables_align_numbers_to_the_right() {
        check(
            Format::Table,
            "tenant           sends    rate\nacme, \"inc\"  1,234,567  0.2500\nb               -1,000       –\n",
        );
    }

    #[test]
    fn csv_quotes_what_needs_it_and_leaves_null_empty() {
        check(Format::Csv, "tenant,sends,rate\n\"acme, \"\"inc\"\"\",1234567,0.25\nb,-1000,\n");
    }

    #[test]
    fn csv_guards_texts_that_begin_a_formula_and_keeps_numbers() {
        let mut table = Table::new(["=tenant", "sends"]);
        for name in ["=HYPERLINK(\"//x\")", "+1+1", "-1-1", "@a", "\ta", "\ra", "-3", "acme"] {
            table.push(vec![json!(name), json!(-3)]);
        }
        let mut out = Vec::new();
        table.write(Format::Csv, &mut out).unwrap();
        let expected = "'=tenant,sends\n\"'=HYPERLINK(\"\"//x\"\")\",-3\n'+1+1,-3\n'-1-1,-3\n'@a,-3\n'\ta,-3\n\"'\ra\",-3\n-3,-3\nacme,-3\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn digits_are_grouped_by_three() {
        for (number, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), expected);
        }
    }
}
