//! The contract of a [`Store`], as one suite that the tests of each store run. It panics at the first promise that is broken.

use event::Timestamp;

use crate::ports::{Expected, Item, Key, PutError, Range, ScanOrder, Store, StoreError};

/// Runs the suite against a store that is empty.
pub async fn holds<S: Store>(store: &S) -> Result<(), StoreError> {
    items_are_read_as_they_were_put(store).await?;
    ranges_are_sorted_as_bytes_and_paged(store).await?;
    ranges_end_where_the_partition_ends(store).await?;
    conditional_writes_happen_only_as_expected(store).await?;
    keys_may_be_named_twice(store).await?;
    large_items_and_many_items_are_accepted(store).await
}

fn key(partition: &str, sort: &str) -> Key {
    Key { partition: partition.to_owned(), sort: sort.to_owned() }
}

fn item(partition: &str, sort: &str, body: &[u8]) -> Item {
    Item { key: key(partition, sort), body: body.to_vec(), version: 0, expires_at: None }
}

async fn sorts<S: Store>(store: &S, range: Range) -> Result<Vec<String>, StoreError> {
    let mut sorts = Vec::new();
    let mut rest = Some(range);
    while let Some(range) = rest {
        let limit = range.limit;
        let page = store.range(range).await?;
        assert!(page.items.len() <= limit, "a page holds more items than its limit");
        sorts.extend(page.items.into_iter().map(|item| item.key.sort));
        rest = page.rest;
    }
    Ok(sorts)
}

async fn items_are_read_as_they_were_put<S: Store>(store: &S) -> Result<(), StoreError> {
    let mut first = item("contract-1", "a", b"\0\xff one");
    first.version = u64::MAX;
    first.expires_at = Some(Timestamp::from_millis(1_763_000_000_000));
    store.put(vec![first.clone(), item("contract-1", "b", b"")]).await?;
    let keys = vec![key("contract-1", "b"), key("contract-1", "missing"), key("contract-1", "a")];
    let found = store.get(keys).await?;
    assert_eq!(found, [Some(item("contract-1", "b", b"")), None, Some(first)]);
    store.put(vec![item("contract-1", "a", b"two")]).await?;
    assert_eq!(store.get(vec![key("contract-1", "a")]).await?, [Some(item("contract-1", "a", b"two"))]);
    store.delete(vec![key("contract-1", "a"), key("contract-1", "missing")]).await?;
    assert_eq!(store.get(vec![key("contract-1", "a")]).await?, [None]);
    assert_eq!(store.get(Vec::new()).await?, []);
    store.put(Vec::new()).await?;
    store.delete(Vec::new()).await
}

async fn ranges_are_sorted_as_bytes_and_paged<S: Store>(store: &S) -> Result<(), StoreError> {
    let sorted = ["00", "00#1", "00$", "001", "A", "a", "a#", "b"];
    for sort in sorted.iter().rev() {
        store.put(vec![item("contract-2", sort, sort.as_bytes())]).await?;
    }
    for limit in [1, 2, 3, 100] {
        for order in [ScanOrder::Forwards, ScanOrder::Backwards] {
            let range = |from: &str, to: Option<&str>| Range {
                partition: "contract-2".to_owned(),
                from: from.to_owned(),
                to: to.map(str::to_owned),
                order,
                limit,
            };
            let cases: [(&str, Option<&str>, &[&str]); 5] = [
                ("", None, &sorted),
                ("00$", Some("b"), &["00$", "001", "A", "a", "a#"]),
                ("00#", Some("00$"), &["00#1"]),
                ("c", None, &[]),
                ("b", Some("a"), &[]),
            ];
            for (from, to, expected) in cases {
                let mut expected: Vec<&str> = expected.to_vec();
                if order == ScanOrder::Backwards {
                    expected.reverse();
                }
                assert_eq!(
                    sorts(store, range(from, to)).await?,
                    expected,
                    "{from:?} to {to:?}, {order:?} by {limit}"
                );
            }
        }
    }
    Ok(())
}

async fn ranges_end_where_the_partition_ends<S: Store>(store: &S) -> Result<(), StoreError> {
    for partition in ["contract-3", "contract-3#", "contract-3#a", "contract-30"] {
        store.put(vec![item(partition, "x", partition.as_bytes())]).await?;
    }
    for order in [ScanOrder::Forwards, ScanOrder::Backwards] {
        let partition = "contract-3".to_owned();
        let page = store.range(Range { partition, from: String::new(), to: None, order, limit: 10 }).await?;
        assert_eq!(page.items, [item("contract-3", "x", b"contract-3")]);
        assert_eq!(page.rest, None);
    }
    Ok(())
}

async fn conditional_writes_happen_only_as_expected<S: Store>(store: &S) -> Result<(), StoreError> {
    let version = |version: u64| Item { version, ..item("contract-4", "a", &version.to_le_bytes()) };
    let steps = [
        (1, Expected::Version(0), false),
        (1, Expected::Absent, true),
        (2, Expected::Absent, false),
        (2, Expected::Version(2), false),
        (2, Expected::Version(1), true),
        (2, Expected::Version(1), false),
        (3, Expected::Version(2), true),
    ];
    let mut held = None;
    for (number, expected, happens) in steps {
        match store.put_if(version(number), expected).await {
            Ok(()) => {
                assert!(happens, "write {number} was applied although it expected {expected:?}");
                held = Some(version(number));
            }
            Err(PutError::Conflict) => {
                assert!(!happens, "write {number} was refused although it expected {expected:?}");
            }
            Err(PutError::Store(error)) => return Err(error),
        }
        assert_eq!(store.get(vec![key("contract-4", "a")]).await?, [held.clone()]);
    }
    Ok(())
}

async fn keys_may_be_named_twice<S: Store>(store: &S) -> Result<(), StoreError> {
    let (first, last) = (item("contract-7", "a", b"first"), item("contract-7", "a", b"last"));
    store.put(vec![first, last.clone()]).await?;
    let keys = vec![key("contract-7", "a"), key("contract-7", "a")];
    assert_eq!(store.get(keys.clone()).await?, [Some(last.clone()), Some(last)]);
    store.delete(keys.clone()).await?;
    assert_eq!(store.get(keys).await?, [None, None]);
    Ok(())
}

async fn large_items_and_many_items_are_accepted<S: Store>(store: &S) -> Result<(), StoreError> {
    let body = vec![7; Item::MAX_BODY_BYTES];
    let items: Vec<Item> = (0..8).map(|number| item("contract-5", &format!("{number}"), &body)).collect();
    store.put(items.clone()).await?;
    let keys: Vec<Key> = items.iter().map(|item| item.key.clone()).collect();
    assert_eq!(store.get(keys).await?, items.into_iter().map(Some).collect::<Vec<_>>());
    let many: Vec<Item> = (0..300).map(|number| item("contract-6", &format!("{number:04}"), b"x")).collect();
    let keys: Vec<Key> = many.iter().map(|item| item.key.clone()).collect();
    store.put(many).await?;
    let range = Range {
        partition: "contract-6".to_owned(),
        from: String::new(),
        to: None,
        order: ScanOrder::Forwards,
        limit: 90,
    };
    assert_eq!(sorts(store, range.clone()).await?.len(), 300);
    store.delete(keys).await?;
    assert_eq!(sorts(store, range).await?.len(), 0);
    Ok(())
}
