//! Commands of ours: `call`, `workflow why`, `workflow fork`, `completion`, `man`.

use super::{Server, complete, poll};
use crate::support::{Scratch, output};

#[tokio::test]
async fn call_finds_the_queue_and_prints_the_result() {
    let server = Server::start();
    let (_, told) = server.failure(&["call", "Greet", "\"you\""]);
    assert!(told.starts_with("no worker is known in namespace default;"), "{told}");
    // A worker that has polled, and says no more of itself.
    let mut client = server.client().await;
    server.text(&["workflow", "start", "--type", "T", "-t", "queue", "-w", "w"]);
    let task = poll(&mut client, "queue").await;
    complete(&mut client, task, "1").await;
    let child = server.command(&["call", "Greet", "\"you\"", "-w", "hello"]).spawn().expect("the binary runs");
    let task = poll(&mut client, "queue").await;
    complete(&mut client, task, "\"hello, you\"").await;
    let shown = child.wait_with_output().expect("it ends");
    let text = String::from_utf8(shown.stdout).expect("text");
    assert_eq!(text, "hello on task queue queue\n  Greet started\n  completed\nhello, you\n");
}

#[tokio::test]
async fn why_tells_what_a_run_waits_for() {
    let server = Server::start();
    server.text(&["workflow", "start", "--type", "T", "-t", "queue", "-w", "w"]);
    let why = || server.text(&["workflow", "why", "-w", "w", "--time-format", "iso"]);
    let told = why();
    assert!(told.starts_with("Its workflow task, scheduled 2") && told.ends_with("nobody polls task queue queue.\n"), "{told}");
    let mut client = server.client().await;
    let task = poll(&mut client, "queue").await;
    assert!(why().starts_with("A worker took its workflow task 2"), "{}", why());
    complete(&mut client, task, "1").await;
    assert!(why().starts_with("It waits for nothing: it closed 2") && why().ends_with(" as Completed.\n"), "{}", why());
    assert!(server.json(&["workflow", "why", "-w", "w"])["why"].is_string());
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test waits for a job of the server")]
async fn a_fork_goes_on_from_an_event() {
    let server = Server::start();
    server.text(&["workflow", "start", "--type", "T", "-t", "queue", "-w", "w"]);
    let mut client = server.client().await;
    let task = poll(&mut client, "queue").await;
    complete(&mut client, task, "1").await;
    let forked = server.json(&["workflow", "fork", "-w", "w", "-e", "4", "--reason", "test"]);
    assert!(forked["keptEventId"].as_i64().is_some_and(|kept| kept <= 4), "{forked}");
    let described = server.json(&["workflow", "describe", "-w", "w"]);
    assert_eq!(described["workflowExecutionInfo"]["execution"]["runId"], forked["runId"]);
    // Many, by a query, with another input.
    let many = ["workflow", "fork", "--query", "WorkflowId = 'w' AND ExecutionStatus = 'Completed'", "-i", "7", "--yes"];
    let text = server.text(&[&many[..], &["--dry-run"]].concat());
    assert!(text.starts_with("It would act on 1 workflow(s)\n"), "{text}");
    assert!(text.lines().any(|line| line.split_whitespace().next() == Some("w")), "{text}");
    let none = ["workflow", "terminate", "--query", "WorkflowType = 'None'", "--dry-run"];
    assert_eq!(server.text(&none), "It would act on 0 workflow(s)\n");
    assert!(server.text(&["batch", "list"]).lines().count() <= 1, "nothing was started");
    let job = server.json(&many)["batchJobId"].as_str().expect("a job").to_owned();
    let done = || server.json(&["batch", "describe", "--job-id", &job])["state"] == "BATCH_OPERATION_STATE_COMPLETED";
    for _ in 0..100 {
        if done() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(done());
    let again = server.json(&["workflow", "describe", "-w", "w"]);
    assert_ne!(again["workflowExecutionInfo"]["execution"]["runId"], forked["runId"], "a run of its own");
    let events = server.json(&["workflow", "show", "-w", "w"]);
    let input = &events["events"][0]["workflowExecutionStartedEventAttributes"]["input"]["payloads"][0];
    assert_eq!(input["data"], "Nw==", "{events}");
}

#[test]
fn what_a_schedule_left_out_is_listed() {
    let server = Server::start();
    let make = ["schedule", "create", "-s", "s", "--interval", "1000d", "-w", "w", "--type", "T", "-t", "queue"];
    server.text(&make);
    server.text(&["schedule", "trigger", "-s", "s"]);
    assert!(!server.text(&["schedule", "skipped", "-s", "s"]).contains("Overlap"));
    // Its run is open.
    server.text(&["schedule", "trigger", "-s", "s"]);
    let text = server.text(&["schedule", "skipped", "-s", "s"]);
    assert!(text.lines().any(|line| line.split_whitespace().take(2).eq(["Overlap", "1"])), "{text}");
    let shown = server.json(&["schedule", "skipped", "-s", "s"]);
    assert_eq!((&shown["skipped"][0]["reason"], &shown["skipped"][0]["count"]), (&"Overlap".into(), &1.into()));
    assert_eq!(server.json(&["schedule", "describe", "-s", "s"])["info"]["overlapSkipped"], "1");
}

#[test]
fn completion_and_manual_pages() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let shown = output(["completion", shell]);
        assert!(shown.status.success() && String::from_utf8_lossy(&shown.stdout).contains("start-dev"), "{shell}");
    }
    let scratch = Scratch::new();
    let folder = scratch.path("man1");
    assert!(output(["man", folder.to_str().expect("text")]).status.success());
    assert!(folder.join("sempre-workflow-start.1").is_file() && folder.join("sempre.1").is_file());
}
