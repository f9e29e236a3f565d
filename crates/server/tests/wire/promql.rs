//! The queries of the dashboard and the alert rules that are shipped, evaluated by Prometheus itself over what it has scraped
//! of a server under load. Skipped where Prometheus is not installed (Debian: `apt-get install prometheus`).

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use http::Method;
use serde_json::Value;

use crate::{
    http::{json_of, request, send},
    queries::{RULES, dashboard_queries, rule_queries},
};

/// Beyond this something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Prometheus, reading a server's metrics every second.
pub(crate) struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It has ended, or ends now; what is left goes with the system's temporary files.
        let _ = (self.child.kill(), self.child.wait());
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Prometheus {
    /// Begins to scrape. `None`: it is not installed.
    pub(crate) async fn start(metrics: SocketAddr, folder: &Path) -> Option<Self> {
        let runs = |program: &str| Command::new(program).arg("--version").output().is_ok_and(|told| told.status.success());
        if !runs("prometheus") || !runs("promtool") {
            eprintln!("SKIPPED: prometheus and promtool are not installed, the queries of deploy/ are not evaluated");
            return None;
        }
        let folder = folder.join("prometheus");
        std::fs::create_dir_all(&folder).expect("a folder");
        let config = folder.join("prometheus.yml");
        let text = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs:\n  - job_name: sempre\n    static_configs: [{{ \
             targets: ['{metrics}'] }}]\n"
        );
        std::fs::write(&config, text).expect("written");
        let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus runs");
        let prometheus = Self { child, address, folder };
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err()
            || !prometheus.is_ready().await
            || prometheus.ask("up == 1").await.is_empty()
        {
            assert!(begun.elapsed() < PATIENCE, "prometheus does not scrape");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Some(prometheus)
    }

    async fn is_ready(&self) -> bool {
        send(self.address, request(self.address, Method::GET, "/-/ready", &[], "")).await.status().is_success()
    }

    /// The values that a query has now. Panics if it is none.
    async fn ask(&self, query: &str) -> Vec<f64> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let (_, told) = json_of(self.address, Method::GET, &format!("/api/v1/query?query={escaped}"), &Value::Null).await;
        assert_eq!(told["status"], "success", "{query}: {told}");
        let found = told["data"]["result"].as_array().expect("a vector").iter();
        found.map(|one| one["value"][1].as_str().and_then(|value| value.parse().ok()).expect("a number")).collect()
    }

    /// Panics unless all queries are right: those of the dashboard find numbers, and so does the rule about tasks without workers.
    pub(crate) async fn evaluate(&self) {
        let checked = Command::new("promtool").args(["check", "rules", RULES]).output().expect("promtool runs");
        let told = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success() && told.contains("rules found"), "{told}");
        let (fires, others): (Vec<_>, Vec<_>) = rule_queries().into_iter().partition(|rule| rule.contains("sempre_task_queue_pollers"));
        assert_eq!(fires.len(), 1, "the load leaves a task where nobody polls");
        for rule in others {
            self.ask(&rule).await;
        }
        let queries: Vec<String> = dashboard_queries()
            .into_iter()
            .chain(fires)
            .map(|query| query.replace("$namespace", ".*").replace("$__rate_interval", "2m"))
            .map(|query| match query.strip_prefix("label_values(").and_then(|rest| rest.split_once(',')) {
                Some((series, label)) => format!("count by ({}) ({series})", label.trim().trim_end_matches(')')),
                None => query,
            })
            .collect();
        assert!(queries.iter().all(|query| !query.contains('$')), "{queries:?}");
        let begun = Instant::now();
        loop {
            let mut without = Vec::new();
            for query in &queries {
                if !self.ask(query).await.iter().any(|value| value.is_finite()) {
                    without.push(query);
                }
            }
            if without.is_empty() {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "these find nothing: {without:#?}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}
