//! A server that gives nobody more than so many calls a second answers RESOURCE_EXHAUSTED to the others. Official clients wait and ask
//! again; so do we, with their waits: otherwise a server as shipped could not be measured at its limit.

use std::{
    future::Future,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tonic::{Code, Response, Status};

/// Of an official client (sdk-core).
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(10);
const JITTER: f64 = 0.2;

/// Calls until the answer is another; adds to `throttled` how often it was not.
pub(crate) async fn patiently<T, F>(throttled: &AtomicU64, call: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    waiting(FIRST, throttled, call).await
}

async fn waiting<T, F>(first: Duration, throttled: &AtomicU64, mut call: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let mut wait = first;
    loop {
        match call().await {
            Err(status) if status.code() == Code::ResourceExhausted => {
                throttled.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(jittered(wait, fastrand::f64())).await;
                wait = longer(wait);
            }
            answered => return answered.map(Response::into_inner),
        }
    }
}

fn longer(wait: Duration) -> Duration {
    (wait * 2).min(LONGEST)
}

fn jittered(wait: Duration, chance: f64) -> Duration {
    wait.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_throttled_call_is_made_again_and_counted_and_nothing_else_is() {
        let throttled = AtomicU64::new(0);
        let mut answers = vec![Ok(7), Err(Status::resource_exhausted("limit")), Err(Status::resource_exhausted("limit"))];
        let answer = waiting(Duration::ZERO, &throttled, || {
            let next = answers.pop().unwrap();
            async move { next.map(Response::new) }
        });
        assert_eq!(answer.await.unwrap(), 7);
        assert_eq!(throttled.load(Ordering::Relaxed), 2);

        let answer = waiting(Duration::ZERO, &throttled, || async { Err::<Response<u8>, _>(Status::unavailable("gone")) });
        assert_eq!(answer.await.unwrap_err().code(), Code::Unavailable);
        assert_eq!(throttled.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits: Vec<u64> = std::iter::successors(Some(FIRST), |wait| Some(longer(*wait))).take(6).map(|wait| wait.as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
        assert_eq!((jittered(FIRST, 0.0), jittered(FIRST, 0.5)), (Duration::from_millis(800), FIRST));
    }
}
