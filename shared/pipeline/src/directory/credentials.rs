//! API keys: random, shown once, stored as a hash, scoped, expiring, revocable.
//!
//! A key is `mg_`, 256 random bits and a checksum, so that a mistyped or cut key is told from an unknown one without a read. It is
//! found by its SHA-256: with so much randomness a slow hash would protect nothing. Neither a key nor its bytes is ever stored or
//! logged. Entries are written conditionally, which every store makes durable before it answers.

use std::fmt;

use event::{TenantId, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::codec::{Malformed, Reader, Writer};
use crate::layout;
use crate::ports::{Item, Key, PutError, Store};
use crate::stored::{self, ReadError, Versioned};

const PREFIX: &str = "mg_";
/// 32 random bytes and 2 of checksum, in hexadecimal.
const DIGITS: usize = 68;

/// Whom a key lets see what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Everything.
    Operator,
    /// One tenant's numbers and rules, nothing else.
    Tenant(TenantId),
    /// One tenant's numbers, nothing else.
    Reader(TenantId),
    /// Sending events in, nothing else.
    Ingest,
}

impl Grant {
    /// The tenant it is bound to.
    pub const fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Tenant(tenant) | Self::Reader(tenant) => Some(tenant),
            Self::Operator | Self::Ingest => None,
        }
    }

    /// What it is made of.
    pub const fn scopes(&self) -> &'static [&'static str] {
        match self {
            Self::Operator => &["operator"],
            Self::Tenant(_) => &["read", "rules"],
            Self::Reader(_) => &["read"],
            Self::Ingest => &["ingest"],
        }
    }
}

/// A key, in clear: shown once to whoever asked for it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

/// What is stored of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Tells it apart in lists; the first 12 digits of its hash.
    pub id: String,
    /// What it grants.
    pub grant: Grant,
    /// What its owner calls it.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From then on it is refused.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// Why a key is refused.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// Not a key at all: mistyped or cut.
    #[error("this is no API key: copy it whole, from mg_ on")]
    Malformed,
    /// No such key.
    #[error("this API key is unknown: ask for a new one")]
    Unknown,
    /// It has expired.
    #[error("this API key expired on {0}: ask for a new one")]
    Expired(Timestamp),
    /// It was revoked.
    #[error("this API key was revoked on {0}: ask for a new one")]
    Revoked(Timestamp),
    /// Somebody else changed it meanwhile.
    #[error("this API key was changed meanwhile: try again")]
    Conflict,
    /// The store failed or a stored record cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl ApiKey {
    /// From 256 random bits.
    pub fn from_random(random: [u8; 32]) -> Self {
        let mut key = String::with_capacity(PREFIX.len() + DIGITS);
        key.push_str(PREFIX);
        key.push_str(&hex(&random));
        key.push_str(&hex(&checksum(&random)));
        Self(key)
    }

    /// Reads a key that somebody presents.
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

    /// The key, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn hash(&self) -> String {
        hex(&Sha256::digest(self.0.as_bytes()))
    }
}

/// Never printed.
impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(secret)")
    }
}

/// Stores a new key.
pub async fn add<S: Store>(
    store: &S,
    key: &ApiKey,
    grant: Grant,
    name: &str,
    now: Timestamp,
    expires_at: Option<Timestamp>,
) -> Result<Credential, CredentialError> {
    let hash = key.hash();
    let id = id_of(&hash);
    let credential =
        Credential { id, grant, name: name.to_owned(), created_at: now, expires_at, revoked_at: None };
    save(store, &hash, &credential, None).await?;
    Ok(credential)
}

/// What a key that somebody presents grants now.
pub async fn verify<S: Store>(
    store: &S,
    key: &ApiKey,
    now: Timestamp,
) -> Result<Credential, CredentialError> {
    let credential = read(store, &key.hash()).await?.record.ok_or(CredentialError::Unknown)?;
    if let Some(at) = credential.revoked_at {
        return Err(CredentialError::Revoked(at));
    }
    match credential.expires_at {
        Some(at) if at <= now => Err(CredentialError::Expired(at)),
        _ => Ok(credential),
    }
}

/// Notes that a key is used now.
pub async fn note_use<S: Store>(store: &S, id: &str, now: Timestamp) -> Result<(), CredentialError> {
    let key = layout::api_key_use(id);
    let item = Item { key, body: now.millis().to_be_bytes().to_vec(), version: 0, expires_at: None };
    Ok(store.put(vec![item]).await.map_err(ReadError::from)?)
}

/// When some keys were used last, in their order, as far as that was noted.
pub async fn uses<S: Store>(store: &S, ids: &[&str]) -> Result<Vec<Option<Timestamp>>, CredentialError> {
    let place = |id: &&str| layout::api_key_use(id);
    let found = store.get(ids.iter().map(place).collect()).await.map_err(ReadError::from)?;
    let at = |item: Item| Some(Timestamp::from_millis(i64::from_be_bytes(item.body.try_into().ok()?)));
    Ok(found.into_iter().map(|item| item.and_then(at)).collect())
}

