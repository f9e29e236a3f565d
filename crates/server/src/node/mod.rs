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
//! | reaches most of those that serve, and they reach it | is ready, and is given its share |
//! | is told to stop | is given nothing more, gives what it has, and answers meanwhile; then the server stops as any other |
//! | has lost its place | the engine ends with the reason, and so does the server |

#![expect(clippy::disallowed_methods, reason = "other nodes are waited for by the wall clock")]

mod owners;
pub(crate) mod status;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::{FutureExt, future::OptionFuture};
use prost::Message;
use sempre_api::v1::workflowservice::RegisterNamespaceRequest;
use sempre_engine::{
    Clock, Components, Engine, OpenError, OpenIndex, Settings, Spawner,
    node::Node,
    visibility::{Index, postgres::PostgresIndex},
};
use sempre_store::{
    Store,
    postgres::{PostgresOptions, PostgresStore, member::NodeOptions, picture::Picture, votes::Standing},
};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, timeout},
};
use tonic::Code;

pub(crate) use self::owners::Pictured;
use crate::{
    ServerError, ServerSettings, Service,
    forward::{Apart, Forward, NodePort, Reach},
};

/// Shards that are spread over the nodes, if none has come before: some for each processor of some machines, as each commits by itself.
const SHARDS: u32 = 64;
/// How long a node waits at its start for namespaces that another makes.
const PREPARE_MAX: Duration = Duration::from_secs(10);
/// Between two looks.
const PREPARE_PAUSE: Duration = Duration::from_millis(50);
/// How long a node that is not reached, or does not reach the others, waits before it says so, and before it says so again.
const WAITS_FIRST: Duration = Duration::from_secs(5);
const WAITS_AGAIN: Duration = Duration::from_secs(10);
/// Between two looks whether it is reached: while that is about to be so, and after it has said that it waits.
const REACH_PAUSE: Duration = Duration::from_millis(50);
const REACH_PAUSE_LONG: Duration = Duration::from_millis(500);
/// How long the database is asked whose lease lasts.
const STANDINGS_MAX: Duration = Duration::from_secs(2);
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
    /// How long a node that is silent is waited for.
    pub(crate) fn lease(&self) -> Duration {
        self.owners.lease()
    }

    /// Asks the other nodes whether they are there, and tells all whom this one does not reach, until its place is gone.
    pub(crate) fn ask(&self, reach: Arc<Reach>) -> impl Future<Output = ()> + use<> {
        let owners = Arc::clone(&self.owners);
        let ended = self.store.until_failed();
        async move {
            let mut unreached = reach.watch();
            let tells = async {
                loop {
                    let nodes = unreached.borrow_and_update().clone();
                    owners.set_unreached(nodes);
                    if unreached.changed().await.is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                () = Arc::clone(&reach).run() => {}
                () = tells => {}
                Some(_) = OptionFuture::from(ended) => {}
            }
        }
    }

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

/// Waits until this node reaches more than half of the others that serve, and they reach it, and says that it is ready: what it cannot be
/// asked for it must not be given. One that was ready when it came, as nobody else was, waits for nobody.
pub(crate) async fn ready(service: &Service) -> Result<(), ServerError> {
    let (Some(node), Some(forward)) = (service.node(), service.router().forward()) else { return Ok(()) };
    let lost = |reason| ServerError::Prepare { what: "this node".into(), reason };
    tokio::select! {
        () = until_reached(node, forward) => {}
        reason = node.ended() => return Err(lost(reason)),
    }
    node.ready().await?;
    forward.reach().set_ready();
    Ok(())
}

async fn until_reached(node: &Node, forward: &Forward) {
    let (begun, mut told) = (Instant::now(), None);
    loop {
        let picture = node.membership().picture();
        let own = picture.nodes().find(|other| other.id == node.membership().id());
        if own.is_some_and(|own| own.is_ready) {
            return;
        }
        let mut others = forward.serving();
        let mut apart = forward.reach().apart(&others);
        if !is_one_of(others.len(), apart.len()) {
            // Who has died serves by the picture until its lease has run out.
            if let Ok(Ok(standings)) = timeout(STANDINGS_MAX, node.standings()).await {
                others.retain(|other| standings.get(&owners::id_of(other.id)).is_some_and(Standing::lasts));
                apart = forward.reach().apart(&others);
            }
        }
        if is_one_of(others.len(), apart.len()) {
            return;
        }
        let wait = if told.is_none() { WAITS_FIRST } else { WAITS_AGAIN };
        if told.unwrap_or(begun).elapsed() >= wait {
            told = Some(Instant::now());
            let address = own.map_or("", |own| own.address.as_str());
            tracing::warn!(
                address,
                nodes = apart.iter().map(|apart| said(apart, &picture)).collect::<Vec<_>>().join(", "),
                "this node waits until it reaches more than half of the nodes that serve, and they reach it: check its --node-address, which has \
                 to lead here from the others, and firewalls"
            );
        }
        sleep(if told.is_none() { REACH_PAUSE } else { REACH_PAUSE_LONG }).await;
    }
}

/// Whether a node is one of those that serve: so many others do, and so many of them are apart from it.
fn is_one_of(others: usize, apart: usize) -> bool {
    others == 0 || apart * 2 < others
}

fn said(apart: &Apart, picture: &Picture) -> String {
    let id = owners::id_of(apart.node.id);
    let name = picture.nodes().find(|node| node.id == id).map_or_else(|| id.to_string(), |node| node.name.clone());
    let what = if apart.is_reached { "does not reach this one" } else { "is not reached" };
    format!("{name} at {} {what}", apart.node.address)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_serves_with_more_than_half_of_the_others_or_alone() {
        for (others, apart, expected) in [
            (0, 0, true),
            (1, 0, true),
            (1, 1, false),
            (2, 0, true),
            (2, 1, false),
            (2, 2, false),
            (3, 1, true),
            (3, 2, false),
            (5, 2, true),
        ] {
            assert_eq!(is_one_of(others, apart), expected, "{apart} of {others}");
        }
    }
}
