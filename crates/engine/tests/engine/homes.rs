//! Task queues of two nodes: a poll at the home of a queue is given the tasks of all runs, wherever these are.

use std::sync::atomic::Ordering::SeqCst;

use sempre_api::v1::{
    command::{Command, ScheduleActivityTaskCommandAttributes, command::Attributes},
    common::ActivityType,
    deployment::{WorkerDeploymentOptions, WorkerDeploymentVersion},
    enums::{CommandType, QueryResultType, TaskQueueType, WorkerVersioningMode},
    nexus::{Request, StartOperationRequest, request},
    query::WorkflowQuery,
    taskqueue::TaskQueue,
    workflowservice::*,
};
use sempre_core::{Refusal, Span, transition::QueueKind};
use sempre_engine::nexus::{Destination, Handled};
use sempre_store::Table;

use crate::{
    nexus_operations::{HANDLERS, started},
    nodes::*,
    shards::id,
    support::*,
};

fn activity() -> Command {
    let attributes = ScheduleActivityTaskCommandAttributes {
        activity_id: "act".into(),
        activity_type: Some(ActivityType { name: "Act".into() }),
        task_queue: Some(queue()),
        start_to_close_timeout: Some(Span::seconds(3600).to_api()),
        ..Default::default()
    };
    command(CommandType::ScheduleActivityTask, Attributes::ScheduleActivityTaskCommandAttributes(Box::new(attributes)))
}

/// The home of the workflow tasks' queue, the other node, and an id of a run that each of them has.
fn sides(n: &Nodes) -> (&World, &World, String, String) {
    let (home, other) = n.home();
    let of = |w: &World| {
        let shard = u32::from(!std::ptr::eq(n.owner(0), w));
        n.id(shard, "run")
    };
    (home, other, of(home), of(other))
}

async fn backlog(w: &World) -> i64 {
    let request = DescribeTaskQueueRequest {
        namespace: NAMESPACE.into(),
        task_queue: Some(queue()),
        task_queue_type: TaskQueueType::Workflow as i32,
        report_stats: true,
        ..Default::default()
    };
    soon(w.engine.describe_task_queue(request)).await.unwrap().stats.unwrap().approximate_backlog_count
}

#[tokio::test]
async fn a_poll_that_waits_is_given_a_task_of_a_run_of_another_node_at_once() {
    let (n, _post) = neighbours().await;
    let (home, other, _, far) = sides(&n);
    let poll = home.poll_beside();
    home.settle().await;
    other.start(&far).await;
    let task = soon(poll).await.unwrap();
    assert_eq!(id(&task), far);
    let events = task.history.clone().unwrap().events().unwrap();
    assert_eq!(names(&events), ["WORKFLOW_EXECUTION_STARTED", "WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_STARTED"]);
    other.complete(&task.task_token, done()).await;
    assert!(home.store.rows(Table::Offer).is_empty(), "nothing is left of it");
    assert_eq!((backlog(home).await, home.engine.stats().lost_polls.get()), (0, 0));
    // At the other node there is no such queue.
    let shard = n.home_shard(&queue().name, QueueKind::Workflow, false);
    elsewhere(soon(other.engine.poll_workflow_task(poll_request(), None)).await, shard);
}

#[tokio::test]
async fn tasks_of_all_nodes_wait_in_one_line_in_the_order_of_their_age() {
    let (n, _post) = neighbours_with(|settings| settings.queue_window_max = 4).await;
    let (home, _) = n.home();
    let mut wanted = Vec::new();
    for k in 0..12 {
        let run = n.id(k % 2, &format!("run-{k}"));
        n.owner_of(&run).start(&run).await;
        n.a.clock_tick();
        wanted.push(run);
    }
    home.settle().await;
    assert_eq!(backlog(home).await, 12);
    for run in &wanted {
        let (task, owner) = n.poll().await;
        assert_eq!(id(&task), run);
        owner.complete(&task.task_token, done()).await;
    }
    home.settle().await;
    assert_eq!((backlog(home).await, home.store.rows(Table::Offer).len()), (0, 0));
}

#[tokio::test]
async fn activities_of_a_run_of_another_node_are_given_once() {
    let (n, _post) = neighbours().await;
    let home = n.owner(n.home_shard(&queue().name, QueueKind::Activity, false));
    let away = u32::from(std::ptr::eq(n.owner(0), home));
    let run = n.id(away, "run");
    let owner = n.owner(away);
    owner.start(&run).await;
    let (task, _) = n.poll().await;
    owner.complete(&task.task_token, vec![activity()]).await;
    let task = home.poll_activity().await;
    assert_eq!(task.activity_id, "act");
    let poll = home.poll_activity_beside();
    home.settle().await;
    assert!(!poll.is_finished());
    let request = RespondActivityTaskCompletedRequest { task_token: task.task_token, ..Default::default() };
    soon(owner.engine.respond_activity_task_completed(request)).await.unwrap();
    let (task, _) = n.poll().await;
    owner.complete(&task.task_token, done()).await;
}

