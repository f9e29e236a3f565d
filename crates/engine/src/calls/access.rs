//! What deciding about a caller needs to know: API keys, and which namespace a request is about.
//!
//! Keys are kept as SHA-256 of what their owners hold: random keys of 256 bits need no slower hash. Who reads the store
//! learns no key.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use sempre_api::v1::enums::ResourceExhaustedCause;
use sempre_core::{NamespaceId, Refusal, TaskToken, Timestamp, ids::Uuid};
use tokio::sync::watch;

use crate::{
    Engine,
    matching::queries::QueryToken,
    nexus::{
        calls::NexusToken,
        endpoints::{Route, Target},
    },
    records::{Change, Records},
};

/// Keys of the server: all of them are in memory.
const KEYS_MAX: usize = 10_000;
/// Bytes of the hash that name a key.
const ID_BYTES: usize = 6;

/// An API key, as stored under its hash.
#[derive(Clone, PartialEq, Message)]
pub struct ApiKey {
    /// What it is for.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What it allows, as `NAMESPACE:ROLE`.
    #[prost(string, repeated, tag = "2")]
    pub grants: Vec<String>,
    /// Who made it.
    #[prost(string, tag = "3")]
    pub created_by: String,
    /// When, nanoseconds.
    #[prost(int64, tag = "4")]
    pub created_at: i64,
    /// From when it is refused, nanoseconds; 0: never.
    #[prost(int64, tag = "5")]
    pub expires_at: i64,
}

/// SHA-256 of a key.
pub type KeyHash = [u8; 32];

/// What names a key to those who manage it.
pub fn key_id(hash: &[u8]) -> String {
    hash.iter().take(ID_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// The keys of a server, and a count that grows with each change of them.
pub(crate) struct ApiKeys {
    pub(crate) records: Records<ApiKey>,
    changes: watch::Sender<u64>,
}

impl ApiKeys {
    pub(crate) fn new(records: Records<ApiKey>) -> Self {
        let changes = watch::Sender::new(0);
        let told = changes.clone();
        records.after_changes(Box::new(move |_, _| told.send_modify(|count| *count += 1)));
        Self { records, changes }
    }
}

/// Where a Nexus endpoint leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeadsTo {
    /// To workers of this namespace.
    Namespace(String),
    /// Out of this server.
    Elsewhere,
}

impl Engine {
    /// The key with this hash, expired or not.
    pub fn api_key(&self, hash: &KeyHash) -> Option<Arc<ApiKey>> {
        self.shared.api_keys.records.get(hash)
    }

    /// All keys with their ids, in the order in which they were made.
    pub fn api_keys(&self) -> Vec<(String, Arc<ApiKey>)> {
        let mut keys: Vec<_> = self.shared.api_keys.records.read().iter().map(|(hash, key)| (key_id(hash), key.clone())).collect();
        keys.sort_by_key(|(_, key)| key.created_at);
        keys
    }

    /// Counts the changes of keys.
    pub fn api_key_changes(&self) -> watch::Receiver<u64> {
        self.shared.api_keys.changes.subscribe()
    }

    /// Takes a key; gives its id.
    pub async fn create_api_key(&self, hash: KeyHash, key: ApiKey) -> Result<String, Refusal> {
        let created = self.shared.api_keys.records.change(move |shown| {
            if shown.len() >= KEYS_MAX {
                let message = format!("there are {KEYS_MAX} API keys already; revoke those that nobody needs");
                return Err(Refusal::ResourceExhausted { cause: ResourceExhaustedCause::PersistenceStorageLimit, message });
            }
            let id = key_id(&hash);
            if shown.keys().any(|known| key_id(known) == id) {
                return Err(Refusal::Aborted("a key with this id is there already; try again".into()));
            }
            Ok((Change::put(hash.to_vec(), key), id))
        });
        created.await
    }

    /// Forgets the key with this id; it is refused from now on. Gives what it was.
    pub async fn revoke_api_key(&self, id: &str) -> Result<Arc<ApiKey>, Refusal> {
        let id = id.to_ascii_lowercase();
        let revoked = self.shared.api_keys.records.change(move |shown| {
            let found = shown.iter().find(|(hash, _)| key_id(hash) == id);
            let (hash, key) = found.ok_or_else(|| Refusal::not_found(format!("there is no API key {id:?}")))?;
            Ok((Change::remove(hash.clone()), key.clone()))
        });
        revoked.await
    }

    /// The name of a namespace by its id.
    pub fn namespace_with_id(&self, id: &str) -> Option<String> {
        self.name_of(NamespaceId(Uuid::parse(id)?))
    }

    /// Names of the namespaces that the token of a worker's call can be read as being of. None: it is no token.
    pub fn namespaces_of_token(&self, token: &Bytes) -> Vec<String> {
        let task = TaskToken::parse(token).and_then(|token| token.run_key()).map(|run| run.workflow.namespace);
        let query = QueryToken::parse(token).map(|token| token.namespace());
        let nexus = NexusToken::parse(token).map(|token| token.namespace());
        [task, query, nexus].into_iter().flatten().filter_map(|id| self.name_of(id)).collect()
    }

    /// The process that asked what a worker answers with this token of a query or of a Nexus task: nobody else can take the answer.
    /// `None`: it is no such token.
    pub fn asker_of_token(&self, token: &Bytes) -> Option<u64> {
        let query = QueryToken::parse(token).map(|token| token.process);
        query.or_else(|| NexusToken::parse(token).map(|token| token.process))
    }

    fn name_of(&self, id: NamespaceId) -> Option<String> {
        self.shared.namespaces.by_id(id).map(|namespace| namespace.view.name.clone())
    }

    /// Name of the Nexus endpoint with this id, and where it leads.
    pub fn endpoint_with_id(&self, id: &str) -> Option<(String, LeadsTo)> {
        self.shared.route_of(id, "").map(|route| self.leading(route))
    }

    /// Where the Nexus endpoint of this name leads.
    pub fn endpoint_named(&self, name: &str) -> Option<LeadsTo> {
        self.shared.route_of("", name).map(|route| self.leading(route).1)
    }

    fn leading(&self, route: Route) -> (String, LeadsTo) {
        let to = match route.target {
            Target::Worker { namespace, .. } => LeadsTo::Namespace(self.name_of(namespace).unwrap_or_default()),
            Target::External { .. } => LeadsTo::Elsewhere,
        };
        (route.name, to)
    }

    /// True if the key has not expired.
    pub fn is_live(&self, key: &ApiKey) -> bool {
        key.expires_at == 0 || Timestamp(key.expires_at) > self.wall_now()
    }
}
