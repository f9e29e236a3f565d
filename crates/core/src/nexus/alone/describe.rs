//! How an operation without workflow is shown: DescribeNexusOperationExecution, and what lists know of it.

use alloc::{boxed::Box, collections::BTreeMap, format, string::String, vec::Vec};

use sempre_api::v1::{
    callback,
    common::{Payload, SearchAttributes},
    enums::{
        NexusOperationExecutionStatus as Status, NexusOperationWaitStage as Stage, PendingNexusOperationState, WorkflowExecutionStatus,
    },
    nexus::{NexusOperationExecutionCancellationInfo, NexusOperationExecutionInfo, NexusOperationExecutionListInfo},
    nexusoperation::{
        CallbackInfo,
        callback_info::{OperationCompleted, Trigger, trigger::Variant},
    },
};

use super::{ENDPOINT, Outcome, REQUEST_ID, SCHEDULED_EVENT_ID, SERVICE, info, operation_id, part};
use crate::{
    Execution, Timestamp, callbacks,
    nexus::{blocked_reason, cancellation, operation_state},
    visibility::{NAMESPACE_DIVISION, Record, Value, decode},
};

/// The parts of a description that have to be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shows {
    /// What it was started with.
    pub input: bool,
    /// How it has ended.
    pub outcome: bool,
}

/// An operation as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Described {
    /// Everything that is always shown.
    pub info: Box<NexusOperationExecutionInfo>,
    /// If asked for.
    pub input: Option<Payload>,
    /// If asked for and it has ended.
    pub outcome: Option<Box<Outcome>>,
    /// Who is told of its end.
    pub callbacks: Vec<CallbackInfo>,
    /// Grows with each change.
    pub version: u64,
    /// How far it is: nowhere, started, or closed.
    pub stage: Stage,
}

/// The status that a run's is for an operation.
fn status(run: i32) -> Status {
    match WorkflowExecutionStatus::try_from(run).unwrap_or(WorkflowExecutionStatus::Unspecified) {
        WorkflowExecutionStatus::Running | WorkflowExecutionStatus::Paused => Status::Running,
        WorkflowExecutionStatus::Completed => Status::Completed,
        WorkflowExecutionStatus::Failed => Status::Failed,
        WorkflowExecutionStatus::Canceled => Status::Canceled,
        WorkflowExecutionStatus::Terminated => Status::Terminated,
        WorkflowExecutionStatus::TimedOut => Status::TimedOut,
        WorkflowExecutionStatus::ContinuedAsNew | WorkflowExecutionStatus::Unspecified => Status::Unspecified,
    }
}

/// A stored time; `None` for 0 = never.
fn time(nanos: i64) -> Option<sempre_api::Timestamp> {
    (nanos != 0).then(|| Timestamp(nanos).to_api())
}

impl Execution {
    /// The description of a Nexus operation that belongs to no workflow. `None` for everything else.
    pub fn describe_operation(&self, shows: Shows, now: Timestamp) -> Option<Described> {
        let (derived, main) = (&self.state.derived, &self.state.progress.main);
        let (own, info) = (part(&self.state)?, info(&self.state)?);
        let (scheduled, at, is_open) = (info.scheduled(), info.scheduled_at(), self.is_open());
        let progress = self.state.progress.operations.get(&SCHEDULED_EVENT_ID).cloned().unwrap_or_default();
        let state = if is_open { operation_state(&self.state, info, &progress) } else { PendingNexusOperationState::Unspecified };
        let close_time = (!is_open).then_some(Timestamp(derived.main.close_time));
        let expiration = info.timeout(|a| &a.schedule_to_close_timeout).map(|span| at + span);
        let described = NexusOperationExecutionInfo {
            operation_id: operation_id(&self.key.workflow).unwrap_or_default().into(),
            run_id: format!("{}", self.key.run),
            endpoint: scheduled.endpoint.clone(),
            service: scheduled.service.clone(),
            operation: scheduled.operation.clone(),
            status: status(derived.main.status) as i32,
            state: state as i32,
            schedule_to_close_timeout: scheduled.schedule_to_close_timeout,
            schedule_to_start_timeout: scheduled.schedule_to_start_timeout,
            start_to_close_timeout: scheduled.start_to_close_timeout,
            attempt: progress.start.begun(),
            schedule_time: Some(at.to_api()),
            expiration_time: expiration.map(Timestamp::to_api),
            close_time: close_time.map(Timestamp::to_api),
            last_attempt_complete_time: time(progress.start.last_complete_time),
            last_attempt_failure: progress.start.last_failure.as_deref().cloned(),
            next_attempt_schedule_time: time(progress.start.backs_off_until()),
            blocked_reason: blocked_reason(&progress.start),
            execution_duration: Some(close_time.unwrap_or(now).since(at).to_api()),
            cancellation_info: self.cancellation_info(),
            request_id: scheduled.request_id.clone(),
            operation_token: info.token.clone(),
            state_transition_count: main.transitions,
            search_attributes: Some(SearchAttributes { indexed_fields: derived.attributes.search.clone() }),
            nexus_header: scheduled.nexus_header.clone(),
            user_metadata: derived.start.user_metadata.clone(),
            links: derived.start.links.iter().chain(&own.attached_links).chain(&own.links).cloned().collect(),
            identity: derived.start.event().identity.clone(),
            state_size_bytes: derived.main.history_size,
        };
        let stage = match (is_open, info.started_event_id) {
            (false, _) => Stage::Closed,
            (true, 0) => Stage::Unspecified,
            (true, _) => Stage::Started,
        };
        Some(Described {
            info: Box::new(described),
            input: scheduled.input.clone().filter(|_| shows.input),
            outcome: own.outcome.clone().filter(|_| shows.outcome),
            callbacks: self.operation_callbacks(),
            version: self.version(),
            stage,
        })
    }

