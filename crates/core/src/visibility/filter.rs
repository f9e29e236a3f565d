//! A parsed list query (spec 06 §3).
//!
//! Comparisons follow SQL: what is compared with an attribute that a record lacks is neither true nor false, and a
//! record is listed only where the whole filter is true. `KeywordList` and `Text` are the exception of the spec (§3.1):
//! "contains" and "has any of the words" are plainly false for a record that lacks the attribute, so that `!=`,
//! `NOT IN` and `NOT (… = …)` hold for it. `IS NULL` is always true or false.

use alloc::{boxed::Box, string::String, vec::Vec};

use super::{AttributeType, Value};

/// Fields that every run has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SystemField {
    /// Keyword.
    WorkflowId,
    /// Keyword; textual run id.
    RunId,
    /// Keyword.
    WorkflowType,
    /// Keyword.
    TaskQueue,
    /// Keyword in the language; values are [`Value::Int`] of `WorkflowExecutionStatus` in a filter.
    ExecutionStatus,
    /// Keyword.
    ParentWorkflowId,
    /// Keyword.
    ParentRunId,
    /// Keyword; of a run without parent its own workflow id.
    RootWorkflowId,
    /// Keyword; of a run without parent its own run id.
    RootRunId,
    /// Datetime.
    StartTime,
    /// Datetime.
    ExecutionTime,
    /// Datetime; comparisons see the end of time for open runs, `IS NULL` sees open.
    CloseTime,
    /// Int.
    HistoryLength,
    /// Int.
    HistorySizeBytes,
    /// Int, ns; none while open.
    ExecutionDuration,
    /// Int.
    StateTransitionCount,
}

/// What a predicate looks at.
#[derive(Clone, PartialEq, Debug)]
pub enum Field {
    /// A field of every run.
    System(SystemField),
    /// A search attribute, by the name records store it under.
    Attribute {
        /// Its name.
        name: String,
        /// Its type.
        kind: AttributeType,
    },
}

/// How two scalar values are compared. `Text` and `KeywordList` know only the first two: "has any of the words" and "contains".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`, `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// A condition on records. Values have the type of their field.
#[derive(Clone, PartialEq, Debug)]
pub enum Filter {
    /// All of them; true when empty.
    And(Vec<Filter>),
    /// Any of them; false when empty.
    Or(Vec<Filter>),
    /// Not.
    Not(Box<Filter>),
    /// `field op value`
    Compare(Field, Comparison, Value),
    /// `field IN (values)`, or `NOT IN` when negated.
    In {
        /// The field.
        field: Field,
        /// At least one.
        values: Vec<Value>,
        /// `NOT IN`.
        negated: bool,
    },
    /// `field BETWEEN low AND high`, both included, or `NOT BETWEEN` when negated.
    Between {
        /// The field.
        field: Field,
        /// Lower bound.
        low: Value,
        /// Upper bound.
        high: Value,
        /// `NOT BETWEEN`.
        negated: bool,
    },
    /// `field IS NULL`, or `IS NOT NULL` when negated.
    IsNull {
        /// The field.
        field: Field,
        /// `IS NOT NULL`.
        negated: bool,
    },
    /// `field STARTS_WITH 'prefix'`, or `NOT STARTS_WITH` when negated. Keywords only.
    StartsWith {
        /// The field.
        field: Field,
        /// The prefix.
        prefix: String,
        /// `NOT STARTS_WITH`.
        negated: bool,
    },
}

/// A whole query.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Query {
    /// The condition; `None` = all records.
    pub filter: Option<Filter>,
    /// `GROUP BY`, in counts.
    pub group_by: Option<Field>,
}
