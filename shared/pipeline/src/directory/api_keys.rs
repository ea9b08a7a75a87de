//! API keys: issuing, verifying, listing, rotating and revoking them. A key is random, shown once, stored as a hash, has scopes, may expire and can
//! be revoked.
//!
//! A key is `mg_`, 256 random bits and a checksum, so that a mistyped or truncated key is recognised without a read. It is stored under its
//! SHA-256: with that much randomness a slow hash would protect nothing. A key is never stored or logged. Changes are conditional
//! writes, so that two concurrent ones never undo each other: a revoked key stays revoked.

use std::fmt;

use event::{InvalidTenant, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::codec::StoredRecord;
use crate::layout;
use crate::ports::{Item, Key, PutError, Store};
use crate::stored::{self, ChangeError, ReadError};

const PREFIX: &str = "mg_";
/// 32 random bytes and a checksum of 2 bytes, in hexadecimal.
const DIGITS: usize = 68;
/// Digits of a key's hash that are its id.
const ID_DIGITS: usize = 12;

/// What a key allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grant {
    /// Reading and changing everything, of all tenants.
    Operator,
    /// Reading one tenant's numbers, reading and changing its rules.
    Tenant(#[serde(with = "crate::codec::form")] TenantId),
    /// Reading one tenant's numbers.
    Reader(#[serde(with = "crate::codec::form")] TenantId),
    /// Sending events and nothing else.
    Ingest,
}

impl Grant {
    /// The tenant that the key is bound to; `None` if it is not bound to one.
    pub const fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Tenant(tenant) | Self::Reader(tenant) => Some(tenant),
            Self::Operator | Self::Ingest => None,
        }
    }

    /// The names of the scopes, as the API shows them.
    pub const fn scopes(&self) -> &'static [&'static str] {
        match self {
            Self::Operator => &["operator"],
            Self::Tenant(_) => &["read", "rules"],
            Self::Reader(_) => &["read"],
            Self::Ingest => &["ingest"],
        }
    }
}

/// A key in plain text, which is shown once to the person who asked for it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

/// What is known of a key; never the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Identifies the key in lists and calls: the first 12 digits of its hash.
    pub id: String,
    /// What the key allows.
    pub grant: Grant,
    /// The name that its owner gave it.
    pub name: String,
    /// When it was issued.
    pub created_at: Timestamp,
    /// From this time on the key is refused. `None`: it does not expire.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
}

/// The item of a key. Its hash is in the item's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredCredential {
    grant: Grant,
    name: String,
    #[serde(with = "crate::codec::form")]
    created_at: Timestamp,
    #[serde(with = "crate::codec::option")]
    expires_at: Option<Timestamp>,
    #[serde(with = "crate::codec::option")]
    revoked_at: Option<Timestamp>,
}

impl StoredRecord for StoredCredential {
    const NAME: &'static str = "API key";
    const FORMAT: u8 = 3;
}

/// The item of a key's last use.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredUse {
    #[serde(with = "crate::codec::form")]
    used_at: Timestamp,
}

impl StoredRecord for StoredUse {
    const NAME: &'static str = "API key use";
    const FORMAT: u8 = 3;
}

/// Why a key is refused, or could not be issued or changed.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The text is not a key: it is mistyped or truncated.
    #[error("this is not an API key: copy all of it, from mg_ on")]
    Malformed,
    /// No such key exists.
    #[error("this API key is unknown: ask for a new one")]
    Unknown,
    /// The key has expired.
    #[error("this API key expired on {0}: ask for a new one")]
    Expired(Timestamp),
    /// The key was revoked.
    #[error("this API key was revoked on {0}: ask for a new one")]
    Revoked(Timestamp),
    /// Another process changed the key at the same time.
    #[error("this API key was changed meanwhile: try again")]
    Conflict,
    /// A key cannot be issued for a reserved tenant: only operators see mail without a tenant.
    #[error(transparent)]
    Tenant(#[from] InvalidTenant),
    /// The store failed or a stored record cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<ChangeError> for CredentialError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Read(error) => Self::Read(error),
            ChangeError::Contended(_) => Self::Conflict,
        }
    }
}

