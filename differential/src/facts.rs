//! Messages as facts: one line of what a user can rely on, without ids, times, tokens and hosts.

use std::fmt::{Debug, Write};

use crate::tree::{Node, parse};

/// Fields that are different at each run by their nature.
const DROPPED: &[&str] = &[
    // Opaque, or the server's own numbers.
    "task_token",
    "next_page_token",
    "conflict_token",
    "task_id",
    "version",
    "history_size_bytes",
    "state_transition_count",
    "transaction_size",
    "backlog_count_hint",
    "poller_scaling_decision",
    "pollers",
    "server_version",
    "execution_duration",
    "current_retry_interval",
    // Times.
    "event_time",
];

/// The facts of a message: `name=value` of every field that is set, in the order of the fields.
pub(crate) fn of(message: &impl Debug) -> String {
    let mut out = Vec::new();
    match parse(&format!("{message:?}")) {
        Node::Struct(_, fields) => fields.iter().for_each(|(name, value)| facts(name, value, &mut out)),
        other => facts("", &other, &mut out),
    }
    out.join(" ")
}

fn facts(path: &str, node: &Node, out: &mut Vec<String>) {
    let field = path.rsplit('.').next().unwrap_or(path);
    if DROPPED.contains(&field) {
        return;
    }
    match node {
        Node::Word(word) if matches!(word.as_str(), "None" | "0" | "0.0" | "false" | "Unspecified") => {}
        Node::Text(text) if text.is_empty() => {}
        Node::List(items) if items.is_empty() => {}
        Node::Map(entries) if entries.is_empty() => {}
        Node::Word(word) => out.push(format!("{path}={word}")),
        Node::Text(text) => out.push(format!("{path}={}", quoted(text))),
        Node::Tuple(_, items) if items.len() == 1 => facts(path, &items[0], out),
        Node::Tuple(_, items) | Node::List(items) => {
            for (at, item) in items.iter().enumerate() {
                let before = out.len();
                facts(&format!("{path}[{at}]"), item, out);
                if out.len() == before {
                    out.push(format!("{path}[{at}]={{}}"));
                }
            }
        }
        Node::Map(entries) => {
            for (key, value) in entries {
                let key = match key {
                    Node::Text(text) | Node::Word(text) => text.clone(),
                    other => format!("{other:?}"),
                };
                facts(&format!("{path}[{key}]"), value, out);
            }
        }
        Node::Struct(name, fields) => match name.as_str() {
            "Timestamp" => out.push(format!("{path}=<time>")),
            // No duration and one of zero mean the same everywhere in the API.
            "Duration" => match span(path, fields).as_str() {
                "0s" => {}
                span => out.push(format!("{path}={span}")),
            },
            "Payload" => payload(path, fields, out),
            _ => {
                for (name, value) in fields {
                    let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    facts(&inner, value, out);
                }
            }
        },
    }
}

/// JSON payloads by their text alone.
fn payload(path: &str, fields: &[(String, Node)], out: &mut Vec<String>) {
    let field = |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, value)| value);
    let data = match field("data") {
        Some(Node::Text(text)) => text.as_str(),
        _ => "",
    };
    let mut line = format!("{path}={}", quoted(data));
    if let Some(Node::Map(entries)) = field("metadata") {
        for (key, value) in entries {
            if let (Node::Text(key), Node::Text(value)) = (key, value)
                && !(key == "encoding" && value == "json/plain")
            {
                // Writing to a string cannot fail.
                let _ = write!(line, "<{key}:{value}>");
            }
        }
    }
    out.push(line);
}

fn quoted(text: &str) -> String {
    format!("'{text}'")
}

/// Whole seconds as they are. Back-offs of cron hang on the moment of the start, so they are rounded up.
fn span(path: &str, fields: &[(String, Node)]) -> String {
    let number = |name: &str| match fields.iter().find(|(n, _)| n == name) {
        Some((_, Node::Word(word))) => word.parse::<i64>().unwrap_or(0),
        _ => 0,
    };
    let (seconds, nanos) = (number("seconds"), number("nanos"));
    if nanos == 0 {
        format!("{seconds}s")
    } else if path.ends_with("first_workflow_task_backoff") || path.ends_with("backoff_start_interval") {
        format!("~{}s", seconds + 1)
    } else {
        format!("{}s", seconds as f64 + nanos as f64 / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use sempre_api::v1::{
        common::{Payload, Payloads, WorkflowType},
        enums::WorkflowIdReusePolicy,
        workflowservice::StartWorkflowExecutionRequest,
    };

    use super::*;

    #[test]
    fn set_fields_are_told_and_the_rest_is_not() {
        let request = StartWorkflowExecutionRequest {
            workflow_type: Some(WorkflowType { name: "a \"b\" {c".into() }),
            workflow_id_reuse_policy: WorkflowIdReusePolicy::AllowDuplicate as i32,
            workflow_run_timeout: Some(sempre_api::Duration { seconds: 2, nanos: 0 }),
            input: Some(Payloads {
                payloads: vec![Payload {
                    metadata: [("encoding".into(), "json/plain".into())].into(),
                    data: "1".into(),
                    ..Default::default()
                }],
            }),
            ..Default::default()
        };
        let expected =
            "workflow_type.name='a \"b\" {c' input.payloads[0]='1' workflow_run_timeout=2s workflow_id_reuse_policy=AllowDuplicate";
        assert_eq!(of(&request), expected);
    }
}
