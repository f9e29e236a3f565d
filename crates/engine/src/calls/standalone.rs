//! Activities that belong to no workflow (spec 03 §12): the calls of clients. What workers say of them comes in by
//! `activities`, what operators do to them by `operators`.

use bytes::Bytes;
use prost::Message;
use sempre_api::v1::workflowservice::{
    CountActivityExecutionsRequest, CountActivityExecutionsResponse, DeleteActivityExecutionRequest, DeleteActivityExecutionResponse,
    DescribeActivityExecutionRequest, DescribeActivityExecutionResponse, ListActivityExecutionsRequest, ListActivityExecutionsResponse,
    PollActivityExecutionRequest, PollActivityExecutionResponse, RequestCancelActivityExecutionRequest,
    RequestCancelActivityExecutionResponse, StartActivityExecutionRequest, StartActivityExecutionResponse,
    TerminateActivityExecutionRequest, TerminateActivityExecutionResponse, count_activity_executions_response::AggregationGroup,
};
use sempre_core::{
    Input, Refusal, Reply, RunId, Span, Timestamp, WorkflowKey,
    input::{CancelActivityRun, TerminateActivityRun},
    standalone::{self, Described, Shows},
    visibility::{Division, ParseOptions, parse},
};
use tokio::sync::oneshot;

use super::{
    lists::{group_value, page_size, position, refused, token},
    named,
};
use crate::{
    Engine,
    rebuild::Rebuild,
    shard::message::{ActivityWatch, Ask, Body},
    shared::internal,
};

const DISABLED: &str = "Standalone activity is disabled";
const NO_ID: &str = "activity ID is required";
const INVALID_RUN_ID: &str = "invalid run id: must be a valid UUID";
const TOKEN_WITHOUT_RUN: &str = "run id is required when long poll token is provided";
const INVALID_TOKEN: &str = "invalid long poll token";
const TOKEN_OF_ANOTHER: &str = "long poll token does not match execution";
const REASON_TOO_LONG: &str = "reason exceeds length limit";

/// A state of an activity or an operation that a client has seen.
#[derive(Clone, PartialEq, Message)]
pub(super) struct LongPollToken {
    #[prost(bytes = "bytes", tag = "1")]
    run: Bytes,
    #[prost(uint64, tag = "2")]
    pub(super) version: u64,
}

impl LongPollToken {
    /// Of this run as it is.
    pub(super) fn bytes(run: RunId, version: u64) -> Bytes {
        Self { run: Bytes::copy_from_slice(&run.0.0), version }.encode_to_vec().into()
    }

    /// Of this run, as a client has sent it.
    pub(super) fn parse(bytes: Bytes, run: RunId) -> Result<Self, Refusal> {
        let token = Self::decode(bytes).ok().filter(|token| token.run.len() == 16);
        let token = token.ok_or_else(|| Refusal::invalid(INVALID_TOKEN))?;
        if token.run[..] == run.0.0 { Ok(token) } else { Err(Refusal::invalid(TOKEN_OF_ANOTHER)) }
    }
}

/// The activities of a list or count; `groups`: it may say GROUP BY.
fn options(groups: bool) -> ParseOptions {
    ParseOptions { groups, activities: true, division: Division::Only(standalone::DIVISION), ..Default::default() }
}

impl Engine {
    /// Refuses every call while there are no such activities.
    fn have_activities(&self) -> Result<(), Refusal> {
        if self.shared.settings.standalone_activities { Ok(()) } else { Err(Refusal::Unimplemented(DISABLED.into())) }
    }

    /// The activity that a call names which can mean no other.
    pub(super) fn activity(&self, namespace: &str, activity_id: &str, run_id: &str) -> Result<(WorkflowKey, Option<RunId>), Refusal> {
        self.have_activities()?;
        let namespace = self.namespace(namespace)?;
        if activity_id.is_empty() {
            return Err(Refusal::invalid(NO_ID));
        }
        self.at_most("activity ID", activity_id)?;
        let run = match run_id {
            "" => None,
            text => Some(RunId::parse(text).ok_or_else(|| Refusal::invalid(INVALID_RUN_ID))?),
        };
        Ok((standalone::key(namespace.id(), activity_id), run))
    }

    fn at_most(&self, name: &str, value: &str) -> Result<(), Refusal> {
        standalone::length(name, value, self.shared.settings.limits.id_length_max)
    }