#[tokio::test]
async fn a_home_that_moves_brings_its_lines_and_its_polls_end() {
    let (n, _post) = neighbours().await;
    let (home, other, near, far) = sides(&n);
    home.start(&near).await;
    n.a.clock_tick();
    other.start(&far).await;
    home.settle().await;
    assert_eq!(backlog(home).await, 2);
    // Another queue of the same home has a poll that waits.
    let shard = n.home_shard(&queue().name, QueueKind::Workflow, false);
    let lonely = (0..).map(|k| format!("lonely-{k}")).find(|name| n.home_shard(name, QueueKind::Workflow, false) == shard).unwrap();
    let engine = home.engine.clone();
    let request = PollWorkflowTaskQueueRequest { task_queue: Some(TaskQueue { name: lonely, ..Default::default() }), ..poll_request() };
    let waits = tokio::spawn(async move { engine.poll_workflow_task(request, None).await });
    home.settle().await;
    assert!(!waits.is_finished());
    n.give(shard, home, other).await;
    elsewhere(soon(waits).await.unwrap(), shard);
    assert_eq!(home.engine.stats().backlog.get(), 0);
    elsewhere(soon(home.engine.poll_workflow_task(poll_request(), None)).await, shard);
    // One of the runs may have moved with it.
    for run in [near, far] {
        let (task, owner) = n.poll().await;
        assert_eq!(id(&task), run);
        owner.complete(&task.task_token, done()).await;
    }
}

#[tokio::test]
async fn a_home_hears_of_what_is_offered_while_it_cannot_be_told() {
    let (n, post) = neighbours().await;
    let (home, other, _, far) = sides(&n);
    post.away.store(3, SeqCst);
    other.start(&far).await;
    let second = n.id(u32::from(!std::ptr::eq(n.owner(0), other)), "second");
    n.a.clock_tick();
    other.start(&second).await;
    home.settle().await;
    assert_eq!(backlog(home).await, 0);
    for _ in 0..10 {
        n.advance(Span::millis(50)).await;
    }
    assert_eq!((backlog(home).await, post.away.load(SeqCst)), (2, 0));
    // And when the answer is lost it is told twice, and is there once.
    post.lost.store(1, SeqCst);
    let third = n.id(u32::from(!std::ptr::eq(n.owner(0), other)), "third");
    n.a.clock_tick();
    other.start(&third).await;
    for _ in 0..4 {
        n.advance(Span::millis(50)).await;
    }
    for run in [&far, &second, &third] {
        assert_eq!(id(&n.poll().await.0), run);
    }
    let poll = home.poll_beside();
    home.settle().await;
    assert!(!poll.is_finished());
}

#[tokio::test]
async fn a_task_whose_answer_is_lost_between_nodes_is_offered_again_and_run_once() {
    let (n, post) = neighbours().await;
    let (home, other, _, far) = sides(&n);
    other.start(&far).await;
    home.settle().await;
    post.lost.store(1, SeqCst);
    // It is started, and the answer does not come; the run is told, and offers it anew, to the same poll.
    let (task, _) = n.poll().await;
    assert_eq!((id(&task), post.lost.load(SeqCst)), (far.as_str(), 0));
    other.complete(&task.task_token, done()).await;
    assert_eq!(home.engine.stats().lost_polls.get(), 1);
    let all = other.names(&far).await;
    assert_eq!(all.iter().filter(|name| **name == "WORKFLOW_TASK_COMPLETED").count(), 1, "{all:?}");
}

#[tokio::test]
async fn a_worker_that_hangs_up_leaves_the_task_of_another_node_to_the_next() {
    let (n, _post) = neighbours().await;
    let (home, other, _, far) = sides(&n);
    other.start(&far).await;
    home.settle().await;
    // It hangs up while the run's owner commits.
    home.store.held.store(true, SeqCst);
    let poll = home.poll_beside();
    home.settle().await;
    poll.abort();
    home.settle().await;
    home.store.held.store(false, SeqCst);
    home.store.permits.add_permits(100);
    for _ in 0..3 {
        n.advance(Span::seconds(1)).await;
    }
    let (task, _) = n.poll().await;
    assert_eq!(id(&task), far);
    other.complete(&task.task_token, done()).await;
}

