//! Operations of the server itself: what a workflow asks of the endpoint `__temporal_system`.
//!
//! There is one, SignalWithStartWorkflowExecution of the workflow service, in the caller's own namespace. Its input and its
//! result are the messages of the call. It is done at once, so there is never anything to cancel.

use alloc::{format, string::String};

use bytes::Bytes;
use prost::{Message, Name};
use sempre_api::v1::{
    common::Payload,
    workflowservice::{SignalWithStartWorkflowExecutionRequest, SignalWithStartWorkflowExecutionResponse},
};

/// The service.
pub const SERVICE: &str = "temporal.api.workflowservice.v1.WorkflowService";
/// Its operation.
pub const SIGNAL_WITH_START: &str = "SignalWithStartWorkflowExecution";
/// How messages are written into payloads.
const PROTOBUF: &[u8] = b"binary/protobuf";

/// Why a request is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is no such service or operation.
    NotFound(String),
    /// The input cannot be read.
    BadInput(String),
    /// The input says what it must not.
    Invalid(String),
}

impl Problem {
    /// What is wrong.
    pub fn text(self) -> String {
        match self {
            Self::NotFound(text) | Self::BadInput(text) | Self::Invalid(text) => text,
        }
    }
}

/// The request of an operation that a run of `namespace` asks for. Request id and links are the caller's to add.
pub fn request(
    service: &str,
    operation: &str,
    input: Option<&Payload>,
    namespace: &str,
) -> Result<SignalWithStartWorkflowExecutionRequest, Problem> {
    if service != SERVICE {
        return Err(Problem::NotFound(format!("service {service:?} not found")));
    }
    if operation != SIGNAL_WITH_START {
        return Err(Problem::NotFound(format!("operation {operation:?} not found")));
    }
    let mut request: SignalWithStartWorkflowExecutionRequest = read(input)?;
    if request.namespace.is_empty() {
        request.namespace = namespace.into();
    }
    if request.namespace != namespace {
        let named = &request.namespace;
        return Err(Problem::Invalid(format!("Namespace in request {named:?} does not match namespace in context {namespace:?}")));
    }
    if !request.request_id.is_empty() {
        return Err(Problem::Invalid("RequestID should not be set on the request".into()));
    }
    if !request.links.is_empty() {
        return Err(Problem::Invalid("Links should not be set on the request".into()));
    }
    Ok(request)
}

fn read<M: Message + Name + Default>(input: Option<&Payload>) -> Result<M, Problem> {
    let bad = |why: String| Problem::BadInput(format!("failed to decode input payload: {why}"));
    let input = input.ok_or_else(|| bad("there is none".into()))?;
    let meta = |name: &str| input.metadata.get(name).map(|value| String::from_utf8_lossy(value)).unwrap_or_default();
    if meta("encoding").as_bytes() != PROTOBUF {
        return Err(bad(format!("encoding {:?} is not understood, only \"binary/protobuf\" is", meta("encoding"))));
    }
    let kind = meta("messageType");
    if !kind.is_empty() && kind != M::full_name() {
        return Err(bad(format!("it is a {kind}, not a {}", M::full_name())));
    }
    M::decode(input.data.clone()).map_err(|why| bad(format!("{why}")))
}

/// The result of an operation. It has no payloads inside, so it is not marked as one that has (`__temporal_system_payload`), as newer
/// servers do with every result: the Python SDK 1.31 looks for payloads in what is marked, and fails when its message can have none.
pub fn result(response: &SignalWithStartWorkflowExecutionResponse) -> Payload {
    let kind = SignalWithStartWorkflowExecutionResponse::full_name();
    let metadata = [("encoding".into(), Bytes::from_static(PROTOBUF)), ("messageType".into(), kind.into_bytes().into())];
    Payload { metadata: metadata.into(), data: response.encode_to_vec().into(), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(request: &SignalWithStartWorkflowExecutionRequest) -> Payload {
        let kind = SignalWithStartWorkflowExecutionRequest::full_name();
        let metadata = [("encoding".into(), Bytes::from_static(PROTOBUF)), ("messageType".into(), kind.into_bytes().into())];
        Payload { metadata: metadata.into(), data: request.encode_to_vec().into(), ..Default::default() }
    }

    fn read_of(
        change: impl FnOnce(&mut SignalWithStartWorkflowExecutionRequest),
    ) -> Result<SignalWithStartWorkflowExecutionRequest, Problem> {
        let mut given = SignalWithStartWorkflowExecutionRequest { workflow_id: "w".into(), ..Default::default() };
        change(&mut given);
        request(SERVICE, SIGNAL_WITH_START, Some(&input(&given)), "default")
    }

    #[test]
    fn a_request_is_of_the_callers_namespace_and_says_nothing_that_the_server_says() {
        let read = read_of(|_| {}).expect("a request");
        assert_eq!((read.namespace.as_str(), read.workflow_id.as_str()), ("default", "w"));
        assert_eq!(read_of(|r| r.namespace = "default".into()).map(|r| r.namespace), Ok("default".into()));
        for (refused, text) in [
            (read_of(|r| r.namespace = "other".into()), "Namespace in request \"other\" does not match namespace in context \"default\""),
            (read_of(|r| r.request_id = "r".into()), "RequestID should not be set on the request"),
            (read_of(|r| r.links.push(Default::default())), "Links should not be set on the request"),
        ] {
            assert_eq!(refused, Err(Problem::Invalid(text.into())));
        }
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let good = input(&SignalWithStartWorkflowExecutionRequest::default());
        assert_eq!(request("s", SIGNAL_WITH_START, Some(&good), "n"), Err(Problem::NotFound("service \"s\" not found".into())));
        assert_eq!(request(SERVICE, "o", Some(&good), "n"), Err(Problem::NotFound("operation \"o\" not found".into())));
        let with = |name: &str, value: &'static [u8]| {
            let mut payload = good.clone();
            payload.metadata.insert(name.into(), Bytes::from_static(value));
            payload
        };
        let cut = Payload { data: Bytes::from_static(&[0x0a, 9]), ..good.clone() };
        for payload in [None, Some(with("encoding", b"json/plain")), Some(with("messageType", b"other.Message")), Some(cut)] {
            let refused = request(SERVICE, SIGNAL_WITH_START, payload.as_ref(), "n");
            assert!(
                matches!(&refused, Err(Problem::BadInput(text)) if text.starts_with("failed to decode input payload: ")),
                "{refused:?}"
            );
        }
    }
}
