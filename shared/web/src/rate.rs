//! How often one key may ask: a bucket that fills steadily and is emptied by requests, for each key that is presented.
//!
//! Kept per process and by a hash of the header, so nothing here knows a key. Whoever presents many keys gets many buckets, but no
//! more than the table holds; that is bounded elsewhere, by requests at once.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::problem::{Kind, Problem};

/// Seconds for which requests may come twice as fast as a key may go on asking.
const BURST_SECONDS: f64 = 2.0;
/// Keys remembered; beyond it those that rest are forgotten, and then all.
const MAX_KEYS: usize = 10_000;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// The buckets of all keys.
pub(crate) struct Rates {
    per_second: f64,
    hasher: RandomState,
    buckets: Mutex<HashMap<u64, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// What is left of a key's bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Left {
    most: f64,
    requests: f64,
    per_second: f64,
}

impl Rates {
    /// So many requests a second for each key.
    pub(crate) fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second.max(1));
        Self { per_second, hasher: RandomState::new(), buckets: Mutex::default() }
    }

    /// Takes one request out of a key's bucket; a problem if it is empty.
    pub(crate) fn take(&self, key: &HeaderValue) -> Result<Left, Box<(Problem, Left)>> {
        let (now, most) = (Instant::now(), self.per_second * BURST_SECONDS);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_KEYS {
            buckets.retain(|_, bucket| bucket.filled(now, self.per_second, most) < most);
            if buckets.len() >= MAX_KEYS {
                buckets.clear();
            }
        }
        let bucket =
            buckets.entry(self.hasher.hash_one(key.as_bytes())).or_insert(Bucket { left: most, at: now });
        let filled = bucket.filled(now, self.per_second, most);
        let empty = filled < 1.0;
        let left = if empty { filled } else { filled - 1.0 };
        *bucket = Bucket { left, at: now };
        let left = Left { most, requests: left, per_second: self.per_second };
        if empty {
            let detail = format!("this key may ask {} times a second; ask again in 1 s", self.per_second);
            return Err(Box::new((Problem::new(Kind::TooManyRequests, detail).retry_after(1), left)));
        }
        Ok(left)
    }
}

impl Bucket {
    fn filled(&self, now: Instant, per_second: f64, most: f64) -> f64 {
        (self.left + (now - self.at).as_secs_f64() * per_second).min(most)
    }
}

impl Left {
    /// Tells the client.
    pub(crate) fn add_headers(self, headers: &mut HeaderMap) {
        let missing = (self.most - self.requests).max(0.0);
        let whole = |number: f64| HeaderValue::from_str(&format!("{number:.0}"));
        for (name, number) in [
            (LIMIT, self.most),
            (REMAINING, self.requests.floor()),
            (RESET, (missing / self.per_second).ceil()),
        ] {
            if let Ok(value) = whole(number) {
                headers.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(name: &'static str) -> HeaderValue {
        HeaderValue::from_static(name)
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_may_ask_in_a_burst_and_then_steadily_and_others_are_not_held_up() {
        let rates = Rates::new(10);
        for asked in 0..20 {
            assert!(rates.take(&key("a")).is_ok(), "{asked}");
        }
        assert!(rates.take(&key("a")).is_err());
        assert!(rates.take(&key("b")).is_ok());
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(rates.take(&key("a")).is_ok());
        assert!(rates.take(&key("a")).is_err());
        tokio::time::advance(Duration::from_mins(1)).await;
        let mut headers = HeaderMap::new();
        rates.take(&key("a")).map_err(|_| ()).unwrap().add_headers(&mut headers);
        assert_eq!(
            (&headers[LIMIT], &headers[REMAINING], &headers[RESET]),
            (&key("20"), &key("19"), &key("1"))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn keys_beyond_count_are_forgotten() {
        let rates = Rates::new(10);
        for number in 0..MAX_KEYS + 5 {
            let _ = rates.take(&HeaderValue::from_str(&number.to_string()).unwrap());
        }
        assert!(rates.buckets.lock().unwrap().len() <= MAX_KEYS);
    }
}
