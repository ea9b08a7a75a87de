//! The one codec of stored records: checkpoints, receipts, manifests, API keys, rules, alerts and everything else that is not a block of cells.
//!
//! ```text
//! format u8 | checksum 4 bytes | the record, as postcard writes it
//! ```
//!
//! A type becomes a stored record by implementing [`StoredRecord`] on top of `Serialize` and `Deserialize`. Postcard is compact and has a
//! specified format; fields are positional, so every change of a record's fields needs a new format number. The checksum is the beginning
//! of a SHA-256 over the record's name, its format number and its bytes: this crate depends on SHA-256 already, 32 bits are enough to
//! recognise damage (nobody who may write to the store is kept from forging), and with the name in it a record of one type is never
//! read as another.
//!
//! Reading never panics and never allocates more than a constant factor of the bytes in front of it, whatever they are: postcard reserves
//! room for a sequence only if at least one byte per element is left. A record that cannot be read is an error, never a default.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

/// Format numbers up to here are plausible. A larger first byte is damage rather than the format of a future program.
const MAX_FORMAT: u8 = 31;
const CHECKSUM_BYTES: usize = 4;

/// A stored record that this program cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedRecord {
    /// Written by a newer program.
    #[error("its format {0} is newer than this program: upgrade mailgauge")]
    Newer(u8),
    /// Written by a program from before the first release.
    #[error(
        "its format {0} is older than this program reads: start with an empty data folder or table, nothing before 1.0 is kept"
    )]
    Older(u8),
    /// Cut short, changed, or not written by mailgauge.
    #[error("it is damaged ({0}): restore it from a backup")]
    Damaged(&'static str),
}

/// A type that is stored as an item of its own, or as a part of one.
pub(crate) trait StoredRecord: Serialize + DeserializeOwned {
    /// What the record is. It is part of the checksum, so it never changes while the format number stays.
    const NAME: &'static str;
    /// The format that is written, from 3 to 31. Increment it with every change of the fields or of their meaning.
    const FORMAT: u8;
    /// The oldest format that is read. Keep it when [`StoredRecord::FORMAT`] is incremented, and add an arm to
    /// [`StoredRecord::read_older`].
    const OLDEST_FORMAT: u8 = Self::FORMAT;

    /// Reads a record of an older format, and what follows it. `None` if it is not a record of this type.
    fn read_older(_format: u8, _record: &[u8]) -> Option<(Self, &[u8])> {
        None
    }

    /// The bytes to store.
    fn encode(&self) -> Vec<u8> {
        // Postcard appends to the frame, so the record is not copied. The zeros make room for the checksum.
        let frame = vec![Self::FORMAT, 0, 0, 0, 0];
        let Ok(mut bytes) = postcard::to_extend(self, frame) else {
            // Only types that do not know the length of a sequence fail to be written; each record has a test that writes it.
            // Empty bytes are read as damage, so nothing wrong is ever read.
            event::invariant::broken("a stored record that cannot be encoded");
            return Vec::new();
        };
        // Always true: the bytes begin with the frame. The condition only spares an index that could panic.
        if let Some((frame, record)) = bytes.split_first_chunk_mut::<{ 1 + CHECKSUM_BYTES }>() {
            let [_, checksum @ ..] = frame;
            *checksum = self::checksum(Self::NAME, Self::FORMAT, record);
        }
        bytes
    }

    /// The record that [`StoredRecord::encode`] wrote.
    fn decode(bytes: &[u8]) -> Result<Self, MalformedRecord> {
        let (&format, rest) = bytes.split_first().ok_or(MalformedRecord::Damaged("it is empty"))?;
        // The format comes before the checksum: another program may compute that differently.
        if format == 0 || format > MAX_FORMAT {
            return Err(MalformedRecord::Damaged("no format number"));
        }
        if format > Self::FORMAT {
            return Err(MalformedRecord::Newer(format));
        }
        if format < Self::OLDEST_FORMAT {
            return Err(MalformedRecord::Older(format));
        }
        // Fewer bytes than a checksum has: the write of the item was cut short.
        let (found, record) =
            rest.split_first_chunk::<CHECKSUM_BYTES>().ok_or(MalformedRecord::Damaged("cut short"))?;
        if *found != checksum(Self::NAME, format, record) {
            return Err(MalformedRecord::Damaged("wrong checksum"));
        }
        let read = if format == Self::FORMAT {
            postcard::take_from_bytes(record).ok()
        } else {
            Self::read_older(format, record)
        };
        match read {
            Some((record, [])) => Ok(record),
            // The checksum was right, so a program wrote these bytes as a record of another shape under the same
            // format.
            Some(_) => Err(MalformedRecord::Damaged("bytes left over")),
            None => Err(MalformedRecord::Damaged("not a record of this type")),
        }
    }
}

