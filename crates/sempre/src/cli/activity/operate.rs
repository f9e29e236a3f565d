//! `activity pause`, `unpause`, `reset` and `update-options`: pending activities of one workflow, or of all that match a
//! query.

use clap::Args;
use sempre_api::{
    Duration, FieldMask,
    v1::{
        activity::ActivityOptions,
        batch::{
            BatchOperationResetActivities, BatchOperationUnpauseActivities, BatchOperationUpdateActivityOptions,
            batch_operation_reset_activities, batch_operation_unpause_activities, batch_operation_update_activity_options,
        },
        common::{RetryPolicy, WorkflowExecution},
        taskqueue::TaskQueue,
        workflowservice::{
            PauseActivityRequest, ResetActivityRequest, UnpauseActivityRequest, UpdateActivityOptionsRequest, pause_activity_request,
            reset_activity_request, start_batch_operation_request::Operation, unpause_activity_request, update_activity_options_request,
        },
    },
};

use crate::cli::{
    Failure,
    session::{Session, request_id},
    values,
    workflow::Many,
};

#[derive(Args)]
pub(crate) struct Pause {
    /// The activity
    #[arg(short, long, value_name = "ID")]
    activity_id: String,
    /// Its workflow
    #[arg(short, long, value_name = "ID")]
    workflow_id: String,
    /// The run; without it the current one
    #[arg(short, long, value_name = "ID", default_value = "", hide_default_value = true)]
    run_id: String,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

#[derive(Args)]
pub(crate) struct Unpause {
    /// The activity
    #[arg(short, long, value_name = "ID", required_unless_present = "query")]
    activity_id: Option<String>,
    #[command(flatten)]
    target: Many,
    /// Longest random delay before it goes on
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration)]
    jitter: Option<Duration>,
}

#[derive(Args)]
pub(crate) struct Reset {
    /// The activity
    #[arg(short, long, value_name = "ID", required_unless_present = "query")]
    activity_id: Option<String>,
    #[command(flatten)]
    target: Many,
    /// Leave it paused if it is
    #[arg(long)]
    keep_paused: bool,
    /// Longest random delay before it begins again
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration)]
    jitter: Option<Duration>,
    /// Take back all changes of its options
    #[arg(long)]
    restore_original_options: bool,
}

#[derive(Args)]
pub(crate) struct UpdateOptions {
    /// The activity
    #[arg(short, long, value_name = "ID", required_unless_present = "query")]
    activity_id: Option<String>,
    #[command(flatten)]
    target: Many,
    /// Task queue
    #[arg(long, value_name = "NAME")]
    task_queue: Option<String>,
    /// How long it may take, retries and all
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration)]
    schedule_to_close_timeout: Option<Duration>,
    /// How long it may wait for a worker
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration)]
    schedule_to_start_timeout: Option<Duration>,
    /// How long an attempt may take
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration)]
    start_to_close_timeout: Option<Duration>,
    /// How long an attempt may be silent
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration)]
    heartbeat_timeout: Option<Duration>,
    /// First time between attempts
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration)]
    retry_initial_interval: Option<Duration>,
    /// Longest time between attempts
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration)]
    retry_maximum_interval: Option<Duration>,
    /// By what the time between attempts grows
    #[arg(long, value_name = "NUMBER")]
    retry_backoff_coefficient: Option<f64>,
    /// How many attempts there may be
    #[arg(long, value_name = "NUMBER")]
    retry_maximum_attempts: Option<i32>,
    /// Take back all changes of its options
    #[arg(long)]
    restore_original_options: bool,
}

impl UpdateOptions {
    /// The options that are given, and which they are.
    fn options(&self) -> (ActivityOptions, FieldMask) {
        let mut paths = Vec::new();
        let mut note = |path: &str, given: bool| {
            if given {
                paths.push(path.to_owned());
            }
        };
        note("task_queue.name", self.task_queue.is_some());
        note("schedule_to_close_timeout", self.schedule_to_close_timeout.is_some());
        note("schedule_to_start_timeout", self.schedule_to_start_timeout.is_some());
        note("start_to_close_timeout", self.start_to_close_timeout.is_some());
        note("heartbeat_timeout", self.heartbeat_timeout.is_some());
        note("retry_policy.initial_interval", self.retry_initial_interval.is_some());
        note("retry_policy.maximum_interval", self.retry_maximum_interval.is_some());
        note("retry_policy.backoff_coefficient", self.retry_backoff_coefficient.is_some());
        note("retry_policy.maximum_attempts", self.retry_maximum_attempts.is_some());
        let retry = paths.iter().any(|path| path.starts_with("retry_policy.")).then(|| RetryPolicy {
            initial_interval: self.retry_initial_interval,
            maximum_interval: self.retry_maximum_interval,
            backoff_coefficient: self.retry_backoff_coefficient.unwrap_or_default(),
            maximum_attempts: self.retry_maximum_attempts.unwrap_or_default(),
            ..RetryPolicy::default()
        });
        let options = ActivityOptions {
            task_queue: self.task_queue.clone().map(|name| TaskQueue { name, ..TaskQueue::default() }),
            schedule_to_close_timeout: self.schedule_to_close_timeout,
            schedule_to_start_timeout: self.schedule_to_start_timeout,
            start_to_close_timeout: self.start_to_close_timeout,
            heartbeat_timeout: self.heartbeat_timeout,
            retry_policy: retry,
            ..ActivityOptions::default()
        };
        (options, FieldMask { paths })
    }
}

