//! Writes CSV (RFC 4180) that is safe to open in a spreadsheet. Everything that Mailgauge writes as CSV is written here.
//!
//! Names of campaigns, tenants and domains come from mail, so anybody can choose them. A spreadsheet takes a cell that begins with
//! certain characters for a formula, even if it is quoted. Such a text gets a leading apostrophe, as
//! <https://owasp.org/www-community/attacks/CSV_Injection> advises. Numbers are not changed: `-3` stays `-3`.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Serialize;

/// Writes CSV cell by cell.
pub struct CsvWriter<W: Write> {
    csv: csv::Writer<W>,
    /// The cells of the row so far: the `csv` crate writes a row at once faster than cell by cell.
    row: csv::ByteRecord,
    /// One buffer for all numbers: there may be millions, and an allocation for each would be measurable.
    digits: Vec<u8>,
}

impl<W: Write> CsvWriter<W> {
    /// Lines end with CR LF, as RFC 4180 has it.
    pub fn new(out: W) -> Self {
        Self::with_terminator(out, csv::Terminator::CRLF)
    }

    /// Lines end with LF, as tools on a command line expect.
    pub fn with_line_feeds(out: W) -> Self {
        Self::with_terminator(out, csv::Terminator::Any(b'\n'))
    }

    fn with_terminator(out: W, terminator: csv::Terminator) -> Self {
        // A later chunk of one file starts without the header, so its rows must not be compared with the first one written.
        let csv = csv::WriterBuilder::new().terminator(terminator).flexible(true).from_writer(out);
        Self { csv, row: csv::ByteRecord::new(), digits: Vec::new() }
    }

    /// Adds a text to the row, with a leading apostrophe if it would begin a formula, and quoted where RFC 4180 requires it.
    pub fn text(&mut self, text: &str) {
        self.row.push_field(guarded(text).as_bytes());
    }

    /// Adds a number in the form that JSON has of it.
    ///
    /// # Errors
    /// A value that JSON cannot represent.
    pub fn number(&mut self, number: &impl Serialize) -> io::Result<()> {
        self.digits.clear();
        serde_json::to_writer(&mut self.digits, number)?;
        self.row.push_field(&self.digits);
        Ok(())
    }

    /// Adds a number that is already text, such as `-0.5`.
    pub fn digits(&mut self, digits: &[u8]) {
        self.row.push_field(digits);
    }

    /// Adds an empty cell: there is no value.
    pub fn empty(&mut self) {
        self.row.push_field(b"");
    }

    /// Writes the row; the next cell is the first of a new one.
    ///
    /// # Errors
    /// The underlying writer's own error. The writer is buffered, so a failure may show in a later call.
    pub fn end_row(&mut self) -> io::Result<()> {
        let written = self.csv.write_byte_record(&self.row).map_err(own_error);
        self.row.clear();
        written
    }

    /// Writes what is still buffered and returns the underlying writer. A row that was not ended is dropped.
    ///
    /// # Errors
    /// The underlying writer's own error.
    pub fn finish(self) -> io::Result<W> {
        self.csv.into_inner().map_err(csv::IntoInnerError::into_error)
    }
}

/// The error of the underlying writer. The conversion that the `csv` crate offers would wrap it, and callers could no longer tell a
/// closed pipe from a full disk.
fn own_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        // Only rows of unequal lengths, which `flexible` allows, so this is not expected to happen.
        other => io::Error::other(format!("{other:?}")),
    }
}

/// The text, with a leading apostrophe if it would begin a formula.
fn guarded(text: &str) -> Cow<'_, str> {
    if begins_formula(text) { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) }
}

/// Whether a spreadsheet would take the text for a formula. Covers the full-width signs of East Asian keyboards, and white space that some
/// programs skip.
fn begins_formula(text: &str) -> bool {
    let begins = text
        .starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}']);
    begins && !is_number(text)
}

/// Whether the whole text is one decimal number, such as `-3` or `+1.5e-7`.
fn is_number(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
    text.bytes().all(is_plain) && text.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of two texts, without its end.
    fn row(first: &str, second: &str) -> String {
        let mut writer = CsvWriter::new(Vec::new());
        writer.text(first);
        writer.text(second);
        writer.end_row().unwrap();
        let line = String::from_utf8(writer.finish().unwrap()).unwrap();
        line.strip_suffix("\r\n").unwrap().to_owned()
    }

    #[test]
    fn text_that_begins_a_formula_is_guarded() {
        for (text, expected) in [
            ("=1+1", "'=1+1"),
            ("+1+1", "'+1+1"),
            ("-2+3", "'-2+3"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\tx", "'\tx"),
            ("\rx", "\"'\rx\""),
            ("\n=1", "\"'\n=1\""),
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            ("=\"a\",b", "\"'=\"\"a\"\",b\""),
            ("\u{ff1d}1", "'\u{ff1d}1"),
            ("-", "'-"),
            ("+inf", "'+inf"),
            ("-1-2", "'-1-2"),
            ("-1e", "'-1e"),
        ] {
            assert_eq!(row(text, "end"), format!("{expected},end"), "{text:?}");
        }
    }

    #[test]
    fn numbers_and_other_texts_are_written_unchanged() {
        for text in [
            "",
            "-3",
            "+4.25",
            "-1e-7",
            "spring",
            "a=b",
            "a-b",
            "(other)",
            "2026-11-25T00:00:00Z",
            "'x",
            "été",
        ] {
            assert!(matches!(guarded(text), Cow::Borrowed(same) if same == text), "{text:?}");
            assert_eq!(row(text, "end"), format!("{text},end"), "{text:?}");
        }
        assert_eq!(row("a,\"b\"", "end"), "\"a,\"\"b\"\"\",end");
        assert_eq!(row("a\r\nb", "end"), "\"a\r\nb\",end");
    }

    #[test]
    fn rows_end_as_the_reader_expects() {
        let write = |mut writer: CsvWriter<Vec<u8>>| {
            writer.text("a");
            writer.empty();
            writer.number(&-0.5).unwrap();
            writer.end_row().unwrap();
            String::from_utf8(writer.finish().unwrap()).unwrap()
        };
        assert_eq!(write(CsvWriter::new(Vec::new())), "a,,-0.5\r\n");
        assert_eq!(write(CsvWriter::with_line_feeds(Vec::new())), "a,,-0.5\n");
    }

    /// Standard output whose reader has gone.
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
    fn error_of_the_underlying_writer_keeps_its_kind() {
        let is_broken_pipe = |error: io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        let mut writer = CsvWriter::new(ClosedPipe);
        // More rows than the buffer holds, so that the failure shows before `finish`.
        let failed = (0..100_000).find_map(|_| {
            writer.text("a");
            writer.end_row().err()
        });
        assert!(failed.is_some_and(is_broken_pipe));
        let mut writer = CsvWriter::new(ClosedPipe);
        writer.text("a");
        writer.end_row().unwrap();
        assert!(writer.finish().is_err_and(is_broken_pipe));
    }
}