fn checksum(name: &str, format: u8, record: &[u8]) -> [u8; CHECKSUM_BYTES] {
    // The zero ends the name, which holds none.
    let hash = Sha256::new().chain_update(name).chain_update([0, format]).chain_update(record).finalize();
    let [a, b, c, d, ..] = hash.0;
    [a, b, c, d]
}

/// How a type of the crate `event`, which does not know serde, is stored. Reading checks what its constructor checks.
///
/// Used through the `with` modules below.
pub(crate) trait StoredForm: Sized {
    fn write<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
    fn read<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

macro_rules! stored_as_text {
    ($type:ty, $parse:path) => {
        impl StoredForm for $type {
            fn write<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }

            fn read<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                // Borrowed from the bytes: the constructor checks the text before anything is allocated for it.
                let text: &str = serde::Deserialize::deserialize(deserializer)?;
                $parse(text).map_err(serde::de::Error::custom)
            }
        }
    };
}

macro_rules! stored_as_number {
    ($type:ty, $number:ty, $to:expr, $from:expr) => {
        impl StoredForm for $type {
            fn write<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let to: fn(&$type) -> $number = $to;
                to(self).serialize(serializer)
            }

            fn read<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let number: $number = serde::Deserialize::deserialize(deserializer)?;
                Ok($from(number))
            }
        }
    };
}

stored_as_text!(event::SequenceNumber, event::SequenceNumber::parse);
stored_as_text!(event::ShardId, event::ShardId::new);
stored_as_text!(event::TenantId, event::TenantId::from_stored);
stored_as_number!(event::Timestamp, i64, |time| time.millis(), event::Timestamp::from_millis);
stored_as_number!(event::Minute, u32, |minute| minute.0, event::Minute);
// Hashes are random: a fixed width is shorter than a variable one.
stored_as_number!(event::IdentityHash, [u8; 8], |hash| hash.0.to_le_bytes(), |bytes| event::IdentityHash(
    u64::from_le_bytes(bytes)
));

/// A value of a type with a [`StoredForm`], where serde wants a type of its own.
struct Form<T>(T);

impl<T: StoredForm> Serialize for Form<&T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.write(serializer)
    }
}

impl<'de, T: StoredForm> serde::Deserialize<'de> for Form<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::read(deserializer).map(Self)
    }
}

/// `#[serde(with = "crate::codec::form")]`: a field whose type has a [`StoredForm`].
pub(crate) mod form {
    use super::StoredForm;

    pub(crate) fn serialize<T: StoredForm, S: serde::Serializer>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value.write(to)
    }

    pub(crate) fn deserialize<'de, T: StoredForm, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<T, D::Error> {
        T::read(from)
    }
}

/// `#[serde(with = "crate::codec::option")]`: an optional field whose type has a [`StoredForm`].
pub(crate) mod option {
    use super::{Form, StoredForm};
    use serde::{Deserialize as _, Serialize as _};

    #[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
    pub(crate) fn serialize<T: StoredForm, S: serde::Serializer>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().map(Form).serialize(to)
    }

    pub(crate) fn deserialize<'de, T: StoredForm, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<Option<T>, D::Error> {
        Ok(Option::<Form<T>>::deserialize(from)?.map(|form| form.0))
    }
}

/// `#[serde(with = "crate::codec::list")]`: a list of values whose type has a [`StoredForm`].
pub(crate) mod list {
    use super::{Form, StoredForm};
    use serde::Deserialize as _;

    pub(crate) fn serialize<T: StoredForm, S: serde::Serializer>(
        list: &[T],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(list.iter().map(Form))
    }

    pub(crate) fn deserialize<'de, T: StoredForm, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<T>, D::Error> {
        Ok(Vec::<Form<T>>::deserialize(from)?.into_iter().map(|form| form.0).collect())
    }
}

/// `#[serde(with = "crate::codec::map")]`: a map whose keys and values have a [`StoredForm`].
pub(crate) mod map {
    use super::{Form, StoredForm};
    use serde::Deserialize as _;
    use std::collections::BTreeMap;

    pub(crate) fn serialize<K: StoredForm, V: StoredForm, S: serde::Serializer>(
        map: &BTreeMap<K, V>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        // A sequence of pairs is what postcard makes of a map as well, and reading one needs no visitor of its own.
        to.collect_seq(map.iter().map(|(key, value)| (Form(key), Form(value))))
    }

    pub(crate) fn deserialize<'de, K: StoredForm + Ord, V: StoredForm, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<K, V>, D::Error> {
        let entries = Vec::<(Form<K>, Form<V>)>::deserialize(from)?;
        Ok(entries.into_iter().map(|(key, value)| (key.0, value.0)).collect())
    }
}

