//! Who may call what: every method with every role in every namespace, and what else is answered over HTTP.

use std::{
    collections::BTreeSet,
    fmt::Write,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use http::{Method, StatusCode};
use prost::Message;
use sempre_api::{
    sempre::v1::{CreateApiKeyRequest, DescribeCallerRequest, RevokeApiKeyRequest, access_service_client::AccessServiceClient},
    v1::{
        command::{
            Command, RequestCancelExternalWorkflowExecutionCommandAttributes, ScheduleNexusOperationCommandAttributes,
            SignalExternalWorkflowExecutionCommandAttributes, StartChildWorkflowExecutionCommandAttributes, command::Attributes,
        },
        common::WorkflowType,
        nexus::{EndpointSpec, EndpointTarget, endpoint_target},
        operatorservice::{CreateNexusEndpointRequest, DeleteNamespaceRequest},
        taskqueue::TaskQueue,
        workflowservice::{
            CountWorkflowExecutionsRequest, DescribeNamespaceRequest, DescribeTaskQueueRequest, PollWorkflowTaskQueueRequest,
            RespondWorkflowTaskCompletedRequest, StartWorkflowExecutionRequest,
        },
    },
};
use sempre_server::{AuthSettings, ServerSettings, UiSettings};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{
    Code, Request, Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use crate::{
    http::{request, text},
    support::{TestServer, raw_call_as, read},
};

const ADMIN: &str = "an admin's key of enough characters for this test";
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire/golden/access.txt");
const WORKFLOW: &str = "temporal.api.workflowservice.v1.WorkflowService";

/// A server that asks who calls, and its admin.
struct Guarded {
    server: TestServer,
    folder: PathBuf,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Sends credentials with each call.
#[derive(Clone)]
struct As(String);

impl Interceptor for As {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", format!("Bearer {}", self.0).parse().expect("a header"));
        Ok(request)
    }
}

impl Guarded {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut ServerSettings)) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("sempre-access-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("writable");
        let admin_key_file = folder.join("admin");
        std::fs::write(&admin_key_file, ADMIN.replace(' ', "-")).expect("writable");
        let mut settings = ServerSettings {
            auth: Some(AuthSettings { admin_key_file: Some(admin_key_file), rules_file: None }),
            namespaces: vec!["default".into(), "orders".into()],
            http_address: Some(([127, 0, 0, 1], 0).into()),
            ..ServerSettings::default()
        };
        change(&mut settings);
        Self { server: TestServer::start_with(settings).await, folder }
    }

    fn admin(&self) -> String {
        ADMIN.replace(' ', "-")
    }

    fn keys(&self, secret: &str) -> AccessServiceClient<InterceptedService<Channel, As>> {
        AccessServiceClient::with_interceptor(self.server.channel.clone(), As(secret.to_owned()))
    }

    /// A key with these grants; its id and secret.
    async fn key(&self, grants: &[&str]) -> (String, String) {
        let grants = grants.iter().map(|grant| (*grant).to_owned()).collect();
        let request = CreateApiKeyRequest { name: "test".into(), grants, expire_time: None };
        let answer = self.keys(&self.admin()).create_api_key(request).await.expect("made").into_inner();
        (answer.key.expect("told").id, answer.secret)
    }

    /// True if a call gets past authorization.
    async fn passes(&self, path: &str, body: &[u8], secret: Option<&str>) -> bool {
        let authorization = secret.map(|secret| format!("Bearer {secret}"));
        match raw_call_as(&self.server.channel, path, body, false, authorization.as_deref()).await {
            Err(status) if status.code() == Code::PermissionDenied => {
                assert_eq!(status.message(), "Request unauthorized.", "{path}");
                let (_, _, detail) = read(&status);
                assert_eq!(detail.map(|(name, _)| name).as_deref(), Some("PermissionDeniedFailure"), "{path}");
                false
            }
            _ => true,
        }
    }
}

/// A request of this method about a namespace, which no handler ever sees: behind the namespace comes what no decoder takes.
fn about(service: &str, method: &str, namespace: &str) -> Vec<u8> {
    let service = sempre_api::json::descriptors().get_service_by_name(service);
    let method = service.and_then(|service| service.methods().find(|found| found.name() == method));
    let Some(field) = method.and_then(|method| method.input().get_field_by_name("namespace")) else { return Vec::new() };
    let mut body = Vec::new();
    prost::encoding::string::encode(field.number(), &namespace.to_owned(), &mut body);
    prost::encoding::uint64::encode(field.number(), &1, &mut body);
    body
}

