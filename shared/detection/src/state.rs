//! State as bytes: one item for what all tenants share, one per tenant, each with the version of its layout.
//!
//! A version that is not known is refused by name: counts read with the wrong layout would make alerts out of nothing.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The layout written now.
pub const VERSION: u8 = 7;

/// Bytes that are not a state of this program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Written by a newer or older program.
    #[error(
        "detection state has layout {found}, this program reads {VERSION}: start it anew or update the program"
    )]
    Version {
        /// The layout found.
        found: u8,
    },
    /// Cut short or changed.
    #[error("detection state is damaged: remove it, it is learned anew from the history")]
    Damaged,
    /// Could not be written.
    #[error("detection state cannot be encoded")]
    Encode,
}

/// A state as bytes.
pub fn encode<T: Serialize>(state: &T) -> Result<Vec<u8>, StateError> {
    postcard::to_extend(state, vec![VERSION]).map_err(|_| StateError::Encode)
}

/// A state from its bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StateError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(|_| StateError::Damaged),
        Some((&found, _)) => Err(StateError::Version { found }),
        None => Err(StateError::Damaged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant_state::TenantState;

    #[test]
    fn a_tenant_is_the_same_after_storing() {
        let tenant = TenantState::new(100);
        let bytes = encode(&tenant).unwrap();
        assert_eq!(decode::<TenantState>(&bytes).unwrap(), tenant);
        assert_eq!(decode::<TenantState>(&bytes[..bytes.len() - 1]), Err(StateError::Damaged));
        assert_eq!(decode::<TenantState>(&[]), Err(StateError::Damaged));
        assert_eq!(decode::<TenantState>(&[9]), Err(StateError::Version { found: 9 }));
    }
}
