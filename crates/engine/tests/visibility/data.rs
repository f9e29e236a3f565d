//! Random records and filters. Values come from small pools, so that they meet.

use std::{collections::BTreeMap, sync::Arc};

use fastrand::Rng;
use futures::executor::block_on;
use sempre_api::v1::common::Payload;
use sempre_core::{
    NamespaceId, RunId, Timestamp,
    ids::Uuid,
    visibility::{AttributeType, Comparison, Field, Filter, Record, SystemField, Value, format_datetime},
};
use sempre_engine::visibility::{Change, Index, Position};

/// Texts that differ in bytes, order, case, quoting and length.
const TEXTS: [&str; 14] = [
    "a",
    "b",
    "ab",
    "abc",
    "",
    "order-1",
    "order-10",
    "\u{e9}t\u{e9}",
    "z\u{0}z",
    "it's \"quoted\" \\ %_*?",
    "\u{10ffff}",
    "漢字",
    "A",
    "~",
];
const SENTENCES: [&str; 7] = ["hello world", "Hello, again", "", "--", "Ärger im WALD", "world-wide 42", "42"];
const NUMBERS: [i64; 8] = [0, 1, -1, 2, 42, i64::MAX, i64::MIN, 1 << 53];
const DOUBLES: [f64; 8] = [0.0, -0.0, 1.0, 1.5, -2.5e300, f64::MAX, f64::MIN_POSITIVE, 9_007_199_254_740_993.0];
/// Times in ns, some equal in all but the last digits. 0 would be "open" as a close time.
const TIMES: [i64; 8] =
    [1, 1_000, 1_001, 1_700_000_000_000_000_000, 1_700_000_000_000_001_000, 1_700_000_000_000_001_001, -5_000, i64::MAX - 1_000];
/// Two attributes share a name: the type tells them apart, as after a removal and another registration.
const ATTRIBUTES: [(&str, AttributeType); 10] = [
    ("K", AttributeType::Keyword),
    ("K2", AttributeType::Keyword),
    ("T", AttributeType::Text),
    ("I", AttributeType::Int),
    ("D", AttributeType::Double),
    ("B", AttributeType::Bool),
    ("W", AttributeType::Datetime),
    ("L", AttributeType::KeywordList),
    ("K", AttributeType::Int),
    ("TemporalNamespaceDivision", AttributeType::Keyword),
];
const SYSTEM: [SystemField; 16] = [
    SystemField::WorkflowId,
    SystemField::RunId,
    SystemField::WorkflowType,
    SystemField::TaskQueue,
    SystemField::ExecutionStatus,
    SystemField::ParentWorkflowId,
    SystemField::ParentRunId,
    SystemField::RootWorkflowId,
    SystemField::RootRunId,
    SystemField::StartTime,
    SystemField::ExecutionTime,
    SystemField::CloseTime,
    SystemField::HistoryLength,
    SystemField::HistorySizeBytes,
    SystemField::ExecutionDuration,
    SystemField::StateTransitionCount,
];

pub(crate) fn namespace(n: u8) -> NamespaceId {
    NamespaceId(Uuid([n; 16]))
}

/// Runs in an order other than their numbers'.
pub(crate) fn run(n: u8) -> RunId {
    let mut id = [7u8; 16];
    id[0] = n.wrapping_mul(167);
    id[15] = n;
    RunId(Uuid(id))
}

pub(crate) fn pick<T: Clone>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(..from.len())].clone()
}

fn text(rng: &mut Rng) -> String {
    pick(rng, &TEXTS).to_owned()
}

fn json(text: &str) -> String {
    let mut json = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if (c as u32) < 0x20 => json += &format!("\\u{:04x}", c as u32),
            c => json.push(c),
        }
    }
    json + "\""
}

pub(crate) fn payload(value: &Value, kind: AttributeType) -> Payload {
    let data = match value {
        Value::Text(text) | Value::Keyword(text) => json(text),
        Value::Int(n) => n.to_string(),
        Value::Double(n) => format!("{n:?}"),
        Value::Bool(b) => b.to_string(),
        Value::Datetime(at) => json(&format_datetime(*at)),
        Value::KeywordList(list) => format!("[{}]", list.iter().map(|text| json(text)).collect::<Vec<_>>().join(",")),
    };
    let metadata = [("encoding", "json/plain"), ("type", kind.name())];
    let metadata = metadata.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec().into()));
    Payload { metadata: metadata.into_iter().collect(), data: data.into_bytes().into(), ..Payload::default() }
}

fn value(rng: &mut Rng, kind: AttributeType) -> Value {
    match kind {
        AttributeType::Text => Value::Text(pick(rng, &SENTENCES).to_owned()),
        AttributeType::Keyword => Value::Keyword(text(rng)),
        AttributeType::Int => Value::Int(pick(rng, &NUMBERS)),
        AttributeType::Double => Value::Double(pick(rng, &DOUBLES)),
        AttributeType::Bool => Value::Bool(rng.bool()),
        AttributeType::Datetime => Value::Datetime(Timestamp(pick(rng, &TIMES))),
        AttributeType::KeywordList => Value::KeywordList((0..rng.usize(1..4)).map(|_| text(rng)).collect()),
    }
}

