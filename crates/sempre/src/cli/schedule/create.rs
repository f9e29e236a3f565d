//! `schedule create` and `schedule update`: both define the whole schedule.

use clap::Args;
use sempre_api::v1::{
    schedule::{Schedule, ScheduleAction, SchedulePolicies, ScheduleState, schedule_action::Action},
    workflow::NewWorkflowExecutionInfo,
    workflowservice::{CreateScheduleRequest, UpdateScheduleRequest},
};
use serde_json::Value;

use super::{Id, Overlap, spec::Configuration};
use crate::cli::{
    Failure,
    input::{self, InputFlags},
    session::{Session, request_id},
    values,
    workflow::start::{SharedStart, StartFlags, request},
};

#[derive(Args)]
pub(crate) struct Create {
    #[command(flatten)]
    definition: Definition,
    /// Search attribute of the schedule itself; may be given several times
    #[arg(long, value_name = "KEY=JSON", value_parser = values::parse_json_pair)]
    schedule_search_attribute: Vec<(String, Value)>,
    /// Entry of the memo of the schedule itself; may be given several times
    #[arg(long, value_name = "KEY=JSON", value_parser = values::parse_json_pair)]
    schedule_memo: Vec<(String, Value)>,
}

#[derive(Args)]
pub(crate) struct Update {
    #[command(flatten)]
    definition: Definition,
}

#[derive(Args)]
struct Definition {
    #[command(flatten)]
    id: Id,
    #[command(flatten)]
    configuration: Configuration,
    #[command(flatten)]
    overlap: Overlap,
    #[command(flatten)]
    shared: SharedStart,
    #[command(flatten)]
    input: InputFlags,
}

impl Definition {
    fn schedule(&self, session: &Session) -> Result<Schedule, Failure> {
        // A workflow of a schedule is started as any other; without an id the schedule's own names it.
        let start = request(session, &self.shared, &StartFlags::default(), &self.input)?;
        let workflow = NewWorkflowExecutionInfo {
            workflow_id: self.shared.workflow_id.clone().unwrap_or_else(|| self.id.schedule_id.clone()),
            workflow_type: start.workflow_type,
            task_queue: start.task_queue,
            input: start.input,
            workflow_execution_timeout: start.workflow_execution_timeout,
            workflow_run_timeout: start.workflow_run_timeout,
            workflow_task_timeout: start.workflow_task_timeout,
            memo: start.memo,
            search_attributes: start.search_attributes,
            header: start.header,
            user_metadata: start.user_metadata,
            priority: start.priority,
            ..NewWorkflowExecutionInfo::default()
        };
        let configuration = &self.configuration;
        Ok(Schedule {
            spec: Some(configuration.spec()),
            action: Some(ScheduleAction { action: Some(Action::StartWorkflow(workflow)) }),
            policies: Some(SchedulePolicies {
                overlap_policy: self.overlap.value(),
                catchup_window: configuration.catchup_window,
                pause_on_failure: configuration.pause_on_failure,
                ..SchedulePolicies::default()
            }),
            state: Some(ScheduleState {
                notes: configuration.notes.clone(),
                paused: configuration.paused,
                limited_actions: configuration.remaining_actions > 0,
                remaining_actions: configuration.remaining_actions,
            }),
        })
    }
}

pub(super) async fn create(session: &mut Session, options: &Create) -> Result<(), Failure> {
    let request = CreateScheduleRequest {
        namespace: session.namespace(),
        schedule_id: options.definition.id.schedule_id.clone(),
        schedule: Some(options.definition.schedule(session)?),
        identity: session.identity(),
        request_id: request_id(),
        memo: input::memo(&options.schedule_memo),
        search_attributes: input::search_attributes(&options.schedule_search_attribute),
        ..Default::default()
    };
    session.client().await?.workflow.create_schedule(request).await?;
    session.out.line("Schedule created")
}

pub(super) async fn update(session: &mut Session, options: &Update) -> Result<(), Failure> {
    let request = UpdateScheduleRequest {
        namespace: session.namespace(),
        schedule_id: options.definition.id.schedule_id.clone(),
        schedule: Some(options.definition.schedule(session)?),
        identity: session.identity(),
        request_id: request_id(),
        ..Default::default()
    };
    session.client().await?.workflow.update_schedule(request).await?;
    session.out.line("Schedule updated")
}