fn methods() -> impl Iterator<Item = (&'static str, &'static str)> {
    let reflection = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];
    sempre_api::METHODS.iter().copied().chain(reflection.map(|service| (service, "ServerReflectionInfo")))
}

#[tokio::test]
async fn every_method_lets_through_whom_it_should() {
    let guarded = Guarded::start().await;
    let roles = ["read", "worker", "write", "admin"];
    let mut callers = vec![("nobody".to_owned(), None), ("stranger".to_owned(), Some("sempre_unknown".to_owned()))];
    callers.push(("none".to_owned(), Some(guarded.key(&["elsewhere:admin"]).await.1)));
    for subject in ["default", "*"] {
        for role in roles {
            let name = if subject == "*" { format!("*{role}") } else { role.to_owned() };
            callers.push((name, Some(guarded.key(&[&format!("{subject}:{role}")]).await.1)));
        }
    }
    let mut table = String::from(
        "# Who gets past authorization: by method, in the namespace `default`. read, worker, write, admin: with this role in it;\n\
         # *read …: with the role everywhere; none: with roles elsewhere alone; nobody, stranger: without credentials, with unknown ones.\n",
    );
    for (service, method) in methods() {
        let path = format!("/{service}/{method}");
        let mut passed = BTreeSet::new();
        let mut line = String::new();
        let body = about(service, method, "default");
        for (name, secret) in &callers {
            if guarded.passes(&path, &body, secret.as_deref()).await {
                passed.insert(name.as_str());
                let _ = write!(line, " {name}");
            }
        }
        let _ = writeln!(table, "{}/{method}:{line}", service.rsplit('.').next().unwrap_or_default());
        // Whatever the table says: who may more may all that others may, and a namespace is no other.
        let implies = |less: &str, more: &str| !passed.contains(less) || passed.contains(more);
        for role in roles {
            assert!(implies(role, &format!("*{role}")), "{path}: {passed:?}");
            assert!(implies(role, "write") || role == "admin", "{path}: {passed:?}");
            assert!(implies(role, "admin") && implies(&format!("*{role}"), "*admin"), "{path}: {passed:?}");
        }
        assert!(implies("nobody", "none") && implies("nobody", "stranger"), "{path}: {passed:?}");
        if !body.is_empty() {
            let other = about(service, method, "orders");
            for (name, secret) in &callers {
                let expected = passed.contains(name.as_str()) && !roles.contains(&name.as_str());
                assert_eq!(guarded.passes(&path, &other, secret.as_deref()).await, expected, "{path} in orders as {name}");
            }
            // Named twice, both count: which of them a decoder takes is its own business.
            let write = callers.iter().find(|(name, _)| name == "write").and_then(|(_, secret)| secret.as_deref());
            for both in [[&body[..], &other].concat(), [&other[..], &body].concat()] {
                assert!(!guarded.passes(&path, &both, write).await, "{path} in both");
            }
        }
    }
    if std::env::var_os("SEMPRE_WRITE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &table).expect("writable");
    }
    let golden = std::fs::read_to_string(GOLDEN).expect("the golden file is there; SEMPRE_WRITE_GOLDEN=1 makes it");
    for (line, expected) in table.lines().zip(golden.lines()) {
        assert_eq!(line, expected);
    }
    assert_eq!(table.lines().count(), golden.lines().count());
}

#[tokio::test]
async fn credentials_come_in_one_form() {
    let guarded = Guarded::start().await;
    let (_, secret) = guarded.key(&["*:read"]).await;
    let list = format!("/{WORKFLOW}/ListNamespaces");
    let ask = async |authorization: &str| raw_call_as(&guarded.server.channel, &list, b"", false, Some(authorization)).await.is_ok();
    assert!(ask(&format!("Bearer {secret}")).await && ask(&format!("bearer {secret}")).await);
    for other in [secret.clone(), format!("Basic {secret}"), "Bearer".into(), "Bearer ".into(), format!("Bearer {secret}x"), String::new()]
    {
        assert!(!ask(&other).await, "{other}");
    }
    // What is wrong is told, in words.
    let refused = raw_call_as(&guarded.server.channel, &list, b"", false, None).await.expect_err("refused");
    let (_, _, detail) = read(&refused);
    let failure = sempre_api::v1::errordetails::PermissionDeniedFailure::decode(detail.expect("a detail").1).expect("decodes");
    assert!(failure.reason.starts_with("there are no credentials"), "{}", failure.reason);
}

