//! The workers that polled a queue lately, as DescribeTaskQueue shows them (spec 05 §6).

use std::collections::BTreeMap;

use sempre_api::v1::{common::WorkerVersionCapabilities, deployment::WorkerDeploymentOptions};
use sempre_core::{Span, Timestamp};

use super::caller::Caller;

/// Pollers remembered per queue; the longest unseen is forgotten first.
const POLLERS_MAX: usize = 1000;
/// How long a poller is shown after its last poll.
const SHOWN: Span = Span::seconds(300);

/// One worker, by identity; the newest poll's words hold.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SeenPoller {
    pub(crate) seen: Timestamp,
    /// The rate it asked for.
    pub(crate) rate: Option<f64>,
    pub(crate) capabilities: Option<WorkerVersionCapabilities>,
    pub(crate) deployment: Option<WorkerDeploymentOptions>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Pollers {
    by_identity: BTreeMap<String, SeenPoller>,
}

impl Pollers {
    /// A poll has come.
    pub(super) fn saw(&mut self, identity: &str, caller: &Caller, now: Timestamp) {
        if let Some(known) = self.by_identity.get_mut(identity) {
            known.seen = now;
            known.rate = caller.rate;
            if known.capabilities != caller.capabilities {
                known.capabilities.clone_from(&caller.capabilities);
            }
            if known.deployment != caller.deployment {
                known.deployment.clone_from(&caller.deployment);
            }
            return;
        }
        if self.by_identity.len() >= POLLERS_MAX {
            let oldest = self.by_identity.iter().min_by_key(|(_, known)| known.seen).map(|(identity, _)| identity.clone());
            oldest.and_then(|identity| self.by_identity.remove(&identity));
        }
        let Caller { rate, capabilities, deployment, .. } = caller.clone();
        self.by_identity.insert(identity.to_owned(), SeenPoller { seen: now, rate, capabilities, deployment });
    }

    /// A poll waits, or waited until now.
    pub(super) fn still_there(&mut self, identity: &str, now: Timestamp) {
        if let Some(known) = self.by_identity.get_mut(identity) {
            known.seen = now;
        }
    }

    pub(super) fn remove(&mut self, identity: &str) {
        self.by_identity.remove(identity);
    }

    /// Forgets those that are long gone.
    pub(super) fn expire(&mut self, now: Timestamp) {
        self.by_identity.retain(|_, known| now.since(known.seen) < SHOWN);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &SeenPoller)> {
        self.by_identity.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.by_identity.len()
    }
}
