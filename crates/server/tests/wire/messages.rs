//! Sizes, compression and garbage.

use std::io::Write;

use prost::Message;
use sempre_api::v1::{
    common::{Payload, Payloads, WorkflowType},
    taskqueue::TaskQueue,
    workflowservice::{GetSystemInfoRequest, StartWorkflowExecutionRequest},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{Code, codec::CompressionEncoding};

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
async fn gzip_is_taken_and_answers_are_plain() {
    let server = TestServer::start().await;
    let client = server.workflow();
    let mut client = client.send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip);
    let answer = client.get_system_info(GetSystemInfoRequest {}).await.expect("answers");
    assert_eq!(answer.metadata().get("grpc-encoding"), None);
    let request = StartWorkflowExecutionRequest { input: None, ..start(0) };
    client.start_workflow_execution(request).await.expect("starts");
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
