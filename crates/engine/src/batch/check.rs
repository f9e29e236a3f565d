//! What a batch operation may ask for, with the texts of spec 08 §4.1.

#![allow(deprecated, reason = "old fields and values that clients send and expect")]

use sempre_api::sempre::v1::StartBatchForkRequest;
use sempre_api::v1::{
    batch::{batch_operation_reset_activities, batch_operation_unpause_activities, batch_operation_update_activity_options},
    enums::{BatchOperationType, ExecutionType, ResetType, ResourceExhaustedCause},
    workflow::post_reset_operation::Variant,
    workflowservice::{StartBatchOperationRequest, start_batch_operation_request::Operation},
};
use sempre_core::{
    Limits, Refusal, standalone, time_skipping,
    visibility::{Division, ParseOptions},
};

use super::OrderRecord;

/// Targets that can be listed one by one (`frontend.MaxExecutionCountBatchOperationPerNamespace`).
pub(crate) const TARGETS_MAX: usize = 1000;
const REQUIRED: &str = "must provide required parameters: BatchType,Reason,Namespace, AND one of (Query OR Executions OR TargetExecutions)";
const EXCLUSIVE: &str = "visibility query, executions, and target executions are mutually exclusive";
const WHICH_ACTIVITIES: &str = "Either activity type must be set, or match all should be set to true";
const WHAT_OPTIONS: &str = "Either activity type must be set, or restore original should be set to true";
const TOO_MANY_TARGETS: &str = "Workflow executions count exceeded.";

/// The id was used before, by a job that runs or has ended.
pub(super) fn already_known(job_id: &str) -> Refusal {
    Refusal::AlreadyExists(format!("batch job with ID {job_id} already exists"))
}

/// The open jobs of a namespace are as many as may be.
pub(super) fn too_many() -> Refusal {
    Refusal::ResourceExhausted {
        cause: ResourceExhaustedCause::ConcurrentLimit,
        message: "Max concurrent batch operations is reached".into(),
    }
}

/// What a job acts on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Acts {
    #[default]
    OnWorkflows,
    /// On activities that belong to no workflow.
    OnActivities,
}

impl Acts {
    fn of(operation: &Operation) -> Self {
        match operation {
            Operation::CancelActivitiesOperation(_)
            | Operation::TerminateActivitiesOperation(_)
            | Operation::DeleteActivitiesOperation(_) => Self::OnActivities,
            _ => Self::OnWorkflows,
        }
    }

    /// How the job's query is read: what it may select, and by which names.
    pub(crate) fn options(self) -> ParseOptions {
        match self {
            Self::OnWorkflows => ParseOptions::default(),
            Self::OnActivities => {
                ParseOptions { activities: true, division: Division::Only(standalone::DIVISION), ..ParseOptions::default() }
            }
        }
    }

    /// The type of its targets.
    pub(crate) fn execution_type(self) -> ExecutionType {
        match self {
            Self::OnWorkflows => ExecutionType::Workflow,
            Self::OnActivities => ExecutionType::Activity,
        }
    }
}

/// One run to act on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    /// Of an activity that belongs to no workflow, the activity's id.
    pub(crate) workflow_id: String,
    /// Empty: the current run.
    pub(crate) run_id: String,
    /// Where that is empty, the first run of the chain that is meant: the one that was current when the job began. A run
    /// of the same id that somebody starts later is none of the job's. Of an activity, its run. Empty: not looked up.
    pub(crate) chain: String,
}

/// A request that may become a job.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) job_id: String,
    /// `BatchOperationType`, its old values.
    pub(crate) kind: BatchOperationType,
    pub(crate) acts: Acts,
    pub(crate) identity: String,
    pub(crate) reason: String,
    /// The query as asked, and as it selects runs. Empty: targets are listed.
    pub(crate) query: String,
    pub(crate) selection: String,
    pub(crate) targets: Vec<Target>,
}

fn invalid<T>(text: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::InvalidArgument(text.into()))
}

