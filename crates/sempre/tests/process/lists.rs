//! Lists of a server on a folder, across SIGKILL, a rebuild and a damaged index.
#![cfg(unix)]

use std::{fs, path::Path};

use crate::support::{Running, Scratch, output};

const RUNS: usize = 12;
/// A look takes some tens of milliseconds.
const LOOKS_MAX: usize = 1000;

fn ask(server: &Running, args: &[&str]) -> String {
    let output = output(args.iter().copied().chain(["--address", &server.address]));
    let told = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0), "{args:?}: {told}{}", String::from_utf8_lossy(&output.stderr));
    told
}

fn counted(server: &Running) -> String {
    ask(server, &["workflow", "count", "--query", "WorkflowType = 'Type' AND ExecutionStatus = 'Running'"])
}

fn damage(index: &Path) {
    let mut bytes = fs::read(index).expect("an index");
    bytes[..100].fill(0xEE);
    fs::write(index, bytes).expect("writable");
}

#[test]
fn what_was_acknowledged_is_listed_after_a_kill_a_rebuild_and_damage() {
    let scratch = Scratch::new();
    let folder = scratch.path("data");
    let all = format!("Total: {RUNS}\n");
    let server = Running::on(&folder);
    for id in 0..RUNS {
        ask(&server, &["workflow", "start", "--type", "Type", "--task-queue", "queue", "--workflow-id", &id.to_string()]);
    }
    // At once: most of it is not in the index yet.
    server.signal("KILL");
    drop(server);

    let server = Running::on(&folder);
    assert_eq!(counted(&server), all);
    let told = ask(&server, &["visibility", "rebuild"]);
    assert!(told.ends_with(&format!("{RUNS} runs are in the index, 0 were left out because their rows are damaged\n")), "{told}");
    assert_eq!(counted(&server), all);
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));

    damage(&folder.join("visibility.db"));
    let server = Running::on(&folder);
    assert_eq!(counted(&server), all);
    assert!(folder.join("visibility.db.damaged").is_file(), "it was put aside");
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));

    fs::remove_file(folder.join("visibility.db")).expect("an index");
    assert_eq!(counted(&Running::on(&folder)), all);
}

/// Somebody else holds the index's file for writing, for as long as it takes.
#[test]
fn an_index_that_takes_nothing_is_told_everywhere_and_work_goes_on_when_it_does() {
    let scratch = Scratch::new();
    let folder = scratch.path("data");
    let server = Running::on(&folder);
    let mut started = 0;
    let memo = format!("\"{}\"", "m".repeat(120_000));
    let mut start = |id: &str| {
        // As much as one command line takes: 32 MiB may wait.
        let memos: Vec<String> = (0..12).map(|n| format!("m{n}={memo}")).collect();
        let mut args = vec!["workflow", "start", "--type", "Type", "--task-queue", "queue", "--workflow-id", id];
        args.extend(memos.iter().flat_map(|memo| ["--memo", memo.as_str()]));
        args.extend(["--address", &server.address]);
        let output = output(args);
        started += usize::from(output.status.success());
        String::from_utf8(output.stderr).expect("text")
    };
    let held = rusqlite::Connection::open(folder.join("visibility.db")).expect("an index");
    held.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes for long");
    let mut told = String::new();
    for id in 0..40 {
        told = start(&id.to_string());
        if !told.is_empty() {
            break;
        }
    }
    assert!(told.starts_with("error: the visibility index takes no records since "), "{told}");
    assert!(told.contains("database is locked"), "{told}");
    let status = ask(&server, &["visibility", "status"]);
    assert!(status.contains("held back until the index takes records") && status.contains("database is locked"), "{status}");
    let health = crate::support::failure(["operator", "cluster", "health", "--address", &server.address]);
    assert_eq!(health, "the server is there but does not serve: NOT_SERVING.");
    drop(held);
    while !ask(&server, &["visibility", "status"]).contains("goes on") {}
    ask(&server, &["operator", "cluster", "health"]);
    assert_eq!(start("after"), "");
    assert_eq!(counted(&server), format!("Total: {started}\n"));
}

#[test]
fn a_query_ends_the_runs_it_selects_and_no_others() {
    let server = Running::start(["server", "start-dev", "--port=0", "--headless"]);
    for id in ["one", "two", "other"] {
        ask(&server, &["workflow", "start", "--type", "Type", "--task-queue", "queue", "--workflow-id", id]);
    }
    let refused = output(["workflow", "terminate", "--query", "Nonsense = 1", "--reason", "r", "--yes", "--address", &server.address]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("invalid visibility query"), "{refused:?}");
    let query = "WorkflowId IN ('one', 'two') OR WorkflowId = 'none'";
    ask(&server, &["workflow", "terminate", "--query", query, "--reason", "r", "--yes"]);
    // The job goes on by itself.
    let ended = (0..LOOKS_MAX).any(|_| ask(&server, &["batch", "list"]).contains("Completed"));
    assert!(ended, "the job does not end");
    assert_eq!(counted(&server), "Total: 1\n");
    assert!(ask(&server, &["workflow", "list", "--query", "ExecutionStatus = 'Running'"]).contains("other"));
}
