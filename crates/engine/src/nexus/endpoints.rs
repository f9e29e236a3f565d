//! Where endpoints lead.

use sempre_api::v1::nexus::{Endpoint, EndpointTarget, endpoint_target::Variant};
use sempre_core::{NamespaceId, ids::Uuid, nexus::EndpointTable};

use crate::{calls::endpoints::EndpointRecord, records::Records, shared::Shared};

/// Where an endpoint leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// To the workers that poll this task queue.
    Worker { namespace: NamespaceId, task_queue: String },
    /// To a URL.
    External { url: String },
}

/// An endpoint as its callers know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) name: String,
    pub(crate) target: Target,
}

impl EndpointTable for Records<EndpointRecord> {
    fn id_of(&self, name: &str) -> Option<String> {
        self.read().values().find(|record| record.name() == name).map(|record| record.endpoint().id)
    }
}

fn route(record: &EndpointRecord) -> Option<Route> {
    let Endpoint { spec, .. } = record.endpoint();
    let spec = spec?;
    let target = match spec.target {
        Some(EndpointTarget { variant: Some(Variant::Worker(worker)) }) => {
            Target::Worker { namespace: record.target_namespace()?, task_queue: worker.task_queue }
        }
        Some(EndpointTarget { variant: Some(Variant::External(external)) }) => Target::External { url: external.url },
        _ => return None,
    };
    Some(Route { name: spec.name, target })
}

impl Shared {
    /// The endpoint with this id; if there is none any more, the one that has its name now.
    pub(crate) fn route_of(&self, id: &str, name: &str) -> Option<Route> {
        let by_id = Uuid::parse(id).and_then(|id| self.endpoints.get(&id.0));
        let record = by_id.or_else(|| self.endpoints.read().values().find(|record| record.name() == name).cloned());
        record.as_deref().and_then(route)
    }
}