    fn cancellation_info(&self) -> Option<NexusOperationExecutionCancellationInfo> {
        let (own, info) = (part(&self.state)?, info(&self.state)?);
        if info.cancel_requested_event_id == 0 {
            return None;
        }
        let attempts = self.state.progress.operations.get(&SCHEDULED_EVENT_ID).map(|progress| progress.cancel.clone()).unwrap_or_default();
        let shown = cancellation(&self.state, info, &attempts);
        Some(NexusOperationExecutionCancellationInfo {
            requested_time: shown.requested_time,
            state: shown.state,
            attempt: attempts.begun(),
            last_attempt_complete_time: shown.last_attempt_complete_time,
            last_attempt_failure: shown.last_attempt_failure,
            next_attempt_schedule_time: shown.next_attempt_schedule_time,
            blocked_reason: shown.blocked_reason,
            reason: own.cancel_reason.clone(),
        })
    }

    fn operation_callbacks(&self) -> Vec<CallbackInfo> {
        let shown = callbacks::describe(&self.state).into_iter().map(|own| CallbackInfo {
            trigger: Some(Trigger { variant: Some(Variant::OperationCompleted(OperationCompleted {})) }),
            info: Some(callback::CallbackInfo {
                callback: own.callback,
                registration_time: own.registration_time,
                state: own.state,
                attempt: own.attempt,
                last_attempt_complete_time: own.last_attempt_complete_time,
                last_attempt_failure: own.last_attempt_failure,
                next_attempt_schedule_time: own.next_attempt_schedule_time,
                blocked_reason: own.blocked_reason,
                request_id: own.request_id,
            }),
        });
        shown.collect()
    }
}

impl Record {
    /// An item of a list of operations.
    pub fn to_api_operation(&self) -> NexusOperationExecutionListInfo {
        let ours = |name: &str| [NAMESPACE_DIVISION, ENDPOINT, SERVICE, REQUEST_ID].contains(&name);
        let fields: BTreeMap<String, Payload> =
            self.search_attributes.iter().filter(|(name, _)| !ours(name)).map(|(name, payload)| (name.clone(), payload.clone())).collect();
        let text = |name: &str| match self.search_attributes.get(name).and_then(decode) {
            Some(Value::Keyword(text)) => text,
            _ => String::new(),
        };
        let close = (!self.is_open()).then_some(Timestamp(self.close_time));
        let key = self.run_key().unwrap_or_default();
        NexusOperationExecutionListInfo {
            operation_id: operation_id(&key.workflow).unwrap_or_default().into(),
            run_id: format!("{}", key.run),
            endpoint: text(ENDPOINT),
            service: text(SERVICE),
            operation: self.workflow_type.clone(),
            schedule_time: Some(Timestamp(self.start_time).to_api()),
            close_time: close.map(Timestamp::to_api),
            status: status(self.status) as i32,
            search_attributes: Some(SearchAttributes { indexed_fields: fields }),
            state_transition_count: self.state_transition_count,
            execution_duration: close.map(|close| close.since(Timestamp(self.start_time)).to_api()),
            state_size_bytes: self.history_size_bytes,
        }
    }
}
