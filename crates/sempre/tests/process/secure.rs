//! TLS of a server: at every port, with certificates that change while it is under load.
#![expect(
    clippy::disallowed_methods,
    reason = "load is a few clients beside the test; a log that does not come is given up by the wall clock"
)]

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sempre_api::v1::workflowservice::{DescribeNamespaceRequest, GetSystemInfoRequest, workflow_service_client::WorkflowServiceClient};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use crate::{
    certificates::{Authority, Trust},
    support::{Running, Scratch, failure, output},
};

/// A server's certificate, key and authorities of clients, as files.
struct Files {
    scratch: Scratch,
    authority: Authority,
}

impl Files {
    fn new() -> Self {
        let files = Self { scratch: Scratch::new(), authority: Authority::new() };
        files.renew();
        files
    }

    /// A new certificate of the same authority.
    fn renew(&self) -> (String, String) {
        let pair = self.authority.vouch("127.0.0.1");
        self.write("cert.pem", &pair.0);
        self.write("key.pem", &pair.1);
        pair
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.scratch.path(name);
        std::fs::write(&path, text).expect("writable");
        path
    }

    /// The line that starts a server with them.
    fn line(&self, more: &[&str]) -> Vec<String> {
        let path = |name| self.scratch.path(name).to_str().expect("text").to_owned();
        let mut line = vec!["server".to_owned(), "start".into(), "--port=0".into(), "--http-port=0".into(), "--metrics-port=0".into()];
        line.extend([format!("--data-dir={}", path("data")), format!("--tls-cert-file={}", path("cert.pem"))]);
        line.push(format!("--tls-key-file={}", path("key.pem")));
        line.extend(more.iter().map(|word| (*word).to_owned()));
        line
    }

    fn start(&self, more: &[&str]) -> Running {
        Running::start(self.line(more))
    }
}

/// Calls `GetSystemInfo` under TLS.
async fn ask(trust: &Trust, address: &str) -> Result<(), String> {
    let channel = trust.channel(address).await.map_err(|error| format!("{error:?}"))?;
    let answer = WorkflowServiceClient::new(channel).get_system_info(GetSystemInfoRequest {}).await;
    answer.map(drop).map_err(|status| status.to_string())
}

#[tokio::test]
async fn every_port_speaks_tls_and_nothing_else() {
    let files = Files::new();
    let server = files.start(&[]);
    assert_eq!(server.told("Security:"), "TLS at every port, nobody is asked who he is");
    let (http, metrics) = (server.told("HTTP:"), server.told("Metrics:"));
    let trust = Trust::in_authority(&files.authority, None);
    ask(&trust, &server.address).await.expect("it answers");
    let answer = trust.get(&http, "/api/v1/system-info", "").await.expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("capabilities"), "{answer}");
    for address in [&http, &metrics] {
        let answer = trust.get(address, "/metrics", "").await.expect("it answers");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("sempre_"), "{answer}");
    }
    // In plain text nobody answers.
    for address in [&server.address, &http, &metrics] {
        let plain = tonic::transport::Endpoint::new(format!("http://{address}")).expect("a URL").connect().await;
        let asked = match plain {
            Ok(channel) => WorkflowServiceClient::new(channel).get_system_info(GetSystemInfoRequest {}).await.map(drop).map_err(drop),
            Err(_) => Err(()),
        };
        assert_eq!(asked, Err(()), "{address}");
    }
    // Our own commands come in, and strangers to the authority do not.
    let ca = files.write("ca.pem", &files.authority.pem());
    let health = |ca: &PathBuf| {
        output(
            ["operator", "cluster", "health", "--address", &server.address, "--disable-config-file", "--disable-config-env"]
                .map(str::to_owned)
                .into_iter()
                .chain([format!("--tls-ca-path={}", ca.display())]),
        )
    };
    assert_eq!(String::from_utf8_lossy(&health(&ca).stdout), "SERVING\n");
    let other = files.write("other.pem", &Authority::new().pem());
    assert!(String::from_utf8_lossy(&health(&other).stderr).contains("invalid peer certificate"));
}

