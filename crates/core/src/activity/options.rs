//! The options that hold for a pending activity: those of its Scheduled event, or what an operator has put in
//! their place (spec 03 §9, UpdateActivityOptions).

use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
    vec::Vec,
};

use sempre_api::v1::{
    activity::ActivityOptions,
    command::ScheduleActivityTaskCommandAttributes,
    common::{Priority, RetryPolicy},
    enums::{TaskQueueKind, TimeoutType},
    taskqueue::TaskQueue,
};

use super::{
    Answer, change, dispatch, pending,
    select::{ActivitySelector, NOT_FOUND, select},
};
use crate::{
    Refusal, Reply, Span, Timestamp, retry,
    state::{ActivityInfo, ActivityProgress},
    step::Step,
    validate,
};

const BOTH: &str = "Both UpdateMask and RestoreOriginal are provided";
const NO_OPTIONS: &str = "ActivityOptions are not provided";
const NO_MASK: &str = "UpdateMask is not provided";

/// The options in force.
#[derive(Clone, Copy)]
pub(crate) struct Options<'a> {
    info: &'a ActivityInfo,
    changed: Option<&'a ActivityOptions>,
    /// When the schedule-to-close time began.
    begin: Timestamp,
}

impl<'a> Options<'a> {
    pub(crate) fn of(info: &'a ActivityInfo, progress: &'a ActivityProgress) -> Self {
        Self { info, changed: progress.options.as_deref(), begin: progress.first_scheduled(info) }
    }

    /// Its queue; empty means the workflow's.
    pub(crate) fn task_queue(self) -> &'a str {
        let queue = match self.changed {
            Some(options) => options.task_queue.as_ref(),
            None => self.info.scheduled().task_queue.as_ref(),
        };
        queue.map_or("", |queue| &queue.name)
    }

    /// One of its timeouts as it stands in the API; `None` also for `Unspecified`.
    pub(crate) fn duration(self, which: TimeoutType) -> Option<sempre_api::Duration> {
        let scheduled = self.info.scheduled();
        match (which, self.changed) {
            (TimeoutType::ScheduleToClose, None) => scheduled.schedule_to_close_timeout,
            (TimeoutType::ScheduleToStart, None) => scheduled.schedule_to_start_timeout,
            (TimeoutType::StartToClose, None) => scheduled.start_to_close_timeout,
            (TimeoutType::Heartbeat, None) => scheduled.heartbeat_timeout,
            (TimeoutType::ScheduleToClose, Some(options)) => options.schedule_to_close_timeout,
            (TimeoutType::ScheduleToStart, Some(options)) => options.schedule_to_start_timeout,
            (TimeoutType::StartToClose, Some(options)) => options.start_to_close_timeout,
            (TimeoutType::Heartbeat, Some(options)) => options.heartbeat_timeout,
            (TimeoutType::Unspecified, _) => None,
        }
    }

    /// One of its timeouts; `None` when unset.
    pub(crate) fn timeout(self, which: TimeoutType) -> Option<Span> {
        Span::from_api(self.duration(which).as_ref()).ok().and_then(Span::some)
    }

    /// No attempt may begin after it.
    pub(crate) fn expiration(self) -> Option<Timestamp> {
        self.timeout(TimeoutType::ScheduleToClose).map(|timeout| self.begin + timeout)
    }

    pub(crate) fn retry_policy(self) -> Option<&'a RetryPolicy> {
        match self.changed {
            Some(options) => options.retry_policy.as_ref(),
            None => self.info.scheduled().retry_policy.as_ref(),
        }
    }

    /// Its own priority, without the workflow's.
    pub(crate) fn priority(self) -> Option<&'a Priority> {
        match self.changed {
            Some(options) => options.priority.as_ref(),
            None => self.info.scheduled().priority.as_ref(),
        }
    }

    /// As DescribeWorkflowExecution shows them.
    pub(crate) fn described(self) -> ActivityOptions {
        let mut options = self.to_api();
        if let Some(queue) = &mut options.task_queue {
            queue.normal_name.clone_from(&queue.name);
        }
        options
    }

    /// As the API has them.
    fn to_api(self) -> ActivityOptions {
        let name = self.task_queue().to_string();
        ActivityOptions {
            task_queue: Some(TaskQueue { name, ..Default::default() }),
            schedule_to_close_timeout: self.duration(TimeoutType::ScheduleToClose),
            schedule_to_start_timeout: self.duration(TimeoutType::ScheduleToStart),
            start_to_close_timeout: self.duration(TimeoutType::StartToClose),
            heartbeat_timeout: self.duration(TimeoutType::Heartbeat),
            retry_policy: self.retry_policy().cloned(),
            priority: self.priority().cloned(),
            start_delay: None,
        }
    }
}

