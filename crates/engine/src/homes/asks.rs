//! Queries and requests to Nexus handlers, which wait in the memory of the node that asks. Where the home of their queue is elsewhere, that one
//! has them handed to a poll there. The worker's answer goes to the node that asks, by the number of its process in the token.
//!
//! The question stays open at the home for as long as the asker waits; if it is lost, or the home moves, it is asked again, and a worker may be
//! given it twice.

use std::sync::Arc;

use prost::Message as _;
use sempre_api::v1::nexus;
use sempre_core::{Refusal, Span, Timestamp, transition::QueueName};

use super::record::QueueRecord;
use crate::{
    Engine,
    matching::{QUERY_POLLER_WINDOW, queries::QueryTask},
    nexus::calls::{NexusTask, TOO_MANY},
    peers::record::{Answer, Nexus, Query, Request},
    shared::{Shared, internal},
};

const PAUSE_FIRST: Span = Span::millis(50);
const PAUSE_MAX: Span = Span::seconds(1);

/// What has become of a question at another node; its answer comes another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// No worker is there, or time is over.
    Nobody,
    /// Too much waits there.
    Full,
    /// The home has come here.
    Here,
}

/// Has the home of a queue ask its workers, again and again. Ends when that is no use any more.
pub(crate) async fn ask(shared: &Shared, queue: &QueueName, request: Request) -> Asked {
    let home = shared.shard_of(queue.home()) as u32;
    let mut pause = PAUSE_FIRST;
    loop {
        let Some(away) = shared.away_shard(home) else { return Asked::Here };
        match away.ask(request.clone()).await {
            Ok(Answer::Done(())) => return Asked::Nobody,
            Err(Refusal::ResourceExhausted { .. }) => return Asked::Full,
            Ok(_) => drop(internal("what has become of a question")),
            Err(refusal) => tracing::debug!(?refusal, home, "a question for workers is asked again"),
        }
        shared.wall.sleep_until(shared.wall_now() + pause).await;
        pause = Span((pause.0 * 2).min(PAUSE_MAX.0));
    }
}

/// Resolves when the home of a queue is not here any more, or the engine stops. Never in a server alone.
pub(crate) async fn until_home_gone(shared: &Shared, queue: &QueueName) {
    match &shared.homes {
        Some(homes) => homes.until_gone(queue.hash64()).await,
        None => std::future::pending().await,
    }
}

/// Until when a queue whose home is here counts as polled.
pub(crate) fn is_polled_until(shared: &Shared, queue: &QueueName, workflow_id: &str) -> Timestamp {
    let seen = shared.matching.poller_seen_for(queue, workflow_id).map_or(Timestamp(0), |seen| seen + QUERY_POLLER_WINDOW);
    shared.homes.as_ref().map_or(seen, |homes| seen.max(homes.expects_polls_until(queue.hash64())))
}

/// A query for the home of its queue, with the whole answer of a poll.
pub(crate) async fn of_query(engine: &Engine, task: &QueryTask, until: Timestamp) -> Result<Request, Refusal> {
    let response = engine.shared.query_response(task, engine.process()).await?;
    Ok(Request::Query(Box::new(Query {
        queue: Some(QueueRecord::new(task.queue())),
        workflow_id: task.workflow_id().to_owned(),
        answer: response.encode_to_vec().into(),
        left: until.since(engine.wall_now()).0,
    })))
}

/// A request for the home of its queue.
pub(crate) fn of_nexus(shared: &Shared, task: &NexusTask, process: u64) -> Request {
    let now = shared.wall_now();
    Request::Nexus(Box::new(Nexus {
        queue: Some(QueueRecord::new(&task.queue)),
        ramped_by: task.ramped_by().to_owned(),
        request: Some(task.bare_request()),
        token: task.token(process),
        left: task.until().since(now).0,
        operation_left: task.operation_until().map(|until| until.since(now).0),
    }))
}

/// Another node asks a query of this one's workers. `None`: it cannot be read.
pub(crate) async fn query(shared: &Arc<Shared>, asked: Query) -> Option<Result<Answer, Refusal>> {
    let queue = asked.queue?.queue()?;
    let (matching, until) = (&shared.matching, shared.wall_now() + Span(asked.left));
    if queue.sticky && !matching.sticky_available(&queue) {
        return Some(Ok(Answer::Done(())));
    }
    // Nobody listens to it: it says that the asker still waits.
    let asker = shared.queries.ask(queue.namespace);
    matching.query(&queue, asker.task_of_another(queue.clone(), asked.workflow_id.clone(), asked.answer.clone()));
    let is_over = async {
        if !queue.sticky {
            let polled_until = || is_polled_until(shared, &queue, &asked.workflow_id);
            shared.wall.sleep_until(until.min(polled_until())).await;
            if polled_until() <= shared.wall_now() {
                return;
            }
        }
        shared.wall.sleep_until(until).await;
    };
    Some(while_home(shared, &queue, is_over).await)
}

/// Waits until a question is over; if the home of its queue goes before, it is to be asked where that is then.
async fn while_home(shared: &Shared, queue: &QueueName, is_over: impl Future<Output = ()>) -> Result<Answer, Refusal> {
    tokio::select! {
        biased;
        () = until_home_gone(shared, queue) => Err(Refusal::Elsewhere { shard: shared.shard_of(queue.home()) as u32 }),
        () = is_over => Ok(Answer::Done(())),
    }
}

/// Another node asks a handler among this one's workers. `None`: it cannot be read.
pub(crate) async fn nexus(shared: &Arc<Shared>, asked: Nexus) -> Option<Result<Answer, Refusal>> {
    let queue = asked.queue?.queue()?;
    let request: nexus::Request = asked.request?;
    let now = shared.wall_now();
    let until = now + Span(asked.left);
    let call = shared.nexus_calls.listen(queue.namespace);
    let times = (until, asked.operation_left.map(|left| now + Span(left)));
    let task = NexusTask::of_another(queue.clone(), request, asked.ramped_by, times, (asked.token, call.wanted()));
    if !shared.matching.nexus(task) {
        let full =
            Refusal::ResourceExhausted { cause: sempre_api::v1::enums::ResourceExhaustedCause::SystemOverloaded, message: TOO_MANY.into() };
        return Some(Err(full));
    }
    Some(while_home(shared, &queue, shared.wall.sleep_until(until)).await)
}
