//! Calls of clients: signals, cancel requests, terminations, history reads, deletion.

use sempre_api::v1::{
    common::WorkflowExecution,
    enums::HistoryEventFilterType,
    workflowservice::{
        DeleteWorkflowExecutionRequest, DescribeWorkflowExecutionRequest, GetWorkflowExecutionHistoryRequest,
        GetWorkflowExecutionHistoryReverseRequest,
    },
};

use super::{commands::*, scenarios};
use crate::scene::{Done, NAMESPACE, Scene, line};

scenarios!("clients":
    signal_idle, signal_before_the_first_task, signal_during_a_task, signals_keep_their_order, signal_twice_same_request, signal_refused, signal_with_header,
    cancel_idle, cancel_during_a_task, cancel_twice, cancel_refused, cancel_then_cancelled, terminate_idle, terminate_during_a_task, terminate_refused, wrong_first_run,
    history_in_pages, history_in_reverse, history_refused, history_of_close_event, delete_refused, describe_open_and_closed, describe_refused,
);

async fn signal_idle(s: Scene) -> Done {
    s.start("a").await?;
    s.work([]).await?;
    s.signal("a", "one").await?;
    s.signal("a", "two").await?;
    s.work([done()]).await?;
    Ok(())
}

async fn signal_before_the_first_task(s: Scene) -> Done {
    s.start("a").await?;
    s.signal("a", "one").await?;
    s.work([done()]).await?;
    Ok(())
}

