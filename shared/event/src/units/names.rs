//! Names of tenants and of shards, checked once so that they fit a storage key, a URL and a log line as they are.
//!
//! Where a tenant's name comes from decides which constructor parses it: [`TenantId::new`] for everything from outside,
//! [`TenantId::new_or_unassigned`] for what an operator asks to read, and [`TenantId::from_stored`] for what this program wrote.
//! None of them accepts `*`: all tenants together are not a tenant but [`AlertScope::Platform`].

use std::borrow::Cow;
use std::fmt;

use compact_str::CompactString;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{AlertScope, excerpt};

/// The tenant that numbers belong to: a part of every storage key and of every query.
///
/// 1 to 128 bytes of visible ASCII without `#`, `/`, `\` and quotes. `*` and names in parentheses are reserved, so that nobody
/// gains access to the platform or to unassigned mail by giving a tenant such a name; the only reserved name that a `TenantId`
/// can hold is [`TenantId::UNASSIGNED`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(CompactString);

impl TenantId {
    /// The name under which events are counted that belong to no tenant. Only operators see it.
    pub const UNASSIGNED: &'static str = "(unassigned)";
    /// What [`TenantId::new`] accepts, for error messages.
    pub const ALLOWED: &'static str =
        "1 to 128 visible ASCII characters without # / \\ and quotes, not * and not in parentheses";
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 128;
    /// What [`TenantId::new`] accepts, as a regular expression: no `(` in the first place, and `*` only before other characters.
    const PATTERN: &'static str = concat!(
        r"^([!$%&)+,.0-9:;<=>?@A-Z\[\]^_`a-z{|}~-][!$%&()*+,.0-9:;<=>?@A-Z\[\]^_`a-z{|}~-]{0,127}",
        r"|\*[!$%&()*+,.0-9:;<=>?@A-Z\[\]^_`a-z{|}~-]{1,127})$",
    );

    /// Parses a name from outside: from a person, a token, a mapping, an event, a request.
    ///
    /// # Errors
    /// [`InvalidTenant`] if the name is malformed or reserved.
    pub fn new(name: &str) -> Result<Self, InvalidTenant> {
        if name == AlertScope::PLATFORM || name.starts_with('(') {
            return Err(InvalidTenant::Reserved { name: excerpt(name) });
        }
        // After the reserved names, so that `*` is refused for what it stands for and not for its spelling.
        check_name("tenant", name, Self::MAX_BYTES)?;
        Ok(Self(CompactString::new(name)))
    }

    /// Parses the name of a tenant whose data an operator wants to read: a tenant's name or [`TenantId::UNASSIGNED`].
    ///
    /// # Errors
    /// As [`TenantId::new`].
    pub fn new_or_unassigned(name: &str) -> Result<Self, InvalidTenant> {
        if name == Self::UNASSIGNED { Ok(Self::unassigned()) } else { Self::new(name) }
    }

    /// Parses a name that this program wrote itself: into a storage key, a block, a receipt, a message between its own parts.
    ///
    /// # Errors
    /// [`InvalidTenant`] if it is not a name that this program writes; what holds it is damaged.
    pub fn from_stored(name: &str) -> Result<Self, InvalidTenant> {
        Self::new_or_unassigned(name)
    }

    /// The bucket for events that no tag or mapping assigns to a tenant.
    pub const fn unassigned() -> Self {
        Self(CompactString::const_new(Self::UNASSIGNED))
    }

    /// The name as it is stored, shown and written into keys and URLs.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the bucket for events without a tenant.
    pub fn is_unassigned(&self) -> bool {
        self.0 == Self::UNASSIGNED
    }
}

/// The schema of a name that [`TenantId::new`] accepts.
impl JsonSchema for TenantId {
    fn schema_name() -> Cow<'static, str> {
        "TenantId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "The id of a tenant: 1 to 128 visible ASCII characters without # / \\ and quotes. `*` and names in \
                parentheses are reserved.",
            "pattern": Self::PATTERN,
            "example": "acme",
        })
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The shard (Kinesis), partition (Kafka) or local queue through which a record came.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(CompactString);

impl ShardId {
    /// The longest name, in bytes: Kinesis allows 128, and Kafka topics have up to 249 and a partition number.
    pub const MAX_BYTES: usize = 256;

    /// Parses a name. The characters allowed are those of a [`TenantId`]; no name is reserved.
    ///
    /// # Errors
    /// [`InvalidName`] if it is empty, too long or has a character that is not allowed.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        check_name("shard", name, Self::MAX_BYTES)?;
        Ok(Self(CompactString::new(name)))
    }

    /// The shard reserved for records that are replayed from quarantine.
    pub const fn quarantine_replay() -> Self {
        Self(CompactString::const_new("quarantine-replay"))
    }

    /// The name as the stream gives it, which is also its part of a storage key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Storage keys join names with `#` and URLs with `/`; quotes and backslashes would need escaping in logs.
