//! The system clock as a [`Clock`]: the only place of the data flow that reads the time.
//!
//! A server may ask for a guard against jumps of the clock, see [`SystemClock::guard`]. Short processes and functions do without:
//! they have not seen the clock for long enough to know better.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use event::Timestamp;
use pipeline::ports::Clock;

use jump_guard::JumpGuard;

mod jump_guard;

/// Set once by a process that wants a guard.
static GUARD: OnceLock<Mutex<JumpGuard>> = OnceLock::new();

/// The system clock, in UTC.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    /// From now on, this process does not follow a jump of the clock by more than a minute before the clock has been steady at its new time
    /// for 15 minutes. In the first 15 minutes it follows every jump.
    pub fn guard() {
        GUARD.get_or_init(|| Mutex::new(JumpGuard::new(unguarded().millis(), uptime_ms())));
    }

    /// Whether the time may decide about what cannot be undone: there is no guard, or the clock has been steady for 15 minutes.
    pub fn is_settled() -> bool {
        GUARD
            .get()
            .is_none_or(|guard| guard.lock().unwrap_or_else(PoisonError::into_inner).is_settled(uptime_ms()))
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let clock = unguarded();
        let Some(guard) = GUARD.get() else { return clock };
        // A poisoned guard is used nevertheless: each reading replaces its state as a whole.
        let (millis, has_jumped) =
            guard.lock().unwrap_or_else(PoisonError::into_inner).read(clock.millis(), uptime_ms());
        let now = Timestamp::from_millis(millis);
        if has_jumped {
            tracing::error!(
                clock = %clock,
                time = %now,
                "the system clock jumped; a jump is followed only if the clock stays there for 15 minutes: set the clock right"
            );
        }
        now
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge that reads the clock for everyone else")]
fn unguarded() -> Timestamp {
    // A clock before 1970 is not set at all; the epoch is the closest time there is.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Milliseconds since the machine was started, also while it was asleep where the system counts them: a laptop that wakes up has no clock
/// that jumped.
#[cfg(unix)]
fn uptime_ms() -> i64 {
    use rustix::time::{ClockId, clock_gettime};
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let clock = ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let clock = ClockId::Monotonic;
    let uptime = clock_gettime(clock);
    uptime.tv_sec.saturating_mul(1000).saturating_add(uptime.tv_nsec / 1_000_000)
}

/// Milliseconds since the process first asked.
#[cfg(not(unix))]
#[expect(clippy::disallowed_methods, reason = "the edge that reads the clock for everyone else")]
fn uptime_ms() -> i64 {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    let uptime = START.get_or_init(std::time::Instant::now).elapsed();
    i64::try_from(uptime.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_in_this_century() {
        let year = SystemClock.now().to_string();
        assert!(year.starts_with("20"), "{year}");
    }

    #[test]
    fn guarded_time_is_the_clocks_and_is_not_settled_at_first() {
        assert!(SystemClock::is_settled());
        SystemClock::guard();
        let difference = SystemClock.now().millis_since(unguarded());
        assert!(difference.abs() < 1_000, "{difference}");
        assert!(!SystemClock::is_settled());
        assert!(uptime_ms() > 0);
    }
}
