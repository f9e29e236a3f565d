use std::{collections::BTreeSet, sync::Arc};

use prost::Message;
use sempre_api::v1::{
    common::WorkflowExecution,
    enums::{TaskQueueKind, TaskQueueType},
    taskqueue::TaskQueue,
    update::UpdateRef,
    workflowservice::{execute_multi_operation_request::Operation, execute_multi_operation_request::operation::Operation as Start, *},
};
use sempre_core::{TaskToken, Version, WorkflowKey};
use sempre_store::memory::MemoryStore;

use super::*;
use crate::{ServerSettings, Service};

#[test]
fn every_method_has_one_line() {
    let mut lines = BTreeSet::new();
    for (service, _, methods) in TABLE {
        for method in *methods {
            assert!(lines.insert((*service, *method)), "{service}/{method} has two lines");
        }
    }
    let reflection = [reflection::V1, reflection::V1_ALPHA].map(|service| (service, "ServerReflectionInfo"));
    let methods: BTreeSet<_> = sempre_api::METHODS.iter().copied().chain(reflection).collect();
    let without: Vec<_> = methods.difference(&lines).collect();
    assert!(without.is_empty(), "these methods need a line in the table of {}: {without:?}", file!());
    let unknown: Vec<_> = lines.difference(&methods).collect();
    assert!(unknown.is_empty(), "these are no methods: {unknown:?}");
}

#[test]
fn what_a_line_names_is_in_the_request() {
    for (service, how, methods) in TABLE.iter().filter(|(_, how, _)| *how != Anywhere) {
        for method in *methods {
            let rule = rule(service, method, *how).unwrap_or_else(|| panic!("{service}/{method} has no {how:?}"));
            let in_namespace = !matches!(how, Single(_) | Token | Asker);
            assert!(!in_namespace || !rule.namespace.is_empty(), "{service}/{method} names no namespace");
        }
    }
}

#[test]
fn no_request_that_names_one_thing_is_answered_anywhere() {
    let of_one = [
        "workflow_id",
        "execution",
        "workflow_execution",
        "update_ref",
        "task_token",
        "activity_id",
        "operation_id",
        "schedule_id",
        "job_id",
    ];
    let mut missed = Vec::new();
    for (service, _, methods) in TABLE.iter().filter(|(_, how, _)| *how == Anywhere) {
        let Some(service) = descriptors().get_service_by_name(service) else { continue };
        for method in service.methods().filter(|method| methods.contains(&method.name())) {
            missed.extend(
                of_one.iter().filter(|name| method.input().get_field_by_name(name).is_some()).map(|name| (method.name().to_owned(), *name)),
            );
        }
    }
    assert_eq!(missed, []);
}

/// A server of many shards, so that two things are seldom in the same.
struct World {
    rules: Rules,
    service: Service,
    namespace: NamespaceId,
}

impl World {
    async fn new() -> Self {
        let mut settings = ServerSettings::default();
        settings.engine.shards = 1024;
        let service = Service::open(&settings, Arc::new(MemoryStore::new())).await.unwrap();
        let namespace = service.engine().namespace_named("default").unwrap();
        Self { rules: Rules::new(), service, namespace }
    }

    fn key(&self, method: &str, request: &impl Message) -> Option<Of> {
        self.key_of_bytes(method, request.encode_to_vec())
    }

    fn key_of_bytes(&self, method: &str, request: Vec<u8>) -> Option<Of> {
        match self.rules.of(&format!("/{WORKFLOW}/{method}")).expect("a line").key(&request.into(), self.service.engine())? {
            Key::One(of) => Some(of),
            Key::All => panic!("{method} is for all nodes"),
        }
    }

    fn slot(slot: SlotId) -> Option<Of> {
        Some(Of::Shard(slot.0.into()))
    }

    fn workflow(&self, id: &str) -> Option<Of> {
        Self::slot(WorkflowKey { namespace: self.namespace, workflow_id: id.into() }.slot())
    }

    fn queue(&self, name: &str, kind: QueueKind, sticky: bool) -> Option<Of> {
        Self::slot(QueueName { namespace: self.namespace, name: name.into(), kind, sticky, version: None }.home())
    }
}

fn namespace() -> String {
    "default".into()
}

fn execution(id: &str) -> Option<WorkflowExecution> {
    Some(WorkflowExecution { workflow_id: id.into(), run_id: String::new() })
}

fn queue(name: &str) -> Option<TaskQueue> {
    Some(TaskQueue { name: name.into(), ..TaskQueue::default() })
}

