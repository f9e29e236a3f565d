//! The queries of the dashboard and of the alert rules that are shipped, held against the metrics: every series that they name
//! is told, with the labels that they name. What PromQL makes of the numbers is looked at where Prometheus is installed
//! ([`crate::promql`]).

use serde_json::Value;

const DASHBOARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/grafana/sempre.json");
pub(crate) const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/prometheus/sempre.rules.yml");
/// What is no name of a series or label.
const WORDS: &[&str] =
    &["sum", "max", "by", "on", "and", "rate", "increase", "absent", "histogram_quantile", "label_values", "without", "min", "avg"];
/// Labels that exist only when something went wrong in a way that the load does not make.
const NOT_IN_LOAD: &[&str] = &["workflow-task-failing"];

/// Those of the dashboard, panels first.
pub(crate) fn dashboard_queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(DASHBOARD).expect("a dashboard")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let mut all: Vec<String> = panels
        .flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default())
        .map(|target| target["expr"].as_str().expect("a query").to_owned())
        .collect();
    let variables = dashboard["templating"]["list"].as_array().expect("variables").iter();
    all.extend(variables.filter_map(|variable| variable["query"]["query"].as_str().map(str::to_owned)));
    assert!(all.len() >= 40, "{}", all.len());
    all
}

/// Those of the alert rules.
pub(crate) fn rule_queries() -> Vec<String> {
    let rules = std::fs::read_to_string(RULES).expect("rules");
    let all: Vec<String> = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ").map(str::to_owned)).collect();
    assert!(all.len() >= 10, "{}", all.len());
    all
}

/// Names of series with the text of their selectors, and labels that are grouped by.
fn named(query: &str) -> (Vec<(String, String)>, Vec<String>) {
    let (mut series, mut labels) = (Vec::new(), Vec::new());
    let mut rest = query;
    // Within the brackets of `by` and `on`, names are of labels.
    let mut of_labels = false;
    let mut expects_labels = false;
    while let Some(begin) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '[' || c == '(' || c == ')' || c == '{') {
        rest = &rest[begin..];
        match rest.as_bytes()[0] {
            b'[' => rest = &rest[rest.find(']').expect("it is closed") + 1..],
            b'{' => rest = &rest[rest.find('}').expect("it is closed") + 1..],
            b'(' => {
                of_labels = std::mem::take(&mut expects_labels);
                rest = &rest[1..];
            }
            b')' => {
                of_labels = false;
                rest = &rest[1..];
            }
            _ => {
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
                let (name, after) = rest.split_at(end);
                rest = after;
                expects_labels = matches!(name, "by" | "on");
                if of_labels {
                    labels.push(name.to_owned());
                } else if !WORDS.contains(&name) {
                    let selector = rest.strip_prefix('{').and_then(|inner| inner.split_once('}')).map_or("", |(inner, _)| inner);
                    series.push((name.to_owned(), selector.to_owned()));
                }
            }
        }
    }
    (series, labels)
}

/// Panics unless each query finds series in `told`, what `/metrics` has told.
pub(crate) fn all_have_series(told: &str) {
    let mut wrong = Vec::new();
    for query in dashboard_queries().into_iter().chain(rule_queries()) {
        let (series, labels) = named(&query);
        let label_values = query.strip_prefix("label_values(");
        let series: Vec<_> = if label_values.is_some() { series.into_iter().take(1).collect() } else { series };
        assert!(!series.is_empty(), "{query} names no series");
        for (name, selector) in &series {
            let lines: Vec<&str> =
                told.lines().filter(|line| line.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with(['{', ' ']))).collect();
            if lines.is_empty() {
                wrong.push(format!("{query}: {name} is not told"));
                continue;
            }
            let wanted = labels.iter().map(String::as_str).chain(selector.split(',').filter_map(|one| one.split(['=', '!']).next()));
            for label in wanted.filter(|label| !label.is_empty()) {
                if !lines.iter().all(|line| line.contains(&format!("{label}=\""))) {
                    wrong.push(format!("{query}: {name} has no label {label}"));
                }
            }
            // An exact or a listed value has to occur, unless it is one that only trouble makes.
            for value in selector.split(',').filter_map(|one| one.split_once("=\"").map(|(_, value)| value.trim_end_matches('"'))) {
                let is_there = NOT_IN_LOAD.contains(&value) || lines.iter().any(|line| line.contains(&format!("=\"{value}\"")));
                if !is_there {
                    wrong.push(format!("{query}: {name} has no value {value}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_and_labels_are_found_in_a_query() {
    let (series, labels) = named("histogram_quantile(0.9, sum by (le, a) (rate(x_bucket{b=\"c\"}[5m]))) / on (d) y{e=~\"$f\"} > 0.5");
    assert_eq!(series, [("x_bucket".to_owned(), "b=\"c\"".to_owned()), ("y".to_owned(), "e=~\"$f\"".to_owned())]);
    assert_eq!(labels, ["le", "a", "d"]);
}
