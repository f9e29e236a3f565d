//! One of several nodes over one PostgreSQL: how it comes among the others (`docs/cluster.md`).
//!
//! ```text
//! NodeSettings ─► port (key) ─► PostgresStore::join: address, hash of the key, number of the process
//!                                  ├─► Membership ─► Pictured: Owners ─► forward
//!                                  └─► engine::node::Node: takes up, gives, ends
//! ```
//!
//! | the server | the node |
//! |---|---|
//! | is bound | has a place, is in the picture, answers other nodes; its engine takes up what is its own |
//! | is told to stop | is given nothing more, gives what it has, and answers meanwhile; then the server stops as any other |
//! | has lost its place | the engine ends with the reason, and so does the server |

#![expect(clippy::disallowed_methods, reason = "other nodes are waited for by the wall clock")]

mod owners;
pub(crate) mod status;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::FutureExt;
use prost::Message;
use sempre_api::v1::workflowservice::RegisterNamespaceRequest;
use sempre_engine::{
    Clock, Components, Engine, OpenError, OpenIndex, Settings, Spawner,
    node::Node,
    visibility::{Index, postgres::PostgresIndex},
};
use sempre_store::postgres::{PostgresOptions, PostgresStore, member::NodeOptions};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};
use tonic::Code;

pub(crate) use self::owners::Pictured;
use crate::{ServerError, ServerSettings, Service, forward::NodePort};

/// Shards that are spread over the nodes, if none has come before: some for each processor of some machines, as each commits by itself.
const SHARDS: u32 = 64;
/// How long a node waits at its start for namespaces that another makes.
const PREPARE_MAX: Duration = Duration::from_secs(10);
/// Between two looks.
const PREPARE_PAUSE: Duration = Duration::from_millis(50);
const REGISTER_NAMESPACE: &str = "/temporal.api.workflowservice.v1.WorkflowService/RegisterNamespace";

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// The schema that it shares.
    pub store: PostgresOptions,
    /// What people call it. `None`: by its address.
    pub name: Option<String>,
    /// The name or address of this machine by which the others reach it; IPv6 in brackets.
    pub host: String,
    /// Where it listens for them; port 0 takes a free one. They are told this port.
    pub listen: SocketAddr,
}

/// A node that has its place, and no engine yet. Dropped it gives the place back.
pub(crate) struct Joined {
    store: PostgresStore,
    /// Where others reach it.
    pub(crate) address: String,
    pub(crate) owners: Arc<Pictured>,
}

impl NodeSettings {
    /// Listens for other nodes, and comes among them. The engine has to be opened with this `seed`.
    pub(crate) async fn join(self, seed: u64) -> Result<(NodePort, Joined), ServerError> {
        let port = NodePort::bind(self.listen).await?;
        let address = format!("{}:{}", self.host, port.address().port());
        let options = NodeOptions {
            name: self.name.unwrap_or_else(|| address.clone()),
            address: address.clone(),
            key: port.key_print().to_string(),
            process: Engine::process_of(seed),
            shards: SHARDS,
            singles: Engine::singles(),
        };
        let process = options.process;
        let store = PostgresStore::join(self.store, options, Handle::current()).await.map_err(OpenError::Store)?;
        let membership = store.membership().cloned().expect("who has joined is a member");
        Ok((port, Joined { store, address, owners: Arc::new(Pictured::new(membership, process)) }))
    }
}

impl Joined {
    /// Opens the engine. The index of runs is that of all nodes.
    pub(crate) async fn open(
        self,
        clock: Arc<dyn Clock>,
        spawner: Arc<dyn Spawner>,
        seed: u64,
        settings: Settings,
        components: Components,
    ) -> Result<Node, OpenError> {
        let beside = self.store.beside_node();
        let index: OpenIndex = Box::new(move |owner| {
            let opened = async move { PostgresIndex::open(beside, owner).await.map(|index| Arc::new(index) as Arc<dyn Index>) };
            opened.boxed()
        });
        Node::open(self.store, clock, spawner, seed, settings, Components { index, ..components }).await
    }
}

/// Makes sure that the namespaces of the settings exist, and that this node knows of them. They are made where that is done; a node that has
/// just been told of a namespace has its copy a moment later.
pub(crate) async fn prepare(service: &Service, settings: &ServerSettings) -> Result<(), ServerError> {
    for namespace in &settings.namespaces {
        let refused = |reason| ServerError::Prepare { what: format!("namespace `{namespace}`"), reason };
        let request = RegisterNamespaceRequest {
            namespace: namespace.clone(),
            workflow_execution_retention_period: Some(settings.retention.to_api()),
            ..Default::default()
        };
        let (begun, mut why) = (Instant::now(), "it does not come into this node's copy".to_owned());
        while service.engine().namespace_named(namespace).is_none() {
            match service.router().ask(REGISTER_NAMESPACE, &request.encode_to_vec()).await {
                Ok(_) => {}
                Err(status) => match status.code() {
                    Code::AlreadyExists => {}
                    Code::Unavailable => status.message().clone_into(&mut why),
                    _ => return Err(refused(status.message().to_owned())),
                },
            }
            if begun.elapsed() > PREPARE_MAX {
                return Err(refused(why));
            }
            sleep(PREPARE_PAUSE).await;
        }
    }
    Ok(())
}