#[tokio::test]
async fn a_token_says_the_namespace_where_the_request_does_not() {
    let guarded = Guarded::start().await;
    let server = &guarded.server;
    let start = StartWorkflowExecutionRequest {
        namespace: "orders".into(),
        workflow_id: "w".into(),
        workflow_type: Some(WorkflowType { name: "t".into() }),
        task_queue: Some(TaskQueue { name: "q".into(), ..Default::default() }),
        request_id: "r".into(),
        ..Default::default()
    };
    server.engine.start_workflow(start).await.expect("started");
    let poll = PollWorkflowTaskQueueRequest {
        namespace: "orders".into(),
        task_queue: Some(TaskQueue { name: "q".into(), ..Default::default() }),
        ..Default::default()
    };
    let token = server.engine.poll_workflow_task(poll, None).await.expect("a task").task_token;
    let (_, orders) = guarded.key(&["orders:worker"]).await;
    let (_, default) = guarded.key(&["default:worker"]).await;
    let path = format!("/{WORKFLOW}/RespondWorkflowTaskFailed");
    let body = |namespace: &str, token: &[u8]| {
        let request = sempre_api::v1::workflowservice::RespondWorkflowTaskFailedRequest {
            namespace: namespace.into(),
            task_token: bytes::Bytes::copy_from_slice(token),
            ..Default::default()
        };
        request.encode_to_vec()
    };
    assert!(!guarded.passes(&path, &body("", &token), Some(&default)).await);
    assert!(!guarded.passes(&path, &body("", b"junk"), Some(&orders)).await, "of no namespace");
    assert!(!guarded.passes(&path, &body("", b""), Some(&orders)).await);
    // The namespace of the request is allowed, but the token is not of it: that is refused further in.
    let foreign = raw_call_as(&server.channel, &path, &body("default", &token), false, Some(&format!("Bearer {default}"))).await;
    let foreign = foreign.expect_err("refused");
    assert_eq!(foreign.message(), "Operation requested with a token from a different namespace.");
    assert!(guarded.passes(&path, &body("", &token), Some(&orders)).await);
}

#[tokio::test]
async fn a_namespace_that_is_named_by_its_id_is_looked_at_too() {
    let guarded = Guarded::start().await;
    let describe = |namespace: &str, id: &str| {
        DescribeNamespaceRequest { namespace: namespace.into(), id: id.into(), ..Default::default() }.encode_to_vec()
    };
    let info = guarded.server.engine.describe_namespace(DescribeNamespaceRequest { namespace: "orders".into(), ..Default::default() });
    let id = info.await.expect("known").namespace_info.expect("told").id;
    let (path, delete) = (format!("/{WORKFLOW}/DescribeNamespace"), "/temporal.api.operatorservice.v1.OperatorService/DeleteNamespace");
    let (_, orders) = guarded.key(&["orders:admin"]).await;
    let (_, default) = guarded.key(&["default:admin"]).await;
    assert!(guarded.passes(&path, &describe("", &id), Some(&orders)).await);
    assert!(guarded.passes(&path, &describe("orders", &id), Some(&orders)).await);
    assert!(!guarded.passes(&path, &describe("", &id), Some(&default)).await);
    assert!(!guarded.passes(&path, &describe("default", &id), Some(&default)).await);
    assert!(!guarded.passes(&path, &describe("", "00000000-0000-0000-0000-000000000000"), Some(&default)).await);
    let by_id = DeleteNamespaceRequest { namespace_id: id, ..Default::default() }.encode_to_vec();
    assert!(!guarded.passes(delete, &by_id, Some(&default)).await);
    assert!(guarded.passes(&path, &describe("orders", ""), Some(&orders)).await, "it is still there");
}