impl ApiKey {
    /// Makes a key from 256 random bits.
    pub fn from_random(random: [u8; 32]) -> Self {
        let mut key = String::with_capacity(PREFIX.len() + DIGITS);
        key.push_str(PREFIX);
        key.push_str(&hex(&random));
        key.push_str(&hex(&checksum(&random)));
        Self(key)
    }

    /// Parses a key as a user presents it.
    ///
    /// # Errors
    /// [`CredentialError::Malformed`] if the form or the checksum is wrong.
    pub fn parse(text: &str) -> Result<Self, CredentialError> {
        let digits = text.strip_prefix(PREFIX).filter(|digits| digits.len() == DIGITS);
        let bytes = digits.and_then(from_hex).ok_or(CredentialError::Malformed)?;
        let (random, check) = bytes.split_at_checked(32).ok_or(CredentialError::Malformed)?;
        if checksum(random) == check {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(CredentialError::Malformed)
        }
    }

    /// The key in plain text, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn hash(&self) -> String {
        hex(&Sha256::digest(self.0.as_bytes()))
    }
}

/// Does not print the key: debug output ends in logs.
impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(secret)")
    }
}

/// Stores a new key.
///
/// # Errors
/// [`CredentialError::Tenant`] for a reserved tenant, [`CredentialError::Conflict`] if the key exists.
pub async fn add<S: Store>(
    store: &S,
    key: &ApiKey,
    grant: Grant,
    name: &str,
    now: Timestamp,
    expires_at: Option<Timestamp>,
) -> Result<Credential, CredentialError> {
    if let Some(tenant) = grant.tenant() {
        TenantId::new(tenant.as_str())?;
    }
    let hash = key.hash();
    let record =
        StoredCredential { grant, name: name.to_owned(), created_at: now, expires_at, revoked_at: None };
    match stored::put_if(store, layout::api_key(&hash), &record, None).await {
        Ok(_) => Ok(record.credential(&hash)),
        Err(PutError::Conflict) => Err(CredentialError::Conflict),
        Err(PutError::Store(source)) => Err(ReadError::Store(source).into()),
    }
}

/// Stores `new` as the successor of the key with this id, with the same grant, name and lifetime, and makes the old one expire at
/// `old_ends_at`, unless it expires earlier anyway.
///
/// # Errors
/// [`CredentialError::Unknown`], [`CredentialError::Revoked`] or [`CredentialError::Expired`] if there is nothing to succeed. After any
/// other error the new key is removed again, and the old one goes on; it may still end at `old_ends_at` if only the reply of that write
/// was lost, so the rotation should be repeated before that.
pub async fn rotate<S: Store>(
    store: &S,
    id: &str,
    new: &ApiKey,
    now: Timestamp,
    old_ends_at: Timestamp,
) -> Result<Credential, CredentialError> {
    let (_, old) = find(store, id).await?;
    let old = old.valid_at(now)?;
    // The new key lives as long from now as the old one did from its creation.
    let lifetime_ms = old.expires_at.map(|at| at.millis_since(old.created_at));
    let expires_at = lifetime_ms.map(|lifetime_ms| now.plus_millis(lifetime_ms));
    // The new key comes first: if it cannot be stored, the old one must go on.
    let added = add(store, new, old.grant, &old.name, now, expires_at).await?;
    let mut ended = expire(store, id, old_ends_at).await;
    if ended.is_err() {
        // The write may have happened although its reply was lost. Then this attempt finds nothing left to change.
        ended = expire(store, id, old_ends_at).await;
    }
    let Err(error) = ended else { return Ok(added) };
    // The caller reveals the new key only after success. One that nobody knows would stay in the list as a valid key for ever.
    if let Err(left) = store.delete(vec![layout::api_key(&new.hash())]).await {
        let left: &dyn std::error::Error = &left;
        tracing::error!(key.id = %added.id, error = left, "an API key that nobody knows is left from a failed rotation: revoke it");
    }
    Err(error)
}

