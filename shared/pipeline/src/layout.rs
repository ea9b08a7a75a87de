//! The store's key layout: every partition key and sort key is built here and nowhere else.
//!
//! The partition keys of a tenant's items begin with `t#{tenant}#`, so that an access policy can restrict a role to one tenant.
//! Items are sorted by the bytes of their sort keys, so numbers are padded. Names of tenants, shards and sinks contain no `#`, which
//! separates the components of a key. This module must not depend on the modules that store something: they depend on it.
//!
//! ```text
//! partition                  sort                              item
//! checkpoints                {shard}                           position and totals of a shard
//! r#{shard}                  {first}#{part}                    receipt of the batch that begins at sequence number `first`
//! t#{tenant}#d#{shard}       {first}#{part}                    delta of that batch
//! q#{day}                    {shard}#{first}#{part}            quarantined records of that batch
//! t#{tenant}#b{level}        {period}#{attempt}#{part}         compacted block of an hour (1), day (2) or month (3)
//! t#{tenant}#m               manifest                          which blocks of the tenant are live
//! t#{tenant}#m               attempt#{time}#{attempt}          what a compaction may leave behind
//! backlog                    {shard}                           tenants of a shard whose deltas are not compacted
//! backlog                    {shard}#{attempt}#{part}          more of them than fit into one item
//! exports                    {sink}#{shard}                    position of a time-series sink in a shard
//!
//! tenants                    {tenant}                          the register of tenants
//! tenant-settings            {tenant}                          settings that an operator gave a tenant
//! erasures                   count                             number of erasures, as the item's version
//! api-keys                   {hash}                            API keys, by their SHA-256
//! api-key-uses               {key}                             when an API key was last used
//! mappings                   all                               tenants by configuration set, sending domain and account
//! rules                      all                               the operator's detection rules
//! rules                      t#{tenant}                        a tenant's own detection rules
//! audit                      {time}#{number}                   audit log
//! providers                  {part}                            providers of domains, as the tenants agree on them
//! t#{tenant}#p               providers                         providers of domains, as one tenant knows them
//! secrets                    1                                 secrets of the deployment
//!
//! t#{tenant}#a               {alert}                           alert registry: alerts of a tenant
//! alerts                     {alert}                           alert registry: alerts of the platform
//! alert-index                {alert}                           alert registry: the scope of each alert
//! detection                  head                              position of detection
//! detection                  {attempt}#{part}                  notification journal
//! detection                  ack#{alert}                       acknowledgements that detection has not seen
//! detection                  sending                           alerts about sending, and their pending changes
//! account-events             {time}#{end}#{hash}               SES's events about sending, until detection has applied them
//! learned#{part % 16}        {attempt}#{part}                  learned state of detection
//! ```

use event::{Day, SequenceNumber, ShardId, TenantId, Timestamp};

use crate::block_id::{BlockId, Level};
use crate::ports::{Key, Range, ScanOrder};

/// Partition of the checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";
/// Partition of the backlogs of compaction.
pub const BACKLOG: &str = "backlog";
/// Partition of the providers that the tenants agree on, and the sort key of those that one tenant knows.
pub const PROVIDERS: &str = "providers";
/// Partition of the register of tenants.
pub const TENANTS: &str = "tenants";
/// Partition of the tenants' settings.
pub const TENANT_SETTINGS: &str = "tenant-settings";
/// Partition of the API keys.
pub const API_KEYS: &str = "api-keys";
/// Partition of the detection rules.
pub const RULES: &str = "rules";
/// Partition of the audit log.
pub const AUDIT: &str = "audit";
/// Partition of the account events that detection has not applied.
pub const ACCOUNT_EVENTS: &str = "account-events";
/// Partition of the alert registry's index.
pub const ALERT_INDEX: &str = "alert-index";
/// Sort key of a tenant's manifest.
pub const MANIFEST: &str = "manifest";
/// Sort key of the operator's rules.
pub const OPERATOR_RULES: &str = "all";

