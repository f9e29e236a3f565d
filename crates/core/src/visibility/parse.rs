//! Text to [`Query`] (spec 06 §3). Every text gives a query or a [`QueryError`], in bounded time and depth.

mod lexer;
mod parser;
mod values;

use alloc::{format, string::String, vec};
use core::fmt;

pub(super) use parser::KEYWORDS;
pub use values::status_name;

use super::{AttributeType, Comparison, Field, Filter, Query, Value, names::NAMESPACE_DIVISION};
use crate::{Refusal, limits::QUERY_BYTES_MAX};

/// The search attributes that a namespace has defined. Those of every namespace need not be among them.
pub trait Attributes {
    /// The type of a custom attribute; `None` if there is none of this name.
    fn attribute(&self, name: &str) -> Option<AttributeType>;

    /// The name that records store it under.
    fn stored<'a>(&'a self, name: &'a str) -> &'a str {
        name
    }
}

/// No custom attributes.
impl Attributes for () {
    fn attribute(&self, _: &str) -> Option<AttributeType> {
        None
    }
}

/// By the names that clients use.
impl Attributes for super::Registry {
    fn attribute(&self, name: &str) -> Option<AttributeType> {
        self.kind(name)
    }

    fn stored<'a>(&'a self, name: &'a str) -> &'a str {
        self.field(name)
    }
}

/// Names with types.
impl Attributes for alloc::collections::BTreeMap<String, AttributeType> {
    fn attribute(&self, name: &str) -> Option<AttributeType> {
        self.get(name).copied()
    }
}

/// Which division's records a query is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Division {
    /// Users' workflows: adds `TemporalNamespaceDivision IS NULL` unless the query mentions that field.
    #[default]
    Workflows,
    /// One of the system's: adds `TemporalNamespaceDivision = name`.
    Only(&'static str),
    /// Adds nothing.
    Any,
}

/// What a query may say, by the call that it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ParseOptions {
    /// `GROUP BY` is allowed: in counts.
    pub groups: bool,
    /// `ScheduleId` is another name of `WorkflowId`: in lists of schedules.
    pub schedules: bool,
    /// `ActivityId` and `ActivityType` are other names of `WorkflowId` and `WorkflowType`: in lists of activities.
    pub activities: bool,
    /// `OperationId`, `Endpoint`, `Service`, `Operation` and `RequestId` are what an operation has: in lists of Nexus operations.
    pub operations: bool,
    /// Which division's records are meant.
    pub division: Division,
}

/// Why a query is refused. Three families, which tools tell apart by their texts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum QueryError {
    /// The text does not parse.
    Malformed(String),
    /// It parses, and asks for what lists cannot do.
    NotSupported(String),
    /// Names, types and values do not fit.
    Invalid(String),
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(detail) => write!(f, "invalid query: malformed SQL query: {detail}"),
            Self::NotSupported(_) | Self::Invalid(_) => write!(f, "invalid query: {}", self.detail()),
        }
    }
}

impl QueryError {
    /// What is wrong, for those who say themselves that it is the query: of text that does not parse only where.
    pub fn detail(&self) -> String {
        match self {
            Self::Malformed(detail) => detail.clone(),
            Self::NotSupported(detail) => format!("operation is not supported: {detail}"),
            Self::Invalid(detail) => format!("invalid expression: {detail}"),
        }
    }
}

impl core::error::Error for QueryError {}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        Self::InvalidArgument(format!("{error}"))
    }
}

/// Characters of the query shown after the place of a syntax error.
const NEAR_MAX: usize = 40;

impl QueryError {
    fn syntax(at: usize, rest: &str) -> Self {
        let end = rest.char_indices().nth(NEAR_MAX).map_or(rest.len(), |(end, _)| end);
        if rest.is_empty() {
            return Self::Malformed(format!("syntax error at position {at}: the query ends too early"));
        }
        Self::Malformed(format!("syntax error at position {at} near '{}'", &rest[..end]))
    }
}

/// Reads a query. An empty one means all records of its division.
pub fn parse(text: &str, attributes: &dyn Attributes, options: ParseOptions) -> Result<Query, QueryError> {
    if text.len() > QUERY_BYTES_MAX {
        return Err(QueryError::NotSupported(format!("query of {} bytes exceeds limit {QUERY_BYTES_MAX}", text.len())));
    }
    let (mut query, mentioned) = parser::parse(text, attributes, options)?;
    let division = match options.division {
        Division::Workflows if !mentioned => Filter::IsNull { field: Field::namespace_division(), negated: false },
        Division::Only(name) => Filter::Compare(Field::namespace_division(), Comparison::Equal, Value::Keyword(name.into())),
        Division::Workflows | Division::Any => return Ok(query),
    };
    query.filter = Some(match query.filter.take() {
        None => division,
        Some(Filter::And(mut all)) => {
            all.insert(0, division);
            Filter::And(all)
        }
        Some(filter) => Filter::And(vec![division, filter]),
    });
    Ok(query)
}

/// True for fields that counts can be grouped by.
fn groups_by(field: &Field) -> bool {
    match field {
        Field::System(field) => *field == super::SystemField::ExecutionStatus,
        Field::Attribute { name, .. } => {
            [NAMESPACE_DIVISION, super::HEALTH, super::WAITING_FOR].contains(&name.as_str())
                || name.starts_with("TemporalLowCardinalityKeyword")
        }
    }
}

#[cfg(test)]
mod tests;
