//! Peers that mean no good, or are not there any more, byte by byte: they get an end, and nobody else is disturbed.
#![expect(clippy::disallowed_methods, reason = "peers that do nothing are waited for by the wall clock")]

use std::time::{Duration, Instant};

use sempre_api::v1::{
    common::WorkflowType,
    taskqueue::TaskQueue,
    workflowservice::{GetSystemInfoRequest, StartWorkflowExecutionRequest},
};
use sempre_server::ServerSettings;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{TestServer, until};

const POLL: &str = "/temporal.api.workflowservice.v1.WorkflowService/PollWorkflowTaskQueue";
const INFO: &str = "/temporal.api.workflowservice.v1.WorkflowService/GetSystemInfo";
const START: &str = "/temporal.api.workflowservice.v1.WorkflowService/StartWorkflowExecution";
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const DATA: u8 = 0;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A connection of HTTP/2 without a library.
struct Raw(TcpStream);

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header with a new name, as text.
fn header(name: &str, value: &str) -> Vec<u8> {
    assert!(name.len() < 127 && value.len() < 127);
    [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

/// The headers of a call: indexed method and scheme, the rest as text.
fn call(path: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x04, path.len() as u8];
    block.extend(path.as_bytes());
    block.extend(header("content-type", "application/grpc"));
    block.extend(header("te", "trailers"));
    block.extend(header("grpc-timeout", "60S"));
    block
}

impl Raw {
    async fn open(server: &TestServer) -> Self {
        let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).await.expect("connects");
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("sent");
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.expect("sent");
        Self(stream)
    }

    /// False when the server has closed the connection.
    async fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).await.is_ok()
    }

    /// Reads until so many calls have been answered; false when the server says goodbye before.
    async fn answered(&mut self, mut calls: usize) -> bool {
        while calls > 0 {
            let mut head = [0; 9];
            timeout(PATIENCE, self.0.read_exact(&mut head)).await.expect("it says something").expect("the connection is open");
            let mut rest = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            self.0.read_exact(&mut rest).await.expect("whole frames");
            match head[3] {
                GOAWAY => return false,
                HEADERS if head[4] & END_STREAM != 0 => calls -= 1,
                _ => (),
            }
        }
        true
    }

    /// Reads until the server closes the connection; whether it said goodbye.
    async fn ended(mut self) -> bool {
        let mut all = Vec::new();
        let read = timeout(PATIENCE, self.0.read_to_end(&mut all)).await.expect("the connection is closed");
        // What was on its way when it was closed may have broken it.
        let _ = read;
        let mut bytes = all.as_slice();
        while let Some((head, rest)) = bytes.split_at_checked(9) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            if head[3] == GOAWAY {
                return true;
            }
            bytes = rest.get(length..).unwrap_or_default();
        }
        false
    }
}

async fn answers(server: &TestServer) {
    let begun = Instant::now();
    server.workflow().get_system_info(GetSystemInfoRequest {}).await.expect("answers");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn headers_without_an_end_close_their_connection() {
    let server = TestServer::start().await;
    let mut raw = Raw::open(&server).await;
    assert!(raw.send(&frame(HEADERS, 0, 1, &call(POLL))).await);
    let more = frame(CONTINUATION, 0, 1, &header("x", &"y".repeat(100)).repeat(100));
    let mut sent = 0;
    // As long as the server takes them: not for ever.
    while sent < 64 << 20 && timeout(PATIENCE, raw.send(&more)).await.expect("it is read or refused") {
        sent += more.len();
    }
    assert!(sent < 64 << 20, "{sent} bytes of headers were taken");
    raw.ended().await;
    answers(&server).await;
}

#[tokio::test]
async fn headers_that_are_too_large_are_refused() {
    let server = TestServer::start().await;
    let mut raw = Raw::open(&server).await;
    let large = header("x", &"y".repeat(100)).repeat(150);
    raw.send(&frame(HEADERS, 0, 1, &call(POLL))).await;
    for n in 0..10 {
        raw.send(&frame(CONTINUATION, if n == 9 { END_HEADERS } else { 0 }, 1, &large)).await;
    }
    until(|| server.engine.stats().pollers.get() == 0).await;
    // Refused alone, or with its connection.
    drop(raw);
    answers(&server).await;
    assert_eq!(server.engine.stats().pollers.get(), 0);
}

#[tokio::test]
async fn calls_that_are_given_up_at_once_hold_nothing() {
    let server = TestServer::start().await;
    let mut raw = Raw::open(&server).await;
    let mut taken = 0;
    for n in 0..20_000_u32 {
        let stream = 2 * n + 1;
        let begun = frame(HEADERS, END_HEADERS, stream, &call(POLL));
        let given_up = frame(RESET, 0, stream, &8_u32.to_be_bytes());
        if !raw.send(&[begun, given_up].concat()).await {
            break;
        }
        taken = n;
        if n % 5000 == 0 {
            answers(&server).await;
        }
    }
    answers(&server).await;
    drop(raw);
    until(|| server.engine.stats().pollers.get() == 0).await;
    assert!(taken > 0);
}

#[tokio::test]
async fn bodies_that_do_not_come_disturb_nobody() {
    let server = TestServer::start().await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut raw = Raw::open(&server).await;
        for n in 0..50 {
            // A message of a megabyte is announced, and a byte of it comes.
            let begun = frame(HEADERS, END_HEADERS, 2 * n + 1, &call(POLL));
            assert!(raw.send(&[begun, frame(DATA, 0, 2 * n + 1, &[0, 0, 16, 0, 0, 7])].concat()).await);
        }
        slow.push(raw);
    }
    answers(&server).await;
    assert_eq!(server.engine.stats().pollers.get(), 0);
    drop(slow);
    answers(&server).await;
}

