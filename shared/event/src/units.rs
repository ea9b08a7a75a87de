//! The quantities and identities everything else is made of, each with its own type so that they cannot be swapped.
//!
//! Times are plain integers counted from the Unix epoch in UTC: no clock is read here and no zone is known.

use std::cmp::Ordering;
use std::fmt;

use compact_str::CompactString;
use siphasher::sip::SipHasher13;
use smallvec::SmallVec;

const MILLIS_PER_MINUTE: i64 = 60_000;

/// A moment, in milliseconds since the Unix epoch (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From whole seconds since the Unix epoch.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// This moment moved by `millis` (negative: into the past); stays at the ends of the scale.
    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this moment; negative if `earlier` is later.
    pub const fn millis_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The minute this moment lies in. Moments before 1970 or after the year 10000 stay at the ends.
    pub fn minute(self) -> Minute {
        Minute(u32::try_from(self.0.div_euclid(MILLIS_PER_MINUTE).max(0)).unwrap_or(u32::MAX))
    }
}

/// RFC 3339 in UTC; milliseconds only where there are any.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(moment) => moment.fmt(f),
            Err(_) => write!(f, "{} ms since 1970", self.0),
        }
    }
}

/// A minute, counted from the Unix epoch (UTC): the finest bucket kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minute(pub u32);

impl Minute {
    /// The moment it begins.
    pub fn start(self) -> Timestamp {
        Timestamp(i64::from(self.0) * MILLIS_PER_MINUTE)
    }

    /// The hour it lies in.
    pub const fn hour(self) -> Hour {
        Hour(self.0 / 60)
    }
}

/// An hour, counted from the Unix epoch (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(pub u32);

impl Hour {
    /// Its first minute.
    pub const fn first_minute(self) -> Minute {
        Minute(self.0.saturating_mul(60))
    }

    /// The moment it begins.
    pub fn start(self) -> Timestamp {
        Timestamp(i64::from(self.0) * 60 * MILLIS_PER_MINUTE)
    }

    /// The UTC day it lies in.
    pub const fn day(self) -> Day {
        Day(self.0 / 24)
    }
}

/// A UTC day, counted from the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u32);

impl Day {
    /// Its first hour.
    pub const fn first_hour(self) -> Hour {
        Hour(self.0.saturating_mul(24))
    }

    /// The moment it begins.
    pub fn start(self) -> Timestamp {
        self.first_hour().start()
    }
}

/// Whose numbers: a part of every storage key and of every query.
///
/// 1 to 128 bytes of visible ASCII without `#`, `/` and quotes, so that it can stand in a storage key, a URL and a log
/// line as it is. [`TenantId::UNASSIGNED`] holds events that no rule gives to anyone; only operators see it.
///
/// `*` and names in parentheses are reserved. Names from outside are parsed by [`TenantId::declared`] or [`TenantId::to_read`], so
/// that nobody gains access to the platform or the unassigned mail by giving a tenant such a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(CompactString);

