//! What lists and counts know of a run, and the language that asks for it (spec 06).
//!
//! [`Record`] is the picture of one run that lists show and filters see; it is taken from the run's state with each
//! change that lists can show. [`Filter`] is a parsed list query. Both are plain values: an index may translate a
//! filter to its own language, and must give what [`Filter`] says of each record.

mod attribute;
mod filter;
mod record;

pub use attribute::{AttributeType, Value};
pub use filter::{Comparison, Field, Filter, Query, SystemField};
pub use record::Record;
