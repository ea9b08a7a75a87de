//! Where everything lies: the one place that spells storage keys.
//!
//! A tenant's items have a partition key that begins with `t#{tenant}#`, so that access policies can fence tenants off, and
//! names of tenants and shards never hold a `#`. Sort keys are padded so that their order as bytes is the order meant.
//!
//! ```text
//! partition                  sort
//! cursors                    {shard}                            how far a shard is done
//! r#{shard}                  {first}#{part}                     receipt of a batch
//! t#{tenant}#d#{shard}       {first}#{part}                     delta of a batch
//! t#{tenant}#b{level}        {period}#{attempt}#{part}          compacted block
//! t#{tenant}#m               manifest | attempt#{time}#{id}     which blocks are live | what a compaction may leave behind
//! q#{day}                    {shard}#{first}#{part}             quarantined records of a batch
//! backlog                    {shard} | {shard}#{attempt}#{part} what compaction has yet to do | more tenants of it
//! sinks                      {sink}#{shard}                     how far a time-series store has a shard
//! tenants                    {tenant}
//! erasures                   count                               how many erasures there have been
//! tenant-details             {tenant}                            what operators say of it
//! t#{tenant}#a | alerts      {alert}                            an alert of a tenant | over tenants
//! alert-index                {alert}                            whose that alert is
//! rules                      all | t#{tenant}                   the operator's rules | a tenant's own
//! mappings                   all                                what tells whose mail without a tag is
//! watch                      head | {attempt}#{part} | ack#{alert}  where detection stands and its journal | acknowledged alerts
//! learned#{part % 16}        {attempt}#{part}                   what detection has learned, spread over partitions
//! keys                       {hash}                             credentials
//! key-uses                   {key}                              when a key was used last
//! audit                      {time}#{number}                    who set out to change what
//! ```

use event::{Day, SequenceNumber, ShardId, TenantId, Timestamp};

use crate::block_id::{BlockId, Level};
use crate::ports::{Key, Order, Range};

/// Partition of the cursors.
pub const CURSORS: &str = "cursors";
/// Partition of what compaction has yet to fold, by shard.
pub const BACKLOG: &str = "backlog";
/// Partition of how far time-series stores are.
pub const SINKS: &str = "sinks";
/// Partition of the tenants.
pub const TENANTS: &str = "tenants";
/// Partition of the erasure count.
pub const ERASURES: &str = "erasures";
/// Partition of what is said of tenants.
pub const TENANT_DETAILS: &str = "tenant-details";
/// Partition that leads to the alerts of all tenants.
pub const ALERT_INDEX: &str = "alert-index";
/// Partition of what detection knows.
pub const WATCH: &str = "watch";
/// Prefix of the partitions of what detection has learned.
pub const LEARNED: &str = "learned";
/// Partitions that the learned state is spread over.
const LEARNED_PARTITIONS: usize = 16;
/// Partition of the rules of detection.
pub const RULES: &str = "rules";
/// Partition of the credentials.
pub const CREDENTIALS: &str = "keys";
/// Partition of when keys were used.
pub const KEY_USES: &str = "key-uses";
/// Partition of who did what.
pub const AUDIT: &str = "audit";
/// Sort key of a tenant's manifest.
pub const MANIFEST: &str = "manifest";

/// Items of one page: a DynamoDB page ends at 1 MB anyway, and memory stays bounded.
const PAGE_ITEMS: usize = 500;
/// Sorts behind `#` and before every digit: behind all parts of one number, before the next number.
const BEHIND_PARTS: char = '$';

/// The cursor of a shard.
pub fn cursor(shard: &ShardId) -> Key {
    Key { partition: CURSORS.to_owned(), sort: shard.to_string() }
}

/// A shard's backlog.
pub fn backlog(shard: &ShardId) -> Key {
    Key { partition: BACKLOG.to_owned(), sort: shard.to_string() }
}

/// More tenants of a shard's backlog than fit into its item, the part of that number that `attempt` split off.
pub fn more_of_backlog(shard: &ShardId, attempt: u64, part: usize) -> Key {
    Key { partition: BACKLOG.to_owned(), sort: format!("{shard}#{attempt:016x}#{part:05}") }
}

/// All further items of a shard's backlog.
pub fn more_backlog(shard: &ShardId) -> Range {
    Range { from: format!("{shard}#"), to: Some(format!("{shard}$")), ..whole(BACKLOG.to_owned()) }
}

