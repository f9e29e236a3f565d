//! Nexus tasks that wait for an answer: who asked, and what a worker is given.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use prost::Message;
use sempre_api::v1::{failure::Failure, nexus};
use sempre_core::{NamespaceId, Span, Timestamp, ids::Uuid, transition::QueueName};
use tokio::sync::oneshot;

use crate::{ids::SeededIds, shared::Shared};

/// Time that is kept back of a request, so that who asked hears of its end (`…limit.dispatch.task.timeout.min`).
const KEPT_BACK: Span = Span::seconds(1);

/// What a worker answered.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The handler has dealt with the request.
    Completed(Box<nexus::Response>),
    /// It has not: a handler's failure.
    Failed(Box<Failure>),
}

/// Who waits, and in which namespace the task is.
#[derive(Debug)]
struct Listener {
    namespace: NamespaceId,
    sender: oneshot::Sender<Answer>,
}

type Listeners = Arc<Mutex<HashMap<u64, Listener>>>;

fn lock(listeners: &Listeners) -> MutexGuard<'_, HashMap<u64, Listener>> {
    listeners.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The Nexus tasks of this process that are not answered.
#[derive(Debug)]
pub(crate) struct NexusCalls {
    listeners: Listeners,
    ids: Mutex<SeededIds>,
}

impl NexusCalls {
    pub(crate) fn new(ids: SeededIds) -> Self {
        Self { listeners: Listeners::default(), ids: Mutex::new(ids) }
    }

    /// A new task; forgotten when the guard is dropped.
    fn call(&self, namespace: NamespaceId) -> Call {
        let (sender, receiver) = oneshot::channel();
        let mut listeners = lock(&self.listeners);
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        // No counter: what one worker is given says nothing about what others are given.
        let id = loop {
            let id = ids.next_u64();
            if !listeners.contains_key(&id) {
                break id;
            }
        };
        listeners.insert(id, Listener { namespace, sender });
        Call { id, receiver, listeners: self.listeners.clone() }
    }

    /// A worker's answer. False when nobody waits for it in its namespace.
    pub(crate) fn answer(&self, id: u64, namespace: NamespaceId, answer: Answer) -> bool {
        let listener = match lock(&self.listeners).entry(id) {
            Entry::Occupied(listener) if listener.get().namespace == namespace => listener.remove(),
            _ => return false,
        };
        listener.sender.send(answer).is_ok()
    }
}

/// Somebody who waits for a worker's answer.
#[derive(Debug)]
struct Call {
    id: u64,
    receiver: oneshot::Receiver<Answer>,
    listeners: Listeners,
}

impl Drop for Call {
    fn drop(&mut self) {
        lock(&self.listeners).remove(&self.id);
    }
}

/// A request to a handler, for a worker's poll.
#[derive(Clone, Debug)]
pub(crate) struct NexusTask {
    id: u64,
    pub(crate) queue: QueueName,
    request: Arc<nexus::Request>,
    /// When nobody waits for the answer any more, by the callers' clock.
    until: Timestamp,
    /// When the operation must be over, by the callers' clock; `None`: the header says what there is to say.
    operation_until: Option<Timestamp>,
    listeners: Listeners,
}

impl NexusTask {
    /// Somebody still waits.
    pub(crate) fn is_wanted(&self) -> bool {
        lock(&self.listeners).get(&self.id).is_some_and(|listener| !listener.sender.is_closed())
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
    pub(crate) fn token(&self, process: u64) -> NexusToken {
        NexusToken::new(self.queue.namespace, self.id, process)
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
    /// Hands a request to a worker and waits for its answer. `None`: none came in time.
    pub(crate) async fn dispatch_nexus(&self, dispatch: Dispatch) -> Option<Answer> {
        let _hold = self.hold();
        let mut call = self.nexus_calls.call(dispatch.queue.namespace);
        let now = self.wall_now();
        let until = now + Span((dispatch.timeout.0 - KEPT_BACK.0).max(0));
        self.matching.nexus(NexusTask {
            id: call.id,
            queue: dispatch.queue,
            request: Arc::new(nexus::Request { scheduled_time: Some(now.to_api()), ..dispatch.request }),
            until,
            operation_until: dispatch.operation_timeout.map(|span| now + span),
            listeners: call.listeners.clone(),
        });
        tokio::select! {
            biased;
            answer = &mut call.receiver => answer.ok(),
            () = self.wall.sleep_until(until) => None,
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

    #[test]
    fn only_the_namespace_of_the_task_can_answer() {
        let calls = NexusCalls::new(SeededIds::new(1, 1));
        let (own, other) = (NamespaceId(Uuid([1; 16])), NamespaceId(Uuid([2; 16])));
        let (call, next) = (calls.call(own), calls.call(own));
        assert!(call.id.abs_diff(next.id) > 1);
        let answer = || Answer::Completed(Box::default());
        assert!(!calls.answer(call.id, other, answer()));
        assert!(calls.answer(call.id, own, answer()));
        assert!(!calls.answer(call.id, own, answer()), "once");
        let id = next.id;
        drop(next);
        assert!(!calls.answer(id, own, answer()));
    }
}