const API_KEY_USES: &str = "api-key-uses";
const DETECTION: &str = "detection";
const ERASURES: &str = "erasures";
const EXPORTS: &str = "exports";
const LEARNED: &str = "learned";
const MAPPINGS: &str = "mappings";
const PLATFORM_ALERTS: &str = "alerts";
const SECRETS: &str = "secrets";

/// Partitions that the learned state is spread over.
const LEARNED_PARTITIONS: usize = 16;
/// Items in one page. A DynamoDB page ends at 1 MB anyway; this bounds the memory of a page of small items.
const PAGE_ITEMS: usize = 500;
/// Sorts after `#` and before every digit: after all parts of one number, before the next number.
const AFTER_PARTS: char = '$';

fn key(partition: impl Into<String>, sort: impl Into<String>) -> Key {
    Key { partition: partition.into(), sort: sort.into() }
}

/// A whole partition, smallest sort key first.
pub fn whole(partition: impl Into<String>) -> Range {
    Range {
        partition: partition.into(),
        // The empty text sorts before every sort key.
        from: String::new(),
        to: None,
        order: ScanOrder::Forwards,
        limit: PAGE_ITEMS,
    }
}

/// The items of a partition whose sort keys begin with `beginning` and a `#`.
fn beginning_with(partition: &str, beginning: &str) -> Range {
    // `#` itself ends the range of names that begin alike: `s-1#` does not begin the keys of `s-10`.
    Range { from: format!("{beginning}#"), to: Some(format!("{beginning}{AFTER_PARTS}")), ..whole(partition) }
}

// Counting.

/// The checkpoint of a shard.
pub fn checkpoint(shard: &ShardId) -> Key {
    // One partition for all shards, because every reader needs all checkpoints at once.
    key(CHECKPOINTS, shard.as_str())
}

/// One part of the receipt of the batch that begins at `first`.
pub fn receipt(shard: &ShardId, first: &SequenceNumber, part: usize) -> Key {
    // By shard and not by tenant: compaction, export and a starting process read a shard in the order of its batches.
    key(format!("r#{shard}"), batch_part(first, part))
}

/// The receipts of the batches that begin after `after` and at or before `upto`.
pub fn receipts(
    shard: &ShardId,
    after: Option<&SequenceNumber>,
    upto: &SequenceNumber,
    order: ScanOrder,
) -> Range {
    batches(format!("r#{shard}"), after, upto, order)
}

/// Partition of a tenant's deltas of a shard.
pub fn delta_partition(tenant: &TenantId, shard: &ShardId) -> String {
    // A partition for each tenant and shard: the sort key is then the sequence number alone, and shards that write at
    // the same time share no partition, each of which takes 1,000 write units a second on DynamoDB.
    format!("t#{tenant}#d#{shard}")
}

/// One part of a tenant's delta of the batch that begins at `first`.
pub fn delta(tenant: &TenantId, shard: &ShardId, first: &SequenceNumber, part: usize) -> Key {
    key(delta_partition(tenant, shard), batch_part(first, part))
}

/// A tenant's deltas of the batches that begin after `after` and at or before `upto`.
pub fn deltas(
    tenant: &TenantId,
    shard: &ShardId,
    after: Option<&SequenceNumber>,
    upto: &SequenceNumber,
) -> Range {
    batches(delta_partition(tenant, shard), after, upto, ScanOrder::Forwards)
}

/// Whether a key is that of the first part of a [`receipt`] or [`delta`].
pub fn is_first_part(key: &Key) -> bool {
    // Parts are numbered from 0 with three digits, see `batch_part`.
    key.sort.ends_with("#000")
}

/// The first sequence number of the batch that a [`delta`] or [`receipt`] belongs to; `None` if the key is neither.
pub fn first_of_batch(key: &Key) -> Option<SequenceNumber> {
    let (first, _) = key.sort.split_once('#')?;
    SequenceNumber::from_sortable(first).ok()
}

/// One part of the records quarantined on `day` from the batch that begins at `first`.
pub fn quarantine(day: Day, shard: &ShardId, first: &SequenceNumber, part: usize) -> Key {
    // By day, so that all quarantined records of a day can be listed and expire together.
    key(quarantine_partition(day), format!("{shard}#{}", batch_part(first, part)))
}