fn check_name(what: &'static str, name: &str, max_bytes: usize) -> Result<(), InvalidName> {
    let is_allowed = |b: u8| b.is_ascii_graphic() && !matches!(b, b'#' | b'/' | b'"' | b'\'' | b'\\');
    if !name.is_empty() && name.len() <= max_bytes && name.bytes().all(is_allowed) {
        Ok(())
    } else {
        Err(InvalidName { what, name: excerpt(name), max_bytes })
    }
}

/// A name that cannot be a part of a storage key, a URL or a log line as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} name {name:?} is not 1 to {max_bytes} visible ASCII characters without # / \\ and quotes")]
pub struct InvalidName {
    /// What was to be named: `tenant` or `shard`.
    pub what: &'static str,
    /// The first 40 characters of the name.
    pub name: String,
    /// The longest name allowed, in bytes.
    pub max_bytes: usize,
}

/// A name that cannot be a tenant's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTenant {
    /// The name is malformed.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The name is well-formed but stands for something else.
    #[error(
        "tenant name {name:?} is reserved: * stands for all tenants, and names in parentheses for mail of no tenant; use another name"
    )]
    Reserved {
        /// The first 40 characters of the name.
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESERVED: [&str; 6] = ["*", "(unassigned)", "(other)", "(none)", "(Unassigned)", "(mine"];

    #[test]
    fn tenant_names_fit_a_key_a_url_and_a_log_line() {
        for name in ["acme", "acme-mail_1.eu", "**", "a*", "a(b)", "*.example", &"x".repeat(128)] {
            assert_eq!(TenantId::new(name).unwrap().as_str(), name);
            assert_eq!(TenantId::new_or_unassigned(name).unwrap().as_str(), name);
            assert_eq!(TenantId::from_stored(name).unwrap().to_string(), name);
        }
        for name in ["", "a#b", "a/b", "a b", "ä", "a\nb", "a\"b", "a'b", "a\\b", &"x".repeat(129)] {
            for parsed in
                [TenantId::new(name), TenantId::new_or_unassigned(name), TenantId::from_stored(name)]
            {
                assert!(matches!(parsed, Err(InvalidTenant::Name(_))), "{name}");
            }
        }
    }

    #[test]
    fn reserved_names_are_refused_from_outside() {
        for name in RESERVED {
            let error = TenantId::new(name).unwrap_err();
            assert!(matches!(&error, InvalidTenant::Reserved { name: shown } if shown == name), "{error}");
        }
        assert_eq!(
            TenantId::new("*").unwrap_err().to_string(),
            "tenant name \"*\" is reserved: * stands for all tenants, and names in parentheses for mail of no tenant; use another name"
        );
    }

    #[test]
    fn only_the_unassigned_bucket_can_be_read_and_stored_among_the_reserved_names() {
        for name in RESERVED {
            for parsed in [TenantId::new_or_unassigned(name), TenantId::from_stored(name)] {
                assert_eq!(parsed.is_ok(), name == TenantId::UNASSIGNED, "{name}");
            }
        }
        let unassigned = TenantId::from_stored(TenantId::UNASSIGNED).unwrap();
        assert_eq!(unassigned, TenantId::unassigned());
        assert!(unassigned.is_unassigned());
        assert!(!TenantId::new("unassigned").unwrap().is_unassigned());
    }

    #[test]
    fn errors_name_what_was_refused_and_its_limit() {
        let long = "x".repeat(300);
        let shown = "x".repeat(40);
        assert_eq!(
            TenantId::new(&long).unwrap_err().to_string(),
            format!(
                "tenant name \"{shown}\" is not 1 to 128 visible ASCII characters without # / \\ and quotes"
            )
        );
        assert_eq!(
            ShardId::new(&long).unwrap_err().to_string(),
            format!(
                "shard name \"{shown}\" is not 1 to 256 visible ASCII characters without # / \\ and quotes"
            )
        );
    }

    #[test]
    fn shard_names_may_be_longer_than_tenant_names_and_none_is_reserved() {
        for name in ["shardId-000000000006", "mail-events-0", "(local)", "*", &"x".repeat(256)] {
            assert_eq!(ShardId::new(name).unwrap().as_str(), name);
        }
        for name in ["", "a/b", &"x".repeat(257)] {
            assert!(ShardId::new(name).is_err(), "{name}");
        }
        let replay = ShardId::quarantine_replay();
        assert_eq!(ShardId::new(replay.as_str()).unwrap(), replay);
    }
}
