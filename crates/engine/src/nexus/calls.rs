//! Nexus tasks that wait for an answer: who asked, and what a worker is given.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use sempre_api::v1::{failure::Failure, nexus};
use sempre_core::{NamespaceId, Span, Timestamp, ids::Uuid, transition::QueueName};

use super::handler_failure;
use crate::{
    homes::asks::{self, Asked},
    listeners::{Listeners, Wanted},
    shared::Shared,
};

/// Time that is kept back of a request, so that who asked hears of its end (`…limit.dispatch.task.timeout.min`).
const KEPT_BACK: Span = Span::seconds(1);

/// Why a request was not put into a queue.
pub(crate) const TOO_MANY: &str = "too many requests wait in the task queue";

/// What a worker answered.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The handler has dealt with the request.
    Completed(Box<nexus::Response>),
    /// It has not: a handler's failure.
    Failed(Box<Failure>),
}

/// The Nexus tasks of this process that are not answered.
pub(crate) type NexusCalls = Listeners<Answer>;

/// A request to a handler, for a worker's poll.
#[derive(Clone, Debug)]
pub(crate) struct NexusTask {
    pub(crate) queue: QueueName,
    request: Arc<nexus::Request>,
    /// When nobody waits for the answer any more, by the callers' clock.
    until: Timestamp,
    /// When the operation must be over, by the callers' clock; `None`: the header says what there is to say.
    operation_until: Option<Timestamp>,
    /// Decides on which side of a ramp it is: the same request, sent again, goes to the same version.
    ramped_by: String,
    /// The token of a task that another node has made: who waits is there.
    token: Option<Bytes>,
    caller: Wanted<Answer>,
}

impl NexusTask {
    #[cfg(test)]
    pub(crate) fn of(queue: QueueName, caller: Wanted<Answer>) -> Self {
        let ramped_by = caller.id.to_string();
        Self { queue, request: Arc::default(), until: Timestamp(0), operation_until: None, ramped_by, token: None, caller }
    }

    /// One that another node has made; with its token, and with who says here that it still waits. `times`: until when somebody waits,
    /// and the operation's.
    pub(crate) fn of_another(
        queue: QueueName,
        request: nexus::Request,
        ramped_by: String,
        (until, operation_until): (Timestamp, Option<Timestamp>),
        (token, caller): (Bytes, Wanted<Answer>),
    ) -> Self {
        Self { queue, request: Arc::new(request), until, operation_until, ramped_by, token: Some(token), caller }
    }

    /// The request without what says how much time is left.
    pub(crate) fn bare_request(&self) -> nexus::Request {
        (*self.request).clone()
    }

    pub(crate) fn until(&self) -> Timestamp {
        self.until
    }

    pub(crate) fn operation_until(&self) -> Option<Timestamp> {
        self.operation_until
    }

    /// Somebody still waits.
    pub(crate) fn is_wanted(&self) -> bool {
        self.caller.is_wanted()
    }

    /// What stands in the place of a workflow id where a share of the ids goes to another version.
    pub(crate) fn ramped_by(&self) -> &str {
        &self.ramped_by
    }

    #[cfg(test)]
    pub(crate) fn number(&self) -> u64 {
        self.caller.id
    }

    /// The request as the worker gets it: with the time that is left.
    pub(crate) fn request(&self, now: Timestamp) -> nexus::Request {
        let mut request = (*self.request).clone();
        let left = go_duration(self.until.since(now));
        // Some workers look for the one, some for the other.
        request.header.insert("request-timeout".into(), left.clone());
        request.header.insert("Request-Timeout".into(), left);
        if let Some(until) = self.operation_until {
            request.header.insert(OPERATION_TIMEOUT.into(), milliseconds(until.since(now)));
        }
        request
    }

    /// The token of the task.
    pub(crate) fn token(&self, process: u64) -> Bytes {
        let own = || NexusToken::new(self.queue.namespace, self.caller.id, process).to_bytes();
        self.token.clone().unwrap_or_else(own)
    }
}

/// Header with the time that the operation has.
pub(crate) const OPERATION_TIMEOUT: &str = "operation-timeout";

