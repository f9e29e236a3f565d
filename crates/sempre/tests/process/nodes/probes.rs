//! A run in every shard, which nobody works for: each is signalled to find out since when all shards are served again.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use sempre_api::v1::workflowservice::DescribeNamespaceRequest;
use sempre_core::{NamespaceId, WorkflowKey, ids::Uuid};
use tokio::task::JoinSet;

use super::{
    clients::{NAMESPACE, history, signal, signals, start},
    town::{SHARDS, Town},
};

/// See the module.
pub(crate) struct Probes {
    town: Arc<Town>,
    ids: Vec<String>,
    /// Signals that every run has, acknowledged.
    rounds: Mutex<usize>,
}

impl Probes {
    pub(crate) async fn new(town: &Arc<Town>) -> Self {
        let request = DescribeNamespaceRequest { namespace: NAMESPACE.into(), ..Default::default() };
        let described = town.call("the namespace", |mut client| {
            let request = request.clone();
            async move { client.describe_namespace(request).await }
        });
        let info = described.await.expect("described").into_inner().namespace_info.expect("info");
        let namespace = NamespaceId(Uuid::parse(&info.id).expect("an id"));
        let shard = |id: &str| WorkflowKey { namespace, workflow_id: id.into() }.slot().0 % SHARDS;
        let id = |wanted: u16| (0..).map(|n| format!("probe-{wanted}-{n}")).find(|id| shard(id) == wanted).expect("some");
        let ids: Vec<String> = (0..SHARDS).map(id).collect();
        for id in &ids {
            start(town, id, "nobody").await.expect("started");
        }
        Self { town: Arc::clone(town), ids, rounds: Mutex::default() }
    }

    /// Signals every run, all at once, until each was acknowledged by another node than that at this place; how long the last one took.
    pub(crate) async fn until_served(&self, place: Option<usize>) -> Duration {
        let (begun, name) = (Instant::now(), format!("r{}", self.rounds()));
        let mut set = JoinSet::new();
        for id in self.ids.clone() {
            let (town, name) = (Arc::clone(&self.town), name.clone());
            set.spawn(async move { signal(&town, place, &id, &name).await.expect("no error that a client must not see") });
        }
        while let Some(done) = set.join_next().await {
            done.expect("no panic");
        }
        *self.rounds.lock().expect("no panic") += 1;
        begun.elapsed()
    }

    fn rounds(&self) -> usize {
        *self.rounds.lock().expect("no panic")
    }

    pub(crate) fn ids(&self) -> &[String] {
        &self.ids
    }

    /// What every run has to have now.
    pub(crate) fn wanted(&self, id: &str) -> Vec<String> {
        (0..self.rounds()).map(|round| format!("signal-{id}-r{round}")).collect()
    }

    /// Every run has every signal, once, in their order.
    pub(crate) async fn check(&self) {
        for id in &self.ids {
            assert_eq!(signals(&history(&self.town, id).await.expect("a history")), self.wanted(id), "{id}");
        }
    }
}
