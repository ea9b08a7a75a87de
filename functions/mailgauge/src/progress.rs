//! Progress of long work on standard error: a bar on a terminal, plain lines elsewhere.
//!
//! Without a terminal, a line is printed for each tenth of the work and at least every ten seconds, so that a log shows whether
//! work continues or hangs. Progress never fails the work that it reports.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

/// How often the reporter checks whether a line is due.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The longest time between two lines, even without progress, so that a log shows when work hangs.
const MAX_SILENCE: Duration = Duration::from_secs(10);
/// Number of equal parts of the work after each of which a line is printed.
const PARTS: u64 = 10;

/// Reports the progress of one task. Clones report on the same task. Reporting ends with [`ProgressReporter::finish`] or when the last
/// clone is dropped.
#[derive(Clone, Debug)]
pub struct ProgressReporter {
    bar: ProgressBar,
    /// Ends the reporting thread when dropped; `None` on a terminal, where a bar is drawn instead.
    _reporter: Option<Arc<Sender<()>>>,
}

impl ProgressReporter {
    /// A task of `length` units, or of unknown length if `None`. `unit` is a plural, such as `minutes`.
    pub fn new(length: Option<u64>, unit: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
        if io::stderr().is_terminal() {
            let style = match length {
                Some(_) => format!(
                    "{{bar:40.cyan/dim}} {{human_pos}}/{{human_len}} {unit}, {{elapsed}} elapsed, {{eta}} left  {{msg}}"
                ),
                None => format!("{{spinner}} {{human_pos}} {unit}, {{elapsed}} elapsed  {{msg}}"),
            };
            let bar = match ProgressStyle::with_template(&style) {
                Ok(style) => bar.with_style(style),
                // The default style shows the same figures with less text.
                Err(_) => bar,
            };
            bar.enable_steady_tick(CHECK_INTERVAL);
            return Self { bar, _reporter: None };
        }
        let (sender, ended) = channel();
        let shown = bar.clone();
        let reporter = std::thread::Builder::new().name("progress".to_owned());
        // If no thread can be started, the task runs unreported.
        let started = reporter.spawn(move || report(&shown, unit, &ended)).is_ok();
        Self { bar, _reporter: started.then(|| Arc::new(sender)) }
    }

    /// A task that is not reported.
    pub fn hidden() -> Self {
        Self { bar: ProgressBar::hidden(), _reporter: None }
    }

    /// Adds to the number of units done.
    pub fn inc(&self, units: u64) {
        self.bar.inc(units);
    }

    /// The number of units done so far.
    pub fn position(&self) -> u64 {
        self.bar.position()
    }

    /// Sets the number of units done so far.
    pub fn set_position(&self, units: u64) {
        self.bar.set_position(units);
    }

    /// Changes the length, for a task that grows while it runs.
    pub fn set_length(&self, length: u64) {
        self.bar.set_length(length);
    }

    /// Sets a text that is shown after the figures.
    pub fn set_message(&self, message: String) {
        self.bar.set_message(message);
    }

    /// Wraps a stream so that each byte read from it counts as one unit.
    pub fn metered(&self, stream: impl io::Read + Send + 'static) -> impl io::Read + Send + 'static {
        self.bar.wrap_read(stream)
    }

    /// Prints one line on standard error without damaging the bar.
    pub fn print_status(&self, line: &str) {
        self.bar.suspend(|| output::print_status(line));
    }

    /// Ends the reporting and removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Prints lines until the task is finished or its last clone is dropped.
fn report(bar: &ProgressBar, unit: &str, ended: &Receiver<()>) {
    let (mut parts_reported, mut last_line) = (0, Duration::ZERO);
    while matches!(ended.recv_timeout(CHECK_INTERVAL), Err(RecvTimeoutError::Timeout)) && !bar.is_finished() {
        let (position, length, elapsed) = (bar.position(), bar.length(), bar.elapsed());
        let parts = length.filter(|&length| length > 0).map_or(0, |length| PARTS * position / length);
        if parts > parts_reported || elapsed.saturating_sub(last_line) >= MAX_SILENCE {
            output::print_status(&line(position, length, unit, elapsed, &bar.message()));
            (parts_reported, last_line) = (parts, elapsed);
        }
    }
}

/// One line of progress: `12,000 of 40,320 minutes (29 %), 30 s elapsed, about 70 s left`.
fn line(position: u64, length: Option<u64>, unit: &str, elapsed: Duration, message: &str) -> String {
    let done = output::grouped(position);
    let elapsed_text = duration(elapsed);
    // A length that was exceeded or is 0 says nothing about what is left.
    let mut line = match length.filter(|&length| length >= position && length > 0) {
        None => format!("{done} {unit}, {elapsed_text} elapsed"),
        Some(length) => {
            let percent = 100 * position / length;
            let line =
                format!("{done} of {} {unit} ({percent} %), {elapsed_text} elapsed", output::grouped(length));
            if position == 0 {
                line
            } else {
                let left = elapsed.mul_f64((length - position) as f64 / position as f64);
                format!("{line}, about {} left", duration(left))
            }
        }
    };
    if !message.is_empty() {
        line.push_str(": ");
        line.push_str(message);
    }
    line
}

/// A duration rounded down for people: `0.5 s`, `42 s`, `5 min`, `2 h 20 min`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 if time.subsec_millis() >= 100 => format!("{:.1} s", time.as_secs_f64()),
        0..120 => format!("{seconds} s"),
        120..7200 if seconds.is_multiple_of(60) || seconds >= 600 => format!("{} min", seconds / 60),
        120..7200 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_states_what_is_done_and_what_is_left() {
        let seconds = Duration::from_secs;
        let check = |position, length, elapsed, message, expected: &str| {
            assert_eq!(line(position, length, "minutes", seconds(elapsed), message), expected);
        };
        check(0, Some(1000), 10, "", "0 of 1,000 minutes (0 %), 10 s elapsed");
        check(
            250,
            Some(1000),
            10,
            "7 events",
            "250 of 1,000 minutes (25 %), 10 s elapsed, about 30 s left: 7 events",
        );
        check(1234, None, 61, "", "1,234 minutes, 61 s elapsed");
        check(1234, Some(1000), 61, "", "1,234 minutes, 61 s elapsed");
    }

    #[test]
    fn duration_has_the_unit_that_fits() {
        for (milliseconds, expected) in [
            (0, "0 s"),
            (500, "0.5 s"),
            (9_000, "9 s"),
            (42_400, "42 s"),
            (119_000, "119 s"),
            (300_000, "5 min"),
            (299_000, "4 min 59 s"),
            (601_000, "10 min"),
            (4_800_000, "80 min"),
            (7_260_000, "2 h 1 min"),
        ] {
            assert_eq!(duration(Duration::from_millis(milliseconds)), expected);
        }
    }
}