#[tokio::test]
async fn an_offer_that_is_out_of_date_gives_its_poll_no_task() {
    let (n, _post) = neighbours().await;
    let (home, other, near, far) = sides(&n);
    other.start(&far).await;
    home.settle().await;
    let request = TerminateWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution(&far, "")),
        ..Default::default()
    };
    soon(other.engine.terminate(request)).await.unwrap();
    home.settle().await;
    assert_eq!(backlog(home).await, 0, "it is told that the offer has gone");
    n.a.clock_tick();
    home.start(&near).await;
    assert_eq!(id(&n.poll().await.0), near);
}

#[tokio::test]
async fn a_run_that_moves_is_claimed_where_it_is() {
    let (n, _post) = neighbours().await;
    let (home, other) = n.home();
    let shard = n.home_shard(&queue().name, QueueKind::Workflow, false);
    let moving = 1 - shard;
    let run = n.id(moving, "run");
    other.start(&run).await;
    home.settle().await;
    // To the home itself, which has the offer already.
    n.give(moving, other, home).await;
    let (task, owner) = n.poll().await;
    assert_eq!(id(&task), run);
    assert!(std::ptr::eq(owner, home));
    owner.complete(&task.task_token, done()).await;
    assert_eq!(home.engine.stats().backlog.get(), 0);
}

#[tokio::test]
async fn the_next_task_of_a_worker_that_holds_the_run_comes_by_the_home_of_its_own_queue() {
    let (n, _post) = neighbours().await;
    let (home, other, _, far) = sides(&n);
    other.start(&far).await;
    let (task, _) = n.poll().await;
    other.complete_sticky(&task.task_token, vec![timer("t", Span::seconds(1))]).await;
    let own = n.owner(n.home_shard(&sticky_queue().name, QueueKind::Workflow, true));
    let poll = own.poll_sticky_beside();
    own.settle().await;
    n.advance(Span::seconds(1)).await;
    let task = soon(poll).await.unwrap();
    assert_eq!(id(&task), far);
    assert!(task.previous_started_event_id > 0, "only what is new of its history");
    other.complete_sticky(&task.task_token, vec![timer("u", Span::seconds(60))]).await;
    // The worker is not there any more: anybody gets it.
    n.advance(Span::seconds(60)).await;
    let task = soon(home.poll_beside()).await.unwrap();
    assert_eq!(id(&task), far);
    other.complete(&task.task_token, done()).await;
}

#[tokio::test]
async fn a_query_reaches_a_worker_at_the_home_and_its_answer_who_asks() {
    let (n, _post) = neighbours().await;
    let (home, other, _, far) = sides(&n);
    other.start(&far).await;
    let (task, _) = n.poll().await;
    other.complete(&task.task_token, vec![timer("t", Span::seconds(3600))]).await;
    let ask = || {
        let engine = other.engine.clone();
        let request = QueryWorkflowRequest {
            namespace: NAMESPACE.into(),
            execution: Some(execution(&far, "")),
            query: Some(WorkflowQuery { query_type: "state".into(), ..Default::default() }),
            ..Default::default()
        };
        tokio::spawn(async move { engine.query_workflow(request, None).await })
    };
    let poll = home.poll_beside();
    home.settle().await;
    let query = ask();
    let task = soon(poll).await.unwrap();
    assert_eq!((id(&task), task.query.as_ref().unwrap().query_type.as_str()), (far.as_str(), "state"));
    assert!(task.history.unwrap().events().unwrap().len() > 4, "its whole history comes with it");
    let answer = RespondQueryTaskCompletedRequest {
        task_token: task.task_token,
        completed_type: QueryResultType::Answered as i32,
        query_result: Some(payloads("42")),
        ..Default::default()
    };
    let elsewhere = soon(home.engine.respond_query_task_completed(answer.clone())).await;
    assert!(matches!(elsewhere, Err(Refusal::NotFound(_))), "its token names who asks");
    soon(other.engine.respond_query_task_completed(answer)).await.unwrap();
    assert_eq!(soon(query).await.unwrap().unwrap().query_result, Some(payloads("42")));
    // Without a worker for long, that is said.
    n.advance(Span::seconds(30)).await;
    let refused = soon(ask()).await.unwrap();
    assert!(matches!(refused, Err(Refusal::FailedPrecondition(_))), "{refused:?}");
}

