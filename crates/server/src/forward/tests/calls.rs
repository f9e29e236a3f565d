//! A call at the wrong node is answered as at the right one.

use futures::StreamExt;
use http_body::Frame;
use http_body_util::StreamBody;
use sempre_api::{
    json::{
        descriptors,
        reflect::{DynamicMessage, FieldDescriptor, Kind as Type, MessageDescriptor, Value},
    },
    v1::{
        common::WorkflowExecution,
        enums::HistoryEventFilterType,
        taskqueue::TaskQueue,
        workflowservice::{workflow_service_client::WorkflowServiceClient, *},
    },
};
use sempre_core::{Span, TaskToken, ids::Uuid};
use tonic::{Code, codec::CompressionEncoding, transport::Endpoint};

use super::*;
use crate::metrics::Metrics;

fn history(id: &str) -> GetWorkflowExecutionHistoryRequest {
    let execution = Some(WorkflowExecution { workflow_id: id.into(), run_id: String::new() });
    GetWorkflowExecutionHistoryRequest { namespace: "default".into(), execution, ..Default::default() }
}

fn poll() -> PollWorkflowTaskQueueRequest {
    let task_queue = Some(TaskQueue { name: "q".into(), ..Default::default() });
    PollWorkflowTaskQueueRequest { namespace: "default".into(), task_queue, identity: "worker".into(), ..Default::default() }
}

/// Names this id wherever something is named, and this namespace; nothing else.
fn named(message: &MessageDescriptor, namespace: &str, id: &str, token: &Bytes) -> DynamicMessage {
    let mut named = DynamicMessage::new(message.clone());
    let value = |field: &FieldDescriptor| -> Option<Value> {
        Some(match (field.name(), field.kind()) {
            ("namespace", Type::String) => Value::String(namespace.into()),
            ("task_token", Type::Bytes) => Value::Bytes(token.clone()),
            (
                "workflow_id" | "activity_id" | "operation_id" | "schedule_id" | "job_id" | "task_queue" | "sticky_task_queue",
                Type::String,
            ) => Value::String(id.into()),
            ("name", Type::String) if message.name() == "TaskQueue" => Value::String(id.into()),
            ("execution" | "workflow_execution" | "update_ref" | "task_queue" | "start_workflow", Type::Message(inner)) => {
                Value::Message(self::named(&inner, namespace, id, token))
            }
            ("operations", Type::Message(inner)) => Value::List(vec![Value::Message(self::named(&inner, namespace, id, token))]),
            _ => return None,
        })
    };
    for field in message.fields() {
        if let Some(value) = value(&field) {
            named.set_field(&field, value);
        }
    }
    named
}

/// A token of a task of the run with this workflow id.
fn token(n: &Nodes, id: &str) -> Bytes {
    TaskToken {
        namespace_id: Bytes::copy_from_slice(&n.namespace.0.0),
        workflow_id: id.into(),
        run_id: Bytes::copy_from_slice(&Uuid([7; 16]).0),
        scheduled_event_id: 5,
        attempt: 1,
        ..TaskToken::default()
    }
    .to_bytes()
}

fn input(service: &str, method: &str) -> MessageDescriptor {
    descriptors().get_service_by_name(service).unwrap().methods().find(|found| found.name() == method).unwrap().input()
}

type Headers = Vec<(String, Vec<u8>)>;

/// What there is to compare of a refusal.
fn told(refused: &Status) -> (Code, &str, &[u8], Headers) {
    let headers = refused.metadata().as_ref().iter().filter(|(name, _)| *name != "date");
    let mut headers: Vec<_> = headers.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
    headers.sort();
    (refused.code(), refused.message(), refused.details(), headers)
}

