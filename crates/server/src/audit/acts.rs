//! Which calls are written down, and by which other call the settings that they change are looked at.
//!
//! Calls of workers are none of them, whoever makes them: `RespondActivityTaskCompletedById` and `RespondActivityTaskFailedById` are
//! not written down when an operator completes or fails an activity in the web UI either.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use http_body_util::Full;
use prost::Message;
use sempre_api::json::{
    self, Payloads, descriptors,
    reflect::{DynamicMessage, MessageDescriptor},
};
use serde_json::Value;

use super::redact::redact;

const WORKFLOW: &str = "temporal.api.workflowservice.v1.WorkflowService";
const OPERATOR: &str = "temporal.api.operatorservice.v1.OperatorService";
const KEYS: &str = "sempre.v1.AccessService";
const ALERTS: &str = "sempre.v1.AlertService";
const FLOW: &str = "sempre.v1.FlowService";

/// How settings are looked at: service, method, fields of its request (there) and where they are in the request (here).
type Look = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const NAMESPACE: Look = (WORKFLOW, "DescribeNamespace", &[("namespace", "namespace")]);
const ATTRIBUTES: Look = (OPERATOR, "ListSearchAttributes", &[("namespace", "namespace")]);
const SCHEDULE: Look = (WORKFLOW, "DescribeSchedule", &[("namespace", "namespace"), ("schedule_id", "schedule_id")]);
const DEPLOYMENT: Look = (WORKFLOW, "DescribeWorkerDeployment", &[("namespace", "namespace"), ("deployment_name", "deployment_name")]);
const ENDPOINT: Look = (OPERATOR, "GetNexusEndpoint", &[("id", "id")]);
const FLOW_RULES: Look = (FLOW, "ListFlowRules", &[("namespace", "namespace")]);
const ALERT_RULES: Look = (ALERTS, "ListAlertRules", &[("namespace", "namespace")]);
const ALL_KEYS: Look = (KEYS, "ListApiKeys", &[]);

/// Service, methods, how what they change is looked at.
const ACTS: &[(&str, &[&str], Option<Look>)] = &[
    (WORKFLOW, &["RegisterNamespace", "UpdateNamespace", "DeprecateNamespace"], Some(NAMESPACE)),
    (OPERATOR, &["DeleteNamespace"], Some((WORKFLOW, "DescribeNamespace", &[("namespace", "namespace"), ("id", "namespace_id")]))),
    (OPERATOR, &["AddSearchAttributes", "RemoveSearchAttributes"], Some(ATTRIBUTES)),
    ("sempre.v1.OperateService", &["RenameSearchAttribute"], Some(ATTRIBUTES)),
    ("sempre.v1.OperateService", &["RebuildVisibility"], None),
    ("sempre.v1.StorageService", &["Backup"], None),
    (OPERATOR, &["CreateNexusEndpoint"], Some((OPERATOR, "ListNexusEndpoints", &[("name", "spec.name")]))),
    (OPERATOR, &["UpdateNexusEndpoint", "DeleteNexusEndpoint"], Some(ENDPOINT)),
    (OPERATOR, &["AddOrUpdateRemoteCluster", "RemoveRemoteCluster"], None),
    (KEYS, &["CreateApiKey", "RevokeApiKey"], Some(ALL_KEYS)),
    (ALERTS, &["SetAlertRule", "DeleteAlertRule"], Some(ALERT_RULES)),
    (ALERTS, &["TestAlertRule"], None),
    (FLOW, &["SetFlowRule", "DeleteFlowRule"], Some(FLOW_RULES)),
    (WORKFLOW, &["CreateSchedule", "UpdateSchedule", "PatchSchedule", "DeleteSchedule"], Some(SCHEDULE)),
    (
        WORKFLOW,
        &[
            "SetWorkerDeploymentCurrentVersion",
            "SetWorkerDeploymentRampingVersion",
            "SetWorkerDeploymentManager",
            "CreateWorkerDeployment",
            "DeleteWorkerDeployment",
        ],
        Some(DEPLOYMENT),
    ),
    (
        WORKFLOW,
        &[
            "CreateWorkerDeploymentVersion",
            "DeleteWorkerDeploymentVersion",
            "UpdateWorkerDeploymentVersionMetadata",
            "UpdateWorkerDeploymentVersionComputeConfig",
            "UpdateTaskQueueConfig",
            "UpdateWorkerConfig",
            "CreateWorkflowRule",
            "DeleteWorkflowRule",
            "TriggerWorkflowRule",
            "UpdateWorkerBuildIdCompatibility",
            "UpdateWorkerVersioningRules",
            "SetCurrentDeployment",
        ],
        None,
    ),
    // What operators do to runs.
    (
        WORKFLOW,
        &[
            "TerminateWorkflowExecution",
            "RequestCancelWorkflowExecution",
            "ResetWorkflowExecution",
            "DeleteWorkflowExecution",
            "PauseWorkflowExecution",
            "UnpauseWorkflowExecution",
            "UpdateWorkflowExecutionOptions",
            "StartBatchOperation",
            "StopBatchOperation",
            "PauseActivity",
            "UnpauseActivity",
            "ResetActivity",
            "UpdateActivityOptions",
            "TerminateActivityExecution",
            "RequestCancelActivityExecution",
            "DeleteActivityExecution",
            "PauseActivityExecution",
            "UnpauseActivityExecution",
            "ResetActivityExecution",
            "UpdateActivityExecutionOptions",
            "RequestCancelNexusOperationExecution",
            "TerminateNexusOperationExecution",
            "DeleteNexusOperationExecution",
        ],
        None,
    ),
    ("sempre.v1.SteerService", &["ForkWorkflowExecution", "RunActivityNow", "StartBatchFork"], None),
];

