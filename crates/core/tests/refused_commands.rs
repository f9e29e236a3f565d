//! Commands that fail their workflow task, one scenario per cause, and the rarer events of commands that do not
//! (spec 02 §2.3, §2.5, 09 §2.2).

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, *};
use sempre_api::v1::{
    command::*,
    common::{Memo, SearchAttributes},
    enums::{CommandType, ParentClosePolicy, WorkflowTaskFailedCause},
    workflowservice::StartWorkflowExecutionRequest,
};
use sempre_core::{Limits, Refusal};

/// The first task of `a` is completed with these commands, which fails it.
fn refused(commands: impl IntoIterator<Item = Command>) -> World {
    refused_with(|_| {}, commands)
}

fn refused_with(limits: impl FnOnce(&mut Limits), commands: impl IntoIterator<Item = Command>) -> World {
    let mut world = World::new();
    limits(&mut world.limits);
    world.start("a");
    let task = world.poll_workflow(QUEUE).unwrap();
    let refusal = world.complete_with(&task, commands, |_| {}).unwrap_err();
    assert!(matches!(refusal, Refusal::InvalidArgument(_)), "{refusal:?}");
    assert!(world.run("a").execution.is_open());
    assert!(world.outbox.is_empty(), "what came before is undone");
    world
}

/// The event that follows the first task's start.
#[track_caller]
fn assert_fourth(world: &World, expected: &str) {
    let begin = "1 WorkflowExecutionStarted\n2 WorkflowTaskScheduled\n3 WorkflowTaskStarted {scheduled 2}\n";
    assert_history(world, "a", &format!("{begin}{expected}"));
}

fn bare(command: CommandType) -> Command {
    Command { command_type: command as i32, ..Default::default() }
}

#[test]
fn a_bad_activity_fails_the_task() {
    let w = refused([marker("m"), activity("").command()]);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, BadScheduleActivityAttributes, failure 'BadScheduleActivityAttributes: activityId is not set'}
    ",
    );
}

#[test]
fn an_activity_id_in_use_fails_the_task() {
    let w = refused([activity("x").command(), activity("x").command()]);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, ScheduleActivityDuplicateId, failure 'ScheduleActivityDuplicateId: invalid history builder state for action: add-activitytask-scheduled-event, ActivityID: x'}
    ",
    );
}

#[test]
fn a_cancel_of_an_unknown_activity_fails_the_task() {
    let w = refused([cancel_activity(77)]);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, BadRequestCancelActivityAttributes, failure 'BadRequestCancelActivityAttributes: invalid history builder state for action: add-activitytask-cancel-requested-event, ScheduledEventID: 77'}
    ",
    );
}

#[test]
fn a_cancel_of_an_unknown_timer_fails_the_task() {
    let w = refused([cancel_timer("t")]);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, BadCancelTimerAttributes, failure 'BadCancelTimerAttributes: invalid history builder state for action: add-timer-canceled-event, TimerID: t'}
    ",
    );
}

#[test]
fn a_marker_without_a_name_fails_the_task() {
    let w = refused([RecordMarkerCommandAttributes::default().command()]);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, BadRecordMarkerAttributes, failure 'BadRecordMarkerAttributes: MarkerName is not set on RecordMarkerCommand.'}
    ",
    );
}

#[test]
fn a_failure_without_one_fails_the_task() {
    let w = refused([FailWorkflowExecutionCommandAttributes { failure: None }.command()]);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, BadFailWorkflowExecutionAttributes, failure 'BadFailWorkflowExecutionAttributes: Failure is not set on FailWorkflowExecutionCommand.'}
    ",
    );
}

#[test]
fn a_completion_without_attributes_fails_the_task() {
    let w = refused([bare(CommandType::CompleteWorkflowExecution)]);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, BadCompleteWorkflowExecutionAttributes, failure 'BadCompleteWorkflowExecutionAttributes: CompleteWorkflowExecutionCommandAttributes is not set on CompleteWorkflowExecutionCommand.'}
    ",
    );
}

