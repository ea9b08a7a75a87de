//! The embedded store fulfils the contract of all stores, survives a kill and fails with clear errors.

use std::io::{self, BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

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
async fn embedded_store_fulfils_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    pipeline::testing::contract::holds(&EmbeddedStore::open(folder.path()).unwrap()).await.unwrap();
}

proptest! {
    #[test]
    fn stored_keys_are_sorted_as_keys_and_stay_within_their_partition(
        one in ("[#-&0-9a-z]{1,4}", "[#-&0-9a-z]{0,4}\\x00?"), other in ("[#-&0-9a-z]{1,4}", "[#-&0-9a-z]{0,4}\\x00?"),
    ) {
        let key = |(partition, sort): &(String, String)| Key { partition: partition.clone(), sort: sort.clone() };
        let (one, other) = (key(&one), key(&other));
        prop_assert_eq!(stored_key(&one).cmp(&stored_key(&other)), one.cmp(&other));
        let end = end_of(&one.partition);
        prop_assert!(stored_key(&one) < end);
        prop_assert_eq!(stored_key(&other) < end, other.partition <= one.partition);
    }

    #[test]
    fn stored_value_is_read_back_and_one_that_is_cut_short_is_an_error(
        body in prop::collection::vec(any::<u8>(), 0..40), version: u64, expires_at: Option<i64>, cut in 0..HEADER_BYTES,
    ) {
        // The end of time stands for never.
        let expires_at = expires_at.filter(|at| *at != i64::MAX).map(Timestamp::from_millis);
        let key = Key { partition: "p".to_owned(), sort: "s".to_owned() };
        let written = Item { key: key.clone(), body, version, expires_at };
        let value = stored_value(&written);
        prop_assert_eq!(super::item(key.clone(), &value).unwrap(), written);
        prop_assert!(super::item(key, &value[..cut]).is_err());
    }
}

#[tokio::test]
async fn new_folder_is_its_owners_alone_and_an_older_one_keeps_its_rights() {
    let folder = tempfile::tempdir().unwrap();
    let new = folder.path().join("a/b");
    let store = EmbeddedStore::open(&new).unwrap();
    assert!(store.is_empty(&new).unwrap());
    store.put(vec![item("a", 0, None)]).await.unwrap();
    assert!(!store.is_empty(&new).unwrap());
    store.delete(vec![item("a", 0, None).key]).await.unwrap();
    assert!(store.is_empty(&new).unwrap());
    drop(store);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = || new.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o700);
        assert_eq!(new.join(FILE).metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o750)).unwrap();
        EmbeddedStore::open(&new).unwrap();
        assert_eq!(mode(), 0o750);
    }
}

#[tokio::test]
async fn items_survive_closing_and_reopening() {
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
fn folder_in_use_is_refused_with_the_process_that_uses_it() {
    let folder = tempfile::tempdir().unwrap();
    let _open = EmbeddedStore::open(folder.path()).unwrap();
    let error = EmbeddedStore::open(folder.path()).err().unwrap().to_string();
    assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
}

#[test]
fn newer_format_is_refused_with_its_number() {
    let folder = tempfile::tempdir().unwrap();
    drop(EmbeddedStore::open(folder.path()).unwrap());
    let database = Database::create(folder.path().join(FILE)).unwrap();
    write(&database, |table| {
        table.insert(FORMAT_KEY, [9_u8].as_slice())?;
        Ok(())
    })
    .unwrap();
    drop(database);
    let error = EmbeddedStore::open(folder.path()).err().unwrap().to_string();
    assert!(error.contains("format 9, newer than this program's 1: upgrade mailgauge"), "{error}");
}

#[test]
fn file_that_is_no_database_is_refused_and_left_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE), b"something else entirely").unwrap();
    assert!(matches!(EmbeddedStore::open(folder.path()).err(), Some(OpenError::Unusable { .. })));
    assert_eq!(std::fs::read(folder.path().join(FILE)).unwrap(), b"something else entirely");
}