impl Checked {
    /// Everything that can be checked without looking at runs. `activities`: there are activities that belong to no workflow.
    pub(crate) fn new(request: &StartBatchOperationRequest, activities: bool, limits: &Limits) -> Result<Self, Refusal> {
        let given = [!request.visibility_query.is_empty(), !request.executions.is_empty(), !request.target_executions.is_empty()];
        let Some(operation) = request.operation.as_ref().filter(|_| !request.reason.is_empty() && given.contains(&true)) else {
            return invalid(REQUIRED);
        };
        if request.job_id.is_empty() {
            return invalid("JobId is not set on request.");
        }
        if given.iter().filter(|given| **given).count() > 1 {
            return invalid(EXCLUSIVE);
        }
        let (kind, identity) = operation_of(operation, activities)?;
        check_time_skipping(operation, limits)?;
        let acts = Acts::of(operation);
        let wanted = acts.execution_type();
        for (n, target) in request.target_executions.iter().enumerate() {
            let unsaid = acts == Acts::OnWorkflows && target.r#type == ExecutionType::Unspecified as i32;
            if target.r#type != wanted as i32 && !unsaid {
                let given = ExecutionType::try_from(target.r#type).map_or_else(|_| target.r#type.to_string(), |kind| format!("{kind:?}"));
                let text = format!("target_executions[{n}] has type {given}, but operation {} requires {wanted:?}", type_name(operation));
                return invalid(text);
            }
        }
        if acts == Acts::OnActivities && !request.executions.is_empty() {
            let name = type_name(operation);
            return invalid(format!("executions are workflows, but operation {name} requires Activity: use target_executions"));
        }
        if request.executions.len() > TARGETS_MAX || request.target_executions.len() > TARGETS_MAX {
            return invalid(TOO_MANY_TARGETS);
        }
        let query = &request.visibility_query;
        Ok(Self {
            job_id: request.job_id.clone(),
            kind,
            acts,
            identity: identity.clone(),
            reason: request.reason.clone(),
            selection: if query.is_empty() { String::new() } else { narrowed(query, operation) },
            query: query.clone(),
            targets: targets(request),
        })
    }
}

/// Who asks, in an operation that has no field for it.
static NOBODY: String = String::new();