#[tokio::test]
#[allow(deprecated, reason = "SDKs send it")]
async fn commands_reach_no_namespace_that_the_worker_may_not_write_to() {
    let guarded = Guarded::start().await;
    let endpoint = |name: &str, namespace: &str| {
        let worker = endpoint_target::Worker { namespace: namespace.into(), task_queue: "q".into() };
        let target = Some(EndpointTarget { variant: Some(endpoint_target::Variant::Worker(worker)) });
        CreateNexusEndpointRequest { spec: Some(EndpointSpec { name: name.into(), target, ..Default::default() }) }
    };
    for (name, namespace) in [("to-orders", "orders"), ("to-default", "default")] {
        guarded.server.engine.create_nexus_endpoint(endpoint(name, namespace)).await.expect("made");
    }
    let command = |attributes| Command { attributes: Some(attributes), ..Default::default() };
    let commands = |namespace: &str, endpoint: &str| {
        let (namespace, endpoint) = (namespace.to_owned(), endpoint.to_owned());
        [
            command(Attributes::StartChildWorkflowExecutionCommandAttributes(Box::new(StartChildWorkflowExecutionCommandAttributes {
                namespace: namespace.clone(),
                ..Default::default()
            }))),
            command(Attributes::SignalExternalWorkflowExecutionCommandAttributes(SignalExternalWorkflowExecutionCommandAttributes {
                namespace: namespace.clone(),
                ..Default::default()
            })),
            command(Attributes::RequestCancelExternalWorkflowExecutionCommandAttributes(
                RequestCancelExternalWorkflowExecutionCommandAttributes { namespace, ..Default::default() },
            )),
            command(Attributes::ScheduleNexusOperationCommandAttributes(ScheduleNexusOperationCommandAttributes {
                endpoint,
                ..Default::default()
            })),
        ]
    };
    let complete = async |command: Command, secret: &str| {
        // The token is junk: nothing comes of those that pass.
        let request = RespondWorkflowTaskCompletedRequest {
            namespace: "default".into(),
            task_token: b"junk".to_vec().into(),
            commands: vec![Command::default(), command],
            ..Default::default()
        };
        guarded.passes(&format!("/{WORKFLOW}/RespondWorkflowTaskCompleted"), &request.encode_to_vec(), Some(secret)).await
    };
    let (_, worker) = guarded.key(&["default:worker", "orders:worker", "orders:read"]).await;
    let (_, writer) = guarded.key(&["default:worker", "orders:write"]).await;
    let (_, everywhere) = guarded.key(&["*:worker"]).await;
    let (_, caller) = guarded.key(&["default:worker", "to-orders:nexus"]).await;
    for (n, command) in commands("orders", "to-orders").into_iter().enumerate() {
        let passed = [&worker, &writer, &everywhere, &caller].map(|secret| complete(command.clone(), secret));
        let passed = futures::future::join_all(passed).await;
        assert_eq!(passed, [false, true, false, n == 3], "{command:?}");
    }
    for (namespace, endpoint) in [("default", "to-default"), ("", "of-nobody")] {
        for command in commands(namespace, endpoint) {
            assert!(complete(command.clone(), &worker).await, "{command:?}");
        }
    }
}

#[tokio::test]
async fn a_key_that_is_revoked_is_refused_at_once_and_its_open_calls_end() {
    let guarded = Guarded::start().await;
    let (id, secret) = guarded.key(&["default:worker"]).await;
    let who = guarded.keys(&secret).describe_caller(DescribeCallerRequest {}).await.expect("known").into_inner();
    assert_eq!((who.caller, who.grants, who.authenticated), (format!("key:{id} test"), vec!["default:worker".to_owned()], true));
    let poll = PollWorkflowTaskQueueRequest {
        namespace: "default".into(),
        task_queue: Some(TaskQueue { name: "q".into(), ..Default::default() }),
        ..Default::default()
    };
    let channel = guarded.server.channel.clone();
    let mut client =
        sempre_api::v1::workflowservice::workflow_service_client::WorkflowServiceClient::with_interceptor(channel, As(secret.clone()));
    let mut request = Request::new(poll);
    request.set_timeout(std::time::Duration::from_secs(60));
    let waiting = async { client.poll_workflow_task_queue(request).await.expect_err("ended") };
    let revoke = async {
        let queue = DescribeTaskQueueRequest {
            namespace: "default".into(),
            task_queue: Some(TaskQueue { name: "q".into(), ..Default::default() }),
            task_queue_type: 1,
            ..Default::default()
        };
        while guarded.server.engine.describe_task_queue(queue.clone()).await.expect("known").pollers.is_empty() {
            tokio::task::yield_now().await;
        }
        guarded.keys(&guarded.admin()).revoke_api_key(RevokeApiKeyRequest { id: id.clone() }).await.expect("revoked");
        let after = guarded.keys(&secret).describe_caller(DescribeCallerRequest {}).await.expect_err("refused");
        assert_eq!(after.code(), Code::PermissionDenied);
    };
    let (ended, ()) = tokio::join!(waiting, revoke);
    assert_eq!((ended.code(), ended.message()), (Code::PermissionDenied, "Request unauthorized."));
    let again = guarded.keys(&guarded.admin()).revoke_api_key(RevokeApiKeyRequest { id }).await.expect_err("gone");
    assert_eq!(again.code(), Code::NotFound);
}

