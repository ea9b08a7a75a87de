//! The numbers of an encoded block's sections.
//!
//! Each table has a range of 512 numbers, with room for its keys, row positions, sketches and all 256 counters. The block's strings,
//! intake counts and evidence have the range after the first three tables. Numbers are part of the storage format.

use crate::counter::CounterId;

/// The number of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SectionId(u16);

/// The tables of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableId {
    Cells = 0,
    Cohorts = 1,
    /// Only read, in blocks of format 2: cohorts of late outcomes, by the hour of sending.
    LateCohorts = 2,
    /// After the numbers of the strings, intake counts and evidence.
    Links = 4,
}

/// The sections of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnId {
    Keys,
    /// Key and bucket of each row.
    Positions,
    Latency,
    Opens,
    Clicks,
    /// The age classes of each key's rows. Absent if all are unknown.
    Ages,
    Counter(CounterId),
}

const TABLE_ROOM: u16 = 512;
const FIRST_COUNTER: u16 = 16;

const _: () =
    assert!(FIRST_COUNTER as usize + CounterId::COUNT <= TABLE_ROOM as usize, "tables would overlap");

impl SectionId {
    /// The strings that keys are made of.
    pub(crate) const STRINGS: Self = Self(3 * TABLE_ROOM);
    /// The intake counts by hour.
    pub(crate) const INTAKE: Self = Self(3 * TABLE_ROOM + 1);
    /// What outcomes revealed about mailbox providers.
    pub(crate) const EVIDENCE: Self = Self(3 * TABLE_ROOM + 2);
    /// One more than the largest number of a section.
    pub(crate) const LIMIT: u16 = (TableId::Links as u16 + 1) * TABLE_ROOM;

    /// A column of a table.
    pub(crate) const fn of(table: TableId, column: ColumnId) -> Self {
        // The numbers from 6 to 15 are free for further columns.
        let offset = match column {
            ColumnId::Keys => 0,
            ColumnId::Positions => 1,
            ColumnId::Latency => 2,
            ColumnId::Opens => 3,
            ColumnId::Clicks => 4,
            ColumnId::Ages => 5,
            ColumnId::Counter(counter) => FIRST_COUNTER + counter.number() as u16,
        };
        Self(table as u16 * TABLE_ROOM + offset)
    }

    /// The section of a number, if it is below [`SectionId::LIMIT`].
    pub(crate) fn from_number(number: u64) -> Option<Self> {
        u16::try_from(number).ok().filter(|number| *number < Self::LIMIT).map(Self)
    }

    /// The number by which the directory of a frame names the section.
    pub(crate) const fn number(self) -> u16 {
        self.0
    }

    /// The counter whose column this is, if it is a counter's column of that table.
    pub(crate) fn counter_of(self, table: TableId) -> Option<CounterId> {
        // An offset beyond a byte belongs to a later table.
        let offset = self.0.checked_sub(table as u16 * TABLE_ROOM + FIRST_COUNTER)?;
        u8::try_from(offset).ok().map(CounterId::from_number)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const TABLES: [TableId; 4] = [TableId::Cells, TableId::Cohorts, TableId::LateCohorts, TableId::Links];

    #[test]
    fn every_column_has_a_number_of_its_own_and_is_found_by_it() {
        let mut seen = BTreeSet::from([SectionId::STRINGS, SectionId::INTAKE, SectionId::EVIDENCE]);
        for table in TABLES {
            for column in [
                ColumnId::Keys,
                ColumnId::Positions,
                ColumnId::Latency,
                ColumnId::Opens,
                ColumnId::Clicks,
                ColumnId::Ages,
            ] {
                let id = SectionId::of(table, column);
                assert!(seen.insert(id), "{table:?} {column:?}");
                assert!(TABLES.iter().all(|table| id.counter_of(*table).is_none()), "{table:?} {column:?}");
            }
            for counter in (0..=u8::MAX).map(CounterId::from_number) {
                let id = SectionId::of(table, ColumnId::Counter(counter));
                assert!(seen.insert(id), "{table:?} {counter:?}");
                let found: Vec<_> =
                    TABLES.into_iter().filter(|other| id.counter_of(*other).is_some()).collect();
                assert_eq!((found, id.counter_of(table)), (vec![table], Some(counter)));
            }
        }
        for id in seen {
            assert_eq!(SectionId::from_number(id.number().into()), Some(id));
        }
    }

    #[test]
    fn numbers_from_the_limit_on_are_no_sections() {
        let limit = u64::from(SectionId::LIMIT);
        assert!(SectionId::from_number(limit - 1).is_some());
        for number in [limit, 1 << 16, u64::MAX] {
            assert_eq!(SectionId::from_number(number), None);
        }
    }
}