impl TenantId {
    /// The name under which events without a tenant are counted.
    pub const UNASSIGNED: &'static str = "(unassigned)";
    /// Stands for all tenants together where a tenant's name is expected, such as in alerts.
    pub const PLATFORM: &'static str = "*";
    /// What [`TenantId::declared`] accepts, for error messages.
    pub const ALLOWED: &'static str =
        "1 to 128 visible ASCII characters without # / \\ and quotes, not * and not in parentheses";
    /// Longest name, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// Parses a stored name, which may be reserved. Names from outside are checked by [`TenantId::declared`].
    ///
    /// # Errors
    /// [`InvalidName`] if it is empty, too long or has a character that is not allowed.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        if name_is_valid(name, Self::MAX_BYTES) {
            Ok(Self(CompactString::new(name)))
        } else {
            Err(InvalidName { what: "tenant", name: start_of(name) })
        }
    }

    /// Parses the name that a person, a token, a mapping or an event gives to a tenant.
    ///
    /// # Errors
    /// [`InvalidTenant`] if the name is malformed or reserved.
    pub fn declared(name: &str) -> Result<Self, InvalidTenant> {
        if name == Self::PLATFORM || name.starts_with('(') {
            return Err(InvalidTenant::Reserved { name: start_of(name) });
        }
        Ok(Self::new(name)?)
    }

    /// Parses the name of a tenant to read: one that [`TenantId::declared`] accepts, or [`TenantId::UNASSIGNED`].
    ///
    /// # Errors
    /// As [`TenantId::declared`].
    pub fn to_read(name: &str) -> Result<Self, InvalidTenant> {
        if name == Self::UNASSIGNED { Ok(Self::unassigned()) } else { Self::declared(name) }
    }

    /// Events that no rule gives to anyone.
    pub const fn unassigned() -> Self {
        Self(CompactString::const_new(Self::UNASSIGNED))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is [`TenantId::UNASSIGNED`].
    pub fn is_unassigned(&self) -> bool {
        self.0 == Self::UNASSIGNED
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which shard (Kinesis), partition (Kafka) or local queue a record came through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(CompactString);

impl ShardId {
    /// Longest name, in bytes.
    pub const MAX_BYTES: usize = 256;

    /// Checks a name; the rules are those of [`TenantId::new`].
    ///
    /// # Errors
    /// [`InvalidName`] if it is empty, too long or has a character that is not allowed.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        if name_is_valid(name, Self::MAX_BYTES) {
            Ok(Self(CompactString::new(name)))
        } else {
            Err(InvalidName { what: "shard", name: start_of(name) })
        }
    }

    /// The shard of its own that quarantined records are tried again through.
    pub const fn quarantine_replay() -> Self {
        Self(CompactString::const_new("quarantine-replay"))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The part of a name that an error shows.
fn start_of(name: &str) -> String {
    name.chars().take(40).collect()
}

fn name_is_valid(name: &str, max_bytes: usize) -> bool {
    !name.is_empty()
        && name.len() <= max_bytes
        && name.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'#' | b'/' | b'"' | b'\'' | b'\\'))
}

/// A name that cannot be a tenant or a shard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} name {name:?} is not 1 to 128 visible ASCII characters without # / \\ and quotes")]
pub struct InvalidName {
    /// What the name was meant for.
    pub what: &'static str,
    /// Its first 40 characters.
    pub name: String,
}

/// Why a name cannot be given to a tenant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTenant {
    /// The name is malformed.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The name is reserved.
    #[error(
        "tenant name {name:?} is reserved: * stands for all tenants, and names in parentheses for mail of no tenant; use another name"
    )]
    Reserved {
        /// Its first 40 characters.
        name: String,
    },
}

/// Where a record stands in its shard: a decimal number of up to 129 digits, as Kinesis gives them; a Kafka
/// offset or a local counter is one too.
///
/// Ordered by value, not as text. Kept as text because it is longer than any machine integer.
/// Source: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_Record.html>
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SequenceNumber(CompactString);

impl SequenceNumber {
    /// Longest number, in digits.
    pub const MAX_DIGITS: usize = 129;

    /// Checks and normalises a decimal number (leading zeros are dropped).
    ///
    /// # Errors
    /// [`InvalidSequenceNumber`] if it is not 1 to 129 decimal digits.
    pub fn parse(text: &str) -> Result<Self, InvalidSequenceNumber> {
        if text.is_empty() || text.len() > Self::MAX_DIGITS || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidSequenceNumber { text: text.chars().take(40).collect() });
        }
        let digits = text.trim_start_matches('0');
        Ok(Self(CompactString::new(if digits.is_empty() { "0" } else { digits })))
    }

    /// The number in decimal.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number as text that sorts as the numbers do: three digits of length, then the digits.
    pub fn sortable(&self) -> String {
        format!("{:03}{}", self.0.len(), self.0)
    }

    /// Reads what [`SequenceNumber::sortable`] wrote.
    ///
    /// # Errors
    /// [`InvalidSequenceNumber`] if the text was not written by it.
    pub fn from_sortable(text: &str) -> Result<Self, InvalidSequenceNumber> {
        let number = Self::parse(text.get(3..).unwrap_or_default())?;
        if number.sortable() == text {
            Ok(number)
        } else {
            Err(InvalidSequenceNumber { text: text.chars().take(40).collect() })
        }
    }
}

impl From<u64> for SequenceNumber {
    fn from(number: u64) -> Self {
        Self(compact_str::format_compact!("{number}"))
    }
}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SequenceNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.cmp(&other.0))
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text that is not a sequence number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sequence number {text:?} is not 1 to 129 decimal digits")]
pub struct InvalidSequenceNumber {
    /// Its first 40 characters.
    pub text: String,
}

