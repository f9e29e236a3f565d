//! What a filter says of a record.
//!
//! A condition is true, false, or neither (`None`) where the record lacks what is compared:
//!
//! | a | b | a AND b | a OR b | NOT a |
//! |---|---|---|---|---|
//! | neither | true | neither | true | neither |
//! | neither | false | false | neither | neither |
//! | neither | neither | neither | neither | neither |

use alloc::{borrow::ToOwned, format, string::String, vec::Vec};
use core::cmp::Ordering;

use super::{AttributeType, Comparison, END_OF_TIME, Field, Filter, Record, SystemField, Value, decode::decode, words};
use crate::{RunId, Timestamp, ids::Uuid};

impl Value {
    /// Its type.
    pub fn kind(&self) -> AttributeType {
        match self {
            Self::Text(_) => AttributeType::Text,
            Self::Keyword(_) => AttributeType::Keyword,
            Self::Int(_) => AttributeType::Int,
            Self::Double(_) => AttributeType::Double,
            Self::Bool(_) => AttributeType::Bool,
            Self::Datetime(_) => AttributeType::Datetime,
            Self::KeywordList(_) => AttributeType::KeywordList,
        }
    }
}

impl Record {
    /// The values of the search attributes, by name.
    pub fn values(&self) -> impl Iterator<Item = (&str, Value)> {
        self.search_attributes.iter().filter_map(|(name, payload)| Some((name.as_str(), decode(payload)?)))
    }

    /// The value of a field; `None` where the record has none, or an attribute of the name with another type.
    pub fn value(&self, field: &Field) -> Option<Value> {
        let keyword = |text: &str| Some(Value::Keyword(text.to_owned()));
        let unless_empty = |text: &str| (!text.is_empty()).then(|| Value::Keyword(text.to_owned()));
        let time = |ns| Some(Value::Datetime(Timestamp(ns)));
        let system = match field {
            Field::Attribute { name, kind } => return decode(self.search_attributes.get(name)?).filter(|value| value.kind() == *kind),
            Field::System(system) => system,
        };
        match system {
            SystemField::WorkflowId => keyword(&self.workflow_id),
            SystemField::RunId => keyword(&self.run_text()),
            SystemField::WorkflowType => keyword(&self.workflow_type),
            SystemField::TaskQueue => keyword(&self.task_queue),
            SystemField::ExecutionStatus => Some(Value::Int(self.status.into())),
            SystemField::ParentWorkflowId => unless_empty(&self.parent_workflow_id),
            SystemField::ParentRunId => unless_empty(&self.parent_run_id),
            SystemField::RootWorkflowId => unless_empty(&self.root_workflow_id).or_else(|| keyword(&self.workflow_id)),
            SystemField::RootRunId => unless_empty(&self.root_run_id).or_else(|| keyword(&self.run_text())),
            SystemField::StartTime => time(self.start_time),
            SystemField::ExecutionTime => time(self.execution_time),
            SystemField::CloseTime => (!self.is_open()).then_some(Value::Datetime(Timestamp(self.close_time))),
            SystemField::HistoryLength => Some(Value::Int(self.history_length)),
            SystemField::HistorySizeBytes => Some(Value::Int(self.history_size_bytes)),
            SystemField::ExecutionDuration => self.execution_duration().map(Value::Int),
            SystemField::StateTransitionCount => Some(Value::Int(self.state_transition_count)),
        }
    }

    fn run_text(&self) -> String {
        format!("{}", RunId(Uuid(self.run_id.as_ref().try_into().unwrap_or_default())))
    }

    /// The value that comparisons see: open runs close at the end of time.
    fn compared(&self, field: &Field) -> Option<Value> {
        match self.value(field) {
            None if *field == Field::System(SystemField::CloseTime) => Some(Value::Datetime(END_OF_TIME)),
            value => value,
        }
    }
}

impl Filter {
    /// True if lists with this filter show the record.
    pub fn matches(&self, record: &Record) -> bool {
        self.evaluate(record) == Some(true)
    }

