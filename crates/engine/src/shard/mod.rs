//! One shard: the one task that owns the runs of its slots, applies inputs to them and commits.
//!
//! The way of a message: [`message`] → [`runner`] finds or loads the run ([`cache`], [`load`]) → core →
//! [`settle`] puts the transition into the open batch ([`batch`]) → commit → outputs are released in order.
//! Nothing that a transition says leaves before its batch, and every batch before it, is acknowledged.

pub(crate) mod batch;
pub(crate) mod cache;
pub(crate) mod child_end;
pub(crate) mod claim;
mod count;
pub(crate) mod deadlines;
pub(crate) mod delivery;
pub(crate) mod dispatch;
pub(crate) mod keeper;
mod leave;
pub(crate) mod listing;
pub(crate) mod load;
pub(crate) mod message;
pub(crate) mod outbox;
pub(crate) mod pages;
mod recover;
pub(crate) mod reset;
pub(crate) mod runner;
pub(crate) mod settle;
pub(crate) mod size;
pub(crate) mod taken;
pub(crate) mod updates;
mod usage;
