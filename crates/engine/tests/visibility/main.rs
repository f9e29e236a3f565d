//! The index of runs and what lies on top of it: every answer is held against a plain scan.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod answers;
mod data;
mod files;
mod indexes;
mod limits;
mod paging;
mod postgres;
mod waiting;
