//! Polls and answers of workers that are refused.

use sempre_api::v1::{
    taskqueue::{StickyExecutionAttributes, TaskQueue},
    workflowservice::*,
};
use tonic::Request;

use super::{ask, long, tokens};
use crate::{
    scenarios::{commands::*, scenarios},
    scene::{Done, NAMESPACE, Scene, failure, secs},
};

scenarios!("refusals": polls, poll_deadlines, task_tokens, activity_tokens, activities_by_id, sticky, stale_tasks, stale_activities);

async fn polls(s: Scene) -> Done {
    let queue = |name: &str| Some(TaskQueue { name: name.into(), ..Default::default() });
    let sticky = Some(TaskQueue { name: s.id("sticky"), kind: 2, ..Default::default() });
    for (what, queue) in [
        ("no queue", None),
        ("no name", queue("")),
        ("long name", queue(&long())),
        ("reserved", queue("/_sys/nobody/x/1")),
        ("sticky without normal", sticky),
    ] {
        let request = PollWorkflowTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: queue.clone(), ..Default::default() };
        let mut timed = Request::new(request);
        timed.set_timeout(std::time::Duration::from_secs(3));
        s.record(&format!("workflow: {what}"), s.client().poll_workflow_task_queue(timed).await).ok();
        let request = PollActivityTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: queue.clone(), ..Default::default() };
        let mut timed = Request::new(request);
        timed.set_timeout(std::time::Duration::from_secs(3));
        s.record(&format!("activity: {what}"), s.client().poll_activity_task_queue(timed).await).ok();
    }
    Ok(())
}

async fn poll_deadlines(s: Scene) -> Done {
    let request = || PollWorkflowTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: s.queue(), ..Default::default() };
    s.record("no deadline", s.client().poll_workflow_task_queue(request()).await).ok();
    let mut short = Request::new(request());
    short.set_timeout(std::time::Duration::from_millis(1500));
    s.record("short", s.client().poll_workflow_task_queue(short).await).ok();
    let request = || PollActivityTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: s.queue(), ..Default::default() };
    s.record("no deadline", s.client().poll_activity_task_queue(request()).await).ok();
    let mut short = Request::new(request());
    short.set_timeout(std::time::Duration::from_millis(1500));
    s.record("short", s.client().poll_activity_task_queue(short).await).ok();
    Ok(())
}

async fn task_tokens(s: Scene) -> Done {
    for (what, token) in tokens() {
        ask!(
            s,
            what,
            respond_workflow_task_completed,
            RespondWorkflowTaskCompletedRequest { namespace: NAMESPACE.into(), task_token: token.clone(), ..Default::default() }
        );
        ask!(
            s,
            what,
            respond_workflow_task_failed,
            RespondWorkflowTaskFailedRequest { namespace: NAMESPACE.into(), task_token: token.clone(), ..Default::default() }
        );
    }
    s.start("a").await?;
    let task = s.task().await?;
    s.complete_with(&task, [], |r| r.identity = long()).await.ok();
    let sticky = |timeout, queue| Some(StickyExecutionAttributes { worker_task_queue: queue, schedule_to_start_timeout: timeout });
    let with_sticky = |attributes| {
        let (s, task) = (s.clone(), task.clone());
        async move { s.complete_with(&task, [], |r| r.sticky_attributes = attributes).await.ok() }
    };
    with_sticky(sticky(secs(-1), s.queue())).await;
    s.terminate("a").await.ok();
    Ok(())
}

