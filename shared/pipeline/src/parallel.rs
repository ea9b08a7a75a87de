//! Several reads at once inside one task: all of them are under way together, and the results come in order.
//!
//! An own thirty lines, because tasks of a runtime would have to own what they read with. Bounded by the caller's list and by
//! [`AT_ONCE`]; errors do not stop the others.

use std::future::{Future, poll_fn};
use std::task::Poll;

/// Calls under way together: what one store client serves well.
const AT_ONCE: usize = 16;

/// Awaits all futures, some at a time.
pub async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut waiting = futures.into_iter();
    let mut results = Vec::new();
    loop {
        let mut some: Vec<_> =
            waiting.by_ref().take(AT_ONCE).map(|future| (Box::pin(future), None)).collect();
        if some.is_empty() {
            return results;
        }
        poll_fn(|context| {
            let mut ready = true;
            for (future, result) in &mut some {
                if result.is_none() {
                    match future.as_mut().poll(context) {
                        Poll::Ready(output) => *result = Some(output),
                        Poll::Pending => ready = false,
                    }
                }
            }
            if ready { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        results.extend(some.into_iter().filter_map(|(_, result)| result));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn results_come_in_the_order_of_their_futures() {
        let futures = (0..50_u32).map(|number| async move {
            for _ in 0..(50 - number) % 7 {
                tokio::task::yield_now().await;
            }
            number
        });
        assert_eq!(all(futures).await, (0..50).collect::<Vec<_>>());
    }
}
