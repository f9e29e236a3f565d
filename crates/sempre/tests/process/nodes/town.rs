//! Servers that share a schema, each a process, and how clients call them: any of them, again and again while it may help.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sempre_api::v1::workflowservice::workflow_service_client::WorkflowServiceClient;
use sempre_postgres_cluster::Cluster;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use super::proxy::Proxy;
use crate::support::{Running, Scratch};

/// Nodes at once.
pub(crate) const NODES: usize = 3;
/// As many as nodes spread.
pub(crate) const SHARDS: u16 = 64;
/// By the address of the schema.
pub(crate) const LEASE: Duration = Duration::from_secs(3);
/// How long a client waits for an answer: a process that stands still gives none. Longer than a start waits for its turn.
const ANSWER_MAX: Duration = Duration::from_secs(4);
/// How long anything may take.
pub(crate) const LONGEST: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) type Client = WorkflowServiceClient<Channel>;

/// Where clients find the nodes, and what they saw.
pub(crate) struct Town {
    schema: String,
    pub(crate) cluster: Cluster,
    /// By place: between the process and the database, and between the other processes and it.
    ways: Vec<Ways>,
    scratch: Scratch,
    /// By place; `None`: nobody is there.
    clients: Mutex<[Option<Client>; NODES]>,
    starts: AtomicU64,
    turn: AtomicU64,
    /// Why calls were made again, and how often.
    errors: Mutex<BTreeMap<String, u64>>,
}

/// What leads to and from one place.
pub(crate) struct Ways {
    pub(crate) database: Proxy,
    pub(crate) node: Proxy,
}

/// One of them.
pub(crate) struct Host {
    pub(crate) running: Running,
    pub(crate) place: usize,
    log: PathBuf,
}

impl Host {
    /// Where it logs.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }
}

impl Town {
    /// `None`: PostgreSQL is not installed.
    pub(crate) async fn new() -> Option<Arc<Self>> {
        let cluster = tokio::task::spawn_blocking(Cluster::start).await.expect("no panic")?.expect("PostgreSQL starts");
        let (port, mut ways) = (cluster.port(), Vec::new());
        for _ in 0..NODES {
            let database = Proxy::new(|_| ([127, 0, 0, 1], port).into()).await;
            // A node tells the others the port at which it listens; the address is another.
            let node = Proxy::new(|own| ([127, 0, 0, 2], own).into()).await;
            ways.push(Ways { database, node });
        }
        Some(Arc::new(Self {
            schema: "town".into(),
            cluster,
            ways,
            scratch: Scratch::new(),
            clients: Mutex::default(),
            starts: AtomicU64::new(0),
            turn: AtomicU64::new(0),
            errors: Mutex::default(),
        }))
    }

    /// What leads to and from a place.
    pub(crate) fn ways(&self, place: usize) -> &Ways {
        &self.ways[place]
    }

    /// What a server is told that is to have the schema alone.
    pub(crate) fn alone(&self, place: usize) -> Vec<String> {
        let store = self.cluster.address_at(self.ways[place].database.port, &self.schema);
        let store = store.replace("lease_ms=1000", &format!("lease_ms={}", LEASE.as_millis()));
        let own = ["server", "start", "--port=0", "--http-port=off", "--ui-port=off"];
        own.into_iter().map(str::to_owned).chain([format!("--store={store}")]).collect()
    }

    /// What a server is told that is to be a node.
    pub(crate) fn arguments(&self, place: usize, name: &str) -> Vec<String> {
        let mut arguments = self.alone(place);
        arguments.push(format!("--node-address=127.0.0.1:{}", self.ways[place].node.port));
        arguments.extend(["--node-ip=127.0.0.2".into(), format!("--node-name={name}")]);
        arguments
    }

    /// Starts a server, and waits until it answers.
    pub(crate) fn start(&self, place: usize) -> Host {
        self.start_with(place, &[])
    }

    /// The same with more flags.
    pub(crate) fn start_with(&self, place: usize, flags: &[&str]) -> Host {
        let name = format!("n{}", self.starts.fetch_add(1, Ordering::Relaxed));
        self.start_named(place, &name, flags)
    }

    /// Where the server of this name logs.
    pub(crate) fn log_of(&self, name: &str) -> PathBuf {
        // SEMPRE_NODES_LOGS names a folder where they are kept.
        let kept = std::env::var_os("SEMPRE_NODES_LOGS").map(|folder| PathBuf::from(folder).join(format!("{name}.log")));
        kept.unwrap_or_else(|| self.scratch.path(&format!("{name}.log")))
    }

