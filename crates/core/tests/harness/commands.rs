//! Commands of workflow tasks, short.

use sempre_api::v1::{
    command::{command::Attributes, *},
    common::{ActivityType, RetryPolicy, WorkflowExecution, WorkflowType},
    enums::{CommandType, ParentClosePolicy},
    taskqueue::TaskQueue,
};
use sempre_core::Span;

use super::{ENDPOINT, QUEUE, duration, failure, payload, payloads};

/// Something that is a command once its type is added.
pub trait IntoCommand {
    fn command(self) -> Command;
}

macro_rules! into_command {
    ($($attributes:ident $variant:ident $kind:ident $make:expr;)*) => {$(
        impl IntoCommand for $attributes {
            fn command(self) -> Command {
                let attributes = Attributes::$variant($make(self));
                Command { command_type: CommandType::$kind as i32, attributes: Some(attributes), ..Default::default() }
            }
        }
    )*};
}

into_command! {
    ScheduleActivityTaskCommandAttributes ScheduleActivityTaskCommandAttributes ScheduleActivityTask Box::new;
    RequestCancelActivityTaskCommandAttributes RequestCancelActivityTaskCommandAttributes RequestCancelActivityTask std::convert::identity;
    StartTimerCommandAttributes StartTimerCommandAttributes StartTimer std::convert::identity;
    CancelTimerCommandAttributes CancelTimerCommandAttributes CancelTimer std::convert::identity;
    CompleteWorkflowExecutionCommandAttributes CompleteWorkflowExecutionCommandAttributes CompleteWorkflowExecution std::convert::identity;
    FailWorkflowExecutionCommandAttributes FailWorkflowExecutionCommandAttributes FailWorkflowExecution std::convert::identity;
    CancelWorkflowExecutionCommandAttributes CancelWorkflowExecutionCommandAttributes CancelWorkflowExecution std::convert::identity;
    RequestCancelExternalWorkflowExecutionCommandAttributes RequestCancelExternalWorkflowExecutionCommandAttributes RequestCancelExternalWorkflowExecution std::convert::identity;
    SignalExternalWorkflowExecutionCommandAttributes SignalExternalWorkflowExecutionCommandAttributes SignalExternalWorkflowExecution std::convert::identity;
    RecordMarkerCommandAttributes RecordMarkerCommandAttributes RecordMarker std::convert::identity;
    ContinueAsNewWorkflowExecutionCommandAttributes ContinueAsNewWorkflowExecutionCommandAttributes ContinueAsNewWorkflowExecution Box::new;
    StartChildWorkflowExecutionCommandAttributes StartChildWorkflowExecutionCommandAttributes StartChildWorkflowExecution Box::new;
    ScheduleNexusOperationCommandAttributes ScheduleNexusOperationCommandAttributes ScheduleNexusOperation std::convert::identity;
    RequestCancelNexusOperationCommandAttributes RequestCancelNexusOperationCommandAttributes RequestCancelNexusOperation std::convert::identity;
    UpsertWorkflowSearchAttributesCommandAttributes UpsertWorkflowSearchAttributesCommandAttributes UpsertWorkflowSearchAttributes std::convert::identity;
    ModifyWorkflowPropertiesCommandAttributes ModifyWorkflowPropertiesCommandAttributes ModifyWorkflowProperties std::convert::identity;
}

/// An activity with a start-to-close timeout of 10 s.
pub fn activity(id: &str) -> ScheduleActivityTaskCommandAttributes {
    ScheduleActivityTaskCommandAttributes {
        activity_id: id.into(),
        activity_type: Some(ActivityType { name: "Activity".into() }),
        task_queue: Some(TaskQueue { name: QUEUE.into(), ..Default::default() }),
        input: payloads("input"),
        start_to_close_timeout: duration(10),
        ..Default::default()
    }
}

/// A policy that waits 1 s, 2 s, 4 s, … without end.
pub fn retry(maximum_attempts: i32) -> Option<RetryPolicy> {
    Some(RetryPolicy { maximum_attempts, ..Default::default() })
}

pub fn cancel_activity(scheduled_event_id: i64) -> Command {
    RequestCancelActivityTaskCommandAttributes { scheduled_event_id }.command()
}

/// A Nexus operation at the one endpoint there is.
pub fn operation() -> ScheduleNexusOperationCommandAttributes {
    ScheduleNexusOperationCommandAttributes {
        endpoint: ENDPOINT.into(),
        service: "service".into(),
        operation: "operation".into(),
        input: Some(payload("input")),
        ..Default::default()
    }
}

pub fn cancel_operation(scheduled_event_id: i64) -> Command {
    RequestCancelNexusOperationCommandAttributes { scheduled_event_id }.command()
}

pub fn timer(id: &str, span: Span) -> Command {
    StartTimerCommandAttributes { timer_id: id.into(), start_to_fire_timeout: Some(span.to_api()) }.command()
}

pub fn cancel_timer(id: &str) -> Command {
    CancelTimerCommandAttributes { timer_id: id.into() }.command()
}

pub fn marker(name: &str) -> Command {
    RecordMarkerCommandAttributes { marker_name: name.into(), ..Default::default() }.command()
}

pub fn complete() -> Command {
    CompleteWorkflowExecutionCommandAttributes { result: payloads("done") }.command()
}

pub fn fail(message: &str) -> Command {
    FailWorkflowExecutionCommandAttributes { failure: Some(failure(message)) }.command()
}

pub fn cancel() -> Command {
    CancelWorkflowExecutionCommandAttributes { details: None }.command()
}

pub fn continue_as_new() -> ContinueAsNewWorkflowExecutionCommandAttributes {
    ContinueAsNewWorkflowExecutionCommandAttributes { input: payloads("next"), ..Default::default() }
}

pub fn child(id: &str, policy: ParentClosePolicy) -> StartChildWorkflowExecutionCommandAttributes {
    StartChildWorkflowExecutionCommandAttributes {
        workflow_id: id.into(),
        workflow_type: Some(WorkflowType { name: "Child".into() }),
        parent_close_policy: policy as i32,
        ..Default::default()
    }
}

pub fn signal_external(workflow_id: &str, name: &str) -> SignalExternalWorkflowExecutionCommandAttributes {
    SignalExternalWorkflowExecutionCommandAttributes {
        execution: Some(WorkflowExecution { workflow_id: workflow_id.into(), run_id: String::new() }),
        signal_name: name.into(),
        ..Default::default()
    }
}

pub fn cancel_external(workflow_id: &str) -> RequestCancelExternalWorkflowExecutionCommandAttributes {
    RequestCancelExternalWorkflowExecutionCommandAttributes {
        workflow_id: workflow_id.into(),
        reason: "enough".into(),
        ..Default::default()
    }
}