/// Partition of the records quarantined on a day.
pub fn quarantine_partition(day: Day) -> String {
    format!("q#{:06}", day.0)
}

/// The name of the shard whose records are stored at a key of [`quarantine`].
pub fn quarantine_shard(key: &Key) -> &str {
    key.sort.split_once('#').map_or(key.sort.as_str(), |(shard, _)| shard)
}

fn batch_part(first: &SequenceNumber, part: usize) -> String {
    // Three digits are enough: quarantine needs the most parts, and a commit keeps at most 1,000 of those.
    format!("{}#{part:03}", first.sortable())
}

/// All parts of the batches that begin after `after` and at or before `upto`.
fn batches(
    partition: String,
    after: Option<&SequenceNumber>,
    upto: &SequenceNumber,
    order: ScanOrder,
) -> Range {
    // Behind all parts of a batch, so that a range never begins or ends in the middle of one.
    let after_parts = |first: &SequenceNumber| format!("{}{AFTER_PARTS}", first.sortable());
    let from = after.map_or_else(String::new, after_parts);
    Range { from, to: Some(after_parts(upto)), order, ..whole(partition) }
}

// History.

/// The manifest of a tenant, which lists its live blocks.
pub fn manifest(tenant: &TenantId) -> Key {
    key(manifest_partition(tenant), MANIFEST)
}

/// The note of one attempt to compact a tenant. Notes are sorted by time.
pub fn compaction_attempt(tenant: &TenantId, started_at: Timestamp, attempt: u64) -> Key {
    // Beside the manifest, so that one range reads both; `attempt` sorts before `manifest`.
    key(manifest_partition(tenant), format!("attempt#{}#{attempt:016x}", sortable(started_at)))
}

/// A tenant's manifest and the notes of its compaction attempts.
pub fn manifest_and_attempts(tenant: &TenantId) -> Range {
    whole(manifest_partition(tenant))
}

fn manifest_partition(tenant: &TenantId) -> String {
    format!("t#{tenant}#m")
}

/// Partition of a tenant's blocks of one level.
pub fn block_partition(tenant: &TenantId, level: Level) -> String {
    let level = match level {
        Level::Hour => 1,
        Level::Day => 2,
        Level::Month => 3,
    };
    format!("t#{tenant}#b{level}")
}

/// One part of a block that the compaction `attempt` wrote.
pub fn block(tenant: &TenantId, id: BlockId, attempt: u64, part: usize) -> Key {
    // The attempt is part of the key, so that no compaction overwrites a block that is live.
    key(block_partition(tenant, id.level), format!("{:010}#{attempt:016x}#{part:03}", id.period))
}

/// The backlog of a shard.
pub fn backlog(shard: &ShardId) -> Key {
    key(BACKLOG, shard.as_str())
}

/// One of the further items that `attempt` split off a shard's backlog.
pub fn backlog_part(shard: &ShardId, attempt: u64, part: usize) -> Key {
    key(BACKLOG, format!("{shard}#{attempt:016x}#{part:05}"))
}

/// All further items of a shard's backlog.
pub fn backlog_parts(shard: &ShardId) -> Range {
    beginning_with(BACKLOG, shard.as_str())
}

/// The export position of a sink in a shard.
pub fn export_position(sink: &str, shard: &ShardId) -> Key {
    // The sink comes first, since positions are listed by sink. Neither name contains a `#`.
    key(EXPORTS, format!("{sink}#{shard}"))
}

/// The export positions of a sink in all shards.
pub fn export_positions(sink: &str) -> Range {
    beginning_with(EXPORTS, sink)
}

/// The shard at a key of [`export_position`]; `None` if the key is not one.
pub fn exported_shard(key: &Key) -> Option<ShardId> {
    ShardId::new(key.sort.split_once('#')?.1).ok()
}

// Directory.

/// A tenant's entry in the register.
pub fn tenant(tenant: &TenantId) -> Key {
    key(TENANTS, tenant.as_str())
}

