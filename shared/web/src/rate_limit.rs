//! The rate limit of each key: requests per second, with a burst of two seconds' worth.
//!
//! The limit is kept per process, under a hash of the key, so no key is stored here and it does not matter in which header, letter case
//! or cookie the key comes. A client that presents many keys gets many limits. The number of limits is bounded, and the total load is
//! bounded elsewhere, by a limit on concurrent requests. Instances of a Lambda function do not share limits: across instances only the
//! throttle of the API's stage holds.

use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroU32;
use std::sync::{PoisonError, RwLock};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use pipeline::directory::api_keys::ApiKey;

use crate::auth::without_scheme;
use crate::problem::{Problem, ProblemType};
use crate::session;

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

    /// Counts a request under each key that it presents. Refuses it with a problem if one of them has used up its limit; `None` if the
    /// request presents no key.
    pub(crate) fn check_all(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<Allowance>, Box<(Problem, Allowance)>> {
        let mut least: Option<Allowance> = None;
        let keys = presented_keys(headers);
        for (place, key) in keys.iter().enumerate() {
            // The same key in two headers is one request of that key.
            if let Some(key) = key.as_deref().filter(|_| !keys[..place].contains(key)) {
                let left = self.check(key)?;
                least = Some(least.filter(|least| least.remaining <= left.remaining).unwrap_or(left));
            }
        }
        Ok(least)
    }

    /// Counts a request of this key. Refuses it with a problem if the key has used up its limit.
    fn check(&self, key: &str) -> Result<Allowance, Box<(Problem, Allowance)>> {
        // Before the lookup, so that the map exceeds the limit by at most the number of concurrent requests.
        self.forget_keys_beyond_limit();
        // The hasher is seeded per process, so nobody can choose keys that share a limit with another key.
        let key = self.hasher.hash_one(key);
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

/// The keys that a request presents, wherever a route might look for one, each in the spelling under which it is stored.
///
/// All of them are counted: if only the one in `Authorization` were, a random one there would hide the key in another header.
fn presented_keys(headers: &HeaderMap) -> [Option<String>; 5] {
    let in_header = |name: &str| {
        let text = headers.get(name)?.to_str().ok()?;
        Some(without_scheme(text).unwrap_or(text))
    };
    let in_cookie = |name| session::cookie_value(headers, name);
    let [over_tls, plain] = session::COOKIES;
    let texts = [
        in_header(header::AUTHORIZATION.as_str()),
        in_header("x-api-key"),
        in_header("x-amz-firehose-access-key"),
        in_cookie(over_tls),
        in_cookie(plain),
    ];
    texts.map(|text| {
        let text = text?.trim_matches(' ');
        // Keys are accepted in either letter case.
        Some(ApiKey::parse(text).map_or_else(|_| text.to_owned(), |key| key.reveal().to_owned()))
    })
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
            assert!(limits.check("a").is_ok(), "{request}");
        }
        assert!(limits.check("a").is_err());
        assert!(limits.check("b").is_ok());
        clock.advance(Duration::from_millis(100));
        assert!(limits.check("a").is_ok());
        assert!(limits.check("a").is_err());
        clock.advance(Duration::from_mins(1));
        let mut headers = HeaderMap::new();
        limits.check("a").map_err(|_| ()).unwrap().add_headers(&mut headers);
        assert_eq!(
            (&headers[LIMIT], &headers[REMAINING], &headers[RESET]),
            (&key("20"), &key("19"), &key("1"))
        );
    }

    #[test]
    fn one_key_has_one_limit_in_whatever_header_case_or_cookie_it_comes() {
        let own = ApiKey::from_random([0xab; 32]);
        let lower = own.reveal();
        let upper = format!("mg_{}", lower[3..].to_uppercase());
        let (limits, _) = limits(1);
        let ways = [
            vec![("authorization", format!("Bearer {lower}"))],
            vec![("authorization", format!("bEARER   {upper}"))],
            vec![("x-api-key", upper.clone())],
            vec![("x-amz-firehose-access-key", lower.to_owned())],
            vec![("cookie", format!("theme=7; mailgauge={lower}"))],
            vec![("cookie", format!("__Host-mailgauge={upper}; a=b"))],
            // A random key elsewhere does not hide it.
            vec![("authorization", "Bearer mg_random".to_owned()), ("x-api-key", lower.to_owned())],
        ];
        for (number, way) in ways.iter().enumerate() {
            let mut headers = HeaderMap::new();
            for (name, value) in way {
                headers.insert(*name, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(limits.check_all(&headers).is_ok(), number < 2, "{way:?}");
        }
        assert!(matches!(limits.check_all(&HeaderMap::new()), Ok(None)));
    }

    #[test]
    fn number_of_remembered_keys_is_bounded() {
        let (limits, _) = limits(10);
        for number in 0..MAX_KEYS + 5 {
            let _ = limits.check(&number.to_string());
        }
        assert!(limits.limiter.read().unwrap().len() <= MAX_KEYS);
    }
}
