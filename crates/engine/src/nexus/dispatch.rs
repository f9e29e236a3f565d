//! Requests to handlers that come from outside, over HTTP (spec 08 §5.6).

use std::sync::atomic::Ordering;

use sempre_api::v1::{failure::Failure, nexus};
use sempre_core::{
    NamespaceId, Refusal, Span,
    ids::Uuid,
    transition::{QueueKind, QueueName},
    validate::task_queue_name,
};

use super::{
    calls::{Answer, Dispatch},
    endpoints::Target,
};
use crate::{Engine, shared::STOPPING};

/// Time for a request that names none.
const REQUEST_DEFAULT: Span = Span::seconds(60);

/// Whose workers a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination<'a> {
    /// Those of the endpoint with this id.
    Endpoint(&'a str),
    /// Those that poll this task queue.
    Queue {
        /// Name of the namespace.
        namespace: &'a str,
        /// Name of the task queue.
        task_queue: &'a str,
    },
}

/// What became of a request.
#[derive(Debug)]
pub enum Handled {
    /// The handler has dealt with it.
    Answered(Box<nexus::Response>),
    /// It has not: a handler's failure.
    Failed(Box<Failure>),
    /// No worker answered in time.
    NotInTime,
}

impl Engine {
    /// Hands a request to a handler and waits for its answer, `timeout` at most.
    ///
    /// NOT_FOUND: there is no such endpoint or namespace. INVALID_ARGUMENT: the endpoint leads to no task queue, or a name
    /// is too long or none of a task queue. UNAVAILABLE: the engine stops.
    pub async fn dispatch_nexus(
        &self,
        destination: Destination<'_>,
        mut request: nexus::Request,
        timeout: Option<Span>,
    ) -> Result<Handled, Refusal> {
        let (namespace, name, endpoint) = self.resolved(destination)?;
        request.endpoint = endpoint;
        let queue = QueueName { namespace, name, kind: QueueKind::Nexus, sticky: false, version: None };
        let timeout = timeout.unwrap_or(REQUEST_DEFAULT).min(REQUEST_DEFAULT);
        let dispatch = Dispatch { queue, request, timeout, operation_timeout: None };
        Ok(match self.shared.dispatch_nexus(dispatch).await {
            Some(Answer::Completed(response)) => Handled::Answered(response),
            Some(Answer::Failed(failure)) => Handled::Failed(failure),
            None if self.shared.stopping.load(Ordering::Acquire) => return Err(Refusal::Unavailable(STOPPING.into())),
            None => Handled::NotInTime,
        })
    }

    /// The name of the namespace whose workers a request is for. Refuses as [`Engine::dispatch_nexus`] does.
    pub fn namespace_of(&self, destination: Destination<'_>) -> Result<String, Refusal> {
        let (namespace, ..) = self.resolved(destination)?;
        Ok(self.shared.namespaces.view(namespace).name.clone())
    }

    /// Namespace, task queue, and name of the endpoint, if it is one.
    fn resolved(&self, destination: Destination<'_>) -> Result<(NamespaceId, String, String), Refusal> {
        match destination {
            Destination::Endpoint(id) => {
                let known = Uuid::parse(id).and_then(|_| self.shared.route_of(id, ""));
                let route = known.ok_or_else(|| Refusal::not_found("nexus endpoint not found"))?;
                match route.target {
                    Target::Worker { namespace, task_queue } => Ok((namespace, task_queue, route.name)),
                    Target::External { .. } => Err(Refusal::invalid("invalid endpoint target")),
                }
            }
            Destination::Queue { namespace, task_queue } => {
                let limits = &self.shared.settings.limits;
                if namespace.len() > limits.id_length_max {
                    return Err(Refusal::invalid("Namespace length exceeds limit."));
                }
                let id = self.namespace(namespace)?.id();
                task_queue_name(task_queue, limits).map_err(Refusal::invalid)?;
                Ok((id, task_queue.to_owned(), String::new()))
            }
        }
    }

    /// Bytes of an input or a result.
    pub fn payload_bytes_max(&self) -> usize {
        self.shared.settings.limits.blob_size_max
    }
}
