//! `workflow start`: starts a workflow and returns. Its flags are those of all commands that start one.

use clap::{Args, ValueEnum};
use prost::Message;
use sempre_api::{
    Duration,
    google::rpc,
    v1::{
        common::{Priority, WorkflowExecution, WorkflowType},
        enums::{TaskQueueKind, WorkflowIdConflictPolicy, WorkflowIdReusePolicy},
        errordetails::WorkflowExecutionAlreadyStartedFailure,
        sdk::UserMetadata,
        taskqueue::TaskQueue,
        workflowservice::StartWorkflowExecutionRequest,
    },
};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::cli::{
    Failure,
    input::{self, InputFlags},
    session::{Session, request_id},
    values,
};

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) shared: SharedStart,
    #[command(flatten)]
    pub(crate) start: StartFlags,
    #[command(flatten)]
    pub(crate) input: InputFlags,
}

/// What a workflow is started with: here and by schedules.
#[derive(Args, Clone, Debug)]
pub(crate) struct SharedStart {
    /// The workflow; without it a new id is made
    #[arg(short, long, value_name = "ID")]
    pub(crate) workflow_id: Option<String>,
    /// Type of the workflow
    #[arg(long, alias = "name", value_name = "NAME")]
    pub(crate) r#type: String,
    /// Task queue of its workers
    #[arg(short, long, value_name = "NAME")]
    pub(crate) task_queue: String,
    /// How long one run may take
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration)]
    pub(crate) run_timeout: Option<Duration>,
    /// How long all runs of the workflow together may take
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration)]
    pub(crate) execution_timeout: Option<Duration>,
    /// How long a worker may take for one workflow task
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration, default_value = "10s")]
    pub(crate) task_timeout: Duration,
    /// Search attribute; may be given several times
    #[arg(long, value_name = "KEY=JSON", value_parser = values::parse_json_pair)]
    pub(crate) search_attribute: Vec<(String, Value)>,
    /// Header that reaches the workflow; may be given several times
    #[arg(long, value_name = "KEY=JSON", value_parser = values::parse_json_pair)]
    pub(crate) headers: Vec<(String, Value)>,
    /// Entry of the memo; may be given several times
    #[arg(long, value_name = "KEY=JSON", value_parser = values::parse_json_pair)]
    pub(crate) memo: Vec<(String, Value)>,
    /// One line about the workflow, for user interfaces
    #[arg(long, value_name = "TEXT")]
    pub(crate) static_summary: Option<String>,
    /// More about the workflow, for user interfaces
    #[arg(long, value_name = "TEXT")]
    pub(crate) static_details: Option<String>,
    /// Priority of its tasks: 1 comes first, 5 last
    #[arg(long, value_name = "NUMBER")]
    pub(crate) priority_key: Option<i32>,
    /// Key among which task queues share their workers fairly
    #[arg(long, value_name = "KEY")]
    pub(crate) fairness_key: Option<String>,
    /// Weight of the fairness key
    #[arg(long, value_name = "NUMBER")]
    pub(crate) fairness_weight: Option<f32>,
}