/// A call that is written down.
pub(crate) struct Act {
    input: MessageDescriptor,
    look: Option<Looking>,
}

/// As [`Look`], ready to be asked.
struct Looking {
    path: String,
    input: MessageDescriptor,
    output: MessageDescriptor,
    fields: &'static [(&'static str, &'static str)],
}

/// All of them by `/service/method`.
pub(super) fn all() -> HashMap<String, Arc<Act>> {
    let paths = ACTS.iter().flat_map(|(service, methods, _)| methods.iter().map(move |method| format!("/{service}/{method}")));
    paths.filter_map(|path| Act::of(&path).map(|act| (path, Arc::new(act)))).collect()
}

impl Act {
    /// By `/service/method`.
    fn of(path: &str) -> Option<Self> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        let (.., look) = ACTS.iter().find(|(of, methods, _)| *of == service && methods.contains(&method))?;
        let look = look.and_then(|(service, method, fields)| {
            let (input, output) = of_method(service, method)?;
            Some(Looking { path: format!("/{service}/{method}"), input, output, fields })
        });
        Some(Self { input: of_method(service, method)?.0, look })
    }

    /// What was asked, as far as it may be written down. `message` is without the prefix of its frame.
    pub(crate) fn request(&self, message: Bytes) -> Option<Value> {
        let mut request = DynamicMessage::decode(self.input.clone(), message).ok()?;
        redact(&mut request);
        Some(json::dynamic_to_value(&request, Payloads::Full))
    }

    /// True if it changes settings that can be looked at.
    pub(crate) fn looks(&self) -> bool {
        self.look.is_some()
    }

    /// The call that tells how the settings are: path and message.
    pub(crate) fn look(&self, message: Bytes) -> Option<(&str, Bytes)> {
        let Looking { path, input, fields, .. } = self.look.as_ref()?;
        let request = DynamicMessage::decode(self.input.clone(), message).ok()?;
        let mut asked = DynamicMessage::new(input.clone());
        for (there, here) in *fields {
            let (mut holder, mut name) = (request.clone(), *here);
            while let Some((outer, inner)) = name.split_once('.') {
                let value = holder.get_field_by_name(outer)?.into_owned();
                holder = value.as_message()?.clone();
                name = inner;
            }
            let value = holder.get_field_by_name(name)?.into_owned();
            asked.set_field_by_name(there, value);
        }
        Some((path, asked.encode_to_vec().into()))
    }

    /// What it answered, as far as it may be written down.
    pub(crate) fn told(&self, answer: Bytes) -> Option<Value> {
        let mut told = DynamicMessage::decode(self.look.as_ref()?.output.clone(), answer).ok()?;
        redact(&mut told);
        Some(json::dynamic_to_value(&told, Payloads::Full))
    }
}

fn of_method(service: &str, method: &str) -> Option<(MessageDescriptor, MessageDescriptor)> {
    let service = descriptors().get_service_by_name(service)?;
    let method = service.methods().find(|found| found.name() == method)?;
    Some((method.input(), method.output()))
}

/// A message with the prefix of a frame, as a body.
pub(crate) fn framed(message: &[u8]) -> Full<Bytes> {
    let mut frame = Vec::with_capacity(5 + message.len());
    frame.push(0);
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(message);
    Full::new(frame.into())
}

#[cfg(test)]
mod tests {
    use sempre_api::v1::{
        common::{Payload, Payloads as PayloadList, WorkflowType},
        nexus::{EndpointSpec, EndpointTarget, endpoint_target},
        operatorservice::CreateNexusEndpointRequest,
        schedule::{Schedule, ScheduleAction, schedule_action::Action},
        workflow::NewWorkflowExecutionInfo,
        workflowservice::CreateScheduleRequest,
    };

