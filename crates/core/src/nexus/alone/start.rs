//! StartNexusOperationExecution: checks, id policies, the first two events (spec 08 §5.8).

use alloc::{boxed::Box, collections::BTreeMap, format, string::String};

use prost::Message;
use sempre_api::v1::{
    common::WorkflowType,
    enums::{NexusOperationIdConflictPolicy as IdConflict, NexusOperationIdReusePolicy as IdReuse},
    history::{NexusOperationScheduledEventAttributes, WorkflowExecutionStartedEventAttributes, history_event::Attributes},
    workflowservice::{StartNexusOperationExecutionRequest, StartNexusOperationExecutionResponse},
};

use super::length;
use crate::{
    Context, Execution, Limits, Refusal, RunId, RunKey, Span, StartOutcome, Transition, WorkflowKey,
    alone::{
        self,
        start::{First, Found, Reuse, StartRequest},
    },
    attach::Attached,
    nexus::{
        self,
        schedule::{self, NAME_MAX},
    },
    state::{derived::search_of_start, progress::ProgressMain},
    step::Step,
    transition::{CurrentRecord, Reply},
    validate,
};

/// Starts an operation, or says why not. `current` is the record of the id's last run, `open` that run if it has not ended.
pub fn start(
    current: Option<&CurrentRecord>,
    open: Option<&mut Execution>,
    key: &WorkflowKey,
    mut request: StartNexusOperationExecutionRequest,
    cx: &mut Context<'_>,
) -> Result<StartOutcome, Refusal> {
    let endpoint_id = check(&mut request, cx)?;
    let request = match alone::start::find(current, open, request, cx)? {
        Found::Run(run, existing) => return Ok(StartOutcome { existing: existing.map(|attached| *attached), ..answer(run, false) }),
        Found::Nothing(request) => request,
    };
    let run = cx.ids.run_id(cx.now);
    let created = create(RunKey { workflow: key.clone(), run }, request, endpoint_id, cx);
    Ok(StartOutcome { created: Some(Box::new(created)), ..answer(run, true) })
}

impl StartRequest for StartNexusOperationExecutionRequest {
    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn shares_open(&self) -> bool {
        self.id_conflict_policy() == IdConflict::UseExisting
    }

    fn reuse(&self) -> Reuse {
        match self.id_reuse_policy() {
            IdReuse::RejectDuplicate => Reuse::Never,
            IdReuse::AllowDuplicateFailedOnly => Reuse::AfterFailure,
            IdReuse::AllowDuplicate | IdReuse::Unspecified => Reuse::Always,
        }
    }

    fn attached(self) -> Option<Attached> {
        Attached::to_operation(self)
    }

    fn taken_by(current: &CurrentRecord) -> Refusal {
        let (request_id, run_id) = (current.start_request_id.clone(), format!("{}", current.run()));
        Refusal::OperationAlreadyStarted {
            message: format!("nexus operation execution already started: request_id={request_id}, run_id={run_id}"),
            start_request_id: request_id,
            run_id,
        }
    }
}

fn answer(run: RunId, started: bool) -> StartOutcome {
    let response = StartNexusOperationExecutionResponse { run_id: format!("{run}"), started };
    StartOutcome { reply: Ok(Reply::OperationStarted(Box::new(response))), existing: None, created: None }
}