/// The operation's type, and who asks.
fn operation_of(operation: &Operation, activities: bool) -> Result<(BatchOperationType, &String), Refusal> {
    Ok(match operation {
        Operation::TerminationOperation(o) => (BatchOperationType::Terminate, &o.identity),
        Operation::CancellationOperation(o) => (BatchOperationType::Cancel, &o.identity),
        Operation::DeletionOperation(o) => (BatchOperationType::Delete, &o.identity),
        Operation::SignalOperation(o) => {
            if o.signal.is_empty() {
                return invalid("must provide signal name");
            }
            (BatchOperationType::Signal, &o.identity)
        }
        Operation::ResetOperation(o) => {
            match &o.options {
                Some(options) if options.target.is_none() => return invalid("batch reset missing target"),
                Some(_) => {}
                None => match ResetType::try_from(o.reset_type) {
                    Ok(ResetType::FirstWorkflowTask | ResetType::LastWorkflowTask) => {}
                    Ok(other) => return invalid(format!("unknown batch reset type {other:?}")),
                    Err(_) => return invalid(format!("unknown batch reset type {}", o.reset_type)),
                },
            }
            (BatchOperationType::Reset, &o.identity)
        }
        Operation::UpdateWorkflowOptionsOperation(o) => {
            if o.workflow_execution_options.is_none() {
                return invalid("must provide UpdateOptions");
            }
            if o.update_mask.is_none() {
                return invalid("must provide UpdateMask");
            }
            (BatchOperationType::UpdateExecutionOptions, &o.identity)
        }
        Operation::UnpauseActivitiesOperation(o) => {
            use batch_operation_unpause_activities::Activity;
            match &o.activity {
                None => return invalid("activity filter must be set"),
                Some(Activity::Type(name)) if name.is_empty() => return invalid(WHICH_ACTIVITIES),
                Some(Activity::MatchAll(false)) => return invalid(WHICH_ACTIVITIES),
                Some(_) => {}
            }
            (BatchOperationType::UnpauseActivity, &o.identity)
        }
        Operation::ResetActivitiesOperation(o) => {
            use batch_operation_reset_activities::Activity;
            match &o.activity {
                None => return invalid("must provide ActivityType or MatchAll"),
                Some(Activity::Type(name)) if name.is_empty() => return invalid(WHICH_ACTIVITIES),
                Some(Activity::MatchAll(false)) => return invalid(WHICH_ACTIVITIES),
                Some(_) => {}
            }
            (BatchOperationType::ResetActivity, &o.identity)
        }
        Operation::UpdateActivityOptionsOperation(o) => {
            use batch_operation_update_activity_options::Activity;
            if o.activity_options.is_some() && o.restore_original {
                return invalid("cannot set both activity options and restore original");
            }
            if o.activity_options.is_none() && !o.restore_original {
                return invalid(WHAT_OPTIONS);
            }
            match &o.activity {
                None => return invalid("must provide ActivityType or MatchAll"),
                Some(Activity::Type(name)) if name.is_empty() => return invalid(WHICH_ACTIVITIES),
                Some(Activity::MatchAll(false)) => return invalid(WHICH_ACTIVITIES),
                Some(_) => {}
            }
            (BatchOperationType::UpdateActivityOptions, &o.identity)
        }
        Operation::CancelActivitiesOperation(o) if activities => (BatchOperationType::CancelActivity, &o.identity),
        Operation::TerminateActivitiesOperation(o) if activities => (BatchOperationType::TerminateActivity, &o.identity),
        Operation::DeleteActivitiesOperation(_) if activities => (BatchOperationType::DeleteActivity, &NOBODY),
        Operation::CancelActivitiesOperation(_) | Operation::TerminateActivitiesOperation(_) | Operation::DeleteActivitiesOperation(_) => {
            return invalid(format!("The operation type {} is not supported for this namespace", type_name(operation)));
        }
    })
}

/// Refuses what no run could be told about its time.
fn check_time_skipping(operation: &Operation, limits: &Limits) -> Result<(), Refusal> {
    let options = match operation {
        Operation::UpdateWorkflowOptionsOperation(o) => vec![o.workflow_execution_options.as_ref()],
        Operation::ResetOperation(o) => {
            let updates = o.post_reset_operations.iter().filter_map(|after| match &after.variant {
                Some(Variant::UpdateWorkflowOptions(update)) => Some(update.workflow_execution_options.as_ref()),
                _ => None,
            });
            updates.collect()
        }
        _ => Vec::new(),
    };
    options.into_iter().flatten().try_for_each(|options| time_skipping::check(options.time_skipping_config.as_ref(), limits))
}

/// The operation's type as the reference server's texts name it.
fn type_name(operation: &Operation) -> String {
    let name = match operation {
        Operation::TerminationOperation(_) => "TerminationOperation",
        Operation::SignalOperation(_) => "SignalOperation",
        Operation::CancellationOperation(_) => "CancellationOperation",
        Operation::DeletionOperation(_) => "DeletionOperation",
        Operation::ResetOperation(_) => "ResetOperation",
        Operation::UpdateWorkflowOptionsOperation(_) => "UpdateWorkflowOptionsOperation",
        Operation::UnpauseActivitiesOperation(_) => "UnpauseActivitiesOperation",
        Operation::ResetActivitiesOperation(_) => "ResetActivitiesOperation",
        Operation::UpdateActivityOptionsOperation(_) => "UpdateActivityOptionsOperation",
        Operation::CancelActivitiesOperation(_) => "CancelActivitiesOperation",
        Operation::TerminateActivitiesOperation(_) => "TerminateActivitiesOperation",
        Operation::DeleteActivitiesOperation(_) => "DeleteActivitiesOperation",
    };
    format!("*workflowservice.StartBatchOperationRequest_{name}")
}