async fn signal_during_a_task(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    s.signal("a", "one").await?;
    s.complete(&task, [timer("t", 60)]).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn signals_keep_their_order(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    for name in ["one", "two", "three"] {
        s.signal("a", name).await?;
    }
    s.cancel("a").await?;
    s.signal("a", "four").await?;
    s.complete(&task, []).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn signal_twice_same_request(s: Scene) -> Done {
    s.start("a").await?;
    for _ in 0..2 {
        s.signal_with("a", "one", |r| r.request_id = "same".into()).await?;
    }
    s.work([done()]).await?;
    Ok(())
}

async fn signal_refused(s: Scene) -> Done {
    s.signal("none", "x").await.ok();
    s.start("a").await?;
    s.signal("a", "").await.ok();
    s.signal_with("a", "x", |r| r.workflow_execution = None).await.ok();
    s.signal_with("a", "x", |r| r.workflow_execution = Some(WorkflowExecution::default())).await.ok();
    s.signal_with("a", "x", |r| r.workflow_execution = Some(WorkflowExecution { run_id: "no-uuid".into(), ..s.execution("a") })).await.ok();
    let other = "00000000-0000-4000-8000-000000000001";
    s.signal_with("a", "x", |r| r.workflow_execution = Some(WorkflowExecution { run_id: other.into(), ..s.execution("a") })).await.ok();
    s.signal_with("a", "x", |r| r.request_id = "r".repeat(1001)).await.ok();
    s.signal_with("a", &"n".repeat(1001), |_| {}).await.ok();
    s.signal_with("a", "x", |r| r.namespace = "no-such-namespace".into()).await.ok();
    s.terminate("a").await?;
    s.signal("a", "x").await.ok();
    Ok(())
}

async fn signal_with_header(s: Scene) -> Done {
    s.start("a").await?;
    let header = sempre_api::v1::common::Header { fields: memo(&[("trace", "\"1\"")]).fields };
    s.signal_with("a", "one", |r| r.header = Some(header)).await?;
    s.terminate("a").await?;
    Ok(())
}

async fn cancel_idle(s: Scene) -> Done {
    s.start("a").await?;
    s.work([]).await?;
    s.cancel("a").await?;
    s.work([cancelled()]).await?;
    s.cancel("a").await.ok();
    s.closed("a").await
}

async fn cancel_during_a_task(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    s.cancel("a").await?;
    s.complete(&task, [cancelled()]).await.ok();
    s.work([cancelled()]).await?;
    Ok(())
}

async fn cancel_twice(s: Scene) -> Done {
    s.start("a").await?;
    s.cancel_with("a", |r| r.request_id = "first".into()).await?;
    s.cancel_with("a", |r| r.request_id = "first".into()).await.ok();
    s.cancel_with("a", |r| r.request_id = "second".into()).await.ok();
    s.work([done()]).await?;
    Ok(())
}

async fn cancel_refused(s: Scene) -> Done {
    s.cancel("none").await.ok();
    s.start("a").await?;
    s.cancel_with("a", |r| r.workflow_execution = None).await.ok();
    s.cancel_with("a", |r| r.workflow_execution = Some(WorkflowExecution { run_id: "no-uuid".into(), ..s.execution("a") })).await.ok();
    s.cancel_with("a", |r| r.first_execution_run_id = "00000000-0000-4000-8000-000000000001".into()).await.ok();
    s.terminate("a").await?;
    s.cancel("a").await.ok();
    Ok(())
}

async fn cancel_then_cancelled(s: Scene) -> Done {
    s.start("a").await?;
    s.work([s.act("x").command(), timer("t", 60)]).await?;
    s.cancel("a").await?;
    s.work([cancel_activity(5), cancel_timer("t"), cancelled()]).await?;
    s.closed("a").await
}

async fn terminate_idle(s: Scene) -> Done {
    s.start("a").await?;
    s.work([timer("t", 60)]).await?;
    s.terminate("a").await?;
    s.closed("a").await
}

async fn terminate_during_a_task(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    s.signal("a", "buffered").await?;
    s.terminate("a").await?;
    s.complete(&task, [done()]).await.ok();
    Ok(())
}

async fn terminate_refused(s: Scene) -> Done {
    s.terminate("none").await.ok();
    s.terminate_with("none", |r| r.workflow_execution = None).await.ok();
    s.start("a").await?;
    s.terminate_with("a", |r| r.workflow_execution = Some(WorkflowExecution { run_id: "no-uuid".into(), ..s.execution("a") })).await.ok();
    s.terminate("a").await?;
    s.terminate("a").await.ok();
    Ok(())
}

async fn wrong_first_run(s: Scene) -> Done {
    s.start("a").await?;
    s.terminate_with("a", |r| r.first_execution_run_id = "00000000-0000-4000-8000-000000000001".into()).await.ok();
    s.terminate("a").await?;
    Ok(())
}

async fn history_in_pages(s: Scene) -> Done {
    s.start("a").await?;
    s.work([marker("1"), marker("2"), marker("3"), done()]).await?;
    let (mut token, mut all) = (bytes::Bytes::new(), Vec::new());
    loop {
        let request = GetWorkflowExecutionHistoryRequest {
            namespace: NAMESPACE.into(),
            execution: Some(s.execution("a")),
            maximum_page_size: 2,
            next_page_token: token,
            ..Default::default()
        };
        let answer = s.client().get_workflow_execution_history(request).await?.into_inner();
        let events = answer.history.unwrap_or_default().events().unwrap_or_default();
        let ids: Vec<i64> = events.iter().map(|event| event.event_id).collect();
        // The reference does not cut what was stored together, so where a page ends is no fact.
        all.extend(ids);
        token = answer.next_page_token;
        if token.is_empty() {
            s.note(format!("events in order: {all:?}"));
            return Ok(());
        }
    }
}

async fn history_in_reverse(s: Scene) -> Done {
    s.start("a").await?;
    s.work([marker("1"), marker("2"), done()]).await?;
    let request = GetWorkflowExecutionHistoryReverseRequest {
        namespace: NAMESPACE.into(),
        execution: Some(s.execution("a")),
        maximum_page_size: 100,
        ..Default::default()
    };
    let answer = s.client().get_workflow_execution_history_reverse(request).await?.into_inner();
    for event in answer.history.unwrap_or_default().events().unwrap_or_default() {
        s.note(line(&event));
    }
    s.note(format!("more: {}", !answer.next_page_token.is_empty()));
    Ok(())
}

async fn history_refused(s: Scene) -> Done {
    s.start("a").await?;
    let request =
        || GetWorkflowExecutionHistoryRequest { namespace: NAMESPACE.into(), execution: Some(s.execution("a")), ..Default::default() };
    let ask = |what: &'static str, request| {
        let s = s.clone();
        async move {
            s.record(what, s.client().get_workflow_execution_history(request).await).ok();
        }
    };
    ask("none", GetWorkflowExecutionHistoryRequest { execution: None, ..request() }).await;
    ask("no id", GetWorkflowExecutionHistoryRequest { execution: Some(WorkflowExecution::default()), ..request() }).await;
    ask("unknown", GetWorkflowExecutionHistoryRequest { execution: Some(s.execution("none")), ..request() }).await;
    let run = |run: &str| Some(WorkflowExecution { run_id: run.into(), ..s.execution("a") });
    ask("bad run", GetWorkflowExecutionHistoryRequest { execution: run("no-uuid"), ..request() }).await;
    ask("unknown run", GetWorkflowExecutionHistoryRequest { execution: run("00000000-0000-4000-8000-000000000001"), ..request() }).await;
    ask("bad token", GetWorkflowExecutionHistoryRequest { next_page_token: "garbage".into(), ..request() }).await;
    s.terminate("a").await?;
    Ok(())
}

async fn history_of_close_event(s: Scene) -> Done {
    s.start("a").await?;
    s.work([done()]).await?;
    let request = GetWorkflowExecutionHistoryRequest {
        namespace: NAMESPACE.into(),
        execution: Some(s.execution("a")),
        history_event_filter_type: HistoryEventFilterType::CloseEvent as i32,
        ..Default::default()
    };
    let answer = s.client().get_workflow_execution_history(request).await?.into_inner();
    for event in answer.history.unwrap_or_default().events().unwrap_or_default() {
        s.note(line(&event));
    }
    s.note(format!("more: {}", !answer.next_page_token.is_empty()));
    Ok(())
}

async fn delete_refused(s: Scene) -> Done {
    let request = || DeleteWorkflowExecutionRequest { namespace: NAMESPACE.into(), workflow_execution: Some(s.execution("none")) };
    s.record("delete unknown", s.client().delete_workflow_execution(request()).await).ok();
    let none = DeleteWorkflowExecutionRequest { workflow_execution: None, ..request() };
    s.record("delete none", s.client().delete_workflow_execution(none).await).ok();
    Ok(())
}

async fn describe_open_and_closed(s: Scene) -> Done {
    s.start_with("a", |r| {
        r.memo = Some(memo(&[("m", "1")]));
        r.search_attributes = Some(search_attributes(&[("DiffKeyword", "\"k\"")]));
    })
    .await?;
    s.describe("a").await?;
    let task = s.task().await?;
    s.describe("a").await?;
    s.complete(&task, [done()]).await?;
    s.describe("a").await?;
    Ok(())
}

async fn describe_refused(s: Scene) -> Done {
    let ask = |what: &'static str, execution| {
        let s = s.clone();
        async move {
            let request = DescribeWorkflowExecutionRequest { namespace: NAMESPACE.into(), execution };
            s.record(what, s.client().describe_workflow_execution(request).await).ok();
        }
    };
    ask("none", None).await;
    ask("no id", Some(WorkflowExecution::default())).await;
    ask("unknown", Some(s.execution("none"))).await;
    ask("bad run", Some(WorkflowExecution { run_id: "no-uuid".into(), ..s.execution("a") })).await;
    Ok(())
}
