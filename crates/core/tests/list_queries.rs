//! Properties of the list-query language: every text gives a query or a refusal, and queries print as text that gives
//! the same query again.
//!
//! A long run: `PROPTEST_CASES=1000000 cargo test --release -p sempre-core --test list_queries`.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};
use sempre_core::{
    Timestamp,
    visibility::{AttributeType, Comparison, Division, Field, Filter, ParseOptions, Query, SYSTEM, SystemField, Value, parse},
};

const ANY: ParseOptions = ParseOptions { groups: true, schedules: false, activities: false, operations: false, division: Division::Any };

/// Names that need no quotes, and names that do.
const STEMS: [&str; 5] = ["Custom", "my-", "order by ", "it`s ", "ä."];

fn attributes() -> BTreeMap<String, AttributeType> {
    let names = |kind: AttributeType| STEMS.map(|stem| (format!("{stem}{}", kind.name()), kind));
    AttributeType::ALL.into_iter().flat_map(names).chain([("Order".to_owned(), AttributeType::Keyword)]).collect()
}

fn field() -> impl Strategy<Value = Field> {
    let system = (0..SYSTEM.len()).prop_map(|at| Field::System(SYSTEM[at].1));
    let all: Vec<_> = attributes().into_iter().map(|(name, kind)| Field::Attribute { name, kind }).collect();
    prop_oneof![system, proptest::sample::select(all)]
}

fn texts() -> BoxedStrategy<String> {
    prop_oneof![any::<String>(), "[a-z'\"`\\\\ %_]{0,12}"].boxed()
}

fn value(field: &Field) -> BoxedStrategy<Value> {
    if *field == Field::System(SystemField::ExecutionStatus) {
        return (1i64..=8).prop_map(Value::Int).boxed();
    }
    match field.kind() {
        AttributeType::Keyword | AttributeType::KeywordList => texts().prop_map(Value::Keyword).boxed(),
        AttributeType::Text => texts().prop_map(Value::Text).boxed(),
        AttributeType::Int => any::<i64>().prop_map(Value::Int).boxed(),
        AttributeType::Double => prop_oneof![any::<f64>(), (-9i32..9).prop_map(f64::from)]
            .prop_filter("finite", |n| n.is_finite())
            .prop_map(Value::Double)
            .boxed(),
        AttributeType::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        AttributeType::Datetime => any::<i64>().prop_map(|ns| Value::Datetime(Timestamp(ns))).boxed(),
    }
}

/// A condition that fits its field's type.
fn condition() -> impl Strategy<Value = Filter> {
    const ALL: [Comparison; 6] = [
        Comparison::Equal,
        Comparison::NotEqual,
        Comparison::Less,
        Comparison::LessOrEqual,
        Comparison::Greater,
        Comparison::GreaterOrEqual,
    ];
    field().prop_flat_map(|field| {
        let kind = field.kind();
        let ordered = !matches!(kind, AttributeType::Bool | AttributeType::Text | AttributeType::KeywordList);
        let listed = ordered || kind == AttributeType::KeywordList;
        let prefixed = kind == AttributeType::Keyword && field != Field::System(SystemField::ExecutionStatus);
        let (a, b, c, d) = (field.clone(), field.clone(), field.clone(), field.clone());
        let comparisons = if ordered { ALL.len() } else { 2 };
        let plain = prop_oneof![
            (0..comparisons, value(&field)).prop_map(move |(at, value)| Filter::Compare(a.clone(), ALL[at], value)),
            any::<bool>().prop_map(move |negated| Filter::IsNull { field: b.clone(), negated }),
        ];
        let list =
            (vec(value(&field), 1..4), any::<bool>()).prop_map(move |(values, negated)| Filter::In { field: c.clone(), values, negated });
        let range = (value(&field), value(&field), any::<bool>()).prop_map(move |(low, high, negated)| Filter::Between {
            field: d.clone(),
            low,
            high,
            negated,
        });
        let prefix =
            (texts(), any::<bool>()).prop_map(move |(prefix, negated)| Filter::StartsWith { field: field.clone(), prefix, negated });
        let (list, range, prefix) = (list.boxed(), range.boxed(), prefix.boxed());
        let mut all = vec![plain.boxed()];
        all.extend(listed.then_some(list));
        all.extend(ordered.then_some(range));
        all.extend(prefixed.then_some(prefix));
        proptest::strategy::Union::new(all)
    })
}

fn filter() -> impl Strategy<Value = Filter> {
    condition().prop_recursive(6, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(Filter::And),
            vec(inner.clone(), 2..4).prop_map(Filter::Or),
            inner.prop_map(|filter| Filter::Not(Box::new(filter))),
        ]
    })
}

/// Pieces that meet in queries, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let pieces = [
        "(",
        ")",
        ",",
        "AND",
        "or",
        "NOT",
        "in",
        "BETWEEN",
        "IS",
        "NULL",
        "STARTS_WITH",
        "GROUP",
        "BY",
        "ORDER",
        "LIMIT",
        "SELECT",
        "=",
        "!=",
        "<",
        ">=",
        "-",
        "+",
        "*",
        "'a'",
        "\"b\"",
        "'",
        "`",
        "``",
        "\\",
        "1",
        "-2.5",
        "1e9",
        "true",
        "RunId",
        "ExecutionStatus",
        "CustomInt",
        "CustomText",
        "`my-Keyword`",
        "StartTime",
        "'2026-01-01T00:00:00Z'",
        "ExecutionDuration",
        "'1h'",
        "lower(",
        "é",
        "\u{0}",
        ".",
        "a.b",
    ];
    vec(proptest::sample::select(pieces.to_vec()), 0..24).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #[test]
    fn a_printed_query_parses_to_itself(filter in proptest::option::of(filter()), group in any::<bool>()) {
        let group_by = group.then_some(Field::System(SystemField::ExecutionStatus));
        let query = Query { filter, group_by };
        let printed = query.to_string();
        prop_assert_eq!(parse(&printed, &attributes(), ANY), Ok(query), "{}", printed);
    }

    #[test]
    fn every_text_gives_a_query_or_a_refusal(text in any::<String>()) {
        check(&text)?;
    }

    #[test]
    fn so_do_texts_of_the_languages_own_pieces(text in pieces()) {
        check(&text)?;
    }

    #[test]
    fn so_do_queries_with_a_piece_cut_out(filter in filter(), from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>()) {
        let chars: Vec<char> = filter.to_string().chars().collect();
        let (from, to) = (from.index(chars.len() + 1), to.index(chars.len() + 1));
        check(&chars[..from.min(to)].iter().chain(&chars[from.max(to)..]).collect::<String>())?;
    }
}

/// What is accepted, prints and parses again; what is refused says so in one of the three ways.
fn check(text: &str) -> Result<(), TestCaseError> {
    match parse(text, &attributes(), ANY) {
        Ok(query) => {
            let printed = query.to_string();
            prop_assert_eq!(parse(&printed, &attributes(), ANY), Ok(query), "{} from {}", printed, text);
        }
        Err(error) => {
            let error = error.to_string();
            let families = ["malformed SQL query: ", "operation is not supported: ", "invalid expression: "];
            let detail = error.strip_prefix("invalid query: ");
            prop_assert!(detail.is_some_and(|detail| families.iter().any(|family| detail.starts_with(family))), "{}", error);
        }
    }
    Ok(())
}
