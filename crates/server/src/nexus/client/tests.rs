//! Against a peer that answers by script and keeps what it was sent.

use std::io;

use sempre_api::v1::{
    common::Payload,
    enums::NexusHandlerErrorRetryBehavior as Retry,
    nexus::{CancelOperationRequest, StartOperationRequest},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

use super::*;

/// Long enough for a slow machine.
const LONG: Span = Span::seconds(20);

/// One request, as far as its head.
async fn head(stream: &mut TcpStream) -> io::Result<String> {
    let mut got = Vec::new();
    while !got.ends_with(b"\r\n\r\n") {
        got.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&got).into_owned())
}

/// Answers each connection with the next of these bytes and closes it; `""`: never answers. Gives the heads that came.
async fn peer(answers: &'static [&'static str]) -> (String, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let host = listener.local_addr().expect("an address").to_string();
    let (sender, heads) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut open = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            sender.send(head(&mut stream).await.expect("a request")).expect("somebody reads");
            if answer.is_empty() {
                open.push(stream);
            } else {
                stream.write_all(answer.as_bytes()).await.expect("sent");
            }
        }
        std::future::pending::<()>().await;
    });
    (host, heads)
}

fn operations() -> HttpOperations {
    HttpOperations::new(Some("http://me/{{.NamespaceName}}?x=1&y".into()))
}

fn to_start(url: String) -> RequestToStart {
    RequestToStart {
        url,
        caller_namespace: ("n s".into(), "id".into()),
        request: StartOperationRequest { service: "s/1".into(), operation: "o".into(), request_id: "r".into(), ..Default::default() },
        callback_token: "secret".into(),
        header: BTreeMap::new(),
        timeout: LONG,
        result_bytes_max: 1000,
        token_bytes_max: 10,
    }
}

fn to_cancel(url: String) -> RequestToCancel {
    let request = CancelOperationRequest { service: "s".into(), operation: "o".into(), operation_token: "t".into(), ..Default::default() };
    RequestToCancel { url, request, header: BTreeMap::new(), timeout: LONG }
}

/// The result of a start that is answered so.
async fn answered(answer: &'static [&'static str]) -> OperationResult {
    let (host, _heads) = peer(answer).await;
    operations().start(to_start(format!("http://{host}"))).await
}

fn text(failure: &Failure) -> &str {
    &failure.message
}

fn behaviour(failure: &Failure) -> i32 {
    match &failure.failure_info {
        Some(FailureInfo::NexusHandlerFailureInfo(info)) => info.retry_behavior,
        other => panic!("no handler's failure: {other:?}"),
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_asked_for_again() {
    for answer in [
        &["HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n\"hal"][..],
        &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab"],
        &["HTTP/1.1 201 Created\r\ncontent-length: 40\r\n\r\n{"],
        &["HTTP/1.1 424 Failed Dependency\r\nnexus-operation-state: failed\r\ncontent-length: 40\r\n\r\n{"],
        &["HTTP/1.1 400 Bad Request\r\ncontent-length: 40\r\n\r\n{"],
    ] {
        let result = answered(answer).await;
        assert!(matches!(&result, OperationResult::Undelivered(failure) if text(failure) == BROKEN), "{answer:?} {result:?}");
    }
    for answer in [&["HTTP/1.1 202 Accepted\r\ncontent-length: 4\r\n\r\nx"][..], &["HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nx"]]
    {
        let (host, _heads) = peer(answer).await;
        let result = operations().cancel(to_cancel(format!("http://{host}"))).await;
        assert!(matches!(&result, OperationCancelResult::Undelivered(failure) if text(failure) == BROKEN), "{answer:?} {result:?}");
    }
    let result = answered(&["HTTP/1.1 2"]).await;
    assert!(matches!(result, OperationResult::Undelivered(_)), "{result:?}");
}

#[tokio::test]
async fn a_result_that_is_too_large_is_final() {
    let large: &'static str = format!("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{}", "x".repeat(100_000)).leak();
    let fits_not_its_limit: &'static str = format!("HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n{}", "x".repeat(2000)).leak();
    for answer in [large, fits_not_its_limit] {
        let result = answered(vec![answer].leak()).await;
        assert!(matches!(&result, OperationResult::Refused(failure) if text(failure) == TOO_LARGE), "{result:?}");
    }
}

#[tokio::test]
async fn statuses_say_what_became_of_a_start() {
    let result = answered(&["HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1\r\n\r\n1"]).await;
    assert!(matches!(&result, OperationResult::Completed { result: Some(result), .. } if result.data == "1"), "{result:?}");
    let result = answered(&["HTTP/1.1 201 Created\r\ncontent-length: 31\r\n\r\n{\"state\":\"running\",\"token\":\"t\"}"]).await;
    assert!(matches!(&result, OperationResult::Started { token, .. } if token == "t"), "{result:?}");
    for (answer, final_, retry) in [
        (&["HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"][..], true, Retry::Unspecified),
        (&["HTTP/1.1 404 Not Found\r\nnexus-request-retryable: true\r\ncontent-length: 0\r\n\r\n"], false, Retry::Retryable),
        (&["HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n"], false, Retry::Unspecified),
        (&["HTTP/1.1 503 Unavailable\r\nnexus-request-retryable: false\r\ncontent-length: 0\r\n\r\n"], true, Retry::NonRetryable),
    ] {
        let result = answered(answer).await;
        let (refused, failure) = match &result {
            OperationResult::Refused(failure) => (true, failure),
            OperationResult::Undelivered(failure) => (false, failure),
            other => panic!("{answer:?} {other:?}"),
        };
        assert_eq!((refused, behaviour(failure)), (final_, retry as i32), "{answer:?}");
    }
    let odd = &["HTTP/1.1 302 Found\r\nnexus-request-retryable: false\r\ncontent-length: 0\r\n\r\n"];
    assert!(matches!(answered(odd).await, OperationResult::Undelivered(_)), "a status that is none of a handler's");
}

#[tokio::test]
async fn the_url_of_an_endpoint_counts_whole() {
    const OK: &str = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
    let (host, mut heads) = peer(&[OK, OK, OK]).await;
    let operations = operations();
    operations.start(to_start(format!("http://me:p%40ss@{host}/a/?key=v&callback=theirs"))).await;
    let head = heads.recv().await.expect("a request");
    let target = "/a/s%2F1/o?key=v&callback=http%3A%2F%2Fme%2Fn%2520s%3Fx%3D1%26y";
    assert!(head.starts_with(&format!("POST {target} HTTP/1.1\r\n")), "{head}");
    for line in
        [format!("host: {host}"), "authorization: Basic bWU6cEBzcw==".into(), "nexus-callback-temporal-callback-token: secret".into()]
    {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}: {head}");
    }
    operations.cancel(to_cancel(format!("http://{host}/a?key=v"))).await;
    let head = heads.recv().await.expect("a request");
    assert!(head.starts_with("POST /a/s/o/cancel?key=v HTTP/1.1\r\n") && head.contains("\r\nnexus-operation-token: t\r\n"), "{head}");
    let header = [("Authorization".to_owned(), "own".to_owned())].into();
    operations.cancel(RequestToCancel { header, ..to_cancel(format!("http://me:x@{host}")) }).await;
    let head = heads.recv().await.expect("a request");
    assert!(head.starts_with("POST /s/o/cancel HTTP/1.1\r\n") && head.contains("\r\nauthorization: own\r\n"), "{head}");
}

#[tokio::test]
async fn headers_of_the_connection_are_not_the_workflows_to_set() {
    let (host, mut heads) = peer(&["HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"]).await;
    let mut request = to_start(format!("http://{host}"));
    let theirs = ["Content-Length", "Transfer-Encoding", "Host", "Connection", "Trailer", "TE", "Upgrade", "x-own"];
    request.header = theirs.map(|name| (name.to_owned(), "7".to_owned())).into();
    let metadata = [("encoding", "unknown/nexus-content"), ("type", "text/plain"), ("language", "en")];
    let metadata = metadata.map(|(name, value)| (name.to_owned(), Bytes::from_static(value.as_bytes())));
    request.request.payload = Some(Payload { metadata: metadata.into(), data: Bytes::from_static(b"hi"), ..Default::default() });
    operations().start(request).await;
    let head = heads.recv().await.expect("a request").to_lowercase();
    for line in ["content-length: 2", "connection: close", "x-own: 7", "content-type: text/plain", "content-language: en"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}: {head}");
    }
    for name in ["transfer-encoding", "trailer", "te", "upgrade"] {
        assert!(!head.contains(&format!("\r\n{name}:")), "{name}: {head}");
    }
    assert_eq!(head.matches("\r\nhost:").count(), 1, "{head}");
}

