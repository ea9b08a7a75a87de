//! Retries for a bounded time, with the exponential backoff and full jitter of [`adapters::backoff`].
//!
//! A wait that the server asks for with `Retry-After` is never cut short by the jitter. Each failure is reported at once, along with the
//! time of the next attempt, since a person is waiting for this command.

use std::time::{Duration, Instant};

use adapters::backoff::Backoff;
use anyhow::anyhow;

use crate::progress::{ProgressReporter, duration};

/// The longest wait after the first failure; this limit doubles with each further failure.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// The longest wait after any failure, so that sending resumes soon after a server is back.
const MAX_BACKOFF: Duration = Duration::from_secs(15);

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum AttemptError {
    /// Another attempt may succeed.
    Temporary {
        reason: String,
        /// The wait that the server asks for with `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Another attempt would fail in the same way.
    Permanent(anyhow::Error),
}

impl AttemptError {
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
    progress: &ProgressReporter,
    mut attempt: impl FnMut(Duration) -> Result<T, AttemptError>,
) -> anyhow::Result<T> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the time left is measured by the clock, and a command may read it"
    )]
    let started = Instant::now();
    let mut backoff = Backoff::new(FIRST_BACKOFF, MAX_BACKOFF);
    loop {
        let left = give_up_after.saturating_sub(started.elapsed());
        let (reason, retry_after) = match attempt(left) {
            Ok(done) => return Ok(done),
            Err(AttemptError::Permanent(error)) => return Err(error),
            Err(AttemptError::Temporary { reason, retry_after }) => (reason, retry_after),
        };
        // Measured again: the attempt itself may have taken a minute.
        let elapsed = started.elapsed();
        let left = give_up_after.saturating_sub(elapsed);
        // Jitter may yield a wait of zero, so the time left is tested and not the wait.
        if left.is_zero() {
            return Err(anyhow!("gave up after {}: {reason}", duration(elapsed)));
        }
        let wait = next_wait(&mut backoff, retry_after, left);
        progress.print_status(&format!(
            "{reason}; next attempt in {}, giving up in {}",
            duration(wait),
            duration(left)
        ));
        std::thread::sleep(wait);
    }
}

/// The wait before the next attempt: the jittered backoff, or `Retry-After` if that is longer. It is cut to the time left, so that the
/// last attempt comes at the very end of that time.
fn next_wait(backoff: &mut Backoff, retry_after: Option<Duration>, left: Duration) -> Duration {
    let pause = backoff.next_pause();
    retry_after.map_or(pause, |asked| asked.max(pause)).min(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_is_at_most_a_limit_that_doubles_and_ends_with_the_time_left() {
        let seconds = Duration::from_secs_f64;
        let plenty = seconds(1000.0);
        let mut backoff = Backoff::new(FIRST_BACKOFF, MAX_BACKOFF);
        for limit in [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0] {
            let wait = next_wait(&mut backoff.clone(), None, plenty);
            assert!(wait <= seconds(limit), "{wait:?} of {limit} s");
            assert_eq!(next_wait(&mut backoff.clone(), Some(seconds(30.0)), plenty), seconds(30.0));
            assert_eq!(next_wait(&mut backoff, Some(seconds(30.0)), seconds(1.5)), seconds(1.5));
        }
    }

    #[test]
    fn temporary_failures_are_retried_until_success() {
        let mut failures = 2;
        let done = retry(Duration::from_mins(1), &ProgressReporter::hidden(), |left| {
            assert!(left > Duration::ZERO);
            failures -= 1;
            if failures > 0 { Err(AttemptError::temporary("not yet")) } else { Ok("done") }
        });
        assert_eq!(done.unwrap(), "done");
    }

    #[test]
    fn permanent_failures_are_not_retried() {
        let mut calls = 0;
        let ended: anyhow::Result<()> = retry(Duration::from_mins(1), &ProgressReporter::hidden(), |_| {
            calls += 1;
            Err(AttemptError::Permanent(anyhow!("refused")))
        });
        assert_eq!((ended.unwrap_err().to_string().as_str(), calls), ("refused", 1));
        let ended: anyhow::Result<()> =
            retry(Duration::ZERO, &ProgressReporter::hidden(), |_| Err(AttemptError::temporary("no answer")));
        assert_eq!(ended.unwrap_err().to_string(), "gave up after 0 s: no answer");
    }

    #[test]
    fn retry_after_does_not_prolong_the_time_to_give_up() {
        let mut calls = 0;
        let ended: anyhow::Result<()> = retry(Duration::from_millis(20), &ProgressReporter::hidden(), |_| {
            calls += 1;
            Err(AttemptError::Temporary {
                reason: "full".to_owned(),
                retry_after: Some(Duration::from_secs(30)),
            })
        });
        assert!(ended.unwrap_err().to_string().ends_with("s: full"));
        assert_eq!(calls, 2, "the second attempt comes at the end of the time");
    }
}
