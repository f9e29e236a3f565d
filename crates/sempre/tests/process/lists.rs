//! Lists of a server on a folder, across SIGKILL, a rebuild and a damaged index.
#![cfg(unix)]

use std::{fs, path::Path};

use crate::support::{Running, Scratch, output};

const RUNS: usize = 12;

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
    // The job goes on by itself; a test that hangs here is a job that does not end.
    while !ask(&server, &["batch", "list"]).contains("Completed") {}
    assert_eq!(counted(&server), "Total: 1\n");
    assert!(ask(&server, &["workflow", "list", "--query", "ExecutionStatus = 'Running'"]).contains("other"));
}