/// The settings that operators gave a tenant.
pub fn tenant_settings(tenant: &TenantId) -> Key {
    key(TENANT_SETTINGS, tenant.as_str())
}

/// The providers of domains that are not fixed, as the tenant knows them.
pub fn learned_providers(tenant: &TenantId) -> Key {
    key(format!("t#{tenant}#p"), PROVIDERS)
}

/// One part of the providers of domains that the tenants agree on.
pub fn shared_providers(part: u32) -> Key {
    key(PROVIDERS, format!("{part:02}"))
}

/// The erasure count, which is the item's version.
pub fn erasure_count() -> Key {
    key(ERASURES, "count")
}

/// The API key with this SHA-256, in hexadecimal.
pub fn api_key(hash: &str) -> Key {
    // Under its hash, so that one read verifies a key and the table never holds one that could be used.
    key(API_KEYS, hash)
}

/// When the API key with this id was last used.
pub fn api_key_use(id: &str) -> Key {
    key(API_KEY_USES, id)
}

/// The attribution mappings, all in one item.
pub fn mappings() -> Key {
    key(MAPPINGS, "all")
}

/// The detection rules that the operator set for all tenants.
pub fn operator_rules() -> Key {
    key(RULES, OPERATOR_RULES)
}

/// A tenant's own rules.
pub fn tenant_rules(tenant: &TenantId) -> Key {
    // With a prefix, because a tenant may be called `all`.
    key(RULES, format!("t#{tenant}"))
}

/// The name of the tenant whose rules are stored at a key of [`tenant_rules`]; `None` if the key is not one.
pub fn tenant_of_rules(key: &Key) -> Option<&str> {
    key.sort.strip_prefix("t#")
}

/// An entry of the audit log. Entries are sorted by time, those of one millisecond by `number`.
pub fn audit_entry(at: Timestamp, number: u64) -> Key {
    key(AUDIT, format!("{}#{number:016x}", sortable(at)))
}

/// The entries of the audit log of one millisecond, newest first.
pub fn audit_entries_at(at: Timestamp) -> Range {
    Range { order: ScanOrder::Backwards, ..beginning_with(AUDIT, &sortable(at)) }
}

/// The number in a key of [`audit_entry`]; `None` if the key is not one.
pub fn audit_number(key: &Key) -> Option<u64> {
    u64::from_str_radix(key.sort.split_once('#')?.1, 16).ok()
}

/// The secrets of the deployment.
pub fn secrets() -> Key {
    key(SECRETS, "1")
}

// Alerting.

/// Partition of the alerts of a tenant, or of the platform if `None`.
pub fn alerts(tenant: Option<&TenantId>) -> String {
    tenant.map_or_else(|| PLATFORM_ALERTS.to_owned(), |tenant| format!("t#{tenant}#a"))
}

/// An alert of a tenant, or of the platform if `None`.
pub fn alert(tenant: Option<&TenantId>, id: &str) -> Key {
    key(alerts(tenant), id)
}

/// The index entry of an alert, which names its scope.
pub fn alert_index_entry(id: &str) -> Key {
    // By the id alone: operators look alerts up without knowing their tenant.
    key(ALERT_INDEX, id)
}

/// The head of detection.
pub fn detection_head() -> Key {
    key(DETECTION, "head")
}

/// One part of the notification journal that `attempt` stored.
pub fn journal_part(attempt: u64, part: usize) -> Key {
    key(DETECTION, format!("{attempt:016x}#{part:05}"))
}

/// One part of the learned state that `attempt` stored. The parts are spread over several partitions, since DynamoDB accepts at most
/// 1,000 write units per second for one partition.
pub fn learned_part(attempt: u64, part: usize) -> Key {
    // Parts are written in turn, so that a burst of them meets all partitions.
    key(format!("{LEARNED}#{:02}", part % LEARNED_PARTITIONS), format!("{attempt:016x}#{part:05}"))
}

/// The state of the alerts about sending.
pub fn sending_alerts() -> Key {
    key(DETECTION, "sending")
}

