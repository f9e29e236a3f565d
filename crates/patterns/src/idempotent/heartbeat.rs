//! Long activities that tell how far they are, and go on from there.
#![expect(clippy::disallowed_methods, reason = "an activity lives in the world's time")]

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// Works from where the last attempt said it was, or from `start`. `work` does one piece and gives the next position, or `None` at the
/// end. After each piece the position goes out as a heartbeat; a cancelled activity stops between two pieces.
///
/// The SDK sends heartbeats at most each 80 % of the heartbeat timeout, so an attempt that dies is followed by one that does up to that
/// much again: pieces must be idempotent. Give the activity a heartbeat timeout, or nobody notices that it died.
pub async fn resume<P, F>(ctx: &ActivityContext, start: P, mut work: impl FnMut(P) -> F) -> Result<(), ActivityError>
where
    P: Clone + Serialize + DeserializeOwned + Send + Sync + 'static,
    F: Future<Output = Result<Option<P>, ActivityError>>,
{
    let mut position = ctx.heartbeat_details().deserialize::<P>()?.unwrap_or(start);
    loop {
        if ctx.is_cancelled() {
            return Err(ActivityError::cancelled());
        }
        match work(position).await? {
            None => return Ok(()),
            Some(next) => {
                ctx.record_heartbeat(next.clone()).await?;
                position = next;
            }
        }
    }
}

/// Runs work that cannot tell how far it is, with a heartbeat each `every`. When the activity is cancelled the work is dropped.
pub async fn beating<T>(
    ctx: &ActivityContext,
    every: Duration,
    work: impl Future<Output = Result<T, ActivityError>>,
) -> Result<T, ActivityError> {
    let beats = async {
        loop {
            tokio::time::sleep(every).await;
            if let Err(error) = ctx.record_heartbeat(()).await {
                break ActivityError::from(error);
            }
        }
    };
    futures::pin_mut!(work, beats);
    let cancelled = async {
        ctx.cancelled().await;
        ActivityError::cancelled()
    };
    futures::pin_mut!(cancelled);
    match futures::future::select(work, futures::future::select(beats, cancelled)).await {
        futures::future::Either::Left((outcome, _)) => outcome,
        futures::future::Either::Right((ended, _)) => Err(ended.factor_first().0),
    }
}