/// Verifies a key that a user presents, and returns what it allows now.
///
/// # Errors
/// [`CredentialError`] if the key is unknown, expired or revoked, or if the store fails.
pub async fn verify<S: Store>(
    store: &S,
    key: &ApiKey,
    now: Timestamp,
) -> Result<Credential, CredentialError> {
    let hash = key.hash();
    let found = store.get(vec![layout::api_key(&hash)]).await.map_err(ReadError::from)?;
    let item = found.into_iter().flatten().next().ok_or(CredentialError::Unknown)?;
    stored::decode::<StoredCredential>(&item)?.credential(&hash).valid_at(now)
}

/// Records that the key with this id is used now.
pub async fn record_use<S: Store>(store: &S, id: &str, now: Timestamp) -> Result<(), CredentialError> {
    let item = stored::item(layout::api_key_use(id), &StoredUse { used_at: now }, None);
    Ok(store.put(vec![item]).await.map_err(ReadError::from)?)
}

/// When some keys were last used, in the order of `ids`; `None` for a key without a recorded use.
pub async fn last_uses<S: Store>(store: &S, ids: &[&str]) -> Result<Vec<Option<Timestamp>>, CredentialError> {
    let keys = ids.iter().map(|id| layout::api_key_use(id)).collect();
    let found = store.get(keys).await.map_err(ReadError::from)?;
    let used_at = |item: Item| Ok(stored::decode::<StoredUse>(&item)?.used_at);
    found.into_iter().map(|item| item.map(used_at).transpose()).collect()
}

/// All keys, including expired and revoked ones.
pub async fn list<S: Store>(store: &S) -> Result<Vec<Credential>, CredentialError> {
    Ok(read_all(store).await?.into_iter().map(|(_, credential)| credential).collect())
}

/// Revokes the key with this id. It stays in the list.
pub async fn revoke<S: Store>(store: &S, id: &str, now: Timestamp) -> Result<Credential, CredentialError> {
    change(store, id, |credential| {
        credential.revoked_at.get_or_insert(now);
    })
    .await
}

/// Makes the key with this id expire at `at`, unless it expires earlier anyway.
async fn expire<S: Store>(store: &S, id: &str, at: Timestamp) -> Result<Credential, CredentialError> {
    change(store, id, |credential| {
        credential.expires_at = Some(credential.expires_at.map_or(at, |sooner| sooner.min(at)));
    })
    .await
}

/// Changes the key with this id. Returns [`CredentialError::Unknown`] if there is none.
async fn change<S: Store>(
    store: &S,
    id: &str,
    change: impl Fn(&mut StoredCredential),
) -> Result<Credential, CredentialError> {
    let (hash, _) = find(store, id).await?;
    let key = layout::api_key(&hash);
    let changed = stored::change(store, &key, None, |found: Option<&StoredCredential>| {
        let before = found?;
        let mut after = before.clone();
        change(&mut after);
        // A key that is as it should be is not written again: repeating a change is free.
        (after != *before).then_some(after)
    });
    // There is no record if an erasure of the tenant removed the key after it was found.
    changed.await?.map(|record| record.credential(&hash)).ok_or(CredentialError::Unknown)
}

/// The key with this id and its hash. An id is the beginning of a hash, but there are too few keys for an index to be worth its writes.
async fn find<S: Store>(store: &S, id: &str) -> Result<(String, Credential), CredentialError> {
    let found = read_all(store).await?.into_iter().find(|(_, credential)| credential.id == id);
    found.ok_or(CredentialError::Unknown)
}

/// Removes all keys of a tenant, also from the list, and returns their number.
pub async fn remove_all_of<S: Store>(store: &S, tenant: &TenantId) -> Result<usize, CredentialError> {
    let of_tenant = read_all(store)
        .await?
        .into_iter()
        .filter(|(_, credential)| credential.grant.tenant() == Some(tenant));
    let keys: Vec<Key> =
        of_tenant.flat_map(|(hash, key)| [layout::api_key(&hash), layout::api_key_use(&key.id)]).collect();
    let removed = keys.len() / 2;
    store.delete(keys).await.map_err(ReadError::from)?;
    Ok(removed)
}