/// How a workflow is started.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct StartFlags {
    /// Start it again and again by this cron expression
    #[arg(long, value_name = "EXPRESSION")]
    pub(crate) cron: Option<String>,
    /// Fail when the workflow is running already, instead of naming the run
    #[arg(long)]
    pub(crate) fail_existing: bool,
    /// Wait this long before the first workflow task
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration)]
    pub(crate) start_delay: Option<Duration>,
    /// What to do when a closed workflow had the same id
    #[arg(long, value_enum, value_name = "POLICY", ignore_case = true)]
    pub(crate) id_reuse_policy: Option<IdReusePolicy>,
    /// What to do when a running workflow has the same id
    #[arg(long, value_enum, value_name = "POLICY", ignore_case = true)]
    pub(crate) id_conflict_policy: Option<IdConflictPolicy>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub(crate) enum IdReusePolicy {
    AllowDuplicate,
    AllowDuplicateFailedOnly,
    RejectDuplicate,
    TerminateIfRunning,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub(crate) enum IdConflictPolicy {
    Fail,
    UseExisting,
    TerminateExisting,
}

impl StartFlags {
    #[expect(deprecated, reason = "scripts use the older policy")]
    pub(crate) fn reuse_policy(&self) -> WorkflowIdReusePolicy {
        match self.id_reuse_policy {
            None => WorkflowIdReusePolicy::Unspecified,
            Some(IdReusePolicy::AllowDuplicate) => WorkflowIdReusePolicy::AllowDuplicate,
            Some(IdReusePolicy::AllowDuplicateFailedOnly) => WorkflowIdReusePolicy::AllowDuplicateFailedOnly,
            Some(IdReusePolicy::RejectDuplicate) => WorkflowIdReusePolicy::RejectDuplicate,
            Some(IdReusePolicy::TerminateIfRunning) => WorkflowIdReusePolicy::TerminateIfRunning,
        }
    }

    pub(crate) fn conflict_policy(&self) -> WorkflowIdConflictPolicy {
        match self.id_conflict_policy {
            None => WorkflowIdConflictPolicy::Unspecified,
            Some(IdConflictPolicy::Fail) => WorkflowIdConflictPolicy::Fail,
            Some(IdConflictPolicy::UseExisting) => WorkflowIdConflictPolicy::UseExisting,
            Some(IdConflictPolicy::TerminateExisting) => WorkflowIdConflictPolicy::TerminateExisting,
        }
    }
}

impl SharedStart {
    pub(crate) fn queue(&self) -> Option<TaskQueue> {
        Some(TaskQueue { name: self.task_queue.clone(), kind: TaskQueueKind::Normal as i32, ..TaskQueue::default() })
    }

    pub(crate) fn user_metadata(&self) -> Option<UserMetadata> {
        let payload = |text: &Option<String>| text.as_deref().map(|text| input::json_payload(&text.into()));
        let (summary, details) = (payload(&self.static_summary), payload(&self.static_details));
        (summary.is_some() || details.is_some()).then_some(UserMetadata { summary, details })
    }

    pub(crate) fn priority(&self) -> Option<Priority> {
        let given = self.priority_key.is_some() || self.fairness_key.is_some() || self.fairness_weight.is_some();
        given.then(|| Priority {
            priority_key: self.priority_key.unwrap_or_default(),
            fairness_key: self.fairness_key.clone().unwrap_or_default(),
            fairness_weight: self.fairness_weight.unwrap_or_default(),
        })
    }
}

/// The request that the flags ask for.
pub(crate) fn request(
    session: &Session,
    shared: &SharedStart,
    start: &StartFlags,
    input: &InputFlags,
) -> Result<StartWorkflowExecutionRequest, Failure> {
    Ok(StartWorkflowExecutionRequest {
        namespace: session.namespace(),
        workflow_id: shared.workflow_id.clone().unwrap_or_else(request_id),
        workflow_type: Some(WorkflowType { name: shared.r#type.clone() }),
        task_queue: shared.queue(),
        input: input.payloads()?,
        workflow_execution_timeout: shared.execution_timeout,
        workflow_run_timeout: shared.run_timeout,
        workflow_task_timeout: Some(shared.task_timeout),
        identity: session.identity(),
        request_id: request_id(),
        workflow_id_reuse_policy: start.reuse_policy() as i32,
        workflow_id_conflict_policy: start.conflict_policy() as i32,
        cron_schedule: start.cron.clone().unwrap_or_default(),
        memo: input::memo(&shared.memo),
        search_attributes: input::search_attributes(&shared.search_attribute),
        header: input::header(&shared.headers),
        workflow_start_delay: start.start_delay,
        user_metadata: shared.user_metadata(),
        priority: shared.priority(),
        ..Default::default()
    })
}

/// Starts it; when it is running already and that is no failure, gives the run there is.
pub(crate) async fn start(
    session: &mut Session,
    request: StartWorkflowExecutionRequest,
    fail_existing: bool,
) -> Result<WorkflowExecution, Failure> {
    let workflow_id = request.workflow_id.clone();
    let answer = session.client().await?.workflow.start_workflow_execution(request).await;
    let run_id = match answer {
        Ok(answer) => answer.into_inner().run_id,
        Err(status) => match running(&status) {
            Some(run_id) if !fail_existing => run_id,
            _ => return Err(status.into()),
        },
    };
    Ok(WorkflowExecution { workflow_id, run_id })
}

/// The run that a refusal names as running already.
fn running(status: &Status) -> Option<String> {
    if status.code() != Code::AlreadyExists {
        return None;
    }
    let details = rpc::Status::decode(status.details()).ok()?.details;
    let found = details.iter().find(|any| any.type_url.ends_with("WorkflowExecutionAlreadyStartedFailure"))?;
    let failure = WorkflowExecutionAlreadyStartedFailure::decode(&*found.value).ok()?;
    Some(failure.run_id).filter(|run_id| !run_id.is_empty())
}

/// Tells which run goes.
pub(crate) fn print_running(session: &mut Session, execution: &WorkflowExecution, shared: &SharedStart) -> Result<(), Failure> {
    let namespace = session.namespace();
    session.out.title("Running execution:")?;
    session.out.record(vec![
        ("workflowId", json!(execution.workflow_id)),
        ("runId", json!(execution.run_id)),
        ("type", json!(shared.r#type)),
        ("namespace", json!(namespace)),
        ("taskQueue", json!(shared.task_queue)),
    ])
}

pub(crate) async fn run(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let request = request(session, &options.shared, &options.start, &options.input)?;
    let execution = start(session, request, options.start.fail_existing).await?;
    print_running(session, &execution, &options.shared)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sempre_api::Any;

    use super::*;

    #[test]
    fn a_refusal_names_the_run_there_is() {
        let failure = WorkflowExecutionAlreadyStartedFailure { run_id: "r".into(), ..Default::default() };
        let type_url = "type.googleapis.com/temporal.api.errordetails.v1.WorkflowExecutionAlreadyStartedFailure".to_owned();
        let details = rpc::Status { details: vec![Any { type_url, value: failure.encode_to_vec() }], ..Default::default() };
        let bytes = Bytes::from(details.encode_to_vec());
        assert_eq!(running(&Status::with_details(Code::AlreadyExists, "", bytes.clone())), Some("r".into()));
        assert_eq!(running(&Status::with_details(Code::NotFound, "", bytes)), None);
        assert_eq!(running(&Status::new(Code::AlreadyExists, "")), None);
    }
}
