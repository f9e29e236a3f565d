//! Answers of workers that tell failures in the form of yesterday are brought into that of today (spec 08 §5.5).

use sempre_api::v1::{
    failure::{CanceledFailureInfo, Failure, NexusHandlerFailureInfo, failure::FailureInfo},
    nexus::{HandlerError, StartOperationResponse, UnsuccessfulOperationError, response, start_operation_response::Variant},
    workflowservice::{RespondNexusTaskCompletedRequest, RespondNexusTaskFailedRequest},
};
use sempre_core::Refusal;

use super::failure;

const NOT_JSON: &str = "failure details must be JSON serializable";

/// `operation_error` becomes `failure`.
#[allow(deprecated, reason = "what old workers send")]
pub(crate) fn in_todays_form(request: &mut RespondNexusTaskCompletedRequest) -> Result<(), Refusal> {
    let Some(response::Variant::StartOperation(StartOperationResponse { variant: Some(variant) })) =
        request.response.as_mut().and_then(|response| response.variant.as_mut())
    else {
        return Ok(());
    };
    if let Variant::OperationError(error) = variant {
        *variant = Variant::Failure(operation_failure(std::mem::take(error))?);
    }
    Ok(())
}

/// `error` becomes `failure`.
#[allow(deprecated, reason = "what old workers send")]
pub(crate) fn failure_in_todays_form(request: &mut RespondNexusTaskFailedRequest) -> Result<(), Refusal> {
    if let Some(HandlerError { error_type, failure, retry_behavior }) = request.error.take() {
        let cause = failure::temporal(&failure.unwrap_or_default()).map_err(|_| Refusal::invalid(NOT_JSON))?;
        let info = NexusHandlerFailureInfo { r#type: error_type, retry_behavior };
        request.failure = Some(Failure {
            failure_info: Some(FailureInfo::NexusHandlerFailureInfo(info)),
            cause: Some(Box::new(cause)),
            ..Failure::default()
        });
    }
    Ok(())
}

fn operation_failure(error: UnsuccessfulOperationError) -> Result<Failure, Refusal> {
    let failure = failure::temporal(&error.failure.unwrap_or_default()).map_err(|_| Refusal::invalid(NOT_JSON))?;
    let is_canceled = matches!(failure.failure_info, Some(FailureInfo::CanceledFailureInfo(_)));
    if error.operation_state != "canceled" || is_canceled {
        return Ok(failure);
    }
    Ok(Failure {
        message: failure.message,
        stack_trace: failure.stack_trace,
        failure_info: Some(FailureInfo::CanceledFailureInfo(CanceledFailureInfo::default())),
        cause: failure.cause,
        ..Failure::default()
    })
}

#[cfg(test)]
#[allow(deprecated, reason = "what old workers send")]
mod tests {
    use sempre_api::v1::nexus::{self, Response};

    use super::*;

    fn old(message: &str, details: &'static str) -> Option<nexus::Failure> {
        let metadata = [("type".to_string(), "temporal.api.failure.v1.Failure".to_string())].into();
        Some(nexus::Failure { message: message.into(), metadata, details: details.into(), ..Default::default() })
    }

    #[test]
    fn an_old_handler_error_is_a_failure_with_a_cause() {
        let details = r#"{"applicationFailureInfo":{"type":"T","nonRetryable":true}}"#;
        let error = HandlerError { error_type: "NOT_FOUND".into(), failure: old("no", details), retry_behavior: 1 };
        let mut request = RespondNexusTaskFailedRequest { error: Some(error), ..Default::default() };
        failure_in_todays_form(&mut request).expect("sound");
        let failure = request.failure.expect("in the new form");
        let info = NexusHandlerFailureInfo { r#type: "NOT_FOUND".into(), retry_behavior: 1 };
        assert_eq!((failure.message.as_str(), failure.failure_info), ("", Some(FailureInfo::NexusHandlerFailureInfo(info))));
        let cause = failure.cause.expect("the worker's own words");
        assert_eq!(cause.message, "no");
        assert!(matches!(cause.failure_info, Some(FailureInfo::ApplicationFailureInfo(info)) if info.r#type == "T" && info.non_retryable));
        let error = HandlerError { failure: old("no", "{"), ..Default::default() };
        let mut request = RespondNexusTaskFailedRequest { error: Some(error), ..Default::default() };
        assert_eq!(failure_in_todays_form(&mut request), Err(Refusal::invalid(NOT_JSON)));
    }

    #[test]
    fn an_old_operation_error_keeps_its_state() {
        for (state, canceled) in [("failed", false), ("canceled", true)] {
            let failure = old("no", r#"{"applicationFailureInfo":{"type":"T"}}"#);
            let error = UnsuccessfulOperationError { operation_state: state.into(), failure };
            let start = StartOperationResponse { variant: Some(Variant::OperationError(error)) };
            let response = Some(Response { variant: Some(response::Variant::StartOperation(start)) });
            let mut request = RespondNexusTaskCompletedRequest { response, ..Default::default() };
            in_todays_form(&mut request).expect("sound");
            let Some(response::Variant::StartOperation(start)) = request.response.expect("it").variant else { panic!("a start") };
            let Some(Variant::Failure(failure)) = start.variant else { panic!("in the new form") };
            assert_eq!(failure.message, "no");
            assert_eq!(matches!(failure.failure_info, Some(FailureInfo::CanceledFailureInfo(_))), canceled);
        }
    }
}
