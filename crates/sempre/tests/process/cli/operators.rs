//! `operator …`.

use super::Server;

#[test]
fn namespaces() {
    let server = Server::start();
    let made = server.text(&["operator", "namespace", "create", "-n", "shop", "--retention", "7d", "--description", "all orders"]);
    assert_eq!(made, "Namespace shop successfully registered.\n");
    let described = server.json(&["operator", "namespace", "describe", "-n", "shop"]);
    assert_eq!(described["config"]["workflowExecutionRetentionTtl"], "604800s");
    server.text(&["operator", "namespace", "update", "-n", "shop", "--email", "a@b"]);
    let text = server.text(&["operator", "namespace", "describe", "shop"]);
    assert!(text.contains("all orders\n") && text.contains("a@b\n") && text.contains("RetentionTtl  7d\n"), "{text}");
    let id = described["namespaceInfo"]["id"].as_str().expect("an id");
    assert_eq!(server.json(&["operator", "namespace", "describe", "--namespace-id", id])["namespaceInfo"]["name"], "shop");
    let listed = server.json(&["operator", "namespace", "list"]);
    let names: Vec<_> = listed.as_array().expect("a list").iter().map(|of| of["namespaceInfo"]["name"].as_str()).collect();
    assert!(names.contains(&Some("shop")) && names.contains(&Some("default")), "{names:?}");
    let (_, told) = server.failure(&["operator", "namespace", "describe", "-n", "none"]);
    assert_eq!(told, "Namespace none is not found: `sempre operator namespace list` lists those that exist.");
    let wrong = server.answering(&["operator", "namespace", "delete", "-n", "shop"], "stop\n");
    assert_eq!(wrong.status.code(), Some(1));
}

#[test]
fn search_attributes() {
    let server = Server::start();
    let create = ["operator", "search-attribute", "create", "--name", "Sku", "--type", "Keyword", "--name", "Count", "--type", "int"];
    server.text(&create);
    // Again is no failure, another type is.
    server.text(&create);
    let (_, told) = server.failure(&["operator", "search-attribute", "create", "--name", "Sku", "--type", "Int"]);
    assert_eq!(told, "search attribute Sku is there already, with type Keyword.");
    let text = server.text(&["operator", "search-attribute", "list"]);
    assert!(text.lines().any(|line| line.split_whitespace().eq(["Sku", "Keyword"])), "{text}");
    assert!(text.lines().any(|line| line.split_whitespace().eq(["WorkflowType", "Keyword"])), "{text}");
    assert_eq!(server.json(&["operator", "search-attribute", "list"])["customAttributes"]["Count"], "INDEXED_VALUE_TYPE_INT");
    server.text(&["operator", "search-attribute", "remove", "--name", "Sku", "--yes"]);
    assert!(!server.text(&["operator", "search-attribute", "list"]).contains("Sku"));
    server.text(&["workflow", "start", "--type", "T", "--task-queue", "q", "-w", "counted", "--search-attribute", "Count=7"]);
    let rename = ["operator", "search-attribute", "rename", "--name", "Count", "--new-name", "Amount"];
    assert_eq!(server.text(&rename), "The search attribute has been renamed\n");
    assert!(server.json(&["operator", "search-attribute", "list"])["customAttributes"]["Count"].is_null());
    assert!(server.text(&["workflow", "list", "--query", "Amount = 7"]).contains("counted"));
    let described = server.json(&["workflow", "describe", "-w", "counted"]);
    let fields = &described["workflowExecutionInfo"]["searchAttributes"]["indexedFields"];
    assert!(fields["Amount"].is_object() && fields["Count"].is_null(), "{fields}");
    assert_eq!(server.failure(&rename).1, "Search attribute Count doesn't exist.");
    let (code, told) = server.failure(&["operator", "search-attribute", "create", "--name", "X", "--name", "Y", "--type", "Int"]);
    assert_eq!((code, told.as_str()), (Some(2), "give --type once for each --name."));
}

#[test]
fn the_cluster() {
    let server = Server::start();
    assert_eq!(server.text(&["operator", "cluster", "health"]), "SERVING\n");
    assert_eq!(server.json(&["operator", "cluster", "health"])["status"], "SERVING");
    assert_eq!(server.json(&["operator", "cluster", "system"])["serverVersion"], sempre_server::SERVER_VERSION);
    assert!(server.text(&["operator", "cluster", "describe", "--detail"]).contains(sempre_server::SERVER_VERSION));
}

#[test]
fn nexus_endpoints() {
    let server = Server::start();
    let make = ["operator", "nexus", "endpoint", "create", "--name", "pay", "--target-namespace", "default", "--target-task-queue", "q"];
    assert_eq!(server.text(&[&make[..], &["--description", "all payments"]].concat()), "Endpoint pay successfully created.\n");
    let got = server.json(&["operator", "nexus", "endpoint", "get", "--name", "pay"]);
    assert_eq!(
        (got["spec"]["target"]["worker"]["taskQueue"].as_str(), got["spec"]["description"].as_str()),
        (Some("q"), Some("all payments"))
    );
    server.text(&["operator", "nexus", "endpoint", "update", "--name", "pay", "--target-task-queue", "r"]);
    let text = server.text(&["operator", "nexus", "endpoint", "list"]);
    assert!(text.contains("Target.Worker.TaskQueue  r\n") && text.contains("all payments\n"), "{text}");
    server.text(&["operator", "nexus", "endpoint", "delete", "--name", "pay"]);
    let (_, told) = server.failure(&["operator", "nexus", "endpoint", "get", "--name", "pay"]);
    assert_eq!(told, "there is no endpoint \"pay\".");
    let (code, told) = server.failure(&make[..8]);
    assert_eq!((code, told.as_str()), (Some(2), "give --target-namespace and --target-task-queue, or --target-url."));
}