/// The secret under which addresses and messages are hashed. Whoever lacks it cannot test a guess.
#[derive(Clone, Copy)]
pub struct HashKey([u8; 16]);

impl HashKey {
    /// From 16 secret bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// SipHash-1-3 over the parts, each closed by a byte that UTF-8 never holds, so that ("ab","c") and ("a","bc") differ.
    /// A keyed pseudo-random function with a published, stable result: <https://www.aumasson.jp/siphash/>
    pub fn hash(&self, parts: &[&[u8]]) -> u64 {
        // In one piece, as the hash is slow at taking up short ones.
        let mut joined: SmallVec<[u8; 512]> = SmallVec::new();
        for part in parts {
            joined.extend_from_slice(part);
            joined.push(0xff);
        }
        SipHasher13::new_with_key(&self.0).hash(&joined)
    }
}

/// Never printed.
impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(secret)")
    }
}

/// One recipient of one message, by keyed hash: what unique opens and clicks count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecipientHash(pub u64);

/// What makes two records the same event, by keyed hash: type, message, recipient, time, link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityHash(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_sort_by_value() {
        let short = SequenceNumber::parse("99").unwrap();
        let long = SequenceNumber::parse("49590338271490256608559692538361571095921575989136588898").unwrap();
        assert!(short < long);
        assert!(short.sortable() < long.sortable());
        assert_eq!(SequenceNumber::parse("007").unwrap(), SequenceNumber::from(7));
        assert_eq!(SequenceNumber::from_sortable(&long.sortable()).unwrap(), long);
    }

    #[test]
    fn what_is_not_a_number_is_no_sequence_number() {
        for text in ["", "12a", "-1", &"9".repeat(130)] {
            assert!(SequenceNumber::parse(text).is_err(), "{text}");
        }
        for text in ["", "00312", "003x12", "0031"] {
            assert!(SequenceNumber::from_sortable(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_minute_knows_its_hour_and_day() {
        let moment = Timestamp::from_millis(1_763_000_123_456);
        assert_eq!(moment.minute().hour().day().start().to_string(), "2025-11-13T00:00:00Z");
        assert_eq!(moment.minute().start().to_string(), "2025-11-13T02:15:00Z");
        assert_eq!(Timestamp::from_millis(-5).minute(), Minute(0));
        assert_eq!(Timestamp::from_millis(i64::MAX).minute(), Minute(u32::MAX));
    }

    #[test]
    fn tenant_names_fit_a_key_a_url_and_a_log_line() {
        assert!(TenantId::new("acme-mail_1.eu").is_ok());
        for name in ["", "a#b", "a/b", "a b", "ä", "a\nb", &"x".repeat(129)] {
            assert!(TenantId::new(name).is_err(), "{name}");
        }
        assert!(TenantId::new(TenantId::UNASSIGNED).unwrap().is_unassigned());
    }

    #[test]
    fn a_reserved_name_can_be_read_from_the_store_but_not_declared() {
        for name in ["*", "(unassigned)", "(other)", "(none)", "(Unassigned)", "(mine"] {
            assert_eq!(TenantId::new(name).unwrap().as_str(), name);
            let error = TenantId::declared(name).unwrap_err();
            assert!(matches!(&error, InvalidTenant::Reserved { name: told } if told == name), "{error}");
            assert_eq!(TenantId::to_read(name).is_ok(), name == TenantId::UNASSIGNED, "{name}");
        }
        for name in ["acme", "**", "a*", "a(b)", "*.example"] {
            assert_eq!(TenantId::declared(name).unwrap().as_str(), name);
            assert!(TenantId::to_read(name).is_ok(), "{name}");
        }
        for name in ["", "a b", "a#b", &"x".repeat(129)] {
            assert!(matches!(TenantId::declared(name), Err(InvalidTenant::Name(_))), "{name}");
        }
    }

    #[test]
    fn hashing_depends_on_the_key_and_on_where_parts_end() {
        let key = HashKey::new([1; 16]);
        assert_ne!(key.hash(&[b"ab", b"c"]), key.hash(&[b"a", b"bc"]));
        assert_ne!(key.hash(&[b"ab"]), HashKey::new([2; 16]).hash(&[b"ab"]));
    }
}
