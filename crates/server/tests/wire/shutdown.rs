//! Stopping a server while calls wait.
#![expect(clippy::disallowed_methods, reason = "a test that hangs is ended by the wall clock")]

use std::time::Duration;

use sempre_api::v1::workflowservice::{GetSystemInfoRequest, PollWorkflowTaskQueueResponse};
use sempre_server::{ConnectionSettings, ServerSettings};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    polls::poll,
    support::{TestServer, until},
};

/// Long enough for a slow machine; a bug would wait for the poll's minute.
const SOON: Duration = Duration::from_secs(8);

#[tokio::test]
async fn a_waiting_poll_is_answered_empty_and_the_server_stops() {
    let server = TestServer::start().await;
    let mut client = server.workflow();
    let waiting = tokio::spawn(async move { client.poll_workflow_task_queue(poll(Some(Duration::from_secs(60)))).await });
    until(|| server.engine.stats().pollers.get() == 1).await;
    let channel = server.channel.clone();
    let stopped = server.stop();
    let answer = timeout(SOON, waiting).await.expect("soon").expect("no panic").expect("an answer, not a broken connection");
    assert_eq!(answer.into_inner(), PollWorkflowTaskQueueResponse::default());
    drop(channel);
    timeout(SOON, stopped).await.expect("soon").expect("no panic").expect("stops cleanly");
}

#[tokio::test]
async fn a_stopped_server_leaves_its_port() {
    let server = TestServer::start().await;
    let address = server.url.trim_start_matches("http://").to_owned();
    timeout(SOON, server.stop()).await.expect("soon").expect("no panic").expect("stops cleanly");
    assert!(TcpStream::connect(&address).await.is_err());
}

/// A peer that says hello in HTTP/2 and then nothing.
async fn silent_peer(server: &TestServer) -> TcpStream {
    let mut socket = TcpStream::connect(server.url.trim_start_matches("http://")).await.expect("connects");
    let empty_settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    socket.write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &empty_settings].concat()).await.expect("sent");
    socket
}

#[tokio::test]
async fn idle_silent_and_old_connections_are_closed() {
    let (brief, never) = (Duration::from_millis(30), Duration::from_secs(3600));
    let lasting = ConnectionSettings { idle_max: never, age_max: None, grace: brief, ping_after: never, ping_timeout: brief };
    for connections in [
        ConnectionSettings { idle_max: brief, ..lasting.clone() },
        ConnectionSettings { age_max: Some(brief), ..lasting.clone() },
        ConnectionSettings { ping_after: brief, ..lasting },
    ] {
        let server = TestServer::start_with(ServerSettings { connections: connections.clone(), ..ServerSettings::default() }).await;
        let mut socket = silent_peer(&server).await;
        let mut said = Vec::new();
        let closed = timeout(SOON, socket.read_to_end(&mut said)).await;
        assert!(closed.is_ok(), "{connections:?}");
    }
}

#[tokio::test]
async fn a_silent_peer_does_not_hold_up_a_stop() {
    let connections = ConnectionSettings { grace: Duration::from_millis(30), ..ConnectionSettings::default() };
    let server = TestServer::start_with(ServerSettings { connections, ..ServerSettings::default() }).await;
    let socket = silent_peer(&server).await;
    timeout(SOON, server.stop()).await.expect("soon").expect("no panic").expect("stops cleanly");
    drop(socket);
}

#[tokio::test]
async fn two_servers_live_in_one_process() {
    let (one, two) = (TestServer::start().await, TestServer::start().await);
    one.workflow().get_system_info(GetSystemInfoRequest {}).await.expect("answers");
    timeout(SOON, one.stop()).await.expect("soon").expect("no panic").expect("stops cleanly");
    two.workflow().get_system_info(GetSystemInfoRequest {}).await.expect("answers");
}