    /// Request id, identity and reason of a call; a request id is made up if there is none.
    fn checked(&self, request_id: String, identity: &str, reason: &str) -> Result<String, Refusal> {
        let request_id = if request_id.is_empty() { self.poll_id() } else { request_id };
        self.at_most("request ID", &request_id)?;
        self.at_most("identity", identity)?;
        if reason.len() > self.shared.settings.limits.blob_size_max {
            return Err(Refusal::invalid(REASON_TOO_LONG));
        }
        Ok(request_id)
    }

    /// `StartActivityExecution`.
    pub async fn start_activity(&self, mut request: StartActivityExecutionRequest) -> Result<StartActivityExecutionResponse, Refusal> {
        self.have_activities()?;
        let namespace = self.namespace(&request.namespace)?;
        let namespace = self.shared.register_unknown(namespace, &request.search_attributes).await?;
        named::said(&namespace, request.search_attributes.as_mut());
        let key = standalone::key(namespace.id(), &request.activity_id);
        match self.shared.ask_reply(key, None, Ask::StartActivity(Box::new(request))).await?.1 {
            Reply::ActivityStarted(response) => Ok(*response),
            _ => Err(internal("a start of an activity")),
        }
    }

    /// Its description, and a watch of the next change if there is nothing new by `watch`.
    async fn look(
        &self,
        key: &WorkflowKey,
        run: Option<RunId>,
        shows: Shows,
        watch: Option<ActivityWatch>,
    ) -> Result<(RunId, Box<Described>, Option<oneshot::Receiver<()>>), Refusal> {
        let (sender, receiver) = oneshot::channel();
        let (watch, receiver) = match watch {
            Some(watch) => (Some((watch, sender)), Some(receiver)),
            None => (None, None),
        };
        let answer = self.shared.ask(key.clone(), run, Ask::DescribeActivity(shows, watch)).await?;
        match answer.body {
            Body::Activity(described) => Ok((answer.run, described, receiver)),
            _ => Err(internal("a description of an activity")),
        }
    }

    /// Looks until there is what is waited for, or until the caller is to be told that there is not.
    async fn wait(
        &self,
        key: &WorkflowKey,
        mut run: Option<RunId>,
        shows: Shows,
        watch: ActivityWatch,
        deadline: Option<Timestamp>,
    ) -> Result<Option<(RunId, Box<Described>)>, Refusal> {
        let shared = &self.shared;
        let until = shared.wait_until(shared.settings.activity_wait, deadline);
        let mut timer = shared.wall.sleep_until(until);
        loop {
            let (found, described, changed) = self.look(key, run, shows, Some(watch)).await?;
            if watch.is_over(&described) {
                return Ok(Some((found, described)));
            }
            run = Some(found);
            let Some(changed) = changed else { return Ok(None) };
            tokio::select! {
                biased;
                // A dropped sender (too many wait) means the same: look again, but not at once again.
                change = changed => if change.is_err() {
                    shared.wall.sleep_until((shared.wall_now() + Span::millis(100)).min(until)).await;
                },
                () = &mut timer => return Ok(None),
            }
            if shared.wall_now() >= until {
                return Ok(None);
            }
        }
    }

    /// `DescribeActivityExecution`; with a token it waits for a change. Empty when none came in time.
    pub async fn describe_activity(
        &self,
        request: DescribeActivityExecutionRequest,
        deadline: Option<Timestamp>,
    ) -> Result<DescribeActivityExecutionResponse, Refusal> {
        let (key, run) = self.activity(&request.namespace, &request.activity_id, &request.run_id)?;
        let shows = Shows {
            input: request.include_input,
            outcome: request.include_outcome,
            heartbeat: request.include_heartbeat_details,
            failure: request.include_last_failure,
        };
        let found = if request.long_poll_token.is_empty() {
            let (found, described, _) = self.look(&key, run, shows, None).await?;
            Some((found, described))
        } else {
            let run = run.ok_or_else(|| Refusal::invalid(TOKEN_WITHOUT_RUN))?;
            let token = LongPollToken::parse(request.long_poll_token, run)?;
            self.wait(&key, Some(run), shows, ActivityWatch::Since(token.version), deadline).await?
        };
        let Some((run, mut described)) = found else { return Ok(DescribeActivityExecutionResponse::default()) };
        let namespace = self.namespace(&request.namespace)?;
        named::shown(&namespace, described.info.search_attributes.as_mut());
        let long_poll_token = LongPollToken::bytes(run, described.version);
        Ok(DescribeActivityExecutionResponse {
            run_id: run.to_string(),
            info: Some(*described.info),
            input: described.input,
            outcome: described.outcome.map(|outcome| *outcome),
            long_poll_token,
            callbacks: Vec::new(),
        })
    }