/// Checks a request and brings it to its normal form. Returns the endpoint's id.
fn check(request: &mut StartNexusOperationExecutionRequest, cx: &mut Context<'_>) -> Result<String, Refusal> {
    let limits = cx.limits;
    let id_max = limits.id_length_max;
    if request.request_id.is_empty() {
        request.request_id = cx.ids.uuid();
    }
    length("request_id", &request.request_id, id_max)?;
    if request.operation_id.is_empty() {
        return Err(Refusal::invalid("operation_id is required"));
    }
    length("operation_id", &request.operation_id, id_max)?;
    length("identity", &request.identity, id_max)?;
    if request.endpoint.is_empty() {
        return Err(Refusal::invalid("endpoint is required"));
    }
    for (name, value) in [("service", &request.service), ("operation", &request.operation)] {
        if value.is_empty() {
            return Err(Refusal::InvalidArgument(format!("{name} is required")));
        }
        length(name, value, NAME_MAX)?;
    }
    timeouts(request, limits)?;
    let bytes = request.input.as_ref().map_or(0, Message::encoded_len);
    if bytes > limits.blob_size_max {
        let limit = limits.blob_size_max;
        return Err(Refusal::InvalidArgument(format!("input exceeds size limit. Length={bytes} Limit={limit}")));
    }
    validate::user_metadata(request.user_metadata.as_ref(), limits).map_err(Refusal::InvalidArgument)?;
    request.nexus_header = schedule::header(&request.nexus_header).map_err(|refused| {
        Refusal::InvalidArgument(match refused {
            schedule::BadHeader::Reserved(name) => format!("nexus_header contains a disallowed key: {name:?}"),
            schedule::BadHeader::TooLarge => "nexus_header exceeds size limit".into(),
        })
    })?;
    validate::search_attributes(request.search_attributes.as_ref()).map_err(Refusal::InvalidArgument)?;
    validate::search_attribute_types(request.search_attributes.as_mut(), cx.namespace, &BTreeMap::new())
        .map_err(Refusal::InvalidArgument)?;
    if let Err(unknown) = IdReuse::try_from(request.id_reuse_policy) {
        return Err(Refusal::InvalidArgument(format!("unsupported ID reuse policy: {}", unknown.0)));
    }
    if let Err(unknown) = IdConflict::try_from(request.id_conflict_policy) {
        return Err(Refusal::InvalidArgument(format!("unsupported ID conflict policy: {}", unknown.0)));
    }
    if request.on_conflict_options.as_ref().is_some_and(|o| o.attach_completion_callbacks && !o.attach_request_id) {
        return Err(Refusal::invalid(validate::CALLBACKS_NEED_REQUEST_ID));
    }
    validate::operation_callbacks(&mut request.completion_callbacks, limits)?;
    validate::links_of_operation(request)?;
    let found = cx.endpoints.id_of(&request.endpoint);
    found.ok_or_else(|| Refusal::NotFound(format!("could not find Nexus endpoint by name: {}", request.endpoint)))
}

/// Schedule-to-close at most the server's; the others at most that.
fn timeouts(request: &mut StartNexusOperationExecutionRequest, limits: &Limits) -> Result<(), Refusal> {
    let read = |name: &str, value: &Option<sempre_api::Duration>| {
        Span::from_api(value.as_ref()).map_err(|why| Refusal::InvalidArgument(format!("{name} is invalid: {why}")))
    };
    let mut to_close = read("schedule_to_close_timeout", &request.schedule_to_close_timeout)?;
    let mut to_start = read("schedule_to_start_timeout", &request.schedule_to_start_timeout)?;
    let mut from_start = read("start_to_close_timeout", &request.start_to_close_timeout)?;
    let longest = limits.operation_timeout_max;
    if !longest.is_zero() && (to_close.is_zero() || to_close > longest) {
        to_close = longest;
    }
    if !to_close.is_zero() {
        to_start = to_start.min(to_close);
        from_start = from_start.min(to_close);
    }
    // What was set to zero stays as it was sent.
    request.schedule_to_close_timeout = to_close.to_api_option().or(request.schedule_to_close_timeout);
    request.schedule_to_start_timeout = to_start.to_api_option().or(request.schedule_to_start_timeout);
    request.start_to_close_timeout = from_start.to_api_option().or(request.start_to_close_timeout);
    Ok(())
}

fn create(key: RunKey, request: StartNexusOperationExecutionRequest, endpoint_id: String, cx: &mut Context<'_>) -> (Execution, Transition) {
    let started = WorkflowExecutionStartedEventAttributes {
        workflow_type: Some(WorkflowType { name: request.operation.clone() }),
        identity: request.identity,
        search_attributes: search_of_start(request.search_attributes),
        completion_callbacks: request.completion_callbacks,
        ..Default::default()
    };
    let first = First { request_id: request.request_id, links: request.links, user_metadata: request.user_metadata, started };
    let mut scheduled = NexusOperationScheduledEventAttributes {
        endpoint: request.endpoint,
        service: request.service,
        operation: request.operation,
        input: request.input,
        schedule_to_close_timeout: request.schedule_to_close_timeout,
        schedule_to_start_timeout: request.schedule_to_start_timeout,
        start_to_close_timeout: request.start_to_close_timeout,
        nexus_header: request.nexus_header,
        endpoint_id,
        ..Default::default()
    };
    let own = |main: &mut ProgressMain| main.operation = Some(Box::default());
    let schedule = |step: &mut Step<'_, '_>| {
        scheduled.request_id = step.cx.ids.uuid();
        let id = step.event(Attributes::NexusOperationScheduledEventAttributes(Box::new(scheduled)));
        nexus::send_start(step, id);
    };
    alone::start::create(key, first, own, schedule, cx)
}
