//! Workflow tasks: attempts, failures, timeouts, stickiness, tokens.

use sempre_api::v1::{
    command::{Command, ScheduleActivityTaskCommandAttributes},
    enums::{CommandType, WorkflowTaskFailedCause},
    namespace::{BadBinaries, BadBinaryInfo, NamespaceConfig, UpdateNamespaceInfo},
    workflowservice::{ResetStickyTaskQueueRequest, RespondWorkflowTaskCompletedRequest, UpdateNamespaceRequest},
};
use tonic::Request;

use super::{commands::*, scenarios};
use crate::scene::{Done, NAMESPACE, Scene, secs};

scenarios!("tasks":
    plain, workflow_fails, workflow_cancels_itself, no_commands, failed_once, failed_twice, times_out, late_completion, completed_twice,
    signal_ends_transience, signal_during_transient_start, unhandled_command, unhandled_command_then_done, closing_refuses_signals, force_new_task, inline_task, heartbeat_of_task,
    sticky_gets_the_rest, sticky_times_out, sticky_failure, sticky_start_to_close, sticky_reset, normal_poller_takes_sticky_task, close_not_last, close_twice, unknown_command, wrong_attributes,
    garbage_token, empty_token, non_determinism, message_too_large, sdk_metadata, user_metadata, activity_before_bad_command, bad_binary,
);

async fn plain(s: Scene) -> Done {
    s.start("a").await?;
    s.work([done()]).await?;
    s.closed("a").await
}

async fn workflow_fails(s: Scene) -> Done {
    s.start("a").await?;
    s.work([fail("broken")]).await?;
    s.closed("a").await
}

async fn workflow_cancels_itself(s: Scene) -> Done {
    s.start("a").await?;
    s.work([cancelled()]).await?;
    s.closed("a").await
}

async fn no_commands(s: Scene) -> Done {
    s.start("a").await?;
    s.work([]).await?;
    s.signal("a", "wake").await?;
    s.work([done()]).await?;
    Ok(())
}