#[tokio::test]
async fn clients_show_certificates_where_they_must() {
    let (files, clients) = (Files::new(), Authority::new());
    let authorities = format!("--tls-client-ca-file={}", files.write("clients.pem", &clients.pem()).display());
    let stranger = Trust::in_authority(&files.authority, Some(Authority::new().vouch("worker")));
    let nobody = Trust::in_authority(&files.authority, None);
    let worker = Trust::in_authority(&files.authority, Some(clients.vouch("worker")));
    let server = files.start(&[&authorities]);
    let ports = [server.told("HTTP:"), server.told("Metrics:")];
    ask(&worker, &server.address).await.expect("let in");
    for trust in [&nobody, &stranger] {
        ask(trust, &server.address).await.expect_err("not let in");
        for port in &ports {
            let answer = trust.get(port, "/metrics", "").await;
            assert!(answer.as_ref().map_or(true, String::is_empty), "{answer:?}");
        }
    }
    for port in &ports {
        assert!(worker.get(port, "/metrics", "").await.expect("let in").starts_with("HTTP/1.1 200"));
    }
    drop(server);
    let server = files.start(&[&authorities, "--tls-client-auth=optional"]);
    ask(&worker, &server.address).await.expect("let in");
    ask(&nobody, &server.address).await.expect("let in");
    ask(&stranger, &server.address).await.expect_err("a bad certificate is worse than none");
}