#[tokio::test]
async fn only_expired_items_are_dropped() {
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
    let left = store.range(pipeline::layout::whole("p".to_owned())).await.unwrap();
    assert_eq!(left.items.first().map(|item| item.key.sort.clone()), Some("02400".to_owned()));
    assert_eq!(left.items.len(), 100);
    assert_eq!(store.range(pipeline::layout::whole("o".to_owned())).await.unwrap().items.len(), 1);
}

const CHILD_FOLDER: &str = "MAILGAUGE_TEST_CHILD_FOLDER";

/// The child process of the next test. Makes writes of every kind until it is killed and prints a line for each acknowledged one. Each
/// delete removes what the put two rounds earlier wrote.
#[test]
fn child_that_writes_until_it_is_killed() {
    #[expect(clippy::disallowed_methods, reason = "how the parent test tells its child where to write")]
    let Ok(folder) = std::env::var(CHILD_FOLDER) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = EmbeddedStore::open(Path::new(&folder)).unwrap();
        let held = store.get(vec![item("checkpoint", 0, None).key]).await.unwrap();
        let mut version = held[0].as_ref().map_or(0, |item| item.version);
        loop {
            let expected = if version == 0 { Expected::Absent } else { Expected::Version(version) };
            version += 1;
            store.put_if(item("checkpoint", version, None), expected).await.unwrap();
            println!("acknowledged put_if {version}");
            store
                .put((0..5).map(|part| item(&format!("{version:08}#{part}"), 0, None)).collect())
                .await
                .unwrap();
            println!("acknowledged put {version}");
            if let Some(old) = version.checked_sub(2).filter(|old| *old > 0) {
                let keys = (0..5).map(|part| item(&format!("{old:08}#{part}"), 0, None).key).collect();
                store.delete(keys).await.unwrap();
                println!("acknowledged delete {old}");
            }
        }
    });
}

#[test]
fn every_acknowledged_write_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (mut put_if, mut put, mut deleted) = (0, 0, 0);
    for round in 1..=12_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "embedded::tests::child_that_writes_until_it_is_killed", "--nocapture"])
            .env(CHILD_FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut acknowledged = 0;
        // Read to the end: what the child acknowledged between the signal and its death counts as well.
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            let Some((_, write)) = line.split_once("acknowledged ") else { continue };
            // The kill may cut the last line short; it acknowledges nothing then.
            let Some((kind, number)) = write.split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match kind {
                "put_if" => put_if = number,
                "put" => put = number,
                _ => deleted = number,
            }
            acknowledged += 1;
            // After a write of each kind in turn.
            if acknowledged == 10 + round {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        runtime.block_on(async {
            let store = EmbeddedStore::open(folder.path()).unwrap();
            let checkpoint = store.get(vec![item("checkpoint", 0, None).key]).await.unwrap();
            let version = checkpoint[0].as_ref().map_or(0, |item| item.version);
            assert!(put_if > 0 && version >= put_if, "version {version} after {put_if} was acknowledged");
            let of =
                |number: u64| (0..5).map(|part| item(&format!("{number:08}#{part}"), 0, None).key).collect();
            if put > deleted {
                let found = store.get(of(put)).await.unwrap();
                assert!(found.iter().all(Option::is_some), "an acknowledged put of {put} is missing");
            }
            let found = store.get(of(deleted)).await.unwrap();
            assert!(found.iter().all(Option::is_none), "an acknowledged delete of {deleted} came back");
        });
    }
}

/// A disk with a capacity in bytes, which can change while the disk is in use. Clones share the disk.
#[derive(Clone, Debug)]
struct SmallDisk {
    disk: Arc<redb::backends::InMemoryBackend>,
    capacity: Arc<AtomicU64>,
}

impl SmallDisk {
    fn new(capacity: u64) -> Self {
        Self { disk: Arc::default(), capacity: Arc::new(AtomicU64::new(capacity)) }
    }