/// The runs of the query that the operation can act on.
fn narrowed(query: &str, operation: &Operation) -> String {
    use batch_operation_unpause_activities::Activity;
    match operation {
        Operation::ResetOperation(_) | Operation::DeletionOperation(_) | Operation::DeleteActivitiesOperation(_) => query.to_owned(),
        Operation::UnpauseActivitiesOperation(o) => match &o.activity {
            Some(Activity::Type(name)) => {
                let name = name.replace('\\', "\\\\").replace('\'', "''");
                format!("({query}) AND (TemporalPauseInfo = 'property:activityType={name}')")
            }
            _ => open(query),
        },
        _ => open(query),
    }
}

fn open(query: &str) -> String {
    format!("({query}) AND (ExecutionStatus = 'Running' OR ExecutionStatus = 'Paused')")
}

fn targets(request: &StartBatchOperationRequest) -> Vec<Target> {
    let old =
        request.executions.iter().map(|e| Target { workflow_id: e.workflow_id.clone(), run_id: e.run_id.clone(), ..Target::default() });
    let new = request.target_executions.iter().map(|e| Target {
        workflow_id: e.business_id.clone(),
        run_id: e.run_id.clone(),
        ..Target::default()
    });
    old.chain(new).collect()
}

impl OrderRecord {
    /// The runs that are listed one by one.
    pub(crate) fn targets(&self) -> Vec<Target> {
        let mut all: Vec<Target> = self.start.as_ref().map(targets).unwrap_or_default();
        let forks = self.fork.iter().flat_map(|fork| &fork.executions);
        all.extend(forks.map(|e| Target { workflow_id: e.workflow_id.clone(), run_id: e.run_id.clone(), ..Target::default() }));
        for (target, chain) in all.iter_mut().zip(&self.chains) {
            target.chain.clone_from(chain);
        }
        all
    }

    /// It says what is to be done.
    pub(crate) fn has_operation(&self) -> bool {
        self.fork.is_some() || self.start.as_ref().is_some_and(|start| start.operation.is_some())
    }

    /// As it goes to another node for one target.
    pub(super) fn without_targets(&self) -> Self {
        let start = self.start.as_ref().map(|start| StartBatchOperationRequest {
            executions: Vec::new(),
            target_executions: Vec::new(),
            ..start.clone()
        });
        let fork = self.fork.as_ref().map(|fork| StartBatchForkRequest { executions: Vec::new(), ..fork.clone() });
        Self { start, fork, chains: Vec::new() }
    }

    /// The query that selects runs; empty: they are listed.
    pub(crate) fn selection(&self) -> String {
        if let Some(fork) = &self.fork {
            return fork.visibility_query.clone();
        }
        let start = self.start.as_ref();
        let operation = start.and_then(|start| start.operation.as_ref());
        match (start, operation) {
            (Some(start), Some(operation)) if !start.visibility_query.is_empty() => narrowed(&start.visibility_query, operation),
            _ => String::new(),
        }
    }

    /// What it acts on.
    pub(crate) fn acts(&self) -> Acts {
        let operation = self.start.as_ref().and_then(|start| start.operation.as_ref());
        operation.map_or(Acts::OnWorkflows, Acts::of)
    }

    /// Each call ends a run and makes another.
    pub(crate) fn makes_runs(&self) -> bool {
        let operation = self.start.as_ref().and_then(|start| start.operation.as_ref());
        self.fork.is_some() || matches!(operation, Some(Operation::ResetOperation(_)))
    }

    /// What it asks for at most, a second; 0 = nothing said.
    pub(crate) fn rate(&self) -> f32 {
        let fork = self.fork.as_ref().map(|fork| fork.max_operations_per_second);
        fork.or(self.start.as_ref().map(|start| start.max_operations_per_second)).unwrap_or_default()
    }
}
