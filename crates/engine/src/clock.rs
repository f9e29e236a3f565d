//! Time, tasks and the place among other nodes, given by hand so that tests and the simulator run the code that ships.

use futures::future::BoxFuture;
use sempre_core::Timestamp;

use crate::VirtualTime;

/// The only source of time of the engine.
pub trait Clock: Send + Sync + 'static {
    /// Now; never earlier than an answer given before.
    fn now(&self) -> Timestamp;

    /// Resolves when [`Clock::now`] has reached `at`; at once when it already has.
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()>;

    /// This clock, if it can jump: then the engine tells it what is in hand and what it waits for.
    fn virtual_time(&self) -> Option<VirtualTime> {
        None
    }
}

/// Starts the engine's few long-lived tasks: one per shard and short background ones, never one per call.
pub trait Spawner: Send + Sync + 'static {
    /// Runs `task` until it ends. `name` says what it is, for logs.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>);
}

/// A node's place among several over one store.
pub trait Lease: Send + Sync + 'static {
    /// Nobody else can have this node's shards by now, so what it knows of them is the newest there is. Asked before anything leaves
    /// that no commit has proved; it must not wait.
    fn is_current(&self) -> bool;
}