    /// A store on the disk, which reopens it after a failure.
    fn store(&self) -> EmbeddedStore {
        let disk = self.clone();
        let open = move || Ok(Database::builder().create_with_backend(disk.clone())?);
        let file = DatabaseFile::new(Box::new(open)).unwrap();
        file.write(check_format).unwrap();
        EmbeddedStore { file: Arc::new(file) }
    }

    fn check_room(&self, end: u64) -> Result<(), io::Error> {
        if end > self.capacity.load(Ordering::SeqCst) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    }
}

impl redb::StorageBackend for SmallDisk {
    fn len(&self) -> Result<u64, io::Error> {
        self.disk.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.disk.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.check_room(len)?;
        self.disk.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.disk.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.check_room(offset + data.len() as u64)?;
        self.disk.write(offset, data)
    }
}

/// Writes items of 100 kB until the disk is full. Returns how many were acknowledged.
async fn fill(store: &EmbeddedStore) -> u64 {
    let mut written = 0;
    loop {
        let full = Item { body: vec![1; 100_000], ..item(&format!("{written:05}"), 1, None) };
        match store.put_if(full, Expected::Absent).await {
            Ok(()) => written += 1,
            Err(PutError::Store(error)) => {
                assert_eq!(error.operation, "put_if");
                return written;
            }
            Err(PutError::Conflict) => panic!("nobody else writes"),
        }
    }
}

async fn acknowledged_items(store: &EmbeddedStore) -> u64 {
    let range = Range { limit: 10_000, ..pipeline::layout::whole("p".to_owned()) };
    store.range(range).await.unwrap().items.len() as u64
}

#[tokio::test]
async fn everything_acknowledged_stays_readable_while_the_disk_is_full() {
    let store = SmallDisk::new(4 << 20).store();
    let written = fill(&store).await;
    assert!(written > 3);
    assert!(acknowledged_items(&store).await >= written);
    assert!(store.fault().unwrap().contains("no storage space"), "{:?}", store.fault());
}