    use super::*;
    use crate::access::{
        Roles,
        table::{Need, TABLE},
    };

    /// Calls that change something and are not written down: what applications do, again and again; clocks of tests; and looks that only
    /// administrators may have.
    const LEFT_OUT: &[&str] = &[
        "StartWorkflowExecution",
        "ExecuteMultiOperation",
        "SignalWorkflowExecution",
        "SignalWithStartWorkflowExecution",
        "UpdateWorkflowExecution",
        "StartActivityExecution",
        "StartNexusOperationExecution",
        "CheckDeploymentVersion",
        "LockTimeSkipping",
        "UnlockTimeSkipping",
        "Sleep",
        "SleepUntil",
        "UnlockTimeSkippingWithSleep",
        "ListApiKeys",
    ];

    #[test]
    fn every_call_of_writers_and_administrators_is_an_act_or_is_left_out_on_purpose() {
        let acts: std::collections::BTreeSet<_> = ACTS.iter().flat_map(|(_, methods, _)| methods.iter().copied()).collect();
        let changing = |need: &Need| match need {
            Need::Namespace(roles) | Need::System(roles) => [Roles::WRITE, Roles::ADMIN].contains(roles),
            Need::Nothing | Need::Caller => false,
        };
        for (service, _, methods) in TABLE.iter().filter(|(_, need, _)| changing(need)) {
            for method in *methods {
                let (act, left_out) = (acts.contains(method), LEFT_OUT.contains(method));
                assert!(act != left_out, "{service}/{method} is to be an act or left out: act {act}, left out {left_out}");
            }
        }
    }

    #[test]
    fn every_act_is_a_method_and_is_looked_at_by_fields_that_there_are() {
        for (service, methods, look) in ACTS {
            for method in *methods {
                assert!(sempre_api::METHODS.contains(&(service, method)), "{service}/{method}");
                let act = Act::of(&format!("/{service}/{method}")).unwrap();
                assert_eq!(act.look(Bytes::new()).is_some(), look.is_some(), "{service}/{method}");
                assert_eq!(act.request(Bytes::new()), Some(Value::Object(serde_json::Map::new())), "{service}/{method}");
            }
        }
        assert!(Act::of(&format!("/{WORKFLOW}/StartWorkflowExecution")).is_none());
    }

    #[test]
    fn users_data_and_secrets_are_left_out() {
        let payload = Payload { data: b"private"[..].into(), ..Default::default() };
        let start = NewWorkflowExecutionInfo {
            workflow_type: Some(WorkflowType { name: "bill".into() }),
            input: Some(PayloadList { payloads: vec![payload.clone()] }),
            header: Some(sempre_api::v1::common::Header { fields: [("h".to_owned(), payload.clone())].into() }),
            ..Default::default()
        };
        let request = CreateScheduleRequest {
            namespace: "n".into(),
            schedule_id: "s".into(),
            schedule: Some(Schedule { action: Some(ScheduleAction { action: Some(Action::StartWorkflow(start)) }), ..Default::default() }),
            memo: Some(sempre_api::v1::common::Memo { fields: [("m".to_owned(), payload)].into() }),
            ..Default::default()
        };
        let act = Act::of(&format!("/{WORKFLOW}/CreateSchedule")).unwrap();
        let told = act.request(request.encode_to_vec().into()).unwrap();
        let expected = serde_json::json!({
            "namespace": "n", "scheduleId": "s", "schedule": { "action": { "startWorkflow": { "workflowType": { "name": "bill" } } } },
        });
        assert_eq!(told, expected);
        let (path, asked) = act.look(request.encode_to_vec().into()).unwrap();
        let asked = sempre_api::v1::workflowservice::DescribeScheduleRequest::decode(asked).unwrap();
        assert_eq!((path.rsplit('/').next(), asked.namespace.as_str(), asked.schedule_id.as_str()), (Some("DescribeSchedule"), "n", "s"));

        let external = endpoint_target::External { url: "https://me:secret@host/x?key=secret".into() };
        let target = Some(EndpointTarget { variant: Some(endpoint_target::Variant::External(external)) });
        let request = CreateNexusEndpointRequest { spec: Some(EndpointSpec { name: "e".into(), target, ..Default::default() }) };
        let act = Act::of(&format!("/{OPERATOR}/CreateNexusEndpoint")).unwrap();
        let told = act.request(request.encode_to_vec().into()).unwrap().to_string();
        assert!(told.contains("https://host/x") && !told.contains("secret"), "{told}");
    }
}