    /// `PollActivityExecution`: waits for the end. Empty when it did not come in time.
    pub async fn poll_activity(
        &self,
        request: PollActivityExecutionRequest,
        deadline: Option<Timestamp>,
    ) -> Result<PollActivityExecutionResponse, Refusal> {
        let (key, run) = self.activity(&request.namespace, &request.activity_id, &request.run_id)?;
        let shows = Shows { outcome: true, ..Shows::default() };
        let found = self.wait(&key, run, shows, ActivityWatch::Closed, deadline).await?;
        let Some((run, described)) = found else { return Ok(PollActivityExecutionResponse::default()) };
        Ok(PollActivityExecutionResponse { run_id: run.to_string(), outcome: described.outcome.map(|outcome| *outcome) })
    }

    /// `RequestCancelActivityExecution`.
    pub async fn cancel_activity(
        &self,
        request: RequestCancelActivityExecutionRequest,
    ) -> Result<RequestCancelActivityExecutionResponse, Refusal> {
        let (key, run) = self.activity(&request.namespace, &request.activity_id, &request.run_id)?;
        let request_id = self.checked(request.request_id, &request.identity, &request.reason)?;
        let cancel = CancelActivityRun { identity: request.identity, request_id, reason: request.reason };
        self.shared.apply(key, run, Input::CancelActivityRun(Box::new(cancel))).await?;
        Ok(RequestCancelActivityExecutionResponse {})
    }

    /// `TerminateActivityExecution`.
    pub async fn terminate_activity(
        &self,
        request: TerminateActivityExecutionRequest,
    ) -> Result<TerminateActivityExecutionResponse, Refusal> {
        let (key, run) = self.activity(&request.namespace, &request.activity_id, &request.run_id)?;
        let request_id = self.checked(request.request_id, &request.identity, &request.reason)?;
        let terminate = TerminateActivityRun { identity: request.identity, request_id, reason: request.reason };
        self.shared.apply(key, run, Input::TerminateActivityRun(Box::new(terminate))).await?;
        Ok(TerminateActivityExecutionResponse {})
    }

    /// `DeleteActivityExecution`: terminates an open one first. Answered when its rows are gone.
    pub async fn delete_activity(&self, request: DeleteActivityExecutionRequest) -> Result<DeleteActivityExecutionResponse, Refusal> {
        let (key, run) = self.activity(&request.namespace, &request.activity_id, &request.run_id)?;
        self.shared.ask(key, run, Ask::Delete).await?;
        Ok(DeleteActivityExecutionResponse {})
    }

    /// `ListActivityExecutions`.
    pub async fn list_activities(&self, request: ListActivityExecutionsRequest) -> Result<ListActivityExecutionsResponse, Refusal> {
        self.have_activities()?;
        let namespace = self.namespace(&request.namespace)?;
        let query = parse(&request.query, &*namespace, options(false))?;
        let after = position(&request.next_page_token)?;
        let runs = self.runs(namespace.id(), query.filter.as_ref(), after, page_size(request.page_size)).await?;
        let next_page_token = runs.next.as_ref().map(token).unwrap_or_default();
        let mut executions: Vec<_> = runs.records.iter().map(|record| record.to_api_activity()).collect();
        for info in &mut executions {
            named::shown(&namespace, info.search_attributes.as_mut());
        }
        Ok(ListActivityExecutionsResponse { executions, next_page_token })
    }

    /// `CountActivityExecutions`.
    pub async fn count_activities(&self, request: CountActivityExecutionsRequest) -> Result<CountActivityExecutionsResponse, Refusal> {
        self.have_activities()?;
        let namespace = self.namespace(&request.namespace)?;
        let query = parse(&request.query, &*namespace, options(true))?;
        Rebuild::ready(&self.shared).await?;
        let (visibility, filter) = (&self.shared.listing.visibility, query.filter.as_ref());
        let Some(field) = &query.group_by else {
            let count = visibility.count(namespace.id(), filter).await.map_err(refused)?;
            return Ok(CountActivityExecutionsResponse { count: count as i64, groups: Vec::new() });
        };
        let groups = visibility.count_by(namespace.id(), filter, field).await.map_err(refused)?;
        let count = groups.iter().map(|(_, runs)| *runs as i64).sum();
        let group = |(value, runs)| AggregationGroup { group_values: vec![group_value(field, value)], count: runs as i64 };
        Ok(CountActivityExecutionsResponse { count, groups: groups.into_iter().map(group).collect() })
    }
}