#[tokio::test]
async fn every_method_is_answered_at_the_wrong_node_as_at_the_right_one() {
    let n = Nodes::new(2).await;
    let token = token(&n, "x");
    let rules = Rules::new();
    let mut wrong = Vec::new();
    for (service, method) in sempre_api::METHODS {
        let path = format!("/{service}/{method}");
        if path == "/grpc.health.v1.Health/Watch" {
            // A stream without an end.
            continue;
        }
        let rule = rules.of(&path);
        // What changes a namespace shall find none.
        let once = rule.is_some_and(|rule| rule.key(&Bytes::new(), n.nodes[0].service.engine()).is_some());
        let message = named(&input(service, method), if once { "nowhere" } else { "default" }, "x", &token).encode_to_vec();
        let asker = path.contains("RespondQuery") || path.contains("RespondNexus");
        let before = n.sent_and_taken(0).0;
        let there = raw(&n.nodes[0].service, &path, &message, &[("client-name", "test")]).await;
        let sent = n.sent_and_taken(0).0 - before;
        let here = raw(&n.nodes[1].service, &path, &message, &[("client-name", "test")]).await;
        let same = match (&there, &here) {
            // What each node has of its own differs.
            (Ok(there), Ok(here)) => sent == 0 || there == here,
            (Err(there), Err(here)) => told(there) == told(here),
            _ => false,
        };
        if !same || sent != u64::from(rule.is_some() && !asker) {
            wrong.push((path, sent, there, here));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(n.sent_and_taken(1).0, 1, "the owner sends nothing on but what is for all nodes");
}

#[tokio::test]
async fn the_node_that_a_call_is_sent_to_has_what_it_is_about() {
    let n = Nodes::new(2).await;
    for shard in 0..SHARDS / 2 {
        n.give_up(shard, 1).await;
        n.take_up(shard, 0).await;
        n.all_know(at(shard, Some(0)));
    }
    let rules = Rules::new();
    let (mut wrong, mut refused_elsewhere) = (Vec::new(), std::collections::BTreeSet::new());
    for (service, method) in sempre_api::METHODS {
        let path = format!("/{service}/{method}");
        // Polls are told of no shard: any node may be the home of a queue.
        let Some(rule) = rules.of(&path).filter(|rule| rule.kind.class != CallClass::Poll) else { continue };
        for k in 0..8 {
            let id = format!("x{k}");
            let message = named(&input(service, method), "default", &id, &token(&n, &id)).encode_to_vec();
            let key = rule.key(&message.clone().into(), n.nodes[0].service.engine());
            // What there is once each of these nodes has for itself.
            let Some(Key::One(Of::Shard(shard))) = key.filter(|key| matches!(key, Key::One(Of::Shard(shard)) if *shard < SHARDS)) else {
                continue;
            };
            let owner = usize::from(shard >= SHARDS / 2);
            for node in [owner, 1 - owner] {
                let request = http::Request::post(&path).version(http::Version::HTTP_2).header("content-type", "application/grpc");
                let request = request.body(tonic::body::Body::new(crate::audit::framed(&message))).unwrap();
                let answer = n.nodes[node].service.router().serve(request).await;
                let elsewhere: Option<u32> =
                    answer.headers().get(status::ELSEWHERE_HEADER).map(|told| told.to_str().unwrap().parse().unwrap());
                refused_elsewhere.extend(elsewhere.map(|_| *method));
                // By the engine it is of the same shard as by the table.
                if elsewhere.is_some_and(|told| node == owner || told != shard) {
                    wrong.push((path.clone(), id.clone(), shard, elsewhere));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(refused_elsewhere.len() >= 10, "so few have come as far as to a shard: {refused_elsewhere:?}");
}

#[test]
fn what_is_left_of_the_time_counts_where_the_call_is_done() {
    let (mut parts, ()) = http::Request::post("/service/Method").header("grpc-timeout", "70S").body(()).unwrap().into_parts();
    parts.extensions.insert(Until(Instant::now() + Duration::from_secs(5)));
    let call = Call { parts, frame: Bytes::new(), kind: Kind::OTHER, whose: None, held: None };
    let left = crate::deadline::timeout(call.here().headers()).unwrap();
    assert!(left > Span::seconds(4) && left <= Span::seconds(5), "{left:?}");
}

#[tokio::test]
async fn clients_are_not_told_what_nodes_tell_each_other() {
    // A server alone, whose shards another has taken.
    let alone = Service::open(&ServerSettings::default(), Arc::new(MemoryStore::new())).await.unwrap();
    for shard in alone.engine().shards() {
        alone.engine().give_up(shard).await.unwrap();
    }
    // No answer that `raw` gives has such a header.
    let refused = raw(&alone, &format!("/{WORKFLOW}/GetWorkflowExecutionHistory"), &history("x").encode_to_vec(), &[]).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
}

#[tokio::test]
async fn a_workflow_is_run_through_a_node_that_has_nothing() {
    let n = Nodes::new(2).await;
    let started: StartWorkflowExecutionResponse = n.call(0, "StartWorkflowExecution", &start("order")).await.unwrap();
    // The same request again, as after a lost answer, at the other one.
    let again: StartWorkflowExecutionResponse = n.call(1, "StartWorkflowExecution", &start("order")).await.unwrap();
    assert_eq!(started.run_id, again.run_id);
    let other = StartWorkflowExecutionRequest { request_id: "other".into(), ..start("order") };
    let (there, here) = (
        n.call::<StartWorkflowExecutionResponse>(0, "StartWorkflowExecution", &other).await.unwrap_err(),
        n.call::<StartWorkflowExecutionResponse>(1, "StartWorkflowExecution", &other).await.unwrap_err(),
    );
    assert_eq!((there.code(), there.message(), there.details()), (here.code(), here.message(), here.details()));
    assert_eq!(there.code(), Code::AlreadyExists);
    assert!(!there.details().is_empty());
    // The queue's home is there too.
    let task: PollWorkflowTaskQueueResponse = n.call(0, "PollWorkflowTaskQueue", &poll()).await.unwrap();
    assert_eq!(task.workflow_execution.unwrap().workflow_id, "order");
    let complete = RespondWorkflowTaskCompletedRequest { task_token: task.task_token, namespace: "default".into(), ..Default::default() };
    n.call::<RespondWorkflowTaskCompletedResponse>(0, "RespondWorkflowTaskCompleted", &complete).await.unwrap();
    let again = n.call::<RespondWorkflowTaskCompletedResponse>(0, "RespondWorkflowTaskCompleted", &complete).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound);
    let there: GetWorkflowExecutionHistoryResponse = n.call(0, "GetWorkflowExecutionHistory", &history("order")).await.unwrap();
    let here: GetWorkflowExecutionHistoryResponse = n.call(1, "GetWorkflowExecutionHistory", &history("order")).await.unwrap();
    assert_eq!(there, here);
    assert_eq!(n.sent_and_taken(0), (6, 0));
    assert_eq!(n.sent_and_taken(1), (0, 6));
    assert!(n.forward(0).lines.open() <= 4, "connections are kept");
    let of = |node: usize| {
        let service = &n.nodes[node].service;
        let metrics = Metrics::new(service.engine().clone(), service.router().clone(), None);
        async move { metrics.text().await }
    };
    let (there, here) = (of(0).await, of(1).await);
    for line in [
        "sempre_node_calls_sent_total 6",
        "sempre_node_calls_taken_total 0",
        r#"sempre_node_calls_unavailable_total{why="lost"} 0"#,
        "sempre_node_unreached 0",
    ] {
        assert!(there.lines().any(|told| told == line), "{line}\n{there}");
    }
    assert!(here.lines().any(|told| told == "sempre_node_calls_taken_total 6"), "{here}");
    // Requests are counted where clients have sent them.
    let asked =
        |told: &str| told.lines().filter(|line| line.starts_with("service_requests{") && line.contains("RespondWorkflowTask")).count();
    assert_eq!((asked(&there), asked(&here)), (1, 0));
    until(|| n.held(0) == 0 && n.held(1) == 0).await;
}

#[tokio::test]
async fn large_messages_pass_both_ways_and_are_counted_in_both_rooms() {
    let n = Nodes::new(2).await;
    let mut large = start("large");
    let payload = sempre_api::v1::common::Payload { data: vec![7; 1 << 20].into(), ..Default::default() };
    large.input = Some(sempre_api::v1::common::Payloads { payloads: vec![payload] });
    n.call::<StartWorkflowExecutionResponse>(0, "StartWorkflowExecution", &large).await.unwrap();
    let read: GetWorkflowExecutionHistoryResponse = n.call(0, "GetWorkflowExecutionHistory", &history("large")).await.unwrap();
    assert!(read.encoded_len() > 1 << 20);
    // While it is under way it is counted at both.
    let query = QueryWorkflowRequest {
        namespace: "default".into(),
        execution: history("large").execution,
        query: Some(sempre_api::v1::query::WorkflowQuery {
            query_type: "state".into(),
            query_args: large.input.clone(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut waits = Box::pin(n.call::<QueryWorkflowResponse>(0, "QueryWorkflow", &query));
    while n.held(1) < 1 << 20 {
        assert!(futures::poll!(&mut waits).is_pending());
        tokio::task::yield_now().await;
    }
    assert!(n.held(0) >= 1 << 20);
    drop(waits);
    let small = Nodes::with(2, |settings| settings.call_bytes_max = 1 << 20).await;
    let refused = small.call::<StartWorkflowExecutionResponse>(0, "StartWorkflowExecution", &large).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(small.sent_and_taken(0).0, 0, "the first node has no room for it");
    until(|| n.held(0) == 0 && n.held(1) == 0).await;
}

#[tokio::test]
async fn a_start_of_another_node_is_read_before_it_stands_at_the_gate() {
    let n = Nodes::new(2).await;
    let router = n.nodes[1].service.router();
    let gate = router.start_gate();
    let mut others = Vec::new();
    while gate.free() > 0 {
        others.push(gate.enter(None, 1, Duration::from_secs(5)).await.unwrap());
    }
    let mut large = start("large");
    let payload = sempre_api::v1::common::Payload { data: vec![7; 1 << 20].into(), ..Default::default() };
    large.input = Some(sempre_api::v1::common::Payloads { payloads: vec![payload] });
    let frame = crate::audit::framed(&large.encode_to_vec()).collect().await.unwrap().to_bytes();
    let pieces: Vec<_> = frame.chunks(16 << 10).map(Bytes::copy_from_slice).collect();
    let (all, read) = (pieces.len() as u64, Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&read);
    let body = StreamBody::new(futures::stream::iter(pieces).map(move |piece| {
        counted.fetch_add(1, Relaxed);
        Ok::<_, std::convert::Infallible>(Frame::data(piece))
    }));
    let request = http::Request::post(format!("/{WORKFLOW}/StartWorkflowExecution")).header("content-type", "application/grpc");
    let mut waits = Box::pin(router.call_of_node(request.body(body).unwrap(), Sender { hop: 1, version: 1 }));
    while gate.waiting() == 0 {
        assert!(futures::poll!(&mut waits).is_pending());
        tokio::task::yield_now().await;
    }
    // Its bytes keep nothing out that comes on the same connection.
    assert_eq!(read.load(Relaxed), all);
    drop(others);
    let answer = waits.await;
    assert_eq!((answer.status().as_u16(), code_of(&answer)), (200, Code::Ok));
}

#[tokio::test]
async fn a_client_on_the_network_sees_nothing_of_it() {
    let n = Nodes::new(2).await;
    let url = format!("http://{}", n.nodes[0].address);
    let channel = Endpoint::new(url).unwrap().connect().await.unwrap();
    let mut client = WorkflowServiceClient::new(channel)
        .send_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(usize::MAX);
    let mut large = start("order");
    let payload = sempre_api::v1::common::Payload { data: vec![7; 300_000].into(), ..Default::default() };
    large.input = Some(sempre_api::v1::common::Payloads { payloads: vec![payload] });
    client.start_workflow_execution(large).await.unwrap();
    let read = client.get_workflow_execution_history(history("order")).await.unwrap();
    assert_eq!(read.metadata().get("grpc-encoding").unwrap(), "gzip");
    let direct: GetWorkflowExecutionHistoryResponse = n.call(1, "GetWorkflowExecutionHistory", &history("order")).await.unwrap();
    assert_eq!(read.into_inner(), direct);
    let refused = client.get_workflow_execution_history(history("none")).await.unwrap_err();
    let direct = n.call::<GetWorkflowExecutionHistoryResponse>(1, "GetWorkflowExecutionHistory", &history("none")).await.unwrap_err();
    assert_eq!(told(&refused), told(&direct));
    // It hangs up in the middle of a poll, with all that it has.
    let mut request = tonic::Request::new(PollActivityTaskQueueRequest {
        namespace: "default".into(),
        task_queue: Some(TaskQueue { name: "none".into(), ..Default::default() }),
        ..Default::default()
    });
    request.set_timeout(Duration::from_secs(60));
    let waits = tokio::spawn(async move { client.poll_activity_task_queue(request).await });
    until(|| n.held(1) > 0).await;
    waits.abort();
    until(|| n.held(0) == 0 && n.held(1) == 0).await;
}

#[tokio::test]
async fn a_poll_that_nobody_waits_for_any_more_ends_at_the_owner() {
    let n = Nodes::new(2).await;
    let poll = poll();
    let mut waits = Box::pin(n.call::<PollWorkflowTaskQueueResponse>(0, "PollWorkflowTaskQueue", &poll));
    while n.held(1) == 0 {
        assert!(futures::poll!(&mut waits).is_pending());
        tokio::task::yield_now().await;
    }
    drop(waits);
    until(|| n.held(0) == 0 && n.held(1) == 0).await;
    // It has taken nothing along.
    n.call::<StartWorkflowExecutionResponse>(1, "StartWorkflowExecution", &start("order")).await.unwrap();
    let task: PollWorkflowTaskQueueResponse = n.call(1, "PollWorkflowTaskQueue", &poll).await.unwrap();
    assert_eq!(task.workflow_execution.unwrap().workflow_id, "order");
}

#[tokio::test]
async fn a_caller_is_answered_by_his_deadline() {
    let n = Nodes::new(2).await;
    let begun = Instant::now();
    let nothing: PollWorkflowTaskQueueResponse = n.call_within(0, "PollWorkflowTaskQueue", &poll(), "2S").await.unwrap();
    assert!(nothing.task_token.is_empty());
    n.call::<StartWorkflowExecutionResponse>(0, "StartWorkflowExecution", &start("order")).await.unwrap();
    let query = QueryWorkflowRequest {
        namespace: "default".into(),
        execution: history("order").execution,
        query: Some(sempre_api::v1::query::WorkflowQuery { query_type: "state".into(), ..Default::default() }),
        ..Default::default()
    };
    let late = n.call_within::<QueryWorkflowResponse>(0, "QueryWorkflow", &query, "500m").await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded);
    // Nor does a search for an owner go on for longer.
    n.know(0, |picture| picture.shards.extend((0..SHARDS).map(|shard| (shard, None))));
    let late = n.call_within::<GetWorkflowExecutionHistoryResponse>(0, "GetWorkflowExecutionHistory", &history("order"), "300m").await;
    assert_eq!(late.unwrap_err().code(), Code::DeadlineExceeded);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    until(|| n.held(0) == 0 && n.held(1) == 0).await;
}

#[tokio::test]
async fn a_node_that_stops_ends_the_polls_that_wait_elsewhere() {
    let mut n = Nodes::new(2).await;
    let service = n.nodes[0].service.clone();
    let waiting = tokio::spawn(async move {
        let path = format!("/{WORKFLOW}/PollWorkflowTaskQueue");
        raw(&service, &path, &poll().encode_to_vec(), &[("grpc-timeout", "60S")]).await
    });
    until(|| n.held(1) > 0).await;
    n.stop(0).await;
    assert_eq!(waiting.await.unwrap().unwrap(), Bytes::new());
    until(|| n.held(0) == 0).await;
}

#[tokio::test]
async fn an_answer_to_who_asked_goes_to_his_process() {
    let n = Nodes::new(2).await;
    #[derive(Clone, PartialEq, Message)]
    struct QueryToken {
        #[prost(fixed32, tag = "1")]
        magic: u32,
        #[prost(bytes = "bytes", tag = "2")]
        namespace_id: Bytes,
        #[prost(fixed64, tag = "4")]
        process: u64,
    }
    let process = n.nodes[1].service.engine().process();
    let token = QueryToken { magic: 0x5e41_7402, namespace_id: Bytes::copy_from_slice(&n.namespace.0.0), process };
    let answer =
        RespondQueryTaskCompletedRequest { task_token: token.encode_to_vec().into(), namespace: "default".into(), ..Default::default() };
    for (known, sent) in [(false, 0), (true, 1)] {
        n.all_know(|picture| picture.processes = if known { [(process, 1)].into() } else { BTreeMap::new() });
        let refused = n.call::<RespondQueryTaskCompletedResponse>(0, "RespondQueryTaskCompleted", &answer).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::NotFound, "query task not found, or already expired"));
        assert_eq!(n.sent_and_taken(0).0, sent);
    }
    // It has joined, and the picture does not say so yet.
    n.all_know(|picture| picture.processes.clear());
    let looks = || n.nodes[0].owners.looks.load(Relaxed);
    let before = looks();
    let mut waits = Box::pin(n.call::<RespondQueryTaskCompletedResponse>(0, "RespondQueryTaskCompleted", &answer));
    while looks() == before {
        assert!(futures::poll!(&mut waits).is_pending());
        tokio::task::yield_now().await;
    }
    n.all_know(|picture| picture.processes = [(process, 1)].into());
    assert_eq!((waits.await.unwrap_err().code(), n.sent_and_taken(0).0), (Code::NotFound, 2));
}

#[tokio::test]
async fn a_wait_for_history_goes_on_at_the_next_owner() {
    let n = Nodes::new(3).await;
    n.call::<StartWorkflowExecutionResponse>(0, "StartWorkflowExecution", &start("order")).await.unwrap();
    let mut read = history("order");
    read.wait_new_event = true;
    read.history_event_filter_type = HistoryEventFilterType::CloseEvent.into();
    let mut waits = Box::pin(n.call::<GetWorkflowExecutionHistoryResponse>(0, "GetWorkflowExecutionHistory", &read));
    while n.held(2) == 0 {
        assert!(futures::poll!(&mut waits).is_pending());
        tokio::task::yield_now().await;
    }
    let shard = n.shard_of("order");
    let moves = async {
        n.all_know(at(shard, None));
        n.give_up(shard, 2).await;
        n.take_up(shard, 1).await;
        n.all_know(at(shard, Some(1)));
        let terminate = TerminateWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_execution: history("order").execution,
            ..Default::default()
        };
        n.call::<TerminateWorkflowExecutionResponse>(0, "TerminateWorkflowExecution", &terminate).await.unwrap();
    };
    let (read, ()) = futures::join!(waits, moves);
    assert_eq!(read.unwrap().history.unwrap().events().unwrap().len(), 1);
    assert_eq!(n.sent_and_taken(1).1, 2);
}
