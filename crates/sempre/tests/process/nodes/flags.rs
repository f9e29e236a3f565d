//! What a server says that is to be a node: where it is, and what it cannot do.

use sempre_api::v1::workflowservice::{DescribeNamespaceRequest, workflow_service_client::WorkflowServiceClient};
use tonic::transport::Endpoint;

use super::{
    ended, started,
    town::{Host, SHARDS, Town},
    until_even,
};
use crate::support::{Running, output};

/// Runs to the end; gives the exit code and what it says.
fn refused<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> (Option<i32>, String) {
    let ended = output(arguments);
    (ended.status.code(), String::from_utf8(ended.stderr).expect("text"))
}

#[tokio::test]
async fn nodes_and_a_server_alone_keep_each_other_out_and_say_so() {
    let Some(town) = Town::new() else { return };
    let alone = tokio::task::spawn_blocking({
        let town = town.clone();
        move || Running::start(town.alone())
    });
    let alone = alone.await.expect("it starts");
    let told = output(["cluster", "status", "--address", &alone.address]);
    assert_eq!(String::from_utf8_lossy(&told.stdout), "the server has its data alone\n");
    let (code, told) = refused(town.arguments("n"));
    assert!(code == Some(1) && told.contains("is in use by a server that has it alone (process "), "{told}");
    alone.signal("TERM");
    assert_eq!(tokio::task::spawn_blocking(|| alone.wait()).await.expect("no panic"), Some(0));

    let host = started(&town, 0).await;
    let node = host.running.told("Node:");
    assert!(node.starts_with("127.0.0.1:") && !node.ends_with(":0"), "{node}");
    let (code, told) = refused(town.alone());
    assert!(code == Some(1) && told.contains("is shared by nodes (n0 is one of them). Start this server as a node,"), "{told}");
    let taken = town.arguments("n").into_iter().map(|argument| argument.replace("127.0.0.1:0", &node));
    let (code, told) = refused(taken);
    assert!(code == Some(1) && told.contains("the port is in use. Stop what uses it, or give another one with --node-address"), "{told}");
    host.running.signal("TERM");
    let (log, _) = ended(&town, host, Some(0)).await;
    assert!(log.contains("several servers over one database are experimental"), "{log}");
    // It has left nothing behind that another had to wait for.
    let alone = tokio::task::spawn_blocking(move || Running::start(town.alone())).await.expect("it starts");
    alone.signal("TERM");
    assert_eq!(tokio::task::spawn_blocking(|| alone.wait()).await.expect("no panic"), Some(0));
}

#[tokio::test]
async fn namespaces_are_made_by_the_node_that_has_them_and_every_node_tells_who_is_there() {
    let Some(town) = Town::new() else { return };
    let first = started(&town, 0).await;
    let mut hosts = vec![first];
    for name in ["a", "b"] {
        let place = hosts.len();
        let (town, name) = (town.clone(), name.to_owned());
        let host = tokio::task::spawn_blocking(move || town.start_with(place, &["--namespace", &name]));
        hosts.push(host.await.expect("it starts"));
    }
    for (host, name) in hosts[1..].iter().zip(["a", "b"]) {
        let endpoint = Endpoint::new(format!("http://{}", host.running.address)).expect("a URL");
        let mut client = WorkflowServiceClient::new(endpoint.connect().await.expect("it answers"));
        let request = DescribeNamespaceRequest { namespace: name.into(), ..Default::default() };
        let described = client.describe_namespace(request).await.expect("described").into_inner();
        assert_eq!(described.namespace_info.expect("info").name, name);
    }
    let stop = async |host: Host| {
        host.running.signal("TERM");
        ended(&town, host, Some(0)).await;
    };
    let status = |host: &Host, format: &str| {
        let told = output(["cluster", "status", "--address", &host.running.address, "--output", format]);
        assert_eq!(told.status.code(), Some(0), "{}", String::from_utf8_lossy(&told.stderr));
        String::from_utf8(told.stdout).expect("text")
    };
    until_even(&town).await;
    // Any of them tells it, and tells the same of all.
    for host in &hosts {
        let told: serde_json::Value = serde_json::from_str(&status(host, "json")).expect("JSON");
        let nodes = told["nodes"].as_array().expect("nodes");
        let shards = |node: &serde_json::Value| node["shards"].as_i64().expect("a number");
        assert_eq!((nodes.len(), nodes.iter().map(shards).sum::<i64>()), (3, i64::from(SHARDS)), "{told}");
        assert_eq!((&told["shared"], &told["singleShards"]), (&true.into(), &12.into()), "{told}");
        let node = host.running.told("Node:");
        let own = nodes.iter().find(|other| other["address"] == node.as_str()).expect("itself");
        assert_eq!((&own["id"], &own["ready"]), (&told["answeredBy"], &true.into()), "{told}");
        assert!(own["leaseLeft"].as_str().is_some_and(|left| left.ends_with('s') && !left.starts_with('-')), "{told}");
    }
    let text = status(&hosts[0], "text");
    for wanted in ["Name", "n0 (answers)", "n1", "n2", "serving", "64 shards and 12 single ones: each has a node, "] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    for host in hosts {
        stop(host).await;
    }
}

#[test]
fn what_a_node_cannot_be_is_told_before_anything_is_touched() {
    let store = "--store=postgres://u@127.0.0.1:1/d";
    let refused = |arguments: &[&str]| refused(["server", "start", "--port=0"].iter().chain(arguments));
    let (code, told) = refused(&[store, "--node-address=0.0.0.0:7234"]);
    assert!(code == Some(2) && told.contains("others cannot reach 0.0.0.0"), "{told}");
    let (code, told) = refused(&["--node-address=127.0.0.1:0"]);
    assert!(code == Some(1) && told.contains("name it with --store postgres://"), "{told}");
    let (code, told) = refused(&[store, "--node-name=a"]);
    assert!(code == Some(2) && told.contains("--node-address <HOST:PORT>"), "{told}");
    for flag in ["--alerts-file=alerts.toml", "--auto-register-search-attributes"] {
        let (code, told) = refused(&[store, "--node-address=127.0.0.1:0", flag]);
        let name = flag.split('=').next().expect("a name");
        assert!(code == Some(1) && told.contains(&format!("error: {name} cannot be given with --node-address yet")), "{told}");
    }
    let (code, told) = refused(&[store, "--node-address=192.0.2.1:0"]);
    assert!(code == Some(1) && told.contains("this machine does not have that address. Give one that it has with --node-ip"), "{told}");
}