/// Waits for a line of the log.
async fn logged(log: &mut mpsc::UnboundedReceiver<String>, text: &str) {
    let found = async { while !log.recv().await.expect("the server runs").contains(text) {} };
    timeout(Duration::from_secs(30), found).await.unwrap_or_else(|_| panic!("{text:?} was not logged"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg(unix)]
async fn certificates_change_under_load() {
    let (files, clients) = (Files::new(), Authority::new());
    let authorities = format!("--tls-client-ca-file={}", files.write("clients.pem", &clients.pem()).display());
    let mut server = files.start(&[&authorities, "--log-level=info"]);
    let (to_log, mut log) = mpsc::unbounded_channel();
    let lines = server.log();
    std::thread::spawn(move || lines.map(|line| to_log.send(line)).all(|sent| sent.is_ok()));
    let trust = Trust::in_authority(&files.authority, Some(clients.vouch("worker")));
    let address = server.address.clone();

    // Some ask on one connection all the time, others connect anew each time.
    let (stop, (asked, mut answers)) = (Arc::new(AtomicBool::new(false)), watch::channel(0));
    let asked = Arc::new(asked);
    let mut load = tokio::task::JoinSet::new();
    for anew in [false, true, false, true] {
        let (trust, address, stop, asked) = (trust.clone(), address.clone(), stop.clone(), asked.clone());
        load.spawn(async move {
            let mut client = WorkflowServiceClient::new(trust.channel(&address).await.expect("let in"));
            while !stop.load(Ordering::Relaxed) {
                if anew {
                    client = WorkflowServiceClient::new(trust.channel(&address).await.expect("let in"));
                }
                let request = DescribeNamespaceRequest { namespace: "default".into(), ..Default::default() };
                client.describe_namespace(request).await.expect("answered");
                asked.send_modify(|count| *count += 1);
            }
        });
    }
    let shown = async || {
        let stream = trust.connect(&address, "h2").await.expect("let in");
        stream.get_ref().1.peer_certificates().expect("shown")[0].to_vec()
    };
    let mut go_on = async || {
        let sofar = *answers.borrow_and_update();
        answers.wait_for(|count| *count >= sofar + 10).await.expect("the load goes on");
    };
    go_on().await;
    let first = shown().await;
    // By the signal.
    files.renew();
    server.signal("HUP");
    logged(&mut log, "certificates were read again").await;
    let second = shown().await;
    assert_ne!(second, first);
    go_on().await;
    // A bad one is told and changes nothing.
    let good = files.renew();
    logged(&mut log, "certificates were read again").await;
    let third = shown().await;
    files.write("cert.pem", "-----BEGIN CERTIFICATE-----\nhalf");
    server.signal("HUP");
    logged(&mut log, "the old ones stay in force").await;
    assert_eq!(shown().await, third);
    go_on().await;
    files.write("cert.pem", &good.0);
    // By the files alone, and with another authority of clients: old clients are not let in any more, new ones are.
    stop.store(true, Ordering::Relaxed);
    while let Some(done) = load.join_next().await {
        done.expect("every call was answered");
    }
    let others = Authority::new();
    files.write("clients.pem", &others.pem());
    logged(&mut log, "certificates were read again").await;
    ask(&trust, &address).await.expect_err("their authority has gone");
    ask(&Trust::in_authority(&files.authority, Some(others.vouch("worker"))), &address).await.expect("let in");
    server.signal("TERM");
    assert_eq!(tokio::task::spawn_blocking(|| server.wait()).await.expect("no panic"), Some(0));
}

#[test]
fn what_others_can_reach_is_under_tls_or_told_to_be_insecure() {
    let files = Files::new();
    let server = files.start(&["--ip=0.0.0.0"]);
    assert!(server.address.starts_with("0.0.0.0:"));
    drop(server);
    let data = format!("--data-dir={}", files.scratch.path("data").display());
    let server = Running::start(["server", "start", "--port=0", "--ip=0.0.0.0", "--insecure", &data]);
    assert!(!server.banner.iter().any(|line| line.starts_with("Security:")));
    drop(server);
    // One for development listens where it is told to, and says what that means.
    let mut server = Running::start(["server", "start-dev", "--port=0", "--ip=0.0.0.0", "--headless"]);
    let warned = server.log().find(|line| line.contains("others can reach this server"));
    assert!(warned.is_some_and(|line| line.contains("not encrypted")));
}

#[test]
fn certificates_that_cannot_be_used() {
    let files = Files::new();
    let start = || {
        let told = failure(files.line(&[]));
        assert!(!files.scratch.path("data").exists(), "{told}");
        told
    };
    let (_, other) = files.authority.vouch("127.0.0.1");
    files.write("key.pem", &other);
    assert!(start().contains("cannot be used together"), "{}", start());
    files.write("cert.pem", "");
    assert!(start().contains("cert.pem holds no certificate in PEM"), "{}", start());
    std::fs::remove_file(files.scratch.path("cert.pem")).expect("it is there");
    assert!(start().contains("cannot read") && start().contains("cert.pem"), "{}", start());
    let missing = output(["server", "start", "--tls-cert-file=x"]);
    assert_eq!(missing.status.code(), Some(2));
}

/// A command of ours against a server under TLS; gives its output whatever came of it.
fn ask_with_key(server: &Running, ca: &std::path::Path, key: &str, line: &[&str]) -> std::process::Output {
    let mut command = crate::support::command(line.iter().map(|word| (*word).to_owned()).chain([
        format!("--address={}", server.address),
        format!("--tls-ca-path={}", ca.display()),
        "--disable-config-file".to_owned(),
    ]));
    command.env_clear().env("TEMPORAL_API_KEY", key).output().expect("the binary runs")
}

#[tokio::test]
async fn keys_and_certificates_say_who_calls() {
    let (files, clients) = (Files::new(), Authority::new());
    let ca = files.write("ca.pem", &files.authority.pem());
    let clients_file = files.write("clients.pem", &clients.pem());
    let rules = files.write("auth.toml", "[[certificates]]\ncommon_name = 'orders-worker'\ngrants = ['default:read']\n");
    let admin_file = files.scratch.path("admin.key");
    let server = files.start(&[
        &format!("--tls-client-ca-file={}", clients_file.display()),
        "--tls-client-auth=optional",
        &format!("--admin-key-file={}", admin_file.display()),
        &format!("--auth-file={}", rules.display()),
    ]);
    assert_eq!(server.told("Security:"), "TLS at every port, every caller is asked who he is");
    let admin = std::fs::read_to_string(&admin_file).expect("made").trim().to_owned();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&admin_file).expect("made").permissions().mode() & 0o777, 0o600);
    }
    let run = |key: &str, line: &[&str]| {
        let output = ask_with_key(&server, &ca, key, line);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, told, error) =
        run(&admin, &["operator", "api-key", "create", "--name=ci", "--grant=default:write", "--expires-in=1h", "-o=json"]);
    assert_eq!(code, Some(0), "{error}");
    let made: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    let (secret, id) = (made["secret"].as_str().expect("told").to_owned(), made["key"]["id"].as_str().expect("told").to_owned());
    assert!(run(&admin, &["operator", "api-key", "list"]).1.contains(&id));
    assert!(run(&secret, &["operator", "whoami"]).1.contains("default:write"));
    assert_eq!(run(&secret, &["workflow", "list"]).0, Some(0));
    for (key, line) in [
        (secret.as_str(), &["operator", "api-key", "list"][..]),
        (&secret, &["operator", "namespace", "create", "more"]),
        (&secret, &["workflow", "list", "-n", "orders"]),
        ("sempre_wrong", &["workflow", "list"]),
    ] {
        let (code, _, error) = run(key, line);
        assert!(code == Some(1) && error.contains("Request unauthorized"), "{line:?}: {error}");
    }
    assert_eq!(run(&admin, &["operator", "api-key", "revoke", &id, "--yes"]).0, Some(0));
    assert_eq!(run(&secret, &["workflow", "list"]).0, Some(1));
    // By certificate, over gRPC and HTTP.
    let http = server.told("HTTP:");
    let list = "/api/v1/namespaces/default/workflows";
    let as_worker = Trust::in_authority(&files.authority, Some(clients.vouch("orders-worker")));
    let as_other = Trust::in_authority(&files.authority, Some(clients.vouch("somebody")));
    let as_nobody = Trust::in_authority(&files.authority, None);
    for (trust, expected) in [(&as_worker, "200"), (&as_other, "403"), (&as_nobody, "403")] {
        let answer = trust.get(&http, list, "").await.expect("answered");
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{answer}");
        let mut client = WorkflowServiceClient::new(trust.channel(&server.address).await.expect("connected"));
        let request = DescribeNamespaceRequest { namespace: "default".into(), ..Default::default() };
        assert_eq!(client.describe_namespace(request).await.is_ok(), expected == "200");
    }
    // Credentials that are wrong are not mended by a certificate that is right.
    let answer = as_worker.get(&http, list, "authorization: Bearer sempre_wrong\r\n").await.expect("answered");
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let answer = as_nobody.get(&http, list, &format!("authorization: Bearer {admin}\r\n")).await.expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
#[cfg(unix)]
async fn no_secret_is_logged() {
    let files = Files::new();
    let ca = files.write("ca.pem", &files.authority.pem());
    let admin = "an-admins-key-that-must-not-be-logged-1";
    let admin_file = files.write("admin.key", admin);
    let audit = files.scratch.path("audit.jsonl");
    let mut server = files.start(&[
        &format!("--admin-key-file={}", admin_file.display()),
        &format!("--audit-log={}", audit.display()),
        "--log-level=debug",
    ]);
    let log = server.log();
    let log = std::thread::spawn(move || log.collect::<Vec<_>>().join("\n"));
    let made = ask_with_key(&server, &ca, admin, &["operator", "api-key", "create", "--name=ci", "--grant=*:admin", "-o=json"]);
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).expect("JSON");
    let secret = made["secret"].as_str().expect("told").to_owned();
    let url = "http://user:url-password@127.0.0.1:1/path?token=url-token";
    let create = ["operator", "nexus", "endpoint", "create", "--name=elsewhere", "--target-url", url];
    let told = ask_with_key(&server, &ca, &secret, &create);
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    for (key, line) in [
        (secret.as_str(), &["workflow", "list"][..]),
        ("sempre_a-wrong-key-in-the-environment", &["workflow", "list"]),
        (&secret, &["workflow", "list", "--grpc-meta=x-secret=a-secret-header"]),
        (&secret, &["workflow", "start", "--type=t", "--task-queue=q", "--workflow-id=w", "--input=\"a-secret-input\""]),
        (&secret, &["workflow", "terminate", "--workflow-id=w", "--reason=r"]),
    ] {
        ask_with_key(&server, &ca, key, line);
    }
    let trust = Trust::in_authority(&files.authority, None);
    let answer = trust.get(&server.told("HTTP:"), "/metrics", "authorization: Bearer a-secret-over-http\r\n").await.expect("answered");
    assert!(answer.starts_with("HTTP/1.1 403"));
    let key_of_server = std::fs::read_to_string(files.scratch.path("key.pem")).expect("there");
    server.signal("TERM");
    assert_eq!(tokio::task::spawn_blocking(|| server.wait()).await.expect("no panic"), Some(0));
    let (log, audit) = (log.join().expect("no panic"), std::fs::read_to_string(audit).expect("there"));
    assert!(
        log.lines().count() > 5 && audit.contains("CreateNexusEndpoint") && audit.contains("TerminateWorkflowExecution"),
        "{log}\n{audit}"
    );
    let line_of_key = key_of_server.lines().nth(1).expect("PEM");
    for hidden in [
        admin,
        &secret,
        &secret[7..],
        "a-wrong-key-in-the-environment",
        "a-secret-header",
        "a-secret-input",
        "a-secret-over-http",
        "url-password",
        "url-token",
        line_of_key,
    ] {
        assert!(!log.contains(hidden), "{hidden} is in the log");
        assert!(!audit.contains(hidden), "{hidden} is in the audit log");
    }
}
