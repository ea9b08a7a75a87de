//! Retries with backoff for a bounded time. Each failure is reported at once, along with the time of the next attempt.

use std::time::{Duration, Instant};

use anyhow::anyhow;

use crate::progress::{Progress, duration};

/// The pause after the first failure; each later pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause, so that sending resumes soon after a server is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Temporary: another attempt may succeed.
    Passing {
        what: String,
        /// How long the server asks to wait, as in `Retry-After`.
        wait: Option<Duration>,
    },
    /// Another attempt would fail the same way.
    Lasting(anyhow::Error),
}

impl Failure {
    /// A temporary failure without a requested wait.
    pub(super) fn passing(what: impl Into<String>) -> Self {
        Self::Passing { what: what.into(), wait: None }
    }
}

/// Calls `attempt` with the time left, until it succeeds or fails permanently, or `give_up_after` has passed since the first call.
pub(super) fn retry<T>(
    give_up_after: Duration,
    progress: &Progress,
    mut attempt: impl FnMut(Duration) -> Result<T, Failure>,
) -> anyhow::Result<T> {
    #[expect(
        clippy::disallowed_methods,
        reason = "waiting is measured against the clock, and this is the edge"
    )]
    let started = Instant::now();
    let mut failures = 0;
    loop {
        let left = give_up_after.saturating_sub(started.elapsed());
        let (what, wait) = match attempt(left) {
            Ok(done) => return Ok(done),
            Err(Failure::Lasting(error)) => return Err(error),
            Err(Failure::Passing { what, wait }) => (what, wait),
        };
        let elapsed = started.elapsed();
        let left = give_up_after.saturating_sub(elapsed);
        let Some(pause) = pause(failures, wait, left) else {
            return Err(anyhow!("gave up after {}: {what}", duration(elapsed)));
        };
        progress.tell(&format!(
            "{what}; next attempt in {}, giving up in {}",
            duration(pause),
            duration(left)
        ));
        std::thread::sleep(pause);
        failures += 1;
    }
}

/// The pause after failure `number`, counted from 0; `None` if there is no time left. The last pause is cut short, so that the last attempt
/// comes at the very end of the time.
fn pause(number: u32, asked: Option<Duration>, left: Duration) -> Option<Duration> {
    let backoff = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(number)).min(LONGEST_PAUSE);
    let pause = asked.unwrap_or_default().max(backoff).min(left);
    (!pause.is_zero()).then_some(pause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_their_limit_and_end_with_the_time_left() {
        let seconds = Duration::from_secs_f64;
        let plenty = seconds(1000.0);
        let pauses: Vec<f64> =
            (0..8).filter_map(|number| Some(pause(number, None, plenty)?.as_secs_f64())).collect();
        assert_eq!(pauses, [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]);
        assert_eq!(pause(u32::MAX, None, plenty), Some(LONGEST_PAUSE));
        assert_eq!(pause(0, Some(seconds(30.0)), plenty), Some(seconds(30.0)));
        assert_eq!(pause(3, None, seconds(1.5)), Some(seconds(1.5)));
        assert_eq!(pause(3, Some(seconds(30.0)), Duration::ZERO), None);
    }

    #[test]
    fn an_attempt_is_repeated_until_it_works() {
        let mut failures = 2;
        let done = retry(Duration::from_mins(1), &Progress::hidden(), |left| {
            assert!(left > Duration::ZERO);
            failures -= 1;
            if failures > 0 { Err(Failure::passing("not yet")) } else { Ok("done") }
        });
        assert_eq!(done.unwrap(), "done");
    }

    #[test]
    fn permanent_failures_are_not_retried() {
        let mut calls = 0;
        let ended: anyhow::Result<()> = retry(Duration::from_mins(1), &Progress::hidden(), |_| {
            calls += 1;
            Err(Failure::Lasting(anyhow!("refused")))
        });
        assert_eq!((ended.unwrap_err().to_string().as_str(), calls), ("refused", 1));
        let ended: anyhow::Result<()> =
            retry(Duration::ZERO, &Progress::hidden(), |_| Err(Failure::passing("no answer")));
        assert_eq!(ended.unwrap_err().to_string(), "gave up after 0 s: no answer");
    }
}
