//! Sizes, compression and garbage.

use std::io::{Read, Write};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use prost::Message;
use sempre_api::v1::{
    common::{Payload, Payloads, WorkflowExecution, WorkflowType},
    taskqueue::TaskQueue,
    workflowservice::{GetSystemInfoRequest, GetWorkflowExecutionHistoryRequest, StartWorkflowExecutionRequest},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{Code, codec::CompressionEncoding, codegen::Service};

use crate::support::{TestServer, raw_call};

const START: &str = "/temporal.api.workflowservice.v1.WorkflowService/StartWorkflowExecution";

pub(crate) fn start(payload_bytes: usize) -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: "wid".into(),
        workflow_type: Some(WorkflowType { name: "type".into() }),
        task_queue: Some(TaskQueue { name: "queue".into(), ..TaskQueue::default() }),
        input: Some(Payloads { payloads: vec![Payload { data: vec![b'x'; payload_bytes].into(), ..Payload::default() }] }),
        request_id: "request".into(),
        ..StartWorkflowExecutionRequest::default()
    }
}

#[tokio::test]
async fn a_message_over_four_mebibytes_is_refused_in_words_clients_know() {
    let server = TestServer::start().await;
    let request = start(5 << 20);
    let bytes = request.encoded_len();
    let status = server.workflow().start_workflow_execution(request).await.expect_err("too large");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.message(), format!("grpc: received message larger than max ({bytes} vs. 4194304)"));
    // The connection lives on.
    server.workflow().get_system_info(GetSystemInfoRequest {}).await.expect("answers");
}

#[tokio::test]
async fn a_payload_over_the_blob_limit_is_refused_by_name() {
    let server = TestServer::start().await;
    let status = server.workflow().start_workflow_execution(start(3 << 20)).await.expect_err("too large");
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "Blob data size exceeds limit."));
}

#[tokio::test]
async fn gzip_is_taken_and_named_to_those_who_take_it() {
    let server = TestServer::start().await;
    let client = server.workflow().send_compressed(CompressionEncoding::Gzip);
    let answer = client.clone().get_system_info(GetSystemInfoRequest {}).await.expect("answers");
    assert_eq!(answer.metadata().get("grpc-encoding"), None);
    let mut client = client.accept_compressed(CompressionEncoding::Gzip);
    let answer = client.get_system_info(GetSystemInfoRequest {}).await.expect("answers");
    assert_eq!(answer.metadata().get("grpc-encoding").expect("named"), "gzip");
    let request = StartWorkflowExecutionRequest { input: None, ..start(0) };
    client.start_workflow_execution(request).await.expect("starts");
    // A refusal has no message, and names nothing.
    let refused = client.start_workflow_execution(start(3 << 20)).await.expect_err("too large");
    assert_eq!(refused.metadata().get("grpc-encoding"), None);
}

/// Flag and bytes on the wire of the history's only page, asked for with `accept`.
async fn raw_history(server: &TestServer, workflow_id: &str, accept: &str) -> (u8, Bytes) {
    let request = GetWorkflowExecutionHistoryRequest {
        namespace: "default".into(),
        execution: Some(WorkflowExecution { workflow_id: workflow_id.into(), run_id: String::new() }),
        ..GetWorkflowExecutionHistoryRequest::default()
    };
    let mut body = vec![0];
    body.extend((request.encoded_len() as u32).to_be_bytes());
    request.encode(&mut body).expect("memory");
    let request =
        http::Request::post(format!("{}/temporal.api.workflowservice.v1.WorkflowService/GetWorkflowExecutionHistory", server.url))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-accept-encoding", accept)
            .body(tonic::body::Body::new(Full::new(Bytes::from(body))))
            .expect("a request");
    let mut channel = server.channel.clone();
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await.expect("connected");
    let answer = channel.call(request).await.expect("answers");
    let body = answer.into_body().collect().await.expect("whole");
    assert_eq!(body.trailers().expect("trailers").get("grpc-status").expect("a status"), "0");
    let body = body.to_bytes();
    assert_eq!(u32::from_be_bytes(body[1..5].try_into().expect("four bytes")) as usize, body.len() - 5);
    (body[0], body.slice(5..))
}

#[tokio::test]
async fn long_answers_are_packed_and_short_ones_are_not() {
    let server = TestServer::start().await;
    // Packed at once, and beside the others.
    for (bytes, longest) in [(50_000, 1000), (300_000, 3000)] {
        let id = bytes.to_string();
        let started = StartWorkflowExecutionRequest { workflow_id: id.clone(), ..start(bytes) };
        server.workflow().start_workflow_execution(started).await.expect("starts");
        let (flag, packed) = raw_history(&server, &id, "identity,gzip").await;
        assert_eq!(flag, 1);
        assert!(packed.len() < longest, "{}", packed.len());
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).expect("gzip");
        let (flag, plain) = raw_history(&server, &id, "identity").await;
        assert_eq!((flag, &plain[..]), (0, &unpacked[..]));
    }
    server.workflow().start_workflow_execution(start(5_000)).await.expect("starts");
    let (flag, plain) = raw_history(&server, "wid", "gzip").await;
    assert!(flag == 0 && plain.len() > 5_000);
}

#[tokio::test]
async fn a_gzip_bomb_is_refused_at_the_limit() {
    let server = TestServer::start().await;
    let status = raw_call(&server.channel, START, &vec![0; 1 << 30 >> 4], true).await.expect_err("too large");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().starts_with("grpc: received message after decompression larger than max"), "{status}");
}

#[tokio::test]
async fn garbage_is_told_and_harms_nobody() {
    let server = TestServer::start().await;
    let status = raw_call(&server.channel, START, b"\x0a\xff\xff\xff\xff\x7fgarbage", false).await.expect_err("garbage");
    assert_eq!(status.code(), Code::Internal);
    // A field of the wrong kind: number 1 (a string) sent as a varint.
    let status = raw_call(&server.channel, START, b"\x08\x01", false).await.expect_err("garbage");
    assert_eq!(status.code(), Code::Internal);
    // Bytes that are not even HTTP/2.
    let address = server.url.trim_start_matches("http://");
    let mut socket = tokio::net::TcpStream::connect(address).await.expect("connects");
    let mut noise = Vec::new();
    Write::write_all(&mut noise, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("memory");
    socket.write_all(&noise).await.expect("sent");
    // The server closes the connection; whether it says something first does not matter.
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    server.workflow().get_system_info(GetSystemInfoRequest {}).await.expect("answers");
}

#[tokio::test]
async fn an_unknown_encoding_is_unimplemented() {
    let server = TestServer::start().await;
    let mut request = tonic::Request::new(GetSystemInfoRequest {});
    request.metadata_mut().insert("grpc-encoding", "zstd".parse().expect("a value"));
    let status = server.workflow().get_system_info(request).await.expect_err("unknown encoding");
    assert_eq!(status.code(), Code::Unimplemented);
}
