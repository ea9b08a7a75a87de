//! Conversion between items and DynamoDB attributes.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use event::Timestamp;
use pipeline::ports::{Item, Key};

/// The attributes of an item, by name.
pub(super) type Attributes = HashMap<String, AttributeValue>;

/// An item that this program cannot have written.
#[derive(Debug, thiserror::Error)]
#[error(
    "the item's attribute {name} is missing or has the wrong type: it was not written by mailgauge; remove the item"
)]
pub(super) struct ForeignItem {
    name: &'static str,
}

/// An item that DynamoDB would refuse at every attempt.
#[derive(Debug, thiserror::Error)]
#[error("the item's body of {0} bytes is above {limit}: split it into parts", limit = Item::MAX_BODY_BYTES)]
pub(super) struct Oversized(usize);

/// The attributes of the key.
pub(super) fn key_attributes(key: &Key) -> Attributes {
    Attributes::from([
        ("pk".to_owned(), AttributeValue::S(key.partition.clone())),
        ("sk".to_owned(), AttributeValue::S(key.sort.clone())),
    ])
}

/// All attributes of an item.
pub(super) fn attributes(item: &Item) -> Result<Attributes, Oversized> {
    // Here rather than by DynamoDB, which would refuse all 25 items of the call because of one.
    if item.body.len() > Item::MAX_BODY_BYTES {
        return Err(Oversized(item.body.len()));
    }
    let mut attributes = key_attributes(&item.key);
    attributes.insert("body".to_owned(), AttributeValue::B(Blob::new(item.body.clone())));
    attributes.insert("version".to_owned(), AttributeValue::N(item.version.to_string()));
    if let Some(at) = item.expires_at {
        attributes.insert("expires_at".to_owned(), AttributeValue::N(expiry_seconds(at).to_string()));
    }
    Ok(attributes)
}

/// The item as it will be read back: its expiry rounded to seconds.
pub(super) fn stored(item: Item) -> Item {
    let expires_at = item.expires_at.map(|at| Timestamp::from_seconds(expiry_seconds(at)));
    Item { expires_at, ..item }
}

/// The expiry in whole seconds, which DynamoDB's TTL requires, rounded up so that nothing expires too early.
fn expiry_seconds(at: Timestamp) -> i64 {
    at.plus_millis(999).millis().div_euclid(1000)
}

/// Converts attributes to the item.
pub(super) fn item(mut attributes: Attributes) -> Result<Item, ForeignItem> {
    let partition = text(&mut attributes, "pk")?;
    let sort = text(&mut attributes, "sk")?;
    // Removed and not copied: a body has up to 380 KB.
    let Some(AttributeValue::B(body)) = attributes.remove("body") else {
        return Err(ForeignItem { name: "body" });
    };
    let version = number(&attributes, "version")?.ok_or(ForeignItem { name: "version" })?;
    let expires_at = number(&attributes, "expires_at")?.map(Timestamp::from_seconds);
    Ok(Item { key: Key { partition, sort }, body: body.into_inner(), version, expires_at })
}

/// The sort key in the `LastEvaluatedKey` of a page.
pub(super) fn sort_key(key: &Attributes) -> Result<&str, ForeignItem> {
    key.get("sk").and_then(|value| value.as_s().ok()).map(String::as_str).ok_or(ForeignItem { name: "sk" })
}

fn text(attributes: &mut Attributes, name: &'static str) -> Result<String, ForeignItem> {
    match attributes.remove(name) {
        Some(AttributeValue::S(text)) => Ok(text),
        _ => Err(ForeignItem { name }),
    }
}

fn number<T: std::str::FromStr>(
    attributes: &Attributes,
    name: &'static str,
) -> Result<Option<T>, ForeignItem> {
    match attributes.get(name) {
        Some(AttributeValue::N(number)) => number.parse().map(Some).map_err(|_| ForeignItem { name }),
        Some(_) => Err(ForeignItem { name }),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(expires_at: Option<i64>) -> Item {
        let key = Key { partition: "t#acme#m".to_owned(), sort: "manifest".to_owned() };
        let expires_at = expires_at.map(Timestamp::from_millis);
        Item { key, body: vec![0, 0xff], version: u64::MAX, expires_at }
    }

    #[test]
    fn item_survives_a_round_trip_with_its_expiry_rounded_up_to_a_second() {
        for (written, read) in
            [(None, None), (Some(5000), Some(5000)), (Some(5001), Some(6000)), (Some(5999), Some(6000))]
        {
            assert_eq!(item(attributes(&sample(written)).unwrap()).unwrap(), sample(read));
            assert_eq!(stored(sample(written)), sample(read));
        }
    }

    proptest! {
        #[test]
        fn any_item_is_read_back_as_the_store_says_it_is_kept(
            partition in "\\PC{1,20}", sort in "\\PC{1,20}", body in prop::collection::vec(any::<u8>(), 0..50),
            version: u64, expires_at in proptest::option::of(-1_000_000_000_000_000..1_000_000_000_000_000_i64),
        ) {
            let expires_at = expires_at.map(Timestamp::from_millis);
            let written = Item { key: Key { partition, sort }, body, version, expires_at };
            let read = item(attributes(&written).unwrap()).unwrap();
            prop_assert_eq!(&read, &stored(written.clone()));
            prop_assert!(read.expires_at >= written.expires_at, "expires too early");
        }
    }

    #[test]
    fn body_is_accepted_up_to_its_limit() {
        for (bytes, is_accepted) in [(Item::MAX_BODY_BYTES, true), (Item::MAX_BODY_BYTES + 1, false)] {
            let item = Item { body: vec![0; bytes], ..sample(None) };
            assert_eq!(attributes(&item).is_ok(), is_accepted, "{bytes}");
        }
    }

    #[test]
    fn item_of_another_shape_is_refused_with_the_attribute_name() {
        for name in ["pk", "sk", "body", "version"] {
            let mut attributes = attributes(&sample(None)).unwrap();
            attributes.remove(name);
            assert!(item(attributes.clone()).unwrap_err().to_string().contains(name));
            attributes.insert(name.to_owned(), AttributeValue::Bool(true));
            assert!(item(attributes).is_err());
        }
    }
}
