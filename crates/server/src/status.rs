//! Refusal → gRPC status: the one place that knows codes, detail messages and error headers (spec 09 §1).
//!
//! Decides nothing: every refusal has exactly one status. A status carries at most one detail message,
//! its text is cut at [`MESSAGE_BYTES_MAX`], and what went wrong inside the server is told to the log
//! and not to the client.

use prost::{Message, Name};
use sempre_api::{
    Any, google,
    v1::{
        enums::{NamespaceState, ResourceExhaustedCause, ResourceExhaustedScope},
        errordetails::{
            ActivityExecutionAlreadyStartedFailure, ClientVersionNotSupportedFailure, MultiOperationExecutionFailure,
            NamespaceAlreadyExistsFailure, NamespaceInvalidStateFailure, NamespaceNotFoundFailure,
            NexusOperationExecutionAlreadyStartedFailure, NotFoundFailure, PermissionDeniedFailure, QueryFailedFailure,
            ResourceExhaustedFailure, ServerVersionNotSupportedFailure, WorkflowExecutionAlreadyStartedFailure, WorkflowNotReadyFailure,
            WorkflowTaskCompletionBufferLostFailure, multi_operation_execution_failure::OperationStatus,
        },
        failure::MultiOperationExecutionAborted,
    },
};
use sempre_core::{
    Refusal,
    refusal::{self, MultiOperation, Operation},
};
use tonic::{Code, Status, metadata::MetadataMap};

/// Longest status text; more would endanger the limit of HTTP/2 headers.
pub const MESSAGE_BYTES_MAX: usize = 4000;
const CUT_MARK: &str = "... <truncated>";

const UNAUTHORIZED: &str = "Request unauthorized.";

/// Header with the cause of a RESOURCE_EXHAUSTED.
pub const CAUSE_HEADER: &str = "x-resource-exhausted-cause";
/// Header with the scope of a RESOURCE_EXHAUSTED.
pub const SCOPE_HEADER: &str = "x-resource-exhausted-scope";

/// Header by which a node tells a refusal of [`Refusal::Elsewhere`] from others, and of which shard it is; clients are not told.
pub(crate) const ELSEWHERE_HEADER: &str = "sempre-elsewhere";

/// What a start is told that has waited in vain, or when all shards have as many as may wait.
pub(crate) fn starts_wait() -> Status {
    from_refusal(Refusal::Overloaded("too many starts wait, try again"))
}

