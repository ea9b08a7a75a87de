//! Arithmetic on minutes, and how a minute is stored.
//!
//! All of it saturates: a clock that jumps, or a rule with an absurd duration, must never make detection panic.

use event::Minute;

pub(crate) const MINUTES_PER_HOUR: u32 = 60;
pub(crate) const MINUTES_PER_DAY: u32 = 24 * 60;
pub(crate) const MINUTES_PER_WEEK: u32 = 7 * MINUTES_PER_DAY;
pub(crate) const HOURS_PER_DAY: u32 = 24;
pub(crate) const HOURS_PER_WEEK: u32 = 7 * HOURS_PER_DAY;

/// Minutes from `earlier` to `later`; 0 if `later` is the earlier one.
pub(crate) const fn minutes_between(earlier: Minute, later: Minute) -> u32 {
    later.0.saturating_sub(earlier.0)
}

/// The minute that lies `minutes` after `minute`.
pub(crate) const fn plus(minute: Minute, minutes: u32) -> Minute {
    Minute(minute.0.saturating_add(minutes))
}

/// The minute that lies `minutes` before `minute`, but not before 1970.
pub(crate) const fn minus(minute: Minute, minutes: u32) -> Minute {
    Minute(minute.0.saturating_sub(minutes))
}

/// The UTC day of a minute, as days since 1970.
pub(crate) const fn day_of(minute: Minute) -> u32 {
    minute.0 / MINUTES_PER_DAY
}

/// Stores a minute as its number; for `#[serde(with)]`.
pub(crate) mod stored {
    use event::Minute;
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    pub(crate) fn serialize<S: Serializer>(minute: &Minute, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(minute.0)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Minute, D::Error> {
        u32::deserialize(deserializer).map(Minute)
    }
}

/// Stores a minute that may be unknown; for `#[serde(with)]`.
pub(crate) mod stored_option {
    use event::Minute;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    #[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    pub(crate) fn serialize<S: Serializer>(
        minute: &Option<Minute>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        minute.map(|minute| minute.0).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Minute>, D::Error> {
        Ok(Option::<u32>::deserialize(deserializer)?.map(Minute))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(minutes_between(Minute(10), Minute(25)), 15);
        assert_eq!(minutes_between(Minute(25), Minute(10)), 0);
        assert_eq!(plus(Minute(u32::MAX - 1), 5), Minute(u32::MAX));
        assert_eq!(minus(Minute(3), 5), Minute(0));
    }

    #[test]
    fn day_changes_at_midnight_utc() {
        for (minute, day) in [(0, 0), (1439, 0), (1440, 1), (29_459_520, 20_458)] {
            assert_eq!(day_of(Minute(minute)), day, "{minute}");
        }
    }
}
