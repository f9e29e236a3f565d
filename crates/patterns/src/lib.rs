//! Patterns of durable workflows on the official Temporal Rust SDK, and on nothing else: they work with any server that
//! speaks Temporal's API.
//!
//! | pattern | when |
//! |---|---|
//! | [`saga`] | several steps, each with an effect outside, all of them or none |
//! | [`entity`] | one thing (an account, a cart, a device) that takes messages for as long as it lives |
//! | [`fan_out`] | one activity for each of many items, or a tree of children |
//! | [`callback`] | an answer from outside, with a deadline, reminders and escalation; approval by people |
//! | [`idempotent`] | an activity that may run more than once and must have its effect once |
//! | [`versioning`] | whether a branch of a patch can go |
//!
//! What runs in workflow code follows its rules: no clock, no randomness, no threads, no unordered maps.

pub mod callback;
pub mod entity;
pub mod fan_out;
pub mod idempotent;
pub mod saga;
pub mod versioning;