    /// See the module.
    fn evaluate(&self, record: &Record) -> Option<bool> {
        match self {
            Self::And(all) => until(false, all, record),
            Self::Or(any) => until(true, any, record),
            Self::Not(filter) => filter.evaluate(record).map(|is| !is),
            Self::Compare(field, comparison, value) if field.has_elements() => match comparison {
                Comparison::Equal => Some(has(record, field, value)),
                Comparison::NotEqual => Some(!has(record, field, value)),
                _ => None,
            },
            Self::In { field, values, negated } if field.has_elements() => {
                Some(values.iter().any(|value| has(record, field, value)) != *negated)
            }
            Self::Compare(field, comparison, value) => {
                let order = order(&record.compared(field)?, value)?;
                Some(match comparison {
                    Comparison::Equal => order.is_eq(),
                    Comparison::NotEqual => order.is_ne(),
                    Comparison::Less => order.is_lt(),
                    Comparison::LessOrEqual => order.is_le(),
                    Comparison::Greater => order.is_gt(),
                    Comparison::GreaterOrEqual => order.is_ge(),
                })
            }
            Self::In { field, values, negated } => {
                let found = record.compared(field)?;
                Some(values.iter().any(|value| order(&found, value) == Some(Ordering::Equal)) != *negated)
            }
            Self::Between { field, low, high, negated } => {
                let found = record.compared(field)?;
                Some((order(&found, low)?.is_ge() && order(&found, high)?.is_le()) != *negated)
            }
            Self::IsNull { field, negated } => Some(record.value(field).is_none() != *negated),
            Self::StartsWith { field, prefix, negated } => match record.compared(field)? {
                Value::Keyword(text) => Some(text.starts_with(prefix.as_str()) != *negated),
                _ => None,
            },
        }
    }
}

/// AND (`end` is false) and OR (`end` is true): `end` as soon as one is that; else neither, if one is neither.
fn until(end: bool, filters: &[Filter], record: &Record) -> Option<bool> {
    let mut result = Some(!end);
    for filter in filters {
        match filter.evaluate(record) {
            Some(is) if is == end => return Some(end),
            Some(_) => {}
            None => result = None,
        }
    }
    result
}

impl Field {
    /// True for the types of which a record has several elements or words.
    pub fn has_elements(&self) -> bool {
        matches!(self, Self::Attribute { kind: AttributeType::KeywordList | AttributeType::Text, .. })
    }
}

/// "Contains", or "has any of the words". False for a record without the attribute.
fn has(record: &Record, field: &Field, value: &Value) -> bool {
    match (record.value(field), value) {
        (Some(Value::KeywordList(list)), Value::Keyword(element)) => list.contains(element),
        (Some(Value::Text(text)), Value::Text(wanted)) => {
            let wanted: Vec<String> = words(wanted).collect();
            words(&text).any(|word| wanted.contains(&word))
        }
        _ => false,
    }
}

