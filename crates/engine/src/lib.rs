//! Drives the decisions of `sempre-core` over a store and a clock.
//!
//! [`Engine`] is the facade: one method per call of the API, all of them callable at once. Behind it:
//!
//! - **shards** own the runs of their slots, apply inputs, gather many transitions into one commit and release
//!   replies and effects in order once it is durable (`shard`);
//! - **matching** brings offers and pollers together, in the same transition where it can (`matching`);
//! - **history** reads cut pages out of stored frames and wait for new events (`history`);
//! - **namespaces** are few, durable and all in memory (`namespaces`);
//! - **meta** keeps what belongs to the server as a whole: its id, settings of task queues (`meta`);
//! - **visibility** lists and counts runs: an index, and what it has not taken yet (`visibility`);
//! - **records** of other kinds, Nexus endpoints and batch jobs, are durable and in memory too (`records`);
//! - **nexus** operations go between callers and handlers (`nexus`);
//! - **gate**: whether the workers of a version can go on with the runs there are, before they get them (`gate`);
//! - **patches** of workflow code that runs still need (`patches`);
//! - **alerts**: rules about what is to be told, and their delivery to webhooks (`alerts`);
//! - **notices** of what happens to runs, in order, for those who follow (`notices`);
//! - **usage**: what each namespace has of what it may have (`usage`);
//! - **workers** that send heartbeats are remembered while they do (`workers`);
//! - **schedules** start runs when they are due (`schedules`);
//! - **batch** operations act on many runs in the background (`batch`);
//! - whichever part the store tells that it has **failed**, the engine ends (`watched`);
//! - **recovery** reads what the last process owed;
//! - **shards** come and go while the engine runs (`shards`);
//! - a **node** has an engine follow who is there and what is whose, among several over one PostgreSQL (`node`);
//! - of several nodes, one is the **home** of a task queue (`homes`);
//! - what one node has another do goes by **peers**: messages between runs, first of all (`peers`);
//! - what there is **once** is changed by one of several nodes (`once`);
//! - **removal** takes away the data of deleted namespaces (`removal`);
//! - **virtual time** is a clock that jumps while nothing is in hand, for tests (`virtual_time`);
//! - **check** holds a store at rest against itself: rows against histories.
//!
//! Time, seeds and the spawning of tasks are given by hand; nothing is process-wide. There is no socket, no HTTP and
//! no status code in here: refusals are core's, `server` translates them.

mod alerts;
mod all_rows;
pub mod backup;
mod batch;
mod callbacks;
mod calls;
pub mod check;
mod clock;
pub mod cron;
mod deployments;
mod engine;
mod flow;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gate;
mod history;
mod homes;
mod ids;
mod listeners;
mod listing;
mod matching;
mod meta;
mod namespaces;
pub mod nexus;
#[cfg(feature = "postgres")]
pub mod node;
mod notices;
mod once;
mod patches;
pub(crate) mod peers;
#[cfg(feature = "real")]
pub mod real;
mod rebuild;
mod records;
mod recovery;
mod removal;
mod schedules;
mod settings;
mod shard;
mod shards;
mod shared;
pub mod singles;
mod stats;
mod usage;
mod virtual_time;
pub mod visibility;
mod watched;
mod watchers;
mod workers;
pub mod zones;

pub use alerts::sender::{AlertCall, AlertSender};
pub use callbacks::CallbackSender;
pub use calls::{
    access::{ApiKey, KeyHash, LeadsTo, key_id},
    declared_alerts::{BadRule, DeclaredRules},
    gauges::OpenRuns,
    index::IndexStatus,
    limits::NamespaceUse,
    lists::Runs,
    watch::{ListChange, WatchedList},
};
pub use clock::{Clock, Lease, Spawner};
pub use engine::{Components, Engine, OpenError, OpenIndex};
pub use gate::CheckMessages;
pub use history::read::HistoryReader;
pub use matching::QueueSummary;
pub use patches::PatchMessages;
pub use peers::{Peers, Sent};
pub use rebuild::RebuildProgress;
pub use settings::Settings;
pub use stats::{Counter, EventCounts, Histogram, HistogramReading, LATENCIES, LIVES, OTHER, Stats, TYPES_MAX, TypeStats, Typed, Types};
pub use usage::{CALL_CLASSES, CallClass, LimitUse, Limited, NamespaceLimits, Rates};
pub use virtual_time::{Unbalanced, VirtualTime};