/// They come before it is known who calls, so whoever reaches the port may send them.
#[tokio::test]
async fn calls_that_need_no_credentials_keep_no_others_out() {
    let server = TestServer::start_with(ServerSettings { call_bytes_max: 4 << 20, ..ServerSettings::default() }).await;
    let mut raw = Raw::open(&server).await;
    for n in 0..1000 {
        let path = if n % 2 == 0 { INFO } else { "/grpc.health.v1.Health/Check" };
        // A message is announced, and a part of it comes.
        let begun = frame(HEADERS, END_HEADERS, 2 * n + 1, &call(path));
        assert!(raw.send(&[begun, frame(DATA, 0, 2 * n + 1, &[0, 0, 0, 16, 0, 7])].concat()).await);
    }
    // Most of them are refused at once, as there is no room for so many; these are not.
    assert!(raw.answered(500).await);
    let request =
        sempre_api::v1::workflowservice::RespondWorkflowTaskCompletedRequest { namespace: "default".into(), ..Default::default() };
    let refused = server.workflow().respond_workflow_task_completed(request).await.expect_err("without a token");
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
    starts_come_in(&server, 20).await;
    // Those that do not come to their end make room for others soon.
    let begun = Instant::now();
    while server.workflow().get_system_info(GetSystemInfoRequest::default()).await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "there is no room for a probe");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(raw);
}

#[tokio::test]
async fn bodies_that_come_after_the_answers_break_no_connection() {
    let server = TestServer::start().await;
    let mut raw = Raw::open(&server).await;
    // More than HTTP/2's guard lets a peer have reset.
    let streams = || (0..1500).map(|n| 2 * n + 1);
    for n in streams() {
        // Nobody needs its body to say that.
        assert!(raw.send(&frame(HEADERS, END_HEADERS, n, &call("/no.such.Service/Method"))).await);
    }
    assert!(raw.answered(1500).await);
    for n in streams() {
        raw.send(&frame(DATA, END_STREAM, n, &[0; 5])).await;
    }
    raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, 5001, &call("/no.such.Service/Method"))).await;
    assert!(raw.answered(1).await, "the connection is closed");
}

/// So many starts, one after the other, are taken.
async fn starts_come_in(server: &TestServer, count: u32) {
    for n in 0..count {
        let request = StartWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_id: format!("w-{n}"),
            workflow_type: Some(WorkflowType { name: "type".into() }),
            task_queue: Some(TaskQueue { name: "queue".into(), ..Default::default() }),
            request_id: format!("r-{n}"),
            ..Default::default()
        };
        server.workflow().start_workflow_execution(request).await.expect("starts");
    }
}

#[tokio::test]
async fn starts_of_which_only_half_comes_keep_no_others_out() {
    starts_that_do_not_end_keep_no_others_out(&[0, 0, 16, 0, 0, 7]).await;
}

#[tokio::test]
async fn starts_that_are_whole_and_do_not_end_keep_no_others_out() {
    starts_that_do_not_end_keep_no_others_out(&[0; 5]).await;
}

async fn starts_that_do_not_end_keep_no_others_out(body: &[u8]) {
    let server = TestServer::start().await;
    let mut slow = Vec::new();
    for _ in 0..10 {
        let mut raw = Raw::open(&server).await;
        for n in 0..50 {
            let begun = frame(HEADERS, END_HEADERS, 2 * n + 1, &call(START));
            assert!(raw.send(&[begun, frame(DATA, 0, 2 * n + 1, body)].concat()).await);
        }
        slow.push(raw);
    }
    // More of them than may be inside at once; sooner or later all are there.
    starts_come_in(&server, 50).await;
    drop(slow);
}

#[tokio::test]
async fn a_peer_that_is_not_there_any_more_is_found_out() {
    let mut settings = ServerSettings::default();
    (settings.connections.ping_after, settings.connections.ping_timeout) = (Duration::from_millis(100), Duration::from_millis(300));
    let server = TestServer::start_with(settings).await;
    let mut raw = Raw::open(&server).await;
    // A call is open, and pings are not answered.
    assert!(raw.send(&frame(HEADERS, END_HEADERS, 1, &call(POLL))).await);
    raw.ended().await;
    answers(&server).await;
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_sent_away() {
    let mut settings = ServerSettings::default();
    settings.connections.idle_max = Duration::from_millis(200);
    settings.connections.grace = Duration::from_millis(200);
    let server = TestServer::start_with(settings).await;
    let silent = Raw(TcpStream::connect(server.url.trim_start_matches("http://")).await.expect("connects"));
    silent.ended().await;
    let quiet = Raw::open(&server).await;
    assert!(quiet.ended().await, "it is told to go");
    answers(&server).await;
}

#[tokio::test]
async fn headers_of_http_have_an_end_at_every_port() {
    let settings = ServerSettings {
        http_address: Some(([127, 0, 0, 1], 0).into()),
        metrics_address: Some(([127, 0, 0, 1], 0).into()),
        ..ServerSettings::default()
    };
    let server = TestServer::start_with(settings).await;
    let ports = [server.http, server.metrics];
    for address in ports.into_iter().map(|port| port.expect("it answers there")) {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\n").as_bytes()).await.expect("sent");
        let more = format!("x: {}\r\n", "y".repeat(10_000));
        let mut sent = 0;
        while sent < 64 << 20 && timeout(PATIENCE, stream.write_all(more.as_bytes())).await.expect("read or refused").is_ok() {
            sent += more.len();
        }
        assert!(sent < 64 << 20, "{sent} bytes of headers were taken at {address}");
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let request = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("answered");
        assert!(answer.starts_with(b"HTTP/1.1 200 OK"), "{}", String::from_utf8_lossy(&answer[..60.min(answer.len())]));
    }
    answers(&server).await;
}
