//! The engine over the memory store, with a clock that only tests move.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests spawn, wait by the wall clock against hangs, and fail by unwrap")]

/// Where the store is.
const ON_POSTGRES: bool = false;

mod nodes;
mod support;

mod activities;
mod alerts;
mod attempts;
mod backups;
mod batches;
mod callbacks;
mod checks;
mod children;
mod deployments;
mod failures;
mod flow;
mod histories;
mod homes;
mod limits;
mod lists;
mod messages;
mod namespaces;
mod nexus;
mod nexus_operations;
mod notices;
mod operators;
mod patches;
mod pauses;
mod queries;
mod renamed_attributes;
mod reset_children;
mod resets;
mod restarts;
mod schedules;
mod search_attributes;
mod shards;
mod standalone_activities;
mod standalone_operations;
mod task_queues;
mod tasks;
mod time_skipping;
mod updates;
mod version_checks;
mod virtual_time;
mod workflow_rules;
mod workflows;
