use sempre_api::{
    History,
    v1::{enums::HistoryEventFilterType, history::HistoryEvent, workflowservice::*},
};
use sempre_core::{NamespaceId, Refusal, Span, WorkflowKey, ids::Uuid};
use sempre_engine::HistoryReader;

use crate::support::*;

fn events(history: Option<History>) -> Vec<HistoryEvent> {
    history.unwrap().events().unwrap()
}

async fn read(w: &World, request: GetWorkflowExecutionHistoryRequest) -> GetWorkflowExecutionHistoryResponse {
    soon(w.engine.get_history(request, HistoryReader::default(), None)).await.unwrap()
}

fn read_beside(w: &World, request: GetWorkflowExecutionHistoryRequest) -> tokio::task::JoinHandle<GetWorkflowExecutionHistoryResponse> {
    let engine = w.engine.clone();
    tokio::spawn(async move { engine.get_history(request, HistoryReader::default(), None).await.unwrap() })
}

#[tokio::test]
async fn pages_follow_each_other_and_a_task_token_is_good_for_them_too() {
    let mut w = world().await;
    w.start("a").await;
    for n in 0..600 {
        w.signal("a", &format!("s{n}")).await.unwrap();
    }
    w.reopen().await;
    let task = w.poll().await;
    let mut all = events(task.history);
    assert_eq!(all.len(), 256);
    let mut token = task.next_page_token;
    // Rows are found by slot and run id: another workflow of the same slot must not lead to them.
    let described = DescribeNamespaceRequest { namespace: NAMESPACE.into(), ..Default::default() };
    let namespace = soon(w.engine.describe_namespace(described)).await.unwrap().namespace_info.unwrap().id;
    let namespace = NamespaceId(Uuid::parse(&namespace).unwrap());
    let key = |workflow_id: String| WorkflowKey { namespace, workflow_id };
    let neighbour = (0..).map(|n| key(format!("b{n}"))).find(|b| b.slot() == key("a".into()).slot()).unwrap().workflow_id;
    w.start(&neighbour).await;
    let foreign = GetWorkflowExecutionHistoryRequest { next_page_token: token.clone(), ..history_request(&neighbour) };
    let refused = soon(w.engine.get_history(foreign, HistoryReader::default(), None)).await.unwrap_err();
    let run = w.describe("a").await.unwrap().workflow_execution_info.unwrap().execution.unwrap().run_id;
    let text = format!("workflow execution not found for workflow ID \"{neighbour}\" and run ID \"{run}\"");
    assert_eq!(refused, Refusal::not_found(text));
    while !token.is_empty() {
        let page = read(&w, GetWorkflowExecutionHistoryRequest { next_page_token: token, ..history_request("a") }).await;
        all.extend(events(page.history));
        token = page.next_page_token;
    }
    assert_eq!(all.len(), 603);
    assert_eq!(names(&all).last(), Some(&"WORKFLOW_TASK_STARTED"));

    let mut again = Vec::new();
    let mut token = Default::default();
    loop {
        let request = GetWorkflowExecutionHistoryRequest { next_page_token: token, maximum_page_size: 100, ..history_request("a") };
        let page = read(&w, request).await;
        again.extend(events(page.history));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(all, again);

    let mut reverse = Vec::new();
    let mut token = Default::default();
    loop {
        let request = GetWorkflowExecutionHistoryReverseRequest {
            namespace: NAMESPACE.into(),
            execution: Some(execution("a", "")),
            maximum_page_size: 250,
            next_page_token: token,
        };
        let page = soon(w.engine.get_history_reverse(request)).await.unwrap();
        reverse.extend(events(page.history));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    reverse.reverse();
    assert_eq!(all, reverse);
}

#[tokio::test]
async fn a_long_poll_gives_new_events_once_and_ends_with_the_run() {
    let w = world().await;
    w.start("a").await;
    let wait = GetWorkflowExecutionHistoryRequest { wait_new_event: true, ..history_request("a") };
    let first = read(&w, wait.clone()).await;
    assert_eq!(events(first.history).len(), 2);
    let next = read_beside(&w, GetWorkflowExecutionHistoryRequest { next_page_token: first.next_page_token.clone(), ..wait.clone() });
    w.advance(Span::seconds(19)).await;
    assert!(!next.is_finished());
    w.advance(Span::seconds(1)).await;
    let empty = soon(next).await.unwrap();
    assert!(empty.history.unwrap().is_empty());
    assert!(!empty.next_page_token.is_empty());
    let next = read_beside(&w, GetWorkflowExecutionHistoryRequest { next_page_token: empty.next_page_token, ..wait.clone() });
    w.settle().await;
    let task = w.poll().await;
    let news = soon(next).await.unwrap();
    assert_eq!(names(&events(news.history)), ["WORKFLOW_TASK_STARTED"]);
    let next = read_beside(&w, GetWorkflowExecutionHistoryRequest { next_page_token: news.next_page_token, ..wait });
    w.settle().await;
    w.complete(&task.task_token, done()).await;
    let last = soon(next).await.unwrap();
    assert_eq!(names(&events(last.history)), ["WORKFLOW_TASK_COMPLETED", "WORKFLOW_EXECUTION_COMPLETED"]);
    assert!(last.next_page_token.is_empty());
}

#[tokio::test]
async fn the_close_event_can_be_waited_for() {
    let w = world().await;
    w.start("a").await;
    let close =
        GetWorkflowExecutionHistoryRequest { history_event_filter_type: HistoryEventFilterType::CloseEvent as i32, ..history_request("a") };
    let now = read(&w, close.clone()).await;
    assert!(now.history.unwrap().is_empty() && now.next_page_token.is_empty());
    let wait = GetWorkflowExecutionHistoryRequest { wait_new_event: true, ..close.clone() };
    let waiting = read_beside(&w, wait.clone());
    w.settle().await;
    let task = w.poll().await;
    w.settle().await;
    assert!(!waiting.is_finished(), "other events do not end it");
    w.complete(&task.task_token, done()).await;
    let closed = soon(waiting).await.unwrap();
    assert_eq!(names(&events(closed.history)), ["WORKFLOW_EXECUTION_COMPLETED"]);
    assert!(closed.next_page_token.is_empty());
}

#[tokio::test]
async fn a_cron_run_is_shown_as_continued_to_those_who_wait_for_its_close() {
    let w = world().await;
    let run = w.try_start(StartWorkflowExecutionRequest { cron_schedule: "@every 30s".into(), ..start_request("a") }).await.unwrap().run_id;
    let poll = w.poll_beside();
    w.advance(Span::seconds(31)).await;
    let task = soon(poll).await.unwrap();
    w.complete(&task.task_token, done()).await;
    let close = GetWorkflowExecutionHistoryRequest {
        execution: Some(execution("a", &run)),
        history_event_filter_type: HistoryEventFilterType::CloseEvent as i32,
        ..history_request("a")
    };
    assert_eq!(names(&events(read(&w, close.clone()).await.history)), ["WORKFLOW_EXECUTION_CONTINUED_AS_NEW"]);
    let reader = HistoryReader { follows_next_run_id: true, ..Default::default() };
    let shown = soon(w.engine.get_history(close, reader, None)).await.unwrap();
    assert_eq!(names(&events(shown.history)), ["WORKFLOW_EXECUTION_COMPLETED"]);
}

#[tokio::test]
async fn a_transient_task_is_shown_to_workers_only() {
    let w = world().await;
    w.start("a").await;
    w.poll().await;
    w.advance(Span::seconds(10)).await;
    w.poll().await;
    let seen = w.names("a").await;
    assert_eq!(seen[3..], ["WORKFLOW_TASK_TIMED_OUT", "WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_STARTED"]);
    let reader = HistoryReader { stored_events_only: true, ..Default::default() };
    let stored = soon(w.engine.get_history(history_request("a"), reader, None)).await.unwrap();
    assert_eq!(events(stored.history).len(), 4);
}

#[tokio::test]
async fn bad_tokens_and_unknown_runs() {
    let w = world().await;
    w.start("a").await;
    w.start("b").await;
    let refused = async |request| soon(w.engine.get_history(request, HistoryReader::default(), None)).await.unwrap_err();
    let junk = GetWorkflowExecutionHistoryRequest { next_page_token: "junk".into(), ..history_request("a") };
    assert_eq!(refused(junk).await, Refusal::invalid("Invalid NextPageToken."));
    let wait = GetWorkflowExecutionHistoryRequest { wait_new_event: true, ..history_request("a") };
    let token = read(&w, wait).await.next_page_token;
    let other = GetWorkflowExecutionHistoryRequest {
        execution: Some(execution("a", "00000000-0000-7000-8000-000000000000")),
        next_page_token: token,
        ..history_request("a")
    };
    assert_eq!(refused(other).await, Refusal::invalid("RunId in the request does not match the NextPageToken."));
    let unknown = GetWorkflowExecutionHistoryRequest {
        execution: Some(execution("a", "00000000-0000-7000-8000-000000000000")),
        ..history_request("a")
    };
    let text = "workflow execution not found for workflow ID \"a\" and run ID \"00000000-0000-7000-8000-000000000000\"";
    assert_eq!(refused(unknown).await, Refusal::not_found(text));
    assert_eq!(refused(history_request("c")).await, Refusal::not_found("workflow not found for ID: c"));
}
