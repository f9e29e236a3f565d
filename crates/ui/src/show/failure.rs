//! Failures of user code, with their causes.

use maud::{Markup, html};
use sempre_api::v1::{
    enums::TimeoutType,
    failure::{Failure, failure::FailureInfo},
};

use super::{payloads, words};

/// Causes shown below each other.
const CAUSES_MAX: usize = 20;

/// A failure and what caused it.
pub(crate) fn failure(failure: &Failure) -> Markup {
    let causes = std::iter::successors(Some(failure), |failure| failure.cause.as_deref()).take(CAUSES_MAX);
    html! {
        div.failure {
            @for (depth, failure) in causes.enumerate() {
                div.failure-one {
                    p { @if depth > 0 { span.muted { "Caused by " } } strong { (kind(failure)) } " " span.failure-message { (failure.message) } }
                    @if let Some(FailureInfo::ApplicationFailureInfo(info)) = &failure.failure_info {
                        @if info.non_retryable { p.muted { "Not retryable" } }
                        @if let Some(details) = info.details.as_ref().filter(|details| !details.payloads.is_empty()) { (payloads(Some(details))) }
                    }
                    @if let Some(encoded) = &failure.encoded_attributes { (super::one(encoded)) }
                    @if !failure.stack_trace.trim().is_empty() {
                        details { summary { "Stack trace" } pre.payload tabindex="0" { (failure.stack_trace) } }
                    }
                }
            }
        }
    }
}

/// Type and message in a line.
pub(crate) fn headline(failure: &Failure) -> String {
    let message = failure.message.lines().next().unwrap_or_default();
    format!("{}: {message}", kind(failure))
}

fn kind(failure: &Failure) -> String {
    match &failure.failure_info {
        Some(FailureInfo::ApplicationFailureInfo(info)) if !info.r#type.is_empty() => info.r#type.clone(),
        Some(FailureInfo::TimeoutFailureInfo(info)) => {
            let kind = TimeoutType::try_from(info.timeout_type).unwrap_or_default();
            format!("Timeout ({})", words(kind.as_str_name(), "TIMEOUT_TYPE_").to_lowercase())
        }
        Some(FailureInfo::CanceledFailureInfo(_)) => "Canceled".into(),
        Some(FailureInfo::TerminatedFailureInfo(_)) => "Terminated".into(),
        Some(FailureInfo::ActivityFailureInfo(info)) => {
            format!("Activity {} failed", info.activity_type.as_ref().map(|kind| kind.name.as_str()).unwrap_or_default())
        }
        Some(FailureInfo::ChildWorkflowExecutionFailureInfo(info)) => {
            format!("Child workflow {} failed", info.workflow_type.as_ref().map(|kind| kind.name.as_str()).unwrap_or_default())
        }
        _ => "Failure".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_shown_and_escaped() {
        let cause = Failure { message: "<i>disk</i>".into(), stack_trace: "at <a>".into(), ..Default::default() };
        let whole = Failure { message: "no".into(), cause: Some(Box::new(cause)), ..Default::default() };
        let text = failure(&whole).into_string();
        assert!(text.contains("Caused by") && text.contains("&lt;i&gt;disk") && text.contains("at &lt;a&gt;"), "{text}");
        assert_eq!(headline(&whole), "Failure: no");
    }
}