#[tokio::test]
async fn one_silent_endpoint_leaves_the_others_their_room() {
    let (silent, mut silent_heads) = peer(&[""; 100]).await;
    let (host, mut heads) = peer(&["HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"]).await;
    let operations = Arc::new(operations());
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..80 {
        waiting.spawn(operations.cancel(to_cancel(format!("http://{silent}"))));
    }
    for _ in 0..64 {
        silent_heads.recv().await.expect("a request");
    }
    let result = timeout(Duration::from_secs(15), operations.cancel(to_cancel(format!("http://{host}")))).await;
    assert_eq!(result, Ok(OperationCancelResult::Taken));
    let head = heads.recv().await.expect("a request");
    let told = head.lines().find_map(|line| line.strip_prefix("request-timeout: ")?.strip_suffix("ms")).expect("a time");
    assert!((1..=20_000).contains(&told.parse::<u64>().expect("a number")), "{told}");
    assert!(silent_heads.try_recv().is_err(), "no more than its room");
}

#[tokio::test]
async fn a_request_is_told_the_time_that_is_left() {
    let (host, mut heads) = peer(&[""; 65]).await;
    let operations = operations();
    let mut waiting = tokio::task::JoinSet::new();
    let cancel = |timeout| operations.cancel(RequestToCancel { timeout, ..to_cancel(format!("http://{host}")) });
    for _ in 0..64 {
        waiting.spawn(cancel(Span::millis(1500)));
    }
    for _ in 0..64 {
        heads.recv().await.expect("a request");
    }
    waiting.spawn(cancel(LONG));
    let head = heads.recv().await.expect("when the others are over");
    let told = head.lines().find_map(|line| line.strip_prefix("request-timeout: ")?.strip_suffix("ms")).expect("a time");
    let told: u64 = told.parse().expect("a number");
    assert!(told < 20_000, "what it waited counts: {told}");
}

#[tokio::test]
async fn callbacks_to_this_machine_are_warned_of_once_for_another() {
    for (url, expected) in [
        ("http://127.0.0.1:80/x", true),
        ("http://[::1]/x", true),
        ("https://me@LOCALHOST?x", true),
        ("http://10.0.0.1/x", false),
        ("http://{{.x}}/y", false),
    ] {
        assert_eq!(leads_to_loopback(url), expected, "{url}");
    }
    let (host, _heads) = peer(&["HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"]).await;
    let operations = HttpOperations::new(Some("http://127.0.0.1:1/{{.NamespaceName}}".into()));
    operations.start(to_start(format!("http://{host}"))).await;
    assert!(operations.warns.load(Ordering::Relaxed), "they are on one machine");
    drop(operations.start(to_start("http://host.invalid".into())));
    assert!(!operations.warns.load(Ordering::Relaxed));
}
