//! The decisions of Sempre, pure.
//!
//! [`Execution`] is the state machine of one run. It is given an [`Input`], the time and a source
//! of ids, and returns a complete [`Transition`] or a [`Refusal`] that changed nothing. What must be
//! written, sent or answered is in the transition; nothing here reads a clock, draws a random number,
//! touches a disk or waits.
//!
//! The way of a step: `input → Execution::apply → Transition → one commit by the engine → replies`.
//! What history determines and what it does not are two structs ([`state::Derived`] and
//! [`state::Progress`]); only [`state::Derived::apply_event`] changes the first, live and on rebuild.
#![no_std]

extern crate alloc;

mod activity;
pub mod alone;
mod attach;
pub mod audit;
mod busy;
mod callbacks;
mod cancel;
pub mod chain_end;
mod child;
mod close;
mod command;
pub mod cron;
mod deadline;
pub mod deployment;
pub mod describe;
mod event_type;
pub mod execution;
mod external;
pub mod flow;
pub mod ids;
pub mod input;
pub mod keys;
pub mod limits;
pub mod nexus;
pub mod options;
pub mod patch;
pub mod pause;
pub mod planted;
mod query;
pub mod refusal;
pub mod reset;
pub mod retry;
pub mod rules;
pub mod schedule;
mod signal;
mod size;
pub mod standalone;
pub mod start;
pub mod state;
mod step;
mod task;
mod terminate;
pub mod time;
pub mod time_skipping;
pub mod token;
pub mod transition;
pub mod update;
pub mod validate;
pub mod versioning;
pub mod visibility;
mod wake;

pub use activity::AttemptsOfHistory;
pub use busy::Busy;
pub use callbacks::update_outcome;
pub use child::{ChildHeir, ChildStart};
pub use deployment::{Deployments, Route, Routing, Version};
pub use execution::Execution;
pub use ids::{IdSource, NamespaceId, RunId, RunKey, SlotId, WorkflowKey};
pub use input::{Context, Input, NamespaceView};
pub use limits::Limits;
pub use refusal::Refusal;
pub use start::{StartInput, StartOutcome, start};
pub use time::{Span, Timestamp};
pub use token::TaskToken;
pub use transition::{Reply, Transition};