#[test]
fn a_cancellation_without_attributes_fails_the_task() {
    let w = refused([bare(CommandType::CancelWorkflowExecution)]);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, BadCancelWorkflowExecutionAttributes, failure 'BadCancelWorkflowExecutionAttributes: CancelWorkflowExecutionCommandAttributes is not set on CancelWorkflowExecutionCommand.'}
    ",
    );
}

#[test]
fn a_bad_continue_as_new_fails_the_task() {
    let w = refused([bare(CommandType::ContinueAsNewWorkflowExecution)]);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, BadContinueAsNewAttributes, failure 'BadContinueAsNewAttributes: ContinueAsNewWorkflowExecutionCommandAttributes is not set on ContinueAsNewWorkflowExecutionCommand.'}
    ",
    );
}

#[test]
fn a_bad_child_fails_the_task() {
    let w = refused([child("", ParentClosePolicy::Abandon).command()]);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, BadStartChildExecutionAttributes, failure 'BadStartChildExecutionAttributes: Required field WorkflowId is not set on StartChildWorkflowExecutionCommand. WorkflowType=Child Namespace=default'}
    ",
    );
}

/// Ids that the server keeps for what is no workflow: the start would be refused for good, and tried for ever.
#[test]
fn a_child_with_a_reserved_id_fails_the_task() {
    let w = refused([child("\0activity\0x", ParentClosePolicy::Abandon).command()]);
    assert_fourth(
        &w,
        r#"
        4 WorkflowTaskFailed {scheduled 2, started 3, BadStartChildExecutionAttributes, failure 'BadStartChildExecutionAttributes: WorkflowId on StartChildWorkflowExecutionCommand is one that the server keeps for itself. WorkflowId="\0activity\0x" WorkflowType=Child Namespace=default'}
    "#,
    );
}

#[test]
fn a_signal_to_nobody_named_fails_the_task() {
    let w = refused([bare(CommandType::SignalExternalWorkflowExecution)]);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, BadSignalWorkflowExecutionAttributes, failure 'BadSignalWorkflowExecutionAttributes: SignalExternalWorkflowExecutionCommandAttributes is not set on SignalExternalWorkflowExecutionCommand.'}
    ",
    );
}

#[test]
fn a_cancel_request_to_nobody_named_fails_the_task() {
    let w = refused([bare(CommandType::RequestCancelExternalWorkflowExecution)]);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, BadRequestCancelExternalWorkflowExecutionAttributes, failure 'BadRequestCancelExternalWorkflowExecutionAttributes: RequestCancelExternalWorkflowExecutionCommandAttributes is not set on RequestCancelExternalWorkflowExecutionCommand.'}
    ",
    );
}

#[test]
fn an_empty_upsert_fails_the_task() {
    let w = refused([UpsertWorkflowSearchAttributesCommandAttributes { search_attributes: None }.command()]);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, BadSearchAttributes, failure 'BadSearchAttributes: SearchAttributes is not set on UpsertWorkflowSearchAttributesCommand.'}
    ",
    );
}

#[test]
fn an_empty_change_of_the_memo_fails_the_task() {
    let w = refused([ModifyWorkflowPropertiesCommandAttributes { upserted_memo: None }.command()]);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, BadModifyWorkflowPropertiesAttributes, failure 'BadModifyWorkflowPropertiesAttributes: UpsertedMemo is not set on ModifyWorkflowPropertiesCommand.'}
    ",
    );
}

#[test]
fn too_many_activities_fail_the_task() {
    let w = refused_with(|l| l.pending_activities_max = 1, [activity("x").command(), activity("y").command()]);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, PendingActivitiesLimitExceeded, failure 'PendingActivitiesLimitExceeded: the number of pending activities, 1, has reached the per-workflow limit of 1'}
    ",
    );
}