#[tokio::test]
async fn keys_are_made_with_care() {
    let guarded = Guarded::start().await;
    let make = async |name: &str, grants: &[&str], expires: Option<i64>| {
        let request = CreateApiKeyRequest {
            name: name.into(),
            grants: grants.iter().map(|grant| (*grant).to_owned()).collect(),
            expire_time: expires.map(|seconds| sempre_api::Timestamp { seconds, nanos: 0 }),
        };
        guarded.keys(&guarded.admin()).create_api_key(request).await.map(|answer| answer.into_inner().secret)
    };
    for (name, grants, expires) in
        [("a", &[][..], None), ("a", &["x:owner"], None), ("a\nb", &["x:read"], None), ("a", &["x:read"], Some(1))]
    {
        assert_eq!(make(name, grants, expires).await.expect_err("refused").code(), Code::InvalidArgument, "{name:?} {grants:?}");
    }
    let soon = guarded.server.engine.wall_now().0 / 1_000_000_000 + 2;
    let secret = make("soon over", &["*:read"], Some(soon)).await.expect("made");
    let list = format!("/{WORKFLOW}/ListNamespaces");
    assert!(guarded.passes(&list, b"", Some(&secret)).await);
    // What the store holds is no key.
    let kept = format!("{:?}", guarded.server.engine.api_keys());
    assert!(kept.contains("soon over") && !kept.contains(&secret) && !kept.contains(&secret[7..]));
    // A call that is open when the key expires ends with it.
    let mut health =
        sempre_api::grpc::health::v1::health_client::HealthClient::with_interceptor(guarded.server.channel.clone(), As(secret.clone()));
    health.watch(sempre_api::grpc::health::v1::HealthCheckRequest::default()).await.expect("known");
    while guarded.passes(&list, b"", Some(&secret)).await {
        tokio::task::yield_now().await;
    }
    assert!(guarded.server.engine.wall_now().0 / 1_000_000_000 >= soon);
    // Where nobody is asked, keys are not made: who made one there would have it later.
    let open = TestServer::start().await;
    let mut client = AccessServiceClient::new(open.channel.clone());
    let refused = client.create_api_key(CreateApiKeyRequest { name: "a".into(), grants: vec!["*:admin".into()], expire_time: None }).await;
    assert_eq!(refused.expect_err("refused").code(), Code::FailedPrecondition);
    assert!(!client.describe_caller(DescribeCallerRequest {}).await.expect("answered").into_inner().authenticated);
}

