//! How commands end and what they leave on the pipes.

use std::process::Stdio;

use super::Server;

#[test]
fn formats() {
    let server = Server::start();
    let line = ["workflow", "start", "--type", "T", "-t", "q", "-w"];
    assert!(server.text(&[&line[..], &["a"]].concat()).starts_with("Running execution:\n  WorkflowId  a\n"));
    assert!(server.text(&[&line[..], &["a", "-o", "table"]].concat()).starts_with("Running execution:\n"));
    assert_eq!(server.text(&[&line[..], &["a", "-o", "jsonl"]].concat()).lines().count(), 1);
    assert_eq!(server.text(&[&line[..], &["a", "-o", "none"]].concat()), "");
    // Flags that every command has may stand before it, too.
    assert_eq!(server.text(&[&["-o", "none"], &line[..], &["a"]].concat()), "");
    assert!(server.text(&[&line[..], &["a", "--color", "always"]].concat()).starts_with("\x1b[35mRunning execution:\x1b[0m\n"));
    server.text(&[&line[..], &["b", "--memo", "k=1"]].concat());
    let full = server.json(&["workflow", "describe", "-w", "b", "--no-json-shorthand-payloads"]);
    assert_eq!(full["workflowExecutionInfo"]["memo"]["fields"]["k"]["data"], "MQ==");
}

#[test]
fn flags_that_do_not_fit_end_with_two() {
    let server = Server::start();
    for line in [
        &["workflow", "describe"][..],
        &["workflow", "start", "--type", "T", "-t", "q", "-i", "{"],
        &["workflow", "start", "--type", "T", "-t", "q", "--run-timeout", "soon"],
        &["workflow", "cancel"],
        &["workflow", "cancel", "-w", "a", "-q", "b"],
        &["workflow", "list", "-o", "xml"],
        &["workflow", "show", "-w", "a", "--follow", "--reverse"],
    ] {
        assert_eq!(server.failure(line).0, Some(2), "{line:?}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let server = Server::start();
    server.text(&["workflow", "start", "--type", "T", "-t", "q", "-w", "a"]);
    let mut child = server.command(&["workflow", "show", "-w", "a", "--follow"]).stderr(Stdio::piped()).spawn().expect("it runs");
    drop(child.stdout.take());
    // More to print, and nobody to read it.
    server.text(&["workflow", "signal", "-w", "a", "--name", "s"]);
    server.text(&["workflow", "terminate", "-w", "a"]);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_it_with_a_word() {
    use std::io::{BufRead, BufReader};
    let server = Server::start();
    server.text(&["workflow", "start", "--type", "T", "-t", "q", "-w", "a"]);
    let mut child = server.command(&["workflow", "show", "-w", "a", "--follow"]).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    assert!(lines.by_ref().any(|line| line.expect("text").contains("WorkflowTaskScheduled")));
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.expect("kill is there").success());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(1), "error: interrupted.\n"));
}

#[test]
fn a_command_may_take_only_so_long() {
    let server = Server::start();
    server.text(&["workflow", "start", "--type", "T", "-t", "q", "-w", "a"]);
    let (code, told) = server.failure(&["workflow", "result", "-w", "a", "--command-timeout", "100ms"]);
    assert_eq!((code, told.as_str()), (Some(1), "the command took longer than --command-timeout allows."));
}

#[test]
fn a_key_is_not_sent_in_plain_text() {
    let server = Server::start();
    let (_, told) = server.failure(&["workflow", "list", "--api-key", "secret"]);
    assert!(
        told.starts_with("no TLS with ") || told.starts_with("no server answers at ") || told.starts_with("there is no certificate"),
        "{told}"
    );
    assert!(!told.contains("secret"));
}
