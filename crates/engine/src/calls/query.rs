//! Queries: rejected, carried by a workflow task, or asked of a worker directly (spec 02 §6).

use std::sync::Arc;

use sempre_api::v1::{
    common::{Link, link},
    enums::QueryResultType,
    query::QueryRejected,
    workflowservice::{QueryWorkflowRequest, QueryWorkflowResponse, RespondQueryTaskCompletedRequest, RespondQueryTaskCompletedResponse},
};
use sempre_core::{
    Input, Refusal, Reply, RunKey, Timestamp,
    refusal::text,
    transition::{QueryRoute, QueueName},
};

use super::workflow_of;
use crate::{
    Engine,
    homes::asks::{self, Asked},
    matching::queries::{Asker, Outcome, QueryTask, QueryToken},
    shared::internal,
};

/// Why a link leads to a run and to no event of it.
const QUERIED: &str = "Query";
/// How long a query waits when the caller sets no deadline.
const WAIT_DEFAULT: sempre_core::Span = sempre_core::Span::seconds(10);

/// A link to the run that answered; no event says so.
fn answered_by(namespace: String, run: &RunKey) -> Link {
    let (workflow_id, run_id) = (run.workflow.workflow_id.clone(), run.run.to_string());
    let workflow = link::Workflow { namespace, workflow_id, run_id, reason: QUERIED.into() };
    Link { variant: Some(link::Variant::Workflow(workflow)) }
}

fn timed_out() -> Refusal {
    Refusal::DeadlineExceeded("query timed out before a worker could process it".into())
}

/// How a wait for a worker ended.
pub(crate) enum Waited {
    Outcome(Outcome),
    TimedOut,
    /// Another node, the queue's home, says that no worker is there.
    NoWorker,
}