/// All keys, those expired and revoked too.
pub async fn list<S: Store>(store: &S) -> Result<Vec<Credential>, CredentialError> {
    Ok(all(store).await?.into_iter().map(|(_, credential)| credential).collect())
}

/// Revokes the key with this id. A revoked key stays in the list.
pub async fn revoke<S: Store>(store: &S, id: &str, now: Timestamp) -> Result<Credential, CredentialError> {
    change(store, id, |credential| {
        credential.revoked_at.get_or_insert(now);
    })
    .await
}

/// Lets the key with this id expire at a moment, if it does not sooner.
pub async fn expire<S: Store>(store: &S, id: &str, at: Timestamp) -> Result<Credential, CredentialError> {
    change(store, id, |credential| {
        credential.expires_at = Some(credential.expires_at.map_or(at, |sooner| sooner.min(at)));
    })
    .await
}

async fn change<S: Store>(
    store: &S,
    id: &str,
    change: impl FnOnce(&mut Credential),
) -> Result<Credential, CredentialError> {
    let hash =
        all(store).await?.into_iter().find(|(_, credential)| credential.id == id).map(|(hash, _)| hash);
    let hash = hash.ok_or(CredentialError::Unknown)?;
    let held = read(store, &hash).await?;
    let before = held.record.ok_or(CredentialError::Unknown)?;
    let mut credential = before.clone();
    change(&mut credential);
    if credential != before {
        save(store, &hash, &credential, held.version).await?;
    }
    Ok(credential)
}

/// Removes all keys of a tenant, from the list too.
pub async fn remove_of<S: Store>(store: &S, tenant: &TenantId) -> Result<usize, CredentialError> {
    let of_tenant = all(store).await?.into_iter().filter(|(_, key)| key.grant.tenant() == Some(tenant));
    let keys: Vec<Key> = of_tenant.map(|(hash, _)| place(&hash)).collect();
    let removed = keys.len();
    store.delete(keys).await.map_err(ReadError::from)?;
    Ok(removed)
}

async fn all<S: Store>(store: &S) -> Result<Vec<(String, Credential)>, CredentialError> {
    let items = stored::range(store, layout::whole(layout::API_KEYS)).await.map_err(ReadError::from)?;
    let mut found = Vec::with_capacity(items.len());
    for item in items {
        match Credential::decode(&item.key.sort, &item.body) {
            Ok(credential) => found.push((item.key.sort, credential)),
            Err(source) => return Err(ReadError::Record { key: item.key, source }.into()),
        }
    }
    Ok(found)
}

async fn read<S: Store>(store: &S, hash: &str) -> Result<Versioned<Option<Credential>>, ReadError> {
    stored::read(store, place(hash), |bytes| Credential::decode(hash, bytes).map(Some)).await
}

async fn save<S: Store>(
    store: &S,
    hash: &str,
    credential: &Credential,
    held: Option<u64>,
) -> Result<(), CredentialError> {
    match stored::write(store, place(hash), credential.encode(), held).await {
        Ok(_) => Ok(()),
        Err(PutError::Conflict) => Err(CredentialError::Conflict),
        Err(PutError::Store(source)) => Err(ReadError::Store(source).into()),
    }
}

impl Credential {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        match &self.grant {
            Grant::Operator => _ = writer.number(0),
            Grant::Tenant(tenant) => _ = writer.number(1).text(tenant.as_str()),
            Grant::Ingest => _ = writer.number(2),
            Grant::Reader(tenant) => _ = writer.number(3).text(tenant.as_str()),
        }
        writer.text(&self.name).time(self.created_at);
        writer.maybe(self.expires_at, |w, at| _ = w.time(at)).maybe(self.revoked_at, |w, at| _ = w.time(at));
        writer.finish()
    }

    fn decode(hash: &str, bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let credential = Self {
            id: id_of(hash),
            grant: match reader.number()? {
                0 => Grant::Operator,
                1 => Grant::Tenant(reader.tenant()?),
                2 => Grant::Ingest,
                3 => Grant::Reader(reader.tenant()?),
                _ => return Err(Malformed::Damaged("grant")),
            },
            name: reader.text()?.to_owned(),
            created_at: reader.time()?,
            expires_at: reader.maybe(Reader::time)?,
            revoked_at: reader.maybe(Reader::time)?,
        };
        reader.end()?;
        Ok(credential)
    }
}

fn place(hash: &str) -> Key {
    layout::api_key(hash)
}

fn id_of(hash: &str) -> String {
    hash.chars().take(12).collect()
}

fn checksum(random: &[u8]) -> [u8; 2] {
    let hash = Sha256::digest(random);
    hash.first_chunk().copied().unwrap_or_default()
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

    fn at(second: i64) -> Timestamp {
        Timestamp::from_seconds(1_763_000_000 + second)
    }

    #[test]
    fn a_mistyped_or_cut_key_is_no_key() {
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
    async fn no_key_lies_in_the_store() {
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
}
