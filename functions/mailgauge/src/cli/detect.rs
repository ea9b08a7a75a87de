//! `mailgauge detect`: scores how unusual each point of plain series is, whatever they measure.
//!
//! A score is computed when its row is read, so it can never use a later row. Reads about a million points per second: cells are
//! borrowed from the line, and the usual forms of a time are parsed by hand.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, BufRead, BufWriter, Read as _, Write};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use cells::csv::CsvWriter;
use clap::Args;
use detection::plain_series::Scorer;

use crate::cli::counts_table::{cells, open_file, shown};
use crate::output;

/// The longest line, in bytes: a file with longer ones is not a table of points.
const MAX_LINE_BYTES: u64 = 64 * 1024;
/// The largest number of series: each needs most of a kilobyte of memory for as long as the command runs.
const MAX_SERIES: usize = 1_000_000;

/// Score how unusual each point of plain series is, from 0 (as usual) to 1 (never seen before). A score uses earlier points only.
#[derive(Debug, Args)]
#[command(after_help = "Prints series,timestamp,score for each row, in the order of the file.\n\n\
    FILE.csv has the header timestamp,value or series,timestamp,value. A timestamp is RFC 3339, in UTC if it has no offset, or a \
    number of seconds or milliseconds since 1970. A row without a value scores 0. Scores are comparable across series, so one \
    threshold fits all of them.\n\nExample:\n  \
    mailgauge detect --series queue.csv | awk -F, '$3 > 0.5'")]
pub struct Options {
    /// The points to score; - is standard input
    #[arg(long, value_name = "FILE.csv")]
    series: PathBuf,
}

/// Prints `series,timestamp,score` for each row.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let name = options.series.display().to_string();
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    output::ignore_broken_pipe(
        score(open_file(&options.series)?, &name, &mut out).and_then(|()| Ok(out.flush()?)),
    )
}

/// The positions of the columns.
struct SeriesColumns {
    series: Option<usize>,
    timestamp: usize,
    value: usize,
}

impl SeriesColumns {
    fn read(header: &str, name: &str) -> anyhow::Result<Self> {
        let header: Vec<String> = header
            .trim_start_matches('\u{feff}')
            .split(',')
            .map(|cell| cell.trim().to_ascii_lowercase())
            .collect();
        let find = |name: &str| header.iter().position(|cell| cell == name);
        let (Some(timestamp), Some(value)) = (find("timestamp"), find("value")) else {
            bail!("{name}: line 1: the header must be timestamp,value or series,timestamp,value");
        };
        Ok(Self { series: find("series"), timestamp, value })
    }
}

/// Scores the rows of `input` one by one. `name` is the file's name, for errors.
fn score(mut input: impl BufRead, name: &str, out: &mut impl Write) -> anyhow::Result<()> {
    let mut text = String::new();
    let mut number = 0_u64;
    let mut columns = None;
    let mut scorers: HashMap<String, Scorer> = HashMap::new();
    // If a later line is refused, the writer writes the rows before it when it is dropped.
    let mut csv = CsvWriter::with_line_feeds(out);
    for name in ["series", "timestamp", "score"] {
        csv.text(name);
    }
    csv.end_row()?;
    loop {
        text.clear();
        number += 1;
        let line_name = || format!("{name}: line {number}");
        let read = (&mut input).take(MAX_LINE_BYTES).read_line(&mut text);
        let read = read.with_context(|| format!("{}: cannot be read as UTF-8 text", line_name()))?;
        if read as u64 == MAX_LINE_BYTES {
            bail!("{} is longer than {MAX_LINE_BYTES} bytes", line_name());
        }
        let line = text.trim_end_matches(['\n', '\r']);
        if read == 0 {
            break;
        }
        let Some(columns) = &columns else {
            columns = Some(SeriesColumns::read(line, name)?);
            continue;
        };
        if line.is_empty() {
            continue;
        }
        let row = SeriesPoint::read(line, columns).with_context(line_name)?;
        if scorers.len() >= MAX_SERIES && !scorers.contains_key(row.series.as_ref()) {
            bail!("{}: more than {MAX_SERIES} series", line_name());
        }
        // Looked up before it is inserted: `entry` alone would copy the name for every row.
        let score = match scorers.get_mut(row.series.as_ref()) {
            Some(scorer) => scorer.score(row.time_ms, row.value),
            None => scorers.entry(row.series.to_string()).or_default().score(row.time_ms, row.value),
        };
        write_row(&row, score, &mut csv)?;
    }
    if columns.is_none() {
        bail!("{name}: the file is empty; its first line names the columns timestamp and value");
    }
    csv.finish()?;
    Ok(())
}

