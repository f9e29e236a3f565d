//! The start that an action makes (spec 07 §3.2).

use alloc::{borrow::Cow, collections::BTreeMap, format, string::String, vec};

use bytes::Bytes;
use prost::Message as _;
use sempre_api::v1::{
    common::{Callback, Payload, callback},
    enums::{WorkflowIdConflictPolicy, WorkflowIdReusePolicy},
    schedule::SchedulePolicies,
    workflow::NewWorkflowExecutionInfo,
    workflowservice::StartWorkflowExecutionRequest,
};

use super::{
    state::{Definition, Starting, Watch},
    step::Schedule,
};
use crate::{NamespaceId, Timestamp, ids::Uuid, visibility::format_datetime};

/// Bytes of what is appended to the workflow id.
pub(super) const SUFFIX_BYTES: usize = "-2009-11-10T23:00:00Z".len();
const SECOND: i64 = 1_000_000_000;
/// What every run that a schedule starts carries.
const SCHEDULED_START_TIME: &str = "TemporalScheduledStartTime";
const SCHEDULED_BY_ID: &str = "TemporalScheduledById";

impl Definition {
    pub(super) fn namespace_text(&self) -> String {
        let bytes = self.namespace_id.as_ref().try_into().unwrap_or_default();
        format!("{}", NamespaceId(Uuid(bytes)))
    }

    pub(super) fn keeps_workflow_id(&self) -> bool {
        self.policies.as_ref().is_some_and(|policies: &SchedulePolicies| policies.keep_original_workflow_id)
    }
}

/// RFC 3339 in whole seconds of UTC.
fn text(at: Timestamp) -> String {
    format_datetime(Timestamp(at.0.div_euclid(SECOND) * SECOND))
}

/// The workflow id of a start; made anew only where an older version has not written it down.
pub fn workflow_id<'a>(definition: &'a Definition, starting: &'a Starting) -> Cow<'a, str> {
    if !starting.workflow_id.is_empty() {
        return Cow::Borrowed(&starting.workflow_id);
    }
    let id = definition.action.as_ref().map_or("", |action| &action.workflow_id);
    if definition.keeps_workflow_id() { Cow::Borrowed(id) } else { Cow::Owned(format!("{id}-{}", text(Timestamp(starting.start.nominal)))) }
}

/// Whom a callback of a started run tells. `None`: it is not one of a schedule.
pub fn watch_of(callback: &Callback) -> Option<Watch> {
    let Some(callback::Variant::Internal(internal)) = &callback.variant else { return None };
    Watch::decode(internal.data.clone()).ok().filter(|watch| !watch.uid.is_empty())
}

/// The request of a start, with the callback that tells of its end.
pub fn start_request(schedule: &Schedule, starting: &Starting, namespace: &str) -> (StartWorkflowExecutionRequest, Option<Callback>) {
    let definition = &schedule.definition;
    let mut request = of_action(definition.action.clone().unwrap_or_default(), namespace);
    request.workflow_id = workflow_id(definition, starting).into_owned();
    request.request_id = format!("{}-{}", definition.uid, starting.number);
    request.identity = format!("temporal-scheduler-{namespace}-{}", definition.schedule_id);
    // A workflow id with a time is used once; one without, or one that a client asks for again, is not.
    let again = starting.start.manual || definition.keeps_workflow_id();
    request.set_workflow_id_reuse_policy(if again {
        WorkflowIdReusePolicy::AllowDuplicate
    } else {
        WorkflowIdReusePolicy::RejectDuplicate
    });
    request.set_workflow_id_conflict_policy(WorkflowIdConflictPolicy::Fail);
    let attributes = &mut request.search_attributes.get_or_insert_default().indexed_fields;
    attributes.insert(SCHEDULED_START_TIME.into(), json("Datetime", &text(Timestamp(starting.start.nominal))));
    attributes.insert(SCHEDULED_BY_ID.into(), json("Keyword", &definition.schedule_id));
    if starting.overlapping {
        return (request, None);
    }
    request.last_completion_result.clone_from(&schedule.state.last_completion_result);
    request.continued_failure.clone_from(&schedule.state.continued_failure);
    let watch = Watch { schedule_id: definition.schedule_id.clone(), uid: definition.uid.clone(), number: starting.number };
    let internal = callback::Internal { data: watch.encode_to_vec().into() };
    (request, Some(Callback { variant: Some(callback::Variant::Internal(internal)), links: vec![] }))
}

/// The start as far as the action says it.
pub(super) fn of_action(action: NewWorkflowExecutionInfo, namespace: &str) -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest {
        namespace: namespace.into(),
        workflow_id: action.workflow_id,
        workflow_type: action.workflow_type,
        task_queue: action.task_queue,
        input: action.input,
        workflow_execution_timeout: action.workflow_execution_timeout,
        workflow_run_timeout: action.workflow_run_timeout,
        workflow_task_timeout: action.workflow_task_timeout,
        retry_policy: action.retry_policy,
        memo: action.memo,
        search_attributes: action.search_attributes,
        header: action.header,
        user_metadata: action.user_metadata,
        versioning_override: action.versioning_override,
        priority: action.priority,
        ..Default::default()
    }
}

/// A search attribute.
fn json(kind: &'static str, value: &str) -> Payload {
    let metadata: BTreeMap<_, _> =
        [(String::from("encoding"), Bytes::from_static(b"json/plain")), (String::from("type"), Bytes::from_static(kind.as_bytes()))].into();
    Payload { metadata, data: quoted(value).into(), ..Default::default() }
}

/// A JSON string.
fn quoted(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    text.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c < ' ' => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_strings_as_clients_read_them() {
        assert_eq!(text(Timestamp(1_704_164_645_999_999_999)), "2024-01-02T03:04:05Z");
        assert_eq!(text(Timestamp(1_704_164_645_999_999_999)).len() + 1, SUFFIX_BYTES);
        assert_eq!(text(Timestamp(0)), "1970-01-01T00:00:00Z");
        assert_eq!(quoted("a\"\\\n\u{1}ü"), "\"a\\\"\\\\\\u000a\\u0001ü\"");
    }
}