#[tokio::test]
async fn calls_to_a_run_belong_to_the_shard_of_its_workflow_id() {
    let w = World::new().await;
    let start = StartWorkflowExecutionRequest { namespace: namespace(), workflow_id: "order-1".into(), ..Default::default() };
    assert_eq!(w.key("StartWorkflowExecution", &start), w.workflow("order-1"));
    assert_ne!(w.workflow("order-1"), w.workflow("order-2"));
    let history = GetWorkflowExecutionHistoryRequest { namespace: namespace(), execution: execution("order-2"), ..Default::default() };
    assert_eq!(w.key("GetWorkflowExecutionHistory", &history), w.workflow("order-2"));
    let signal = SignalWorkflowExecutionRequest { namespace: namespace(), workflow_execution: execution("o"), ..Default::default() };
    assert_eq!(w.key("SignalWorkflowExecution", &signal), w.workflow("o"));
    let update_ref = Some(UpdateRef { workflow_execution: execution("o3"), update_id: "u".into() });
    let update = PollWorkflowExecutionUpdateRequest { namespace: namespace(), update_ref, ..Default::default() };
    assert_eq!(w.key("PollWorkflowExecutionUpdate", &update), w.workflow("o3"));
    let operations = vec![Operation { operation: Some(Start::StartWorkflow(start.clone())) }];
    let multi = ExecuteMultiOperationRequest { namespace: namespace(), operations, ..Default::default() };
    assert_eq!(w.key("ExecuteMultiOperation", &multi), w.workflow("order-1"));
    // Of two ids the last counts, as for the decoder.
    let twice = [start.encode_to_vec(), b"\x12\x01x".to_vec()].concat();
    assert_eq!(w.key_of_bytes("StartWorkflowExecution", twice), w.workflow("x"));
}

#[tokio::test]
async fn what_names_nothing_belongs_nowhere() {
    let w = World::new().await;
    let start = |namespace: &str, id: &str| StartWorkflowExecutionRequest {
        namespace: namespace.into(),
        workflow_id: id.into(),
        ..Default::default()
    };
    assert_eq!(w.key("StartWorkflowExecution", &start("nowhere", "id")), None);
    assert_eq!(w.key("StartWorkflowExecution", &start("", "id")), None);
    assert_eq!(w.key("StartWorkflowExecution", &start("default", "")), None);
    for junk in [&b"\x0a\x07default\x12\x02\xff\xfe"[..], b"\x0a\x07default\x12\x05id", b"\x0b"] {
        assert_eq!(w.key_of_bytes("StartWorkflowExecution", junk.to_vec()), None, "{junk:?}");
        assert_eq!(w.key_of_bytes("RespondWorkflowTaskCompleted", junk.to_vec()), None, "{junk:?}");
        assert_eq!(w.key_of_bytes("RespondQueryTaskCompleted", junk.to_vec()), None, "{junk:?}");
    }
    assert!(w.rules.of(&format!("/{WORKFLOW}/ListWorkflowExecutions")).is_none());
    assert!(w.rules.of("/no.such.Service/Method").is_none());
}

#[tokio::test]
async fn calls_about_what_belongs_to_no_workflow_go_where_it_is_filed() {
    let w = World::new().await;
    let of_activity = World::slot(activity::key(w.namespace, "a").slot());
    let describe = DescribeActivityExecutionRequest { namespace: namespace(), activity_id: "a".into(), ..Default::default() };
    assert_eq!(w.key("DescribeActivityExecution", &describe), of_activity);
    let by_id = |workflow_id: &str| RespondActivityTaskCompletedByIdRequest {
        namespace: namespace(),
        workflow_id: workflow_id.into(),
        activity_id: "a".into(),
        ..Default::default()
    };
    assert_eq!(w.key("RespondActivityTaskCompletedById", &by_id("")), of_activity);
    assert_eq!(w.key("RespondActivityTaskCompletedById", &by_id("wf")), w.workflow("wf"));
    let poll = PollNexusOperationExecutionRequest { namespace: namespace(), operation_id: "a".into(), ..Default::default() };
    assert_eq!(w.key("PollNexusOperationExecution", &poll), World::slot(operation::key(w.namespace, "a").slot()));
}

/// A token of a query, as the engine makes them.
#[derive(Clone, PartialEq, Message)]
struct QueryToken {
    #[prost(fixed32, tag = "1")]
    magic: u32,
    #[prost(bytes = "bytes", tag = "2")]
    namespace_id: Bytes,
    #[prost(fixed64, tag = "4")]
    process: u64,
}