impl Engine {
    /// `QueryWorkflow`; `deadline` is when the caller gives up.
    pub async fn query_workflow(
        &self,
        request: QueryWorkflowRequest,
        deadline: Option<Timestamp>,
    ) -> Result<QueryWorkflowResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let (workflow, run) = workflow_of(namespace.id(), request.execution)?;
        let query = request.query.ok_or_else(|| Refusal::invalid("WorkflowQuery is not set on request."))?;
        if query.query_type.is_empty() {
            return Err(Refusal::invalid("QueryType is not set on request."));
        }
        let args = query.query_args.as_ref().map_or(0, prost::Message::encoded_len);
        if args > self.shared.settings.limits_of(&request.namespace).blob_size_max {
            return Err(Refusal::invalid(text::BLOB_TOO_LARGE));
        }
        let until = deadline.unwrap_or(self.wall_now() + WAIT_DEFAULT);
        let mut asker = self.shared.queries.ask(namespace.id());
        let patience = self.now() + until.since(self.wall_now());
        let (id, reject_condition) = (asker.id(), request.query_reject_condition);
        let input = Input::Query { id, query: Box::new(query), reject_condition, until: patience };
        let (run, reply, _) = self.shared.apply(workflow.clone(), run, input).await?;
        let key = RunKey { workflow, run };
        let link = answered_by(request.namespace, &key);
        let result = match reply {
            Reply::QueryRejected { status } => {
                return Ok(QueryWorkflowResponse { query_rejected: Some(QueryRejected { status }), ..Default::default() });
            }
            Reply::QueryDirect(route) => self.ask_worker(&mut asker, key, *route, until).await?,
            Reply::QueryBuffered => {
                let buffered = Buffered { engine: self, key: &key, id: asker.id(), armed: true };
                let waited = self.wait_for(&mut asker, until).await;
                match waited {
                    Waited::TimedOut | Waited::NoWorker => return Err(timed_out()),
                    Waited::Outcome(outcome) => {
                        buffered.disarm();
                        match outcome {
                            Outcome::Answer(answer, _) => answer?,
                            Outcome::Direct(route) => {
                                asker.listen_again();
                                self.ask_worker(&mut asker, key, *route, until).await?
                            }
                        }
                    }
                }
            }
            _ => return Err(internal("a query")),
        };
        Ok(QueryWorkflowResponse { query_result: result, query_rejected: None, link: Some(link) })
    }

    pub(crate) async fn wait_for(&self, asker: &mut Asker, until: Timestamp) -> Waited {
        tokio::select! {
            biased;
            outcome = asker.outcome() => Waited::Outcome(outcome),
            () = self.shared.wall.sleep_until(until) => Waited::TimedOut,
        }
    }

    /// Asks the worker that holds the run, then anyone on the normal queue.
    async fn ask_worker(
        &self,
        asker: &mut Asker,
        key: RunKey,
        route: QueryRoute,
        until: Timestamp,
    ) -> Result<Option<sempre_api::v1::common::Payloads>, Refusal> {
        let _hold = self.shared.hold();
        let route = Arc::new(route);
        if let Some((queue, wait)) = &route.sticky {
            if self.shared.matching.sticky_available(queue) {
                let task = asker.task(key.clone(), route.clone(), true);
                match self.offered(asker, task, until.min(self.wall_now() + *wait)).await? {
                    Waited::Outcome(Outcome::Answer(answer, _)) => return answer,
                    Waited::Outcome(Outcome::Direct(_)) => return Err(internal("an answer")),
                    Waited::TimedOut | Waited::NoWorker => {}
                }
                if self.wall_now() >= until {
                    return Err(timed_out());
                }
                // Should the first worker answer after all, its answer is as good as another's.
            }
            if let Err(refusal) = self.shared.apply_to(key.clone(), Input::ResetSticky).await {
                tracing::debug!(?refusal, "stickiness of a queried run could not be reset");
            }
        }
        let workflow_id = key.workflow.workflow_id.clone();
        let task = asker.task(key, route.clone(), false);
        loop {
            let waited = if self.shared.matching.is_home_of(&route.normal) {
                self.shared.matching.query(&route.normal, task.clone());
                self.wait_for_workers(asker, &route.normal, &workflow_id, until).await
            } else {
                self.wait_away(asker, &task, until).await?
            };
            return match waited {
                None => continue,
                Some(Waited::Outcome(Outcome::Answer(answer, _))) => answer,
                Some(Waited::Outcome(Outcome::Direct(_))) => Err(internal("an answer")),
                Some(Waited::NoWorker) if self.wall_now() < until => {
                    Err(Refusal::FailedPrecondition("no poller seen for task queue recently, worker may be down".into()))
                }
                Some(Waited::TimedOut | Waited::NoWorker) => Err(timed_out()),
            };
        }
    }

    /// Offers a query on its queue, wherever that has its home, and waits.
    async fn offered(&self, asker: &mut Asker, task: QueryTask, until: Timestamp) -> Result<Waited, Refusal> {
        let queue = task.queue().clone();
        loop {
            let waited = if self.shared.matching.is_home_of(&queue) {
                self.shared.matching.query(&queue, task.clone());
                self.wait_at_home(asker, &queue, until).await
            } else {
                self.wait_away(asker, &task, until).await?
            };
            if let Some(waited) = waited {
                return Ok(waited);
            }
        }
    }

    /// Waits for what comes of a query whose queue has its home elsewhere. `None`: that has come here.
    async fn wait_away(&self, asker: &mut Asker, task: &QueryTask, until: Timestamp) -> Result<Option<Waited>, Refusal> {
        let request = asks::of_query(self, task, until).await?;
        tokio::select! {
            biased;
            waited = self.wait_for(asker, until) => Ok(Some(waited)),
            asked = asks::ask(&self.shared, task.queue(), request) => Ok((asked != Asked::Here).then_some(Waited::NoWorker)),
        }
    }

    /// Waits for what comes of a query that waits here. `None`: the home of its queue has gone.
    async fn wait_at_home(&self, asker: &mut Asker, queue: &QueueName, until: Timestamp) -> Option<Waited> {
        tokio::select! {
            biased;
            waited = self.wait_for(asker, until) => Some(waited),
            () = asks::until_home_gone(&self.shared, queue) => None,
        }
    }

    /// As [`Engine::wait_at_home`], but no longer than the queue counts as polled.
    async fn wait_for_workers(&self, asker: &mut Asker, queue: &QueueName, workflow_id: &str, until: Timestamp) -> Option<Waited> {
        let polled_until = || asks::is_polled_until(&self.shared, queue, workflow_id);
        match self.wait_at_home(asker, queue, until.min(polled_until())).await? {
            Waited::TimedOut if self.wall_now() >= until || polled_until() > self.wall_now() => {
                // A poller came in the meantime: the caller's deadline alone counts.
                self.wait_at_home(asker, queue, until).await
            }
            Waited::TimedOut => Some(Waited::NoWorker),
            waited => Some(waited),
        }
    }

    /// `RespondQueryTaskCompleted`.
    pub async fn respond_query_task_completed(
        &self,
        request: RespondQueryTaskCompletedRequest,
    ) -> Result<RespondQueryTaskCompletedResponse, Refusal> {
        if !request.namespace.is_empty() {
            self.namespace(&request.namespace)?;
        }
        if request.task_token.is_empty() {
            return Err(Refusal::invalid("Task token not set on request."));
        }
        let token = QueryToken::parse(&request.task_token).ok_or_else(|| Refusal::invalid("Error deserializing task token."))?;
        self.check_token_namespace(token.namespace(), &request.namespace)?;
        let too_large = request.query_result.as_ref().map_or(0, prost::Message::encoded_len)
            > self.shared.settings.limits_of(&request.namespace).blob_size_max;
        let answer = if too_large {
            Err(Refusal::QueryFailed { message: text::BLOB_TOO_LARGE.into(), failure: None })
        } else if request.completed_type == QueryResultType::Answered as i32 {
            Ok(request.query_result)
        } else {
            Err(Refusal::QueryFailed { message: request.error_message, failure: request.failure.map(Box::new) })
        };
        if token.process == self.process() && self.shared.queries.answer(token.query, token.namespace(), answer, request.cause) {
            return Ok(RespondQueryTaskCompletedResponse::default());
        }
        Err(Refusal::not_found("query task not found, or already expired"))
    }
}

/// Takes a buffered query back from its run when its asker leaves.
struct Buffered<'a> {
    engine: &'a Engine,
    key: &'a RunKey,
    id: u64,
    armed: bool,
}

impl Buffered<'_> {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Buffered<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.engine.shared.order(self.key.clone(), Input::DropQuery { id: self.id });
        }
    }
}
