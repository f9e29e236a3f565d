//! `workflow reset`: a new run that keeps what happened before a point of another.

use clap::{Args, Subcommand, ValueEnum};
use sempre_api::v1::{
    batch::BatchOperationReset,
    common::{ResetOptions, WorkflowExecution, reset_options::Target},
    enums::{EventType, ResetReapplyExcludeType, ResetReapplyType},
    history::history_event::Attributes,
    workflow::{
        PostResetOperation,
        post_reset_operation::{UpdateWorkflowOptions, Variant},
    },
    workflowservice::{CountWorkflowExecutionsRequest, ResetWorkflowExecutionRequest, start_batch_operation_request::Operation},
};

use super::{preview, start_batch, update_options::Versioning};
use crate::cli::{
    Failure,
    history::{Events, Read},
    session::{Session, request_id},
};

#[derive(Args)]
#[command(subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(flatten)]
    flags: Option<Flags>,
    #[command(subcommand)]
    then: Option<Then>,
}

#[derive(Subcommand)]
enum Then {
    /// Reset, and choose the version of the new run's workers in the same step
    WithWorkflowUpdateOptions {
        #[command(flatten)]
        flags: Flags,
        #[command(flatten)]
        versioning: Versioning,
    },
}

#[derive(Args, Clone, Debug)]
struct Flags {
    /// The workflow
    #[arg(short, long, value_name = "ID", required_unless_present = "query", conflicts_with = "query")]
    workflow_id: Option<String>,
    /// The run; without it the current one
    #[arg(short, long, value_name = "ID", requires = "workflow_id", default_value = "", hide_default_value = true)]
    run_id: String,
    /// Event to reset to: the end of a workflow task, or the event after its start
    #[arg(short, long, value_name = "NUMBER", requires = "workflow_id", conflicts_with = "kind")]
    event_id: Option<i64>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// What of the events after the point is applied again; the older form of --reapply-exclude
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = Reapply::All, ignore_case = true, conflicts_with = "reapply_exclude")]
    reapply_type: Reapply,
    /// What of the events after the point is not applied again; may be given several times
    #[arg(long, value_enum, value_name = "TYPE", ignore_case = true)]
    reapply_exclude: Vec<Exclude>,
    /// Point to reset to
    #[arg(
        id = "kind",
        short = 't',
        long = "type",
        value_enum,
        value_name = "TYPE",
        ignore_case = true,
        required_unless_present = "event_id"
    )]
    kind: Option<Point>,
    /// Build for type BuildId: back before its first workflow task
    #[arg(long, value_name = "ID", required_if_eq("kind", "BuildId"))]
    build_id: Option<String>,
    /// List filter: reset all workflows that match
    #[arg(short, long, value_name = "QUERY")]
    query: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// With a query: only tell how many workflows it would be, and some of them
    #[arg(long, conflicts_with = "workflow_id")]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum Point {
    FirstWorkflowTask,
    LastWorkflowTask,
    LastContinuedAsNew,
    BuildId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum Reapply {
    All,
    Signal,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum Exclude {
    All,
    Signal,
    Update,
    Nexus,
}

impl Flags {
    fn reapply(&self) -> ResetReapplyType {
        match self.reapply_type {
            Reapply::All => ResetReapplyType::AllEligible,
            Reapply::Signal => ResetReapplyType::Signal,
            Reapply::None => ResetReapplyType::None,
        }
    }

    fn exclude(&self) -> Vec<i32> {
        use ResetReapplyExcludeType as X;
        let mut types: Vec<i32> = Vec::new();
        for exclude in &self.reapply_exclude {
            types.extend(match exclude {
                Exclude::All => vec![X::Signal as i32, X::Update as i32, X::Nexus as i32],
                Exclude::Signal => vec![X::Signal as i32],
                Exclude::Update => vec![X::Update as i32],
                Exclude::Nexus => vec![X::Nexus as i32],
            });
        }
        types.sort_unstable();
        types.dedup();
        types
    }
}

pub(crate) async fn run(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let (flags, after) = match (&options.flags, &options.then) {
        (_, Some(Then::WithWorkflowUpdateOptions { flags, versioning })) => {
            let (options, mask) = versioning.options()?;
            let update = UpdateWorkflowOptions { workflow_execution_options: Some(options), update_mask: Some(mask) };
            (flags, vec![PostResetOperation { variant: Some(Variant::UpdateWorkflowOptions(update)) }])
        }
        (Some(flags), None) => (flags, Vec::new()),
        (None, None) => return Err(Failure::usage("--workflow-id or --query says what to reset, --reason why")),
    };
    match &flags.workflow_id {
        Some(workflow_id) => {
            let execution = WorkflowExecution { workflow_id: workflow_id.clone(), run_id: flags.run_id.clone() };
            one(session, flags, execution, after).await
        }
        None => many(session, flags, after).await,
    }
}

#[expect(deprecated, reason = "--reapply-type is an older flag for an older field")]
async fn one(session: &mut Session, flags: &Flags, execution: WorkflowExecution, after: Vec<PostResetOperation>) -> Result<(), Failure> {
    let (execution, event_id) = match (flags.event_id, flags.kind) {
        (Some(event_id), _) => (execution, event_id),
        (None, Some(point)) => find(session, execution, point).await?,
        (None, None) => return Err(Failure::usage("--event-id or --type says which point to reset to")),
    };
    session.out.line(format!("Resetting workflow {} to event ID {event_id}", execution.workflow_id))?;
    let request = ResetWorkflowExecutionRequest {
        namespace: session.namespace(),
        workflow_execution: Some(execution),
        reason: flags.reason.clone(),
        workflow_task_finish_event_id: event_id,
        request_id: request_id(),
        reset_reapply_type: flags.reapply() as i32,
        reset_reapply_exclude_types: flags.exclude(),
        post_reset_operations: after,
        identity: session.identity(),
    };
    let answer = session.client().await?.workflow.reset_workflow_execution(request).await?.into_inner();
    session.out.message(&answer)?;
    session.out.line(format!("New run: {}", answer.run_id))
}

#[expect(deprecated, reason = "--reapply-type is an older flag for an older field")]
async fn many(session: &mut Session, flags: &Flags, after: Vec<PostResetOperation>) -> Result<(), Failure> {
    let target = match flags.kind {
        Some(Point::FirstWorkflowTask) => Target::FirstWorkflowTask(()),
        Some(Point::LastWorkflowTask) => Target::LastWorkflowTask(()),
        Some(Point::BuildId) => Target::BuildId(flags.build_id.clone().unwrap_or_default()),
        Some(Point::LastContinuedAsNew) | None => {
            return Err(Failure::usage("with --query, --type is FirstWorkflowTask, LastWorkflowTask or BuildId"));
        }
    };
    let query = flags.query.clone().unwrap_or_default();
    if !flags.yes && !flags.dry_run {
        let count = CountWorkflowExecutionsRequest { namespace: session.namespace(), query: query.clone() };
        let count = session.client().await?.workflow.count_workflow_executions(count).await?.into_inner().count;
        session.confirm(&format!("Reset about {count} workflow(s)?"), false).await?;
    }
    let operation = BatchOperationReset {
        identity: session.identity(),
        options: Some(ResetOptions {
            reset_reapply_type: flags.reapply() as i32,
            reset_reapply_exclude_types: flags.exclude(),
            target: Some(target),
            ..ResetOptions::default()
        }),
        post_reset_operations: after,
        ..Default::default()
    };
    let operation = Operation::ResetOperation(operation);
    if flags.dry_run {
        return preview(session, query, operation).await;
    }
    start_batch(session, query, flags.reason.clone(), None, operation).await
}

/// The run and the event that a point means.
async fn find(session: &mut Session, mut execution: WorkflowExecution, point: Point) -> Result<(WorkflowExecution, i64), Failure> {
    let read = match point {
        Point::BuildId => return Err(Failure::usage("type BuildId is for --query; for one workflow give --event-id")),
        Point::LastWorkflowTask => Read::Reverse,
        Point::FirstWorkflowTask => Read::All,
        Point::LastContinuedAsNew => {
            execution.run_id = predecessor(session, &execution).await?;
            Read::Reverse
        }
    };
    let mut events = Events::new(session.client().await?, session.namespace(), execution.clone(), read);
    let mut scheduled = None;
    while let Some(event) = events.next().await? {
        match event.event_type() {
            EventType::WorkflowTaskCompleted => return Ok((execution, event.event_id)),
            // A task that never completed: the event after it was scheduled stands for its end.
            EventType::WorkflowTaskScheduled if point != Point::LastContinuedAsNew && scheduled.is_none() => {
                scheduled = Some(event.event_id + 1);
            }
            _ => {}
        }
    }
    match scheduled {
        Some(event_id) => Ok((execution, event_id)),
        None => Err(Failure::new("the run has no workflow task to reset to")),
    }
}

async fn predecessor(session: &mut Session, execution: &WorkflowExecution) -> Result<String, Failure> {
    let mut events = Events::new(session.client().await?, session.namespace(), execution.clone(), Read::All);
    let first = events.next().await?.and_then(|event| event.attributes);
    match first {
        Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) if !started.continued_execution_run_id.is_empty() => {
            Ok(started.continued_execution_run_id)
        }
        _ => Err(Failure::new("the run does not continue another, so there is no LastContinuedAsNew to reset to")),
    }
}