/// How far the sink of that name has a shard.
pub fn sink(name: &str, shard: &ShardId) -> Key {
    Key { partition: SINKS.to_owned(), sort: format!("{name}#{shard}") }
}

/// How far the sink of that name has each shard.
pub fn sink_shards(name: &str) -> Range {
    Range { from: format!("{name}#"), to: Some(format!("{name}{BEHIND_PARTS}")), ..whole(SINKS.to_owned()) }
}

/// The shard at a key of [`sink`].
pub fn sink_shard(key: &Key) -> Option<ShardId> {
    ShardId::new(key.sort.split_once('#')?.1).ok()
}

/// A part of the receipt of the batch that begins at `first`.
pub fn receipt(shard: &ShardId, first: &SequenceNumber, part: usize) -> Key {
    Key { partition: format!("r#{shard}"), sort: part_of(first, part) }
}

/// The receipts of batches that begin behind `after` and not behind `upto`.
pub fn receipts(
    shard: &ShardId,
    after: Option<&SequenceNumber>,
    upto: &SequenceNumber,
    order: Order,
) -> Range {
    between(format!("r#{shard}"), after, upto, order)
}

/// Partition of a tenant's deltas of a shard.
pub fn deltas_of(tenant: &TenantId, shard: &ShardId) -> String {
    format!("t#{tenant}#d#{shard}")
}

/// A part of a tenant's delta of the batch that begins at `first`.
pub fn delta(tenant: &TenantId, shard: &ShardId, first: &SequenceNumber, part: usize) -> Key {
    Key { partition: deltas_of(tenant, shard), sort: part_of(first, part) }
}

/// A tenant's deltas of batches that begin behind `after` and not behind `upto`.
pub fn deltas(
    tenant: &TenantId,
    shard: &ShardId,
    after: Option<&SequenceNumber>,
    upto: &SequenceNumber,
) -> Range {
    between(deltas_of(tenant, shard), after, upto, Order::Forwards)
}

/// The number of the batch that a delta or receipt belongs to.
pub fn first_of(key: &Key) -> Option<SequenceNumber> {
    let (first, _) = key.sort.split_once('#')?;
    SequenceNumber::from_sortable(first).ok()
}

/// The manifest of a tenant.
pub fn manifest(tenant: &TenantId) -> Key {
    Key { partition: format!("t#{tenant}#m"), sort: MANIFEST.to_owned() }
}

/// The note of one attempt to compact a tenant.
pub fn attempt(tenant: &TenantId, started_at: Timestamp, attempt: u64) -> Key {
    Key {
        partition: format!("t#{tenant}#m"),
        sort: format!("attempt#{:015}#{attempt:016x}", started_at.millis().max(0)),
    }
}

/// A tenant's manifest and the notes of attempts beside it.
pub fn manifest_and_attempts(tenant: &TenantId) -> Range {
    whole(format!("t#{tenant}#m"))
}

/// Partition of a tenant's blocks of a level.
pub fn blocks(tenant: &TenantId, level: Level) -> String {
    let level = match level {
        Level::Hour => 1,
        Level::Day => 2,
        Level::Month => 3,
    };
    format!("t#{tenant}#b{level}")
}

/// A part of a compacted block that `attempt` wrote.
pub fn block(tenant: &TenantId, id: BlockId, attempt: u64, part: usize) -> Key {
    Key { partition: blocks(tenant, id.level), sort: format!("{:010}#{attempt:016x}#{part:03}", id.period) }
}

/// A part of the records quarantined on `day` from the batch that begins at `first`.
pub fn quarantine(day: Day, shard: &ShardId, first: &SequenceNumber, part: usize) -> Key {
    Key { partition: quarantine_day(day), sort: format!("{shard}#{}", part_of(first, part)) }
}

/// Partition of the records quarantined on a day.
pub fn quarantine_day(day: Day) -> String {
    format!("q#{:06}", day.0)
}

/// The shard whose records lie at a key of [`quarantine`].
pub fn quarantine_shard(key: &Key) -> &str {
    key.sort.split('#').next().unwrap_or_default()
}

/// A tenant's entry in the register.
pub fn tenant(tenant: &TenantId) -> Key {
    Key { partition: TENANTS.to_owned(), sort: tenant.to_string() }
}

/// The erasure count, which is the item's version.
pub fn erasures() -> Key {
    Key { partition: ERASURES.to_owned(), sort: "count".to_owned() }
}

/// What is said of a tenant.
pub fn tenant_details(tenant: &TenantId) -> Key {
    Key { partition: TENANT_DETAILS.to_owned(), sort: tenant.to_string() }
}

