//! Retries with exponential backoff for a bounded time.
//!
//! Each failure is reported at once, along with the time of the next attempt, since a person is waiting for this command.

use std::time::{Duration, Instant};

use anyhow::anyhow;

use crate::progress::{Progress, duration};

/// The wait after the first failure; each later wait is twice as long.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// The longest wait, so that sending resumes soon after a server is back.
const MAX_BACKOFF: Duration = Duration::from_secs(15);

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another attempt may succeed.
    Temporary {
        reason: String,
        /// The wait that the server asks for with `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Another attempt would fail in the same way.
    Permanent(anyhow::Error),
}

impl Failure {
    /// A temporary failure without a requested wait.
    pub(super) fn temporary(reason: impl Into<String>) -> Self {
        Self::Temporary { reason: reason.into(), retry_after: None }
    }
}

/// Calls `attempt` with the time left, until it succeeds or fails permanently, or `give_up_after` has passed since the first call.
///
/// # Errors
/// The permanent failure, or the last temporary one with how long it was retried.
pub(super) fn retry<T>(
    give_up_after: Duration,
    progress: &Progress,
    mut attempt: impl FnMut(Duration) -> Result<T, Failure>,
) -> anyhow::Result<T> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the time left is measured by the clock, and a command may read it"
    )]
    let started = Instant::now();
    let mut failures = 0;
    loop {
        let left = give_up_after.saturating_sub(started.elapsed());
        let (reason, retry_after) = match attempt(left) {
            Ok(done) => return Ok(done),
            Err(Failure::Permanent(error)) => return Err(error),
            Err(Failure::Temporary { reason, retry_after }) => (reason, retry_after),
        };
        let elapsed = started.elapsed();
        let left = give_up_after.saturating_sub(elapsed);
        let Some(wait) = backoff(failures, retry_after, left) else {
            return Err(anyhow!("gave up after {}: {reason}", duration(elapsed)));
        };
        progress.print_status(&format!(
            "{reason}; next attempt in {}, giving up in {}",
            duration(wait),
            duration(left)
        ));
        std::thread::sleep(wait);
        failures += 1;
    }
}

/// The wait after failure `number`, counted from 0; `None` if there is no time left. The last wait is cut short, so that the last
/// attempt comes at the very end of the time.
fn backoff(number: u32, retry_after: Option<Duration>, left: Duration) -> Option<Duration> {
    let doubled = FIRST_BACKOFF.saturating_mul(2_u32.saturating_pow(number)).min(MAX_BACKOFF);
    let wait = retry_after.unwrap_or_default().max(doubled).min(left);
    (!wait.is_zero()).then_some(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_to_its_limit_and_ends_with_the_time_left() {
        let seconds = Duration::from_secs_f64;
        let plenty = seconds(1000.0);
        let waits: Vec<f64> =
            (0..8).filter_map(|number| Some(backoff(number, None, plenty)?.as_secs_f64())).collect();
        assert_eq!(waits, [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]);
        assert_eq!(backoff(u32::MAX, None, plenty), Some(MAX_BACKOFF));
        assert_eq!(backoff(0, Some(seconds(30.0)), plenty), Some(seconds(30.0)));
        assert_eq!(backoff(3, None, seconds(1.5)), Some(seconds(1.5)));
        assert_eq!(backoff(3, Some(seconds(30.0)), Duration::ZERO), None);
    }

    #[test]
    fn temporary_failures_are_retried_until_success() {
        let mut failures = 2;
        let done = retry(Duration::from_mins(1), &Progress::hidden(), |left| {
            assert!(left > Duration::ZERO);
            failures -= 1;
            if failures > 0 { Err(Failure::temporary("not yet")) } else { Ok("done") }
        });
        assert_eq!(done.unwrap(), "done");
    }

    #[test]
    fn permanent_failures_are_not_retried() {
        let mut calls = 0;
        let ended: anyhow::Result<()> = retry(Duration::from_mins(1), &Progress::hidden(), |_| {
            calls += 1;
            Err(Failure::Permanent(anyhow!("refused")))
        });
        assert_eq!((ended.unwrap_err().to_string().as_str(), calls), ("refused", 1));
        let ended: anyhow::Result<()> =
            retry(Duration::ZERO, &Progress::hidden(), |_| Err(Failure::temporary("no answer")));
        assert_eq!(ended.unwrap_err().to_string(), "gave up after 0 s: no answer");
    }
}
