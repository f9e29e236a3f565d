//! A filter as an SQL condition on the row `r` of `run`. Values are bound, never written into the text.
//!
//! SQL's logic with nulls is that of [`Filter`]; the two exceptions, "contains" and "has any of the words", are
//! `EXISTS`, which is true or false.

use sempre_core::visibility::{AttributeType, Comparison, Field, Filter, NAMESPACE_DIVISION, SystemField, Value, words};

use super::{Dialect, Sql, blob, scalar};

/// Parameters of one statement; the bounds of the databases are higher.
const PARAMETERS_MAX: usize = 10_000;
/// Filters in filters; the bound of SQLite for its own tree is 1000.
const DEPTH_MAX: usize = 100;

/// A piece of SQL and what is bound to its question marks, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::visibility) struct Text {
    pub(in crate::visibility) sql: String,
    pub(in crate::visibility) values: Vec<Sql>,
}

impl Text {
    pub(in crate::visibility) fn push(&mut self, sql: &str) -> &mut Self {
        self.sql.push_str(sql);
        self
    }

    /// A value, in the place of a question mark.
    pub(in crate::visibility) fn bind(&mut self, value: Sql) -> &mut Self {
        self.sql.push('?');
        self.values.push(value);
        self
    }

    pub(in crate::visibility) fn add(&mut self, other: &Text) -> &mut Self {
        self.sql.push_str(&other.sql);
        self.values.extend(other.values.iter().cloned());
        self
    }
}

/// Looks up the number of an attribute by its name and type; `None`: no run of the part has it.
pub(super) type LookUp<'a> = dyn Fn(&str, i64) -> Result<Option<i64>, NoCondition> + 'a;

/// What a condition has to know of the part it is about.
pub(super) struct Names<'a> {
    /// The division of the part.
    pub(super) division: Option<&'a str>,
    /// The number of an attribute, if any run of the part has it.
    pub(super) field: &'a LookUp<'a>,
    pub(super) dialect: &'static Dialect,
}

impl Names<'_> {
    /// A value as the field's column has it.
    pub(super) fn stored(&self, field: &Field, value: &Value) -> Sql {
        if is_stored_apart(field) { (self.dialect.attribute)(value) } else { scalar(value) }
    }
}

/// Whether a field is a row of its own and no column of the run's: search attributes but for the division, which is the part.
pub(super) fn is_stored_apart(field: &Field) -> bool {
    matches!(field, Field::Attribute { .. }) && !is_division(field)
}

/// Whether a field is the division of a namespace.
pub(super) fn is_division(field: &Field) -> bool {
    matches!(field, Field::Attribute { name, kind: AttributeType::Keyword } if name == NAMESPACE_DIVISION)
}

/// Why there is no condition, or no answer.
#[derive(Debug)]
pub(in crate::visibility) enum NoCondition {
    /// The filter has too many parts.
    TooComplex,
    /// What is there cannot be what was written.
    Damaged(String),
    /// The database did not do as asked, for once.
    Failed(String),
}

/// Adds a filter to a statement.
pub(super) fn condition(text: &mut Text, filter: &Filter, names: &Names<'_>) -> Result<(), NoCondition> {
    add(text, filter, names, 0)?;
    if text.values.len() > PARAMETERS_MAX { Err(NoCondition::TooComplex) } else { Ok(()) }
}