/// The order of two values of one type.
fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Keyword(a), Value::Keyword(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Datetime(a), Value::Datetime(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sempre_api::v1::common::Payload;

    fn attribute(name: &str, kind: AttributeType) -> Field {
        Field::Attribute { name: name.into(), kind }
    }

    fn record() -> Record {
        let payload = |kind: &str, data: &str| Payload {
            metadata: [("type".to_owned(), kind.as_bytes().to_vec().into())].into(),
            data: data.as_bytes().to_vec().into(),
            ..Payload::default()
        };
        Record {
            workflow_id: "w".into(),
            status: 1,
            start_time: 5,
            search_attributes: [
                ("K".into(), payload("Keyword", "\"b\"")),
                ("L".into(), payload("KeywordList", "[\"x\",\"y\"]")),
                ("T".into(), payload("Text", "\"Hello wide World\"")),
            ]
            .into(),
            ..Record::default()
        }
    }

    fn keyword(text: &str) -> Value {
        Value::Keyword(text.into())
    }

    /// What a condition says, and what its negation does.
    fn says(filter: Filter) -> Option<bool> {
        let record = record();
        let is = filter.evaluate(&record);
        assert_eq!(filter.matches(&record), is == Some(true));
        assert_eq!(Filter::Not(filter.into()).evaluate(&record), is.map(|is| !is));
        is
    }

    #[test]
    fn what_is_missing_is_neither_true_nor_false() {
        let missing = attribute("Nobody", AttributeType::Keyword);
        let neither = || Filter::Compare(missing.clone(), Comparison::NotEqual, keyword("a"));
        let (yes, no) = (|| Filter::And([].into()), || Filter::Or([].into()));
        assert_eq!(says(neither()), None);
        assert_eq!(says(Filter::In { field: missing.clone(), values: [keyword("a")].into(), negated: true }), None);
        assert_eq!(says(Filter::StartsWith { field: missing.clone(), prefix: "".into(), negated: true }), None);
        assert_eq!(says(Filter::IsNull { field: missing.clone(), negated: false }), Some(true));
        assert_eq!((says(yes()), says(no())), (Some(true), Some(false)));
        assert_eq!(says(Filter::And([neither(), yes()].into())), None);
        assert_eq!(says(Filter::And([neither(), no()].into())), Some(false));
        assert_eq!(says(Filter::Or([neither(), yes()].into())), Some(true));
        assert_eq!(says(Filter::Or([neither(), no()].into())), None);
    }

    #[test]
    fn elements_and_words_are_there_or_not() {
        let (list, text) = (attribute("L", AttributeType::KeywordList), attribute("T", AttributeType::Text));
        let words = |words: &str| Filter::Compare(text.clone(), Comparison::Equal, Value::Text(words.into()));
        assert_eq!(says(Filter::Compare(list.clone(), Comparison::Equal, keyword("y"))), Some(true));
        assert_eq!(says(Filter::Compare(list.clone(), Comparison::Equal, keyword("xy"))), Some(false));
        assert_eq!(says(Filter::In { field: list, values: [keyword("a"), keyword("x")].into(), negated: true }), Some(false));
        assert_eq!(says(words("the WORLD")), Some(true));
        assert_eq!(says(words("wor")), Some(false));
        assert_eq!(says(words("")), Some(false));
        let missing = attribute("Nobody", AttributeType::KeywordList);
        assert_eq!(says(Filter::Compare(missing.clone(), Comparison::NotEqual, keyword("a"))), Some(true));
        assert_eq!(says(Filter::Compare(missing, Comparison::Equal, keyword("a"))), Some(false));
    }

    #[test]
    fn open_runs_close_at_the_end_of_time_and_have_no_duration() {
        let close = Field::System(SystemField::CloseTime);
        let at = Value::Datetime(Timestamp(i64::MAX - 1));
        assert_eq!(says(Filter::Compare(close.clone(), Comparison::Greater, at)), Some(true));
        assert_eq!(says(Filter::IsNull { field: close, negated: false }), Some(true));
        let duration = Field::System(SystemField::ExecutionDuration);
        assert_eq!(says(Filter::Compare(duration, Comparison::Less, Value::Int(1))), None);
    }

    #[test]
    fn a_run_without_parent_is_its_own_root() {
        let is = |field, value: &str| says(Filter::Compare(Field::System(field), Comparison::Equal, keyword(value)));
        assert_eq!(is(SystemField::RootWorkflowId, "w"), Some(true));
        assert_eq!(is(SystemField::RootRunId, "00000000-0000-0000-0000-000000000000"), Some(true));
        assert_eq!(is(SystemField::ParentWorkflowId, ""), None);
    }

    #[test]
    fn an_attribute_of_another_type_is_missing() {
        assert_eq!(says(Filter::IsNull { field: attribute("K", AttributeType::Int), negated: false }), Some(true));
        assert_eq!(says(Filter::Compare(attribute("K", AttributeType::Keyword), Comparison::Less, keyword("c"))), Some(true));
    }
}
