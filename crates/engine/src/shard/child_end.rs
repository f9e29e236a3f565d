//! A parent that a reset made asks how a child has ended: the reading for [`sempre_core::chain_end`].

use prost::Message as _;

use sempre_api::v1::history::HistoryEvent;
use sempre_core::{
    Refusal, RunId, RunKey, WorkflowKey,
    chain_end::{self, AskedChild, ChainLink},
    input::ChildClosed,
};

use super::{
    load::no_such_run,
    message::{Answer, Ask, Body, ChainPart},
    runner::Runner,
};
use crate::{
    history::read::TASK_PAGE,
    shared::{Shared, internal},
};

/// Runs that are followed from the first of a chain; behind them its end counts as not known. The way is this long only if
/// the current run of the workflow id is of another chain.
const RUNS_FOLLOWED_MAX: usize = 1000;

/// The news that the child's end would have brought; `None` while it goes on. `Err` is tried again.
pub(crate) async fn news(shared: &Shared, parent: &RunKey, child: &AskedChild) -> Result<Option<ChildClosed>, Refusal> {
    let workflow = WorkflowKey { namespace: parent.workflow.namespace, workflow_id: child.workflow_id.clone() };
    let current = part(shared, &workflow, None).await?.filter(|(_, part)| part.first_run_id == child.first_run_id);
    let mut found = match current {
        Some(current) => Some(current),
        // The chain is over: a workflow id has one open run, which would be the current one.
        None => match RunId::parse(&child.first_run_id) {
            Some(first) => part(shared, &workflow, Some(first)).await?,
            None => None,
        },
    };
    for _ in 0..RUNS_FOLLOWED_MAX {
        let Some((run, part_of_chain)) = found else { break };
        match part_of_chain.link {
            ChainLink::Open => return Ok(None),
            ChainLink::GoesOn(next) => found = part(shared, &workflow, Some(next)).await?,
            ChainLink::Ended => {
                let key = RunKey { workflow, run };
                let end = last_event(shared, &key, part_of_chain.next_event_id).await?;
                return Ok(Some(chain_end::news(child, end.map(|event| (run, event)))));
            }
        }
    }
    tracing::warn!(run = %parent.run, child = %child.workflow_id, "a run made by a reset waited for a child whose end is not known any more");
    Ok(Some(chain_end::news(child, None)))
}

/// A run's part in its chain; `None` when there is no such run (any more).
async fn part(shared: &Shared, workflow: &WorkflowKey, run: Option<RunId>) -> Result<Option<(RunId, ChainPart)>, Refusal> {
    match shared.ask(workflow.clone(), run, Ask::ChainPart).await {
        Ok(Answer { run, body: Body::ChainPart(part) }) => Ok(Some((run, *part))),
        Ok(_) => Err(internal("a part of a chain")),
        Err(Refusal::NotFound(_)) => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// `None` when retention was faster.
async fn last_event(shared: &Shared, run: &RunKey, next_event_id: i64) -> Result<Option<HistoryEvent>, Refusal> {
    let page = match shared.read_page(run, next_event_id - 1, next_event_id, TASK_PAGE).await {
        Ok(page) => page,
        Err(Refusal::NotFound(_)) => return Ok(None),
        Err(refusal) => return Err(refusal),
    };
    let frame = page.chunks.into_iter().next().ok_or_else(|| internal("a page of history"))?;
    let event = sempre_api::frame_body(frame).ok().and_then(|body| HistoryEvent::decode(body).ok());
    event.map(Some).ok_or_else(|| {
        tracing::error!(run = %run.run, "stored history is damaged");
        Refusal::Unavailable("internal history service error".into())
    })
}

impl Runner {
    /// The run's part in its chain.
    pub(super) fn chain_part(&mut self, place: usize, run: RunId) -> Result<Answer, Refusal> {
        let key = RunKey { workflow: self.cache.at(place).key.clone(), run };
        let execution = self.execution(place, run).ok_or_else(|| no_such_run(&key))?;
        let part = ChainPart {
            first_run_id: execution.first_run_id().into(),
            next_event_id: execution.next_event_id(),
            link: execution.chain_link(),
        };
        Ok(Answer { run, body: Body::ChainPart(Box::new(part)) })
    }
}