/// One point. Texts are kept as they are written, for the output.
struct SeriesPoint<'a> {
    series: Cow<'a, str>,
    timestamp: Cow<'a, str>,
    time_ms: i64,
    value: f64,
}

impl<'a> SeriesPoint<'a> {
    fn read(line: &'a str, columns: &SeriesColumns) -> anyhow::Result<Self> {
        let (mut series, mut timestamp, mut value) = (None, None, None);
        for (position, cell) in cells(line).enumerate() {
            let cell = cell?;
            if Some(position) == columns.series {
                series = Some(cell);
            } else if position == columns.timestamp {
                timestamp = Some(cell);
            } else if position == columns.value {
                value = Some(cell);
            }
        }
        let series = match columns.series {
            Some(_) => series,
            // A file of one series does not name it.
            None => Some(Cow::Borrowed("")),
        };
        let (Some(series), Some(timestamp), Some(value)) = (series, timestamp, value) else {
            bail!("fewer cells than columns");
        };
        let Some(time_ms) = time_ms(timestamp.trim()) else {
            bail!("timestamp {:?} is not a time such as 2026-11-25T08:00:00Z", shown(&timestamp));
        };
        let value = match value.trim() {
            // The scorer skips NaN, and the row scores 0.
            "" => f64::NAN,
            text => match text.parse() {
                Ok(value) => value,
                Err(_) => bail!("value {:?} is not a number", shown(text)),
            },
        };
        Ok(Self { series, timestamp, time_ms, value })
    }
}

/// Parses a time to milliseconds since the Unix epoch: RFC 3339, also without an offset or with a space instead of the T, or a number
/// of seconds or milliseconds.
fn time_ms(text: &str) -> Option<i64> {
    if let Some(time) = plain_time_ms(text) {
        return Some(time);
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(time.as_millisecond());
    }
    if let Ok(time) = text.parse::<jiff::civil::DateTime>() {
        return Some(jiff::tz::TimeZone::UTC.to_timestamp(time).ok()?.as_millisecond());
    }
    // Below 10^11 a number is in seconds (until the year 5138), above it in milliseconds (from 1973 on).
    let number = text.parse::<f64>().ok().filter(|number| number.abs() < 1e15)?;
    #[expect(clippy::cast_possible_truncation, reason = "bounded above")]
    Some(if number.abs() < 1e11 { (number * 1000.0) as i64 } else { number as i64 })
}

/// Parses `2026-11-25T08:00:00`, with a T or a space and with or without a Z. `None` for any other form, and for days after the 28th,
/// whose months would have to be checked; the general parser reads those.
fn plain_time_ms(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let (plain, zone) = bytes.split_at_checked(19)?;
    let digits = |from: usize, to: usize| {
        plain
            .get(from..to)?
            .iter()
            .try_fold(0_i64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
    };
    let mark = |at: usize, allowed: &[u8]| plain.get(at).is_some_and(|byte| allowed.contains(byte));
    let marks = mark(4, b"-") && mark(7, b"-") && mark(10, b"T ") && mark(13, b":") && mark(16, b":");
    if !marks || !matches!(zone, b"" | b"Z") {
        return None;
    }
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=28).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days since 1970 of a date of the Gregorian calendar (Hinnant, "chrono-compatible low-level date algorithms").
    let year = year - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000)
}