async fn activity_tokens(s: Scene) -> Done {
    for (what, task_token) in tokens() {
        let t = || task_token.clone();
        ask!(
            s,
            what,
            respond_activity_task_completed,
            RespondActivityTaskCompletedRequest { namespace: NAMESPACE.into(), task_token: t(), ..Default::default() }
        );
        ask!(
            s,
            what,
            respond_activity_task_failed,
            RespondActivityTaskFailedRequest { namespace: NAMESPACE.into(), task_token: t(), ..Default::default() }
        );
        ask!(
            s,
            what,
            respond_activity_task_canceled,
            RespondActivityTaskCanceledRequest { namespace: NAMESPACE.into(), task_token: t(), ..Default::default() }
        );
        ask!(
            s,
            what,
            record_activity_task_heartbeat,
            RecordActivityTaskHeartbeatRequest { namespace: NAMESPACE.into(), task_token: t(), ..Default::default() }
        );
    }
    s.start("a").await?;
    s.work([s.act("x").command()]).await?;
    let task = s.activity().await?;
    let t = || task.poll.task_token.clone();
    ask!(
        s,
        "identity",
        respond_activity_task_completed,
        RespondActivityTaskCompletedRequest { namespace: NAMESPACE.into(), task_token: t(), identity: long(), ..Default::default() }
    );
    ask!(
        s,
        "identity",
        respond_activity_task_failed,
        RespondActivityTaskFailedRequest { namespace: NAMESPACE.into(), task_token: t(), identity: long(), ..Default::default() }
    );
    ask!(
        s,
        "identity",
        respond_activity_task_canceled,
        RespondActivityTaskCanceledRequest { namespace: NAMESPACE.into(), task_token: t(), identity: long(), ..Default::default() }
    );
    let timeout = sempre_api::v1::failure::Failure {
        failure_info: Some(sempre_api::v1::failure::failure::FailureInfo::TimeoutFailureInfo(Default::default())),
        ..failure("no")
    };
    ask!(
        s,
        "no application failure",
        respond_activity_task_failed,
        RespondActivityTaskFailedRequest { namespace: NAMESPACE.into(), task_token: t(), failure: Some(timeout), ..Default::default() }
    );
    ask!(
        s,
        "no failure",
        respond_activity_task_failed,
        RespondActivityTaskFailedRequest { namespace: NAMESPACE.into(), task_token: t(), ..Default::default() }
    );
    s.terminate("a").await?;
    Ok(())
}

async fn activities_by_id(s: Scene) -> Done {
    s.start("a").await?;
    s.work([s.act("x").command()]).await?;
    for (what, activity_id) in [("no id", String::new()), ("unknown", "nobody".into()), ("long", long()), ("not started", "x".into())] {
        let (namespace, workflow_id) = (|| NAMESPACE.to_owned(), || s.id("a"));
        let a = || activity_id.clone();
        ask!(
            s,
            what,
            record_activity_task_heartbeat_by_id,
            RecordActivityTaskHeartbeatByIdRequest {
                namespace: namespace(),
                workflow_id: workflow_id(),
                activity_id: a(),
                ..Default::default()
            }
        );
        ask!(
            s,
            what,
            respond_activity_task_failed_by_id,
            RespondActivityTaskFailedByIdRequest {
                namespace: namespace(),
                workflow_id: workflow_id(),
                activity_id: a(),
                ..Default::default()
            }
        );
        ask!(
            s,
            what,
            respond_activity_task_canceled_by_id,
            RespondActivityTaskCanceledByIdRequest {
                namespace: namespace(),
                workflow_id: workflow_id(),
                activity_id: a(),
                ..Default::default()
            }
        );
        if what != "not started" {
            ask!(
                s,
                what,
                respond_activity_task_completed_by_id,
                RespondActivityTaskCompletedByIdRequest {
                    namespace: namespace(),
                    workflow_id: workflow_id(),
                    activity_id: a(),
                    ..Default::default()
                }
            );
        }
    }
    s.terminate("a").await?;
    Ok(())
}

async fn sticky(s: Scene) -> Done {
    ask!(s, "nothing", shutdown_worker, ShutdownWorkerRequest { namespace: NAMESPACE.into(), ..Default::default() });
    ask!(s, "no queue", describe_task_queue, DescribeTaskQueueRequest { namespace: NAMESPACE.into(), ..Default::default() });
    let long_queue = Some(TaskQueue { name: long(), ..Default::default() });
    ask!(
        s,
        "long queue",
        describe_task_queue,
        DescribeTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: long_queue, ..Default::default() }
    );
    ask!(s, "no queue", list_task_queue_partitions, ListTaskQueuePartitionsRequest { namespace: NAMESPACE.into(), ..Default::default() });
    Ok(())
}

async fn stale_tasks(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.work([]).await?;
    s.complete(&task, []).await.ok();
    s.fail_task(&task, sempre_api::v1::enums::WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).await.ok();
    s.terminate("a").await?;
    s.complete(&task, []).await.ok();
    s.fail_task(&task, sempre_api::v1::enums::WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).await.ok();
    Ok(())
}

async fn stale_activities(s: Scene) -> Done {
    s.start("a").await?;
    s.work([s.act("x").command()]).await?;
    let task = s.activity().await?;
    s.complete_activity(&task).await?;
    s.complete_activity(&task).await.ok();
    s.fail_activity(&task, failure("late")).await.ok();
    s.cancel_activity(&task).await.ok();
    s.heartbeat(&task).await.ok();
    s.terminate("a").await?;
    s.complete_activity(&task).await.ok();
    s.fail_activity(&task, failure("late")).await.ok();
    s.cancel_activity(&task).await.ok();
    s.heartbeat(&task).await.ok();
    Ok(())
}