#[tokio::test]
async fn a_question_goes_where_the_home_of_its_queue_goes() {
    let (n, _post) = neighbours().await;
    let (home, other, _, far) = sides(&n);
    let shard = n.home_shard(&queue().name, QueueKind::Workflow, false);
    other.start(&far).await;
    let (task, _) = n.poll().await;
    other.complete(&task.task_token, vec![timer("t", Span::seconds(3600))]).await;
    // To who asks, and away again.
    for (from, to) in [(home, other), (other, home)] {
        let engine = other.engine.clone();
        let request = QueryWorkflowRequest {
            namespace: NAMESPACE.into(),
            execution: Some(execution(&far, "")),
            query: Some(WorkflowQuery { query_type: "state".into(), ..Default::default() }),
            ..Default::default()
        };
        let query = tokio::spawn(async move { engine.query_workflow(request, None).await });
        from.settle().await;
        n.give(shard, from, to).await;
        // Workers find it a little later; it is not said meanwhile that there are none.
        for _ in 0..10 {
            n.advance(Span::millis(50)).await;
        }
        let task = soon(to.poll_beside()).await.unwrap();
        assert_eq!((id(&task), task.query.is_some()), (far.as_str(), true));
        let answer = RespondQueryTaskCompletedRequest {
            task_token: task.task_token,
            completed_type: QueryResultType::Answered as i32,
            query_result: Some(payloads("42")),
            ..Default::default()
        };
        soon(other.engine.respond_query_task_completed(answer)).await.unwrap();
        assert_eq!(soon(query).await.unwrap().unwrap().query_result, Some(payloads("42")));
    }
}

#[tokio::test]
async fn a_request_to_a_handler_goes_where_the_home_of_its_queue_goes() {
    let (n, _post) = neighbours().await;
    let shard = n.home_shard(HANDLERS, QueueKind::Nexus, false);
    let (home, other) = (n.owner(shard), n.owner(1 - shard));
    for (from, to) in [(home, other), (other, home)] {
        let engine = other.engine.clone();
        let dispatched = tokio::spawn(async move {
            let request =
                Request { variant: Some(request::Variant::StartOperation(StartOperationRequest::default())), ..Default::default() };
            engine.dispatch_nexus(Destination::Queue { namespace: NAMESPACE, task_queue: HANDLERS }, request, None).await
        });
        from.settle().await;
        assert!(!dispatched.is_finished());
        n.give(shard, from, to).await;
        for _ in 0..10 {
            n.advance(Span::millis(50)).await;
        }
        let task = to.poll_handler().await;
        other.answer_start(&task.task_token, started("token", Vec::new())).await.unwrap();
        let handled = soon(dispatched).await.unwrap().unwrap();
        assert!(matches!(handled, Handled::Answered(_)), "{handled:?}");
    }
}

#[tokio::test]
async fn a_version_whose_workers_poll_at_another_node_is_forgotten_when_they_have_gone() {
    let (n, post) = neighbours().await;
    // The first node has deployments, the second this queue.
    let is_at_second = |name: &String| std::ptr::eq(n.owner(n.home_shard(name, QueueKind::Workflow, false)), &raw const n.b);
    let name = (0..).map(|k| format!("queue-{k}")).find(is_at_second).unwrap();
    let options = WorkerDeploymentOptions {
        deployment_name: "orders".into(),
        build_id: "1".into(),
        worker_versioning_mode: WorkerVersioningMode::Versioned as i32,
    };
    let request = PollWorkflowTaskQueueRequest {
        task_queue: Some(TaskQueue { name, ..Default::default() }),
        deployment_options: Some(options),
        ..poll_request()
    };
    let engine = n.b.engine.clone();
    let poll = tokio::spawn(async move { engine.poll_workflow_task(request, None).await });
    n.b.settle().await;
    let version = WorkerDeploymentVersion { deployment_name: "orders".into(), build_id: "1".into() };
    let request =
        DeleteWorkerDeploymentVersionRequest { namespace: NAMESPACE.into(), deployment_version: Some(version), ..Default::default() };
    let delete = || soon(n.a.engine.delete_deployment_version(request.clone()));
    let is_polled = |refused: Refusal| matches!(&refused, Refusal::FailedPrecondition(text) if text.ends_with("has active pollers"));
    n.advance(Span::seconds(10)).await;
    assert!(is_polled(delete().await.unwrap_err()));
    poll.abort();
    n.advance(Span::seconds(1800)).await;
    // A home whose answer is lost may have polls.
    post.lost.store(1, SeqCst);
    assert!(is_polled(delete().await.unwrap_err()));
    delete().await.unwrap();
}
