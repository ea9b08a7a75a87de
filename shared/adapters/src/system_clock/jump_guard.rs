//! Recognises a system clock that jumps, by comparing it with the time since the machine was started, which nobody can set.
//!
//! A clock that stands eight days ahead for a few seconds would make records expire that are still needed, and date arrivals wrongly. So
//! once the clock has been steady for [`SETTLED_MS`], a jump is not followed at first: time goes on as it was until the clock either comes
//! back or has been steady for as long at its new time. Before it was steady nothing is known about it, and it is followed at once.

/// How long a clock must be steady to be believed, in milliseconds (15 minutes).
const SETTLED_MS: i64 = 15 * 60 * 1000;
/// The greatest difference between two readings that is no jump, in milliseconds (1 minute). NTP slews a clock by at most 500 parts in a
/// million (RFC 5905, `MAXFREQ`), and a server reads it every second.
const TOLERANCE_MS: i64 = 60 * 1000;

/// What is known of a clock. All times are in milliseconds; `uptime` is the time since the machine was started.
#[derive(Clone, Copy, Debug)]
pub(super) struct JumpGuard {
    /// The clock less the uptime, while it is believed.
    offset: i64,
    /// The uptime since which the clock has been steady at `offset`.
    steady_since: i64,
    /// The offset to which the clock has jumped, and the uptime at which it did.
    jumped: Option<(i64, i64)>,
}

impl JumpGuard {
    /// With a first reading.
    pub(super) const fn new(clock: i64, uptime: i64) -> Self {
        Self { offset: clock - uptime, steady_since: uptime, jumped: None }
    }

    /// Takes a reading, and returns the time that is to be believed and whether this reading is the first after a jump.
    pub(super) fn read(&mut self, clock: i64, uptime: i64) -> (i64, bool) {
        let offset = clock - uptime;
        let is_near = |other: i64| (offset - other).abs() <= TOLERANCE_MS;
        if is_near(self.offset) {
            (self.offset, self.jumped) = (offset, None);
            return (clock, false);
        }
        let is_settled = |since: i64| uptime - since >= SETTLED_MS;
        let (since, is_first) = match self.jumped {
            Some((other, since)) if is_near(other) => (since, false),
            _ => (uptime, true),
        };
        if is_settled(since) || !is_settled(self.steady_since) {
            *self = Self { offset, steady_since: since, jumped: None };
            return (clock, is_first);
        }
        self.jumped = Some((offset, since));
        (uptime + self.offset, is_first)
    }

    /// Whether the clock has been steady for so long that it is believed.
    pub(super) const fn is_settled(&self, uptime: i64) -> bool {
        self.jumped.is_none() && uptime - self.steady_since >= SETTLED_MS
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    const START: i64 = 1_763_000_000_000;

    /// The errors of a clock in milliseconds, read every second, and the errors that remain.
    fn remaining(errors: impl IntoIterator<Item = i64>) -> Vec<i64> {
        let mut guard = JumpGuard::new(START, 0);
        let read = |(error, second): (i64, i64)| {
            guard.read(START + 1000 * second + error, 1000 * second).0 - START - 1000 * second
        };
        errors.into_iter().zip(1..).map(read).collect()
    }

    fn seconds(error: i64, length: usize) -> Vec<i64> {
        vec![error; length]
    }

    #[test]
    fn steady_clock_that_jumps_for_seconds_is_not_followed() {
        for jump in [8 * DAY_MS, -8 * DAY_MS, 2 * TOLERANCE_MS] {
            let errors = [seconds(0, 1000), seconds(jump, 30), seconds(0, 100)].concat();
            assert_eq!(remaining(errors), seconds(0, 1130), "{jump}");
        }
    }

    #[test]
    fn new_time_is_believed_once_it_was_steady_and_a_second_jump_starts_again() {
        let errors = [seconds(0, 1000), seconds(DAY_MS, 600), seconds(2 * DAY_MS, 1000)].concat();
        let expected = [seconds(0, 1600), seconds(0, 900), seconds(2 * DAY_MS, 100)].concat();
        assert_eq!(remaining(errors), expected);
    }

    #[test]
    fn clock_that_was_never_steady_is_followed_at_once() {
        let errors = [seconds(8 * DAY_MS, 10), seconds(0, 100)].concat();
        assert_eq!(remaining(errors.clone()), errors);
    }

    #[test]
    fn clock_that_is_slewed_is_followed() {
        let errors: Vec<i64> = (0..400_000).map(|second| second / 2).collect();
        assert_eq!(remaining(errors.clone()), errors);
    }

    #[test]
    fn clock_is_settled_after_fifteen_minutes_without_a_jump() {
        let mut guard = JumpGuard::new(START, 0);
        assert!(!guard.is_settled(SETTLED_MS - 1) && guard.is_settled(SETTLED_MS));
        assert_eq!(guard.read(START + SETTLED_MS + DAY_MS, SETTLED_MS), (START + SETTLED_MS, true));
        assert!(!guard.is_settled(SETTLED_MS));
        assert_eq!(guard.read(START + SETTLED_MS + DAY_MS, SETTLED_MS), (START + SETTLED_MS, false));
        guard.read(START + SETTLED_MS + 1, SETTLED_MS + 1);
        assert!(guard.is_settled(SETTLED_MS + 1));
    }

    proptest! {
        #[test]
        fn time_is_the_clocks_or_goes_on_as_it_was(
            jumps in prop::collection::vec((-DAY_MS..DAY_MS, 1..2_000_000_i64), 1..20),
        ) {
            let mut guard = JumpGuard::new(START, 0);
            let (mut uptime, mut before) = (0, START);
            for (error, length) in jumps {
                uptime += length;
                let clock = START + uptime + error;
                let (now, _) = guard.read(clock, uptime);
                prop_assert!(now == clock || now == before + length, "{} {}", now, clock);
                before = now;
            }
        }
    }
}
