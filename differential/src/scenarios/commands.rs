//! Commands of workflow tasks, short.

use sempre_api::v1::{
    command::{command::Attributes, *},
    common::{ActivityType, Memo, RetryPolicy, SearchAttributes, WorkflowType},
    enums::{CommandType, ParentClosePolicy},
};

use crate::scene::{Scene, failure, payloads, secs};

/// Attributes that are a command once their type is added.
pub trait IntoCommand {
    /// The command.
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
    UpsertWorkflowSearchAttributesCommandAttributes UpsertWorkflowSearchAttributesCommandAttributes UpsertWorkflowSearchAttributes std::convert::identity;
    ModifyWorkflowPropertiesCommandAttributes ModifyWorkflowPropertiesCommandAttributes ModifyWorkflowProperties std::convert::identity;
}

impl Scene {
    /// An activity on the main queue, start-to-close 10 s, tried once.
    #[must_use]
    pub fn act(&self, id: &str) -> ScheduleActivityTaskCommandAttributes {
        ScheduleActivityTaskCommandAttributes {
            activity_id: id.into(),
            activity_type: Some(ActivityType { name: "Act".into() }),
            task_queue: self.queue(),
            input: payloads("\"in\""),
            start_to_close_timeout: secs(10),
            retry_policy: retry(1),
            ..Default::default()
        }
    }

    /// A child on a queue of its own (`c`).
    #[must_use]
    pub fn child(&self, name: &str, policy: ParentClosePolicy) -> StartChildWorkflowExecutionCommandAttributes {
        self.watch(name);
        StartChildWorkflowExecutionCommandAttributes {
            workflow_id: self.id(name),
            workflow_type: Some(WorkflowType { name: "Child".into() }),
            task_queue: self.queue_named("c"),
            input: payloads("\"in\""),
            parent_close_policy: policy as i32,
            ..Default::default()
        }
    }

    /// A signal to another workflow of the scene.
    #[must_use]
    pub fn signal_to(&self, name: &str) -> SignalExternalWorkflowExecutionCommandAttributes {
        SignalExternalWorkflowExecutionCommandAttributes {
            execution: Some(self.execution(name)),
            signal_name: "hello".into(),
            input: payloads("\"signal\""),
            ..Default::default()
        }
    }

    /// A cancel request to another workflow of the scene.
    #[must_use]
    pub fn cancel_to(&self, name: &str) -> RequestCancelExternalWorkflowExecutionCommandAttributes {
        RequestCancelExternalWorkflowExecutionCommandAttributes {
            workflow_id: self.id(name),
            reason: "enough".into(),
            ..Default::default()
        }
    }
}

/// A policy with that many attempts, one second apart.
#[must_use]
pub fn retry(maximum_attempts: i32) -> Option<RetryPolicy> {
    Some(RetryPolicy { maximum_attempts, initial_interval: secs(1), backoff_coefficient: 1.0, ..Default::default() })
}

/// A timer.
#[must_use]
pub fn timer(id: &str, seconds: i64) -> Command {
    StartTimerCommandAttributes { timer_id: id.into(), start_to_fire_timeout: secs(seconds) }.command()
}

/// Takes a timer back.
#[must_use]
pub fn cancel_timer(id: &str) -> Command {
    CancelTimerCommandAttributes { timer_id: id.into() }.command()
}

/// Asks for an activity's cancellation.
#[must_use]
pub fn cancel_activity(scheduled_event_id: i64) -> Command {
    RequestCancelActivityTaskCommandAttributes { scheduled_event_id }.command()
}

/// A marker.
#[must_use]
pub fn marker(name: &str) -> Command {
    RecordMarkerCommandAttributes {
        marker_name: name.into(),
        details: [("data".to_owned(), payloads("1").unwrap_or_default())].into(),
        ..Default::default()
    }
    .command()
}

/// Completes the workflow.
#[must_use]
pub fn done() -> Command {
    CompleteWorkflowExecutionCommandAttributes { result: payloads("\"done\"") }.command()
}

/// Fails the workflow.
#[must_use]
pub fn fail(message: &str) -> Command {
    FailWorkflowExecutionCommandAttributes { failure: Some(failure(message)) }.command()
}

/// Ends the workflow as cancelled.
#[must_use]
pub fn cancelled() -> Command {
    CancelWorkflowExecutionCommandAttributes { details: payloads("\"cancelled\"") }.command()
}

/// The next run.
#[must_use]
pub fn continue_as_new() -> ContinueAsNewWorkflowExecutionCommandAttributes {
    ContinueAsNewWorkflowExecutionCommandAttributes { input: payloads("\"next\""), ..Default::default() }
}

/// Sets search attributes; an empty text takes one away.
#[must_use]
pub fn upsert(fields: &[(&str, &str)]) -> Command {
    UpsertWorkflowSearchAttributesCommandAttributes { search_attributes: Some(search_attributes(fields)) }.command()
}

/// Search attributes by their JSON text.
#[must_use]
pub fn search_attributes(fields: &[(&str, &str)]) -> SearchAttributes {
    SearchAttributes { indexed_fields: fields.iter().map(|(name, json)| ((*name).to_owned(), payload(json))).collect() }
}

/// A memo by its JSON text.
#[must_use]
pub fn memo(fields: &[(&str, &str)]) -> Memo {
    Memo { fields: fields.iter().map(|(name, json)| ((*name).to_owned(), payload(json))).collect() }
}

/// Changes the memo.
#[must_use]
pub fn modify_memo(fields: &[(&str, &str)]) -> Command {
    ModifyWorkflowPropertiesCommandAttributes { upserted_memo: Some(memo(fields)) }.command()
}

fn payload(json: &str) -> sempre_api::v1::common::Payload {
    payloads(json).unwrap_or_default().payloads.remove(0)
}
