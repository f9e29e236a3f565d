//! The memory of which effects have happened.

use serde::{Serialize, de::DeserializeOwned};
use temporalio_sdk::activities::ActivityError;

use super::{Class, Key};

/// Why a store has no answer.
#[derive(Debug, thiserror::Error)]
#[error("dedup store: {0}")]
pub struct StoreError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// What a store knows of a key that wants to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nobody has begun before.
    First,
    /// Somebody has begun and not finished: the effect may have happened or not, or be happening.
    Again,
    /// It has happened, with this result.
    Done(Vec<u8>),
    /// It must not happen any more.
    Fenced,
}

/// What a store knew of a key when it was fenced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fenced {
    /// Nobody had begun: there is nothing to undo.
    Untouched,
    /// Somebody had begun and not finished: undo what may be there.
    Begun,
    /// It had happened, with this result.
    Done(Vec<u8>),
}

/// Remembers for each [`Key`] how far its effect has come. Each call is atomic and durable when it has returned.
///
/// 1. The first `begin` of a key is `First`, later ones are `Again` until `finish`, and then `Done` with what was first finished.
/// 2. After `fence` every `begin` is `Fenced`. What `fence` says is the same each time it is called.
/// 3. `finish` of a key that is done changes nothing; of one that is fenced it keeps the result for the next `fence`.
pub trait DedupStore: Send + Sync {
    /// Claims a key.
    fn begin(&self, key: &Key) -> impl Future<Output = Result<Claim, StoreError>> + Send;

    /// Remembers that the effect has happened.
    fn finish(&self, key: &Key, result: &[u8]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Forbids the effect from now on, and says whether there is something to undo. For compensations: an attempt of the step
    /// that comes late (its worker was cut off, and is back) has no effect after this.
    fn fence(&self, key: &Key) -> impl Future<Output = Result<Fenced, StoreError>> + Send;
}

/// Whether an attempt may come after one that had its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// There was none before.
    First,
    /// One before it has begun, and nobody knows how far it came: check, then act.
    Again,
}

/// Runs `effect` unless the store knows that it has happened; then gives the result it had. An effect that is fenced fails and is not
/// tried again.
pub async fn once<T, F>(store: &impl DedupStore, key: &Key, effect: impl FnOnce(Attempt) -> F) -> Result<T, ActivityError>
where
    T: Serialize + DeserializeOwned,
    F: Future<Output = Result<T, ActivityError>>,
{
    let attempt = match store.begin(key).await? {
        Claim::First => Attempt::First,
        Claim::Again => Attempt::Again,
        Claim::Done(result) => return Ok(serde_json::from_slice(&result)?),
        Claim::Fenced => return Err(Class::BusinessRule.error(format!("`{key}` has been undone"))),
    };
    let value = effect(attempt).await?;
    store.finish(key, &serde_json::to_vec(&value)?).await?;
    Ok(value)
}