/// UpdateActivityOptions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OptionsUpdate {
    /// New values, of the paths in the mask.
    pub options: Option<ActivityOptions>,
    /// Paths, `snake_case` or `camelCase`. `None`: no mask was given.
    pub mask: Option<Vec<String>>,
    /// Back to the values of the Scheduled event.
    pub restore_original: bool,
    /// Idempotency key; the last one of an activity is remembered. Empty disables deduplication.
    pub request_id: String,
}

/// Applies an update to all that are meant, or to none. Answers with the options of the last one.
pub(crate) fn update(step: &mut Step<'_, '_>, which: &ActivitySelector, request: OptionsUpdate) -> Answer {
    if request.restore_original && request.mask.as_ref().is_some_and(|mask| !mask.is_empty()) {
        return Err(Refusal::invalid(BOTH));
    }
    if !step.run.is_open() {
        return Err(Refusal::not_found(NOT_FOUND));
    }
    let paths = match (&request.options, request.mask) {
        _ if request.restore_original => None,
        (None, _) => return Err(Refusal::invalid(NO_OPTIONS)),
        (Some(options), mask) => {
            select(&step.run.state, which)?;
            validate::priority(options.priority.as_ref()).map_err(Refusal::invalid)?;
            Some((options, mask.ok_or_else(|| Refusal::invalid(NO_MASK))?))
        }
    };
    let mut changes = Vec::new();
    for id in select(&step.run.state, which)? {
        let Some((info, progress)) = pending(&step.run.state, id) else { continue };
        if !request.request_id.is_empty() && progress.operation_request_id == request.request_id {
            continue;
        }
        let options = match &paths {
            None => None,
            Some((given, paths)) => Some(Box::new(merged(step, info, progress, given, paths)?)),
        };
        changes.push((id, options));
    }
    for (id, options) in changes {
        replace(step, id, options);
        change(step, id, |p| p.operation_request_id.clone_from(&request.request_id));
    }
    let last = select(&step.run.state, which)?.pop().and_then(|id| pending(&step.run.state, id));
    let mut options = last.map(|(info, progress)| Options::of(info, progress).to_api()).unwrap_or_default();
    if let Some(queue) = options.task_queue.as_mut().filter(|_| paths.is_some()) {
        queue.kind = TaskQueueKind::Normal as i32;
    }
    Ok(Ok(Reply::ActivityOptions(Box::new(options))))
}

/// Puts other options in force (`None`: those of the Scheduled event). An attempt that no worker has is offered anew:
/// a retry when the new policy says, counted from the end of the attempt before. A running one gets the new timeouts.
pub(super) fn replace(step: &mut Step<'_, '_>, id: i64, options: Option<Box<ActivityOptions>>) {
    dispatch::withdraw(step, id);
    change(step, id, |p| p.options = options);
    let Some((info, progress)) = pending(&step.run.state, id) else { return };
    if progress.is_started() {
        return;
    }
    let policy = Options::of(info, progress).retry_policy().filter(|_| progress.attempt > 1 && progress.last_attempt_complete_time != 0);
    let due = policy.map(|policy| Timestamp(progress.last_attempt_complete_time) + retry::backoff(policy, progress.attempt - 1));
    let due = due.unwrap_or(progress.due());
    dispatch::reschedule(step, id, due);
}