#[tokio::test]
async fn answers_of_workers_go_to_the_run_or_to_who_has_asked() {
    let w = World::new().await;
    let namespace_id = Bytes::copy_from_slice(&w.namespace.0.0);
    // The namespace is that of the token, whatever the call says.
    let token = TaskToken { namespace_id: namespace_id.clone(), workflow_id: "wf".into(), attempt: 1, ..TaskToken::default() };
    let request = RespondActivityTaskCompletedRequest { task_token: token.to_bytes(), namespace: "other".into(), ..Default::default() };
    assert_eq!(w.key("RespondActivityTaskCompleted", &request), w.workflow("wf"));
    let alone = TaskToken { workflow_id: activity::key(w.namespace, "a").workflow_id, ..token };
    let request = RecordActivityTaskHeartbeatRequest { task_token: alone.to_bytes(), ..Default::default() };
    assert_eq!(w.key("RecordActivityTaskHeartbeat", &request), World::slot(activity::key(w.namespace, "a").slot()));
    let token = QueryToken { magic: 0x5e41_7402, namespace_id, process: 77 };
    let request = RespondQueryTaskCompletedRequest { task_token: token.encode_to_vec().into(), ..Default::default() };
    assert_eq!(w.key("RespondQueryTaskCompleted", &request), Some(Of::Process(77)));
    let request = RespondQueryTaskCompletedRequest { task_token: alone.to_bytes(), ..Default::default() };
    assert_eq!(w.key("RespondQueryTaskCompleted", &request), None, "no token of a query");
}

#[tokio::test]
async fn polls_and_looks_at_a_queue_go_to_its_home() {
    let w = World::new().await;
    let poll = PollWorkflowTaskQueueRequest { namespace: namespace(), task_queue: queue("q"), ..Default::default() };
    assert_eq!(w.key("PollWorkflowTaskQueue", &poll), w.queue("q", QueueKind::Workflow, false));
    let mut sticky = poll.clone();
    sticky.task_queue.as_mut().unwrap().kind = TaskQueueKind::Sticky.into();
    assert_eq!(w.key("PollWorkflowTaskQueue", &sticky), w.queue("q", QueueKind::Workflow, true));
    let poll = PollActivityTaskQueueRequest { namespace: namespace(), task_queue: queue("q"), ..Default::default() };
    assert_eq!(w.key("PollActivityTaskQueue", &poll), w.queue("q", QueueKind::Activity, false));
    let poll = PollNexusTaskQueueRequest { namespace: namespace(), task_queue: queue("q"), ..Default::default() };
    assert_eq!(w.key("PollNexusTaskQueue", &poll), w.queue("q", QueueKind::Nexus, false));
    let look = |kind: TaskQueueType| DescribeTaskQueueRequest {
        namespace: namespace(),
        task_queue: queue("q"),
        task_queue_type: kind.into(),
        ..Default::default()
    };
    for (asked, kind) in [
        (TaskQueueType::Unspecified, QueueKind::Workflow),
        (TaskQueueType::Workflow, QueueKind::Workflow),
        (TaskQueueType::Activity, QueueKind::Activity),
        (TaskQueueType::Nexus, QueueKind::Nexus),
    ] {
        assert_eq!(w.key("DescribeTaskQueue", &look(asked)), w.queue("q", kind, false), "{asked:?}");
    }
    let rule = w.rules.of(&format!("/{WORKFLOW}/ShutdownWorker")).unwrap();
    assert_eq!(rule.key(&Bytes::new(), w.service.engine()), Some(Key::All), "it has polled several queues");
    // The lines of a queue for versions of workers are where the queue is.
    let plain = QueueName { namespace: w.namespace, name: "q".into(), kind: QueueKind::Workflow, sticky: false, version: None };
    let version = Arc::new(Version { deployment: "d".into(), build_id: "1".into() });
    assert_eq!(plain.line(Some(&version)).home(), plain.home());
    assert_eq!(BTreeSet::from(["q", "s", "t"].map(|name| format!("{:?}", w.queue(name, QueueKind::Workflow, false)))).len(), 3);
}

#[tokio::test]
async fn what_there_is_once_has_one_owner_whatever_the_request_says() {
    let w = World::new().await;
    let create = CreateScheduleRequest { namespace: "nowhere".into(), schedule_id: "s".into(), ..Default::default() };
    assert_eq!(w.key("CreateSchedule", &create), Some(Of::Shard(singles::SCHEDULES)));
    let register = RegisterNamespaceRequest { namespace: "new".into(), ..Default::default() };
    assert_eq!(w.key("RegisterNamespace", &register), Some(Of::Shard(singles::NAMESPACES)));
    let once: BTreeSet<u32> = singles::ALL.into_iter().collect();
    assert_eq!(once.len(), singles::ALL.len());
    let named: BTreeSet<u32> = TABLE.iter().filter_map(|(_, how, _)| if let Single(shard) = how { Some(*shard) } else { None }).collect();
    // No call is for who makes the index whole: that may be begun anywhere.
    assert_eq!(named, &once - &BTreeSet::from([singles::INDEX]), "each is somebody's");
}
