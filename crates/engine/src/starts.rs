//! Starts wait in a line of their own, in front of their shard's: whatever comes of them, the work of what has been started
//! goes on beside.
//!
//! | a start | until |
//! |---|---|
//! | waits | fewer than [`TURNS`] starts are at its shard |
//! | is at the shard | it is answered, or its caller leaves |
//! | is refused | at once, when as many wait as may wait for the shard |
//!
//! So completions of tasks, and polls that take one, find few starts before them in the shard's line, however many there are.

use std::sync::atomic::{AtomicUsize, Ordering};

use sempre_core::Refusal;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Starts that are at a shard at once: what one commit takes.
const TURNS: usize = 256;

/// What a start is told that is one too many.
const TOO_MANY: &str = "too many starts wait for this shard";

/// The starts of one shard.
pub(crate) struct Starts {
    turns: Semaphore,
    waiting: AtomicUsize,
    waiting_max: usize,
}

/// A start that waits; it does not any more when dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Starts {
    /// With a line of so many.
    pub(crate) fn new(waiting_max: usize) -> Self {
        Self { turns: Semaphore::new(TURNS), waiting: AtomicUsize::new(0), waiting_max }
    }

    /// No further start would be let into the line.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) >= self.waiting_max
    }

    /// Waits for a start's turn, which lasts until what is returned is dropped.
    pub(crate) async fn turn(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        if let Ok(turn) = self.turns.try_acquire() {
            return Ok(turn);
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.waiting_max {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::Overloaded(TOO_MANY));
        }
        let _waiting = Waiting(&self.waiting);
        // It is never closed.
        self.turns.acquire().await.map_err(|_| Refusal::Overloaded(TOO_MANY))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn starts_wait_for_their_turn_and_too_many_are_refused() {
        let starts = Starts::new(2);
        let mut at_the_shard: Vec<_> = (0..TURNS).map(|_| starts.turn().now_or_never().unwrap().unwrap()).collect();
        let mut first = Box::pin(starts.turn());
        assert!(first.as_mut().now_or_never().is_none());
        let mut second = Box::pin(starts.turn());
        assert!(second.as_mut().now_or_never().is_none() && starts.is_full());
        assert_eq!(starts.turn().now_or_never().unwrap().unwrap_err(), Refusal::Overloaded(TOO_MANY));
        at_the_shard.pop();
        let turn = first.as_mut().now_or_never().unwrap().unwrap();
        assert!(!starts.is_full());
        // Who leaves makes room in the line.
        drop(second);
        assert_eq!(starts.waiting.load(Ordering::Relaxed), 0);
        drop((turn, at_the_shard));
        assert_eq!(starts.turns.available_permits(), TURNS);
    }
}