/// The options in force with the given paths changed, checked like those of a new activity.
fn merged(
    step: &Step<'_, '_>,
    info: &ActivityInfo,
    progress: &ActivityProgress,
    given: &ActivityOptions,
    paths: &[String],
) -> Result<ActivityOptions, Refusal> {
    let mut options = Options::of(info, progress).to_api();
    for path in paths {
        merge(&mut options, given, &snake_case(path))?;
    }
    let scheduled = info.scheduled();
    let mut checked = ScheduleActivityTaskCommandAttributes {
        activity_id: scheduled.activity_id.clone(),
        activity_type: scheduled.activity_type.clone(),
        task_queue: options.task_queue,
        schedule_to_close_timeout: options.schedule_to_close_timeout,
        schedule_to_start_timeout: options.schedule_to_start_timeout,
        start_to_close_timeout: options.start_to_close_timeout,
        heartbeat_timeout: options.heartbeat_timeout,
        retry_policy: options.retry_policy,
        priority: options.priority,
        ..Default::default()
    };
    // A queue that was named must have a name; the workflow's takes no place then.
    let named = paths.iter().any(|path| snake_case(path).starts_with("task_queue"));
    let queue = if named { "" } else { step.run.state.derived.start.task_queue() };
    validate::activity(&mut checked, queue, Span::ZERO, step.cx.limits).map_err(Refusal::invalid)?;
    Ok(ActivityOptions {
        task_queue: checked.task_queue,
        schedule_to_close_timeout: checked.schedule_to_close_timeout,
        schedule_to_start_timeout: checked.schedule_to_start_timeout,
        start_to_close_timeout: checked.start_to_close_timeout,
        heartbeat_timeout: checked.heartbeat_timeout,
        retry_policy: checked.retry_policy,
        priority: checked.priority,
        start_delay: None,
    })
}

fn merge(into: &mut ActivityOptions, from: &ActivityOptions, path: &str) -> Result<(), Refusal> {
    let (field, rest) = path.split_once('.').unwrap_or((path, ""));
    match (field, rest) {
        ("task_queue", "" | "name") => {
            let queue = from.task_queue.as_ref().ok_or_else(|| Refusal::invalid("TaskQueue is not provided"))?;
            into.task_queue.get_or_insert_default().name.clone_from(&queue.name);
        }
        ("schedule_to_close_timeout", "") => into.schedule_to_close_timeout = from.schedule_to_close_timeout,
        ("schedule_to_start_timeout", "") => into.schedule_to_start_timeout = from.schedule_to_start_timeout,
        ("start_to_close_timeout", "") => into.start_to_close_timeout = from.start_to_close_timeout,
        ("heartbeat_timeout", "") => into.heartbeat_timeout = from.heartbeat_timeout,
        ("priority", "") => into.priority.clone_from(&from.priority),
        ("priority", field) => {
            let from = from.priority.as_ref().ok_or_else(|| Refusal::invalid("Priority is not provided"))?;
            let into = into.priority.get_or_insert_default();
            match field {
                "priority_key" => into.priority_key = from.priority_key,
                "fairness_key" => into.fairness_key.clone_from(&from.fairness_key),
                "fairness_weight" => into.fairness_weight = from.fairness_weight,
                _ => return Err(unknown(path)),
            }
        }
        ("retry_policy", "") => {
            // The error types are no option of the API's: they stay unless named by their own path.
            let types = into.retry_policy.take().unwrap_or_default().non_retryable_error_types;
            let policy = from.retry_policy.clone().unwrap_or_default();
            into.retry_policy = Some(RetryPolicy { non_retryable_error_types: types, ..policy });
        }
        ("retry_policy", field) => {
            let from = from.retry_policy.as_ref().ok_or_else(|| Refusal::invalid("RetryPolicy is not provided"))?;
            let into = into.retry_policy.get_or_insert_default();
            match field {
                "initial_interval" => into.initial_interval = from.initial_interval,
                "backoff_coefficient" => into.backoff_coefficient = from.backoff_coefficient,
                "maximum_interval" => into.maximum_interval = from.maximum_interval,
                "maximum_attempts" => into.maximum_attempts = from.maximum_attempts,
                "non_retryable_error_types" => into.non_retryable_error_types.clone_from(&from.non_retryable_error_types),
                _ => return Err(unknown(path)),
            }
        }
        _ => return Err(unknown(path)),
    }
    Ok(())
}

fn unknown(path: &str) -> Refusal {
    Refusal::invalid(format!("unknown path in UpdateMask: {path}"))
}

/// Field masks come in the names of the proto or in those of its JSON form.
fn snake_case(path: &str) -> String {
    let mut out = String::with_capacity(path.len() + 4);
    for c in path.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}
