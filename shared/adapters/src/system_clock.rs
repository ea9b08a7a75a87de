//! The system clock as a [`Clock`]: the only place of the data flow that reads the time.

use std::time::{SystemTime, UNIX_EPOCH};

use event::Timestamp;
use pipeline::ports::Clock;

/// The system clock, in UTC.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the edge that reads the clock for everyone else")]
    fn now(&self) -> Timestamp {
        // A clock before 1970 is not set at all; the epoch is the closest time there is.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_in_this_century() {
        let year = SystemClock.now().to_string();
        assert!(year.starts_with("20"), "{year}");
    }
}
