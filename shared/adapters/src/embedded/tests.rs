//! The embedded store keeps the contract of all stores, survives a kill, and fails clearly.

use std::io::{self, BufRead as _, BufReader};
use std::process::{Command, Stdio};

use super::*;

fn item(sort: &str, version: u64, expires_at: Option<i64>) -> Item {
    Item {
        key: Key { partition: "p".to_owned(), sort: sort.to_owned() },
        body: sort.as_bytes().to_vec(),
        version,
        expires_at: expires_at.map(Timestamp::from_millis),
    }
}

#[tokio::test]
async fn the_embedded_store_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    pipeline::testing::contract::holds(&EmbeddedStore::open(folder.path()).unwrap()).await.unwrap();
}

#[tokio::test]
async fn what_was_written_is_there_after_closing_and_opening() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path()).unwrap();
    store.put(vec![item("a", 0, None)]).await.unwrap();
    store.put_if(item("b", 1, None), Expected::Absent).await.unwrap();
    drop(store);
    let store = EmbeddedStore::open(folder.path()).unwrap();
    let found = store.get(vec![item("a", 0, None).key, item("b", 0, None).key]).await.unwrap();
    assert_eq!(found, [Some(item("a", 0, None)), Some(item("b", 1, None))]);
}

#[test]
fn a_folder_in_use_is_refused_by_the_name_of_its_user() {
    let folder = tempfile::tempdir().unwrap();
    let _open = EmbeddedStore::open(folder.path()).unwrap();
    let error = EmbeddedStore::open(folder.path()).err().unwrap().to_string();
    assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    drop(EmbeddedStore::open(folder.path()).unwrap());
    let database = Database::create(folder.path().join(FILE)).unwrap();
    write(&database, Durability::Immediate, |table| {
        table.insert(FORMAT_KEY, [9_u8].as_slice())?;
        Ok(())
    })
    .unwrap();
    drop(database);
    let error = EmbeddedStore::open(folder.path()).err().unwrap().to_string();
    assert!(error.contains("format 9, newer than this program's 1: upgrade mailgauge"), "{error}");
}

#[test]
fn what_is_no_database_is_an_error_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE), b"something else entirely").unwrap();
    assert!(matches!(EmbeddedStore::open(folder.path()).err(), Some(OpenError::Unusable { .. })));
    assert_eq!(std::fs::read(folder.path().join(FILE)).unwrap(), b"something else entirely");
}

#[tokio::test]
async fn expired_items_are_dropped_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path()).unwrap();
    let mut items: Vec<Item> = (0..2_500).map(|n| item(&format!("{n:05}"), 0, Some(n))).collect();
    for partition in ["o", "q"] {
        items.push(Item {
            key: Key { partition: partition.to_owned(), sort: "x".to_owned() },
            ..item("x", 0, None)
        });
    }
    store.put(items).await.unwrap();
    assert_eq!(store.drop_expired(Timestamp::from_millis(2_399)).await.unwrap(), 2_400);
    assert_eq!(store.drop_expired(Timestamp::from_millis(2_399)).await.unwrap(), 0);
    let left = store.range(pipeline::keys::whole("p".to_owned())).await.unwrap();
    assert_eq!(left.items.first().map(|item| item.key.sort.clone()), Some("02400".to_owned()));
    assert_eq!(left.items.len(), 100);
    assert_eq!(store.range(pipeline::keys::whole("o".to_owned())).await.unwrap().items.len(), 1);
}

const CHILD_FOLDER: &str = "MAILGAUGE_TEST_CHILD_FOLDER";

/// The child of the next test: writes until it is killed, and says what was acknowledged.
#[test]
fn child_that_writes_until_it_is_killed() {
    #[expect(clippy::disallowed_methods, reason = "how the parent test tells its child where to write")]
    let Ok(folder) = std::env::var(CHILD_FOLDER) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = EmbeddedStore::open(Path::new(&folder)).unwrap();
        let held = store.get(vec![item("cursor", 0, None).key]).await.unwrap();
        let mut version = held[0].as_ref().map_or(0, |item| item.version);
        loop {
            let deltas = (0..5).map(|part| item(&format!("{:08}#{part}", version + 1), 0, None)).collect();
            store.put(deltas).await.unwrap();
            let expected = if version == 0 { Expected::Absent } else { Expected::Version(version) };
            version += 1;
            store.put_if(item("cursor", version, None), expected).await.unwrap();
            println!("acknowledged {version}");
        }
    });
}

#[test]
fn a_killed_process_loses_nothing_acknowledged_and_leaves_no_cursor_without_its_deltas() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for round in 1..=8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "embedded::tests::child_that_writes_until_it_is_killed", "--nocapture"])
            .env(CHILD_FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut acknowledged = 0;
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.map_while(Result::ok) {
            if let Some(number) =
                line.rsplit_once("acknowledged ").and_then(|(_, number)| number.parse().ok())
            {
                acknowledged = number;
                if number % (3 + round) == 0 {
                    break;
                }
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        runtime.block_on(async {
            let store = EmbeddedStore::open(folder.path()).unwrap();
            let cursor = store.get(vec![item("cursor", 0, None).key]).await.unwrap();
            let done = cursor[0].as_ref().map_or(0, |item| item.version);
            assert!(
                acknowledged > 0 && done >= acknowledged,
                "{done} after {acknowledged} were acknowledged"
            );
            for version in 1..=done {
                let keys = (0..5).map(|part| item(&format!("{version:08}#{part}"), 0, None).key).collect();
                let found = store.get(keys).await.unwrap();
                assert!(found.iter().all(Option::is_some), "a delta of {version} is missing, done is {done}");
            }
        });
    }
}

/// A disk that takes no more once it is full.
#[derive(Debug)]
struct SmallDisk {
    disk: redb::backends::InMemoryBackend,
    full_at: u64,
}

impl redb::StorageBackend for SmallDisk {
    fn len(&self) -> Result<u64, io::Error> {
        self.disk.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.disk.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        if len > self.full_at {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.disk.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.disk.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.disk.write(offset, data)
    }
}

#[tokio::test]
async fn a_full_disk_is_an_error_of_the_store_and_what_was_written_stays_readable() {
    let disk = SmallDisk { disk: redb::backends::InMemoryBackend::new(), full_at: 4 << 20 };
    let database = Database::builder().create_with_backend(disk).unwrap();
    check_format(&database).unwrap();
    let store = EmbeddedStore { database: Arc::new(database) };
    let mut written = 0;
    let error = loop {
        let full = Item { body: vec![1; 100_000], ..item(&format!("{written:05}"), 1, None) };
        match store.put_if(full, Expected::Absent).await {
            Ok(()) => written += 1,
            Err(PutError::Store(error)) => break error,
            Err(PutError::Conflict) => panic!("nobody else writes"),
        }
    };
    assert_eq!((error.operation, written > 3), ("put_if", true));
    let key = item("00002", 1, None).key;
    assert!(store.get(vec![key]).await.unwrap()[0].is_some());
}