fn add(text: &mut Text, filter: &Filter, names: &Names<'_>, depth: usize) -> Result<(), NoCondition> {
    if depth > DEPTH_MAX {
        return Err(NoCondition::TooComplex);
    }
    match filter {
        Filter::And(all) => chain(text, all, " AND ", "TRUE", names, depth),
        Filter::Or(any) => chain(text, any, " OR ", "FALSE", names, depth),
        Filter::Not(inner) => {
            text.push("NOT (");
            add(text, inner, names, depth + 1)?;
            text.push(")");
            Ok(())
        }
        Filter::Compare(field, comparison, value) if field.has_elements() => match comparison {
            Comparison::Equal => has_any(text, field, std::slice::from_ref(value), false, names),
            Comparison::NotEqual => has_any(text, field, std::slice::from_ref(value), true, names),
            _ => nothing(text),
        },
        Filter::In { field, values, negated } if field.has_elements() => has_any(text, field, values, *negated, names),
        Filter::Between { field, .. } | Filter::StartsWith { field, .. } if field.has_elements() => nothing(text),
        Filter::IsNull { field, negated } => is_null(text, field, *negated, names),
        Filter::Compare(field, comparison, value) => {
            value_of(text, field, names)?;
            text.push(operator(*comparison)).bind(names.stored(field, value));
            Ok(())
        }
        Filter::In { field, values, negated } => {
            value_of(text, field, names)?;
            text.push(if *negated { " NOT IN (" } else { " IN (" });
            for (at, value) in values.iter().enumerate() {
                text.push(if at == 0 { "" } else { "," }).bind(names.stored(field, value));
            }
            text.push(")");
            Ok(())
        }
        Filter::Between { field, low, high, negated } => {
            value_of(text, field, names)?;
            text.push(if *negated { " NOT BETWEEN " } else { " BETWEEN " })
                .bind(names.stored(field, low))
                .push(" AND ")
                .bind(names.stored(field, high));
            Ok(())
        }
        Filter::StartsWith { field, prefix, negated } => {
            text.push(if *negated { "NOT (" } else { "(" });
            value_of(text, field, names)?;
            text.push(">=").bind(blob(prefix));
            if let Some(end) = prefix_end(prefix) {
                text.push(" AND ");
                value_of(text, field, names)?;
                text.push("<").bind(end);
            }
            text.push(")");
            Ok(())
        }
    }
}

/// The first text that is behind all that begin with `prefix`; `None` = there is none.
pub(super) fn prefix_end(prefix: &str) -> Option<Sql> {
    let mut bytes = prefix.as_bytes().to_vec();
    // UTF-8 has no byte 0xff.
    *bytes.last_mut()? += 1;
    Some(Sql::Blob(bytes))
}

/// As a balanced tree: databases bound the depth of what it is given.
fn chain(text: &mut Text, filters: &[Filter], between: &str, none: &str, names: &Names<'_>, depth: usize) -> Result<(), NoCondition> {
    match filters {
        [] => {
            text.push(none);
        }
        [one] => add(text, one, names, depth + 1)?,
        more => {
            let (left, right) = more.split_at(more.len() / 2);
            text.push("(");
            chain(text, left, between, none, names, depth)?;
            text.push(between);
            chain(text, right, between, none, names, depth)?;
            text.push(")");
        }
    }
    Ok(())
}

fn operator(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "=",
        Comparison::NotEqual => "!=",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    }
}

/// The stored values that a filter's value looks for in a field of several elements.
pub(super) fn looked_for(field: &Field, values: &[Value], dialect: &Dialect) -> Vec<Sql> {
    let mut found = Vec::new();
    for value in values {
        match (field, value) {
            (Field::Attribute { kind: AttributeType::Text, .. }, Value::Text(text)) => {
                found.extend(words(text).map(|word| (dialect.attribute)(&Value::Keyword(word))));
            }
            (Field::Attribute { kind: AttributeType::KeywordList, .. }, Value::Keyword(_)) => found.push((dialect.attribute)(value)),
            _ => {}
        }
    }
    found.sort_by(|a, b| bytes(a).cmp(bytes(b)));
    found.dedup();
    found
}

fn bytes(value: &Sql) -> &[u8] {
    if let Sql::Blob(bytes) = value { bytes } else { &[] }
}

