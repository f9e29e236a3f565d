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
    Input, Refusal, Reply, RunId, Timestamp, WorkflowKey,
    input::{CancelOperationRun, TerminateOperationRun},
    nexus::alone::{self, Shows},
    visibility::{Division, ParseOptions, parse},
};

use super::{
    alone::LongPollToken,
    lists::{page_size, position, token},
    named,
};
use crate::{
    Engine,
    shard::message::{Ask, OperationWatch},
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

    /// `DescribeNexusOperationExecution`; with a token it waits for a change. Empty when none came in time.
    pub async fn describe_operation(
        &self,
        request: DescribeNexusOperationExecutionRequest,
        deadline: Option<Timestamp>,
    ) -> Result<DescribeNexusOperationExecutionResponse, Refusal> {
        let (key, run) = self.operation(&request.namespace, &request.operation_id, &request.run_id)?;
        let shows = Shows { input: request.include_input, outcome: request.include_outcome };
        let found = if request.long_poll_token.is_empty() {
            let (found, described) = self.shared.look::<OperationWatch>(&key, run, shows).await?;
            Some((found, described))
        } else {
            let run = run.ok_or_else(|| Refusal::invalid(TOKEN_WITHOUT_RUN))?;
            let token = LongPollToken::parse(request.long_poll_token, run)?;
            let wait = (self.shared.settings.operation_wait, deadline);
            self.shared.wait_for(&key, Some(run), shows, OperationWatch::Since(token.version), wait).await?
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
        let found = self.shared.wait_for(&key, run, shows, watch, (self.shared.settings.operation_wait, deadline)).await?;
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
        let (count, groups) = self.counted(namespace.id(), &query).await?;
        let group = |(value, count)| AggregationGroup { group_values: vec![value], count };
        Ok(CountNexusOperationExecutionsResponse { count, groups: groups.into_iter().map(group).collect() })
    }
}
