use sempre_api::v1::failure::Failure;

use super::*;

/// What a client reads from a status: its code, text and only detail.
fn read(status: &Status) -> (Code, &str, Option<Any>) {
    let details = google::rpc::Status::decode(status.details()).expect("details decode");
    assert!(details.details.len() <= 1, "clients read the first detail only");
    if !status.details().is_empty() {
        assert_eq!((details.code, details.message.as_str()), (status.code() as i32, status.message()));
    }
    (status.code(), status.message(), details.details.into_iter().next())
}

fn expect_plain(refusal: Refusal, code: Code, message: &str) {
    let status = from_refusal(refusal);
    assert_eq!(read(&status), (code, message, None));
    assert!(status.details().is_empty());
}

fn expect_detail<D: Message + Name + Default + PartialEq + std::fmt::Debug>(status: &Status, code: Code, message: &str, detail: &D) {
    let (got_code, got_message, any) = read(status);
    assert_eq!((got_code, got_message), (code, message));
    let any = any.expect("one detail");
    assert_eq!(any.type_url, format!("type.googleapis.com/temporal.api.errordetails.v1.{}", D::NAME));
    assert_eq!(&D::decode(any.value.as_slice()).expect("the detail decodes"), detail);
}

#[test]
fn refusals_without_details() {
    let text = || "text".to_owned();
    expect_plain(Refusal::InvalidArgument(text()), Code::InvalidArgument, "text");
    expect_plain(Refusal::AlreadyExists(text()), Code::AlreadyExists, "text");
    expect_plain(Refusal::FailedPrecondition(text()), Code::FailedPrecondition, "text");
    expect_plain(Refusal::Unimplemented(text()), Code::Unimplemented, "text");
    expect_plain(Refusal::Unavailable(text()), Code::Unavailable, "text");
    expect_plain(Refusal::Elsewhere { shard: 7 }, Code::Unavailable, "shard 7 is elsewhere, please backoff and retry");
    expect_plain(Refusal::OutOfRange(text()), Code::OutOfRange, "text");
    expect_plain(Refusal::DeadlineExceeded(text()), Code::DeadlineExceeded, "text");
}

#[test]
fn refusals_with_details() {
    let text = || "text".to_owned();
    expect_detail(&from_refusal(Refusal::NotFound(text())), Code::NotFound, "text", &NotFoundFailure::default());
    expect_detail(
        &from_refusal(Refusal::NamespaceNotFound("orders".into())),
        Code::NotFound,
        "Namespace orders is not found.",
        &NamespaceNotFoundFailure { namespace: "orders".into() },
    );
    expect_detail(&from_refusal(Refusal::NamespaceAlreadyExists(text())), Code::AlreadyExists, "text", &NamespaceAlreadyExistsFailure {});
    expect_detail(
        &from_refusal(Refusal::NamespaceInvalidState { namespace: "orders".into(), state: "Deleted", allowed: "Registered or Deprecated" }),
        Code::FailedPrecondition,
        "Namespace has invalid state: Deleted. Must be Registered or Deprecated.",
        &NamespaceInvalidStateFailure { namespace: "orders".into(), state: 3, allowed_states: vec![1, 2] },
    );
    expect_detail(
        &from_refusal(Refusal::AlreadyStarted {
            message: text(),
            start_request_id: "request".into(),
            run_id: "run".into(),
            first_run_id: "first".into(),
        }),
        Code::AlreadyExists,
        "text",
        &WorkflowExecutionAlreadyStartedFailure {
            start_request_id: "request".into(),
            run_id: "run".into(),
            first_execution_run_id: "first".into(),
        },
    );
    expect_detail(&from_refusal(Refusal::WorkflowNotReady(text())), Code::FailedPrecondition, "text", &WorkflowNotReadyFailure {});
    expect_detail(&from_refusal(Refusal::PermissionDenied(text())), Code::PermissionDenied, "text", &PermissionDeniedFailure::default());
    let failure = Failure { message: "boom".into(), ..Failure::default() };
    expect_detail(
        &from_refusal(Refusal::QueryFailed { message: "boom".into(), failure: Some(Box::new(failure.clone())) }),
        Code::InvalidArgument,
        "boom",
        &QueryFailedFailure { failure: Some(failure) },
    );
    expect_detail(
        &client_version_not_supported("temporal-go", "2.0.0", "<2.0.0"),
        Code::FailedPrecondition,
        "Client version 2.0.0 is not supported. Server supports temporal-go versions: <2.0.0",
        &ClientVersionNotSupportedFailure {
            client_version: "2.0.0".into(),
            client_name: "temporal-go".into(),
            supported_versions: "<2.0.0".into(),
        },
    );
    expect_detail(
        &server_version_not_supported("1.32.0", ">2.0.0"),
        Code::FailedPrecondition,
        "Server version 1.32.0 is not supported. Client supports server versions: >2.0.0",
        &ServerVersionNotSupportedFailure { server_version: "1.32.0".into(), client_supported_server_versions: ">2.0.0".into() },
    );
}

