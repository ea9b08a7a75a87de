//! Detection state as bytes: one item for the platform and one per tenant, each with the version of its layout.
//!
//! An unknown version is refused by name. Counts that were read with the wrong layout would make alerts out of nothing.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The layout that is written. Increase it with every change of a stored type.
pub const VERSION: u8 = 9;

/// Bytes that this program cannot read as state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The bytes were written by a newer or older program.
    #[error(
        "detection state has layout {found}, this program reads {VERSION}: remove the state to learn it again, or update the program"
    )]
    Version {
        /// The layout that was found.
        found: u8,
    },
    /// The bytes are cut short or changed.
    #[error("detection state is damaged: remove it to learn it again from the history")]
    Damaged,
    /// The state cannot be encoded.
    #[error("detection state cannot be encoded")]
    Encode,
}

/// The bytes to store: the version of the layout, then the state.
pub fn encode<T: Serialize>(state: &T) -> Result<Vec<u8>, StateError> {
    postcard::to_extend(state, vec![VERSION]).map_err(|_| StateError::Encode)
}

/// The state in stored bytes.
///
/// # Errors
/// [`StateError::Version`] if another version of the program wrote them, [`StateError::Damaged`] if they are cut short or changed.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StateError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(|_| StateError::Damaged),
        Some((&found, _)) => Err(StateError::Version { found }),
        None => Err(StateError::Damaged),
    }
}

#[cfg(test)]
mod tests {
    use event::Minute;

    use super::*;
    use crate::tenant_state::TenantState;

    #[test]
    fn stored_tenant_is_the_same_when_it_is_loaded() {
        let tenant = TenantState::new(Minute(100));
        let bytes = encode(&tenant).unwrap();
        assert_eq!(decode::<TenantState>(&bytes).unwrap(), tenant);
        assert_eq!(decode::<TenantState>(&bytes[..bytes.len() - 1]), Err(StateError::Damaged));
        assert_eq!(decode::<TenantState>(&[]), Err(StateError::Damaged));
        assert_eq!(decode::<TenantState>(&[8]), Err(StateError::Version { found: 8 }));
    }
}