/// An account event, by its time. Of two at the same time, one that ends trouble comes second.
pub fn account_event(at: Timestamp, is_end: bool, hash: u64) -> Key {
    key(ACCOUNT_EVENTS, format!("{}#{}#{hash:016x}", sortable(at), u8::from(is_end)))
}

/// The acknowledgement of an alert, which is kept until detection has seen it.
pub fn acknowledgement(alert: &str) -> Key {
    key(DETECTION, format!("ack#{alert}"))
}

/// The acknowledgements that detection has not seen.
pub fn acknowledgements() -> Range {
    beginning_with(DETECTION, "ack")
}

/// The id of the alert at a key of [`acknowledgement`]; `None` if the key is not one.
pub fn acknowledged_alert(key: &Key) -> Option<&str> {
    key.sort.strip_prefix("ack#")
}

/// A time as 15 digits of milliseconds since 1970, so that text sorts as time does. Times before 1970 count as 1970: a clock that is
/// that wrong must not break the order of the keys.
fn sortable(time: Timestamp) -> String {
    // 15 digits reach beyond the year 30000.
    format!("{:015}", time.millis().max(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(value: u64) -> SequenceNumber {
        SequenceNumber::from(value)
    }

    fn shard(name: &str) -> ShardId {
        ShardId::new(name).unwrap()
    }

    fn tenant_id(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    fn contains(range: &Range, key: &Key) -> bool {
        key.partition == range.partition
            && key.sort >= range.from
            && range.to.as_ref().is_none_or(|to| key.sort < *to)
    }

    #[test]
    fn a_range_begins_after_all_parts_of_one_batch_and_ends_after_all_parts_of_another() {
        let tenant = tenant_id("acme");
        let shard = shard("shard-1");
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
            assert_eq!(contains(&range, &key), inside, "{first} {part}");
            assert_eq!(first_of_batch(&key), Some(number(first)));
        }
    }

    #[test]
    fn everything_of_a_tenant_is_stored_under_its_prefix() {
        let acme = tenant_id("acme");
        let id = BlockId { level: Level::Day, period: 20_000 };
        let keys = [
            delta(&acme, &shard("s"), &number(1), 0),
            manifest(&acme),
            compaction_attempt(&acme, Timestamp::from_millis(5), 1),
            block(&acme, id, 1, 0),
            alert(Some(&acme), "al_0000001"),
        ];
        for key in keys {
            assert!(key.partition.starts_with("t#acme#"), "{key}");
        }
    }

    #[test]
    fn keys_are_sorted_as_what_they_stand_for() {
        let (acme, shard) = (tenant_id("acme"), shard("s"));
        let at = Timestamp::from_millis;
        let month = |period| BlockId { level: Level::Month, period };
        for sorted in [
            vec![
                receipt(&shard, &number(9), 0),
                receipt(&shard, &number(9), 12),
                receipt(&shard, &number(10), 0),
            ],
            vec![audit_entry(at(-1), 0), audit_entry(at(999), u64::MAX), audit_entry(at(1_000), 0)],
            vec![audit_entry(at(1), 9), audit_entry(at(1), 10), audit_entry(at(253_402_300_800_000), 0)],
            vec![block(&acme, month(9), 7, 0), block(&acme, month(10), 0, 0), block(&acme, month(10), 0, 1)],
            vec![compaction_attempt(&acme, at(9), 2), compaction_attempt(&acme, at(10), 1), manifest(&acme)],
        ] {
            assert!(sorted.is_sorted(), "{sorted:?}");
        }
    }

    #[test]
    fn ranges_of_one_name_leave_out_names_that_begin_alike() {
        let (one, other) = (shard("s-1"), shard("s-10"));
        for (range, key, inside) in [
            (backlog_parts(&one), backlog_part(&one, u64::MAX, 99_999), true),
            (backlog_parts(&one), backlog(&one), false),
            (backlog_parts(&one), backlog_part(&other, 0, 0), false),
            (export_positions("influx"), export_position("influx", &other), true),
            (export_positions("influx"), export_position("influx2", &one), false),
            (export_positions("influx"), export_position("a-influx", &one), false),
            (acknowledgements(), acknowledgement("al_1"), true),
            (acknowledgements(), detection_head(), false),
            (acknowledgements(), journal_part(u64::MAX, 0), false),
        ] {
            assert_eq!(contains(&range, &key), inside, "{key}");
        }
    }

    #[test]
    fn names_are_read_back_from_keys() {
        let shard = shard("kafka:topic-7");
        assert_eq!(exported_shard(&export_position("influx", &shard)), Some(shard.clone()));
        assert_eq!(exported_shard(&backlog(&shard)), None);
        assert_eq!(quarantine_shard(&quarantine(Day(20_000), &shard, &number(3), 1)), shard.as_str());
        assert_eq!(tenant_of_rules(&tenant_rules(&tenant_id("all"))), Some("all"));
        assert_eq!(tenant_of_rules(&operator_rules()), None);
        assert_eq!(acknowledged_alert(&acknowledgement("al_1")), Some("al_1"));
        assert_eq!(acknowledged_alert(&detection_head()), None);
        assert_eq!(first_of_batch(&manifest(&tenant_id("acme"))), None);
        for (part, is_first) in [(0, true), (1, false), (100, false), (999, false)] {
            assert_eq!(is_first_part(&receipt(&shard, &number(1_000), part)), is_first, "{part}");
        }
    }

    #[test]
    fn parts_of_the_learned_state_are_spread_evenly() {
        let mut partitions: Vec<String> = (0..64).map(|part| learned_part(1, part).partition).collect();
        partitions.sort_unstable();
        partitions.dedup();
        assert_eq!(partitions.len(), LEARNED_PARTITIONS);
    }

    proptest! {
        #[test]
        fn range_holds_exactly_the_parts_of_the_batches_that_it_names(
            first in NUMBER, after in proptest::option::of(NUMBER), upto in NUMBER, part in 0..1_000_usize,
        ) {
            let parse = |digits: &str| SequenceNumber::parse(digits).unwrap();
            let (first, after, upto) = (parse(&first), after.as_deref().map(parse), parse(&upto));
            let (tenant, shard) = (tenant_id("acme"), shard("s-1"));
            let inside = after.as_ref().is_none_or(|after| *after < first) && first <= upto;
            let range = deltas(&tenant, &shard, after.as_ref(), &upto);
            prop_assert_eq!(contains(&range, &delta(&tenant, &shard, &first, part)), inside);
            for order in [ScanOrder::Forwards, ScanOrder::Backwards] {
                let range = receipts(&shard, after.as_ref(), &upto, order);
                prop_assert_eq!(contains(&range, &receipt(&shard, &first, part)), inside);
            }
            prop_assert_eq!(first_of_batch(&receipt(&shard, &first, part)), Some(first));
        }

        #[test]
        fn keys_of_batches_are_sorted_by_number_and_then_by_part(
            one in (NUMBER, 0..1_000_usize), other in (NUMBER, 0..1_000_usize),
        ) {
            let parse = |(digits, part): &(String, usize)| (SequenceNumber::parse(digits).unwrap(), *part);
            let (one, other) = (parse(&one), parse(&other));
            let shard = shard("s-1");
            let key = |(first, part): &(SequenceNumber, usize)| receipt(&shard, first, *part);
            prop_assert_eq!(key(&one).cmp(&key(&other)), one.cmp(&other));
        }

        #[test]
        fn numbers_of_audit_entries_are_read_back_and_sorted_after_their_time(
            at in 0..4_000_000_000_000_i64, number: u64, later in 1..1_000_000_i64, any: u64,
        ) {
            let (at, later) = (Timestamp::from_millis(at), Timestamp::from_millis(at + later));
            let key = audit_entry(at, number);
            prop_assert_eq!(audit_number(&key), Some(number));
            prop_assert!(contains(&audit_entries_at(at), &key));
            prop_assert!(!contains(&audit_entries_at(later), &key));
            prop_assert!(key < audit_entry(later, any));
        }
    }

    /// Decimal digits of a sequence number, short or as long as those of Kinesis.
    const NUMBER: &str = "0|[1-9][0-9]{0,3}|[1-9][0-9]{54,57}";

    #[test]
    fn listing_finds_items_of_its_own_kind_only_whatever_they_are_called() {
        let at = Timestamp::from_millis(5);
        let sequence = number(1);
        let names = ["all", "head", "ack", "attempt", "manifest", "t", "influx", "00"];
        let keys: Vec<(&str, Key)> = names
            .iter()
            .flat_map(|name| {
                let (tenant, shard) = (tenant_id(name), shard(name));
                [
                    ("checkpoint", checkpoint(&shard)),
                    ("receipt", receipt(&shard, &sequence, 0)),
                    ("delta", delta(&tenant, &shard, &sequence, 0)),
                    ("quarantine", quarantine(Day(7), &shard, &sequence, 0)),
                    ("manifest or attempt", manifest(&tenant)),
                    ("manifest or attempt", compaction_attempt(&tenant, at, 1)),
                    ("backlog", backlog(&shard)),
                    ("backlog", backlog_part(&shard, 1, 0)),
                    ("export", export_position("influx", &shard)),
                    ("tenant", self::tenant(&tenant)),
                    ("settings", tenant_settings(&tenant)),
                    ("rules", tenant_rules(&tenant)),
                    ("tenant's alert", alert(Some(&tenant), name)),
                    ("platform's alert", alert(None, name)),
                    ("index", alert_index_entry(name)),
                    ("acknowledgement", acknowledgement(name)),
                    ("API key", api_key(name)),
                ]
            })
            .chain([
                ("head", detection_head()),
                ("sending", sending_alerts()),
                ("account event", account_event(at, false, 7)),
                ("journal", journal_part(1, 0)),
                ("rules", operator_rules()),
                ("audit", audit_entry(at, 0)),
            ])
            .collect();
        for (kind, range, count) in [
            ("checkpoint", whole(CHECKPOINTS), names.len()),
            ("quarantine", whole(quarantine_partition(Day(7))), names.len()),
            ("manifest or attempt", manifest_and_attempts(&tenant_id("attempt")), 2),
            ("backlog", whole(BACKLOG), 2 * names.len()),
            ("export", export_positions("influx"), names.len()),
            ("tenant", whole(TENANTS), names.len()),
            ("settings", whole(TENANT_SETTINGS), names.len()),
            ("rules", whole(RULES), names.len() + 1),
            ("tenant's alert", whole(alerts(Some(&tenant_id("all")))), 1),
            ("platform's alert", whole(alerts(None)), names.len()),
            ("index", whole(ALERT_INDEX), names.len()),
            ("acknowledgement", acknowledgements(), names.len()),
            ("API key", whole(API_KEYS), names.len()),
            ("audit", whole(AUDIT), 1),
            ("account event", whole(ACCOUNT_EVENTS), 1),
        ] {
            let found: Vec<_> = keys.iter().filter(|(_, key)| contains(&range, key)).collect();
            assert!(found.iter().all(|(found, _)| *found == kind), "{kind}: {found:?}");
            assert_eq!(found.len(), count, "{kind}: {found:?}");
        }
        let distinct: std::collections::BTreeSet<&Key> = keys.iter().map(|(_, key)| key).collect();
        assert_eq!(distinct.len(), keys.len(), "two items share a key");
    }

    /// DynamoDB accepts partition keys of 2,048 bytes and sort keys of 1,024 bytes.
    #[test]
    fn the_longest_names_fit_into_keys() {
        let tenant = tenant_id(&"t".repeat(TenantId::MAX_BYTES));
        let shard = shard(&"s".repeat(ShardId::MAX_BYTES));
        let first = SequenceNumber::parse(&"9".repeat(SequenceNumber::MAX_DIGITS)).unwrap();
        for key in [
            delta(&tenant, &shard, &first, 999),
            quarantine(Day(u32::MAX), &shard, &first, 999),
            backlog_part(&shard, u64::MAX, 99_999),
            tenant_rules(&tenant),
        ] {
            assert!(key.partition.len() <= 2_048 && key.sort.len() <= 1_024, "{key}");
        }
    }
}