fn has_any(text: &mut Text, field: &Field, values: &[Value], negated: bool, names: &Names<'_>) -> Result<(), NoCondition> {
    let looked_for = looked_for(field, values, names.dialect);
    let number = number_of(field, names)?;
    let (Some(number), false) = (number, looked_for.is_empty()) else {
        text.push(if negated { "TRUE" } else { "FALSE" });
        return Ok(());
    };
    text.push(if negated { "NOT EXISTS(" } else { "EXISTS(" });
    text.push("SELECT 1 FROM attr_run WHERE run=r.id AND field=").bind(Sql::Integer(number)).push(" AND value IN (");
    for (at, value) in looked_for.into_iter().enumerate() {
        text.push(if at == 0 { "" } else { "," }).bind(value);
    }
    text.push("))");
    Ok(())
}

fn is_null(text: &mut Text, field: &Field, negated: bool, names: &Names<'_>) -> Result<(), NoCondition> {
    if *field == Field::System(SystemField::CloseTime) {
        text.push(if negated { "r.c!=" } else { "r.c=" }).bind(Sql::Integer(!i64::MAX));
        return Ok(());
    }
    if field.has_elements() {
        match number_of(field, names)? {
            None => text.push(if negated { "FALSE" } else { "TRUE" }),
            Some(number) => text
                .push(if negated { "EXISTS(" } else { "NOT EXISTS(" })
                .push("SELECT 1 FROM attr_run WHERE run=r.id AND field=")
                .bind(Sql::Integer(number))
                .push(")"),
        };
        return Ok(());
    }
    value_of(text, field, names)?;
    text.push(if negated { " IS NOT NULL" } else { " IS NULL" });
    Ok(())
}

/// Operators that the type of the field does not have: neither true nor false.
fn nothing(text: &mut Text) -> Result<(), NoCondition> {
    text.push("NULL");
    Ok(())
}

fn number_of(field: &Field, names: &Names<'_>) -> Result<Option<i64>, NoCondition> {
    match field {
        Field::Attribute { name, kind } => (names.field)(name, i64::from(kind.to_api() as i32)),
        Field::System(_) => Ok(None),
    }
}

/// The value of a scalar field; null where the run has none.
pub(super) fn value_of(text: &mut Text, field: &Field, names: &Names<'_>) -> Result<(), NoCondition> {
    let system = match field {
        field if is_division(field) => {
            text.bind(names.division.map_or(Sql::Null, blob));
            return Ok(());
        }
        Field::Attribute { .. } => {
            match number_of(field, names)? {
                None => text.push("NULL"),
                Some(number) => text.push("(SELECT value FROM attr_run WHERE run=r.id AND field=").bind(Sql::Integer(number)).push(")"),
            };
            return Ok(());
        }
        Field::System(system) => system,
    };
    match system {
        SystemField::WorkflowId => text.push("r.workflow_id"),
        SystemField::RunId => text.push(names.dialect.run_id_text),
        SystemField::WorkflowType => text.push("r.workflow_type"),
        SystemField::TaskQueue => text.push("r.task_queue"),
        SystemField::ExecutionStatus => text.push("r.status"),
        SystemField::ParentWorkflowId => text.push("r.parent_workflow_id"),
        SystemField::ParentRunId => text.push("r.parent_run_id"),
        SystemField::RootWorkflowId => text.push("coalesce(r.root_workflow_id, r.workflow_id)"),
        SystemField::RootRunId => text.push("coalesce(r.root_run_id, ").push(names.dialect.run_id_text).push(")"),
        SystemField::StartTime => text.push("(~r.s)"),
        SystemField::ExecutionTime => text.push("r.execution_time"),
        SystemField::CloseTime => text.push("(~r.c)"),
        SystemField::HistoryLength => text.push("r.history_length"),
        SystemField::HistorySizeBytes => text.push("r.history_size_bytes"),
        SystemField::ExecutionDuration => text.push("r.execution_duration"),
        SystemField::StateTransitionCount => text.push("r.state_transition_count"),
    };
    Ok(())
}
