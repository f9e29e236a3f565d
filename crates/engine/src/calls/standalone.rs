//! Activities that belong to no workflow (spec 03 §12): the calls of clients. What workers say of them comes in by
//! `activities`, what operators do to them by `operators`.

use sempre_api::v1::workflowservice::{
    CountActivityExecutionsRequest, CountActivityExecutionsResponse, DeleteActivityExecutionRequest, DeleteActivityExecutionResponse,
    DescribeActivityExecutionRequest, DescribeActivityExecutionResponse, ListActivityExecutionsRequest, ListActivityExecutionsResponse,
    PollActivityExecutionRequest, PollActivityExecutionResponse, RequestCancelActivityExecutionRequest,
    RequestCancelActivityExecutionResponse, StartActivityExecutionRequest, StartActivityExecutionResponse,
    TerminateActivityExecutionRequest, TerminateActivityExecutionResponse, count_activity_executions_response::AggregationGroup,
};
use sempre_core::{
    Input, Refusal, Reply, RunId, Timestamp, WorkflowKey,
    input::{CancelActivityRun, TerminateActivityRun},
    standalone::{self, Shows},
    visibility::{Division, ParseOptions, parse},
};

use super::{
    alone::LongPollToken,
    lists::{page_size, position, token},
    named,
};
use crate::{
    Engine,
    shard::message::{ActivityWatch, Ask},
    shared::internal,
};

const DISABLED: &str = "Standalone activity is disabled";
const NO_ID: &str = "activity ID is required";
const INVALID_RUN_ID: &str = "invalid run id: must be a valid UUID";
const TOKEN_WITHOUT_RUN: &str = "run id is required when long poll token is provided";
const REASON_TOO_LONG: &str = "reason exceeds length limit";

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
            let (found, described) = self.shared.look::<ActivityWatch>(&key, run, shows).await?;
            Some((found, described))
        } else {
            let run = run.ok_or_else(|| Refusal::invalid(TOKEN_WITHOUT_RUN))?;
            let token = LongPollToken::parse(request.long_poll_token, run)?;
            let wait = (self.shared.settings.activity_wait, deadline);
            self.shared.wait_for(&key, Some(run), shows, ActivityWatch::Since(token.version), wait).await?
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
        let found = self.shared.wait_for(&key, run, shows, ActivityWatch::Closed, (self.shared.settings.activity_wait, deadline)).await?;
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
        let (count, groups) = self.counted(namespace.id(), &query).await?;
        let group = |(value, count)| AggregationGroup { group_values: vec![value], count };
        Ok(CountActivityExecutionsResponse { count, groups: groups.into_iter().map(group).collect() })
    }
}
