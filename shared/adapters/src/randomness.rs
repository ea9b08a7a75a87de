//! Random numbers from the operating system, for API keys, secrets, attempt ids and jitter. The only place of the data flow that draws
//! them, so that everything else can be replayed.

/// The operating system has no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system has no random numbers")]
pub struct NoRandomness;

/// `N` cryptographically secure random bytes.
///
/// # Errors
/// [`NoRandomness`] if the operating system has none.
pub fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_draws_are_the_same() {
        assert_ne!(random::<16>(), random::<16>());
    }
}
