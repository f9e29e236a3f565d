//! Start, serve, stop.
#![expect(clippy::disallowed_methods, reason = "a test that hangs is ended by the wall clock")]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use sempre_api::v1::workflowservice::{DescribeNamespaceRequest, GetSystemInfoRequest, workflow_service_client::WorkflowServiceClient};
use tonic::transport::{Channel, Endpoint};

use crate::support::{Running, Scratch};

async fn client(server: &Running) -> WorkflowServiceClient<Channel> {
    let endpoint = Endpoint::new(format!("http://{}", server.address)).expect("a URL");
    WorkflowServiceClient::new(endpoint.connect().await.expect("it answers"))
}

#[tokio::test]
async fn the_line_that_sdks_run_gives_a_server() {
    let line = "server start-dev --port 0 --namespace orders --ip 127.0.0.1 --log-format json --log-level warn --headless \
        --dynamic-config-value frontend.enableServerVersionCheck=false --dynamic-config-value limit.blobSize.error=16384";
    let server = Running::start(line.split_whitespace());
    let mut client = client(&server).await;
    for namespace in ["default", "orders"] {
        let request = DescribeNamespaceRequest { namespace: namespace.into(), ..Default::default() };
        let info = client.describe_namespace(request).await.expect("known").into_inner().namespace_info.expect("info");
        assert_eq!(info.limits.expect("limits").blob_size_limit_error, 16_384);
    }
    assert!(server.banner[0].starts_with("sempre "));
    assert!(server.banner.iter().any(|line| line.starts_with("Namespace:") && line.ends_with("default, orders")));
    assert!(server.banner.iter().any(|line| line.starts_with("Data:") && line.contains("memory")));
}

#[tokio::test]
#[cfg(unix)]
async fn both_signals_stop_cleanly() {
    for signal in ["TERM", "INT"] {
        let scratch = Scratch::new();
        let server = Running::on(&scratch.path("data"));
        let mut client = client(&server).await;
        client.get_system_info(GetSystemInfoRequest {}).await.expect("answers");
        server.signal(signal);
        assert_eq!(tokio::task::spawn_blocking(|| server.wait()).await.expect("no panic"), Some(0), "{signal}");
    }
}

#[tokio::test]
#[cfg(unix)]
async fn what_was_made_is_there_after_a_restart() {
    let scratch = Scratch::new();
    let folder = scratch.path("data");
    let server = Running::on(&folder);
    let id = default_namespace_id(&server).await;
    server.signal("KILL");
    server.wait();
    let server = Running::on(&folder);
    assert_eq!(default_namespace_id(&server).await, id);
    assert!(server.banner.iter().any(|line| line.starts_with("Data:") && line.ends_with(path_text(&folder))));
}

#[test]
fn a_server_is_ready_soon() {
    // The budget is 300 ms for a release build; this catches seconds, on any machine.
    let began = Instant::now();
    Running::start(["server", "start-dev", "--port=0"]);
    assert!(began.elapsed() < Duration::from_secs(3));
}

fn path_text(path: &Path) -> &str {
    path.to_str().expect("a temporary folder's name is text")
}

async fn default_namespace_id(server: &Running) -> String {
    let request = DescribeNamespaceRequest { namespace: "default".into(), ..Default::default() };
    let answer = client(server).await.describe_namespace(request).await.expect("known").into_inner();
    answer.namespace_info.expect("info").id
}
