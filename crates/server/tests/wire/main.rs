//! What a client sees on the wire: real gRPC over TCP against a server in memory.

#![allow(clippy::disallowed_methods, reason = "a client of the server: it lives in real time")]

mod abuse;
mod access;
mod access_tokens;
mod alert_rules;
mod audit;
mod batches;
mod callbacks;
mod completion_pages;
mod coverage;
mod http;
mod http_golden;
mod http_schema;
mod limits;
mod lists;
mod messages;
mod metrics;
mod metrics_faults;
mod metrics_trouble;
mod namespaces;
mod nexus_http;
mod operator_service;
mod operators;
mod own_time;
mod polls;
mod promql;
mod queries;
mod resets;
mod schedules;
mod services;
mod shutdown;
mod standalone_activities;
mod standalone_operations;
mod support;
mod telemetry;
mod time_skipping;
#[cfg(feature = "ui")]
mod ui;
#[cfg(feature = "ui")]
mod ui_actions;
mod updates;
mod workers;