/// The status of a refusal.
pub fn from_refusal(refusal: Refusal) -> Status {
    match refusal {
        Refusal::InvalidArgument(message) => plain(Code::InvalidArgument, message),
        Refusal::NotFound(message) => detailed(Code::NotFound, message, &NotFoundFailure::default()),
        Refusal::NamespaceNotFound(namespace) => {
            let message = format!("Namespace {namespace} is not found.");
            detailed(Code::NotFound, message, &NamespaceNotFoundFailure { namespace })
        }
        Refusal::NamespaceAlreadyExists(message) => detailed(Code::AlreadyExists, message, &NamespaceAlreadyExistsFailure::default()),
        Refusal::NamespaceInvalidState { namespace, state, allowed } => {
            let message = format!("Namespace has invalid state: {state}. Must be {allowed}.");
            let state = namespace_states(state).first().copied().unwrap_or_default();
            let failure = NamespaceInvalidStateFailure { namespace, state, allowed_states: namespace_states(allowed) };
            detailed(Code::FailedPrecondition, message, &failure)
        }
        Refusal::AlreadyStarted { message, start_request_id, run_id, first_run_id } => {
            let failure = WorkflowExecutionAlreadyStartedFailure { start_request_id, run_id, first_execution_run_id: first_run_id };
            detailed(Code::AlreadyExists, message, &failure)
        }
        Refusal::ActivityAlreadyStarted { message, start_request_id, run_id } => {
            detailed(Code::AlreadyExists, message, &ActivityExecutionAlreadyStartedFailure { start_request_id, run_id })
        }
        Refusal::OperationAlreadyStarted { message, start_request_id, run_id } => {
            detailed(Code::AlreadyExists, message, &NexusOperationExecutionAlreadyStartedFailure { start_request_id, run_id })
        }
        Refusal::AlreadyExists(message) => plain(Code::AlreadyExists, message),
        Refusal::ResourceExhausted { cause, message } => resource_exhausted(cause, ResourceExhaustedScope::Namespace, message),
        Refusal::Overloaded(message) => {
            resource_exhausted(ResourceExhaustedCause::SystemOverloaded, ResourceExhaustedScope::System, message)
        }
        Refusal::FailedPrecondition(message) => plain(Code::FailedPrecondition, message),
        Refusal::WorkflowNotReady(message) => detailed(Code::FailedPrecondition, message, &WorkflowNotReadyFailure::default()),
        Refusal::PermissionDenied(message) => detailed(Code::PermissionDenied, message, &PermissionDeniedFailure::default()),
        Refusal::QueryFailed { message, failure } => {
            let failure = QueryFailedFailure { failure: failure.map(|failure| *failure) };
            detailed(Code::InvalidArgument, message, &failure)
        }
        Refusal::Aborted(message) => plain(Code::Aborted, message),
        Refusal::BufferLost(message) => detailed(Code::Aborted, message, &WorkflowTaskCompletionBufferLostFailure::default()),
        Refusal::MultiOperation(multi) => multi_operation(*multi),
        Refusal::Unimplemented(message) => plain(Code::Unimplemented, message),
        Refusal::Unavailable(message) => plain(Code::Unavailable, message),
        Refusal::Elsewhere { shard } => {
            let mut status = plain(Code::Unavailable, refusal::text::elsewhere(shard));
            status.metadata_mut().insert(ELSEWHERE_HEADER, shard.into());
            status
        }
        Refusal::OutOfRange(message) => plain(Code::OutOfRange, message),
        Refusal::DeadlineExceeded(message) => plain(Code::DeadlineExceeded, message),
    }
}

/// PERMISSION_DENIED: the caller is not known, or may not do this. `why` tells what is wrong with what he has sent.
pub fn unauthorized(why: &str) -> Status {
    detailed(Code::PermissionDenied, UNAUTHORIZED.into(), &PermissionDeniedFailure { reason: why.to_owned() })
}

/// FAILED_PRECONDITION: the client's version is outside of what this server takes.
pub fn client_version_not_supported(name: &str, version: &str, supported: &str) -> Status {
    let message = format!("Client version {version} is not supported. Server supports {name} versions: {supported}");
    let failure = ClientVersionNotSupportedFailure {
        client_version: version.to_owned(),
        client_name: name.to_owned(),
        supported_versions: supported.to_owned(),
    };
    detailed(Code::FailedPrecondition, message, &failure)
}

/// FAILED_PRECONDITION: this server's version is outside of what the client takes.
pub fn server_version_not_supported(version: &str, supported: &str) -> Status {
    let message = format!("Server version {version} is not supported. Client supports server versions: {supported}");
    let failure =
        ServerVersionNotSupportedFailure { server_version: version.to_owned(), client_supported_server_versions: supported.to_owned() };
    detailed(Code::FailedPrecondition, message, &failure)
}

/// INTERNAL for what must not happen: the text goes to the log, the client gets a hash to ask about.
pub fn masked(method: &str, reason: &str) -> Status {
    let hash = fnv(reason.as_bytes());
    tracing::error!(method, reason, hash = format_args!("{hash:08x}"), "a call failed inside the server");
    plain(Code::Internal, format!("something went wrong, please retry ({hash:08x})"))
}

/// RESOURCE_EXHAUSTED for a message over the limit; clients know it by the prefix and do not retry.
pub fn message_too_large(bytes: u64, max: usize) -> Status {
    plain(Code::ResourceExhausted, format!("grpc: received message larger than max ({bytes} vs. {max})"))
}

