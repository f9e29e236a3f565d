//! Nexus operations that belong to no workflow (spec 08 §5.8): the calls of clients. What handlers say of them comes in by
//! `crate::nexus`.

use sempre_api::v1::{
    enums::NexusOperationWaitStage as Stage,
    workflowservice::{
        CountNexusOperationExecutionsRequest, CountNexusOperationExecutionsResponse, DeleteNexusOperationExecutionRequest,
        DeleteNexusOperationExecutionResponse, DescribeNexusOperationExecutionRequest, DescribeNexusOperationExecutionResponse,
        ListNexusOperationExecutionsRequest, ListNexusOperationExecutionsResponse, PollNexusOperationExecutionRequest,
        PollNexusOperationExecutionResponse, RequestCancelNexusOperationExecutionRequest, RequestCancelNexusOperationExecutionResponse,
        StartNexusOperationExecutionRequest, StartNexusOperationExecutionResponse, TerminateNexusOperationExecutionRequest,
        TerminateNexusOperationExecutionResponse, count_nexus_operation_executions_response::AggregationGroup,
        describe_nexus_operation_execution_response as described_as, poll_nexus_operation_execution_response as polled_as,
    },
};
use sempre_core::{
    Input, Refusal, Reply, RunId, Span, Timestamp, WorkflowKey,
    input::{CancelOperationRun, TerminateOperationRun},
    nexus::alone::{self, Described, Shows},
    visibility::{Division, ParseOptions, parse},
};
use tokio::sync::oneshot;

use super::{
    lists::{group_value, page_size, position, refused, token},
    named,
    standalone::LongPollToken,
};
use crate::{
    Engine,
    rebuild::Rebuild,
    shard::message::{Ask, Body, OperationWatch},
    shared::internal,
};

const DISABLED: &str = "Standalone Nexus operation is disabled";
const NO_ID: &str = "operation_id is required";
const INVALID_RUN_ID: &str = "run_id is not a valid UUID";
const TOKEN_WITHOUT_RUN: &str = "run_id is required when long_poll_token is provided";

/// The operations of a list or count; `groups`: it may say GROUP BY.
fn options(groups: bool) -> ParseOptions {
    ParseOptions { groups, operations: true, division: Division::Only(alone::DIVISION), ..Default::default() }
}

impl Engine {
    /// Refuses every call while there are no such operations.
    fn have_operations(&self) -> Result<(), Refusal> {
        if self.shared.settings.standalone_operations { Ok(()) } else { Err(Refusal::Unimplemented(DISABLED.into())) }
    }

    /// The operation that a call names.
    fn operation(&self, namespace: &str, operation_id: &str, run_id: &str) -> Result<(WorkflowKey, Option<RunId>), Refusal> {
        self.have_operations()?;
        let namespace = self.namespace(namespace)?;
        if operation_id.is_empty() {
            return Err(Refusal::invalid(NO_ID));
        }
        self.no_longer("operation_id", operation_id)?;
        let run = match run_id {
            "" => None,
            text => Some(RunId::parse(text).ok_or_else(|| Refusal::invalid(INVALID_RUN_ID))?),
        };
        Ok((alone::key(namespace.id(), operation_id), run))
    }

    fn no_longer(&self, name: &str, value: &str) -> Result<(), Refusal> {
        alone::length(name, value, self.shared.settings.limits.id_length_max)
    }

    /// Request id, identity and reason of a call; a request id is made up if there is none.
    fn asked(&self, request_id: String, identity: &str, reason: &str) -> Result<String, Refusal> {
        let request_id = if request_id.is_empty() { self.poll_id() } else { request_id };
        self.no_longer("request_id", &request_id)?;
        self.no_longer("identity", identity)?;
        alone::length("reason", reason, alone::REASON_MAX)?;
        Ok(request_id)
    }

    /// `StartNexusOperationExecution`.
    pub async fn start_operation(
        &self,
        mut request: StartNexusOperationExecutionRequest,
    ) -> Result<StartNexusOperationExecutionResponse, Refusal> {
        self.have_operations()?;
        let namespace = self.namespace(&request.namespace)?;
        let namespace = self.shared.register_unknown(namespace, &request.search_attributes).await?;
        named::said(&namespace, request.search_attributes.as_mut());
        let key = alone::key(namespace.id(), &request.operation_id);
        match self.shared.ask_reply(key, None, Ask::StartOperation(Box::new(request))).await?.1 {
            Reply::OperationStarted(response) => Ok(*response),
            _ => Err(internal("a start of an operation")),
        }
    }

