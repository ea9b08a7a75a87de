//! The rows of an answer as lines: CSV for spreadsheets, or one JSON object a line (NDJSON).
//!
//! Lines are made from the rows, a chunk at a time, so a large answer is never held as text.

use std::io::{self, Write};

use super::answer_json::{RowJson, TimeTexts};
use super::answer_rows::{Answer, AnswerRow};
use super::calendar::Granularity;
use super::metrics::MetricValue;
use crate::csv::CsvWriter;

/// The rows of a chunk: tens of kilobytes, so that the work per chunk is worth its overhead.
const CHUNK_ROWS: usize = 500;

/// A form of one row a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFormat {
    /// A line of column names, then a line for each row: time, groups, metrics, and `previous_` metrics if the query compares.
    Csv,
    /// A JSON object for each row, as in the reply of `POST /v1/query`.
    Ndjson,
}

/// An answer as chunks of whole lines, for a body that is sent while it is made.
#[derive(Debug)]
pub struct AnswerLines {
    answer: Answer,
    format: LineFormat,
    next_row: usize,
    is_started: bool,
}

impl Answer {
    /// The names of the CSV columns.
    pub fn csv_columns(&self) -> Vec<String> {
        let query = self.query();
        let time = (query.granularity() != Granularity::Total).then(|| "time".to_owned());
        let groups = query.group_by().iter().map(|group| group.name.clone());
        let names = query.metrics().iter().map(|metric| metric.name());
        let previous = names.clone().filter(|_| query.compare().is_some());
        let metrics = names.map(str::to_owned).chain(previous.map(|name| format!("previous_{name}")));
        time.into_iter().chain(groups).chain(metrics).collect()
    }

    /// Writes all lines.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_lines(&self, format: LineFormat, out: &mut impl Write) -> io::Result<()> {
        let rows = self.rows();
        match format {
            LineFormat::Csv => {
                let mut csv = CsvWriter::new(out);
                self.write_csv_header(&mut csv)?;
                write_csv(rows, &mut csv)?;
                csv.finish().map(|_| ())
            }
            LineFormat::Ndjson => write_ndjson(rows, out),
        }
    }

    /// All lines in chunks of whole lines.
    pub const fn into_lines(self, format: LineFormat) -> AnswerLines {
        AnswerLines { answer: self, format, next_row: 0, is_started: false }
    }

    fn write_csv_header<W: Write>(&self, csv: &mut CsvWriter<W>) -> io::Result<()> {
        for name in self.csv_columns() {
            csv.text(&name);
        }
        csv.end_row()
    }
}

impl AnswerLines {
    fn chunk(&self) -> io::Result<Vec<u8>> {
        let rows = self.answer.rows().skip(self.next_row).take(CHUNK_ROWS);
        match self.format {
            LineFormat::Csv => {
                // A writer per chunk, so that each chunk ends with a whole line and nothing stays in a buffer.
                let mut csv = CsvWriter::new(Vec::new());
                if !self.is_started {
                    self.answer.write_csv_header(&mut csv)?;
                }
                write_csv(rows, &mut csv)?;
                csv.finish()
            }
            LineFormat::Ndjson => {
                let mut lines = Vec::new();
                write_ndjson(rows, &mut lines)?;
                Ok(lines)
            }
        }
    }
}

impl Iterator for AnswerLines {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        // CSV without rows still has its column names.
        let has_header = self.format == LineFormat::Csv && !self.is_started;
        if self.next_row >= self.answer.rows.len() && !has_header {
            return None;
        }
        let chunk = self.chunk();
        // Also after a failure, so that the iterator ends.
        self.is_started = true;
        self.next_row += CHUNK_ROWS;
        Some(chunk)
    }
}

fn write_csv<'a, W: Write>(
    rows: impl Iterator<Item = AnswerRow<'a>>,
    csv: &mut CsvWriter<W>,
) -> io::Result<()> {
    let mut times = TimeTexts::default();
    for row in rows {
        if let Some(time) = times.text(row) {
            csv.text(time);
        }
        for (_, value) in row.groups() {
            csv.text(value);
        }
        let basis = row.query.basis();
        let previous = row.previous_measurements().into_iter().flatten();
        for (_, measurement) in row.measurements().chain(previous) {
            match measurement.value(basis) {
                // Not 0, which would be a value: spreadsheets leave empty cells out of a mean.
                MetricValue::Missing => csv.empty(),
                value => csv.number(&value)?,
            }
        }
        csv.end_row()?;
    }
    Ok(())
}

fn write_ndjson<'a>(rows: impl Iterator<Item = AnswerRow<'a>>, out: &mut impl Write) -> io::Result<()> {
    let mut times = TimeTexts::default();
    for row in rows {
        serde_json::to_writer(&mut *out, &RowJson { row, time: times.text(row) })?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