/// All keys with their hashes.
async fn read_all<S: Store>(store: &S) -> Result<Vec<(String, Credential)>, CredentialError> {
    let items = stored::range(store, layout::whole(layout::API_KEYS)).await.map_err(ReadError::from)?;
    let credential = |item: Item| {
        let record: StoredCredential = stored::decode(&item)?;
        Ok((item.key.sort.clone(), record.credential(&item.key.sort)))
    };
    items.into_iter().map(credential).collect()
}

impl StoredCredential {
    /// What is known of the key with this hash.
    fn credential(self, hash: &str) -> Credential {
        let Self { grant, name, created_at, expires_at, revoked_at } = self;
        Credential { id: id_of(hash), grant, name, created_at, expires_at, revoked_at }
    }
}

impl Credential {
    /// The credential if it is valid at `now`.
    fn valid_at(self, now: Timestamp) -> Result<Self, CredentialError> {
        // Revocation first: it is what somebody did on purpose, so it is the reason to give.
        match (self.revoked_at, self.expires_at) {
            (Some(at), _) => Err(CredentialError::Revoked(at)),
            (None, Some(at)) if at <= now => Err(CredentialError::Expired(at)),
            (None, _) => Ok(self),
        }
    }
}

fn id_of(hash: &str) -> String {
    hash.chars().take(ID_DIGITS).collect()
}

