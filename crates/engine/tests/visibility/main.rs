//! The index of runs and what lies on top of it: every answer is held against a plain scan.

mod answers;
mod data;
mod files;
mod paging;
mod waiting;