/// Partition of the alerts of a tenant, or of those over tenants.
pub fn alerts(tenant: Option<&TenantId>) -> String {
    tenant.map_or_else(|| "alerts".to_owned(), |tenant| format!("t#{tenant}#a"))
}

/// A tenant's own rules.
pub fn rules_of(tenant: &TenantId) -> Key {
    Key { partition: RULES.to_owned(), sort: format!("t#{tenant}") }
}

/// What tells whose mail without a tag is.
pub fn mappings() -> Key {
    Key { partition: "mappings".to_owned(), sort: "all".to_owned() }
}

/// An entry of who did what.
pub fn audit(at: Timestamp, number: u64) -> Key {
    Key { partition: AUDIT.to_owned(), sort: format!("{:015}#{number:016x}", at.millis().max(0)) }
}

/// Where detection stands.
pub fn watch_head() -> Key {
    Key { partition: WATCH.to_owned(), sort: "head".to_owned() }
}

/// A part of the journal of alerts that `attempt` stored.
pub fn journal_part(attempt: u64, part: usize) -> Key {
    Key { partition: WATCH.to_owned(), sort: format!("{attempt:016x}#{part:05}") }
}

/// A part of the learned state that `attempt` stored. Parts are spread over several partitions, since DynamoDB takes no more than
/// 1,000 write units a second for one.
pub fn learned_part(attempt: u64, part: usize) -> Key {
    Key {
        partition: format!("{LEARNED}#{:02}", part % LEARNED_PARTITIONS),
        sort: format!("{attempt:016x}#{part:05}"),
    }
}

/// That somebody looks after an alert, until detection has seen it.
pub fn acknowledgement(alert: &str) -> Key {
    Key { partition: WATCH.to_owned(), sort: format!("ack#{alert}") }
}

/// The alerts that somebody looks after, detection not knowing yet.
pub fn acknowledgements() -> Range {
    Range { from: "ack#".to_owned(), to: Some("ack$".to_owned()), ..whole(WATCH.to_owned()) }
}

/// The alert at a key of [`acknowledgements`].
pub fn acknowledged(key: &Key) -> Option<&str> {
    key.sort.strip_prefix("ack#")
}

/// All of a partition.
pub fn whole(partition: String) -> Range {
    Range { partition, from: String::new(), to: None, order: Order::Forwards, limit: PAGE_ITEMS }
}

fn part_of(first: &SequenceNumber, part: usize) -> String {
    format!("{}#{part:03}", first.sortable())
}

fn between(partition: String, after: Option<&SequenceNumber>, upto: &SequenceNumber, order: Order) -> Range {
    let behind = |number: &SequenceNumber| format!("{}{BEHIND_PARTS}", number.sortable());
    Range {
        partition,
        from: after.map(behind).unwrap_or_default(),
        to: Some(behind(upto)),
        order,
        limit: PAGE_ITEMS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: u64) -> SequenceNumber {
        SequenceNumber::from(value)
    }

    #[test]
    fn a_range_begins_behind_all_parts_of_one_batch_and_ends_behind_all_parts_of_another() {
        let tenant = TenantId::new("acme").unwrap();
        let shard = ShardId::new("shard-1").unwrap();
        let range = deltas(&tenant, &shard, Some(&number(9)), &number(100));
        for (first, part, inside) in [
            (8, 0, false),
            (9, 0, false),
            (9, 999, false),
            (10, 0, true),
            (99, 3, true),
            (100, 999, true),
            (101, 0, false),
        ] {
            let key = delta(&tenant, &shard, &number(first), part);
            assert_eq!(key.partition, range.partition);
            let held = key.sort >= range.from && range.to.as_ref().is_none_or(|to| key.sort < *to);
            assert_eq!(held, inside, "{first} {part}");
            assert_eq!(first_of(&key), Some(number(first)));
        }
    }

    #[test]
    fn everything_of_a_tenant_lies_under_its_prefix() {
        let acme = TenantId::new("acme").unwrap();
        let shard = ShardId::new("s").unwrap();
        let id = BlockId { level: Level::Day, period: 20_000 };
        let keys = [
            delta(&acme, &shard, &number(1), 0),
            manifest(&acme),
            attempt(&acme, Timestamp::from_millis(5), 1),
            block(&acme, id, 1, 0),
        ];
        for key in keys {
            assert!(key.partition.starts_with("t#acme#"), "{key}");
        }
    }
}