    /// Its description, and a watch of the next change if there is nothing new by `watch`.
    async fn look_at_operation(
        &self,
        key: &WorkflowKey,
        run: Option<RunId>,
        shows: Shows,
        watch: Option<OperationWatch>,
    ) -> Result<(RunId, Box<Described>, Option<oneshot::Receiver<()>>), Refusal> {
        let (sender, receiver) = oneshot::channel();
        let (watch, receiver) = match watch {
            Some(watch) => (Some((watch, sender)), Some(receiver)),
            None => (None, None),
        };
        let answer = self.shared.ask(key.clone(), run, Ask::DescribeOperation(shows, watch)).await?;
        match answer.body {
            Body::Operation(described) => Ok((answer.run, described, receiver)),
            _ => Err(internal("a description of an operation")),
        }
    }

    /// Looks until there is what is waited for, or until the caller is to be told that there is not.
    async fn wait_for_operation(
        &self,
        key: &WorkflowKey,
        mut run: Option<RunId>,
        shows: Shows,
        watch: OperationWatch,
        deadline: Option<Timestamp>,
    ) -> Result<Option<(RunId, Box<Described>)>, Refusal> {
        let shared = &self.shared;
        let until = shared.wait_until(shared.settings.operation_wait, deadline);
        let mut timer = shared.wall.sleep_until(until);
        loop {
            let (found, described, changed) = self.look_at_operation(key, run, shows, Some(watch)).await?;
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

    /// `DescribeNexusOperationExecution`; with a token it waits for a change. Empty when none came in time.
    pub async fn describe_operation(
        &self,
        request: DescribeNexusOperationExecutionRequest,
        deadline: Option<Timestamp>,
    ) -> Result<DescribeNexusOperationExecutionResponse, Refusal> {
        let (key, run) = self.operation(&request.namespace, &request.operation_id, &request.run_id)?;
        let shows = Shows { input: request.include_input, outcome: request.include_outcome };
        let found = if request.long_poll_token.is_empty() {
            let (found, described, _) = self.look_at_operation(&key, run, shows, None).await?;
            Some((found, described))
        } else {
            let run = run.ok_or_else(|| Refusal::invalid(TOKEN_WITHOUT_RUN))?;
            let token = LongPollToken::parse(request.long_poll_token, run)?;
            self.wait_for_operation(&key, Some(run), shows, OperationWatch::Since(token.version), deadline).await?
        };
        let Some((run, mut described)) = found else { return Ok(DescribeNexusOperationExecutionResponse::default()) };
        let namespace = self.namespace(&request.namespace)?;
        named::shown(&namespace, described.info.search_attributes.as_mut());
        let outcome = described.outcome.and_then(|outcome| match (outcome.result, outcome.failure) {
            (Some(result), _) => Some(described_as::Outcome::Result(result)),
            (None, failure) => failure.map(|failure| described_as::Outcome::Failure(*failure)),
        });
        Ok(DescribeNexusOperationExecutionResponse {
            run_id: run.to_string(),
            info: Some(*described.info),
            input: described.input,
            outcome,
            long_poll_token: LongPollToken::bytes(run, described.version),
            completion_callbacks: described.callbacks,
        })
    }

    /// `PollNexusOperationExecution`: waits until it is started or closed. Empty when that did not come in time.
    pub async fn poll_operation(
        &self,
        request: PollNexusOperationExecutionRequest,
        deadline: Option<Timestamp>,
    ) -> Result<PollNexusOperationExecutionResponse, Refusal> {
        self.have_operations()?;
        let watch = match Stage::try_from(request.wait_stage) {
            Ok(Stage::Unspecified | Stage::Closed) => OperationWatch::Closed,
            Ok(Stage::Started) => OperationWatch::Started,
            Err(unknown) => return Err(Refusal::InvalidArgument(format!("unsupported wait_stage: {}", unknown.0))),
        };
        let (key, run) = self.operation(&request.namespace, &request.operation_id, &request.run_id)?;
        let shows = Shows { outcome: true, ..Shows::default() };
        let found = self.wait_for_operation(&key, run, shows, watch, deadline).await?;
        let Some((run, described)) = found else { return Ok(PollNexusOperationExecutionResponse::default()) };
        let outcome = described.outcome.and_then(|outcome| match (outcome.result, outcome.failure) {
            (Some(result), _) => Some(polled_as::Outcome::Result(result)),
            (None, failure) => failure.map(|failure| polled_as::Outcome::Failure(*failure)),
        });
        Ok(PollNexusOperationExecutionResponse {
            run_id: run.to_string(),
            wait_stage: described.stage as i32,
            operation_token: described.info.operation_token,
            outcome,
        })
    }

    /// `RequestCancelNexusOperationExecution`.
    pub async fn cancel_operation(
        &self,
        request: RequestCancelNexusOperationExecutionRequest,
    ) -> Result<RequestCancelNexusOperationExecutionResponse, Refusal> {
        let (key, run) = self.operation(&request.namespace, &request.operation_id, &request.run_id)?;
        let request_id = self.asked(request.request_id, &request.identity, &request.reason)?;
        let cancel = CancelOperationRun { request_id, reason: request.reason };
        self.shared.apply(key, run, Input::CancelOperationRun(Box::new(cancel))).await?;
        Ok(RequestCancelNexusOperationExecutionResponse {})
    }

    /// `TerminateNexusOperationExecution`.
    pub async fn terminate_operation(
        &self,
        request: TerminateNexusOperationExecutionRequest,
    ) -> Result<TerminateNexusOperationExecutionResponse, Refusal> {
        let (key, run) = self.operation(&request.namespace, &request.operation_id, &request.run_id)?;
        let request_id = self.asked(request.request_id, &request.identity, &request.reason)?;
        let terminate = TerminateOperationRun { identity: request.identity, request_id, reason: request.reason };
        self.shared.apply(key, run, Input::TerminateOperationRun(Box::new(terminate))).await?;
        Ok(TerminateNexusOperationExecutionResponse {})
    }

    /// `DeleteNexusOperationExecution`: terminates an open one first. Answered when its rows are gone.
    pub async fn delete_operation(
        &self,
        request: DeleteNexusOperationExecutionRequest,
    ) -> Result<DeleteNexusOperationExecutionResponse, Refusal> {
        let (key, run) = self.operation(&request.namespace, &request.operation_id, &request.run_id)?;
        self.shared.ask(key, run, Ask::Delete).await?;
        Ok(DeleteNexusOperationExecutionResponse {})
    }

    /// `ListNexusOperationExecutions`.
    pub async fn list_operations(
        &self,
        request: ListNexusOperationExecutionsRequest,
    ) -> Result<ListNexusOperationExecutionsResponse, Refusal> {
        self.have_operations()?;
        let namespace = self.namespace(&request.namespace)?;
        let query = parse(&request.query, &*namespace, options(false))?;
        let after = position(&request.next_page_token)?;
        let runs = self.runs(namespace.id(), query.filter.as_ref(), after, page_size(request.page_size)).await?;
        let next_page_token = runs.next.as_ref().map(token).unwrap_or_default();
        let mut operations: Vec<_> = runs.records.iter().map(|record| record.to_api_operation()).collect();
        for info in &mut operations {
            named::shown(&namespace, info.search_attributes.as_mut());
        }
        Ok(ListNexusOperationExecutionsResponse { operations, next_page_token })
    }

    /// `CountNexusOperationExecutions`.
    pub async fn count_operations(
        &self,
        request: CountNexusOperationExecutionsRequest,
    ) -> Result<CountNexusOperationExecutionsResponse, Refusal> {
        self.have_operations()?;
        let namespace = self.namespace(&request.namespace)?;
        let query = parse(&request.query, &*namespace, options(true))?;
        Rebuild::ready(&self.shared).await?;
        let (visibility, filter) = (&self.shared.listing.visibility, query.filter.as_ref());
        let Some(field) = &query.group_by else {
            let count = visibility.count(namespace.id(), filter).await.map_err(refused)?;
            return Ok(CountNexusOperationExecutionsResponse { count: count as i64, groups: Vec::new() });
        };
        let groups = visibility.count_by(namespace.id(), filter, field).await.map_err(refused)?;
        let count = groups.iter().map(|(_, runs)| *runs as i64).sum();
        let group = |(value, runs)| AggregationGroup { group_values: vec![group_value(field, value)], count: runs as i64 };
        Ok(CountNexusOperationExecutionsResponse { count, groups: groups.into_iter().map(group).collect() })
    }
}