/// `#[serde(with = "crate::codec::keyed")]`: a map whose keys have a [`StoredForm`] and whose values know serde.
pub(crate) mod keyed {
    use super::{Form, StoredForm};
    use serde::{Deserialize, Serialize};
    use std::collections::BTreeMap;

    pub(crate) fn serialize<K: StoredForm, V: Serialize, S: serde::Serializer>(
        map: &BTreeMap<K, V>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(map.iter().map(|(key, value)| (Form(key), value)))
    }

    pub(crate) fn deserialize<'de, K: StoredForm + Ord, V: Deserialize<'de>, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<K, V>, D::Error> {
        let entries = Vec::<(Form<K>, V)>::deserialize(from)?;
        Ok(entries.into_iter().map(|(key, value)| (key.0, value)).collect())
    }
}

/// `#[serde(with = "crate::codec::json")]`: a field whose type has the serde form of the public API, which leaves out what is absent.
/// Postcard's fields are positional and cannot leave any out, so the field is stored as JSON text.
pub(crate) mod json {
    use serde::de::{DeserializeOwned, Error as _};
    use serde::ser::Error as _;
    use serde::{Deserialize, Serialize};

    pub(crate) fn serialize<T: Serialize, S: serde::Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        // As text: postcard stores a string and does not look inside.
        to.serialize_str(&serde_json::to_string(value).map_err(S::Error::custom)?)
    }

    pub(crate) fn deserialize<'de, T: DeserializeOwned, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<T, D::Error> {
        serde_json::from_str(<&str>::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// Checks that `record` is written as the stored sample, in hexadecimal, and that the sample is read as `record`. A failure means that the
/// format has changed: increment [`StoredRecord::FORMAT`] and replace the sample.
#[cfg(test)]
pub(crate) fn assert_stored<R: StoredRecord + PartialEq + std::fmt::Debug>(record: &R, sample: &str) {
    let sample: Vec<u8> =
        (0..sample.len()).step_by(2).map(|at| u8::from_str_radix(&sample[at..at + 2], 16).unwrap()).collect();
    assert_eq!(R::decode(&sample).as_ref(), Ok(record), "format {} of {} has changed", R::FORMAT, R::NAME);
    assert_eq!(record.encode(), sample, "format {} of {} has changed", R::FORMAT, R::NAME);
    assert_damage_is_noticed::<R>(&sample);
}

/// Checks that no changed bit, no missing end and no additional byte of a stored record goes unnoticed.
#[cfg(test)]
pub(crate) fn assert_damage_is_noticed<R: StoredRecord>(stored: &[u8]) {
    for position in 0..stored.len() {
        assert!(R::decode(&stored[..position]).is_err(), "{} cut at {position} is read", R::NAME);
        for bit in 0..8 {
            let mut changed = stored.to_vec();
            changed[position] ^= 1 << bit;
            assert!(
                R::decode(&changed).is_err(),
                "{} with bit {bit} of byte {position} changed is read",
                R::NAME
            );
        }
    }
    assert!(R::decode(&[stored, &[0]].concat()).is_err(), "{} with an additional byte is read", R::NAME);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use event::{IdentityHash, SequenceNumber, ShardId, TenantId, Timestamp};
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        #[serde(with = "form")]
        tenant: TenantId,
        #[serde(with = "option")]
        first: Option<SequenceNumber>,
        #[serde(with = "map")]
        frontier: BTreeMap<ShardId, SequenceNumber>,
        #[serde(with = "keyed")]
        sizes: BTreeMap<TenantId, u64>,
        #[serde(with = "list")]
        identities: Vec<IdentityHash>,
        #[serde(with = "option")]
        at: Option<Timestamp>,
        #[serde(with = "json")]
        parts: BTreeMap<String, Option<u32>>,
    }

    impl StoredRecord for Sample {
        const NAME: &'static str = "sample";
        const FORMAT: u8 = 4;
    }

    fn sample() -> impl Strategy<Value = Sample> {
        let identities = prop::collection::vec(any::<u64>().prop_map(IdentityHash), 0..5);
        let numbers = prop::collection::btree_map("[a-z]{1,9}", any::<u64>(), 0..4);
        (identities, numbers, any::<Option<i64>>()).prop_map(|(identities, numbers, millis)| Sample {
            tenant: TenantId::new("acme").unwrap(),
            first: numbers.values().next().map(|&number| SequenceNumber::from(number)),
            frontier: numbers
                .iter()
                .map(|(name, &number)| (ShardId::new(name).unwrap(), SequenceNumber::from(number)))
                .collect(),
            sizes: numbers.iter().map(|(name, &size)| (TenantId::new(name).unwrap(), size)).collect(),
            identities,
            at: millis.map(Timestamp::from_millis),
            parts: numbers.into_keys().map(|name| (name, None)).collect(),
        })
    }

    /// Bytes with a correct frame around whatever follows.
    fn framed(record: &[u8]) -> Vec<u8> {
        let frame = checksum(Sample::NAME, Sample::FORMAT, record);
        [&[Sample::FORMAT], frame.as_slice(), record].concat()
    }

    proptest! {
        #[test]
        fn record_is_read_as_it_was_written_and_every_cut_or_change_is_noticed(
            sample in sample(), position: prop::sample::Index, change in 1..=u8::MAX,
        ) {
            let bytes = sample.encode();
            prop_assert_eq!(Sample::decode(&bytes), Ok(sample));
            for cut in 0..bytes.len() {
                prop_assert!(Sample::decode(&bytes[..cut]).is_err());
            }
            let mut changed = bytes;
            let position = position.index(changed.len());
            changed[position] ^= change;
            prop_assert!(Sample::decode(&changed).is_err());
        }

        #[test]
        fn hostile_bytes_behind_a_correct_checksum_are_an_error_or_a_record_and_never_a_panic(
            record in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = Sample::decode(&record);
            let _ = Sample::decode(&framed(&record));
        }

        #[test]
        fn changed_bytes_behind_a_correct_checksum_never_panic(
            sample in sample(), position: prop::sample::Index, byte: u8,
        ) {
            let mut record = sample.encode().split_off(1 + CHECKSUM_BYTES);
            let position = position.index(record.len());
            record[position] = byte;
            let _ = Sample::decode(&framed(&record));
        }
    }

    #[test]
    fn length_beyond_the_end_is_an_error_and_reserves_nothing() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Lists(Vec<[u64; 4]>, Vec<String>);
        impl StoredRecord for Lists {
            const NAME: &'static str = "lists";
            const FORMAT: u8 = 3;
        }
        // A list of 2^63 elements, of which none follows.
        let record = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        let bytes =
            [&[Lists::FORMAT], checksum(Lists::NAME, Lists::FORMAT, &record).as_slice(), &record].concat();
        assert_eq!(Lists::decode(&bytes), Err(MalformedRecord::Damaged("not a record of this type")));
    }

    #[test]
    fn other_formats_are_refused_by_name() {
        for (bytes, expected) in [
            (&[5, 0, 0, 0, 0][..], MalformedRecord::Newer(5)),
            (&[3], MalformedRecord::Older(3)),
            (&[2, 1, 7], MalformedRecord::Older(2)),
            (&[31, 1, 7], MalformedRecord::Newer(31)),
            (&[0, 0], MalformedRecord::Damaged("no format number")),
            (&[32, 0], MalformedRecord::Damaged("no format number")),
            (b"{\"at\":1}", MalformedRecord::Damaged("no format number")),
            (&[4, 0], MalformedRecord::Damaged("cut short")),
            (&[4, 0, 0, 0, 0], MalformedRecord::Damaged("wrong checksum")),
            (&[], MalformedRecord::Damaged("it is empty")),
        ] {
            assert_eq!(Sample::decode(bytes), Err(expected), "{bytes:?}");
        }
        assert!(MalformedRecord::Older(2).to_string().ends_with("nothing before 1.0 is kept"));
        assert!(MalformedRecord::Newer(9).to_string().ends_with("upgrade mailgauge"));
    }

    #[test]
    fn record_of_one_type_is_not_read_as_another_of_the_same_shape() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct One(u64);
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Other(u64);
        impl StoredRecord for One {
            const NAME: &'static str = "one";
            const FORMAT: u8 = 3;
        }
        impl StoredRecord for Other {
            const NAME: &'static str = "other";
            const FORMAT: u8 = 3;
        }
        assert_eq!(One::decode(&One(7).encode()), Ok(One(7)));
        assert_eq!(Other::decode(&One(7).encode()), Err(MalformedRecord::Damaged("wrong checksum")));
    }

    #[test]
    fn name_that_its_type_refuses_is_not_read() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Text(String);
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Named(#[serde(with = "form")] TenantId);
        impl StoredRecord for Text {
            const NAME: &'static str = "name";
            const FORMAT: u8 = 3;
        }
        impl StoredRecord for Named {
            const NAME: &'static str = "name";
            const FORMAT: u8 = 3;
        }
        let read = |name: &str| Named::decode(&Text(name.to_owned()).encode());
        assert_eq!(read("acme"), Ok(Named(TenantId::new("acme").unwrap())));
        assert_eq!(read("a#b"), Err(MalformedRecord::Damaged("not a record of this type")));
    }
}
