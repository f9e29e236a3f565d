//! Alerts over real HTTP: a webhook that is down, a server that is killed meanwhile, nothing lost.
#![expect(clippy::disallowed_methods, reason = "a webhook is another program, with its own threads and clock")]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{Running, Scratch, failure, output};

/// Longer than the longest pause between two attempts.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a webhook got: headers in lower case, body.
struct Got {
    headers: BTreeMap<String, String>,
    body: Value,
}

fn read(stream: &mut TcpStream) -> Option<Got> {
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
            let headers: BTreeMap<_, _> = lines.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
            let length: usize = headers.get("content-length")?.parse().ok()?;
            if body.len() >= length {
                return Some(Got { headers, body: serde_json::from_str(body).ok()? });
            }
        }
        match stream.read(&mut part).ok()? {
            0 => return None,
            read => bytes.extend_from_slice(&part[..read]),
        }
    }
}

/// Answers at an address: the first few with 500, all others with 200. Tells everything it got.
fn webhook(address: SocketAddr, refuse: usize) -> mpsc::Receiver<Got> {
    let listener = TcpListener::bind(address).expect("the port is still free");
    let (sender, received) = mpsc::channel();
    thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            let mut stream = stream.expect("a connection");
            let Some(got) = read(&mut stream) else { continue };
            let status = if n < refuse { "500 Internal Server Error" } else { "200 OK" };
            // The server may have been killed.
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            if sender.send(got).is_err() {
                return;
            }
        }
    });
    received
}

const ALLOWED: &str = r#"component.callbacks.allowedAddresses=[{"Pattern":"127.0.0.1:*","AllowInsecure":true}]"#;

fn server(folder: &Path) -> Running {
    let folder = format!("--data-dir={}", folder.display());
    Running::start(["server", "start", "--port=0", "--http-port=0", "--dynamic-config-value", ALLOWED, folder.as_str()])
}