#[test]
fn too_many_children_fail_the_task() {
    let two = ["x", "y"].map(|id| child(id, ParentClosePolicy::Abandon).command());
    let w = refused_with(|l| l.pending_children_max = 1, two);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, PendingChildWorkflowsLimitExceeded, failure 'PendingChildWorkflowsLimitExceeded: the number of pending child workflow executions, 1, has reached the per-workflow limit of 1'}
    ",
    );
}

#[test]
fn too_many_signals_to_others_fail_the_task() {
    let w = refused_with(|l| l.pending_signals_max = 1, [signal_external("x", "s").command(), signal_external("y", "s").command()]);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, PendingSignalsLimitExceeded, failure 'PendingSignalsLimitExceeded: the number of pending signals to external workflows, 1, has reached the per-workflow limit of 1'}
    ",
    );
}

#[test]
fn too_many_cancel_requests_to_others_fail_the_task() {
    let w = refused_with(|l| l.pending_cancels_max = 1, [cancel_external("x").command(), cancel_external("y").command()]);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, PendingRequestCancelLimitExceeded, failure 'PendingRequestCancelLimitExceeded: the number of pending requests to cancel external workflows, 1, has reached the per-workflow limit of 1'}
    ",
    );
}

#[test]
fn a_message_that_is_not_there_fails_the_task() {
    let attributes = command::Attributes::ProtocolMessageCommandAttributes(ProtocolMessageCommandAttributes { message_id: "m".into() });
    let w = refused([Command { attributes: Some(attributes), ..bare(CommandType::ProtocolMessage) }]);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, BadUpdateWorkflowExecutionMessage, failure 'BadUpdateWorkflowExecutionMessage: ProtocolMessageCommand referenced absent message ID m'}
    ",
    );
}

#[test]
fn nexus_operations_must_be_sound() {
    let w = refused([with(operation(), |a| a.endpoint = "other".into()).command()]);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, BadScheduleNexusOperationAttributes, failure 'BadScheduleNexusOperationAttributes: endpoint \"other\" not found'}
    ",
    );
    let w = refused([bare(CommandType::ScheduleNexusOperation)]);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, BadScheduleNexusOperationAttributes, failure 'BadScheduleNexusOperationAttributes: empty ScheduleNexusOperationCommandAttributes'}
    ",
    );
    let w = refused([operation().command(), cancel_operation(5), cancel_operation(5)]);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, BadRequestCancelNexusOperationAttributes, failure 'BadRequestCancelNexusOperationAttributes: cancelation was already requested for an operation with scheduled event ID 5'}
    ",
    );
    let w = refused_with(|l| l.pending_operations_max = 1, [operation().command(), operation().command()]);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, PendingNexusOperationsLimitExceeded, failure 'PendingNexusOperationsLimitExceeded: workflow has reached the pending nexus operation limit of 1 for this namespace'}
    ",
    );
    let w = refused([cancel_operation(7)]);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, BadRequestCancelNexusOperationAttributes, failure 'BadRequestCancelNexusOperationAttributes: requested cancelation for a non-existing or already completed operation with scheduled event ID of 7'}
    ",
    );
}

#[test]
fn workers_may_say_that_payloads_are_too_large() {
    let mut w = World::new();
    w.start("a");
    let task = w.poll_workflow(QUEUE).unwrap();
    w.fail_task(&task, WorkflowTaskFailedCause::PayloadsTooLarge).unwrap();
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, PayloadsTooLarge, failure 'task failed'}
    ",
    );
}

#[test]
fn workers_may_say_that_their_storage_failed() {
    let mut w = World::new();
    w.start("a");
    let task = w.poll_workflow(QUEUE).unwrap();
    w.fail_task(&task, WorkflowTaskFailedCause::ExternalStorageFailure).unwrap();
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, ExternalStorageFailure, failure 'task failed'}
    ",
    );
}