async fn failed_once(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    s.fail_task(&task, WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn failed_twice(s: Scene) -> Done {
    s.start("a").await?;
    for _ in 0..2 {
        let task = s.task().await?;
        s.fail_task(&task, WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).await?;
    }
    s.work([timer("t", 60)]).await?;
    s.terminate("a").await?;
    Ok(())
}

async fn times_out(s: Scene) -> Done {
    s.start_with("a", |r| r.workflow_task_timeout = secs(1)).await?;
    s.task().await?;
    s.task().await?;
    s.work([done()]).await?;
    Ok(())
}

async fn late_completion(s: Scene) -> Done {
    s.start_with("a", |r| r.workflow_task_timeout = secs(1)).await?;
    let late = s.task().await?;
    let task = s.task().await?;
    s.complete(&late, [done()]).await.ok();
    s.fail_task(&late, WorkflowTaskFailedCause::Unspecified).await.ok();
    s.complete(&task, [done()]).await?;
    s.complete(&late, [done()]).await.ok();
    Ok(())
}

async fn completed_twice(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.work([]).await?;
    s.complete(&task, [done()]).await.ok();
    s.fail_task(&task, WorkflowTaskFailedCause::Unspecified).await.ok();
    s.terminate("a").await?;
    s.complete(&task, [done()]).await.ok();
    s.fail_task(&task, WorkflowTaskFailedCause::Unspecified).await.ok();
    Ok(())
}

/// A signal while a retry waits: the next attempt is a first one and in history.
async fn signal_ends_transience(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    s.fail_task(&task, WorkflowTaskFailedCause::Unspecified).await?;
    s.signal("a", "news").await?;
    s.work([done()]).await?;
    Ok(())
}

async fn signal_during_transient_start(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    s.fail_task(&task, WorkflowTaskFailedCause::Unspecified).await?;
    let task = s.task().await?;
    s.signal("a", "news").await?;
    s.fail_task(&task, WorkflowTaskFailedCause::Unspecified).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn unhandled_command(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    s.signal("a", "news").await?;
    s.complete(&task, [done()]).await.ok();
    s.work([done()]).await?;
    Ok(())
}

async fn unhandled_command_then_done(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    s.signal("a", "news").await?;
    s.complete(&task, [timer("t", 60), continue_as_new().command()]).await.ok();
    let task = s.task().await?;
    s.complete(&task, [timer("t", 60)]).await?;
    s.terminate("a").await?;
    Ok(())
}

async fn closing_refuses_signals(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    s.signal("a", "first").await?;
    s.complete(&task, [done()]).await.ok();
    let task = s.task().await?;
    s.complete(&task, [done()]).await?;
    s.signal("a", "late").await.ok();
    Ok(())
}

async fn force_new_task(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    s.complete_with(&task, [marker("m")], |r| r.force_create_new_workflow_task = true).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn inline_task(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    s.signal("a", "news").await?;
    let answer = s.complete_with(&task, [marker("m")], |r| r.return_new_workflow_task = true).await?;
    let inline = crate::scene::Task { poll: answer.workflow_task.unwrap_or_default() };
    s.complete(&inline, [done()]).await?;
    Ok(())
}

async fn heartbeat_of_task(s: Scene) -> Done {
    s.start("a").await?;
    let mut task = s.task().await?;
    for _ in 0..2 {
        let change = |r: &mut RespondWorkflowTaskCompletedRequest| {
            r.return_new_workflow_task = true;
            r.force_create_new_workflow_task = true;
        };
        let answer = s.complete_with(&task, [], change).await?;
        task = crate::scene::Task { poll: answer.workflow_task.unwrap_or_default() };
    }
    s.complete(&task, [done()]).await?;
    Ok(())
}

async fn sticky_gets_the_rest(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    let poll = s.sticky_beside();
    s.sleep(300).await;
    s.complete_sticky(&task, [timer("t", 1)]).await?;
    let task = s.taken(poll).await?;
    s.complete(&task, [done()]).await?;
    Ok(())
}

/// The worker polled its sticky queue, but does not any more.
async fn sticky_times_out(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    let poll = s.sticky_beside();
    s.sleep(300).await;
    s.complete_sticky(&task, []).await?;
    s.signal("a", "one").await?;
    let task = s.taken(poll).await?;
    s.complete_sticky(&task, []).await?;
    s.signal("a", "two").await?;
    s.sleep(1300).await;
    s.work([done()]).await?;
    Ok(())
}

async fn sticky_failure(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    let poll = s.sticky_beside();
    s.sleep(300).await;
    s.complete_sticky(&task, []).await?;
    s.signal("a", "one").await?;
    let task = s.taken(poll).await?;
    s.fail_task(&task, WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).await?;
    let task = s.task().await?;
    s.fail_task(&task, WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn sticky_start_to_close(s: Scene) -> Done {
    s.start_with("a", |r| r.workflow_task_timeout = secs(1)).await?;
    let task = s.task().await?;
    let poll = s.sticky_beside();
    s.sleep(300).await;
    s.complete_sticky(&task, []).await?;
    s.signal("a", "one").await?;
    s.taken(poll).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn sticky_reset(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    let poll = s.sticky_beside();
    s.sleep(300).await;
    s.complete_sticky(&task, []).await?;
    let request = || ResetStickyTaskQueueRequest { namespace: NAMESPACE.into(), execution: Some(s.execution("a")) };
    s.record("reset sticky", s.client().reset_sticky_task_queue(request()).await)?;
    s.signal("a", "one").await?;
    s.work([done()]).await?;
    poll.abort();
    s.record("reset sticky", s.client().reset_sticky_task_queue(request()).await).ok();
    Ok(())
}

/// No worker was ever seen on the sticky queue: its tasks go to the normal one at once.
async fn normal_poller_takes_sticky_task(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    s.complete_sticky(&task, []).await?;
    s.signal("a", "one").await?;
    s.work([done()]).await?;
    Ok(())
}

async fn close_not_last(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    s.complete(&task, [done(), marker("m")]).await.ok();
    s.complete(&task, [fail("x"), timer("t", 1), done()]).await.ok();
    s.complete(&task, [marker("m"), done()]).await?;
    Ok(())
}

async fn close_twice(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    s.complete(&task, [done(), done()]).await.ok();
    s.complete(&task, [done()]).await.ok();
    Ok(())
}

async fn unknown_command(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    s.complete(&task, [Command { command_type: 99, ..Default::default() }]).await.ok();
    s.complete(&task, [Command { command_type: CommandType::Unspecified as i32, ..Default::default() }]).await.ok();
    s.terminate("a").await?;
    Ok(())
}

async fn wrong_attributes(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    s.complete(&task, [Command { command_type: CommandType::StartTimer as i32, ..Default::default() }]).await.ok();
    let task = s.task().await?;
    let other = Command { command_type: CommandType::StartTimer as i32, ..ScheduleActivityTaskCommandAttributes::default().command() };
    s.complete(&task, [other]).await.ok();
    s.terminate("a").await?;
    Ok(())
}

async fn garbage_token(s: Scene) -> Done {
    let request =
        || RespondWorkflowTaskCompletedRequest { namespace: NAMESPACE.into(), task_token: "garbage".into(), ..Default::default() };
    s.record("complete", s.client().respond_workflow_task_completed(Request::new(request())).await).ok();
    Ok(())
}

async fn empty_token(s: Scene) -> Done {
    let request = || RespondWorkflowTaskCompletedRequest { namespace: NAMESPACE.into(), ..Default::default() };
    s.record("complete", s.client().respond_workflow_task_completed(Request::new(request())).await).ok();
    let request = sempre_api::v1::workflowservice::RespondWorkflowTaskFailedRequest { namespace: NAMESPACE.into(), ..Default::default() };
    s.record("fail", s.client().respond_workflow_task_failed(Request::new(request)).await).ok();
    let request =
        sempre_api::v1::workflowservice::RespondActivityTaskCompletedRequest { namespace: NAMESPACE.into(), ..Default::default() };
    s.record("activity", s.client().respond_activity_task_completed(Request::new(request)).await).ok();
    let request = sempre_api::v1::workflowservice::RecordActivityTaskHeartbeatRequest { namespace: NAMESPACE.into(), ..Default::default() };
    s.record("heartbeat", s.client().record_activity_task_heartbeat(Request::new(request)).await).ok();
    Ok(())
}

async fn non_determinism(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    s.fail_task(&task, WorkflowTaskFailedCause::NonDeterministicError).await?;
    s.task().await?;
    s.terminate("a").await?;
    Ok(())
}

async fn message_too_large(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    s.fail_task(&task, WorkflowTaskFailedCause::GrpcMessageTooLarge).await.ok();
    s.closed("a").await
}

async fn sdk_metadata(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    let change = |r: &mut RespondWorkflowTaskCompletedRequest| {
        r.sdk_metadata = Some(sempre_api::v1::sdk::WorkflowTaskCompletedMetadata {
            core_used_flags: vec![1, 3],
            lang_used_flags: vec![2],
            sdk_name: "sdk".into(),
            sdk_version: "1.2".into(),
        });
        r.metering_metadata = Some(sempre_api::v1::common::MeteringMetadata { nonfirst_local_activity_execution_attempts: 4 });
    };
    s.complete_with(&task, [done()], change).await?;
    Ok(())
}

async fn user_metadata(s: Scene) -> Done {
    let metadata = |text: &str| {
        let payload = |json: String| crate::scene::payloads(&json).unwrap_or_default().payloads.remove(0);
        Some(sempre_api::v1::sdk::UserMetadata {
            summary: Some(payload(format!("\"{text}\""))),
            details: Some(payload("\"details\"".into())),
        })
    };
    s.start_with("a", |r| r.user_metadata = metadata("start")).await?;
    let with = |command: Command, text: &str| Command { user_metadata: metadata(text), ..command };
    s.work([with(timer("t", 60), "timer"), with(s.act("x").command(), "activity"), with(marker("m"), "marker")]).await?;
    s.signal("a", "wake").await?;
    s.work([with(done(), "end")]).await?;
    Ok(())
}

/// Commands before a bad one leave no trace.
async fn activity_before_bad_command(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    s.complete(&task, [s.act("x").command(), marker("m"), cancel_timer("none")]).await.ok();
    s.work([s.act("x").command()]).await?;
    s.terminate("a").await?;
    Ok(())
}

/// Of a binary that is marked bad no task is taken, and to it none is given.
async fn bad_binary(s: Scene) -> Done {
    s.start_with("a", |r| r.workflow_task_timeout = secs(60)).await?;
    let task = s.task().await?;
    let checksum = s.id("sum");
    let info = BadBinaryInfo { reason: "it corrupts".into(), operator: "somebody".into(), create_time: None };
    let bad = BadBinaries { binaries: [(checksum.clone(), info)].into() };
    let mark = UpdateNamespaceRequest {
        namespace: NAMESPACE.into(),
        config: Some(NamespaceConfig { bad_binaries: Some(bad), ..Default::default() }),
        // The reference keeps nothing of an update that changes nothing else.
        update_info: Some(UpdateNamespaceInfo { data: [("binaries".to_owned(), "marked".to_owned())].into(), ..Default::default() }),
        ..Default::default()
    };
    s.client().update_namespace(Request::new(mark)).await?;
    // The reference's parts look at their namespaces every two seconds.
    s.sleep(5000).await;
    s.poll_with(|r| r.binary_checksum.clone_from(&checksum)).await.ok();
    s.complete_with(&task, [done()], |r| r.binary_checksum.clone_from(&checksum)).await.ok();
    let again = s.task().await?;
    s.complete_with(&again, [], |r| r.binary_checksum.clone_from(&checksum)).await.ok();
    s.complete_with(&again, [done()], |r| r.binary_checksum = "another".into()).await.ok();
    let unmark = UpdateNamespaceRequest { namespace: NAMESPACE.into(), delete_bad_binary: checksum, ..Default::default() };
    s.client().update_namespace(Request::new(unmark)).await?;
    Ok(())
}
