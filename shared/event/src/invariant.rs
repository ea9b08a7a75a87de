//! States that the program rules out but that the type system cannot: one place that makes them visible.
//!
//! A silent default would hide such a state for years. [`broken`] panics in builds with debug assertions, so that a test which
//! reaches one fails; in production it logs an error with its source location and increments [`broken_count`], and the caller
//! continues with the safest value it has.

use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};

static BROKEN: AtomicU64 = AtomicU64::new(0);

/// Reports that the state described by `what` was reached although the code rules it out. `what` must not contain personal data.
///
/// # Panics
/// In builds with debug assertions, which is how all tests run.
#[cold]
#[track_caller]
#[expect(
    clippy::panic,
    clippy::manual_assert,
    reason = "a test that reaches an impossible state must fail; an assertion would be constant"
)]
pub fn broken(what: &str) {
    // Counted before the panic, so that the number is right wherever the panic is caught. Nothing else is ordered by it.
    BROKEN.fetch_add(1, Ordering::Relaxed);
    if cfg!(debug_assertions) {
        panic!("impossible state: {what}");
    }
    tracing::error!(source = %Location::caller(), "impossible state, please report it: {what}");
}

/// The value if there is one. Otherwise reports `what` by [`broken`] and returns `fallback`.
#[track_caller]
pub fn or_broken<T>(value: Option<T>, fallback: T, what: &str) -> T {
    value.unwrap_or_else(|| {
        broken(what);
        fallback
    })
}

/// How often [`broken`] was called in this process.
pub fn broken_count() -> u64 {
    BROKEN.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "impossible state: a shard without a name")]
    fn broken_invariant_fails_a_test() {
        broken("a shard without a name");
    }

    #[test]
    fn value_that_exists_is_returned_without_a_report() {
        assert_eq!(or_broken(Some(1), 0, "a missing number"), 1);
    }
}