/// The worker's failure is not kept: the run ends, and its task with it (as the reference has it).
#[test]
fn a_message_too_large_for_the_wire_ends_the_run() {
    let mut w = World::new();
    w.start("a");
    let task = w.poll_workflow(QUEUE).unwrap();
    w.fail_task(&task, WorkflowTaskFailedCause::GrpcMessageTooLarge).unwrap();
    assert_fourth(
        &w,
        "
        4 WorkflowTaskFailed {scheduled 2, started 3, ForceCloseCommand}
        5 WorkflowExecutionTerminated {reason GrpcMessageTooLarge}
    ",
    );
}

// --- events of commands that are taken ---

#[test]
fn upserts_change_what_the_run_is_found_by() {
    let mut w = World::new();
    let search_attributes = SearchAttributes { indexed_fields: [("Key".to_string(), payload("1"))].into() };
    w.begin("a", [UpsertWorkflowSearchAttributesCommandAttributes { search_attributes: Some(search_attributes) }.command()]);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 UpsertWorkflowSearchAttributes {Key 1, wtc 4}
    ",
    );
    let kept = &w.run("a").execution.state().derived.attributes.search["Key"];
    assert_eq!((&kept.data[..], &kept.metadata["type"][..]), (&b"1"[..], &b"Int"[..]), "with the type that the namespace gives it");
}

#[test]
fn the_memo_can_be_changed() {
    let mut w = World::new();
    w.start_with(StartWorkflowExecutionRequest {
        memo: Some(Memo { fields: [("old".to_string(), payload("1"))].into() }),
        ..start_request("a")
    })
    .unwrap();
    let changes = Memo { fields: [("new".to_string(), payload("2")), ("old".to_string(), payload("null"))].into() };
    w.work([ModifyWorkflowPropertiesCommandAttributes { upserted_memo: Some(changes) }.command()]);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowPropertiesModified {new 2, old null, wtc 4}
    ",
    );
    assert_eq!(w.run("a").execution.state().derived.attributes.memo.keys().collect::<Vec<_>>(), ["new"]);
}

#[test]
fn a_cancelled_child_is_told_to_its_parent() {
    let mut w = World::new();
    w.begin("a", [child("kid", ParentClosePolicy::Abandon).command()]);
    w.deliver();
    w.work([]);
    w.work([cancel()]);
    w.deliver();
    assert_fourth(
        &w,
        "
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 StartChildWorkflowExecutionInitiated {id kid, wtc 4}
        6 ChildWorkflowExecutionStarted {initiated 5, run kid/1}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskCompleted {scheduled 7, started 8}
        10 ChildWorkflowExecutionCanceled {initiated 5, started 6, run kid/1}
        11 WorkflowTaskScheduled
    ",
    );
}

#[test]
fn a_child_out_of_time_is_told_to_its_parent() {
    let mut w = World::new();
    w.begin(
        "a",
        [StartChildWorkflowExecutionCommandAttributes { workflow_run_timeout: duration(3), ..child("kid", ParentClosePolicy::Abandon) }
            .command()],
    );
    w.deliver();
    w.work([]);
    w.advance(secs(4));
    w.deliver();
    assert_fourth(
        &w,
        "
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 StartChildWorkflowExecutionInitiated {id kid, wtc 4}
        6 ChildWorkflowExecutionStarted {initiated 5, run kid/1}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskCompleted {scheduled 7, started 8}
        10 ChildWorkflowExecutionTimedOut {initiated 5, started 6, run kid/1, RetryPolicyNotSet}
        11 WorkflowTaskScheduled
    ",
    );
}

/// A cancel request to a run whose task is started waits for its end, like a signal.
#[test]
fn a_cancel_request_while_a_task_runs_waits_for_its_end() {
    let mut w = World::new();
    w.start("a");
    let task = w.poll_workflow(QUEUE).unwrap();
    w.request_cancel("a", "enough").unwrap();
    w.complete(&task, [marker("m")]);
    assert_fourth(
        &w,
        "
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 MarkerRecorded {name m, wtc 4}
        6 WorkflowExecutionCancelRequested {cause enough}
        7 WorkflowTaskScheduled
    ",
    );
}