#[test]
fn exhaustion_names_cause_and_scope_in_detail_and_headers() {
    let header = |status: &Status, name| status.metadata().get(name).map(|v| v.to_str().expect("ascii").to_owned());

    let busy = from_refusal(Refusal::busy("Workflow is busy."));
    let failure = ResourceExhaustedFailure { cause: 5, scope: 1 };
    expect_detail(&busy, Code::ResourceExhausted, "Workflow is busy.", &failure);
    assert_eq!(header(&busy, CAUSE_HEADER).as_deref(), Some("BusyWorkflow"));
    assert_eq!(header(&busy, SCOPE_HEADER).as_deref(), Some("Namespace"));

    let full = from_refusal(Refusal::Overloaded("the inbox is full"));
    let failure = ResourceExhaustedFailure { cause: 3, scope: 2 };
    expect_detail(&full, Code::ResourceExhausted, "the inbox is full", &failure);
    assert_eq!(header(&full, CAUSE_HEADER).as_deref(), Some("SystemOverloaded"));
    assert_eq!(header(&full, SCOPE_HEADER).as_deref(), Some("System"));
}

#[test]
fn every_cause_has_a_header_value() {
    let names: Vec<_> = (1..=11)
        .map(|cause| ResourceExhaustedCause::try_from(cause).expect("a known cause"))
        .map(|cause| short_name(cause.as_str_name(), "RESOURCE_EXHAUSTED_CAUSE_"))
        .collect();
    let expected = [
        "RpsLimit",
        "ConcurrentLimit",
        "SystemOverloaded",
        "PersistenceLimit",
        "BusyWorkflow",
        "ApsLimit",
        "PersistenceStorageLimit",
        "CircuitBreakerOpen",
        "OpsLimit",
        "WorkerDeploymentLimits",
        "BandwidthLimit",
    ];
    assert_eq!(names, expected);
}

#[test]
fn long_texts_are_cut_on_a_character() {
    let status = from_refusal(Refusal::WorkflowNotReady("ä".repeat(MESSAGE_BYTES_MAX)));
    assert!(status.message().len() <= MESSAGE_BYTES_MAX);
    assert!(status.message().len() > MESSAGE_BYTES_MAX - 4);
    assert!(status.message().ends_with("ä... <truncated>"));
    expect_plain(Refusal::invalid("x".repeat(MESSAGE_BYTES_MAX)), Code::InvalidArgument, &"x".repeat(MESSAGE_BYTES_MAX));
}

#[test]
fn what_fails_inside_is_masked() {
    let status = masked("Method", "a secret");
    assert_eq!(status.code(), Code::Internal);
    assert!(status.message().starts_with("something went wrong, please retry ("));
    assert!(!status.message().contains("secret"));
    assert_eq!(status.message(), masked("Other", "a secret").message());
}

#[test]
fn one_of_several_operations() {
    let refused = Operation::Refused(Box::new(Refusal::NotFound("gone".into())));
    let status = from_refusal(Refusal::multi(Operation::NotTried, refused));
    let statuses = vec![
        OperationStatus {
            code: Code::Aborted.into(),
            message: "Operation was aborted.".into(),
            details: vec![Any {
                type_url: "type.googleapis.com/temporal.api.failure.v1.MultiOperationExecutionAborted".into(),
                value: vec![],
            }],
        },
        OperationStatus {
            code: Code::NotFound.into(),
            message: "gone".into(),
            details: vec![Any { type_url: "type.googleapis.com/temporal.api.errordetails.v1.NotFoundFailure".into(), value: vec![] }],
        },
    ];
    let text = "Update-with-Start could not be executed.";
    expect_detail(&status, Code::NotFound, text, &MultiOperationExecutionFailure { statuses });
    let aborted = from_refusal(Refusal::multi(Operation::NotTried, Operation::Refused(Box::new(Refusal::Aborted("again".into())))));
    assert_eq!(aborted.code(), Code::Aborted);
    let started = from_refusal(Refusal::multi(Operation::Done, Operation::Refused(Box::new(Refusal::WorkflowNotReady("no".into())))));
    let (code, _, detail) = read(&started);
    let failure = MultiOperationExecutionFailure::decode(detail.expect("one detail").value.as_slice()).expect("decodes");
    assert_eq!((code, failure.statuses[0].code), (Code::FailedPrecondition, 0));
}
