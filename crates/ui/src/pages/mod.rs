//! The pages, a file each.

pub(crate) mod activities;
pub(crate) mod alerts;
pub(crate) mod attention;
pub(crate) mod batches;
pub(crate) mod bulk;
pub(crate) mod columns;
pub(crate) mod counts;
pub(crate) mod deployments;
pub(crate) mod namespaces;
pub(crate) mod problem;
pub(crate) mod run;

pub(crate) mod schedules;
pub(crate) mod settings;
pub(crate) mod start;
pub(crate) mod task_queues;
mod unpolled;
pub(crate) mod welcome;
pub(crate) mod workers;
pub(crate) mod workflows;
