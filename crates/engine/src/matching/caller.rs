//! Who polls: what a queue remembers of a worker besides its identity.

use std::hash::{DefaultHasher, Hash, Hasher};

use sempre_api::v1::{common::WorkerVersionCapabilities, deployment::WorkerDeploymentOptions};
use sempre_core::NamespaceId;

/// A worker's process, told from others by a hash of its namespace and `worker_instance_key`. Two that share a hash
/// share the end of their polls, and an empty poll does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Instance(u64);

impl Instance {
    /// `None` for the empty key: workers that give none cannot be told apart.
    pub(crate) fn new(namespace: NamespaceId, key: &str) -> Option<Self> {
        if key.is_empty() {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        (namespace, key).hash(&mut hasher);
        Some(Self(hasher.finish()))
    }
}

/// What comes with a poll.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Caller {
    /// The worker's process.
    pub(crate) instance: Option<Instance>,
    /// Tasks per second that the worker wants the whole queue to give out (`max_tasks_per_second`).
    pub(crate) rate: Option<f64>,
    /// Old form of its version.
    pub(crate) capabilities: Option<WorkerVersionCapabilities>,
    /// Its version.
    pub(crate) deployment: Option<WorkerDeploymentOptions>,
}