/// Writes one row: the texts of the input, and the score with six decimal places.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a score lies in [0, 1], a digit in 0 to 9"
)]
fn write_row(row: &SeriesPoint<'_>, score: f64, csv: &mut CsvWriter<impl Write>) -> io::Result<()> {
    csv.text(&row.series);
    csv.text(&row.timestamp);
    // Six decimal places, by hand: formatting fractions would take most of the time.
    let mut millionths = (score * 1e6).round() as u32;
    let mut digits = *b"0.000000";
    let [whole, _, decimals @ ..] = &mut digits;
    for digit in decimals.iter_mut().rev() {
        *digit = b'0' + (millionths % 10) as u8;
        millionths /= 10;
    }
    // 1 for a score of 1, else 0.
    *whole = b'0' + (millionths % 10) as u8;
    csv.digits(&digits);
    csv.end_row()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn scored(csv: &str) -> anyhow::Result<String> {
        let mut out = Vec::new();
        score(csv.as_bytes(), "s.csv", &mut out)?;
        Ok(String::from_utf8(out)?)
    }

    #[test]
    fn every_row_has_a_score_in_the_order_of_the_file() {
        let out =
            scored("timestamp,value\n2026-11-25T08:00:00Z,1\n2026-11-25 08:05:00,\n1795000000,-1e300\n")
                .unwrap();
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[0], "series,timestamp,score");
        assert_eq!(
            lines[1..],
            [",2026-11-25T08:00:00Z,0.000000", ",2026-11-25 08:05:00,0.000000", ",1795000000,0.000000"]
        );
        let named = scored("value,series,timestamp\n1,\"a,b\",5\n").unwrap();
        assert!(named.ends_with("\n\"a,b\",5,0.000000\n"), "{named}");
        let hostile = scored("series,timestamp,value\n\"=1+1\",5,1\n@a,-5,1\n-7,5,1\n").unwrap();
        assert_eq!(hostile, "series,timestamp,score\n'=1+1,5,0.000000\n'@a,-5,0.000000\n-7,5,0.000000\n");
    }

    #[test]
    fn score_uses_no_later_row_and_no_other_series() {
        let mut csv = "series,timestamp,value\n".to_owned();
        for second in 0..2000 {
            let odd = if second > 1500 { 50 } else { 0 };
            let time = 300 * second;
            writeln!(csv, "a,{time},{}\nb,{time},{}", second % 7 + odd, second % 3).unwrap();
        }
        let whole = scored(&csv).unwrap();
        let cut: String = csv.lines().take(3002).map(|line| line.to_owned() + "\n").collect();
        assert!(whole.starts_with(&scored(&cut).unwrap()));
        let odd = |line: &&str| line.rsplit(',').next().unwrap().parse::<f64>().unwrap() > 0.5;
        assert!(whole.lines().skip(1).filter(odd).all(|line| line.starts_with("a,")));
        assert!(whole.lines().skip(1).any(|line| odd(&line)));
    }

    #[test]
    fn times_are_read_in_every_form() {
        for (text, expected) in [
            ("1970-01-02T00:00:01Z", Some(86_401_000)),
            ("1970-01-02 00:00:01", Some(86_401_000)),
            ("2024-02-29T12:00:00Z", Some(1_709_208_000_000)),
            ("2024-02-28T12:00:00", Some(1_709_121_600_000)),
            ("2024-02-28T13:00:00.5+01:00", Some(1_709_121_600_500)),
            ("1709121600", Some(1_709_121_600_000)),
            ("1709121600000", Some(1_709_121_600_000)),
            ("7", Some(7000)),
            ("2024-02-30T12:00:00Z", None),
            ("2024-13-01T12:00:00Z", None),
            ("soon", None),
            ("NaN", None),
        ] {
            assert_eq!(time_ms(text), expected, "{text}");
        }
    }

    #[test]
    fn scores_are_written_with_six_decimals() {
        for (score, expected) in
            [(0.0, "0.000000"), (0.123_456_7, "0.123457"), (0.999_999_9, "1.000000"), (1.0, "1.000000")]
        {
            let row = SeriesPoint { series: "s".into(), timestamp: "5".into(), time_ms: 5000, value: 1.0 };
            let mut csv = CsvWriter::with_line_feeds(Vec::new());
            write_row(&row, score, &mut csv).unwrap();
            assert_eq!(String::from_utf8(csv.finish().unwrap()).unwrap(), format!("s,5,{expected}\n"));
        }
    }

    #[test]
    fn errors_name_file_and_line() {
        for (csv, expected) in [
            ("", "s.csv: the file is empty"),
            ("time,value\n", "s.csv: line 1"),
            ("timestamp,value\nsoon,1\n", "s.csv: line 2"),
            ("timestamp,value\n5,many\n", "s.csv: line 2"),
            ("timestamp,value\n5\n", "s.csv: line 2"),
            ("timestamp,value,series\n5,1\n", "s.csv: line 2: fewer cells than columns"),
        ] {
            let error = format!("{:#}", scored(csv).unwrap_err());
            assert!(error.contains(expected), "{error:?} does not say {expected:?}");
        }
    }
}
