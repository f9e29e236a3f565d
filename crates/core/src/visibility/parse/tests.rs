use alloc::{
    borrow::ToOwned,
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};

use super::*;
use crate::{
    Timestamp,
    limits::{QUERY_CONDITIONS_MAX, QUERY_DEPTH_MAX, QUERY_VALUES_MAX},
    visibility::{SystemField, parse_datetime},
};

/// One custom attribute of each type, and names that try the rules.
fn attributes() -> BTreeMap<String, AttributeType> {
    let types = AttributeType::ALL.iter().map(|kind| (format!("Custom{}", kind.name()), *kind));
    let odd = [
        ("my-attr", AttributeType::Keyword),
        ("a.b", AttributeType::Int),
        ("TemporalOwn", AttributeType::Keyword),
        ("Order", AttributeType::Keyword),
    ];
    types.chain(odd.map(|(name, kind)| (name.to_owned(), kind))).collect()
}

const ANY: ParseOptions = ParseOptions { groups: false, schedules: false, activities: false, operations: false, division: Division::Any };

fn query(text: &str) -> Query {
    parse(text, &attributes(), ParseOptions { groups: true, ..ANY }).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn filter(text: &str) -> Filter {
    query(text).filter.unwrap()
}

fn refused(text: &str) -> String {
    refused_with(text, ANY)
}

fn refused_with(text: &str, options: ParseOptions) -> String {
    parse(text, &attributes(), options).expect_err(text).to_string()
}

fn attribute(name: &str) -> Field {
    Field::Attribute { name: name.into(), kind: attributes()[name] }
}

fn keyword(text: &str) -> Value {
    Value::Keyword(text.into())
}

#[test]
fn examples_of_the_specification() {
    for (text, means) in [
        ("WorkflowType = 'Order' AND ExecutionStatus IN ('Running','Paused')", None),
        ("StartTime > '2026-01-01T00:00:00Z' AND CloseTime IS NULL", None),
        ("CustomKeyword STARTS_WITH 'eu-'", None),
        ("CustomInt BETWEEN 1 AND 10 OR CustomBool = true", None),
        ("`my-attr` = 'x'", None),
        ("BuildIds IN ('pinned:dep:1.0')", None),
        ("NOT (WorkflowId = 'a')", Some("NOT WorkflowId = 'a'")),
        ("ExecutionDuration > '1h30m'", Some("ExecutionDuration > 5400000000000")),
        ("WorkflowType = 'Order' GROUP BY ExecutionStatus", None),
        ("", None),
        ("TemporalReportedProblems IN ('category=WorkflowTaskFailed')", None),
        ("TemporalScheduledById = 's1'", None),
    ] {
        let printed = query(text).to_string();
        assert_eq!(printed.replace(", ", ","), means.unwrap_or(text));
        assert_eq!(query(&printed), query(text));
    }
}

#[test]
fn precedence_and_letters_of_keywords() {
    let same = |a: &str, b: &str| assert_eq!(filter(a), filter(b));
    let (a, b, c) = ("RunId = 'a'", "RunId = 'b'", "RunId = 'c'");
    same(&format!("{a} or {b} and {c}"), &format!("{a} OR ({b} AND {c})"));
    same(&format!("not {a} And {b}"), &format!("(NOT ({a})) AND {b}"));
    same("RunId nOt In('a')", "RunId NOT IN ('a')");
    same("CustomInt not between 1 and 2 and RunId is Not nUll", "(CustomInt NOT BETWEEN 1 AND 2) AND RunId IS NOT NULL");
    same("RunId starts_with 'x'", "RunId STARTS_WITH \"x\"");
    assert_eq!(filter(&format!("{a} AND {b} AND {c}")), Filter::And([a, b, c].map(filter).into()));
    assert_eq!(filter(&format!("{a} AND ({b} AND {c})")), Filter::And([filter(a), Filter::And([b, c].map(filter).into())].into()));
    assert_eq!(filter(&format!("NOT NOT {a}")), Filter::Not(Filter::Not(filter(a).into()).into()));
}

#[test]
fn every_operator() {
    use Comparison::*;
    for (sign, comparison) in
        [("=", Equal), ("!=", NotEqual), ("<>", NotEqual), ("<", Less), ("<=", LessOrEqual), (">", Greater), (">=", GreaterOrEqual)]
    {
        assert_eq!(filter(&format!("CustomInt{sign}5")), Filter::Compare(attribute("CustomInt"), comparison, Value::Int(5)));
    }
    let field = Field::System(SystemField::WorkflowId);
    for (not, negated) in [("", false), ("NOT ", true)] {
        assert_eq!(
            filter(&format!("WorkflowId {not}IN ('a', 'b')")),
            Filter::In { field: field.clone(), values: [keyword("a"), keyword("b")].into(), negated }
        );
        assert_eq!(
            filter(&format!("WorkflowId {not}BETWEEN 'a' AND 'b'")),
            Filter::Between { field: field.clone(), low: keyword("a"), high: keyword("b"), negated }
        );
        assert_eq!(
            filter(&format!("WorkflowId {not}STARTS_WITH 'a'")),
            Filter::StartsWith { field: field.clone(), prefix: "a".into(), negated }
        );
        assert_eq!(filter(&format!("WorkflowId IS {not}NULL")), Filter::IsNull { field: field.clone(), negated });
    }
}

#[test]
fn values_take_the_type_of_their_field() {
    let value = |text: &str| match filter(text) {
        Filter::Compare(_, _, value) => value,
        other => panic!("{other}"),
    };
    assert_eq!(value("CustomText = 'a b'"), Value::Text("a b".into()));
    assert_eq!(value("CustomKeywordList = 'a'"), keyword("a"));
    assert_eq!(value("CustomKeyword = \"it''s\""), keyword("it''s"));
    assert_eq!(value("CustomKeyword = 'it''s'"), keyword("it's"));
    assert_eq!(value("CustomInt = -9223372036854775808"), Value::Int(i64::MIN));
    assert_eq!(value("CustomInt = '7'"), Value::Int(7));
    assert_eq!(value("CustomInt = 7.0"), Value::Int(7));
    assert_eq!(value("CustomDouble = 7"), Value::Double(7.0));
    assert_eq!(value("CustomDouble = -1.5e3"), Value::Double(-1500.0));
    assert_eq!(value("CustomDouble = '.5'"), Value::Double(0.5));
    assert_eq!(value("CustomDouble = 99999999999999999999"), Value::Double(1e20));
    assert_eq!(value("CustomBool = TRUE"), Value::Bool(true));
    assert_eq!(value("CustomBool != false"), Value::Bool(false));
    assert_eq!(value("CustomDatetime = '2026-01-01T00:00:00.5+01:00'"), Value::Datetime(parse_datetime("2025-12-31T23:00:00.5Z").unwrap()));
    assert_eq!(value("StartTime > 1700000000000000001"), Value::Datetime(Timestamp(1_700_000_000_000_000_001)));
    for status in ["'TimedOut'", "7", "'WORKFLOW_EXECUTION_STATUS_TIMED_OUT'"] {
        assert_eq!(value(&format!("ExecutionStatus = {status}")), Value::Int(7));
    }
    for duration in ["90000000000", "'90000000000'", "'1m30s'", "'00:01:30'"] {
        assert_eq!(value(&format!("ExecutionDuration >= {duration}")), Value::Int(90_000_000_000));
    }
}

#[test]
fn names() {
    let name = |text: &str| match filter(text) {
        Filter::IsNull { field, .. } => field.name().to_owned(),
        other => panic!("{other}"),
    };
    assert_eq!(name("`my-attr` IS NULL"), "my-attr");
    assert_eq!(name("a.b IS NULL"), "a.b");
    assert_eq!(name("`a.b` IS NULL"), "a.b");
    assert_eq!(name("`Order` IS NULL"), "Order");
    assert_eq!(name("ScheduledById IS NULL"), "TemporalScheduledById");
    assert_eq!(name("Own IS NULL"), "TemporalOwn");
    assert_eq!(name("TemporalCustomInt IS NULL"), "CustomInt");
    assert_eq!(name("TemporalWorkflowId IS NULL"), "WorkflowId");
    assert_eq!(
        refused("workflowid IS NULL"),
        "invalid query: invalid expression: column name 'workflowid' is not a valid search attribute"
    );
}

#[test]
fn schedule_ids_in_lists_of_schedules() {
    let schedules = ParseOptions { schedules: true, ..ANY };
    let parsed = parse("ScheduleId = 's'", &(), schedules).unwrap();
    assert_eq!(parsed, query("WorkflowId = 's'"));
    assert_eq!(refused("ScheduleId = 's'"), "invalid query: invalid expression: column name 'ScheduleId' is not a valid search attribute");
    let own = BTreeMap::from([("ScheduleId".to_owned(), AttributeType::Int)]);
    assert!(parse("ScheduleId = 4", &own, schedules).is_ok(), "the namespace's own attribute goes first");
}

#[test]
fn operations_have_names_of_their_own() {
    let operations = ParseOptions { groups: true, operations: true, ..ANY };
    // Whatever a namespace calls so.
    let own = BTreeMap::from([("Endpoint".to_owned(), AttributeType::Int)]);
    let parsed = |text: &str| parse(text, &own, operations).unwrap().to_string();
    let text = "OperationId = 'o' AND Operation = 'p' AND Endpoint = 'e' AND Service = 's' AND RequestId = 'r'";
    let printed = "WorkflowId = 'o' AND WorkflowType = 'p' AND TemporalNexusEndpoint = 'e' AND TemporalNexusService = 's' AND TemporalNexusRequestId = 'r'";
    assert_eq!((parsed(text), parsed(printed)), (printed.to_owned(), printed.to_owned()));
    assert!(parse("OperationId = 'o'", &own, ANY).is_err() && parse("Endpoint = 1", &own, ANY).is_ok(), "elsewhere they are nobody's");
    assert!(parse("TemporalNexusEndpoint = 'e'", &own, ANY).is_err());
}

#[test]
fn the_division_is_added_unless_mentioned() {
    let with = |text: &str, division| parse(text, &(), ParseOptions { groups: true, division, ..ANY }).unwrap().to_string();
    let workflows = |text: &str| with(text, Division::Workflows);
    assert_eq!(workflows(""), "TemporalNamespaceDivision IS NULL");
    assert_eq!(workflows("RunId = 'a'"), "TemporalNamespaceDivision IS NULL AND RunId = 'a'");
    assert_eq!(workflows("RunId = 'a' AND RunId = 'b'"), "TemporalNamespaceDivision IS NULL AND RunId = 'a' AND RunId = 'b'");
    assert_eq!(workflows("RunId = 'a' OR RunId = 'b'"), "TemporalNamespaceDivision IS NULL AND (RunId = 'a' OR RunId = 'b')");
    for mentions in
        ["TemporalNamespaceDivision = 'x'", "NamespaceDivision IS NOT NULL AND RunId = 'a'", "GROUP BY TemporalNamespaceDivision"]
    {
        let parsed = parse(mentions, &(), ParseOptions { groups: true, ..ANY }).unwrap();
        assert_eq!(workflows(mentions), parsed.to_string());
    }
    let only = Division::Only("TemporalScheduler");
    assert_eq!(with("", only), "TemporalNamespaceDivision = 'TemporalScheduler'");
    assert_eq!(
        with("TemporalNamespaceDivision = 'x'", only),
        "TemporalNamespaceDivision = 'TemporalScheduler' AND TemporalNamespaceDivision = 'x'"
    );
}

#[test]
fn groups() {
    for (text, name) in [
        ("GROUP BY ExecutionStatus", "ExecutionStatus"),
        ("RunId = 'a' group by `TemporalNamespaceDivision`", "TemporalNamespaceDivision"),
        ("SempreHealth IS NOT NULL GROUP BY SempreHealth", "SempreHealth"),
    ] {
        assert_eq!(query(text).group_by.unwrap().name(), name);
    }
    let low = BTreeMap::from([("TemporalLowCardinalityKeyword01".to_owned(), AttributeType::Keyword)]);
    assert!(parse("GROUP BY TemporalLowCardinalityKeyword01", &low, ParseOptions { groups: true, ..ANY }).is_ok());
    let counts = |text| refused_with(text, ParseOptions { groups: true, ..ANY });
    let unsupported = "invalid query: operation is not supported: ";
    assert_eq!(refused("GROUP BY ExecutionStatus"), format!("{unsupported}'GROUP BY' clause"));
    assert_eq!(counts("GROUP BY ExecutionStatus, RunId"), format!("{unsupported}'GROUP BY' clause supports only a single field"));
    assert_eq!(counts("GROUP BY RunId"), format!("{unsupported}'GROUP BY' clause is not supported for search attribute RunId"));
    assert_eq!(counts("GROUP BY 'x'"), "invalid query: invalid expression: must be a column name but was literal value");
}

#[test]
fn what_lists_cannot_do() {
    let unsupported = |text: &str| refused(text).strip_prefix("invalid query: operation is not supported: ").map(str::to_owned);
    for (text, detail) in [
        ("RunId = 'a' LIMIT 5", "'LIMIT' clause"),
        ("LIMIT 5, 6", "'LIMIT' clause"),
        ("ORDER BY StartTime DESC, RunId", "'ORDER BY' clause"),
        ("RunId = 'a' order by StartTime", "'ORDER BY' clause"),
        ("lower(RunId)", "function expression"),
        ("RunId = lower('a')", "nested func"),
        ("RunId = group_concat(RunId)", "'group_concat'"),
        ("'abc'", "expression of type literal value"),
        ("(SELECT 1)", "expression of type sub-select"),
        ("RunId IN (SELECT RunId)", "expression of type sub-select"),
        ("RunId = (SELECT 1)", "expression of type sub-select"),
        ("CustomInt = 1 + 1", "expression of type arithmetic expression"),
        ("CustomInt = (1)", "expression of type expression in parentheses"),
        ("CASE WHEN 1 THEN 2 END = 2", "expression of type CASE expression"),
        ("RunId = abc", "column name on the right side of comparison expression (did you forget to quote \"abc\"?)"),
        ("RunId IN ('a', abc)", "column name on the right side of comparison expression (did you forget to quote \"abc\"?)"),
        (
            "CustomInt BETWEEN 1 AND CustomInt",
            "column name on the right side of comparison expression (did you forget to quote \"CustomInt\"?)",
        ),
        ("RunId LIKE 'a%'", "operator 'LIKE' not supported for Keyword type search attribute 'RunId'"),
        ("CustomText NOT LIKE 'a%'", "operator 'NOT LIKE' not supported for Text type search attribute 'CustomText'"),
        ("RunId REGEXP 'a'", "operator 'REGEXP' not supported for Keyword type search attribute 'RunId'"),
        ("RunId <=> 'a'", "operator '<=>' not supported for Keyword type search attribute 'RunId'"),
        ("CustomText > 'a'", "operator '>' not supported for Text type search attribute 'CustomText'"),
        ("CustomText IN ('a')", "operator 'IN' not supported for Text type search attribute 'CustomText'"),
        ("CustomBool < true", "operator '<' not supported for Bool type search attribute 'CustomBool'"),
        ("CustomBool NOT IN (true)", "operator 'NOT IN' not supported for Bool type search attribute 'CustomBool'"),
        ("CustomKeywordList >= 'a'", "operator '>=' not supported for KeywordList type search attribute 'CustomKeywordList'"),
        (
            "CustomKeywordList STARTS_WITH 'a'",
            "operator 'STARTS_WITH' not supported for KeywordList type search attribute 'CustomKeywordList'",
        ),
        ("CustomText NOT STARTS_WITH 'a'", "operator 'NOT STARTS_WITH' not supported for Text type search attribute 'CustomText'"),
        ("CustomInt STARTS_WITH 'a'", "operator 'STARTS_WITH' not supported for Int type search attribute 'CustomInt'"),
        ("ExecutionStatus STARTS_WITH 'R'", "operator 'STARTS_WITH' not supported for Keyword type search attribute 'ExecutionStatus'"),
    ] {
        assert_eq!(unsupported(text).as_deref(), Some(detail), "{text}: {}", refused(text));
    }
}

#[test]
fn what_does_not_fit() {
    let invalid = |text: &str| refused(text).strip_prefix("invalid query: invalid expression: ").map(str::to_owned);
    for (text, detail) in [
        ("RunId", "incomplete expression"),
        ("RunId = 'a' AND RunId", "incomplete expression"),
        ("CustomBool BETWEEN true AND false", "cannot do range condition on search attribute 'CustomBool' of type Bool"),
        ("CustomText NOT BETWEEN 'a' AND 'b'", "cannot do range condition on search attribute 'CustomText' of type Text"),
        ("CustomKeywordList BETWEEN 'a' AND 'b'", "cannot do range condition on search attribute 'CustomKeywordList' of type KeywordList"),
        ("CustomBool IS TRUE", "'IS' operator can only be used as 'IS NULL' or 'IS NOT NULL'"),
        ("CustomBool IS NOT FALSE", "'IS' operator can only be used as 'IS NULL' or 'IS NOT NULL'"),
        ("'a' = 'a'", "must be a column name but was literal value"),
        ("lower(RunId) = 'a'", "must be a column name but was function expression"),
        ("CustomInt + 1 = 2", "must be a column name but was arithmetic expression"),
        ("(RunId = 'a') = 'b'", "must be a column name but was expression in parentheses"),
        ("NoSuch = 1", "column name 'NoSuch' is not a valid search attribute"),
        ("RunId = NULL", "unexpected value type NULL"),
        ("CustomDouble = 1e999", "unable to parse value \"1e999\""),
        ("ExecutionDuration = 'long'", "unable to parse value \"long\""),
        ("RunId = 5", "invalid value type for search attribute RunId of type Keyword: 5 (type: int64)"),
        ("CustomText = 1.5", "invalid value type for search attribute CustomText of type Text: 1.5 (type: float64)"),
        ("CustomInt = 'x'", "invalid value type for search attribute CustomInt of type Int: \"x\" (type: string)"),
        ("CustomInt = 1.5", "invalid value type for search attribute CustomInt of type Int: 1.5 (type: float64)"),
        (
            "CustomInt = 9223372036854775808",
            "invalid value type for search attribute CustomInt of type Int: 9223372036854776000 (type: float64)",
        ),
        ("CustomBool = 'true'", "invalid value type for search attribute CustomBool of type Bool: \"true\" (type: string)"),
        ("CustomDatetime = true", "invalid value type for search attribute CustomDatetime of type Datetime: true (type: bool)"),
        ("CustomDouble = 'nan'", "invalid value type for search attribute CustomDouble of type Double: \"nan\" (type: string)"),
        ("StartTime > 'yesterday'", "unable to parse datetime 'yesterday'"),
        ("ExecutionStatus = 'running'", "invalid ExecutionStatus value 'running'"),
        ("ExecutionStatus IN ('Running', 99)", "invalid ExecutionStatus value 99"),
        ("ExecutionStatus = 0", "invalid ExecutionStatus value 0"),
        ("ExecutionStatus = true", "unexpected value type bool for search attribute ExecutionStatus"),
        ("RunId STARTS_WITH 5", "right-hand side of 'starts_with' must be a literal string"),
        ("RunId STARTS_WITH WorkflowId", "right-hand side of 'starts_with' must be a literal string"),
    ] {
        assert_eq!(invalid(text).as_deref(), Some(detail), "{text}: {}", refused(text));
    }
}

#[test]
fn what_does_not_parse() {
    for text in [
        "=",
        "RunId =",
        "RunId = 'a",
        "RunId = 'a' AND",
        "AND",
        "(RunId = 'a'",
        "RunId = 'a')",
        "RunId IN ()",
        "RunId IN 'a'",
        "RunId = 'a' 'b'",
        "RunId BETWEEN 'a'",
        "RunId NOT 'a'",
        "RunId NOT = 'a'",
        "RunId IS 5",
        "RunId == 'a'",
        "GROUP ExecutionStatus",
        "CustomInt = 12ab",
        "RunId = 'a';",
        "SELECT * FROM t",
        "RunId = 'a' HAVING 1",
        "#",
        "()",
        "RunId = ",
        "NOT",
        "RunId = 'a' xor RunId = 'b'",
        "f(",
        "RunId IS NOT",
    ] {
        let error = refused(text);
        assert!(error.starts_with("invalid query: malformed SQL query: syntax error at position "), "{text}: {error}");
    }
    assert_eq!(refused("RunId = 'a' xor 1"), "invalid query: malformed SQL query: syntax error at position 12 near 'xor 1'");
    assert_eq!(refused("RunId ="), "invalid query: malformed SQL query: syntax error at position 7: the query ends too early");
}

#[test]
fn bounds() {
    let repeated = |n, text: &str, between: &str| (0..n).map(|_| text).collect::<Vec<_>>().join(between);
    let too_much = |detail: String| format!("invalid query: operation is not supported: {detail}");

    let conditions = |n| repeated(n, "CustomInt=1", " OR ");
    assert!(parse(&conditions(QUERY_CONDITIONS_MAX), &attributes(), ANY).is_ok());
    assert_eq!(refused(&conditions(QUERY_CONDITIONS_MAX + 1)), too_much(format!("more than {QUERY_CONDITIONS_MAX} conditions")));

    let values = |n| format!("CustomInt IN ({})", repeated(n, "1", ","));
    assert!(parse(&values(QUERY_VALUES_MAX), &attributes(), ANY).is_ok());
    assert_eq!(refused(&values(QUERY_VALUES_MAX + 1)), too_much(format!("more than {QUERY_VALUES_MAX} values")));

    let nested = |n: usize| format!("{}CustomInt=1{}", "(".repeat(n), ")".repeat(n));
    assert!(parse(&nested(QUERY_DEPTH_MAX), &attributes(), ANY).is_ok());
    let deep = too_much(format!("conditions nested deeper than {QUERY_DEPTH_MAX}"));
    assert_eq!(refused(&nested(QUERY_DEPTH_MAX + 1)), deep);
    assert_eq!(refused(&"(".repeat(QUERY_BYTES_MAX)), deep);
    assert_eq!(refused(&repeated(QUERY_BYTES_MAX / 4, "NOT", " ")), deep);
    // Not nested for the parser, whatever stands in it.
    assert!(refused(&format!("RunId = f{}", "(".repeat(100_000))).contains("malformed"));

    let long = format!("RunId = '{}'", "x".repeat(QUERY_BYTES_MAX));
    assert_eq!(refused(&long), too_much(format!("query of {} bytes exceeds limit {QUERY_BYTES_MAX}", long.len())));
}

#[test]
fn a_refusal_is_an_invalid_argument() {
    let error = parse("RunId", &(), ANY).unwrap_err();
    assert_eq!(Refusal::from(error), Refusal::invalid("invalid query: invalid expression: incomplete expression"));
}