pub(super) async fn pause(session: &mut Session, options: &Pause) -> Result<(), Failure> {
    let request = PauseActivityRequest {
        namespace: session.namespace(),
        execution: Some(WorkflowExecution { workflow_id: options.workflow_id.clone(), run_id: options.run_id.clone() }),
        identity: session.identity(),
        reason: options.reason.clone(),
        request_id: request_id(),
        activity: Some(pause_activity_request::Activity::Id(options.activity_id.clone())),
    };
    session.client().await?.workflow.pause_activity(request).await?;
    session.out.line("Activity paused")
}

pub(super) async fn unpause(session: &mut Session, options: &Unpause) -> Result<(), Failure> {
    let identity = session.identity();
    let Some(execution) = options.target.one() else {
        let activity = Some(batch_operation_unpause_activities::Activity::MatchAll(true));
        let operation = BatchOperationUnpauseActivities { identity, jitter: options.jitter, activity, ..Default::default() };
        return options.target.batch(session, Operation::UnpauseActivitiesOperation(operation)).await;
    };
    let request = UnpauseActivityRequest {
        namespace: session.namespace(),
        execution: Some(execution),
        identity,
        jitter: options.jitter,
        activity: options.activity_id.clone().map(unpause_activity_request::Activity::Id),
        ..Default::default()
    };
    session.client().await?.workflow.unpause_activity(request).await?;
    session.out.line("Activity unpaused")
}

pub(super) async fn reset(session: &mut Session, options: &Reset) -> Result<(), Failure> {
    let identity = session.identity();
    let Some(execution) = options.target.one() else {
        let operation = BatchOperationResetActivities {
            identity,
            keep_paused: options.keep_paused,
            jitter: options.jitter,
            restore_original_options: options.restore_original_options,
            activity: Some(batch_operation_reset_activities::Activity::MatchAll(true)),
            ..Default::default()
        };
        return options.target.batch(session, Operation::ResetActivitiesOperation(operation)).await;
    };
    let request = ResetActivityRequest {
        namespace: session.namespace(),
        execution: Some(execution),
        identity,
        keep_paused: options.keep_paused,
        jitter: options.jitter,
        restore_original_options: options.restore_original_options,
        activity: options.activity_id.clone().map(reset_activity_request::Activity::Id),
        ..Default::default()
    };
    session.client().await?.workflow.reset_activity(request).await?;
    session.out.line("Activity reset")
}

pub(super) async fn update_options(session: &mut Session, options: &UpdateOptions) -> Result<(), Failure> {
    let identity = session.identity();
    let (wanted, mask) = options.options();
    if mask.paths.is_empty() && !options.restore_original_options {
        return Err(Failure::usage("no option is given; see `sempre activity update-options --help`"));
    }
    let Some(execution) = options.target.one() else {
        let operation = BatchOperationUpdateActivityOptions {
            identity,
            activity_options: Some(wanted),
            update_mask: Some(mask),
            restore_original: options.restore_original_options,
            activity: Some(batch_operation_update_activity_options::Activity::MatchAll(true)),
        };
        return options.target.batch(session, Operation::UpdateActivityOptionsOperation(operation)).await;
    };
    let request = UpdateActivityOptionsRequest {
        namespace: session.namespace(),
        execution: Some(execution),
        identity,
        activity_options: Some(wanted),
        update_mask: Some(mask),
        restore_original: options.restore_original_options,
        activity: options.activity_id.clone().map(update_activity_options_request::Activity::Id),
    };
    let answer = session.client().await?.workflow.update_activity_options(request).await?.into_inner();
    session.out.message(&answer)?;
    let now = answer.activity_options.unwrap_or_default();
    let retry = now.retry_policy.unwrap_or_default();
    let text = |duration: &Option<Duration>| duration.as_ref().map(values::duration_text).unwrap_or_default();
    session.out.card(&[
        ("TaskQueue", now.task_queue.unwrap_or_default().name.into()),
        ("ScheduleToCloseTimeout", text(&now.schedule_to_close_timeout).into()),
        ("ScheduleToStartTimeout", text(&now.schedule_to_start_timeout).into()),
        ("StartToCloseTimeout", text(&now.start_to_close_timeout).into()),
        ("HeartbeatTimeout", text(&now.heartbeat_timeout).into()),
        ("InitialInterval", text(&retry.initial_interval).into()),
        ("BackoffCoefficient", retry.backoff_coefficient.to_string().into()),
        ("MaximumInterval", text(&retry.maximum_interval).into()),
        ("MaximumAttempts", retry.maximum_attempts.to_string().into()),
    ])
}
