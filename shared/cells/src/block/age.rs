//! Age classes: how long after its mail was sent an outcome happened.
//!
//! Cohort rows keep their outcomes apart by age, so that rates of different mail can be compared at an equal age. Classes instead of
//! minutes, because every class of a cohort is a row.

use event::Minute;

/// How long after sending an outcome happened, as a range. The numbers are part of the storage format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AgeClass {
    /// Less than a minute. Sends are of this class, and so is what a slow clock reports before its sending.
    Within1Minute = 0,
    /// From 1 to less than 5 minutes.
    Within5Minutes = 1,
    /// From 5 to less than 15 minutes.
    Within15Minutes = 2,
    /// From 15 minutes to less than an hour.
    Within1Hour = 3,
    /// From 1 to less than 6 hours.
    Within6Hours = 4,
    /// From 6 to less than 24 hours.
    Within24Hours = 5,
    /// From 24 to less than 72 hours.
    Within72Hours = 6,
    /// From 72 hours on.
    Later = 7,
    /// Not known: cells, and cohorts from before age classes were stored.
    #[default]
    Unknown = 8,
    /// At least 6 hours, from before age classes were stored. Kept by the hour of sending, so that a query that cuts hours can say so.
    UnknownLate = 9,
}

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

impl AgeClass {
    /// How many there are.
    pub const COUNT: usize = 10;

    /// All of them, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Within1Minute,
        Self::Within5Minutes,
        Self::Within15Minutes,
        Self::Within1Hour,
        Self::Within6Hours,
        Self::Within24Hours,
        Self::Within72Hours,
        Self::Later,
        Self::Unknown,
        Self::UnknownLate,
    ];

    /// Those that end at an age, in ascending order: what a query can ask for.
    pub const BOUNDED: [Self; 7] = [
        Self::Within1Minute,
        Self::Within5Minutes,
        Self::Within15Minutes,
        Self::Within1Hour,
        Self::Within6Hours,
        Self::Within24Hours,
        Self::Within72Hours,
    ];

    /// The age at which it ends, as queries name it; empty if it ends at none.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Within1Minute => "1m",
            Self::Within5Minutes => "5m",
            Self::Within15Minutes => "15m",
            Self::Within1Hour => "1h",
            Self::Within6Hours => "6h",
            Self::Within24Hours => "24h",
            Self::Within72Hours => "72h",
            Self::Later | Self::Unknown | Self::UnknownLate => "",
        }
    }

    /// Whether the age is known.
    pub const fn is_known(self) -> bool {
        !matches!(self, Self::Unknown | Self::UnknownLate)
    }

    /// The class of an outcome this many milliseconds after sending.
    pub const fn after_millis(age: i64) -> Self {
        if age < MINUTE_MS {
            Self::Within1Minute
        } else if age < 5 * MINUTE_MS {
            Self::Within5Minutes
        } else if age < 15 * MINUTE_MS {
            Self::Within15Minutes
        } else if age < HOUR_MS {
            Self::Within1Hour
        } else if age < 6 * HOUR_MS {
            Self::Within6Hours
        } else if age < 24 * HOUR_MS {
            Self::Within24Hours
        } else if age < 72 * HOUR_MS {
            Self::Within72Hours
        } else {
            Self::Later
        }
    }

    /// The bucket of mail that was sent at `sent` and has an outcome of this age, in a block of minutes.
    ///
    /// Detection evaluates only the cohorts of the last hours by the minute, and most deliveries and bounces arrive within minutes. So
    /// outcomes from 6 hours on are kept by the quarter hour of sending, which begins where the days of all time zones can begin.
    pub const fn bucket(self, sent: Minute) -> Minute {
        let width = match self {
            Self::Within24Hours | Self::Within72Hours | Self::Later => 15,
            Self::UnknownLate => 60,
            Self::Within1Minute
            | Self::Within5Minutes
            | Self::Within15Minutes
            | Self::Within1Hour
            | Self::Within6Hours
            | Self::Unknown => 1,
        };
        Minute(sent.0 - sent.0 % width)
    }

    /// Whether every outcome of this class happened less than 72 hours after its mail was sent.
    pub(crate) const fn is_within_72_hours(self) -> bool {
        match self {
            Self::Within1Minute
            | Self::Within5Minutes
            | Self::Within15Minutes
            | Self::Within1Hour
            | Self::Within6Hours
            | Self::Within24Hours
            | Self::Within72Hours => true,
            Self::Later | Self::Unknown | Self::UnknownLate => false,
        }
    }

    /// A bit of its own, for sets of classes.
    pub(crate) const fn bit(self) -> u64 {
        1 << self as u8
    }

    /// The classes of a set of bits, in the order of their numbers. Other bits are ignored.
    pub(crate) fn of_bits(bits: u64) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |age| bits & age.bit() != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_begin_at_their_bounds() {
        for (minutes, below, from) in [
            (1, AgeClass::Within1Minute, AgeClass::Within5Minutes),
            (5, AgeClass::Within5Minutes, AgeClass::Within15Minutes),
            (15, AgeClass::Within15Minutes, AgeClass::Within1Hour),
            (60, AgeClass::Within1Hour, AgeClass::Within6Hours),
            (6 * 60, AgeClass::Within6Hours, AgeClass::Within24Hours),
            (24 * 60, AgeClass::Within24Hours, AgeClass::Within72Hours),
            (72 * 60, AgeClass::Within72Hours, AgeClass::Later),
        ] {
            let bound = minutes * MINUTE_MS;
            assert_eq!(AgeClass::after_millis(bound - 1), below, "{minutes} minutes");
            assert_eq!(AgeClass::after_millis(bound), from, "{minutes} minutes");
        }
        assert_eq!(AgeClass::after_millis(i64::MIN), AgeClass::Within1Minute);
        assert_eq!(AgeClass::after_millis(i64::MAX), AgeClass::Later);
    }

    #[test]
    fn sets_of_classes_are_read_as_they_were_written() {
        for (number, age) in (0..).zip(AgeClass::ALL) {
            assert_eq!(age as u8, number);
        }
        let set = AgeClass::Within1Minute.bit() | AgeClass::UnknownLate.bit() | 1 << 40;
        assert!(AgeClass::of_bits(set).eq([AgeClass::Within1Minute, AgeClass::UnknownLate]));
        assert!(AgeClass::of_bits(0).next().is_none());
    }

    #[test]
    fn late_outcomes_are_kept_by_the_quarter_hour_of_sending() {
        for (age, bucket) in [
            (AgeClass::Within6Hours, 119),
            (AgeClass::Within24Hours, 105),
            (AgeClass::Later, 105),
            (AgeClass::UnknownLate, 60),
            (AgeClass::Unknown, 119),
        ] {
            assert_eq!(age.bucket(Minute(119)), Minute(bucket), "{age:?}");
        }
    }
}