/// `1500ms`.
pub(crate) fn milliseconds(span: Span) -> String {
    format!("{}ms", span.0.max(0) / 1_000_000)
}

/// `9.987s`, `987ms`.
fn go_duration(span: Span) -> String {
    let millis = span.0.max(0) / 1_000_000;
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let text = format!("{}.{:03}", millis / 1000, millis % 1000);
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A request to a handler.
#[derive(Debug)]
pub(crate) struct Dispatch {
    /// Whose workers.
    pub(crate) queue: QueueName,
    pub(crate) request: nexus::Request,
    /// Time for the request.
    pub(crate) timeout: Span,
    /// Time for the operation, if the header does not name it.
    pub(crate) operation_timeout: Option<Span>,
}

impl Shared {
    /// Hands a request to a worker and waits for its answer. `None`: none came in time, or the engine stops.
    pub(crate) async fn dispatch_nexus(&self, dispatch: Dispatch) -> Option<Answer> {
        let _hold = self.hold();
        let mut call = self.nexus_calls.listen(dispatch.queue.namespace);
        let now = self.wall_now();
        let until = now + Span((dispatch.timeout.0 - KEPT_BACK.0).max(0));
        let ramped_by = match &dispatch.request.variant {
            Some(nexus::request::Variant::StartOperation(start)) if !start.request_id.is_empty() => start.request_id.clone(),
            _ => call.id().to_string(),
        };
        let task = NexusTask {
            ramped_by,
            queue: dispatch.queue,
            request: Arc::new(nexus::Request { scheduled_time: Some(now.to_api()), ..dispatch.request }),
            until,
            operation_until: dispatch.operation_timeout.map(|span| now + span),
            token: None,
            caller: call.wanted(),
        };
        let full = || Some(Answer::Failed(Box::new(handler_failure("RESOURCE_EXHAUSTED", TOO_MANY))));
        loop {
            if !self.matching.is_home_of(&task.queue) {
                let request = asks::of_nexus(self, &task, self.process);
                return tokio::select! {
                    biased;
                    answer = call.news() => answer,
                    asked = asks::ask(self, &task.queue, request) => match asked {
                        Asked::Nobody => None,
                        Asked::Full => full(),
                        Asked::Here => continue,
                    },
                    () = self.wall.sleep_until(until) => None,
                };
            }
            if !self.matching.nexus(task.clone()) {
                return full();
            }
            return tokio::select! {
                biased;
                answer = call.news() => answer,
                () = self.wall.sleep_until(until) => None,
                () = asks::until_home_gone(self, &task.queue) => continue,
            };
        }
    }
}

/// Tells the token of a Nexus task from others and from junk.
const MAGIC: u32 = 0x5e41_7404;

/// The token of a Nexus task: means something to this process only.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct NexusToken {
    #[prost(fixed32, tag = "1")]
    magic: u32,
    #[prost(bytes = "bytes", tag = "2")]
    namespace_id: Bytes,
    #[prost(fixed64, tag = "3")]
    pub(crate) task: u64,
    /// The process that asked.
    #[prost(fixed64, tag = "4")]
    pub(crate) process: u64,
}

impl NexusToken {
    fn new(namespace: NamespaceId, task: u64, process: u64) -> Self {
        Self { magic: MAGIC, namespace_id: Bytes::copy_from_slice(&namespace.0.0), task, process }
    }

    pub(crate) fn parse(bytes: &Bytes) -> Option<Self> {
        Self::decode(bytes.clone()).ok().filter(|t| t.magic == MAGIC && t.namespace_id.len() == 16)
    }

    pub(crate) fn namespace(&self) -> NamespaceId {
        NamespaceId(Uuid(self.namespace_id.as_ref().try_into().unwrap_or_default()))
    }

    pub(crate) fn to_bytes(&self) -> Bytes {
        self.encode_to_vec().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_workers_read_them() {
        let shown = [0, 987, 1000, 1500, 9_987, 60_000].map(|ms| go_duration(Span::millis(ms)));
        assert_eq!(shown, ["0ms", "987ms", "1s", "1.5s", "9.987s", "60s"]);
        assert_eq!((go_duration(Span::millis(-5)), milliseconds(Span::millis(1500))), ("0ms".into(), "1500ms".into()));
    }
}
