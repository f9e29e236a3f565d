//! Where the shards are, as far as a node knows: what forwarding asks, and whoever keeps the picture answers.

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;
use sempre_core::ids::Uuid;

use super::identity::KeyPrint;

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// One that has this shard: of those that are spread, or a single one.
    Shard(u32),
    /// The process whose engine has this number ([`sempre_engine::Engine::process`]): it waits for an answer that nobody else can take.
    Process(u64),
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id, new with each start.
    pub id: Uuid,
    /// Where it is reached, `HOST:PORT`.
    pub address: String,
    /// What it shows when it is called, and when it calls.
    pub key: KeyPrint,
}

/// Who has a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This node, and it may say so: its lease lasts. Also of a process that no node has: the engine here knows what to say to its token.
    Here,
    /// Another.
    At(Arc<Node>),
    /// Nobody now, or this node, whose lease has run out: that may change without a newer picture.
    Nobody,
}

/// What is known, and when it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Who has it.
    pub owner: Owner,
    /// The version of the picture that says so. It grows with each change of who is there and what is whose.
    pub version: u64,
}

/// The picture of a cluster, for one of its nodes. Everything but [`Owners::newer`] is answered at once, from memory: each call asks.
pub trait Owners: Send + Sync {
    /// Who has what a call is for.
    fn find(&self, of: Of) -> Found;

    /// The picture's version.
    fn version(&self) -> u64;

    /// The nodes of the picture, without this one.
    fn others(&self) -> Vec<Arc<Node>>;

    /// Whether the node with this key serves: it is ready, and not about to go.
    fn serves(&self, key: &KeyPrint) -> bool;

    /// A node of the picture shows this key; this node itself need not be found.
    fn is_node(&self, key: &KeyPrint) -> bool;

    /// Resolves when there is a newer picture than that of this version.
    fn newer(&self, version: u64) -> BoxFuture<'_, ()>;

    /// Somebody says that there is a newer picture: this node is to look at once.
    fn look(&self);
}

/// Resolves when who has this key is no node any more.
pub(super) async fn until_removed(owners: &dyn Owners, key: &KeyPrint) {
    loop {
        let version = owners.version();
        if !owners.is_node(key) {
            return;
        }
        owners.newer(version).await;
    }
}

impl fmt::Display for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "node {} at {}", self.id, self.address)
    }
}
