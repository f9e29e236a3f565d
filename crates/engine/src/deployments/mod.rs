//! Worker deployments of the namespaces: durable records, and what follows from them (spec 05 §9).
//!
//! A record is a whole deployment with its versions ([`record`]); calls change it one after the other
//! ([`crate::records`]). After each change the namespace's snapshot for core and the routes of its task queues are made
//! anew ([`routing`]), before the change counts as done. Nothing else is kept of routing, so it is the same after a
//! restart.

pub(crate) mod record;
pub(crate) mod routing;
pub(crate) mod steer;

use std::sync::{Arc, Weak};

use sempre_core::{NamespaceId, Refusal, ids::Uuid};

use crate::{
    records::{Change, Records, Shown},
    shared::Shared,
};
use record::DeploymentRecord;

/// The key of a deployment's record.
pub(crate) fn key(namespace: NamespaceId, name: &str) -> Vec<u8> {
    [namespace.0.0.as_slice(), name.as_bytes()].concat()
}

/// The namespace of a record.
fn namespace_of(key: &[u8]) -> Option<NamespaceId> {
    Some(NamespaceId(Uuid(*key.first_chunk::<16>()?)))
}

/// The deployments of a namespace, by name.
pub(crate) fn of_namespace(shown: &Shown<DeploymentRecord>, namespace: NamespaceId) -> impl Iterator<Item = &Arc<DeploymentRecord>> {
    shown.range(namespace.0.0.to_vec()..).take_while(move |(key, _)| namespace_of(key) == Some(namespace)).map(|(_, record)| record)
}

/// Puts the records in force, now and after each change.
pub(crate) fn begin(shared: &Arc<Shared>) {
    let weak: Weak<Shared> = Arc::downgrade(shared);
    shared.deployments.after_changes(Box::new(move |shown, keys| {
        let Some(shared) = weak.upgrade() else { return };
        let mut namespaces: Vec<NamespaceId> = keys.iter().filter_map(|key| namespace_of(key)).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        for namespace in namespaces {
            put_in_force(&shared, shown, namespace);
        }
    }));
}

/// Makes snapshot and routes of a namespace anew.
fn put_in_force(shared: &Shared, shown: &Shown<DeploymentRecord>, namespace: NamespaceId) {
    let new = Arc::new(routing::snapshot(of_namespace(shown, namespace).map(|record| &**record)));
    let old = shared.namespaces.set_deployments(namespace, new.clone());
    for (queue, route) in routing::changes(namespace, &old, &new) {
        shared.matching.set_route(&queue, route);
    }
}

/// Forgets the deployments of a namespace that is deleted.
pub(crate) async fn forget(deployments: &Records<DeploymentRecord>, namespace: NamespaceId) -> Result<(), Refusal> {
    deployments
        .change(|shown| {
            let keys = of_namespace(shown, namespace).map(|record| (key(namespace, &record.name), None));
            Ok((Change { records: keys.collect(), beside: Vec::new() }, ()))
        })
        .await
}