fn run(server: &Running, line: &[&str]) -> String {
    let address = format!("--address={}", server.address);
    let output = output(line.iter().copied().chain([address.as_str()]));
    assert!(output.status.success(), "{line:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn end(server: &Running, workflow_id: &str) {
    run(server, &["workflow", "start", "--type", "Order", "-t", "queue", "-w", workflow_id]);
    run(server, &["workflow", "terminate", "-w", workflow_id]);
}

#[test]
fn a_webhook_that_was_down_gets_every_alert_although_the_server_was_killed_meanwhile() {
    let scratch = Scratch::new();
    let folder = scratch.path("data");
    // A port that nobody listens on for now.
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let url = format!("http://{address}/hook");
    let mut ended = BTreeSet::new();
    let mut first = server(&folder);
    let query = "WorkflowType = 'Order' AND ExecutionStatus = 'Terminated'";
    let told = run(&first, &["alert", "set", "--name", "ended", "--query", query, "--url", &url]);
    assert!(told.contains("whsec_"), "{told}");
    for round in 0..3 {
        for n in 0..3 {
            let id = format!("order-{round}-{n}");
            end(&first, &id);
            ended.insert(id);
        }
        // Killed with what it has just answered.
        first.signal("KILL");
        drop(first);
        first = server(&folder);
    }
    let until = Instant::now() + PATIENCE;
    loop {
        let rules: Value = serde_json::from_str(&run(&first, &["alert", "list", "-o", "json"])).expect("JSON");
        if rules[0]["waiting"].as_str() == Some("9") {
            break;
        }
        assert!(Instant::now() < until, "{rules}");
        thread::sleep(Duration::from_millis(50));
    }
    assert!(!run(&first, &["alert", "history"]).contains("whsec_"));

    let received = webhook(address, 2);
    let mut by_run: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut killed = false;
    let until = Instant::now() + PATIENCE;
    while by_run.len() < ended.len() {
        let left = until.saturating_duration_since(Instant::now());
        let got = received.recv_timeout(left).unwrap_or_else(|_| panic!("{} of {} came", by_run.len(), ended.len()));
        let id = got.headers["webhook-id"].clone();
        assert!(got.headers["webhook-signature"].starts_with("v1,") && got.headers.contains_key("webhook-timestamp"));
        assert_eq!((got.body["type"].as_str(), got.body["data"]["id"].as_str()), (Some("alert.firing"), Some(id.as_str())), "{}", got.body);
        let run = got.body["data"]["run"]["execution"]["workflowId"].as_str().expect("a run").to_owned();
        by_run.entry(run).or_default().insert(id);
        if by_run.len() == 4 && !killed {
            // Again, in the middle of it: what it has sent and not noted comes once more.
            killed = true;
            first.signal("KILL");
            drop(first);
            first = server(&folder);
        }
    }
    assert_eq!(by_run.keys().cloned().collect::<BTreeSet<_>>(), ended);
    assert!(by_run.values().all(|ids| ids.len() == 1), "what comes again has the same id: {by_run:?}");
    let ids: BTreeSet<_> = by_run.values().flatten().collect();
    assert_eq!(ids.len(), ended.len(), "no two alerts have one id");
    let until = Instant::now() + PATIENCE;
    loop {
        let history: Value = serde_json::from_str(&run(&first, &["alert", "history", "-o", "json"])).expect("JSON");
        let delivered = history.as_array().expect("a list").iter().filter(|one| one["state"] == "ALERT_DELIVERY_STATE_DELIVERED").count();
        if delivered == ended.len() {
            break;
        }
        assert!(Instant::now() < until, "{history}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// The next line of a log that has a text.
fn logged(log: &mpsc::Receiver<String>, text: &str) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let line = log.recv_timeout(left).unwrap_or_else(|_| panic!("{text:?} was not logged"));
        if line.contains(text) {
            return line;
        }
    }
}

#[test]
fn a_file_of_rules_that_is_refused_is_told_in_the_log_and_its_next_change_is_tried() {
    let scratch = Scratch::new();
    let (folder, file) = (scratch.path("data"), scratch.path("alerts.toml"));
    let write = |query: &str| {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let rule = format!("[[rule]]\nname = 'r'\nquery = \"{query}\"\nurl = 'http://127.0.0.1:1/'\nsecret = '{secret}'\n");
        std::fs::write(&file, rule).expect("written");
    };
    let args = [format!("--alerts-file={}", file.display()), format!("--data-dir={}", folder.display())];
    let line = ["server", "start", "--port=0", "--dynamic-config-value", ALLOWED, args[0].as_str(), args[1].as_str()];
    write("Nothing = 1");
    let told = failure(line);
    assert!(told.contains("alerts.toml") && told.contains("rule \"r\" of namespace \"default\"") && told.contains("Nothing"), "{told}");
    write("WorkflowType = 'Old'");
    let mut server = Running::start(line.into_iter().chain(["--log-level=info"]));
    let (to_log, log) = mpsc::channel();
    let lines = server.log();
    thread::spawn(move || lines.map(|line| to_log.send(line)).all(|sent| sent.is_ok()));
    let query = |server: &Running| {
        let rules: Value = serde_json::from_str(&run(server, &["alert", "list", "-o", "json"])).expect("JSON");
        rules[0]["rule"]["query"].as_str().expect("a query").to_owned()
    };
    write("Nothing = 2");
    let told = logged(&log, "new alert rules cannot be used; the old ones stay in force");
    assert!(told.contains("alerts.toml") && told.contains("Nothing"), "{told}");
    assert_eq!(query(&server), "WorkflowType = 'Old'");
    write("WorkflowType = 'New'");
    // Each refusal is told once: what comes next is the good news.
    let told = logged(&log, "alert rules");
    assert!(told.contains("were read again and are in force"), "{told}");
    assert_eq!(query(&server), "WorkflowType = 'New'");
}

#[test]
fn notices_go_on_behind_a_cursor_over_a_kill() {
    let scratch = Scratch::new();
    let folder = scratch.path("data");
    let first = server(&folder);
    end(&first, "a");
    let before = run(&first, &["notices"]);
    let lines: Vec<&str> = before.lines().collect();
    assert_eq!(lines.len(), 2, "{before}");
    assert!(lines[0].contains("started  Running  Order  a  ") && lines[1].contains("closed  Terminated  Order  a  "), "{before}");
    let cursor = lines[1].split_whitespace().next().expect("a number");
    first.signal("KILL");
    drop(first);
    let next = server(&folder);
    end(&next, "b");
    let behind = run(&next, &["events", "--after", cursor, "--follow", "--limit", "2", "-o", "jsonl"]);
    let kinds: Vec<String> = behind.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["kind"].to_string()).collect();
    assert_eq!(kinds, ["\"NOTICE_KIND_STARTED\"", "\"NOTICE_KIND_CLOSED\""], "{behind}");
    let missing = output(["notices", "--after", "100", &format!("--address={}", next.address)]);
    let told = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(!missing.status.success() && told.contains("the last one is 4") && told.contains("list the runs anew"), "{told}");
}