/// The same for a message that is too large once decompressed; how large is not found out.
pub fn decompressed_too_large(max: usize) -> Status {
    plain(Code::ResourceExhausted, format!("grpc: received message after decompression larger than max {max}"))
}

fn resource_exhausted(cause: ResourceExhaustedCause, scope: ResourceExhaustedScope, message: impl Into<String>) -> Status {
    let failure = ResourceExhaustedFailure { cause: cause.into(), scope: scope.into() };
    let mut status = detailed(Code::ResourceExhausted, message.into(), &failure);
    let headers = [
        (CAUSE_HEADER, short_name(cause.as_str_name(), "RESOURCE_EXHAUSTED_CAUSE_")),
        (SCOPE_HEADER, short_name(scope.as_str_name(), "RESOURCE_EXHAUSTED_SCOPE_")),
    ];
    for (name, value) in headers {
        status.metadata_mut().insert(name, value.parse().expect("letters only"));
    }
    status
}

/// The code of the first operation that was refused itself; the detail says what became of each.
fn multi_operation(multi: MultiOperation) -> Status {
    let mut code = None;
    let statuses = [multi.start, multi.update].map(|operation| match operation {
        Operation::Done => OperationStatus::default(),
        Operation::NotTried => {
            let aborted = MultiOperationExecutionAborted::default();
            let type_url = format!("type.googleapis.com/{}", MultiOperationExecutionAborted::full_name());
            let details = vec![Any { type_url, value: aborted.encode_to_vec() }];
            OperationStatus { code: Code::Aborted.into(), message: "Operation was aborted.".into(), details }
        }
        Operation::Refused(refusal) => {
            let status = from_refusal(*refusal);
            code.get_or_insert(status.code());
            let details = google::rpc::Status::decode(status.details()).map_or_else(|_| Vec::new(), |status| status.details);
            OperationStatus { code: status.code().into(), message: status.message().to_owned(), details }
        }
    });
    let failure = MultiOperationExecutionFailure { statuses: statuses.into() };
    detailed(code.unwrap_or(Code::Aborted), "Update-with-Start could not be executed.".into(), &failure)
}

/// `PREFIX_RPS_LIMIT` → `RpsLimit`.
fn short_name(full: &str, prefix: &str) -> String {
    let words = full.strip_prefix(prefix).unwrap_or(full).split('_');
    words.flat_map(|word| word.chars().take(1).chain(word[1..].chars().map(|c| c.to_ascii_lowercase()))).collect()
}

/// The namespace states named in a text such as `Registered or Deprecated`.
fn namespace_states(text: &str) -> Vec<i32> {
    let words = text.split(|c: char| !c.is_ascii_alphabetic());
    let states = words.filter_map(|word| NamespaceState::from_str_name(&format!("NAMESPACE_STATE_{}", word.to_ascii_uppercase())));
    states.map(i32::from).collect()
}

fn plain(code: Code, message: impl Into<String>) -> Status {
    Status::new(code, cut(message.into()))
}

fn detailed<D: Message + Name>(code: Code, message: String, detail: &D) -> Status {
    let message = cut(message);
    let any = Any { type_url: format!("type.googleapis.com/{}", D::full_name()), value: detail.encode_to_vec() };
    let status = google::rpc::Status { code: code.into(), message: message.clone(), details: vec![any] };
    Status::with_details_and_metadata(code, message, status.encode_to_vec().into(), MetadataMap::new())
}

fn cut(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX - CUT_MARK.len()));
        message.push_str(CUT_MARK);
    }
    message
}

/// FNV-1a, folded to 32 bits: the same text gives the same hash on every machine.
fn fnv(bytes: &[u8]) -> u32 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    (hash ^ (hash >> 32)) as u32
}

#[cfg(test)]
mod tests;