fn checksum(random: &[u8]) -> [u8; 2] {
    let [first, second, ..] = Sha256::digest(random).0;
    [first, second]
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let (pairs, _) = digits.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;
    use crate::testing::contended::ContendedStore;
    use crate::testing::faulty::Faulty;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_seconds(1_763_000_000 + second)
    }

    #[test]
    fn a_mistyped_or_truncated_key_is_refused_without_a_read() {
        let key = ApiKey::from_random([0xab; 32]);
        assert_eq!(ApiKey::parse(key.reveal()).unwrap(), key);
        assert_eq!(key.reveal().len(), 71);
        assert_eq!(format!("{key:?}"), "ApiKey(secret)");
        let wrong = key.reveal().replacen('a', "b", 1);
        for text in
            ["", "mg_", "abc", &key.reveal()[..70], &key.reveal()[3..], &wrong, &format!("{}0", key.reveal())]
        {
            assert!(matches!(ApiKey::parse(text), Err(CredentialError::Malformed)), "{text}");
        }
        for letter in ["é", "+f", "-1"] {
            let odd = format!("mg_{}", letter.repeat(DIGITS / letter.len()));
            assert!(ApiKey::parse(&odd).is_err(), "{odd}");
        }
    }

    #[tokio::test]
    async fn a_key_grants_its_tenant_until_it_expires_or_is_revoked() {
        let store = MemoryStore::new();
        let acme = Grant::Tenant(TenantId::new("acme").unwrap());
        let key = ApiKey::from_random([1; 32]);
        let unknown = ApiKey::from_random([2; 32]);
        let added = add(&store, &key, acme.clone(), "dashboard", at(0), Some(at(100))).await.unwrap();
        assert_eq!(verify(&store, &key, at(99)).await.unwrap(), added);
        assert_eq!(added.grant, acme);
        assert!(matches!(verify(&store, &key, at(100)).await, Err(CredentialError::Expired(_))));
        assert!(matches!(verify(&store, &unknown, at(0)).await, Err(CredentialError::Unknown)));
        assert!(matches!(
            add(&store, &key, Grant::Operator, "", at(0), None).await,
            Err(CredentialError::Conflict)
        ));
        revoke(&store, &added.id, at(50)).await.unwrap();
        assert!(
            matches!(verify(&store, &key, at(60)).await, Err(CredentialError::Revoked(when)) if when == at(50))
        );
        assert_eq!(list(&store).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn no_key_is_stored_in_plain_text() {
        let store = MemoryStore::new();
        let key = ApiKey::from_random([7; 32]);
        add(&store, &key, Grant::Operator, "first", at(0), None).await.unwrap();
        let items = stored::range(&store, layout::whole(layout::API_KEYS)).await.unwrap();
        let digits = &key.reveal()[3..20];
        assert!(
            items.iter().all(|item| !item.key.sort.contains(digits) && !hex(&item.body).contains(digits))
        );
        assert_eq!(items.len(), 1);
    }

    #[test]
    fn scopes_and_tenant_follow_from_the_grant() {
        let acme = || TenantId::new("acme").unwrap();
        for (grant, scopes, tenant) in [
            (Grant::Operator, &["operator"][..], None),
            (Grant::Tenant(acme()), &["read", "rules"], Some(acme())),
            (Grant::Reader(acme()), &["read"], Some(acme())),
            (Grant::Ingest, &["ingest"], None),
        ] {
            assert_eq!(grant.scopes(), scopes);
            assert_eq!(grant.tenant(), tenant.as_ref());
        }
    }

    #[tokio::test]
    async fn a_key_cannot_be_bound_to_a_reserved_tenant() {
        let store = MemoryStore::new();
        let key = ApiKey::from_random([1; 32]);
        for grant in [Grant::Tenant(TenantId::unassigned()), Grant::Reader(TenantId::unassigned())] {
            let refused = add(&store, &key, grant, "key", at(0), None).await;
            assert!(matches!(refused, Err(CredentialError::Tenant(_))), "{refused:?}");
        }
        assert_eq!(list(&store).await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_key_expires_at_the_earlier_of_two_times_and_stays_revoked() {
        let store = MemoryStore::new();
        let key = ApiKey::from_random([1; 32]);
        let id = add(&store, &key, Grant::Ingest, "feed", at(0), Some(at(100))).await.unwrap().id;
        for (asked, expected) in [(200, 100), (50, 50), (70, 50)] {
            let changed = expire(&store, &id, at(asked)).await.unwrap();
            assert_eq!(changed.expires_at, Some(at(expected)), "{asked}");
        }
        assert_eq!(revoke(&store, &id, at(10)).await.unwrap().revoked_at, Some(at(10)));
        assert_eq!(revoke(&store, &id, at(20)).await.unwrap().revoked_at, Some(at(10)));
        assert!(matches!(revoke(&store, "nothing", at(0)).await, Err(CredentialError::Unknown)));
    }

    /// The end of failures that never end.
    const EVER: usize = usize::MAX;

    #[tokio::test]
    async fn rotation_leaves_either_a_successor_or_the_old_key_alone_whichever_write_fails() {
        let (old, new) = (ApiKey::from_random([1; 32]), ApiKey::from_random([2; 32]));
        let (mut succeeded, mut failed) = (0, 0);
        for (failing, takes_effect) in [
            (0..0, false),
            (0..1, false),
            (1..2, false),
            (1..2, true),
            (1..3, false),
            (1..EVER, false),
            (1..EVER, true),
            (2..3, false),
        ] {
            let case = format!("writes {failing:?} fail, effect: {takes_effect}");
            let is_down_for_ever = failing.end == EVER;
            let inner = MemoryStore::new();
            let id = add(&inner, &old, Grant::Ingest, "feed", at(0), Some(at(1_000))).await.unwrap().id;
            let mut store = Faulty::new(inner);
            store.fail(failing, takes_effect);
            let rotated = rotate(&store, &id, &new, at(100), at(200)).await;
            let store = store.inner;
            // Until it ends, the old key is valid in any case.
            assert!(verify(&store, &old, at(199)).await.is_ok(), "{case}");
            let successor = verify(&store, &new, at(1_099)).await;
            if let Ok(rotated) = rotated {
                succeeded += 1;
                assert_eq!(successor.unwrap(), rotated, "{case}");
                assert_eq!((rotated.name.as_str(), rotated.expires_at), ("feed", Some(at(1_100))), "{case}");
                assert!(
                    matches!(verify(&store, &old, at(200)).await, Err(CredentialError::Expired(_))),
                    "{case}"
                );
            } else {
                failed += 1;
                // Nobody was told of the new key, so it must be gone. Only a store that stays down cannot remove it.
                assert!(is_down_for_ever || matches!(successor, Err(CredentialError::Unknown)), "{case}");
            }
        }
        assert_eq!((succeeded, failed), (5, 3));
    }

    #[tokio::test]
    async fn rotation_of_a_key_that_is_no_longer_valid_is_refused_and_stores_nothing() {
        let store = MemoryStore::new();
        let mut ids = Vec::new();
        for (number, expires_at) in [(1, Some(at(50))), (2, None)] {
            let key = ApiKey::from_random([number; 32]);
            ids.push(add(&store, &key, Grant::Ingest, "feed", at(0), expires_at).await.unwrap().id);
        }
        revoke(&store, &ids[1], at(10)).await.unwrap();
        let before = store.snapshot();
        let new = ApiKey::from_random([9; 32]);
        let rotated = async |id: &str| rotate(&store, id, &new, at(60), at(70)).await;
        assert!(matches!(rotated(&ids[0]).await, Err(CredentialError::Expired(when)) if when == at(50)));
        assert!(matches!(rotated(&ids[1]).await, Err(CredentialError::Revoked(when)) if when == at(10)));
        assert!(matches!(rotated("nothing").await, Err(CredentialError::Unknown)));
        assert_eq!(store.snapshot(), before);
    }

    #[tokio::test]
    async fn revocation_wins_over_a_concurrent_change_of_the_key() {
        let store = ContendedStore::new(0);
        let key = ApiKey::from_random([1; 32]);
        let id = add(&store, &key, Grant::Ingest, "feed", at(0), None).await.unwrap().id;
        store.lose(3);
        assert_eq!(revoke(&store, &id, at(10)).await.unwrap().revoked_at, Some(at(10)));
        store.lose(usize::MAX);
        assert!(matches!(expire(&store, &id, at(20)).await, Err(CredentialError::Conflict)));
        assert!(matches!(verify(&store, &key, at(11)).await, Err(CredentialError::Revoked(_))));
    }

    #[tokio::test]
    async fn removing_a_tenants_keys_keeps_the_others_and_leaves_no_trace_of_their_use() {
        let store = MemoryStore::new();
        let acme = TenantId::new("acme").unwrap();
        let grants = [Grant::Tenant(acme.clone()), Grant::Reader(acme.clone()), Grant::Operator];
        let mut ids = Vec::new();
        for (number, grant) in (0..).zip(grants) {
            let key = ApiKey::from_random([number; 32]);
            ids.push(add(&store, &key, grant, "key", at(0), None).await.unwrap().id);
        }
        for id in &ids {
            record_use(&store, id, at(5)).await.unwrap();
        }
        assert_eq!(remove_all_of(&store, &acme).await.unwrap(), 2);
        let left: Vec<String> = list(&store).await.unwrap().into_iter().map(|key| key.id).collect();
        assert_eq!(left, ids[2..]);
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        assert_eq!(last_uses(&store, &ids).await.unwrap(), [None, None, Some(at(5))]);
    }

    #[test]
    fn stored_credential_and_use_of_this_format_are_read() {
        let credential = StoredCredential {
            grant: Grant::Reader(TenantId::new("acme").unwrap()),
            name: "board".to_owned(),
            created_at: at(0),
            expires_at: Some(at(100)),
            revoked_at: None,
        };
        crate::codec::assert_stored(
            &credential,
            "03a15452c1020461636d6505626f61726480f8e8afcf6601c092f5afcf6600",
        );
        crate::codec::assert_stored(&StoredUse { used_at: at(0) }, "0303f6a45980f8e8afcf66");
    }
}