pub(crate) fn record(rng: &mut Rng, of: NamespaceId, id: RunId) -> Record {
    let optional = |rng: &mut Rng, text: String| if rng.u8(..4) == 0 { text } else { String::new() };
    let open = rng.u8(..3) == 0;
    let mut search_attributes = BTreeMap::new();
    for (name, kind) in ATTRIBUTES {
        if rng.u8(..4) == 0 && !(name == "TemporalNamespaceDivision" && rng.bool()) {
            search_attributes.insert(name.to_owned(), payload(&value(rng, kind), kind));
        }
    }
    Record {
        namespace_id: of.0.0.to_vec().into(),
        workflow_id: text(rng),
        run_id: id.0.0.to_vec().into(),
        workflow_type: text(rng),
        task_queue: text(rng),
        status: if open { pick(rng, &[1, 8]) } else { rng.i32(2..8) },
        start_time: pick(rng, &TIMES),
        execution_time: pick(rng, &TIMES),
        close_time: if open { 0 } else { pick(rng, &TIMES) },
        history_length: pick(rng, &NUMBERS),
        history_size_bytes: pick(rng, &NUMBERS),
        state_transition_count: rng.i64(0..3),
        parent_workflow_id: {
            let id = text(rng);
            optional(rng, id)
        },
        parent_run_id: {
            let id = run(rng.u8(..6)).to_string();
            optional(rng, id)
        },
        root_workflow_id: {
            let id = text(rng);
            optional(rng, id)
        },
        root_run_id: {
            let id = run(rng.u8(..6)).to_string();
            optional(rng, id)
        },
        first_run_id: id.to_string(),
        search_attributes,
        ..Record::default()
    }
}

/// A change of one of some runs.
pub(crate) fn change(rng: &mut Rng, version: u64, runs: u8) -> Change {
    let (namespace, run) = (namespace(rng.u8(1..3)), run(rng.u8(..runs)));
    if rng.u8(..5) == 0 {
        Change::Delete { namespace, run }
    } else {
        Change::Put { version, record: Arc::new(record(rng, namespace, run)) }
    }
}

pub(crate) fn field(rng: &mut Rng) -> Field {
    if rng.bool() {
        Field::System(pick(rng, &SYSTEM))
    } else {
        let (name, kind) = match rng.u8(..20) {
            // One that no run has.
            0 => ("Nobody", AttributeType::ALL[rng.usize(..7)]),
            _ => pick(rng, &ATTRIBUTES),
        };
        Field::Attribute { name: name.to_owned(), kind }
    }
}

/// A value that a filter compares a field with.
fn compared(rng: &mut Rng, field: &Field) -> Value {
    match field {
        Field::System(SystemField::ExecutionStatus) => Value::Int(rng.i64(0..9)),
        Field::System(SystemField::RunId | SystemField::ParentRunId | SystemField::RootRunId) => match rng.u8(..4) {
            0 => Value::Keyword(text(rng)),
            1 => Value::Keyword(run(rng.u8(..6)).to_string().to_uppercase()),
            _ => Value::Keyword(run(rng.u8(..6)).to_string()),
        },
        Field::System(SystemField::StateTransitionCount) => Value::Int(rng.i64(0..3)),
        Field::System(SystemField::CloseTime) if rng.u8(..6) == 0 => Value::Datetime(Timestamp(pick(rng, &[i64::MAX, i64::MIN]))),
        other => match other.kind() {
            AttributeType::KeywordList => Value::Keyword(text(rng)),
            kind => value(rng, kind),
        },
    }
}

pub(crate) fn filter(rng: &mut Rng, depth: u8) -> Filter {
    let several = |rng: &mut Rng| (0..rng.usize(..4)).map(|_| filter(rng, depth - 1)).collect::<Vec<_>>();
    if depth > 0 {
        match rng.u8(..6) {
            0 | 1 => return Filter::And(several(rng)),
            2 => return Filter::Or(several(rng)),
            3 => return Filter::Not(Box::new(filter(rng, depth - 1))),
            _ => {}
        }
    }
    predicate(rng)
}

fn predicate(rng: &mut Rng) -> Filter {
    let field = field(rng);
    let kind = field.kind();
    let negated = rng.u8(..3) == 0;
    let is_list = matches!(kind, AttributeType::KeywordList | AttributeType::Text);
    let is_status = field == Field::System(SystemField::ExecutionStatus);
    match rng.u8(..8) {
        0 => Filter::IsNull { field, negated },
        1 | 2 => {
            let values = (0..rng.usize(1..4)).map(|_| compared(rng, &field)).collect();
            Filter::In { field, values, negated }
        }
        3 if !is_list && kind != AttributeType::Bool && !is_status => {
            let (low, high) = (compared(rng, &field), compared(rng, &field));
            Filter::Between { field, low, high, negated }
        }
        4 if kind == AttributeType::Keyword && !is_status => Filter::StartsWith { field, prefix: text(rng), negated },
        5 | 6 if !is_list && kind != AttributeType::Bool && !is_status => {
            let all = [Comparison::Less, Comparison::LessOrEqual, Comparison::Greater, Comparison::GreaterOrEqual];
            let value = compared(rng, &field);
            Filter::Compare(field, pick(rng, &all), value)
        }
        _ => {
            let value = compared(rng, &field);
            Filter::Compare(field, if negated { Comparison::NotEqual } else { Comparison::Equal }, value)
        }
    }
}

/// Fields that a count can be grouped by.
pub(crate) fn scalar_field(rng: &mut Rng) -> Field {
    loop {
        let field = field(rng);
        if !matches!(field.kind(), AttributeType::KeywordList | AttributeType::Text) {
            return field;
        }
    }
}

/// An index that is ready for reads.
pub(crate) fn ready(index: &dyn Index) {
    block_on(index.begin_rebuild()).unwrap();
    block_on(index.finish_rebuild()).unwrap();
    assert_eq!(index.needs_rebuild(), None);
}

pub(crate) fn place(record: &Record) -> Position {
    Position::of(record)
}