/// Status and body of a request over HTTP.
async fn ask(guarded: &Guarded, verb: &str, path: &str, secret: Option<&str>) -> String {
    let address = guarded.server.http.expect("it answers HTTP");
    let mut stream = TcpStream::connect(address).await.expect("it answers");
    let credentials = secret.map(|secret| format!("authorization: Bearer {secret}\r\n")).unwrap_or_default();
    let request = format!("{verb} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: 0\r\n{credentials}\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = [0; 4096];
    let read = stream.read(&mut answer).await.expect("answered");
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test]
async fn what_is_answered_over_http_asks_as_well() {
    let guarded = Guarded::start().await;
    let (_, read) = guarded.key(&["default:read"]).await;
    let (_, worker) = guarded.key(&["default:worker"]).await;
    let (_, write) = guarded.key(&["default:write"]).await;
    let (_, everywhere) = guarded.key(&["*:read"]).await;
    let endpoint = CreateNexusEndpointRequest {
        spec: Some(EndpointSpec {
            name: "to-default".into(),
            target: Some(EndpointTarget {
                variant: Some(endpoint_target::Variant::Worker(endpoint_target::Worker {
                    namespace: "default".into(),
                    task_queue: "q".into(),
                })),
            }),
            ..Default::default()
        }),
    };
    let id = guarded.server.engine.create_nexus_endpoint(endpoint).await.expect("made").endpoint.expect("told").id;
    let (_, caller) = guarded.key(&["to-default:nexus"]).await;
    let nexus = format!("/nexus/endpoints/{id}/services/s/o");
    // Verb, path, and who is let through: without credentials; read, worker, write in the namespace; read everywhere; the
    // endpoint's caller.
    let cases = [
        ("GET", "/api/v1/openapi.json", "nrwWEc"),
        ("GET", "/api/v1/system-info", "nrwWEc"),
        ("GET", "/api/v1/cluster-info", "rwWEc"),
        ("GET", "/api/v1/namespaces", "E"),
        ("GET", "/api/v1/namespaces/default", "rwWE"),
        ("GET", "/api/v1/namespaces/default/workflows", "rWE"),
        ("POST", "/api/v1/namespaces/default/workflows/x/terminate", "W"),
        ("GET", "/api/v1/namespaces/orders/workflows", "E"),
        ("GET", "/api/v1/namespaces/default/workflow-stream", "rWE"),
        ("GET", "/api/v1/namespaces/default/workflows/x/history-stream", "rWE"),
        ("GET", "/metrics", "E"),
        ("POST", &format!("{nexus}/cancel"), "Wc"),
        ("POST", "/namespaces/default/task-queues/q/nexus-services/s/o/cancel", "W"),
        // By its token alone.
        ("POST", "/namespaces/default/nexus/callback", "nrwWEc"),
        ("GET", "/nowhere", "nrwWEc"),
    ];
    let callers =
        [('n', None), ('r', Some(&read)), ('w', Some(&worker)), ('W', Some(&write)), ('E', Some(&everywhere)), ('c', Some(&caller))];
    for (verb, path, expected) in cases {
        let mut passed = String::new();
        for (name, secret) in callers {
            let answer = ask(&guarded, verb, path, secret.map(String::as_str)).await;
            if answer.starts_with("HTTP/1.1 403") {
                assert!(answer.contains("Request unauthorized.") || answer.contains("permission denied"), "{answer}");
            } else {
                passed.push(name);
            }
        }
        assert_eq!(passed, expected, "{verb} {path}");
    }
}

#[tokio::test]
async fn the_web_ui_asks_as_well() {
    let guarded = Guarded::start_with(|settings| {
        let ui = UiSettings { address: ([127, 0, 0, 1], 0).into(), public_path: String::new(), codec_endpoint: None, asset_path: None };
        settings.ui = Some(ui);
    })
    .await;
    let ui = guarded.server.ui.expect("the UI has an address");
    let start = StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: "w".into(),
        workflow_type: Some(WorkflowType { name: "t".into() }),
        task_queue: Some(TaskQueue { name: "q".into(), ..Default::default() }),
        request_id: "r".into(),
        ..Default::default()
    };
    let run = guarded.server.engine.start_workflow(start).await.expect("started").run_id;
    let page = format!("/namespaces/default/workflows/w/{run}");
    let (_, namespace) = guarded.key(&["default:write"]).await;
    let (_, read) = guarded.key(&["*:read"]).await;
    let (_, write) = guarded.key(&["*:read", "*:write"]).await;
    let credentials = |secret: &str| format!("Bearer {secret}");
    let callers = [("nobody", None), ("namespace", Some(&namespace)), ("read", Some(&read)), ("write", Some(&write))];
    // Pages tell of the whole server: who may look at one namespace only sees none of them. What they do is asked for as any call.
    for (name, secret) in callers {
        let bearer = secret.map(|secret| credentials(secret));
        let mut headers: Vec<(&str, &str)> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        for path in ["/namespaces", "/namespaces/default/workflows", page.as_str(), "/namespaces/default/task-queues"] {
            let (status, _, told) = text(ui, request(ui, Method::GET, path, &headers, "")).await;
            let wanted = if matches!(name, "read" | "write") { StatusCode::OK } else { StatusCode::FORBIDDEN };
            assert_eq!(status, wanted, "{name} {path}: {told}");
            assert!(status == StatusCode::OK || !told.contains("default"), "{told}");
        }
        let (_, answered, _) = text(ui, request(ui, Method::GET, "/namespaces", &headers, "")).await;
        let token =
            answered.get("set-cookie").and_then(|cookie| cookie.to_str().ok()?.split([';', '=']).nth(1)).unwrap_or("none").to_owned();
        let (cookie, origin) = (format!("sempre_token={token}"), format!("http://{ui}"));
        headers.extend([("cookie", cookie.as_str()), ("origin", origin.as_str()), ("content-type", "application/x-www-form-urlencoded")]);
        let form = format!("_token={token}&reason=test");
        let (status, _, told) = text(ui, request(ui, Method::POST, &format!("{page}/do/terminate"), &headers, &form)).await;
        let open = CountWorkflowExecutionsRequest { namespace: "default".into(), query: "ExecutionStatus = 'Running'".into() };
        let open = guarded.server.engine.count_workflows(open).await.expect("counted").count;
        assert_eq!((open == 0, status.is_redirection()), (name == "write", name == "write"), "{name}: {status} {told}");
    }
}
