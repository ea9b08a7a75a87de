//! Pauses between the attempts of a failed call: exponential backoff with full jitter.
//!
//! Each pause is drawn evenly between zero and a bound that doubles with every attempt. Without the randomness, clients that
//! failed together would also come back together (<https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/>).
//! The AWS SDK retries most calls by itself; this is for what it leaves to its caller, and for servers that are not AWS's.

use std::time::Duration;

use crate::randomness::random;

/// The pauses of one call.
#[derive(Clone, Debug)]
pub struct Backoff {
    bound: Duration,
    longest: Duration,
}

impl Backoff {
    /// Begins with a pause of at most `first`; no pause is longer than `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { bound: first, longest }
    }

    /// The pause before the next attempt. The bound of the one after that is twice as long.
    pub fn next_pause(&mut self) -> Duration {
        let bound = self.bound.min(self.longest);
        self.bound = self.bound.saturating_mul(2).min(self.longest);
        // From zero on: a pause with a minimum would bring clients that failed together back closer to each other.
        bound.mul_f64(fraction())
    }

    /// Waits as long as [`Backoff::next_pause`] says.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next_pause()).await;
    }
}

/// A random number in `[0, 1)`.
fn fraction() -> f64 {
    // Without random numbers a pause of half the bound still relieves the server; a failed draw is no reason to fail the call.
    random::<4>().map_or(0.5, |bytes| f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bound_of_a_pause_doubles_up_to_the_longest() {
        let millis = Duration::from_millis;
        let mut backoff = Backoff::new(millis(50), millis(300));
        for bound in [50, 100, 200, 300, 300] {
            let before = backoff.bound;
            assert!(backoff.next_pause() <= millis(bound));
            assert_eq!(before, millis(bound));
        }
    }

    #[test]
    fn two_clients_that_fail_together_pause_differently() {
        let pauses = || {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1));
            (0..8).map(|_| backoff.next_pause()).collect::<Vec<_>>()
        };
        assert_ne!(pauses(), pauses());
    }
}
