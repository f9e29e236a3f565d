//! What lists and counts know of a run, and the language that asks for it (spec 06).
//!
//! [`Record`] is the picture of one run that lists show and filters see; it is taken from the run's state with each
//! change that lists can show. [`Filter`] is a parsed list query. Both are plain values: an index may translate a
//! filter to its own language, and must give what [`Filter`] says of each record.

mod attribute;
mod datetime;
mod decode;
mod filter;
pub(crate) mod health;
mod info;
mod json;
mod matches;
mod names;
mod of_run;
mod parse;
mod print;
mod record;
mod registry;
mod row;
pub(crate) mod waits;
mod words;

pub use attribute::{AttributeType, Value};
pub use datetime::{END_OF_TIME, format_datetime, parse_datetime};
pub use decode::{decode, decode_as, decode_object};
pub use filter::{Comparison, Field, Filter, Query, SystemField};
pub use health::{ACTIVITY_ATTEMPT, HEALTH, LAST_FAILURE, QUEUE_BACKLOG_AGE, QUEUE_POLLERS, TASK_FAILURES};
pub use json::json_string;
pub use names::{NAMESPACE_DIVISION, PREDEFINED, RESERVED_PREFIX, SYSTEM, SetBy, is_built_in, is_reserved, predefined};
pub(crate) use of_run::Shown;
pub use parse::{Attributes, Division, ParseOptions, QueryError, parse, status_name};
pub use record::Record;
pub use registry::{FORMER_NAMES_MAX, Registry};
pub use row::{DELETED, Row};
pub use waits::{FLOW_RULES, WAITING_FOR, WAITING_SINCE, WAITING_UNTIL};
pub use words::words;