    /// The same with a name of its own.
    pub(crate) fn start_named(&self, place: usize, name: &str, flags: &[&str]) -> Host {
        let log = self.log_of(name);
        fs::File::create(&log).expect("a file");
        let mut arguments = self.arguments(place, name);
        arguments.extend(["--log-level".into(), level()]);
        arguments.extend(flags.iter().copied().map(str::to_owned));
        let running = Running::logging_to(log.to_str().expect("text"), arguments);
        let endpoint = Endpoint::new(format!("http://{}", running.address)).expect("a URL").timeout(ANSWER_MAX);
        self.clients.lock().expect("no panic")[place] = Some(WorkflowServiceClient::new(endpoint.connect_lazy()));
        Host { running, place, log }
    }

    /// Every shard has a node, and no node has two more than another.
    pub(crate) fn is_even(&self) -> bool {
        let schema = &self.schema;
        let counts = format!(
            "SELECT count(s.id) FROM {schema}.node n LEFT JOIN {schema}.shard s ON s.node = n.id AND s.id < 1024 GROUP BY n.id ORDER BY 1"
        );
        let told = self.cluster.sql(&counts).expect("told");
        let counts: Vec<u64> = told.lines().map(|line| line.parse().expect("a number")).collect();
        counts.len() == NODES && counts.iter().sum::<u64>() == u64::from(SHARDS) && counts[NODES - 1] - counts[0] <= 1
    }

    /// A node of this name has a row in the database.
    pub(crate) fn has_row(&self, name: &str) -> bool {
        let rows = format!("SELECT count(*) FROM {}.node WHERE name = '{name}'", self.schema);
        self.cluster.sql(&rows).expect("told") != "0"
    }

    /// Clients do not call it any more.
    pub(crate) fn forget(&self, place: usize) {
        self.clients.lock().expect("no panic")[place] = None;
    }

    /// The one at this place, if there is one.
    pub(crate) fn client_at(&self, place: usize) -> Option<Client> {
        self.clients.lock().expect("no panic")[place].clone()
    }

    /// Each call begins at the next node.
    pub(crate) fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed) as usize
    }

    /// Calls one node after the other until one answers; gives back what a client may not try again.
    pub(crate) async fn call<T, F: Future<Output = Result<T, Status>>>(&self, what: &str, ask: impl Fn(Client) -> F) -> Result<T, Status> {
        self.call_but(None, what, ask).await
    }

    /// As [`Town::call`], but never the node at this place.
    pub(crate) async fn call_but<T, F: Future<Output = Result<T, Status>>>(
        &self,
        place: Option<usize>,
        what: &str,
        ask: impl Fn(Client) -> F,
    ) -> Result<T, Status> {
        let (begun, first) = (Instant::now(), self.next_turn());
        let mut last = None;
        for at in first.. {
            let at = at % NODES;
            if let Some(client) = self.client_at(at).filter(|_| place != Some(at)) {
                match ask(client).await {
                    Ok(answer) => return Ok(answer),
                    Err(status) if may_be_repeated(&status) => {
                        self.note(&status);
                        last = Some(status);
                    }
                    Err(status) => return Err(status),
                }
            }
            assert!(begun.elapsed() < LONGEST, "{what}: no answer, last {last:?}");
            tokio::time::sleep(PAUSE).await;
        }
        unreachable!("places have no end")
    }

    fn note(&self, status: &Status) {
        let what = if is_of_client(status) { "no answer".to_owned() } else { format!("{:?}: {}", status.code(), status.message()) };
        *self.errors.lock().expect("no panic").entry(what).or_default() += 1;
    }

    /// Why calls were made again, and how often.
    pub(crate) fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.lock().expect("no panic").clone()
    }
}

/// SEMPRE_NODES_LOG is another level.
fn level() -> String {
    std::env::var("SEMPRE_NODES_LOG").unwrap_or_else(|_| "info".into())
}

/// As SDKs take them; a machine with much else to do lets starts wait, and refuses them then.
pub(crate) fn may_be_repeated(status: &Status) -> bool {
    is_of_client(status) || matches!(status.code(), Code::Unavailable | Code::ResourceExhausted)
}

/// It is no answer: the connection broke, could not be made, or there was silence. Clients of gRPC try again, as at UNAVAILABLE.
fn is_of_client(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

/// Until something may have changed.
pub(crate) async fn a_little() {
    tokio::time::sleep(PAUSE).await;
}
