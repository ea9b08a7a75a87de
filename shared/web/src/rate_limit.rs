//! The rate limit of each key: requests per second, with a burst of two seconds' worth.
//!
//! The limit is kept per process, under a hash of the header that holds the key, so no key is stored here. A client that presents many
//! keys gets many limits. The number of limits is bounded, and the total load is bounded elsewhere, by a limit on concurrent
//! requests.

use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroU32;
use std::sync::{PoisonError, RwLock};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::problem::{Problem, ProblemType};

/// How many seconds' worth of requests a key may send at once.
const BURST_SECONDS: u32 = 2;
/// The highest limit. The limiter counts in nanoseconds, so higher ones would lose precision.
const MAX_PER_SECOND: u32 = 1_000_000;
/// Keys remembered at once. Beyond it, idle keys are forgotten, and if that is not enough, all of them.
const MAX_KEYS: usize = 10_000;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

type Limiter<C> = RateLimiter<u64, HashMapStateStore<u64>, C, StateInformationMiddleware>;

/// The rate limits of all keys.
pub(crate) struct RateLimits<C: Clock + Clone = DefaultClock> {
    quota: Quota,
    clock: C,
    hasher: RandomState,
    limiter: RwLock<Limiter<C>>,
}

/// What remains of a key's burst after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    burst: u32,
    remaining: u32,
    per_second: u32,
}

impl RateLimits {
    /// Allows each key this many requests per second, at least 1 and at most [`MAX_PER_SECOND`].
    pub(crate) fn new(per_second: u32) -> Self {
        Self::with_clock(per_second, DefaultClock::default())
    }
}

impl<C: Clock + Clone> RateLimits<C> {
    fn with_clock(per_second: u32, clock: C) -> Self {
        let per_second = NonZeroU32::new(per_second.min(MAX_PER_SECOND)).unwrap_or(NonZeroU32::MIN);
        let burst = per_second.saturating_mul(NonZeroU32::MIN.saturating_add(BURST_SECONDS - 1));
        let quota = Quota::per_second(per_second).allow_burst(burst);
        let limiter = RwLock::new(limiter(quota, &clock));
        Self { quota, clock, hasher: RandomState::new(), limiter }
    }

    /// Counts a request of the key in this header value. Refuses it with a problem if the key has used up its limit.
    pub(crate) fn check(&self, key: &HeaderValue) -> Result<Allowance, Box<(Problem, Allowance)>> {
        // Before the lookup, so that the map exceeds the limit by at most the number of concurrent requests.
        self.forget_keys_beyond_limit();
        // The hasher is seeded per process, so nobody can choose keys that share a limit with another key.
        let key = self.hasher.hash_one(key.as_bytes());
        let limiter = self.limiter.read().unwrap_or_else(PoisonError::into_inner);
        let burst = self.quota.burst_size().get();
        let per_second = burst / BURST_SECONDS;
        if let Ok(state) = limiter.check_key(&key) {
            return Ok(Allowance { burst, remaining: state.remaining_burst_capacity(), per_second });
        }
        let detail = format!("this key may send {per_second} requests a second; repeat the request in 1 s");
        let problem = Problem::new(ProblemType::TooManyRequests, detail).retry_after(1);
        Err(Box::new((problem, Allowance { burst, remaining: 0, per_second })))
    }

    fn forget_keys_beyond_limit(&self) {
        let limiter = self.limiter.read().unwrap_or_else(PoisonError::into_inner);
        if limiter.len() < MAX_KEYS {
            return;
        }
        // Keys that could send a full burst again are as good as new ones.
        limiter.retain_recent();
        if limiter.len() < MAX_KEYS {
            return;
        }
        // A read lock that is still held would block the write below for ever.
        drop(limiter);
        *self.limiter.write().unwrap_or_else(PoisonError::into_inner) =
            self::limiter(self.quota, &self.clock);
    }
}

fn limiter<C: Clock + Clone>(quota: Quota, clock: &C) -> Limiter<C> {
    Limiter::new(quota, HashMapStateStore::default(), clock.clone())
}

impl Allowance {
    /// Adds the headers that tell the client its limit.
    pub(crate) fn add_headers(self, headers: &mut HeaderMap) {
        let seconds_to_full = (self.burst - self.remaining).div_ceil(self.per_second.max(1));
        for (name, number) in [(LIMIT, self.burst), (REMAINING, self.remaining), (RESET, seconds_to_full)] {
            headers.insert(name, HeaderValue::from(number));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn key(name: &'static str) -> HeaderValue {
        HeaderValue::from_static(name)
    }

    fn limits(per_second: u32) -> (RateLimits<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (RateLimits::with_clock(per_second, clock.clone()), clock)
    }

    #[test]
    fn key_may_send_a_burst_and_then_a_steady_rate_without_affecting_others() {
        let (limits, clock) = limits(10);
        for request in 0..20 {
            assert!(limits.check(&key("a")).is_ok(), "{request}");
        }
        assert!(limits.check(&key("a")).is_err());
        assert!(limits.check(&key("b")).is_ok());
        clock.advance(Duration::from_millis(100));
        assert!(limits.check(&key("a")).is_ok());
        assert!(limits.check(&key("a")).is_err());
        clock.advance(Duration::from_mins(1));
        let mut headers = HeaderMap::new();
        limits.check(&key("a")).map_err(|_| ()).unwrap().add_headers(&mut headers);
        assert_eq!(
            (&headers[LIMIT], &headers[REMAINING], &headers[RESET]),
            (&key("20"), &key("19"), &key("1"))
        );
    }

    #[test]
    fn number_of_remembered_keys_is_bounded() {
        let (limits, _) = limits(10);
        for number in 0..MAX_KEYS + 5 {
            let _ = limits.check(&HeaderValue::from_str(&number.to_string()).unwrap());
        }
        assert!(limits.limiter.read().unwrap().len() <= MAX_KEYS);
    }
}