#[tokio::test]
async fn writes_resume_by_themselves_once_a_full_disk_has_room() {
    let disk = SmallDisk::new(4 << 20);
    let store = disk.store();
    let written = fill(&store).await;
    // Still full: a write fails as well, and so does the probe.
    while store.recover().await.is_err() {
        assert!(store.fault().is_some());
        if disk.capacity.load(Ordering::SeqCst) == 4 << 20 {
            disk.capacity.store(64 << 20, Ordering::SeqCst);
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(store.fault(), None);
    let more = Item { body: vec![2; 100_000], ..item("more", 1, None) };
    store.put(vec![more.clone()]).await.unwrap();
    assert_eq!(store.get(vec![more.key.clone()]).await.unwrap(), [Some(more)]);
    let kept = acknowledged_items(&store).await;
    assert!(kept > written, "{kept} items after {written} were acknowledged before the disk was full");
}

/// Keys and values as they are stored.
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// Everything in a store, in the order of the keys.
fn everything(store: &EmbeddedStore) -> Result<Entries, FileFailure> {
    store.file.read(|database| {
        let table = database.begin_read()?.open_table(ITEMS)?;
        table
            .iter()?
            .map(|entry| {
                let (key, value) = entry?;
                Ok((key.value().to_vec(), value.value().to_vec()))
            })
            .collect()
    })
}

/// What became of a flipped bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flip {
    Harmless,
    Refused,
    /// Everything could be read, and some of it was not what had been written.
    Silent,
}

/// Flips a bit of a copy of the file and opens it.
fn flip(image: &[u8], bit: usize, written: &Entries) -> Flip {
    let folder = tempfile::tempdir().unwrap();
    let mut damaged = image.to_vec();
    damaged[bit / 8] ^= 1 << (bit % 8);
    std::fs::write(folder.path().join(FILE), damaged).unwrap();
    match EmbeddedStore::open(folder.path()).map(|store| everything(&store)) {
        Err(_) | Ok(Err(_)) => Flip::Refused,
        Ok(Ok(found)) if found == *written => Flip::Harmless,
        Ok(Ok(_)) => Flip::Silent,
    }
}

#[tokio::test]
async fn flipped_bit_is_refused_or_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path()).unwrap();
    for number in 0..60_u8 {
        let body = vec![number; 20 * usize::from(number)];
        let one = |sort: String| Item { body: body.clone(), ..item(&sort, number.into(), None) };
        store.put((0..8).map(|part| one(format!("{number:03}#{part}"))).collect()).await.unwrap();
        if number % 3 == 0 {
            store.delete(vec![one(format!("{number:03}#1")).key]).await.unwrap();
        }
    }
    let written = everything(&store).unwrap();
    let path = folder.path().join(FILE);
    let killed = std::fs::read(&path).unwrap();
    drop(store);
    let closed = std::fs::read(&path).unwrap();
    for (name, image) in [("killed", killed), ("closed", closed)] {
        // The header, which says where everything is, and places all over the file.
        let header = (0..320).map(|byte| byte * 8 + byte % 8);
        let anywhere =
            (0..300_usize).map(|number| number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % (image.len() * 8));
        let flips: Vec<(usize, Flip)> =
            header.chain(anywhere).map(|bit| (bit, flip(&image, bit, &written))).collect();
        let count = |kind| flips.iter().filter(|(_, found)| *found == kind).count();
        println!(
            "{name}: {} bytes, {} harmless, {} refused",
            image.len(),
            count(Flip::Harmless),
            count(Flip::Refused)
        );
        let silent: Vec<usize> =
            flips.iter().filter(|(_, found)| *found == Flip::Silent).map(|(bit, _)| *bit).collect();
        assert_eq!(silent, [0; 0], "{name}");
        assert!(count(Flip::Refused) > 20, "{name}: nothing was damaged");
    }
}

#[tokio::test]
async fn copy_holds_what_was_there_at_one_instant_while_another_process_writes() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let store = EmbeddedStore::open(&from).unwrap();
    let one = |number: u64| Item { body: vec![7; 300_000], ..item(&format!("{number:03}"), number, Some(9)) };
    for number in 0..120 {
        store.put(vec![one(number)]).await.unwrap();
    }
    let writer = store.clone();
    let handle = tokio::runtime::Handle::current();
    let mut pages = 0;
    let copied = {
        let (from, to) = (from.clone(), to.clone());
        tokio::task::spawn_blocking(move || {
            copy(&from, &to, &mut |_| {
                pages += 1;
                handle.block_on(writer.put(vec![one(500 + pages)])).unwrap();
            })
        })
    };
    assert_eq!(copied.await.unwrap().unwrap(), 121, "the items, and the format");
    let copied = EmbeddedStore::open(&to).unwrap();
    assert_eq!(acknowledged_in(&copied).await, (0..120).map(one).collect::<Vec<_>>());
    assert!(acknowledged_in(&store).await.len() > 121);
    // One that is not served is copied too, and nothing is copied over a store.
    drop(store);
    let again = folder.path().join("again");
    std::fs::create_dir(&again).unwrap();
    std::fs::write(again.join("mailgauge.partial"), b"of a copy that was interrupted").unwrap();
    assert_eq!(copy(&from, &again, &mut |_| ()).unwrap(), 124);
    let refused = copy(&from, &again, &mut |_| ()).unwrap_err();
    assert!(format!("{refused:?}").contains("must not replace"), "{refused:?}");
}

async fn acknowledged_in(store: &EmbeddedStore) -> Vec<Item> {
    let mut rest = Some(pipeline::layout::whole("p"));
    let mut items = Vec::new();
    while let Some(range) = rest {
        let page = store.range(range).await.unwrap();
        items.extend(page.items);
        rest = page.rest;
    }
    items
}
